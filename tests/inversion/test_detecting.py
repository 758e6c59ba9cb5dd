"""The scores of a fitted inverter, each against a closed form or a plain loop."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import norm
from untrained_inverters import blobs, fitted_to, untrained

from wherefrom.core.errors import InputError
from wherefrom.data.images.writing import to_float, to_uint8
from wherefrom.detectors.energy import energy
from wherefrom.inversion.outliers.detecting import (
    SCORES,
    available_scores,
    fit_constant,
    make_detector,
)

IMAGES = blobs(9)
OWN = blobs(20, seed=1)


def models():
    """One model per score."""
    gan, sorter = fitted_to(OWN), untrained("classifier", classes=(1, 4))
    return {name: sorter if name == "energy" else gan for name in SCORES}


def test_likelihood_has_a_variance_per_dimension__reference_scipy():
    model = fitted_to(OWN)
    codes = model.encode(IMAGES).double().numpy()
    deviations = model.trace.double().sqrt().numpy()
    expected = -norm.logpdf(codes, model.mean.double().numpy(), deviations).sum(axis=1)
    found = make_detector(model, "nll", 0.0).score(IMAGES)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    far = dataclasses.replace(model, mean=model.mean + 1e6)  # no density left, but a logarithm
    assert bool(torch.isfinite(make_detector(far, "nll", 0.0).score(IMAGES)).all())


def test_stored_pixels_give_the_codes_of_their_values__identity_dtype():
    pixels = to_uint8(IMAGES)
    for model in models().values():
        assert torch.equal(model.features(pixels), model.features(to_float(pixels)))
    model = fitted_to(OWN)
    assert torch.equal(model.encode(pixels), model.encode(to_float(pixels)))
    with pytest.raises(InputError, match="expected uint8 or floating point"):
        model.encode(pixels.int())


def test_two_sided_is_the_distance_from_the_own_mean__closed_form():
    model = fitted_to(OWN)
    plain = make_detector(model, "nll", 0.0)
    centre = fit_constant(model, "two-sided", OWN)
    assert centre == pytest.approx(float(plain.score(OWN).mean()))
    found = make_detector(model, "two-sided", centre).score(IMAGES)
    assert torch.allclose(found, (plain.score(IMAGES) - centre).abs())


def test_reconstruction_is_the_mean_squared_difference__naive_loop():
    model = fitted_to(OWN)
    found = make_detector(model, "reconstruction", 0.0).score(IMAGES)
    recovered = model.decode(model.encode(IMAGES))
    assert float(recovered.min()) >= 0 and float(recovered.max()) <= 1  # clipped: see Deviation
    for row, image in enumerate(IMAGES):
        errors = [
            float(a - b) ** 2 for a, b in zip(recovered[row].ravel(), image.ravel(), strict=True)
        ]
        assert float(found[row]) == pytest.approx(sum(errors) / len(errors), rel=1e-6)


def test_energy_without_a_cut_is_that_of_the_logits__closed_form():
    model = untrained("classifier", classes=(1, 4))
    assert fit_constant(model, "energy", OWN) == float("inf")
    found = make_detector(model, "energy", float("inf"), temperature=10).score(IMAGES)
    assert torch.allclose(found, energy(model.logits(IMAGES), temperature=10))


def test_react_cuts_activations_of_own_images__naive_loop():
    model = untrained("classifier", classes=(1, 4))
    cap = fit_constant(model, "energy", OWN, percentile=0.6)
    assert cap == pytest.approx(np.quantile(model.features(OWN).double().numpy(), 0.6))
    found = make_detector(model, "energy", cap).score(IMAGES)
    cut = model.features(IMAGES).clone()
    cut[cut > cap] = cap
    assert torch.allclose(found, energy(model.logits_of_features(cut)))
    assert not torch.allclose(found, energy(model.logits(IMAGES)))


@pytest.mark.parametrize("name", SCORES)
def test_no_score_depends_on_the_batch__identity_batch(name):
    model = models()[name]
    detector = make_detector(model, name, fit_constant(model, name, OWN))
    together = detector.score(IMAGES)
    assert together.dtype == torch.float64 and together.shape == (9,)
    alone = torch.cat([detector.score(image[None]) for image in IMAGES.flip(0)]).flip(0)
    assert torch.equal(together, alone)


def test_methods_have_the_scores_their_networks_allow__closed_form():
    three = ("nll", "two-sided", "reconstruction")
    assert available_scores(untrained("dlsgan")) == three
    assert available_scores(untrained("autoencoder")) == three
    assert available_scores(untrained("classifier", classes=(1, 3))) == ("energy",)
    assert available_scores(untrained("cgpgan", classes=(1, 3))) == ("energy",)
    assert available_scores(untrained("cagan", classes=(1, 3))) == ()
    both = untrained("cgpgan", classes=(1, 3), inverts=True)
    assert available_scores(both) == (*three, "energy")


def test_scores_that_a_model_lacks__rejects_names():
    with pytest.raises(InputError, match="choose one of nll"):
        make_detector(untrained(), "odin", 0.0)
    with pytest.raises(InputError, match="dlsgan has no score 'energy'; it has: nll"):
        fit_constant(untrained(), "energy", OWN)
    with pytest.raises(InputError, match="needs reference images"):
        fit_constant(untrained(), "two-sided", OWN[:0])
