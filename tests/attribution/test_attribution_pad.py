"""Features of RawPAD and DCTPAD against plain arithmetic."""

import numpy as np
import pytest
import torch

from wherefrom.attribution.methods.pad import (
    DctPadConfig,
    RawPadConfig,
    centre_crop,
    dct_features,
    fit_pad,
    raw_features,
)
from wherefrom.attribution.protocol import FitMaterial
from wherefrom.data.images.writing import to_float

DCT_TOLERANCE = 1e-5  # float32 of logarithms up to 23


def test_raw_features_are_every_second_pixel__closed_form():
    images = torch.rand(2, 3, 64, 20)
    assert torch.equal(raw_features(images, 32), 2 * images[:, :, ::2] - 1)
    assert torch.equal(raw_features(images, 64), 2 * images - 1)


def cosines(size):
    """The orthonormal DCT-II matrix."""
    k, i = np.mgrid[:size, :size]
    matrix = np.cos(np.pi * (2 * i + 1) * k / (2 * size)) * np.sqrt(2 / size)
    matrix[0] /= np.sqrt(2)
    return matrix


def test_dct_features_are_logarithms_of_cosine_sums__naive_loop():
    images = torch.rand(3, 2, 8, 12)
    found = dct_features(images, 32)
    assert found.dtype == torch.float32
    for i in range(3):
        for c in range(2):
            spectrum = cosines(8) @ images[i, c].double().numpy() @ cosines(12).T
            expected = torch.from_numpy(np.log(np.abs(spectrum) + 1e-10)).float()
            torch.testing.assert_close(found[i, c], expected, rtol=DCT_TOLERANCE, atol=1e-3)


def test_zeros_of_the_spectrum_are_clipped_at_the_paper_s_constant__limit():
    """A constant picture has one coefficient; the others are log(1e-10), App. G.7."""
    found = dct_features(torch.full((1, 1, 8, 8), 0.5), 8)[0, 0]
    assert found[0, 0] == pytest.approx(np.log(4.0))
    assert torch.all(found.flatten()[1:] < np.log(1e-9))


@pytest.mark.parametrize(("size", "kept"), [((40, 33), (4, 0)), ((32, 8), (0, 0))])
def test_the_centre_is_kept__closed_form(size, kept):
    images = torch.arange(size[0] * size[1]).reshape(1, 1, *size)
    crop = centre_crop(images, 32)
    top, left = kept
    assert torch.equal(crop, images[..., top : top + 32, left : left + 32])


@pytest.mark.parametrize(
    ("features", "config"),
    [
        (raw_features, RawPadConfig(train_samples=50)),
        (dct_features, DctPadConfig(train_samples=50)),
    ],
)
def test_standardisation_is_the_official_code_s__identity_deviation(
    features, config, generator, smooth
):
    """RawPAD: none.  DCTPAD: over own and other images together."""
    config = config.with_values({"detector.epochs": 1, "detector.batch": 32})
    material = FitMaterial(generator, smooth(60, 0), seed=0)
    scorer = fit_pad(features, material, config)
    both = torch.cat([to_float(material.own(50)), to_float(material.others)])
    seen = features(both, 32)
    if config.detector.standardise == "none":
        assert torch.all(scorer.detector.mean == 0) and torch.all(scorer.detector.scale == 1)
    else:
        torch.testing.assert_close(scorer.detector.mean, seen.mean(dim=0))
        torch.testing.assert_close(scorer.detector.scale, seen.std(dim=0) + 0.05)
    assert torch.equal(scorer.score(both[:9]), scorer.detector.score(seen[:9]))
