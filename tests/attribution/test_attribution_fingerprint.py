"""SM-F: the residual, the fingerprint and the score against plain arithmetic."""

import sys

import numpy as np
import pytest
import pywt
import torch

from wherefrom.attribution.methods.fingerprint import (
    FingerprintConfig,
    FingerprintScorer,
    fit_fingerprint,
    noise_residual,
    standardise,
    wiener_noise,
)
from wherefrom.attribution.protocol import FitMaterial
from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.data.images.writing import to_float

PLAIN, CLEAN = FingerprintConfig(clean=False), FingerprintConfig()


def test_the_wiener_filter_looks_at_four_windows__naive_loop():
    x = np.random.default_rng(0).normal(size=(2, 7, 6)) * 9
    found = wiener_noise(x, 16.0)
    for n in range(2):
        mirrored = np.pad(x[n], 4, mode="symmetric")
        for i in range(7):
            for j in range(6):
                means = [
                    (mirrored[i + 4 - r : i + 5 + r, j + 4 - r : j + 5 + r] ** 2).mean()
                    for r in (1, 2, 3, 4)
                ]
                signal = max(0.0, min(means) - 16)
                assert found[n, i, j] == pytest.approx(x[n, i, j] * 16 / (16 + signal))


def test_with_much_noise_all_detail_is_noise__limit():
    """sigma -> infinity: the residual is the image without its coarse picture, in grey."""
    images = torch.rand(2, 3, 32, 32)
    found = noise_residual(images, FingerprintConfig(clean=False, sigma=1e6, levels=2))
    expected = np.zeros((2, 32, 32))
    for n in range(2):
        for c, weight in enumerate((0.299, 0.587, 0.114)):
            pixels = images[n, c].double().numpy() * 255
            coarse, *details = pywt.wavedec2(pixels, "db4", level=2)
            empty = [tuple(np.zeros_like(band) for band in bands) for bands in details]
            expected[n] += weight * (pixels - pywt.waverec2([coarse, *empty], "db4"))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)


def test_without_noise_nothing_is_noise__limit():
    assert (
        float(noise_residual(torch.rand(1, 1, 16, 16), FingerprintConfig(sigma=0.0)).abs().max())
        == 0
    )


def test_a_small_image_has_fewer_levels__identity_deviation():
    """Deviation: levels beyond what the side allows would hold nothing but the border."""
    images = torch.rand(1, 1, 16, 20)
    assert pywt.dwt_max_level(16, "db4") == 1
    with_many = noise_residual(images, FingerprintConfig(levels=4))
    assert torch.equal(with_many, noise_residual(images, FingerprintConfig(levels=1)))


def test_odd_sides_keep_their_size__closed_form():
    assert noise_residual(torch.rand(2, 1, 17, 33), PLAIN).shape == (2, 17, 33)


def test_cleaning_takes_lines_and_peaks_away__limit():
    """A pattern of lines, and a plane wave, are gone; faint noise under them stays."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    noise = 0.01 * torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    lines = 0.5 + 0.01 * (rows % 2 * 2 - 1) + noise
    wave = 0.5 + 0.01 * torch.cos(2 * torch.pi * (21 * rows + 9 * columns) / 64) + noise
    for picture in (lines, wave):
        plain, clean = (noise_residual(picture[None, None], c)[0] for c in (PLAIN, CLEAN))
        assert float(clean.std()) < 0.5 * float(plain.std())
        assert 0.5 < float(clean.std()) / float(255 * noise.std()) < 1.1
        assert abs(float(clean.mean())) < 1e-9


@pytest.fixture(scope="module")
def scorer(generator):
    material = FitMaterial(generator, torch.empty(0), seed=5)
    return fit_fingerprint(material, FingerprintConfig(train_samples=70)), material


def test_the_fingerprint_is_the_mean_residual__naive_loop(scorer):
    found, material = scorer
    own = to_float(material.own(70))
    mean = sum(noise_residual(image[None], found.config)[0] for image in own) / 70
    expected = (mean - mean.mean()) / torch.linalg.norm(mean - mean.mean())
    torch.testing.assert_close(found.fingerprint, expected)


def test_the_score_is_minus_the_correlation__reference_numpy(scorer):
    """Deviation: with the residual of x, not with x."""
    found, _ = scorer
    images = torch.rand(3, 3, 32, 32)
    residuals = noise_residual(images, found.config)
    for score, residual in zip(found.score(images).tolist(), residuals, strict=True):
        correlation = np.corrcoef(found.fingerprint.flatten(), residual.flatten())[0, 1]
        assert score == pytest.approx(-correlation, abs=1e-12)


def test_a_constant_image_has_no_correlation__limit(scorer):
    found, _ = scorer
    assert found.score(torch.full((1, 3, 32, 32), 0.5)).tolist() == [0.0]
    assert torch.equal(standardise(torch.ones(1, 2, 2)), torch.zeros(1, 2, 2))


def test_a_planted_pattern_is_found__limit():
    """Images that share a faint fixed pattern score lower than those that do not."""
    rng = torch.Generator().manual_seed(1)
    pattern = torch.randn(32, 32, generator=rng) * 0.02
    plain = torch.full((60, 1, 32, 32), 0.5) + 0.02 * torch.randn(60, 1, 32, 32, generator=rng)
    config = FingerprintConfig()
    mean = noise_residual(plain[:40] + pattern, config).mean(dim=0)
    found = FingerprintScorer(standardise(mean[None])[0], config)
    assert float(found.score(plain[40:] + pattern).max()) < float(found.score(plain[40:]).min())


def test_a_model_without_noise__rejects_model(generator):
    material = FitMaterial(generator, torch.empty(0), seed=0)
    with pytest.raises(InputError, match="no noise, so they have no fingerprint"):
        fit_fingerprint(material, FingerprintConfig(train_samples=2, sigma=0.0))


def test_without_pywavelets__rejects_missing_extra(generator, monkeypatch):
    monkeypatch.setitem(sys.modules, "pywt", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'wherefrom\[attribution\]'"):
        fit_fingerprint(
            FitMaterial(generator, torch.empty(0), 0), FingerprintConfig(train_samples=2)
        )
