"""Fit W: in closed form by default, or by metric learning as in the paper.

Wang et al.: Generalizable Origin Identification for Text-Guided Image-to-Image Diffusion Models,
2025.  Theorem 1 asks for a W with (z - z_o) W near 0 for every pair; W = 0 fulfils it, so something
must keep unrelated origins apart.

Deviation: the default solver is no gradient descent but the closed form (`closed_form`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.store import digest_tensors
from wherefrom.origin.edit_map.closed_form import (
    Shape,
    from_moments,
    from_samples,
    require_rank,
    solve,
)
from wherefrom.origin.edit_map.cosface_and_circle_loss import EditMapTask, OriginClasses
from wherefrom.origin.edit_map.fitted import EditMapConfig, FittedEditMap, through_layers
from wherefrom.origin.edit_map.gathered import PairMoments, PairRows
from wherefrom.origin.edit_map.pairs import EmbeddedPairs
from wherefrom.origin.edit_map.stationary import fit_waves
from wherefrom.origin.equations import row_cosines, transform
from wherefrom.training.loop import Checkpoints, run

Watched = Mapping[str, tuple[Tensor, Tensor]]  # name -> edits (M, n) and their origins (M, n)
History = tuple[Mapping[str, float], ...]


def fit_edit_map(
    pairs: EmbeddedPairs,
    *,
    config: EditMapConfig | None = None,
    seed: int = 0,
    watch: Watched | None = None,
    checkpoint: Path | None = None,
    track: Track = quiet,
) -> FittedEditMap:
    """Fit W to embedded pairs.

    If their `latent_shape` is known, the closed form takes the covariances of latents to be
    stationary (`stationary`), unless the config says otherwise.  `watch` names pairs, seen or
    unseen, whose mean cosine enters the history after each epoch (Fig. 7).  With `checkpoint` an
    interrupted training goes on where it stopped.
    """
    config = config or EditMapConfig()
    require_rank(config.rank, pairs.origins.shape[1])
    if config.solver == "closed" and config.layers > 1:
        raise InputError("the closed form is linear; for more layers choose the solver 'sgd'")
    provenance = {
        "origins": len(pairs.origins),
        "edits": len(pairs.edits),
        "ids": pairs.edited_origins,
        "data": digest_tensors(
            {"origins": pairs.origins, "edits": pairs.edits, "owner": pairs.owner}
        ),
        "seed": seed,
    }
    mean = pairs.origins.mean(dim=0, dtype=torch.float64).float() * config.centre
    start = None
    if "closed" in (config.solver, config.start):
        if config.stationary and pairs.latent_shape is not None:
            start = fit_waves(pairs, pairs.latent_shape, config)
        else:
            start = solve(pairs, config, track)
        start = start.float().to(mean.device)
    layers: tuple[Tensor, ...] = ()
    if start is not None and config.solver == "closed":
        weight, history = start, _closed_history(start, mean, watch)
    else:
        task = EditMapTask(OriginClasses(pairs, mean), config, seed, start)
        history = _train(task, provenance, watch or {}, checkpoint, track)
        layers = tuple(layer.detach() for layer in task.averaged.layers)
        weight = task.averaged.weight.detach()
    return FittedEditMap(
        config, weight, layers, mean, pairs.encoder, history, provenance, pairs.seen
    )


def fit_from_moments(
    moments: PairMoments | PairRows,
    *,
    config: EditMapConfig | None = None,
    watch: Watched | None = None,
) -> FittedEditMap:
    """Fit W in closed form to pairs that were gathered in parts.

    `PairMoments` for latents of up to 8,192 dimensions, `PairRows` for longer ones.
    """
    config = config or EditMapConfig()
    if config.solver != "closed":
        raise InputError("moments fit the closed form only; choose the solver 'closed'")
    mean = moments.mean().float() * config.centre
    provenance = {"origins": moments.origin_count, "edits": moments.edit_count}
    if isinstance(moments, PairMoments):
        weight = from_moments(moments, config)
    else:
        shape = Shape(moments.origin_count, moments.edit_count, moments.dimension)
        weight = from_samples(moments.columns, shape, config)
    weight = weight.float().to(mean.device)
    history = _closed_history(weight, mean, watch)
    return FittedEditMap(config, weight, (), mean, moments.encoder, history, provenance)


def _closed_history(weight: Tensor, mean: Tensor, watch: Watched | None) -> History:
    return (_mean_cosines(weight, (), mean, watch),) if watch else ()


def _train(
    task: EditMapTask,
    provenance: Mapping[str, Any],
    watch: Watched,
    checkpoint: Path | None,
    track: Track,
) -> History:
    """Run the task; the history of the epochs done now."""
    c = task.config
    history: list[Mapping[str, float]] = []
    losses: list[float] = []

    def after(index: int, values: dict[str, float]) -> None:
        losses.append(values["loss"])
        if (index + 1) % c.steps_per_epoch:
            return
        row = {"epoch": index // c.steps_per_epoch, "loss": sum(losses) / len(losses)}
        weight, layers = task.averaged.weight, tuple(task.averaged.layers)
        history.append(row | _mean_cosines(weight, layers, task.classes.mean, watch))
        losses.clear()

    identity = {"config": c.to_dict(), "data": provenance["data"], "seed": task.seed}
    points = None
    if checkpoint is not None:
        points = Checkpoints(path=checkpoint, every=c.steps_per_epoch, identity=identity)
    steps, label = c.epochs * c.steps_per_epoch, "training the edit map"
    run(task, steps, label=label, checkpoints=points, after_step=after, track=track)
    return tuple(history)


@torch.no_grad()
def _mean_cosines(
    weight: Tensor, layers: tuple[Tensor, ...], mean: Tensor, watch: Watched
) -> dict[str, float]:
    """Mean cosine of the projections of each watched set of pairs."""
    cosines = {}
    for name, pair in watch.items():
        f, f_o = (through_layers(transform(x.float() - mean, weight), layers) for x in pair)
        cosines[name] = float(row_cosines(f, f_o).double().mean())
    return cosines
