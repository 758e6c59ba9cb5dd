"""Scores of image tensors and of image files, measured image by image and cached by content.

Hwang, Lee, Lee: Anomaly Score, CVPR 2024.

Deviation: C is the mean over several noise directions (the authors' code: one) and V over several
starts, each with its standard error; the preset "paper" takes one of each.
Deviation: noise and attack act on the image as the encoder sees it, cropped and scaled to its
resolution; the paper does not say at which size its images are perturbed.
"""

from __future__ import annotations

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
from wherefrom.core.compute.passes import each_alone
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.files.opening import SkippedFile, UnusableFile
from wherefrom.data.folders import list_images
from wherefrom.encoders.features import FeatureEncoder


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
    whose score is undefined is an `InputError` that names it.
    """
    check_images(images)
    require_gradients(encoder, config)
    called = list(names) if names is not None else [f"image {i}" for i in range(len(images))]
    if len(called) != len(images):
        raise InputError(f"there are {len(images)} images, but {len(called)} names")
    items = track(tensor_items(images, called), "scoring images", total=len(images))
    return _Measurer(encoder, config, seed, cache).scores(items)


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
    skipped: dict[int, SkippedFile] = {}
    items = read_items(
        track(files, "scoring images", total=len(files)), encoder.resolution, skipped
    )
    return _Measurer(encoder, config, seed, cache).scores(items, skipped)


def require_gradients(encoder: FeatureEncoder, config: AnomalyConfig) -> None:
    """An `InputError` if attacks are asked for and the encoder passes no gradient."""
    if config.restarts and not encoder.differentiable:
        raise InputError(
            f"the encoder {encoder.identity.kind} passes no gradient to its images, so it has no "
            "vulnerability and no AS-i; use restarts 0 for the complexity alone, or another encoder"
        )


@dataclass(frozen=True)
class _MeasuringJob:
    """Images to measure together, or one image that need not be measured."""

    images: list[tuple[Item, Tensor]] = field(default_factory=list)
    known: Measurement | None = None  # what the measurement of the one image continues
    answer: tuple[Item, Measurement | str] | None = None  # of the image that need not be measured


@dataclass(frozen=True)
class _Measurer:
    """Measures images by one encoder, with the same settings, seed and cache."""

    encoder: FeatureEncoder
    config: AnomalyConfig
    seed: int
    cache: Cache | None

    def scores(
        self, items: Iterable[Item], skipped: dict[int, SkippedFile] | None = None
    ) -> ImageScores:
        """The scores of the items, in their order.

        An image that cannot be scored goes to `skipped`; without it, it is an `InputError`.
        """
        pairs = []
        for item, result in self.measured(items):
            if isinstance(result, Measurement):
                pairs.append((item, result.first(self.config)))
            elif skipped is None:
                raise InputError(f"{item.name}: {result}")
            else:
                skipped[item.index] = SkippedFile(Path(item.name), result)
        pairs.sort(key=lambda pair: pair[0].index)
        rows = [row for _, row in pairs]
        still = [float(row.still.double().mean()) / self.config.steps for row in rows]
        no_rows = torch.zeros(0, self.encoder.dimension)
        return ImageScores(
            complexity=_means([row.complexities for row in rows]),
            complexity_error=_errors([row.complexities for row in rows]),
            vulnerability=_means([row.vulnerabilities for row in rows]),
            vulnerability_error=_errors([row.vulnerabilities for row in rows]),
            features=torch.stack([row.features for row in rows]) if rows else no_rows,
            names=tuple(item.name for item, _ in pairs),
            digests=tuple(item.digest for item, _ in pairs),
            skipped=tuple(file for _, file in sorted((skipped or {}).items())),
            directions=torch.tensor([len(row.complexities) for row in rows], dtype=torch.int64),
            still=torch.tensor(still, dtype=torch.float64),
            clipped=torch.tensor([row.clipped for row in rows], dtype=torch.float64),
            encoder=self.encoder.identity,
            config=self.config,
            seed=self.seed,
        )

    def measured(self, items: Iterable[Item]) -> Iterator[tuple[Item, Measurement | str]]:
        """Each item with its measurement or with why there is none, not always in order."""
        for job, measurements in each_alone(self._measure, self._jobs(items), self.encoder.device):
            if job.answer is not None:
                yield job.answer
            for (item, _), measurement in zip(job.images, measurements, strict=True):
                if reason := measurement.fault():
                    yield item, reason
                    continue
                if self.cache is not None:
                    self.cache.put(self._key(item), measurement)
                yield item, measurement

    def _jobs(self, items: Iterable[Item]) -> Iterator[_MeasuringJob]:
        waiting: list[tuple[Item, Tensor]] = []
        for item in items:
            known = None if self.cache is None else self.cache.get(self._key(item))
            if known is not None and known.reaches(self.config):
                yield _MeasuringJob(answer=(item, known))
                continue
            try:
                image = item.image()
            except UnusableFile as problem:
                yield _MeasuringJob(answer=(item, problem.reason))
                continue
            if known is not None and len(known.complexities) + len(known.vulnerabilities):
                yield _MeasuringJob([(item, image)], known)
                continue
            waiting.append((item, image))
            if len(waiting) == group_size(self.encoder):
                yield _MeasuringJob(waiting)
                waiting = []
        if waiting:
            yield _MeasuringJob(waiting)

    def _measure(self, job: _MeasuringJob) -> tuple[_MeasuringJob, list[Measurement]]:
        if not job.images:
            return job, []
        images = torch.stack([image for _, image in job.images])
        config, seed = self.config, self.seed
        return job, measure(images, self.encoder, config=config, seed=seed, known=job.known)

    def _key(self, item: Item) -> str:
        return key_of(item.digest, self.encoder.identity, self.config, self.seed)


def _means(values: list[Tensor]) -> Tensor:
    return torch.tensor([float(row.nanmean()) for row in values], dtype=torch.float64)


def _errors(values: list[Tensor]) -> Tensor:
    """Standard errors of the means; NaN with fewer than two values."""
    defined = [row[~row.isnan()] for row in values]
    errors = [float(x.std() / len(x) ** 0.5) if len(x) > 1 else float("nan") for x in defined]
    return torch.tensor(errors, dtype=torch.float64)
