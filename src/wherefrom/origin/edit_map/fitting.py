"""Fitting W: in closed form by default, by metric learning as in the paper on demand.

Wang et al.: Generalizable Origin Identification for Text-Guided Image-to-Image Diffusion Models,
2025.  Theorem 1 asks for a W with (z - z_o) W near 0 for every pair; W = 0 fulfils it, so something
must keep unrelated origins apart.

Deviation: the default solver is no gradient descent but the closed form (`closed_form`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.store import digest_tensors
from wherefrom.encoders.identity import EncoderIdentity
from wherefrom.origin.edit_map.closed_form import (
    Shape,
    from_moments,
    from_samples,
    require_rank,
    solve,
)
from wherefrom.origin.edit_map.fitted import EditMapConfig, FittedEditMap, through_layers
from wherefrom.origin.edit_map.metric_learning import EditMapTask, Pairs
from wherefrom.origin.edit_map.moments import PairMoments
from wherefrom.origin.edit_map.pair_rows import PairRows
from wherefrom.origin.edit_map.stationary import fit_waves
from wherefrom.origin.equations import row_cosines, transform
from wherefrom.training.loop import Checkpoints, run

Watched = Mapping[str, tuple[Tensor, Tensor]]  # name -> edits (M, n) and their origins (M, n)


def fit_edit_map(
    origins: Tensor,
    edits: Tensor,
    owner: Tensor,
    *,
    encoder: EncoderIdentity,
    latent_shape: tuple[int, int, int] | None = None,
    config: EditMapConfig | None = None,
    seed: int = 0,
    watch: Watched | None = None,
    checkpoint: Path | None = None,
    seen: Tensor | None = None,
    track: Track = quiet,
) -> FittedEditMap:
    """Fit W to origins (N, n) and edits (M, n); row i of the edits was made from `owner[i]`.

    Origins without an edit are welcome: the closed form learns from them what origins are like.
    `latent_shape`: (c, h, w) of the encoder's latents, c h w = n; with it the closed form takes
    their covariances to be stationary (`stationary`), unless the config says otherwise.
    `watch` names pairs, seen or unseen, whose mean cosine enters the history after each epoch
    (Fig. 7).  With `checkpoint` an interrupted training goes on where it stopped.
    `seen`: `core.contents` of the training images, int64, as `embed_pairs` gives them.  The map
    keeps them, so that a calibration can refuse these images; without them it cannot.
    """
    config = config or EditMapConfig()
    _check(origins, edits, owner, config)
    data = {"origins": origins, "edits": edits, "owner": owner}
    provenance = {
        "origins": len(origins),
        "edits": len(edits),
        "ids": _count_ids(owner),
        "data": digest_tensors(data),
        "seed": seed,
    }
    mean = origins.mean(dim=0, dtype=torch.float64).float() * config.centre
    start = None
    if "closed" in (config.solver, config.start):
        if config.stationary and latent_shape is not None:
            start = fit_waves(origins, edits, owner, latent_shape, config)
        else:
            start = solve(origins, edits, owner, config=config, track=track)
        start = start.float().to(mean.device)
    if start is not None and config.solver == "closed":
        fitted = _closed_map(start, mean, encoder, config, watch, provenance)
        return replace(fitted, seen=seen)
    task = EditMapTask(Pairs(origins, edits, owner, mean), config, seed, start)
    history = _train(task, provenance, watch or {}, checkpoint, track)
    layers = tuple(layer.detach() for layer in task.averaged.layers)
    weight = task.averaged.weight.detach()
    return FittedEditMap(config, weight, layers, mean, encoder, history, provenance, seen)


def fit_from_moments(
    moments: PairMoments | PairRows,
    *,
    config: EditMapConfig | None = None,
    watch: Watched | None = None,
) -> FittedEditMap:
    """Fit W in closed form to what was gathered elsewhere: streamed, merged or updated.

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
    return _closed_map(weight, mean, moments.encoder, config, watch, provenance)


def _closed_map(
    weight: Tensor,
    mean: Tensor,
    encoder: EncoderIdentity,
    config: EditMapConfig,
    watch: Watched | None,
    provenance: Mapping[str, Any],
) -> FittedEditMap:
    history = (_mean_cosines(weight, (), mean, watch),) if watch else ()
    return FittedEditMap(config, weight, (), mean, encoder, history, provenance)


def _train(
    task: EditMapTask,
    provenance: Mapping[str, Any],
    watch: Watched,
    checkpoint: Path | None,
    track: Track,
) -> tuple[Mapping[str, float], ...]:
    """Run the task; the history of the epochs done now."""
    c = task.config
    history: list[Mapping[str, float]] = []
    losses: list[float] = []

    def after(index: int, values: dict[str, float]) -> None:
        losses.append(values["loss"])
        if (index + 1) % c.steps_per_epoch:
            return
        row = {"epoch": index // c.steps_per_epoch, "loss": sum(losses) / len(losses)}
        kept = task.averaged
        history.append(row | _mean_cosines(kept.weight, tuple(kept.layers), task.pairs.mean, watch))
        losses.clear()

    identity = {"config": c.to_dict(), "data": provenance["data"], "seed": task.seed}
    points = None
    if checkpoint is not None:
        points = Checkpoints(path=checkpoint, every=c.steps_per_epoch, identity=identity)
    steps = c.epochs * c.steps_per_epoch
    run(
        task,
        steps,
        label="training the edit map",
        checkpoints=points,
        after_step=after,
        track=track,
    )
    return tuple(history)


@torch.no_grad()
def _mean_cosines(
    weight: Tensor, layers: tuple[Tensor, ...], mean: Tensor, watch: Watched
) -> dict[str, float]:
    """Mean cosine of the projections of each watched set of pairs."""
    found = {}
    for name, pair in watch.items():
        f, f_o = (through_layers(transform(x.float() - mean, weight), layers) for x in pair)
        found[name] = float(row_cosines(f, f_o).double().mean())
    return found


def _check(origins: Tensor, edits: Tensor, owner: Tensor, config: EditMapConfig) -> None:
    for what, rows in (("origins", origins), ("edits", edits)):
        if rows.ndim != 2 or not len(rows) or not rows.is_floating_point():
            raise InputError(
                f"{what} of shape {tuple(rows.shape)} and {rows.dtype}, expected floating-point "
                "embeddings (N, n), at least one"
            )
        if not bool(torch.isfinite(rows).all()):
            raise InputError(f"the {what} hold NaN or infinite values; leave those images out")
    if origins.shape[1] != edits.shape[1]:
        raise InputError(
            f"origins have {origins.shape[1]} dimensions and edits {edits.shape[1]}; embed both "
            "with one encoder"
        )
    if owner.shape != (len(edits),) or owner.dtype != torch.int64:
        raise InputError(
            f"owner has shape {tuple(owner.shape)} and {owner.dtype}, expected int64 "
            f"({len(edits)},): one origin's row per edit"
        )
    if int(owner.min()) < 0 or int(owner.max()) >= len(origins):
        raise InputError(f"owner names rows outside 0 .. {len(origins) - 1} of the origins")
    if _count_ids(owner) < 2:
        raise InputError("all edits are of one origin; a map needs edits of at least two origins")
    require_rank(config.rank, origins.shape[1])
    if config.solver == "closed" and config.layers > 1:
        raise InputError("the closed form is linear; for more layers choose the solver 'sgd'")


def _count_ids(owner: Tensor) -> int:
    return int((torch.bincount(owner) > 0).sum())
