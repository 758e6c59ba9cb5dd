"""The number of classes, from the same images under ever stronger penalties: a tree of merges.

Cho: PhD thesis, Concordia University, 2025, Fig. 41: with lambda_cgp the classifier is smoothed,
and near classes become one.  A class that lasts over penalties and seeds is in the data; one that
changes with the seed is not.

Deviation: the thesis shows one run for each penalty; the tree that joins them, and how far runs
with other seeds agree, are added here.
Deviation: with `warm_steps` a level goes on from the one before, its P(C) learnt from the first
step on: a class then keeps its number until it dies, and a level costs less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.images.writing import to_float
from wherefrom.data.splits import spread_indices
from wherefrom.inversion.classes.clusters import DEAD, class_probabilities
from wherefrom.inversion.config import InversionConfig
from wherefrom.inversion.method import fit, fit_from
from wherefrom.inversion.model import FittedInverter


@dataclass(frozen=True)
class TreeNode:
    """A class of one level: its label, P(C), and the share of the images in it."""

    label: int
    prior: float
    share: float


@dataclass(frozen=True)
class TreeLevel:
    """One penalty.

    `living`: living classes, one number per seed; `nodes`: those of the first seed that live or
    hold images; `stability`: mean adjusted Rand index between the seeds' classes of the images, 1 =
    the same whatever the seed, about 0 = chance; None with one seed.
    """

    penalty: float
    living: tuple[int, ...]
    nodes: tuple[TreeNode, ...]
    stability: float | None


@dataclass(frozen=True)
class TreeEdge:
    """Where most images of `child` (of level `level`) are at the next: the share that moved there.

    `share` is 1 where the child merges into the parent whole.
    """

    level: int
    child: int
    parent: int
    share: float


@dataclass(frozen=True)
class MergeTree:
    """Levels by rising penalty, and the edges between neighbours, of the first seed.

    `images`: how many were put into classes.
    """

    levels: tuple[TreeLevel, ...]
    edges: tuple[TreeEdge, ...]
    images: int
    seeds: tuple[int, ...]

    @property
    def suggested(self) -> TreeLevel:
        """The most stable level with several classes, of equals that with most of them.

        With one seed nothing is known of stability, and the first level is given.
        """
        several = [level for level in self.levels if len(level.nodes) > 1]
        if not several:
            return self.levels[0]
        return max(several, key=lambda level: (level.stability or 0.0, max(level.living)))

    def to_dict(self) -> dict[str, Any]:
        return {
            "levels": [_level_values(level) for level in self.levels],
            "edges": [
                {"level": e.level, "child": e.child, "parent": e.parent, "kept": e.share}
                for e in self.edges
            ],
            "images": self.images,
            "seeds": list(self.seeds),
            "suggested": _level_values(self.suggested),
        }


@dataclass(frozen=True, kw_only=True)
class TreePlan:
    """What is trained for a tree: CGPGAN once for each penalty (lambda_cgp) and seed.

    `warm_steps`: all levels but the first go on from the level before for so many steps, instead of
    `config.steps` from new weights.  At most `max_sorted` images, spread evenly over their order,
    are put into classes; the models train on all of them.
    """

    penalties: Sequence[float]
    seeds: Sequence[int] = (0,)
    warm_steps: int | None = None
    max_sorted: int = 2000

    def __post_init__(self) -> None:
        if self.warm_steps is not None and self.warm_steps < 1:
            raise InputError(f"{self.warm_steps} warm steps; give at least 1")
        penalties, seeds = list(self.penalties), list(self.seeds)
        distinct = len(set(seeds)) == len(seeds) > 0
        if len(set(penalties)) < 2 or min(penalties) < 0 or not distinct:
            raise InputError(
                f"penalties {penalties} and seeds {seeds}; give two or more penalties of 0 or "
                "above, and different seeds"
            )


def build_merge_tree(
    images: Tensor,
    plan: TreePlan,
    *,
    config: InversionConfig,
    device: torch.device | str = "cpu",
    keep: Callable[[float, int, FittedInverter], None] | None = None,
    track: Track = quiet,
) -> MergeTree:
    """Train on images (N, C, S, S) uint8, or vectors, as the plan says, and join the levels.

    `keep` is called with the penalty, the seed and the trained model of every run.
    """
    if config.method != "cgpgan":
        raise InputError(f"a merge tree is of cgpgan, not of {config.method}")
    sample = images[spread_indices(len(images), plan.max_sorted)]
    x = to_float(sample) if sample.dtype == torch.uint8 else sample
    penalties, seeds = sorted(set(plan.penalties)), tuple(plan.seeds)
    runs = [(penalty, seed) for penalty in penalties for seed in seeds]
    chosen: dict[tuple[float, int], Tensor] = {}
    priors: dict[tuple[float, int], Tensor] = {}
    before: dict[int, FittedInverter] = {}
    for penalty, seed in track(runs, "training for the merge tree", total=len(runs)):
        settings = config.with_values({"class_penalty": penalty})
        start = before.get(seed)
        if start is None:
            fitted = fit(images, config=settings, seed=seed, device=device, track=track)
        else:
            settings = settings.with_values({"steps": plan.warm_steps, "uniform_share": 0.0})
            fitted = fit_from(start, images, config=settings, seed=seed, device=device, track=track)
        if plan.warm_steps is not None:
            before[seed] = fitted
        chosen[penalty, seed] = class_probabilities(fitted, x).argmax(dim=1)
        priors[penalty, seed] = fitted.prior[0].cpu()
        if keep is not None:
            keep(penalty, seed, fitted)
    levels = [
        _level(p, [chosen[p, s] for s in seeds], [priors[p, s] for s in seeds]) for p in penalties
    ]
    first = [chosen[penalty, seeds[0]] for penalty in penalties]
    edges = [
        edge for index, pair in enumerate(pairwise(first)) for edge in edges_between(index, *pair)
    ]
    return MergeTree(tuple(levels), tuple(edges), len(x), seeds)


def _level_values(level: TreeLevel) -> dict[str, Any]:
    values = asdict(level)
    return {**values, "found": values.pop("living")}


def _level(penalty: float, chosen: Sequence[Tensor], priors: Sequence[Tensor]) -> TreeLevel:
    shares = torch.bincount(chosen[0], minlength=len(priors[0])) / len(chosen[0])
    nodes = [
        TreeNode(k, float(prior), float(shares[k]))
        for k, prior in enumerate(priors[0])
        if prior >= DEAD or shares[k] > 0
    ]
    nodes.sort(key=lambda node: (-node.prior, node.label))
    living = tuple(int((prior >= DEAD).sum()) for prior in priors)
    return TreeLevel(penalty, living, tuple(nodes), stability(chosen))


def stability(chosen: Sequence[Tensor]) -> float | None:
    """Mean adjusted Rand index of all pairs of labellings (N,); None for fewer than two."""
    from sklearn.metrics import adjusted_rand_score

    pairs = list(combinations(chosen, 2))
    if not pairs:
        return None
    return sum(float(adjusted_rand_score(a.numpy(), b.numpy())) for a, b in pairs) / len(pairs)


def edges_between(level: int, before: Tensor, after: Tensor) -> list[TreeEdge]:
    """One edge per class of `before` (N,), to the one of `after` that holds most of its images."""
    edges = []
    for child in sorted(set(before.tolist())):
        inside = after[before == child]
        counts = torch.bincount(inside)
        parent = int(counts.argmax())
        edges.append(TreeEdge(level, child, parent, float(counts[parent]) / len(inside)))
    return edges
