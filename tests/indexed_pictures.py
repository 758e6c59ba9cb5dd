"""Small pictures on disk, and an index of them, for the tests of what becomes of both."""

import shutil
from pathlib import Path

import torch
from torch.nn import functional as F

from wherefrom.core.rng import stream
from wherefrom.data import save_png, to_uint8
from wherefrom.encoders.tiny_conv import TinyConvConfig, as_encoder, make_autoencoder
from wherefrom.origin import References

SMALL = TinyConvConfig(latent_channels=2, width_half=4, width_quarter=4, width_eighth=4, blocks=0)
ENCODER = as_encoder(make_autoencoder(SMALL, seed=1))
COUNT = 6


def draw(path, number):
    """A picture of its own for every number, as a PNG file."""
    coarse = torch.rand(1, 3, 5, 6, generator=stream(number, "picture"))
    image = F.interpolate(coarse, (40, 48), mode="bicubic", align_corners=False).clamp(0, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(to_uint8(image)[0], path)
    return path


def build(home, *, count=COUNT):
    """Pictures 0 to 3 in `home/photos`, the rest in `home/photos/trip`, and `home/refs.index`."""
    for number in range(count):
        draw(home / ("photos" if number < 4 else "photos/trip") / f"{number}.png", number)
    with References.create(home / "refs.index", ENCODER) as references:
        references.add([home / "photos"])
    return home


def copy_home(template, home):
    """A copy of what `build` made, whose index knows no other place than this one."""
    shutil.copytree(template, home)
    with opened(home / "refs.index", writable=True):
        pass  # a writer keeps where the pictures are now
    return home


def opened(index, **options):
    return References.open(index, encoder=ENCODER, **options)


def paths_of(references, home):
    """The paths of all images from `home`, or absolute outside of it, with their numbers."""
    return sorted(_from(image.path, home) for image in references.index.images())


def _from(path, home):
    place, home = Path(path), Path(home).resolve()
    return str(place.relative_to(home)) if place.is_relative_to(home) else path


ALL = sorted([*(f"photos/{n}.png" for n in range(4)), "photos/trip/4.png", "photos/trip/5.png"])
