"""A small studio on disk: everything that a case can name, fitted in seconds.

Two models of one architecture, an index of photographs, a calibration on real images, an inverter
with untrained weights, and the receipt of a payout.  What the parts answer is as good as their
training; what is tested is that a case asks them and tells the truth about it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from untrained_inverters import fitted_to

from wherefrom.attribution.config import FlipadConfig
from wherefrom.attribution.final_layer.config import LassoConfig
from wherefrom.attribution.method import fit
from wherefrom.core.rng import stream
from wherefrom.data import save_png, to_uint8
from wherefrom.detectors.deep_sad import DeepSadConfig
from wherefrom.generators.generator import wrap_generator

SIDE = 16
FIT = FlipadConfig(
    classifier_samples=0,
    train_samples=50,
    calibration_samples=40,
    sibling_samples=0,  # so small a fit tells no sibling from its own images
    mean_samples=32,
    false_negative_rate=0.05,
    false_positive_rate=0.1,
    lasso=LassoConfig(iterations=8),
    detector=DeepSadConfig(epochs=4, batch=32, representation=16),
)
FAMILY_ERROR = 0.1


@dataclass(frozen=True)
class World:
    """Where everything is."""

    folder: Path

    @property
    def own(self):
        """Images that `mine` made."""
        return self.folder / "own"

    @property
    def others(self):
        """Smooth pictures."""
        return self.folder / "others"

    @property
    def photos(self):
        """What the index holds."""
        return self.folder / "photos"

    def parts(self):
        """What `case add` takes, by name."""
        names = ("mine.attributor", "sister.attributor", "refs.index", "calibration", "model")
        return [self.folder / name for name in names]


def make_module(seed):
    """A generator of 16 px whose last layer leaves a trace."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = nn.Sequential(
            nn.Linear(8, 16 * 64), nn.ReLU(), nn.Unflatten(1, (16, 8, 8)),
            nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip
    with torch.no_grad():
        made[3].weight.mul_(6)
    return made


def smooth(number, size, *, kind="picture"):
    """A smooth picture, (3, H, W) float in [0, 1]."""
    coarse = torch.rand(1, 3, 5, 5, generator=stream(number, kind))
    return F.interpolate(coarse, size, mode="bicubic", align_corners=False).clamp(0, 1)[0]


def write_smooth(folder, numbers, size, *, kind="picture", edited=False):
    """PNG files of smooth pictures; edited ones are darker and a little noisy."""
    folder.mkdir(parents=True)
    for number in numbers:
        image = smooth(number, size, kind=kind)
        if edited:
            noise = torch.randn(image.shape, generator=stream(number, "edit"))
            image = (0.8 * image + 0.02 * noise).clamp(0, 1)
        save_png(to_uint8(image), folder / f"{number:03d}.png")
    return folder


def build(folder):
    """Make the studio below `folder`, and `case.toml`, a case of all of it."""
    world = World(folder)
    _attributors(world)
    _index(world)
    _calibration(world)
    _inverter(world)
    (folder / "receipt.json").write_text(json.dumps(_receipt()))
    _case(world)


def _case(world):
    """By the command line itself."""
    from wherefrom.cli.main import run

    path = str(world.folder / "case.toml")
    rate = ["--family-error", str(FAMILY_ERROR)]
    assert run(["-q", "case", "init", path, "--name", "studio", *rate]) == 0
    for part in world.parts():
        false_alarms = ["--false-alarms", "0.1"] if part.name in ("calibration", "model") else []
        assert run(["-q", "case", "add", path, str(part), *false_alarms]) == 0
    receipt = ["--model", "mine", "--name", "payout"]
    assert run(["-q", "case", "add", path, str(world.folder / "receipt.json"), *receipt]) == 0


def _attributors(world):
    write_smooth(world.others, range(100), (SIDE, SIDE), kind="other")
    images = torch.stack([to_uint8(smooth(n, (SIDE, SIDE), kind="other")) for n in range(100)])
    for seed, name in enumerate(("mine", "sister")):
        generator = wrap_generator(make_module(seed))
        fit(generator, images, config=FIT).save(world.folder / f"{name}.attributor")
        if name == "mine":
            world.own.mkdir()
            for number, image in enumerate(generator.sample(4, seed=99)):
                save_png(to_uint8(image), world.own / f"{number}.png")


def _index(world):
    from wherefrom.encoders import load_encoder
    from wherefrom.encoders.tiny_conv import TinyConvConfig, make_autoencoder, save_autoencoder
    from wherefrom.origin import References

    small = TinyConvConfig(
        latent_channels=2, width_half=4, width_quarter=4, width_eighth=4, blocks=0
    )
    vae = world.folder / "vae"
    save_autoencoder(make_autoencoder(small, seed=1), vae)
    write_smooth(world.photos, range(24), (24, 32))
    elsewhere = write_smooth(world.folder / "elsewhere", range(50, 60), (24, 32))
    edits = write_smooth(world.folder / "edits", range(50, 60), (24, 32), edited=True)
    index = world.folder / "refs.index"
    with References.create(index, load_encoder(vae), source=str(vae)) as references:
        references.add([world.photos])
        lists = sorted(edits.iterdir()), sorted(elsewhere.iterdir())
        references.calibrate(*lists, rate=0.1)


def _calibration(world):
    import dataclasses

    from wherefrom.anomaly import AnomalyConfig, calibrate
    from wherefrom.encoders import load_feature_encoder

    encoder = load_feature_encoder("efficientnet-lite0", resolution=32)
    real = write_smooth(world.folder / "real", range(18), (32, 32), kind="real")
    config = AnomalyConfig(directions=1, restarts=1, steps=2, attack_steps=1)
    found, _ = calibrate([real], encoder, config=config, assumption=None)
    remembered = {"encoder_source": "efficientnet-lite0", "encoder_resolution": 32}
    found = dataclasses.replace(found, provenance={**found.provenance, **remembered})
    found.save(world.folder / "calibration")


def _inverter(world):
    from wherefrom.core.saving.store import digest_tensors
    from wherefrom.inversion.outliers.calibrated import calibrate_outliers

    images = torch.stack([to_uint8(smooth(n, (SIDE, SIDE), kind="normal"))[:1] for n in range(24)])
    fitted = fitted_to(images.float() / 255, shape=(1, SIDE, SIDE))
    fitted.save(world.folder / "model")
    keys = [digest_tensors({"": image}) for image in images]
    calibrate_outliers(fitted, images, keys=keys).save(world.folder / "model" / "outliers")


def _receipt():
    from wherefrom.credit.estimators.design import PairedDesign
    from wherefrom.credit.estimators.paired import estimate_paired
    from wherefrom.credit.ledger.game import RunTable, members_of
    from wherefrom.credit.payout.division import PayoutConfig, divide_pool
    from wherefrom.credit.payout.receipt import make_receipt

    names, worth = ["ann", "ben", "cleo", "dora"], np.array([4.0, 1.0, 2.0, 0.5])
    planned = PairedDesign(4).take(60)
    masks = np.array([members_of(run.mask, 4) for run in planned])
    noise = 0.1 * np.random.default_rng(0).normal(size=len(planned))
    table = RunTable(masks, masks @ worth + noise, np.array([run.seed for run in planned]))
    shares = estimate_paired(table)
    money = divide_pool(shares, names, "100.00", config=PayoutConfig())
    return make_receipt(
        {
            "contributors": names,
            "game": {"digest": "sha256:00", "players": 4, "spec": {}},
            "property": {"name": "diversity", "spec": {}},
        },
        table=table,
        shares=shares,
        payout=money,
        settings={"pool": "100.00"},
    )
