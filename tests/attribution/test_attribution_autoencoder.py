"""Double reconstruction: what the model's own autoencoder changes."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wherefrom import attribution
from wherefrom.attribution.methods.autoencoder import (
    ROUNDING,
    TextureCorrection,
    make_autoencoder,
    texture,
)
from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.generators.generator import wrap_generator
from wherefrom.metrics.detection import auroc


class Blocks(nn.Module):
    """Makes images of 2x2 blocks; its autoencoder averages every block: a projection."""

    latent_shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 3, 2, 2, groups=3, bias=False)
        nn.init.ones_(self.up.weight)

    def forward(self, z):
        return torch.tanh(self.up(z / 2))

    def reconstruct(self, images):
        assert float(images.min()) < -0.5  # its own range
        return F.interpolate(F.avg_pool2d(images, 2), scale_factor=2)


@pytest.fixture(scope="module")
def blocks():
    return wrap_generator(Blocks())


def test_the_score_is_the_log_of_the_ratio_of_both_changes__closed_form(blocks):
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    r1 = (
        (x - F.interpolate(F.avg_pool2d(x, 2), scale_factor=2))
        .square()
        .mean(dim=(1, 2, 3))
        .double()
    )
    two = make_autoencoder(blocks, "two").score(x)
    one = make_autoencoder(blocks, "one").score(x)
    assert torch.allclose(two, ((r1 + ROUNDING) / ROUNDING).log(), atol=1e-4)  # r2 = 0
    assert torch.allclose(one, (r1 + ROUNDING).log(), atol=1e-4)
    own = make_autoencoder(blocks, "two").score(blocks.sample(4, 1))
    assert torch.allclose(own, torch.zeros(4).double(), atol=1e-4)


def test_own_images_pass_and_others_do_not__limit(blocks):
    others = torch.rand(60, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    rates = {
        "calibration_samples": 40,
        "sibling_samples": 4,
        "sibling_rate": 0.2,
        "false_negative_rate": 0.05,
        "false_positive_rate": 0.05,
    }
    config = attribution.METHODS["autoencoder"].presets["default"].with_values(rates)
    fitted = attribution.fit(blocks, others[:30], method="autoencoder", config=config)
    result = attribution.evaluate(fitted, blocks.sample(40, 9), {"others": others[30:]})
    assert result.own.rejected <= 0.2 and result.others[0].rejected == 1


def test_a_model_without_an_encoder_or_with_a_strange_one_is_refused__bad_input(generator, blocks):
    with pytest.raises(InputError, match="this model has no encoder"):
        make_autoencoder(generator, "two")
    assert attribution.METHODS["autoencoder"].lacks(generator) == "encoder"
    assert attribution.METHODS["autoencoder"].lacks(blocks) == ""
    odd = Blocks()
    odd.reconstruct = lambda images: images[..., :2]
    with pytest.raises(InputError, match="it must keep the shape"):
        wrap_generator(odd).reconstruct(torch.rand(1, 3, 16, 16))


def test_an_ensemble_with_its_autoencoder_needs_the_model__bad_input(blocks, tmp_path):
    config = attribution.METHODS["ensemble"].presets["default"].with_values(
        {
            **{"train_samples": 60, "calibration_samples": 30, "mean_samples": 40},
            **{"sibling_samples": 4, "sibling_rate": 0.2},
            **{"false_negative_rate": 0.1, "false_positive_rate": 0.2, "classifier_samples": 0},
            **{"reference_samples": 20, "lasso.iterations": 3, "autoencoder": True},
            **{"detector.epochs": 1, "spectrum.detector.epochs": 1},
        }
    )  # fmt: skip
    others = torch.rand(75, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    fitted = attribution.fit(blocks, others, method="ensemble", config=config)
    assert fitted.scorer.parts.names[-1] == "autoencoder"
    pieces = fitted.scorer.pieces(others[:9])
    assert float(pieces[:, -1].min()) > 100 and math.isfinite(float(pieces.max()))
    fitted.save(tmp_path / "a")
    with pytest.raises(
        InputError, match="reconstructing them with the whole model, which it does not hold"
    ):
        attribution.load(tmp_path / "a")
    again = attribution.load(tmp_path / "a", generator=blocks)
    assert torch.equal(again.score(others[:5]), fitted.score(others[:5]))


class Etched(Blocks):
    """Its blocks have a faint pattern inside, which its autoencoder loses."""

    def __init__(self):
        super().__init__()
        self.up.weight.data += 0.05 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])

    def reconstruct(self, images):
        return F.interpolate(F.avg_pool2d(images, 2), scale_factor=2)


@pytest.fixture(scope="module")
def etched():
    return wrap_generator(Etched())


def own_pictures(etched, side, name, strengths=(0.03, 1.5)):
    """Pictures of the model from hardly any texture to much, (80, 3, side, side)."""
    z = torch.randn(80, 3, side // 2, side // 2, generator=stream(0, name, side))
    strength = torch.linspace(*strengths, 80).reshape(-1, 1, 1, 1)
    with torch.no_grad():
        return etched.output_map.normalise(etched.module(z * strength))


def foreign_pictures(side, kind):
    """Soft ramps, or noise, (40, 3, side, side)."""
    rng = stream(1, kind, side)
    if kind == "textured":
        return 0.5 + 0.1 * torch.randn(40, 3, side, side, generator=rng)
    slope = 0.003 + 0.003 * torch.rand(40, 3, 1, 1, generator=rng)
    return (0.3 + slope * torch.arange(side)).expand(40, 3, side, side)


@pytest.mark.parametrize("side", [4, 16, 96])  # tiny, usual, large
def test_smooth_pictures_of_others_do_not_pass__limit(etched, side):
    """Among all own pictures their change is small; among own ones as smooth it is large."""
    plain = make_autoencoder(etched, "two")
    scorer = plain.corrected_by(own_pictures(etched, side, "correction"))
    own = own_pictures(etched, side, "own")
    before, after = (
        {kind: auroc(s.score(own), s.score(foreign_pictures(side, kind))) for kind in KINDS}
        for s in (plain, scorer)
    )
    assert before["smooth"] < 0.3 and after["smooth"] > 0.95
    assert after["textured"] >= min(before["textured"], 0.99)


KINDS = ("smooth", "textured")


def test_own_pictures_of_every_texture_score_alike__identity(etched):
    """The correction takes the trend out: the smoothest half scores as the other half does."""
    own = own_pictures(etched, 16, "own")
    smooth, textured = own[:40], own[40:]
    plain = make_autoencoder(etched, "two")
    scorer = plain.corrected_by(own_pictures(etched, 16, "correction"))
    assert auroc(plain.score(smooth), plain.score(textured)) > 0.95
    assert 0.2 < auroc(scorer.score(smooth), scorer.score(textured)) < 0.8


def test_the_lines_are_those_of_least_squares__closed_form():
    t = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    exact = TextureCorrection.of(2 * t + 1, t)
    assert (exact.mean, exact.mean_slope) == pytest.approx((1, 2))
    assert (exact.low, exact.high) == (0, 3)
    beyond = exact.corrected(torch.tensor([8.0]), torch.tensor([9.0]).double())
    assert float(beyond) == pytest.approx(1 / 1e-3, rel=1e-6)  # held at t = 3, where 7 is usual
    same = TextureCorrection.of(torch.tensor([1.0, 3.0]).double(), torch.ones(2).double())
    assert (same.mean, same.mean_slope) == (2, 0)


def test_texture_is_the_difference_from_the_3x3_around__naive_loop():
    x = torch.rand(2, 3, 4, 5, generator=stream(0, "texture"))
    total = 0.0
    for row in range(4):
        for column in range(5):
            near = x[0, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            total += float((x[0, :, row, column] - near.mean(dim=(1, 2))).square().sum())
    assert float(texture(x)[0]) == pytest.approx(math.log(total / 60 + ROUNDING), rel=1e-5)
    assert float(texture(torch.ones(1, 1, 1, 1))) == pytest.approx(math.log(ROUNDING))


def test_the_correction_is_saved__roundtrip(blocks, tmp_path):
    config = attribution.METHODS["autoencoder"].presets["default"].with_values(
        {
            **{"calibration_samples": 20, "sibling_samples": 0, "texture_samples": 10},
            **{"false_negative_rate": 0.05, "false_positive_rate": 0.2},
        }
    )  # fmt: skip
    others = torch.rand(20, 3, 16, 16, generator=stream(0, "others"))
    fitted = attribution.fit(blocks, others, config=config)
    assert fitted.scorer.correction is not None
    fitted.save(tmp_path / "a")
    again = attribution.load(tmp_path / "a", generator=blocks)
    assert again.scorer.correction == fitted.scorer.correction
    bare = attribution.fit(blocks, others, config=config.with_values({"texture_samples": 0}))
    assert bare.scorer.correction is None
