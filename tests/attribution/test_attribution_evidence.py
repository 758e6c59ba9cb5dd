"""How Deep SAD and the classifier become one score."""

import math

import pytest
import torch
from torch import nn

from wherefrom import attribution
from wherefrom.attribution.final_layer.config import LassoConfig
from wherefrom.attribution.methods.features import FeatureMap
from wherefrom.attribution.methods.flipad import combine, pre_activations, reference_of
from wherefrom.attribution.protocol import stored_samples
from wherefrom.data import to_float
from wherefrom.generators.generator import wrap_generator


def test_scores_above_average_join_by_their_squares__closed_form():
    z = torch.tensor([[3.0, 4.0], [3.0, -9.0], [-1.0, -2.0], [0.0, 0.0]], dtype=torch.float64)
    assert combine(z).tolist() == [5.0, 3.0, -1.0, 0.0]


def test_joined_score_is_never_below_the_largest_and_grows__identity_monotone():
    z = torch.linspace(-3, 3, 13, dtype=torch.float64)
    grid = torch.cartesian_prod(z, z)
    assert bool((combine(grid) >= grid.amax(dim=1) - 1e-12).all())
    assert bool((combine(grid + torch.tensor([0.1, 0.0])) >= combine(grid)).all())


def test_units_are_the_median_and_the_upper_spread__closed_form():
    """A Gaussian has its own mean and deviation; a long lower tail changes nothing."""
    quantiles = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
    gaussian = 3 + 2 * torch.special.ndtri(quantiles)
    skewed = torch.where(gaussian < 3, 3 + 50 * (gaussian - 3), gaussian)
    median, spread = reference_of(torch.stack([gaussian, skewed], dim=1))
    assert median.tolist() == pytest.approx([3, 3], abs=0.2)
    assert spread.tolist() == pytest.approx([2, 2], rel=0.02)


@pytest.fixture(scope="module")
def joined(half_generator, small):
    others = torch.randint(
        0, 256, (70, *half_generator.image_shape), dtype=torch.uint8,
        generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    settings = {"classifier_samples": 80, "classifier.epochs": 1, "classifier.width": 8}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wherefrom.attribution.methods.flipad.REFERENCE_SAMPLES", 30)
        return attribution.fit(half_generator, others, config=small.with_values(settings))


def test_score_joins_the_standardised_scores__naive_loop(joined, half_generator):
    """Deviation: the paper scores by Deep SAD alone."""
    images = to_float(stored_samples(half_generator, 6, 9))
    evidence = joined.scorer
    sad = evidence.detector.score(evidence.features.extract(images)).log()
    logit = evidence.classifier.score(pre_activations(evidence.features, images))
    median, spread = evidence.reference
    for index, score in enumerate(joined.score(images).tolist()):
        z = [float((v[index] - median[j]) / spread[j]) for j, v in enumerate((sad, logit))]
        wanted = math.hypot(*(max(v, 0.0) for v in z)) if max(z) > 0 else max(z)
        assert score == pytest.approx(wanted, rel=1e-12)


def test_evidence_survives_saving__roundtrip(joined, half_generator, tmp_path):
    images = half_generator.sample(5, 3)
    joined.save(tmp_path / "a")
    loaded = attribution.load(tmp_path / "a")
    assert torch.equal(loaded.score(images), joined.score(images))


def test_no_classifier_is_the_paper__identity_deep_sad(fitted, generator):
    assert fitted.scorer.classifier is None
    images = to_float(stored_samples(generator, 4, 2))
    alone = fitted.scorer.detector.score(fitted.scorer.features.extract(images))
    assert torch.equal(fitted.score(images), alone)


def test_a_flat_output_is_laid_out_like_the_image__identity_layout():
    module = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3 * 8 * 8), nn.Tanh())
    shaped = wrap_generator(nn.Sequential(module, nn.Unflatten(1, (3, 8, 8))))
    z_bar = torch.zeros(shaped.last_layer.input_shape)
    features = FeatureMap(
        shaped.last_layer, shaped.output_map, z_bar, LassoConfig(iterations=2), 32, None
    )
    images = shaped.sample(3, 1)
    o = pre_activations(features, images)
    assert o.shape == images.shape
    assert torch.allclose((o.tanh() + 1) / 2, images, atol=1e-4)
