"""The noise of an image: known noise, an independent library, clipped pixels."""

import numpy as np
import pytest
import pywt
import torch
from skimage.restoration import estimate_sigma

from wherefrom.core.rng import stream
from wherefrom.metrics.noise_level import MIN_BLOCKS, noise_level


def noisy(sigma, *, side=64, count=3, seed=0):
    rng = stream(seed, "noise", sigma)
    ramp = torch.linspace(0.3, 0.7, side).expand(count, 2, side, side)
    return ramp + sigma * torch.randn(count, 2, side, side, generator=rng)


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_known_noise_is_found__limit(sigma):
    """The median of 1024 |n| has a relative deviation of 3.6 %; two channels make it 2.6 %."""
    result = noise_level(noisy(sigma))
    assert result.tolist() == pytest.approx([sigma] * 3, rel=0.1)


def test_it_is_the_median_of_haar_s_diagonal_details__reference_pywt():
    x = noisy(0.03).double()
    detail = pywt.dwt2(x.numpy(), "haar", axes=(-2, -1))[1][2]
    ordered = np.sort(np.abs(detail).reshape(3, 2, -1), axis=2)
    lower = ordered[:, :, (ordered.shape[2] - 1) // 2]  # torch's median of an even number
    expected = lower.mean(axis=1) / 0.6744897501960817
    np.testing.assert_allclose(noise_level(x).numpy(), expected, rtol=1e-12)
    # another wavelet, another way to the same number
    theirs = [estimate_sigma(image.numpy(), channel_axis=0, average_sigmas=True) for image in x]
    np.testing.assert_allclose(noise_level(x).numpy(), theirs, rtol=0.15)


def test_clipped_blocks_are_left_out__limit():
    x = noisy(0.05, side=32)
    half = x.clone()
    half[..., :16] = 0.0
    assert noise_level(half).tolist() == pytest.approx(noise_level(x[..., 16:]).tolist(), rel=1e-12)
    black = torch.zeros(2, 1, 32, 32)
    assert noise_level(black).tolist() == [0.0, 0.0]
    few = black.clone()
    few[:, :, :2, : 2 * (MIN_BLOCKS - 1)] = torch.rand(2, 1, 2, 2 * (MIN_BLOCKS - 1)) * 0.5 + 0.2
    assert noise_level(few).tolist() == [0.0, 0.0]


def test_odd_sides_and_neighbours__identity_batch_independence():
    x = noisy(0.02, side=31)
    together = noise_level(x)
    assert torch.equal(noise_level(x[..., :30, :30]), together)
    for i in range(3):
        assert torch.equal(noise_level(x[i : i + 1])[0], together[i])
