"""A fit on the owner's latents or activations, and files of them."""

import pytest
import torch

from wherefrom import attribution
from wherefrom.attribution.images.own_images import ACTIVATIONS, LATENTS, GivenImages, OwnInputs
from wherefrom.attribution.methods.pad import RawPadConfig
from wherefrom.attribution.protocol import stored_samples
from wherefrom.data.images.writing import to_uint8

LATENT = torch.randn(200, 10, generator=torch.Generator().manual_seed(4))
CONFIG = RawPadConfig(
    calibration_samples=20,
    false_negative_rate=0.05,
    false_positive_rate=0.2,
    sibling_samples=0,
    train_samples=60,
).with_values({"detector.epochs": 1, "detector.representation": 8})


@pytest.fixture(scope="module")
def by_kind(half_generator):
    """The same images as latents and as activations, and the images."""
    images, z = half_generator.decode_with_activations(LATENT)
    return {LATENTS: OwnInputs(LATENTS, LATENT), ACTIVATIONS: OwnInputs(ACTIVATIONS, z)}, images


def test_latents_and_activations_make_the_models_images__identity(half_generator, by_kind):
    inputs, images = by_kind
    assert torch.allclose(images, half_generator.decode(LATENT), atol=1e-6)
    rows = torch.tensor([7, 0, 100])
    for each in inputs.values():
        made, z = each.samples(half_generator, rows)
        assert torch.allclose(made, images[rows], atol=1e-6)
        assert torch.allclose(z, inputs[ACTIVATIONS].values[rows], atol=1e-6)


def test_their_mean_activation_is_the_true_one__closed_form(half_generator, by_kind):
    """Least squares on the images finds other activations: the layer has a null space."""
    inputs, images = by_kind
    z = inputs[ACTIVATIONS].values
    rows = torch.arange(len(images))
    for each, matches in ((inputs[LATENTS], True), (inputs[ACTIVATIONS], True), (None, False)):
        part = GivenImages(half_generator, to_uint8(images), rows, each)
        drawn = torch.cat([a for _, a in part.sample_with_activations(len(rows), 1)])
        assert torch.allclose(drawn.mean(dim=0), z.mean(dim=0), atol=1e-5) is matches


@pytest.mark.parametrize("kind", [LATENTS, ACTIVATIONS])
def test_a_fit_on_them_is_that_on_their_images__identity(
    half_generator, half_smooth, by_kind, kind
):
    inputs, _ = by_kind
    others = half_smooth(70, 0)
    images, _ = inputs[kind].samples(half_generator, torch.arange(200))
    fitted = attribution.fit(half_generator, others, own=inputs[kind], config=CONFIG)
    plain = attribution.fit(half_generator, others, own=to_uint8(images), config=CONFIG)
    assert torch.equal(fitted.own_scores, plain.own_scores)
    record = fitted.provenance["own"]
    assert record["made_from"] == inputs[kind].describe() and record["made_from"]["count"] == 200
    assert "made_from" not in plain.provenance["own"]


def test_own_images_without_others_make_stand_ins__identity(half_generator):
    """Of images that neither train nor calibrate."""
    own = stored_samples(half_generator, 400, 3)
    fitted = attribution.fit(half_generator, None, own=own, config=CONFIG)
    assert fitted.provenance["others"]["origin"] == "self-made"
    parts = fitted.provenance["own"]["parts"]
    assert sum(parts.values()) == 320 and "stand-ins" not in parts
