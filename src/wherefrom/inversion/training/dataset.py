"""Training images with their labels: checked, and held in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.inversion.config import InversionConfig
from wherefrom.inversion.networks.assembly import Classes
from wherefrom.inversion.recipes import LABELLED

MIN_IMAGES = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingLabels:
    """What is known about the classes of the training images.

    `values`: int64 (N,) for one label of K classes, or (N, A) of 0 and 1 for A attributes; needed
    by the methods in `LABELLED`, refused by others.  `names`: of the K classes or A attributes.
    `prior`: P(C), (K,) or (L, K); without it as labelled, or uniform.
    """

    values: Tensor | None = None
    names: Sequence[str] = ()
    prior: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images uint8 (N, C, S, S) or vectors float32 (N, D), all in memory, and their labels."""

    data: Tensor
    labels: Tensor | None  # int64 (N, L)
    classes: Classes
    prior: Tensor | None = None  # P(C), (L, K)
    names: tuple[str, ...] = ()  # of the classes or attributes

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one item."""
        return tuple(self.data.shape[1:])

    def take(self, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Items in the networks' range, [-1, 1] for images, and one-hot classes (B, L, K)."""
        x = self.data[rows].to(device)
        x = x if x.is_floating_point() else x.float().div(127.5).sub(1.0)
        if self.labels is None:
            return x, None
        c = F.one_hot(self.labels[rows], self.classes.classes).float()
        return x, c.to(device)


def make_dataset(images: Tensor, labels: TrainingLabels, config: InversionConfig) -> Dataset:
    """The checked training data of a method; an `InputError` says what does not fit."""
    if images.ndim not in (2, 4):
        raise InputError(
            f"images of shape {tuple(images.shape)}, expected (N, C, S, S), or vectors (N, D)"
        )
    if len(images) < MIN_IMAGES:
        raise InputError(f"{len(images)} images to train on; give at least {MIN_IMAGES}")
    data, rows, classes = _in_memory(images), None, Classes()
    if config.recipe.labelled:
        if labels.values is None:
            raise InputError(
                f"{config.method} learns from labels; give one per image, or choose a method "
                "without, such as dlsgan or cgpgan"
            )
        rows, classes = _checked_labels(labels.values, len(data))
    elif labels.values is not None:
        raise InputError(f"{config.method} takes no labels; choose one of {', '.join(LABELLED)}")
    elif config.recipe.discovers:
        classes = Classes(config.labels, config.classes)
    return Dataset(data, rows, classes, _prior(labels.prior, rows, classes), tuple(labels.names))


def _in_memory(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8 and images.ndim == 4:
        return images
    if not images.is_floating_point():
        raise InputError(f"images are {images.dtype}; expected uint8 or floating point in [0, 1]")
    if not bool(torch.isfinite(images).all()):
        raise InputError("the images hold NaN or infinite values; remove them before training")
    if images.ndim == 2:
        return images.float()
    if float(images.min()) < 0 or float(images.max()) > 1:
        raise InputError("images have values outside [0, 1]; scale them before training")
    return images.float().mul(2).sub(1)


def _checked_labels(labels: Tensor, count: int) -> tuple[Tensor, Classes]:
    rows = labels[:, None] if labels.ndim == 1 else labels
    if rows.ndim != 2 or len(rows) != count or rows.is_floating_point():
        raise InputError(
            f"labels of shape {tuple(labels.shape)} ({labels.dtype}) for {count} images; expected "
            f"integers ({count},), or ({count}, A) of 0 and 1"
        )
    rows = rows.long()
    missing = int((rows < 0).any(dim=1).sum())
    if missing:
        raise InputError(f"{missing} images have no label (below 0); label them or leave them out")
    several, highest = rows.shape[1] > 1, int(rows.max())
    if several and highest > 1:
        raise InputError(f"attributes must be 0 or 1, but one is {highest}")
    classes = Classes(rows.shape[1], 2 if several else highest + 1)
    if classes.classes < 2:
        raise InputError("all images have one label; give at least two classes")
    for place in range(classes.labels):
        empty = set(range(classes.classes)) - set(rows[:, place].tolist())
        if empty:
            raise InputError(
                f"no image has class {min(empty)} of label {place}; number the classes without gaps"
            )
    return rows, classes


def _prior(prior: Tensor | None, labels: Tensor | None, classes: Classes) -> Tensor | None:
    shape = classes.shape
    if prior is not None:
        rows = prior.float().reshape(-1, prior.shape[-1])
        sums = rows.sum(dim=1)
        if rows.shape != shape or bool((rows < 0).any()) or bool(((sums - 1).abs() > 1e-4).any()):
            raise InputError(
                f"the prior is {prior.tolist()}; expected {shape[0]} rows of {shape[1]} "
                "probabilities that add up to 1"
            )
        return rows
    if labels is None:
        return None
    counts = [torch.bincount(column, minlength=shape[1]) for column in labels.T]
    return torch.stack(counts).float() / len(labels)
