"""Patch moments: whitening, the ridge regression, and promises about batches and saving."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.detectors.patch_moments import (
    FEATURE_LIMIT,
    LIMIT,
    PENALTY,
    ROUNDING,
    FittedPatchMoments,
    View,
    _features,
    _whitening,
    fit_patch_moments,
)
from wherefrom.metrics.detection import auroc


def noise(count, name, *, channels=1, blend=0.0):
    """Noise whose neighbours to the right are alike by `blend`."""
    x = torch.randn(count, channels, 16, 16, generator=stream(0, "moments", name))
    return x + blend * x.roll(1, dims=3)


@pytest.fixture(scope="module")
def fitted():
    return fit_patch_moments(noise(60, "own"), [noise(40, "a", blend=0.3), noise(20, "b") + 0.2])


def test_whitening_is_principal_components__reference_sklearn():
    patches = View(4, 2).patches(noise(30, "w", blend=0.6))
    mean, rows = _whitening(patches)
    flat = patches.flatten(0, 1).double().numpy()
    pca = PCA().fit(flat)
    spread = np.sqrt(pca.explained_variance_ * (len(flat) - 1) / len(flat) + ROUNDING)
    wanted = (pca.transform(flat) / spread)[:, ::-1]
    result = ((patches.flatten(0, 1) - mean) @ rows.T).double().numpy()
    signs = np.sign((result * wanted).sum(axis=0))
    assert np.allclose(result * signs, wanted, atol=1e-3)


def test_features_of_a_view_are_moments_of_its_patches__naive_loop():
    view, x = View(6, 2), noise(2, "x")
    patches = F.unfold(x, 6, stride=2, padding=2).transpose(1, 2)
    assert torch.equal(view.patches(x), patches)
    whitenings = [_whitening(v.patches(noise(20, "w"))) for v in (view, View(6, 1, averaged=2))]
    (mean, rows), result = whitenings[0], _features(x, whitenings)
    w = ((patches - mean) @ rows.T).clamp(-LIMIT, LIMIT).double()
    for row, places in zip(result, w, strict=True):
        second = torch.stack([torch.outer(p, p) for p in places]).mean(dim=0)
        upper = torch.stack([second[i, j] for i in range(36) for j in range(i, 36)])
        wanted = [upper, places.mean(dim=0), places.abs().mean(dim=0)]
        wanted = torch.cat([*wanted, places.pow(4).mean(dim=0).sqrt()])
        torch.testing.assert_close(row[: len(wanted)].double(), wanted, rtol=1e-4, atol=1e-4)


def test_the_linear_function_is_a_weighted_ridge_regression__reference_sklearn(fitted):
    kinds = [noise(60, "own"), noise(40, "a", blend=0.3), noise(20, "b") + 0.2]
    f = torch.cat([_features(x, fitted.whitening) for x in kinds])
    z = ((f - f.mean(dim=0)) / (f.std(dim=0) + 1e-6)).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
    y = np.repeat([-1.0, 1.0, 1.0], [60, 40, 20])
    weight = np.repeat([1 / 60, 0.5 / 40, 0.5 / 20], [60, 40, 20]) / 2
    ridge = Ridge(alpha=PENALTY, solver="svd").fit(z.double().numpy(), y, sample_weight=weight)
    x = noise(9, "new", blend=0.1)
    new = (_features(x, fitted.whitening) - fitted.mean) / fitted.scale
    wanted = ridge.predict(new.clamp(-FEATURE_LIMIT, FEATURE_LIMIT).double().numpy())
    assert np.allclose(fitted.score(x).numpy(), wanted, atol=2e-2)


def test_a_correlation_of_neighbours_is_found_in_new_inputs__limit():
    fitted = fit_patch_moments(noise(300, "own"), [noise(300, "a", blend=0.3)])
    scores = fitted.score(noise(100, "new")), fitted.score(noise(100, "new a", blend=0.3))
    assert auroc(*scores) > 0.85
    assert auroc(fitted.score(noise(100, "more")), scores[0]) < 0.65


@pytest.mark.parametrize("channels", [1, 3])
def test_the_score_of_an_input_is_the_same_in_any_batch__identity_batch(channels):
    own, other = noise(30, "o", channels=channels), noise(30, "p", channels=channels, blend=0.4)
    fitted = fit_patch_moments(own, [other])
    whole = fitted.score(other)
    assert whole.dtype == torch.float64
    assert torch.equal(whole[7:8], fitted.score(other[7:8]))
    order = torch.randperm(30, generator=stream(0, "order"))
    assert torch.equal(whole[order], fitted.score(other[order]))


def test_saved_moments_score_the_same__roundtrip(fitted):
    again = FittedPatchMoments.from_saved(*fitted.to_saved())
    x = noise(4, "x")
    assert torch.equal(fitted.score(x), again.score(x))
    assert torch.equal(fitted.score(x), fitted.to("cpu").score(x))


@pytest.mark.parametrize(
    ("own", "negatives", "message"),
    [
        (torch.zeros(9, 1, 8, 8), [torch.zeros(9, 1, 8, 8)], "at least 16x16"),
        (torch.zeros(9, 1, 16, 16), [torch.zeros(9, 3, 16, 16)], "expected \\(N, 1"),
        (torch.zeros(1, 1, 16, 16), [torch.zeros(9, 1, 16, 16)], "two inliers"),
        (torch.zeros(9, 1, 16, 16), [], "two inliers"),
    ],
)
def test_what_it_cannot_fit__rejects_inputs(own, negatives, message):
    with pytest.raises(InputError, match=message):
        fit_patch_moments(own, negatives)
