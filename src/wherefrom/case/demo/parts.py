"""The five fitted parts of the demo's case, each into a file or folder below the demo's folder."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.case.demo.edits import EDITS
from wherefrom.case.demo.material import (
    DemoMaterial,
    calibration_photographs,
    open_photograph,
    save_images,
    shipped_photographs,
)
from wherefrom.core.rng import derive_seed, stream
from wherefrom.core.saving.store import digest_tensors
from wherefrom.data.images.items import crop_and_resize
from wherefrom.data.images.writing import save_png, to_uint8

MODEL = "fashion-dcgan-0"
ENCODER = "efficientnet-lite0"
NOISE = "noise"  # the contributor whose images are random pixels
STUDY = """\
[study]
name = "demo"
seed = {seed}

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
steps = {steps}
batch = 16
learning_rate = 3e-3
average = 0.9

[sampling]
images = 64
steps = 8

[design]
kind = "paired"
payout = true
runs = {runs}

[[property]]
kind = "frechet"
reference = "real-clothes"
"""


def fit_attributor(material: DemoMaterial) -> Path:
    """An attributor of the shipped DCGAN, fitted against real clothes: what takes longest."""
    from wherefrom.attribution.method import fit
    from wherefrom.generators.loading import load_generator

    place = material.folder / "my-model.attributor"
    fitted = fit(
        load_generator(f"zoo:{MODEL}"),
        material.clothes["others"],
        config=material.config.attribution,
        seed=material.seed,
        track=material.track,
    )
    fitted.save(place)
    return place


def build_index(material: DemoMaterial) -> Path:
    """An index of my photographs, calibrated by edits of photographs that are not in it."""
    from wherefrom.encoders import DEFAULT_FEATURES, load_encoder
    from wherefrom.origin.collection.references import References
    from wherefrom.origin.joint.rows import load_features

    folder, config = material.folder, material.config
    place = folder / "my-photographs.index"
    mine = copy_files(shipped_photographs("mine"), folder / "photographs")
    elsewhere = copy_files(calibration_photographs(), folder / "elsewhere")
    edits = write_edits(elsewhere, folder / "edits", material.seed)
    with References.create(
        place,
        load_encoder(),
        source="default",
        features=load_features(DEFAULT_FEATURES),
        features_source=DEFAULT_FEATURES,
    ) as references:
        references.add(mine, track=material.track)
        references.calibrate(
            edits,
            elsewhere,
            rate=config.edits_false_alarms,
            seed=material.seed,
            track=material.track,
        )
    return place


def write_edits(origins: list[Path], folder: Path, seed: int) -> list[Path]:
    """One edit of each picture, of all kinds in turn, under the name of its origin."""
    folder.mkdir()
    edits, kinds = [], list(EDITS.values())
    for number, path in enumerate(origins):
        # A photograph has as many pictures as there are kinds: each begins with another kind.
        edit = kinds[(number + number // len(kinds)) % len(kinds)]
        other = open_photograph(origins[(7 * number + 3) % len(origins)])
        edited = edit(open_photograph(path), other, derive_seed(seed, "demo", "edits", number))
        edits.append(folder / f"{path.stem}.png")
        edited.save(edits[-1])
    return edits


def calibrate_naturalness(material: DemoMaterial) -> Path:
    """What is natural: photographs of other people and real clothes, half and half."""
    from wherefrom.anomaly.method import calibrate
    from wherefrom.encoders import load_feature_encoder

    config = material.config
    encoder = load_feature_encoder(ENCODER, resolution=config.anomaly_side)
    clothes = save_images(material.clothes["real"], material.folder / "clothes")
    fitted, _ = calibrate(
        [*calibration_photographs().values(), *clothes],
        encoder,
        config=config.anomaly,
        assumption=None,
        seed=material.seed,
        track=material.track,
    )
    source = {"encoder_source": ENCODER, "encoder_resolution": config.anomaly_side}
    place = material.folder / "real-images.calibration"
    dataclasses.replace(fitted, provenance={**fitted.provenance, **source}).save(place)
    return place


def train_inverter(material: DemoMaterial) -> Path:
    """An autoencoder of small clothes, and how badly it redraws clothes it was not trained on."""
    from wherefrom.inversion.method import fit
    from wherefrom.inversion.outliers.calibrated import calibrate_outliers

    side = material.config.inverter_side

    def small(images: Tensor) -> Tensor:
        return torch.stack([crop_and_resize(image, (side, side)) for image in images])

    place = material.folder / "clothes.inverter"
    fitted = fit(
        small(material.clothes["inverter"]),
        config=material.config.inversion,
        seed=material.seed,
        track=material.track,
    )
    fitted.save(place)
    own = small(material.clothes["outliers"])
    keys = [digest_tensors({"": image}) for image in own]
    calibrate_outliers(fitted, own, keys=keys, seed=material.seed).save(place / "outliers")
    return place


def study_credit(material: DemoMaterial) -> Path:
    """Shares of two contributors of clothes and one of noise in a model trained again and again.

    The study uses a tiny diffusion model of clothes instead of the GAN, which would take hours to
    train again for every subset.
    """
    from wherefrom.credit import pay
    from wherefrom.credit.method import open_study, run_study

    folder, config = material.folder, material.config
    shape = material.clothes["clothes-1"].shape
    noise = torch.rand(shape, generator=stream(material.seed, "demo", "noise contributor"))
    given = {name: material.clothes[name] for name in ("clothes-1", "clothes-2")}
    for name, images in {**given, NOISE: to_uint8(noise)}.items():
        save_images(images, folder / "contributors" / name)
    save_images(material.clothes["compared"], folder / "real-clothes")
    study = folder / "study.toml"
    study.write_text(
        STUDY.format(seed=material.seed, steps=config.credit_steps, runs=config.credit_runs)
    )
    opened = open_study(study)
    run_study(opened, track=material.track)
    receipt = pay(opened, "1000.00", property="frechet").receipt
    place = folder / "shares.json"
    place.write_text(json.dumps(receipt, indent=1, allow_nan=False))
    return place


def copy_files(files: dict[str, Path], folder: Path) -> list[Path]:
    """Copies in a new folder, in the order of the names."""
    folder.mkdir()
    return [Path(shutil.copyfile(path, folder / path.name)) for path in files.values()]


def save_noise(path: Path, shape: tuple[int, int, int], seed: int) -> None:
    """A PNG file of random pixels."""
    save_png(to_uint8(torch.rand(shape, generator=stream(seed, "demo", "noise"))), path)
