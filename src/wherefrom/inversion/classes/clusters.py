"""Classes that a generator found by itself, and which images of a folder belong to them.

Cho: PhD thesis, Concordia University, 2025, Section 3.5: CGPGAN learns how often each class occurs,
P(C); a class with P(C) below 0.01 is dead (Section 4.5.2).

Symbols:
    q    class probabilities of images, (N, K)
    P    P(C), (K,)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.data.images.notebook import AsTable, Rows
from wherefrom.data.sorting import part_files
from wherefrom.inversion.model import FittedInverter

DEAD = 0.01


@dataclass(frozen=True)
class Cluster:
    """One class.  `members`: rows of the images, most certain first; `certainties`: their q."""

    label: int
    prior: float
    alive: bool
    members: tuple[int, ...]
    certainties: tuple[float, ...]

    @property
    def name(self) -> str:
        """As its folder is called."""
        return f"class-{self.label:02d}"


@dataclass(frozen=True)
class Clustering(AsTable):
    """The living classes and those with images, most frequent in training first."""

    clusters: tuple[Cluster, ...]
    images: int
    looked_for: int

    @property
    def living(self) -> int:
        """K, the number of living classes."""
        return sum(cluster.alive for cluster in self.clusters)

    def to_dict(self) -> dict[str, Any]:
        shares = [len(cluster.members) / max(self.images, 1) for cluster in self.clusters]
        rows = [
            {**asdict(cluster), "share": share}
            for cluster, share in zip(self.clusters, shares, strict=True)
        ]
        return {
            "images": self.images,
            "found": self.living,
            "looked_for": self.looked_for,
            "clusters": rows,
        }

    def as_table(self) -> tuple[Rows, str]:
        return self._rows(), f"{self.images} images by class"

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {"class": c.name, "P(C)": c.prior, "images": len(c.members), "alive": c.alive}
            for c in self.clusters
        ]


def class_probabilities(fitted: FittedInverter, images: Tensor, *, label: int = 0) -> Tensor:
    """q of one label of images (N, *shape): (N, K) float32 on the CPU."""
    q = fitted.classify(images)
    if q is None:
        raise InputError(f"{fitted.config.method} finds no classes; train cgpgan")
    labels = fitted.classes.labels
    if not 0 <= label < labels:
        raise InputError(f"label {label} does not exist; this model has labels 0 to {labels - 1}")
    return (q if labels == 1 else q[:, label]).cpu()


def cluster_images(fitted: FittedInverter, images: Tensor, *, label: int = 0) -> Clustering:
    """Each image (N, C, H, W) float in [0, 1] in its likeliest class.

    `label`: which of several labels per image, where the model has them.
    """
    q = class_probabilities(fitted, images, label=label)
    certainty, chosen = q.max(dim=1)
    clusters = []
    for k, prior in enumerate(fitted.prior[label].tolist()):
        rows = (chosen == k).nonzero()[:, 0]
        rows = rows[certainty[rows].argsort(descending=True, stable=True)]
        if prior >= DEAD or len(rows):
            certainties = tuple(certainty[rows].tolist())
            clusters.append(Cluster(k, prior, prior >= DEAD, tuple(rows.tolist()), certainties))
    clusters.sort(key=lambda cluster: (-cluster.prior, cluster.label))
    return Clustering(tuple(clusters), len(images), q.shape[1])


def sort_into_classes(
    clustering: Clustering, paths: Sequence[Path], out: Path, *, copy: bool = False
) -> None:
    """Link each file into `out`/class-<label>.

    `out` is a new folder, there whole or not at all; with `copy` the files are copied.
    """
    if len(paths) != clustering.images:
        raise InputError(
            f"{clustering.images} images were sorted, but there are {len(paths)} paths"
        )
    parts = {c.name: [paths[row] for row in c.members] for c in clustering.clusters if c.members}
    part_files(parts, out, copy=copy)


def examples(fitted: FittedInverter, cluster: Cluster, count: int, *, seed: int = 0) -> Tensor:
    """`count` generated images of a class, (count, C, H, W) float32; empty without a generator."""
    generator = fitted.networks.generator
    if generator is None or generator.classes == 1 or generator.labels > 1:
        return torch.empty(0)
    return fitted.sample(count, seed=seed, label=cluster.label).cpu()
