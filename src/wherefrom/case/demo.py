"""A case of what the package ships, fitted in minutes at a small scale, and suspects to ask about.

The models are two GANs of clothes, the images Fashion-MNIST's test images (both shipped, with their
notices).  The attributors take minutes each to fit, so they are shipped, too, fitted by
experiments/demo_attributors.py.  The other parts are fitted here, to few images, and an inverter
trained for a minute says little; the demo shows how a case is made and read, not how well the
methods do (docs/results holds that).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wherefrom.case.file import KINDS, Case, CaseConfig, relative, write_case
from wherefrom.case.identity import digest_of
from wherefrom.core.errors import MissingExtraError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream
from wherefrom.core.store import digest_tensors
from wherefrom.data.writing import save_png, to_float, to_uint8

MODELS = {"dcgan": "fashion-dcgan-0", "wgan-gp": "fashion-wgan-gp-0"}
RIVAL = "fashion-lsgan-0"
FAMILY_ERROR = 0.02
SIDE = 32
# Which of the 2600 shipped images serve what; no image serves two purposes.
OTHERS, REFERENCES, EDITED, REAL = (0, 900), (900, 960), (960, 985), (1140, 1191)
TRAINED, OWN, CREDITED, SUSPECTS = (1210, 2210), (2210, 2430), (2430, 2490), (2490, 2600)
STUDY = """
[study]
name = "demo"
[contributors]
folder = "contributors"
channels = 1
size = 8
[game]
kind = "retrain"
[model]
width = 8
levels = 1
blocks = 1
attention = false
groups = 4
[training]
steps = 40
batch = 16
learning_rate = 3e-3
average = 0.9
[sampling]
images = 24
steps = 8
[design]
kind = "exact"
runs = 16
anchors = 3
[[property]]
kind = "frechet"
"""


@dataclass(frozen=True)
class Demo:
    """Where the case and the suspects are, and which parts could not be made, with the reason."""

    case: Path
    suspects: Path
    main: Path  # the suspect that a report of its own is about
    left_out: tuple[str, ...]


def make_demo(folder: Path, *, seed: int = 0, track: Track = quiet) -> Demo:
    """Put everything below `folder`, which is there and empty.  Minutes on two cores."""
    photographs = shipped_photographs()
    steps: dict[str, Callable[[], Path]] = {
        **{f"attributor {name}": _attributor(folder, name) for name in MODELS},
        "index of photographs": lambda: _index(folder, photographs, seed),
        "calibration on real images": lambda: _calibration(folder, photographs, seed),
        "inverter": lambda: _inverter(folder, photographs, seed),
        "credit study": lambda: _receipt(folder, photographs),
    }
    made, left_out = [], []
    for what in track(steps, "fitting", total=len(steps)):
        try:
            made.append(steps[what]())
        except MissingExtraError as error:
            left_out.append(f"{what}: {error}")
    case = _case(folder / "case.toml", made)
    suspects = folder / "suspects"
    return Demo(case, suspects, _suspects(suspects, photographs, seed), tuple(left_out))


def shipped_photographs() -> Tensor:
    """Fashion-MNIST's test images, uint8 (2600, 1, 32, 32)."""
    place = files("wherefrom") / "assets" / "fashion-mnist" / "test-images-0-2600.npz"
    with np.load(str(place), allow_pickle=False) as archive:
        padded = np.pad(archive["images"], ((0, 0), (2, 2), (2, 2)))
    return torch.from_numpy(padded)[:, None]


def _rows(images: Tensor, which: tuple[int, int]) -> Tensor:
    return images[which[0] : which[1]]


def _save(images: Tensor, folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"{number:04d}.png" for number in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        save_png(image, path)
    return paths


def _attributor(folder: Path, name: str) -> Callable[[], Path]:
    def make() -> Path:
        from wherefrom.attribution.fitted import load

        place = folder / f"{name}.attributor"
        load(Path(str(shipped_attributor(name)))).save(place)
        return place

    return make


def shipped_attributor(name: str) -> Traversable:
    """The folder of the attributor that is shipped for one of `MODELS`."""
    return files("wherefrom") / "assets" / "demo" / f"{name}.attributor"


def _index(folder: Path, photographs: Tensor, seed: int) -> Path:
    from wherefrom.encoders import load_encoder
    from wherefrom.origin.references import References
    from wherefrom.origin.settings import SearchConfig

    place = folder / "photographs.index"
    kept = _save(_rows(photographs, REFERENCES), folder / "photographs")
    elsewhere = _save(_rows(photographs, EDITED), folder / "elsewhere")
    edits = _save(edited(_rows(photographs, EDITED), seed), folder / "edits")
    with References.create(place, load_encoder(), source="default") as references:
        references.add(kept)
        quick = SearchConfig(rerank=False)
        references.calibrate(edits, elsewhere, rate=0.05, config=quick, seed=seed)
    return place


def edited(images: Tensor, seed: int) -> Tensor:
    """Darker and a little noisy: no file that is in an index, and no copy of one."""
    draw = torch.randn(images.shape, generator=stream(seed, "demo", "edit"))
    return to_uint8((0.75 * to_float(images) + 0.06 * draw).clamp(0, 1))


def _calibration(folder: Path, photographs: Tensor, seed: int) -> Path:
    from wherefrom.anomaly.config import AnomalyConfig
    from wherefrom.anomaly.method import calibrate
    from wherefrom.encoders import load_feature_encoder

    source, resolution = "efficientnet-lite0", 64
    encoder = load_feature_encoder(source, resolution=resolution)
    real = _save(_rows(photographs, REAL), folder / "real")
    config = AnomalyConfig(directions=2, restarts=1, steps=5, attack_steps=4)
    found, _ = calibrate(real, encoder, config=config, assumption=None, seed=seed)
    remembered = {"encoder_source": source, "encoder_resolution": resolution}
    place = folder / "real.calibration"
    dataclasses.replace(found, provenance={**found.provenance, **remembered}).save(place)
    return place


def _inverter(folder: Path, photographs: Tensor, seed: int) -> Path:
    from wherefrom.data.shaping import crop_and_resize
    from wherefrom.inversion.config import InversionConfig
    from wherefrom.inversion.method import fit
    from wherefrom.inversion.outliers import calibrate_outliers

    def small(which: tuple[int, int]) -> Tensor:
        return torch.stack([crop_and_resize(x, (16, 16)) for x in _rows(photographs, which)])

    place = folder / "inverter.model"
    config = InversionConfig(latent=16, width=8, steps=150, ema=0.97, calibration_samples=512)
    fitted = fit(small(TRAINED), config=config, seed=seed)
    fitted.save(place)
    own = small(OWN)
    keys = [digest_tensors({"": image}) for image in own]
    calibrate_outliers(fitted, own, keys=keys, seed=seed).save(place / "outliers")
    return place


def _receipt(folder: Path, photographs: Tensor) -> Path:
    from wherefrom.credit.estimate import estimate
    from wherefrom.credit.method import open_study, run_study
    from wherefrom.credit.payout import PayoutConfig, divide_pool
    from wherefrom.credit.receipt import make_receipt

    for name, part in zip("abc", _rows(photographs, CREDITED).chunk(3), strict=True):
        _save(part, folder / "contributors" / f"contributor {name}")
    study = folder / "study.toml"
    study.write_text(STUDY)
    opened = open_study(study)
    run_study(opened)
    with opened.ledger(readonly=True) as ledger:
        table = ledger.runs("frechet")
    shares = estimate(table)
    settings = {"pool": "1000.00", "currency": "EUR", "method": "auto", "level": shares.level}
    receipt = make_receipt(
        contributors=opened.data.names,
        game={
            "digest": opened.identity.digest,
            "players": opened.identity.players,
            "spec": dict(opened.identity.spec),
        },
        measured={"name": "frechet", "spec": dict(opened.specs["frechet"])},
        table=table,
        shares=shares,
        payout=divide_pool(shares, opened.data.names, "1000.00", config=PayoutConfig()),
        settings=settings,
    )
    place = folder / "receipt.json"
    place.write_text(json.dumps(receipt, indent=1, allow_nan=False))
    return place


KIND_OF = {".attributor": "attributor", ".index": "origin", ".calibration": "anomaly"} | {
    ".model": "inverter",
    ".json": "credit",
}
MORE: dict[str, dict[str, Any]] = {
    "anomaly": {"false_alarms": 0.03},
    "inverter": {"false_alarms": 0.02},
    "credit": {"model": "dcgan"},
}


def _case(path: Path, made: list[Path]) -> Path:
    parts = []
    kinds = [KIND_OF[place.suffix] for place in made]
    for kind, place in zip(kinds, made, strict=True):
        if kind == "credit" and "attributor" not in kinds:
            continue  # there is no model in the case that it could be about
        told = {"name": place.stem, "path": relative(place, path), "digest": digest_of(kind, place)}
        parts.append(KINDS[kind].from_dict({**told, **MORE.get(kind, {})}))
    write_case(Case(path, CaseConfig(name="demo", family_error=FAMILY_ERROR), tuple(parts)))
    return path


def _suspects(folder: Path, photographs: Tensor, seed: int) -> Path:
    """Images of known making under names that tell it; the first of them is returned."""
    from wherefrom.generators.loading import load_generator

    folder.mkdir()
    drawn = {
        f"made-by-{name}": load_generator(f"zoo:{weights}").sample(2, seed=seed + 2026)
        for name, weights in (*MODELS.items(), ("a-rival", RIVAL))
    }
    shown = {name: to_uint8(images) for name, images in drawn.items()}
    shown["edited-photograph"] = edited(_rows(photographs, REFERENCES)[:2], seed + 1)
    shown["photograph-in-the-index"] = _rows(photographs, REFERENCES)[2:3]
    shown["another-photograph"] = _rows(photographs, SUSPECTS)[:2]
    noise = torch.rand((1, 1, SIDE, SIDE), generator=stream(seed, "demo", "noise"))
    shown["noise"] = to_uint8(noise)
    for name, images in shown.items():
        for number, image in enumerate(images):
            save_png(image, folder / f"{name}-{number}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return folder / "made-by-dcgan-0.png"
