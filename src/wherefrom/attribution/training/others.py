"""Images for a fit: reading them; of the others, how many a fit needs, and which it trains on."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.attribution.config import AttributionConfig, TrainedConfig
from wherefrom.attribution.images.own_images import OwnInputs
from wherefrom.calibration.conformal import needed_samples, require_rate
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data.batches import BatchOptions, ImageBatch, read_files
from wherefrom.data.files.opening import SkippedFile
from wherefrom.data.folders import list_images
from wherefrom.data.splits import sample_indices, split_indices
from wherefrom.data.tables.arrays import read_values
from wherefrom.data.tables.numbers import read_rows
from wherefrom.generators.last_layer.introspection import holds_numbers

MIN_TRAINING_OTHERS = 50
MAX_OTHERS = 20_000  # files of others that are read, unless a fit can use more
MAX_OWN = 20_000  # files of own images that are read
CODEC_SHARE = 0.1  # of the others, or of the own images: above it, lossy files are refused
SCALED_AWAY = 2  # times the model's size

Shape = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class SampleReader:
    """Reads images, or rows of numbers, of the model's shape; `note` is told what was left out."""

    shape: Shape
    resize: bool = False  # crop and scale images to the model's size
    note: Callable[[str], None] = lambda text: None
    track: Track = quiet

    def read(self, paths: Sequence[Path], *, limit: int | None = None) -> Tensor:
        """Distinct images as uint8 (N, *shape), or the rows of tables as float32 (N, *shape).

        `limit`: of more image files so many are drawn before any is read.
        """
        if holds_numbers(self.shape):
            return self.read_table(paths)[0]
        return self._read_images(paths, limit).images

    def read_table(
        self, paths: Sequence[Path], *, columns: Sequence[str] | None = None
    ) -> tuple[Tensor, tuple[str, ...] | None]:
        """Distinct rows, float32 (N, *shape), and the columns' names where files give some.

        A file with other names than `columns` is left out.
        """
        if self.resize:
            raise InputError("--resize scales images, and this model makes rows of numbers")
        batch = read_rows(paths, self.shape, columns=columns, drop_duplicates=True)
        self._note_skipped(paths, batch.skipped, "row", " or files")
        return batch.values, batch.columns

    def read_others(
        self,
        paths: Sequence[Path],
        configs: Collection[AttributionConfig],
        *,
        lossy_allowed: bool = False,
    ) -> Tensor:
        """The others of fits with these settings; of more files than they can use, a random part.

        Unless `lossy_allowed`, an `InputError` where a fit would learn the codec of lossy files.
        """
        if holds_numbers(self.shape):
            return self.read_table(paths)[0]
        batch = self._read_images(paths, max(MAX_OTHERS, *map(wanted_others, configs)))
        if not lossy_allowed and any(_learns_codec(config) for config in configs):
            refuse_codec_leak(batch, _where(paths))
        return batch.images

    def read_own(self, paths: Sequence[Path], *, columns: Sequence[str] | None = None) -> Tensor:
        """Own images with the pixels that the model gave, of its size whatever `resize` says.

        Or rows of tables, with these `columns`.  Of images, a few that are lossy or were changed in
        another way are left out; an `InputError` where they are many, or where none can be used.
        """
        if holds_numbers(self.shape):
            return self.read_table(paths, columns=columns)[0]
        batch = replace(self, resize=False)._read_images(paths, MAX_OWN, at_least=0)
        height, width = self.shape[1:]
        if not batch.paths:
            raise InputError(
                f"{_where(paths)}: no own image can be used (first problem: {batch.skipped[0]}); "
                f"give images as the model made them, {width}x{height} px"
            )
        changes = [
            carrier.altered or ("" if carrier.lossless else f"its file is lossy ({carrier.format})")
            for carrier in batch.carriers
        ]
        changed = [SkippedFile(*pair) for pair in zip(batch.paths, changes, strict=True) if pair[1]]
        if len(changed) > CODEC_SHARE * len(changes):
            raise InputError(
                f"{_where(paths)}: {len(changed)} of {len(changes)} own images were changed after "
                f"the model made them (the first: {changed[0]}): the fit would learn the change, "
                "not the origin; give the model's own output in lossless files such as PNG"
            )
        self._note_skipped(paths, changed, "own file")
        return batch.images[[row for row, change in enumerate(changes) if not change]]

    def read_own_inputs(self, path: Path, kind: str) -> OwnInputs:
        """Latents or activations of own images, from a file of one array (`read_values`)."""
        values = read_values(path, kind)
        if len(values) > MAX_OWN:
            self.note(f"note: {path}: the first {MAX_OWN} of {len(values)} {kind} are used")
        return OwnInputs(kind, torch.from_numpy(values[:MAX_OWN]))

    def read_sources(self, named: Sequence[tuple[str, Path]]) -> Mapping[str, Tensor]:
        """Images by source, from pairs of the source's name and its folder."""
        sources: dict[str, Tensor] = {}
        for name, folder in named:
            if name in sources:
                raise InputError(f"two sources are called {name!r}; give each --other its own name")
            sources[name] = self.read((folder,))
        return sources

    def _read_images(
        self, paths: Sequence[Path], limit: int | None, *, at_least: int = 1
    ) -> ImageBatch:
        channels, height, width = self.shape
        where, files = _where(paths), list_images(paths)
        if limit is not None and limit < len(files):
            self.note(f"note: {where}: {limit} of {len(files)} files were drawn, enough for a fit")
            drawn = sample_indices([str(path) for path in files], limit, seed=0)
            files = [files[row] for row in drawn]
        options = BatchOptions(channels, (height, width), self.resize, at_least)
        batch = read_files(files, where, options, track=self.track)
        self._note_skipped(paths, batch.skipped, "file")
        if batch.lossy:
            noun = "image" if batch.lossy == 1 else "images"
            self.note(
                f"note: {where}: {batch.lossy} {noun} of {len(batch.paths)} come from a lossy "
                "format such as JPEG"
            )
        return batch

    def _note_skipped(
        self, paths: Sequence[Path], skipped: Sequence[SkippedFile], noun: str, more: str = ""
    ) -> None:
        if skipped:
            count = f"{len(skipped)} {noun}{'' if len(skipped) == 1 else 's'}{more}"
            self.note(f"note: {_where(paths)}: {count} left out; the first: {skipped[0]}")


def refuse_codec_leak(batch: ImageBatch, where: str) -> None:
    """An `InputError` if the others bear traces of a codec that own images do not.

    Scaling to half the size or less averages blocks of pixels, and most traces with them.
    """
    height, width = batch.images.shape[2:]
    traced = [
        not file.lossless
        and (file.size[0] < SCALED_AWAY * height or file.size[1] < SCALED_AWAY * width)
        for file in batch.carriers
    ]
    if sum(traced) > CODEC_SHARE * len(traced):
        raise InputError(
            f"{where}: {sum(traced)} of {len(traced)} others are from lossy files, and the model's "
            "own images never were in one: the fit would learn the codec, not the origin; give "
            "lossless or larger files, --immunise 0.8, or --lossy-others to do it all the same"
        )


def _learns_codec(config: AttributionConfig) -> bool:
    return isinstance(config, TrainedConfig) and config.immunise == 0


def _where(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))


def split_others(pool: Tensor, config: AttributionConfig, seed: int) -> dict[str, list[int]]:
    """Rows of the pool to calibrate and to train on; `InputError` for duplicates or too few."""
    keys = [digest_bytes(image.numpy().tobytes()) for image in pool]
    if len(set(keys)) < len(keys):
        raise InputError(
            f"{len(keys) - len(set(keys))} of the {len(keys)} other images are duplicates; "
            "remove them, so that calibration and training stay apart"
        )
    held, train = _part_sizes(config, len(keys))
    if train < (MIN_TRAINING_OTHERS if isinstance(config, TrainedConfig) else 0):
        raise InputError(
            f"there are {len(keys)} other images, at least {needed_others(config)} are needed; "
            "add images that the model did not make"
        )
    require_rate(config.false_positive_rate, held, what="false-positive rate")
    return split_indices(keys, {"calibration": held, "train": train}, seed=seed)


def _part_sizes(config: AttributionConfig, count: int) -> tuple[int, int]:
    """How many of `count` others calibrate, and how many a method may train on."""
    if not isinstance(config, TrainedConfig):
        return min(count, config.calibration_samples), 0
    held = round(config.other_calibration_share * count)
    return held, min(count - held, config.train_samples)


def needed_others(config: AttributionConfig) -> int:
    """The smallest number of other images that supports the false-positive rate."""
    held = needed_samples(config.false_positive_rate, what="false-positive rate")
    if not isinstance(config, TrainedConfig):
        return held
    share = config.other_calibration_share
    count = max(MIN_TRAINING_OTHERS, int((held - 1) / share))
    while count - round(share * count) < MIN_TRAINING_OTHERS or round(share * count) < held:
        count += 1
    return count


def wanted_others(config: AttributionConfig) -> int:
    """How many others a fit can use: so many it makes where it is given none."""
    if not isinstance(config, TrainedConfig):
        return max(needed_others(config), config.calibration_samples)
    use = math.ceil(config.train_samples / (1 - config.other_calibration_share))
    return max(needed_others(config), use)
