"""How Deep SAD and the contrasts become one score."""

import math

import pytest
import torch

from wherefrom import attribution
from wherefrom.attribution.evidence import combine, log_scores
from wherefrom.attribution.method import sample_eight_bit
from wherefrom.data import to_float


def test_scores_above_average_join_by_their_squares__closed_form():
    z = torch.tensor([[3.0, 4.0], [3.0, -9.0], [-1.0, -2.0], [0.0, 0.0]], dtype=torch.float64)
    assert combine(z).tolist() == [5.0, 3.0, -1.0, 0.0]


def test_joined_score_is_never_below_the_largest_and_grows__identity_monotone():
    z = torch.linspace(-3, 3, 13, dtype=torch.float64)
    grid = torch.cartesian_prod(z, z)
    assert bool((combine(grid) >= grid.amax(dim=1) - 1e-12).all())
    assert bool((combine(grid + torch.tensor([0.1, 0.0])) >= combine(grid)).all())


@pytest.fixture(scope="module")
def with_contrasts(generator, small):
    others = torch.randint(
        0, 256, (250, *generator.image_shape), dtype=torch.uint8,
        generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    return attribution.fit(generator, others, config=small.with_values({"contrast_samples": 80}))


def test_score_joins_the_standardised_logarithms__naive_loop(with_contrasts, generator):
    """Deviation: the paper scores by Deep SAD alone."""
    images = to_float(sample_eight_bit(generator, 6, 9))
    evidence = with_contrasts.evidence
    logs = log_scores(evidence, images)
    mean, spread = evidence.reference
    for index, score in enumerate(with_contrasts.score(images).tolist()):
        z = [float((logs[index, j] - mean[j]) / spread[j]) for j in (0, 1)]
        wanted = math.hypot(*(max(v, 0.0) for v in z)) if max(z) > 0 else max(z)
        assert score == pytest.approx(wanted, rel=1e-12)


def test_evidence_survives_saving__roundtrip(with_contrasts, generator, tmp_path):
    images = generator.sample(5, 3)
    with_contrasts.save(tmp_path / "a")
    loaded = attribution.load(tmp_path / "a")
    assert torch.equal(loaded.score(images), with_contrasts.score(images))


def test_no_contrasts_is_the_paper__identity_deep_sad(fitted, generator):
    assert fitted.evidence.contrasts is None
    images = to_float(sample_eight_bit(generator, 4, 2))
    alone = fitted.evidence.detector.score(fitted.evidence.features.extract(images))
    assert torch.equal(fitted.score(images), alone)
