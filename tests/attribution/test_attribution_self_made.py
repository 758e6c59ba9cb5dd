"""No negatives at all; a rate that is sure; images on both sides."""

import dataclasses

import pytest
import torch
from torch import nn

from wherefrom.attribution import evaluate, fit
from wherefrom.attribution.training.other_layers import self_made
from wherefrom.calibration.conformal import guaranteed_rate, tie_width
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import InputError
from wherefrom.data.images.writing import to_uint8
from wherefrom.generators.generator import wrap_generator


@pytest.fixture(scope="module")
def alone(generator, small):
    return fit(generator, None, config=small)


def test_an_owner_without_other_images_gets_verdicts__limit(alone, generator, smooth):
    """From the model alone: real pictures are told apart, own ones are kept."""
    assert alone.provenance["others"]["origin"] == "self-made"
    assert len(alone.other_scores) == 15  # a fifth of 75 = 60 / (1 - 0.2)
    assert alone.check(generator.sample(40, seed=99)).counts()[Verdict.NOT_OURS] <= 8
    assert alone.check(smooth(40, 99)).counts()[Verdict.NOT_OURS] >= 30


def test_self_made_others_are_distinct_and_half_of_each_kind__identity_content(generator):
    pool = self_made(generator, 41, seed=3)
    assert pool.shape == (41, 3, 32, 32) and pool.dtype == torch.uint8
    assert len(torch.unique(pool, dim=0)) == 41
    own = {to_uint8(x).numpy().tobytes() for x in generator.sample(200, seed=3)}
    assert not own & {x.numpy().tobytes() for x in pool}
    assert torch.equal(self_made(generator, 41, seed=3), pool)
    assert not torch.equal(self_made(generator, 41, seed=4), pool)


def test_a_model_that_makes_one_picture__rejects_generator():
    class Constant(nn.Module):
        latent_dim = 4

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3 * 64)
            nn.init.zeros_(self.layer.weight)

        def forward(self, z):
            return torch.tanh(self.layer(z)).reshape(-1, 3, 8, 8)

    with pytest.raises(InputError, match="self-made images are distinct: the model hardly varies"):
        self_made(wrap_generator(Constant()), 30, seed=0)


def test_a_sure_rate_moves_the_threshold_and_the_verdict__closed_form(fitted, generator, smooth):
    config = fitted.config.with_values({"confidence": 0.8})
    sure = dataclasses.replace(fitted, config=config)
    cut = guaranteed_rate(0.05, 40, 0.8, what="rate")
    assert cut == 1 / 41  # 0.95^40 = 0.13, and with one above 0.40
    largest = float(fitted.own_scores.max()) + tie_width(fitted.own_scores)
    assert sure.threshold == largest > fitted.threshold
    rows, plain = sure.check(smooth(30, 7)).images, fitted.check(smooth(30, 7)).images
    for row, before in zip(rows, plain, strict=True):
        assert row.p_value == before.p_value
        assert (row.verdict is Verdict.NOT_OURS) == (row.p_value <= cut)
    with pytest.raises(InputError, match=r"confidence 0\.9 cannot be supported by 40"):
        fit(generator, smooth(80, 0), config=config.with_values({"confidence": 0.9}))


def test_images_on_both_sides__rejects_shared(fitted, generator, smooth):
    own = to_uint8(generator.sample(6, seed=5))
    with pytest.raises(InputError, match="2 of the 5 images of 'rival' are also among the own"):
        evaluate(fitted, own, {"rival": torch.cat([smooth(3, 9), own[:2]])})
