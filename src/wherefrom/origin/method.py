"""Fitting W: in closed form by default, by metric learning as in the paper on demand.

Wang et al.: Generalizable Origin Identification for Text-Guided Image-to-Image Diffusion Models,
2025.  Theorem 1 asks for a W with (z - z_o) W near 0 for every pair; W = 0 fulfils it, so something
must keep unrelated origins apart.

Deviation: the default solver is no gradient descent.  W maximises the spread of origins over that
of the differences, column by column: S_t v = lambda (S_d + eps I) v, largest lambda first, with
v^T (S_d + eps I) v = 1 and eps = ridge * tr(S_d) / n.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.store import digest_tensors
from wherefrom.encoders.identity import EncoderIdentity
from wherefrom.origin.edit_map import EditMapConfig, FittedEditMap, through_layers
from wherefrom.origin.equations import row_cosines, transform
from wherefrom.origin.metric_learning import EditMapTask, Pairs
from wherefrom.origin.moments import ROWS, PairMoments
from wherefrom.training.loop import Checkpoints, run

Watched = Mapping[str, tuple[Tensor, Tensor]]  # name -> edits (M, n) and their origins (M, n)


def fit_edit_map(
    origins: Tensor,
    edits: Tensor,
    owner: Tensor,
    *,
    encoder: EncoderIdentity,
    config: EditMapConfig | None = None,
    seed: int = 0,
    watch: Watched | None = None,
    checkpoint: Path | None = None,
    track: Track = quiet,
) -> FittedEditMap:
    """Fit W to origins (N, n) and edits (M, n); row i of the edits was made from `owner[i]`.

    Origins without an edit are welcome: the closed form learns from them what origins are like.
    `watch` names pairs, seen or unseen, whose mean cosine enters the history after each epoch
    (Fig. 7).  With `checkpoint` an interrupted training goes on where it stopped.
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
    if config.solver == "closed":
        moments = moments_of(origins, edits, owner, encoder=encoder, track=track)
        return fit_from_moments(moments, config=config, watch=watch, provenance=provenance)
    mean = origins.double().mean(dim=0).float() if config.centre else origins.new_zeros(1).float()
    mean = mean.expand(origins.shape[1]).clone()
    start = None
    if config.start == "closed":
        moments = moments_of(origins, edits, owner, encoder=encoder, track=track)
        start = closed_form(moments, config).to(origins.device)
    task = EditMapTask(Pairs(origins, edits, owner, mean), config, seed, start)
    history = _train(task, provenance, watch or {}, checkpoint, track)
    layers = tuple(layer.detach() for layer in task.averaged.layers)
    weight = task.averaged.weight.detach()
    return FittedEditMap(config, weight, layers, mean, encoder, history, provenance)


def fit_from_moments(
    moments: PairMoments,
    *,
    config: EditMapConfig | None = None,
    watch: Watched | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> FittedEditMap:
    """Fit W in closed form to moments gathered elsewhere: streamed, merged or updated."""
    config = config or EditMapConfig()
    if config.solver != "closed":
        raise InputError("moments fit the closed form only; choose the solver 'closed'")
    weight = closed_form(moments, config).float()
    mean = moments.mean().float() if config.centre else torch.zeros_like(weight[:, 0])
    layers: tuple[Tensor, ...] = ()
    device = moments.origin_sum.device
    weight, mean = weight.to(device), mean.to(device)
    counts = {"origins": moments.origin_count, "edits": moments.edit_count}
    history = (_mean_cosines(weight, layers, mean, watch),) if watch else ()
    return FittedEditMap(
        config, weight, layers, mean, moments.encoder, history, provenance or counts
    )


def moments_of(
    origins: Tensor,
    edits: Tensor,
    owner: Tensor,
    *,
    encoder: EncoderIdentity,
    track: Track = quiet,
) -> PairMoments:
    """The moments of origins (N, n) and edits (M, n) with their owners (M,)."""
    moments = PairMoments(encoder, origins.shape[1])
    moments.add_origins(origins)
    places = range(0, len(edits), ROWS)
    for first in track(places, "summing pairs", total=len(places)):
        part = slice(first, first + ROWS)
        moments.add_edits(edits[part], origins[owner[part]])
    return moments


def closed_form(moments: PairMoments, config: EditMapConfig) -> Tensor:
    """W (n, m) float64 on the CPU: the top generalised eigenvectors, largest first.

    With S_d + eps I = L L^T they are L^-T u for eigenvectors u of L^-1 S_t L^-T.  The sign of each
    is that which makes its largest entry positive.
    """
    n, m = moments.dimension, config.rank
    _require_rank(m, n)
    if moments.origin_count <= m:
        raise InputError(
            f"{moments.origin_count} origins span fewer than the {m} directions asked for; give "
            f"more origins (they need no edits) or a rank below {moments.origin_count}"
        )
    S_t, S_d = moments.total().cpu(), moments.difference().cpu()  # noqa: N806 (the paper's letters)
    mean_change = float(S_d.trace()) / n
    if not mean_change > 0:
        raise InputError(
            "every edit equals its origin, so there is nothing to fit; give real edits"
        )
    from scipy.linalg import eigh  # slow to import

    S_d.diagonal().add_(config.ridge * mean_change)
    L, failed = torch.linalg.cholesky_ex(S_d)  # noqa: N806
    if int(failed):
        raise InputError(
            f"{moments.edit_count} edits do not vary in every direction; give a ridge above 0"
        )
    half = torch.linalg.solve_triangular(L, S_t, upper=False)
    whitened = torch.linalg.solve_triangular(L, half.T, upper=False)
    whitened = (whitened + whitened.T) / 2
    _, vectors = eigh(whitened.numpy(), subset_by_index=[n - m, n - 1], driver="evr")
    u = torch.from_numpy(vectors).flip(1)
    W: Tensor = torch.linalg.solve_triangular(L.T, u, upper=True)  # noqa: N806
    largest = W.gather(0, W.abs().argmax(dim=0, keepdim=True))
    return W * largest.sign()


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
    run(task, steps, label="training W", checkpoints=points, after_step=after, track=track)
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
    _require_rank(config.rank, origins.shape[1])
    if config.solver == "closed" and config.layers > 1:
        raise InputError("the closed form is linear; for more layers choose the solver 'sgd'")


def _count_ids(owner: Tensor) -> int:
    return int((torch.bincount(owner) > 0).sum())


def _require_rank(rank: int, dimension: int) -> None:
    if rank > dimension:
        raise InputError(
            f"rank {rank} is more than the {dimension} dimensions of an embedding; give at most "
            f"{dimension}"
        )
