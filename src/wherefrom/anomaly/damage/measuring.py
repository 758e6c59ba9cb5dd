"""What a damage test sees of an image: moments of a network's layers, and its frequencies."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.anomaly.damage.spectrum import SIDE, spectrum
from wherefrom.core.compute.passes import in_passes
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track
from wherefrom.data.files.opening import SkippedFile, UnusableFile
from wherefrom.data.folders import list_images
from wherefrom.data.images.items import crop_and_resize, read_image, too_little
from wherefrom.data.images.writing import to_float
from wherefrom.encoders.features import FeatureNetwork

PASS = 8  # images through the network at once
GROUP = 64  # images in memory at once
SMALL, SMALL_SIDE, LARGE_SIDE = 96, 96, 224  # px: images up to SMALL are seen at SMALL_SIDE


@dataclass(frozen=True, eq=False)
class Seen:
    """One image file: its pixels as the network's damage is made, and its frequencies."""

    path: Path
    digest: str
    pixels: Tensor  # (3, s, s) uint8, the central part; s at most the network's side
    spectrum: Tensor  # (73,) float64, of the file's own pixels

    @property
    def image(self) -> Tensor:
        """(3, s, s) float in [0, 1]."""
        return to_float(self.pixels)


def read_all(
    files: Sequence[Path], side: int, skipped: list[SkippedFile], track: Track
) -> Iterator[Seen]:
    """The images; a file that cannot be used goes to `skipped`, with the reason."""
    for path in track(files, "reading images", total=len(files)):
        try:
            read = read_image(path, channels=3, losses=False)
            small = min(read.pixels.shape[1:])
            if small < SIDE:
                raise UnusableFile(path, f"has a side of {small} px; at least {SIDE} are needed")
            if reason := too_little(read.carrier.size, (side, side)):
                raise UnusableFile(path, reason)
        except UnusableFile as problem:
            skipped.append(SkippedFile(path, problem.reason))
            continue
        size = (min(small, side),) * 2
        pixels = crop_and_resize(read.pixels, size)
        yield Seen(path, read.digest, pixels, spectrum(read.pixels))


def in_groups(seen: Iterable[Seen]) -> Iterator[list[Seen]]:
    """Up to `GROUP` at a time."""
    rest = iter(seen)
    while group := list(itertools.islice(rest, GROUP)):
        yield group


def choose_side(paths: Sequence[Path]) -> int:
    """The side at which the network sees images: by the middle one of up to 25 of the files."""
    files, sides = list_images(paths, once=True), []
    for path in files[:: max(1, len(files) // 25)]:
        try:
            sides.append(min(read_image(path, losses=False).pixels.shape[1:]))
        except InputError:
            continue
    middle = sorted(sides)[len(sides) // 2] if sides else LARGE_SIDE
    return SMALL_SIDE if middle <= SMALL else LARGE_SIDE


@dataclass(frozen=True, eq=False)
class MeasuredImages:
    """N images as numbers."""

    values: Tensor  # (N, F) float64: moments of the layers, and frequencies of what they see
    spectra: Tensor  # (N, 73) float64: frequencies of the files' own pixels


def measure(seen: Sequence[Seen], network: FeatureNetwork) -> MeasuredImages:
    """The numbers of images, some in memory at a time."""
    values = [
        learned_values([image.pixels for image in group], network) for group in in_groups(seen)
    ]
    return MeasuredImages(torch.cat(values), torch.stack([image.spectrum for image in seen]))


def learned_values(images: Sequence[Tensor], network: FeatureNetwork) -> Tensor:
    """(N, F) float64 of uint8 images (3, s, s) of any sides, each whatever the others."""
    size = [network.resolution] * 2
    rows = [
        F.interpolate(to_float(image)[None], size, mode="bicubic", antialias=True)[0]
        for image in images
    ]
    with torch.no_grad():
        moments = in_passes(network.features, torch.stack(rows), size=PASS).double()
    return torch.cat([moments, torch.stack([spectrum(image) for image in images])], dim=1)
