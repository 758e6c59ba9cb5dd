"""Scores of images at hand and of files: measured image by image, cached by content.

Hwang, Lee, Lee: Anomaly Score, CVPR 2024.

Deviation: C is the mean over several noise directions (the authors' code: one) and V over several
starts, each with its standard error; the preset "paper" takes one of each.
Deviation: noise and attack act on the image as the encoder sees it, cropped and scaled to its
resolution; the paper does not say at which size its images are perturbed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.anomaly.config import DEFAULT, AnomalyConfig
from wherefrom.anomaly.measuring.cache import Cache, key_of
from wherefrom.anomaly.measuring.features import Measurement, group_size, measure
from wherefrom.anomaly.measuring.items import Item, check_images, read_items, tensor_items
from wherefrom.anomaly.result import ImageScores
from wherefrom.core.errors import InputError
from wherefrom.core.passes import each_alone
from wherefrom.core.progress import Track, quiet
from wherefrom.data.files.opening import UnusableFile
from wherefrom.data.folders import list_images
from wherefrom.encoders.features import FeatureEncoder


def complexity(
    images: Tensor,
    encoder: FeatureEncoder,
    *,
    config: AnomalyConfig = DEFAULT,
    seed: int = 0,
    track: Track = quiet,
) -> Tensor:
    """C per image, (N,) float64, radians.  Images (N, 3, H, W) float in [0, 1]."""
    only = dataclasses.replace(config, restarts=0)
    return score_images(images, encoder, config=only, seed=seed, track=track).complexity


def vulnerability(
    images: Tensor,
    encoder: FeatureEncoder,
    *,
    config: AnomalyConfig = DEFAULT,
    seed: int = 0,
    track: Track = quiet,
) -> Tensor:
    """V per image, (N,) float64, in units of the features.  Images (N, 3, H, W) float in [0, 1]."""
    if not config.restarts:
        raise InputError("the vulnerability was asked for with restarts 0; use at least 1")
    only = dataclasses.replace(config, directions=0)
    return score_images(images, encoder, config=only, seed=seed, track=track).vulnerability


def score_images(
    images: Tensor,
    encoder: FeatureEncoder,
    *,
    config: AnomalyConfig = DEFAULT,
    seed: int = 0,
    names: Sequence[str] | None = None,
    cache: Cache | None = None,
    track: Track = quiet,
) -> ImageScores:
    """Scores of images (N, 3, H, W) float in [0, 1].

    An image's score depends on its pixels, the encoder, the settings and the seed alone.  An image
    for which it is undefined is an `InputError` that names it.
    """
    check_images(images)
    require_gradients(encoder, config)
    called = list(names) if names is not None else [f"image {i}" for i in range(len(images))]
    if len(called) != len(images):
        raise InputError(f"there are {len(images)} images, but {len(called)} names")
    items = track(tensor_items(images, called), "scoring images", total=len(images))
    scored = _Scored()
    for item, found in _Run(encoder, config, seed, cache).measured(items):
        if isinstance(found, str):
            raise InputError(f"{item.name}: {found}")
        scored.found.append((item, found))
    return scored.result(encoder, config, seed)


def score_files(
    paths: Sequence[Path],
    encoder: FeatureEncoder,
    *,
    config: AnomalyConfig = DEFAULT,
    seed: int = 0,
    cache: Cache | None = None,
    track: Track = quiet,
) -> ImageScores:
    """Scores of image files and of the files below folders, a few in memory at a time.

    What cannot be read or scored is in `skipped`, with the reason.  With a `cache` only images
    whose content is new are measured.
    """
    require_gradients(encoder, config)
    files = list_images(paths, once=True)
    scored = _Scored()
    items = read_items(
        track(files, "scoring images", total=len(files)), encoder.resolution, scored.skipped
    )
    for item, found in _Run(encoder, config, seed, cache).measured(items):
        if isinstance(found, str):
            scored.skipped.append((item.index, item.name, found))
        else:
            scored.found.append((item, found))
    return scored.result(encoder, config, seed)


def require_gradients(encoder: FeatureEncoder, config: AnomalyConfig) -> None:
    """An `InputError` if attacks are asked for and the encoder passes no gradient."""
    if config.restarts and not encoder.differentiable:
        raise InputError(
            f"the encoder {encoder.identity.kind} passes no gradient to its images, so it has no "
            "vulnerability and no AS-i; use restarts 0 for the complexity alone, or another encoder"
        )


@dataclass(frozen=True)
class _Job:
    """Images to measure together, or an answer that needs no measuring."""

    images: list[tuple[Item, Tensor]] = field(default_factory=list)
    known: Measurement | None = None  # what the measurement of the one image continues
    answer: tuple[Item, Measurement | str] | None = None


@dataclass(frozen=True)
class _Run:
    """What decides a measurement, besides the image."""

    encoder: FeatureEncoder
    config: AnomalyConfig
    seed: int
    cache: Cache | None

    def measured(self, items: Iterable[Item]) -> Iterator[tuple[Item, Measurement | str]]:
        """Each item with its measurement or with why there is none, not always in order."""
        for job, measurements in each_alone(self._measure, self._jobs(items), self.encoder.device):
            if job.answer is not None:
                yield job.answer
            for (item, _), found in zip(job.images, measurements, strict=True):
                if reason := found.fault():
                    yield item, reason
                    continue
                if self.cache is not None:
                    self.cache.put(self._key(item), found)
                yield item, found

    def _jobs(self, items: Iterable[Item]) -> Iterator[_Job]:
        waiting: list[tuple[Item, Tensor]] = []
        for item in items:
            known = None if self.cache is None else self.cache.get(self._key(item))
            if known is not None and known.reaches(self.config):
                yield _Job(answer=(item, known))
                continue
            try:
                image = item.image()
            except UnusableFile as problem:
                yield _Job(answer=(item, problem.reason))
                continue
            if known is not None:
                yield _Job([(item, image)], known)
                continue
            waiting.append((item, image))
            if len(waiting) == group_size(self.encoder):
                yield _Job(waiting)
                waiting = []
        if waiting:
            yield _Job(waiting)

    def _measure(self, job: _Job) -> tuple[_Job, list[Measurement]]:
        if not job.images:
            return job, []
        images = torch.stack([image for _, image in job.images])
        config, seed = self.config, self.seed
        return job, measure(images, self.encoder, config=config, seed=seed, known=job.known)

    def _key(self, item: Item) -> str:
        return key_of(item.digest, self.encoder.identity, self.config, self.seed)


@dataclass
class _Scored:
    """What an `ImageScores` is made of, while it grows."""

    found: list[tuple[Item, Measurement]] = field(default_factory=list)
    skipped: list[tuple[int, str, str]] = field(default_factory=list)

    def result(self, encoder: FeatureEncoder, config: AnomalyConfig, seed: int) -> ImageScores:
        """The columns, in the order of the items."""
        ordered = sorted(self.found, key=lambda pair: pair[0].index)
        rows = [m.first(config) for _, m in ordered]
        still = [float(m.still.double().mean()) / config.steps for m in rows]
        blank = torch.zeros(0, encoder.dimension)
        return ImageScores(
            complexity=_means([m.complexities for m in rows]),
            complexity_error=_errors([m.complexities for m in rows]),
            vulnerability=_means([m.vulnerabilities for m in rows]),
            vulnerability_error=_errors([m.vulnerabilities for m in rows]),
            features=torch.stack([m.features for m in rows]) if rows else blank,
            names=tuple(item.name for item, _ in ordered),
            digests=tuple(item.digest for item, _ in ordered),
            skipped=tuple((name, reason) for _, name, reason in sorted(self.skipped)),
            directions=torch.tensor([len(m.complexities) for m in rows], dtype=torch.int64),
            still=torch.tensor(still, dtype=torch.float64),
            clipped=torch.tensor([m.clipped for m in rows], dtype=torch.float64),
            encoder=encoder.identity,
            config=config,
            seed=seed,
        )


def _means(values: list[Tensor]) -> Tensor:
    return torch.tensor([float(row.nanmean()) for row in values], dtype=torch.float64)


def _errors(values: list[Tensor]) -> Tensor:
    """Standard errors of the means; NaN with fewer than two values."""
    kept = [row[~row.isnan()] for row in values]
    found = [float(row.std() / len(row) ** 0.5) if len(row) > 1 else float("nan") for row in kept]
    return torch.tensor(found, dtype=torch.float64)
