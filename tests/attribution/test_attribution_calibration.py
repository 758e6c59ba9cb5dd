"""What a fit calibrates is enough for every later check, or the fit refuses."""

import dataclasses

import pytest
import torch

from wherefrom.attribution.images.conditions import CONDITIONS, NOISY, NoiseRange
from wherefrom.attribution.method import HeldOutImages, calibrate
from wherefrom.attribution.protocol import stored_samples
from wherefrom.calibration.conformal import needed_samples
from wherefrom.core.errors import InputError
from wherefrom.data.images.writing import to_float
from wherefrom.metrics.noise_level import noise_level

NOISY_ONLY = tuple(one for one in CONDITIONS if one.name == NOISY)


def calibrate_anew(fitted, generator, own, other, share):
    """The attributor with a calibration in which a `share` of own images counts as noisy."""
    levels = noise_level(to_float(own))
    noise = NoiseRange(float(torch.quantile(levels, 1 - share)), 1.0)

    def score(images, condition):
        return fitted.score(images, condition=condition)

    held = HeldOutImages(own=own, other=other, seed=7)
    clean, altered = calibrate(score, held, NOISY_ONLY, generator, fitted.config, noise=noise)
    return dataclasses.replace(
        fitted,
        own_scores=clean.own,
        other_scores=clean.other,
        sibling_scores=clean.siblings,
        altered=altered,
        noise=noise,
    )


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_own_images_left_out_as_noisy_are_made_up_for__limit(fitted, generator, smooth, share):
    """As many as the rate just needs: one clean image less, and every check would refuse."""
    count = needed_samples(fitted.config.false_negative_rate, what="rate")
    own = stored_samples(generator, count, 5)
    found = calibrate_anew(fitted, generator, own, smooth(40, 3), share)
    assert len(found.own_scores) >= count
    assert len(found.check(own).images) == count


def test_too_few_other_images_that_are_clean_are_refused_by_the_fit__rejects_calibration(
    fitted, generator, smooth
):
    own = stored_samples(generator, 40, 5)
    noise = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8)
    with pytest.raises(InputError, match=r"false-positive rate of 0\.2 cannot be supported by 0"):
        calibrate_anew(fitted, generator, own, noise, 0.1)


def test_own_images_that_are_hardly_ever_clean_are_refused_by_the_fit__rejects_calibration(
    fitted, generator, smooth
):
    own = stored_samples(generator, 40, 5)
    with pytest.raises(InputError, match=r"false-negative rate of 0\.05 cannot be supported"):
        calibrate_anew(fitted, generator, own, smooth(40, 3), 1.0)
