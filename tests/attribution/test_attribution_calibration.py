"""What a fit calibrates is enough for every later check, or the fit refuses."""

import pytest
import torch

from wherefrom.attribution import method
from wherefrom.attribution.conditions import CONDITIONS, NOISY, NoiseRange
from wherefrom.attribution.method import Held, calibrated
from wherefrom.attribution.protocol import stored_samples
from wherefrom.calibration.conformal import needed_samples
from wherefrom.core.errors import InputError
from wherefrom.data.writing import to_float
from wherefrom.metrics.noise_level import noise_level

NOISY_ONLY = tuple(one for one in CONDITIONS if one.name == NOISY)


def calibrate(fitted, generator, own, other, share, monkeypatch):
    """A calibration in which a `share` of own images counts as noisy by itself."""
    levels = noise_level(to_float(own))
    border = float(torch.quantile(levels, 1 - share))
    monkeypatch.setattr(method, "_noise_range", lambda *_: NoiseRange(border, 1.0))
    return calibrated(fitted, Held(own, other, 7), NOISY_ONLY, generator, 0)


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_own_images_left_out_as_noisy_are_made_up_for__limit(
    fitted, generator, smooth, monkeypatch, share
):
    """As many as the rate just needs: one clean image less, and every check would refuse."""
    count = needed_samples(fitted.config.false_negative_rate, what="rate")
    own = stored_samples(generator, count, 5)
    found = calibrate(fitted, generator, own, smooth(40, 3), share, monkeypatch)
    assert len(found.own_scores) >= count
    assert len(found.check(own).images) == count


def test_too_few_other_images_that_are_clean_are_refused_by_the_fit__rejects_calibration(
    fitted, generator, smooth, monkeypatch
):
    own = stored_samples(generator, 40, 5)
    noise = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8)
    with pytest.raises(InputError, match=r"false-positive rate of 0\.2 cannot be supported by 0"):
        calibrate(fitted, generator, own, noise, 0.1, monkeypatch)


def test_own_images_that_are_hardly_ever_clean_are_refused_by_the_fit__rejects_calibration(
    fitted, generator, smooth, monkeypatch
):
    own = stored_samples(generator, 40, 5)
    with pytest.raises(InputError, match=r"false-negative rate of 0\.05 cannot be supported"):
        calibrate(fitted, generator, own, smooth(40, 3), 1.0, monkeypatch)
