"""The suspects: images of known origin, named for it, and the truth about each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.case.demo.edits import EDITS
from wherefrom.case.demo.material import (
    STRANGER,
    DemoMaterial,
    open_photograph,
    shipped_photographs,
)
from wherefrom.case.demo.parts import MODEL, save_noise
from wherefrom.core.rng import derive_seed, stream
from wherefrom.data.images.items import to_pixels
from wherefrom.data.images.writing import save_png, to_float, to_uint8

SIBLING, RIVAL = "fashion-dcgan-1", "fashion-lsgan-0"
NO_ORIGIN = ""
NOISE = 0.3


@dataclass(frozen=True)
class Suspect:
    """The truth about one suspect.  None: the truth is not known, and the answer is not graded.

    `kind` names what went wrong in the explanations; `origin` is the name of a photograph in the
    index, `NO_ORIGIN` if it was made from none.
    """

    kind: str
    truth: str
    by_my_model: bool | None = False
    origin: str | None = NO_ORIGIN
    natural: bool | None = None
    shows_clothes: bool | None = False


MINE = Suspect("mine", "made by my model", by_my_model=True, shows_clothes=True)
BROKEN = Suspect("broken", "a file cut off in the middle", None, None, None, None)


def _edited(origin: str, truth: str) -> Suspect:
    return Suspect("edit", truth, origin=origin)


SUSPECTS: dict[str, Suspect] = {
    "mine-1.png": MINE,
    "mine-2.png": MINE,
    "sibling.png": Suspect("sibling", "my model's design, other seed", shows_clothes=True),
    "rival.png": Suspect("rival", "another model of clothes", shows_clothes=True),
    "real-clothes.png": Suspect(
        "real", "real picture of clothes", natural=True, shows_clothes=True
    ),
    "noise.png": Suspect("damaged", "random pixels", natural=False),
    "mountain-copy.jpg": Suspect("copy", "my photo, smaller", origin="mountain", natural=True),
    "meadow-recoloured.png": _edited("meadow", "my photo in evening light"),
    "wine-pasted.png": _edited("wine-1", "my photo, sticker and caption"),
    "brushes-painted.png": _edited("brushes", "my photo as a painting"),
    "dandelion-redrawn.png": _edited("dandelion-1", "my photo, redrawn by a network"),
    "fig-reframed.png": _edited("fig", "my photo cropped, mirrored, sepia"),
    "stranger.png": Suspect("stranger", "somebody else's photo", natural=True),
    "stranger-painted.png": Suspect("stranger", "somebody else's photo, painted"),
    "stranger-noisy.png": Suspect("damaged", "somebody else's photo, very noisy", natural=False),
    "broken.png": BROKEN,
}


def write_suspects(material: DemoMaterial) -> Path:
    """The files of `SUSPECTS` in a new folder, which is returned."""
    folder = material.folder / "suspects"
    folder.mkdir()
    _write_clothes(folder, material)
    _write_photographs(folder, material.seed)
    whole = (folder / "meadow-recoloured.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    return folder


def _write_clothes(folder: Path, material: DemoMaterial) -> None:
    from wherefrom.generators.loading import load_generator

    seed = derive_seed(material.seed, "demo", "suspects")
    drawn = {
        name: to_uint8(load_generator(f"zoo:{model}").sample(count, seed=seed))
        for name, model, count in (("mine", MODEL, 2), ("sibling", SIBLING, 1), ("rival", RIVAL, 1))
    }
    (real,) = material.clothes["suspects"]
    images = {
        "mine-1": drawn["mine"][0],
        "mine-2": drawn["mine"][1],
        "sibling": drawn["sibling"][0],
        "rival": drawn["rival"][0],
        "real-clothes": real,
    }
    for name, image in images.items():
        save_png(image, folder / f"{name}.png")
    save_noise(folder / "noise.png", tuple(real.shape), seed)


def _write_photographs(folder: Path, seed: int) -> None:
    mine, others = shipped_photographs("mine"), shipped_photographs("others")
    sticker = open_photograph(others[f"{STRANGER}-1"])
    copy = open_photograph(mine["mountain"])
    copy.resize((copy.width * 3 // 4, copy.height * 3 // 4)).save(
        folder / "mountain-copy.jpg", quality=80
    )
    stranger = open_photograph(others[STRANGER])
    stranger.save(folder / "stranger.png")
    save_png(add_noise(to_pixels(stranger), seed), folder / "stranger-noisy.png")
    for name, suspect in SUSPECTS.items():
        kind = Path(name).stem.partition("-")[2]
        if kind in EDITS:
            origin = mine[suspect.origin] if suspect.origin else others[STRANGER]
            source = derive_seed(seed, "demo", "suspects", name)
            EDITS[kind](open_photograph(origin), sticker, source).save(folder / name)


def add_noise(pixels: Tensor, seed: int) -> Tensor:
    """uint8 (C, H, W) with normal noise of deviation `NOISE` (white is 1)."""
    noise = torch.randn(pixels.shape, generator=stream(seed, "demo", "noisy photograph"))
    return to_uint8((to_float(pixels) + NOISE * noise).clamp(0, 1))
