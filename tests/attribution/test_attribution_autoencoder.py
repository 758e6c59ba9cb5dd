"""Double reconstruction: what the model's own autoencoder changes."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wherefrom import attribution
from wherefrom.attribution.methods.autoencoder import ROUNDING, make_autoencoder
from wherefrom.core.errors import InputError
from wherefrom.generators.generator import wrap_generator


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
