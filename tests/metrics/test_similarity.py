"""PSNR and SSIM by hand; random features that no batch changes."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.metrics.frechet import frechet_distance
from wherefrom.metrics.random_features import random_features
from wherefrom.metrics.similarity import psnr, ssim

RNG = torch.Generator().manual_seed(0)
IMAGES = torch.rand(3, 1, 16, 20, generator=RNG)
NOISY = (IMAGES + 0.1 * torch.randn(IMAGES.shape, generator=RNG)).clamp(0, 1)


def test_a_shift_of_a_tenth_is_20_decibels__closed_form():
    flat = torch.full((2, 3, 8, 8), 0.5)
    assert psnr(flat, flat + 0.1).tolist() == pytest.approx([20, 20], rel=1e-5)
    assert psnr(flat, flat).tolist() == [100, 100]


def test_structural_similarity_is_the_windowed_formula__naive_loop():
    def blurred(values):
        return gaussian_filter(values, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    for image, other, found in zip(IMAGES, NOISY, ssim(IMAGES, NOISY), strict=True):
        x, y = (a[0].double().numpy() for a in (image, other))
        mx, my = blurred(x), blurred(y)
        vx, vy, cov = blurred(x * x) - mx**2, blurred(y * y) - my**2, blurred(x * y) - mx * my
        c1, c2 = 0.01**2, 0.03**2
        local = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
        assert float(found) == pytest.approx(float(np.mean(local)), abs=1e-9)
    assert ssim(IMAGES, IMAGES).tolist() == pytest.approx([1, 1, 1])


def test_channels_count_alike__identity_mean():
    colour, other = (x.expand(3, 1, 16, 20).reshape(1, 3, 16, 20) for x in (IMAGES, NOISY))
    each = ssim(IMAGES, NOISY).mean()
    assert float(ssim(colour, other)[0]) == pytest.approx(float(each))
    errors = 10 ** (-psnr(IMAGES, NOISY) / 10)
    assert float(psnr(colour, other)[0]) == pytest.approx(-10 * math.log10(errors.mean()))


def test_random_features_do_not_depend_on_the_batch__identity_batch():
    images = torch.rand(70, 1, 12, 12, generator=torch.Generator().manual_seed(2))
    together = random_features(images)
    assert together.shape == (70, 272) and together.dtype == torch.float32
    assert torch.equal(together[-1:], random_features(images[-1:]))
    assert torch.equal(together, random_features(images.expand(-1, 3, -1, -1)))
    assert random_features(images[:0]).shape == (0, 272)


def test_random_features_tell_sets_apart__identity_distance():
    rng = torch.Generator().manual_seed(1)
    smooth = F.interpolate(torch.rand(1200, 1, 4, 4, generator=rng), 16, mode="bilinear")
    rough = (smooth + 0.2 * torch.randn(smooth.shape, generator=rng)).clamp(0, 1)
    first, second = random_features(smooth[:600]), random_features(smooth[600:])
    alike = frechet_distance(first, second)
    assert frechet_distance(first, random_features(rough[600:])) > 3 * alike


def test_sets_that_do_not_match__rejects_shapes():
    with pytest.raises(InputError, match="cannot be compared"):
        psnr(IMAGES, IMAGES[:2])
    with pytest.raises(InputError, match="needs 11 px"):
        ssim(IMAGES[..., :8, :8], IMAGES[..., :8, :8])
    with pytest.raises(InputError, match="from 8 px"):
        random_features(IMAGES[..., :4, :4])
