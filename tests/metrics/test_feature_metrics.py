"""Metrics of two feature sets against independent libraries on small data."""

import math
import warnings

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from scipy.linalg import sqrtm
from scipy.stats import entropy
from sklearn.metrics.pairwise import euclidean_distances, polynomial_kernel

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.metrics.feature_sets import neighbours
from wherefrom.metrics.feature_sets.frechet import frechet_distance
from wherefrom.metrics.feature_sets.inception_score import inception_score
from wherefrom.metrics.feature_sets.kernel_distance import kernel_distance
from wherefrom.metrics.feature_sets.neighbours import (
    MAX_REALISM,
    manifold_metrics,
    nearest_distances,
    realism,
)


def features(count, width, name, *, shift=0.0, scale=1.0):
    z = torch.randn(count, width, generator=stream(0, "features", name))
    return scale * z + shift


def by_square_root(x, y):
    x, y = x.double().numpy(), y.double().numpy()
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    trace = np.trace(s1 + s2 - 2 * sqrtm(s1 @ s2).real)
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + trace


@pytest.mark.parametrize("counts", [(60, 50), (60, 9), (9, 60)])
def test_frechet_distance_is_that_of_a_square_root__reference_scipy(counts):
    """12 features; with 9 images the covariance is singular, where a root is good to 1e-6."""
    x, y = features(counts[0], 12, "x"), features(counts[1], 12, "y", shift=0.3, scale=1.7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sqrtm on singular products
        expected = by_square_root(x, y)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(y, x) == pytest.approx(frechet_distance(x, y), rel=1e-12)


def test_frechet_distance_of_few_images_is_real__limit():
    """Fewer images than features, and a feature that never moves."""
    x, y = features(5, 64, "x"), features(6, 64, "y")
    x[:, 3] = y[:, 3] = 0.0
    assert 0 < frechet_distance(x, y) < math.inf
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-10)


def test_frechet_distance_of_scaled_sets__closed_form():
    """Y = c X + s: equal correlation, so FD = |s + (c - 1) mean|^2 + (c - 1)^2 tr S."""
    x = features(40, 7, "x").double()
    y = 2 * x + 0.5
    expected = (0.5 + x.mean(0)).square().sum() + x.var(0).sum()
    assert frechet_distance(x, y) == pytest.approx(float(expected), rel=1e-12)


def test_kernel_distance_counts_every_pair_once__reference_sklearn(monkeypatch):
    x, y = features(23, 8, "x"), features(17, 8, "y", shift=0.4)
    settings = {"degree": 3, "gamma": 1 / 8, "coef0": 1}
    xx, yy, xy = (
        polynomial_kernel(a.double().numpy(), b.double().numpy(), **settings)
        for a, b in ((x, x), (y, y), (x, y))
    )
    expected = (
        (xx.sum() - np.trace(xx)) / (23 * 22)
        + (yy.sum() - np.trace(yy)) / (17 * 16)
        - 2 * xy.mean()
    )
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-10)
    monkeypatch.setattr("wherefrom.metrics.feature_sets.kernel_distance.ROWS", 5)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-10)


def test_kernel_distance_without_difference_is_zero_on_average__limit():
    result = [
        kernel_distance(features(30, 6, ("a", i)), features(20, 6, ("b", i))) for i in range(100)
    ]
    assert min(result) < 0 < max(result)
    assert abs(np.mean(result)) < 3 * np.std(result) / 10


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("rows", [7, 1024])
def test_precision_recall_density_coverage__reference_prdc(k, rows, monkeypatch, capsys):
    """Without ties open and closed balls hold the same rows."""
    monkeypatch.setattr(neighbours, "ROWS", rows)
    x, y = features(60, 6, "x"), features(45, 6, "y", shift=0.5, scale=0.9)
    expected = compute_prdc(x.double().numpy(), y.double().numpy(), nearest_k=k)
    capsys.readouterr()  # prdc prints
    result = manifold_metrics(x, y, neighbours=k).to_dict()
    assert result.pop("neighbours") == k
    assert result == pytest.approx(expected, abs=1e-12)


def test_identical_sets_are_precise_and_covered__closed_form(monkeypatch):
    """Balls are closed, so distances that are equal count, whatever rounding does to them."""
    monkeypatch.setattr(neighbours, "ROWS", 7)
    x = features(50, 300, "x", shift=20.0)
    result = manifold_metrics(x, x[torch.randperm(50)], neighbours=1)
    assert (result.precision, result.recall, result.coverage) == (1.0, 1.0, 1.0)
    # Every row is in its own ball, and in the ball of whoever has it as nearest: 2 in all per row.
    assert result.density == pytest.approx(2.0)


def test_balls_are_closed_whatever_rounding_does__closed_form():
    """A lattice of step 0.1, and points one step outside it: all on the border of a ball."""
    i = torch.arange(8.0, dtype=torch.float64)
    real = 0.1 * torch.cartesian_prod(i, i)
    outside = 0.1 * torch.cartesian_prod(torch.tensor([-1.0, 8.0], dtype=torch.float64), i)
    result = manifold_metrics(real, outside, neighbours=1)
    assert result.precision == 1.0
    assert result.coverage == pytest.approx(16 / 64)


def test_realism_is_the_best_ratio_of_radius_and_distance__reference_sklearn():
    x, y = features(31, 5, "x"), features(12, 5, "y", scale=2.0)
    radii = np.sort(euclidean_distances(x.double().numpy()), axis=1)[:, 3]
    apart = euclidean_distances(y.double().numpy(), x.double().numpy())
    keep = radii <= np.median(radii)
    expected = (radii[keep] / apart[:, keep]).max(axis=1)
    assert realism(x, y, neighbours=3).numpy() == pytest.approx(expected, rel=1e-6)
    nearest = np.sort(apart, axis=1)[:, :4].mean(axis=1)
    assert nearest_distances(x, y, neighbours=4).numpy() == pytest.approx(nearest, rel=1e-6)


def test_a_copy_of_a_real_image_is_most_realistic__limit():
    x = features(20, 301, "x")
    result = realism(x, torch.cat([x, 50 + features(3, 301, "far")]), neighbours=3)
    copies = result[:20] == MAX_REALISM
    assert 10 <= int(copies.sum()) <= 20  # those whose own ball serves
    assert float(result[20:].max()) < 1


def test_inception_score_is_the_exponential_of_a_mean_entropy__reference_scipy():
    logits = features(40, 6, "logits", scale=3.0)
    p = torch.softmax(logits.double(), 1).numpy()
    expected = np.exp(np.mean([entropy(row, p.mean(0)) for row in p]))
    assert inception_score(logits) == pytest.approx(expected, rel=1e-10)


def test_inception_score_at_its_ends__closed_form():
    sure = 1e4 * torch.eye(5).repeat(3, 1)
    assert inception_score(sure) == pytest.approx(5.0)
    assert inception_score(sure[:1].repeat(4, 1)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("metric", "fewest", "name"),
    [
        (frechet_distance, 2, "the Frechet distance"),
        (kernel_distance, 2, "the kernel distance"),
        (manifold_metrics, 6, "precision and recall"),
        (realism, 6, "the realism score"),
    ],
)
def test_sets_that_cannot_be_compared__rejects_counts_widths_and_nan(metric, fewest, name):
    enough, few = features(fewest, 4, "x"), features(fewest - 1, 4, "y")
    metric(enough, enough)
    with pytest.raises(InputError, match=f"{name} needs at least {fewest} generated images"):
        metric(enough, few)
    with pytest.raises(InputError, match="with one encoder"):
        metric(enough, features(fewest, 5, "wide"))
    broken = enough.clone()
    broken[1, 2] = torch.nan
    with pytest.raises(InputError, match="generated image 1 hold NaN"):
        metric(enough, broken)
