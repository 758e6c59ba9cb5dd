"""PSNR and SSIM of pairs against another library and by hand."""

import math

import pytest
import torch

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.metrics.image_quality import psnr, ssim


def pair(*shape):
    rng = stream(0, *shape)
    first = torch.rand(*shape, generator=rng)
    return first, (first + 0.2 * torch.randn(*shape, generator=rng)).clamp(0, 1)


def test_psnr__naive_loop():
    first, second = pair(3, 2, 4, 5)
    for n in range(3):
        errors = [
            (float(a) - float(b)) ** 2
            for a, b in zip(first[n].flatten(), second[n].flatten(), strict=True)
        ]
        expected = 10 * math.log10(1 / (sum(errors) / len(errors)))
        assert float(psnr(first, second)[n]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_both__reference_skimage(channels):
    """scikit-image with the window of the paper; it keeps only where the window fits, as we do."""
    metrics = pytest.importorskip("skimage.metrics")
    first, second = pair(2, channels, 24, 20)
    for n in range(2):
        a, b = first[n].double().numpy(), second[n].double().numpy()
        result = metrics.structural_similarity(
            a, b, channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, truncate=3.34,
        )  # fmt: skip
        assert float(ssim(first, second)[n]) == pytest.approx(result, abs=1e-9)
        result = metrics.peak_signal_noise_ratio(a, b, data_range=1.0)
        assert float(psnr(first, second)[n]) == pytest.approx(result, abs=1e-9)


@pytest.mark.parametrize("size", [3, 8, 16])
def test_equal_images__limit(size):
    first, second = pair(2, 1, size, size)
    torch.testing.assert_close(ssim(first, first), torch.ones(2, dtype=torch.float64))
    assert bool(torch.isinf(psnr(first, first)).all())
    assert bool((ssim(first, second) < 1).all())


def test_other_shapes__rejects():
    with pytest.raises(InputError, match="two equal shapes"):
        psnr(torch.rand(2, 1, 8, 8), torch.rand(1, 1, 8, 8))
    with pytest.raises(InputError, match="floating-point"):
        ssim(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
