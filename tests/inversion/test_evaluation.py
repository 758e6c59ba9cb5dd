"""An evaluation's figures, each computed again from its parts."""

import dataclasses
import math

import pytest
import torch
from linear_inverter import linear_inverter
from untrained_inverters import blobs, fitted_to, untrained

from wherefrom.core.errors import InputError
from wherefrom.data.splits import sample_indices
from wherefrom.inversion.codes import evaluation
from wherefrom.inversion.codes.evaluation import NEAR, evaluate_inverter
from wherefrom.inversion.outliers.self_test import run_self_test
from wherefrom.metrics.detection import auroc
from wherefrom.metrics.feature_sets.frechet import frechet_distance
from wherefrom.metrics.image_quality import psnr, ssim
from wherefrom.metrics.random_features import random_features

SHAPE = (1, 16, 16)
REAL = blobs(16, shape=SHAPE)
KEYS = [str(index) for index in range(16)]


def test_every_figure_is_that_of_its_part__naive_loop():
    model = fitted_to(REAL, shape=SHAPE)
    model = dataclasses.replace(model, scale=torch.tensor([1.5, 1.5, 1.0, 1.0, 0.5, 0.5]))
    odd = {"odd": 1 - blobs(10, seed=9, shape=SHAPE).round()}
    found = evaluate_inverter(model, REAL, keys=KEYS, foreign=odd)
    fake = model.sample(16, seed=0)
    pair = random_features(REAL), random_features(fake)
    assert found.frechet_distance == pytest.approx(frechet_distance(*pair))
    for given, similarity in ((REAL, found.real), (fake, found.fake)):
        back = model.reconstruct(given)
        assert similarity.psnr == pytest.approx(float(psnr(given, back).mean()))
        assert similarity.ssim == pytest.approx(float(ssim(given, back).mean()))
    entropy = sum(math.log(float(s) * math.sqrt(2 * math.pi * math.e)) for s in model.scale)
    assert found.latent_entropy == pytest.approx(entropy)
    assert found.live == int((model.trace > 0.5).sum())
    chosen = sample_indices(KEYS, 8, seed=0)
    rows = [row for row in range(16) if row not in chosen]
    own = model.negative_log_likelihood(model.encode(REAL[rows]))
    out = model.negative_log_likelihood(model.encode(odd["odd"]))
    (nll,) = [row for row in found.detection if row.score == "nll"]
    assert nll.foreign == {"odd": pytest.approx(auroc(own, out))}
    detector = type(
        "Nll", (), {"score": lambda _, x: model.negative_log_likelihood(model.encode(x))}
    )
    keys = [KEYS[row] for row in rows]
    test = run_self_test({"nll": detector()}, REAL[rows], keys=keys, near=NEAR)
    for strength, value in ((NEAR, nll.near), (1.0, nll.far)):
        seen = [row.auroc["nll"] for row in test.rows if row.intensity == strength]
        assert value == pytest.approx(sum(seen) / 10)
    assert found.to_dict()["detection"][0]["score"] == "nll"


def test_a_part_of_sorted_classes_holds_all_of_them__limit(monkeypatch):
    """A perfect generator of two classes; a folder holds the one, then the other."""
    monkeypatch.setattr(evaluation, "MAX_IMAGES", 60)
    dark, light = blobs(100, seed=1) * 0.3, 0.7 + 0.3 * blobs(100, seed=2)

    class Perfect:
        """A model that samples both classes alike, and has no encoder."""

        def __getattr__(self, name):
            return getattr(untrained("cagan", classes=(1, 2)), name)

        def sample(self, count, *, seed):
            fresh = blobs(count, seed=9)
            odd = torch.arange(count)[:, None, None, None] % 2
            return torch.where(odd == 0, 0.3 * fresh, 0.7 + 0.3 * fresh)

    keys = [str(row) for row in range(200)]
    figures = evaluate_inverter(Perfect(), torch.cat([dark, light]), keys=keys)
    alone = evaluate_inverter(Perfect(), dark, keys=keys[:100])
    assert (figures.given, figures.images, figures.generated) == (200, 60, 60)
    assert figures.frechet_distance < 0.1 * alone.frechet_distance


def test_a_blind_encoder_loses_the_squared_scale__limit():
    model = untrained(shape=SHAPE)
    blind = dataclasses.replace(model, scale=torch.full((6,), 2.0))
    body = blind.networks.inverter
    for weight in body.parameters():
        weight.zero_()  # E(x) = 0, so the loss is the mean of (z s)^2
    found = evaluate_inverter(blind, REAL, keys=KEYS)
    assert found.encoder_loss == pytest.approx(4, rel=0.4)
    assert found.images == found.generated == 16


def test_what_a_method_lacks_is_left_out__closed_form():
    found = evaluate_inverter(untrained("classifier", classes=(1, 3), shape=SHAPE), REAL, keys=KEYS)
    assert (found.frechet_distance, found.real, found.encoder_loss, found.live) == (None,) * 4
    assert [row.score for row in found.detection] == ["energy"]
    plain = evaluate_inverter(untrained("cagan", classes=(1, 3), shape=SHAPE), REAL, keys=KEYS)
    assert plain.detection == () and plain.real is None
    assert plain.precision is not None and 0 <= plain.recall <= 1
    small = evaluate_inverter(untrained(), blobs(12), keys=KEYS[:12])
    assert -1 <= small.real.ssim <= 1 and small.real.psnr > 0


def test_the_encoder_is_measured_on_what_it_was_trained_on__closed_form():
    """An exact inverse of a generator that leaves [0, 1] loses nothing; clipping would hide it."""
    model = linear_inverter(torch.ones(6), contrast=2.0)
    assert float((model.decode(torch.randn(8, 6), clip=False) > 1).float().mean()) > 0.1
    assert evaluate_inverter(model, blobs(12), keys=KEYS[:12]).encoder_loss < 1e-6


def test_too_few_images__rejects_counts():
    with pytest.raises(InputError, match="5 real images; give at least 6"):
        evaluate_inverter(untrained(), blobs(5), keys=KEYS[:5])
    with pytest.raises(InputError, match="8 images, but 5 keys"):
        evaluate_inverter(untrained(), blobs(8), keys=KEYS[:5])
