"""SM-Inv: the search against PyTorch's own Adam, and what its score is."""

import dataclasses

import pytest
import torch
from torch import nn

from wherefrom.attribution.methods import reconstruction as inversion_feature
from wherefrom.attribution.methods.reconstruction import (
    FeatureReconstructionConfig,
    ReconstructionConfig,
    ReconstructionScorer,
    draw_starts,
    fit_feature_reconstruction,
    make_scorer,
    pixels,
    read_feature_reconstruction,
)
from wherefrom.attribution.protocol import FitMaterial, SavedScorer
from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.encoders import make_feature_encoder
from wherefrom.generators.generator import wrap_generator

FLOAT32 = 1e-4  # 30 steps of float32 in another order of operations


@pytest.fixture(scope="module")
def model():
    """A small smooth generator of grey 6x5 images with four latents."""
    torch.manual_seed(2)
    module = nn.Sequential(
        nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 30), nn.Unflatten(1, (1, 6, 5)), nn.Tanh()
    )
    return wrap_generator(module)


def scorer_of(model, **settings):
    config = ReconstructionConfig(**{"restarts": 3, "steps": 30, **settings})
    return make_scorer(FitMaterial(model, torch.empty(0), seed=0), pixels, config)


@pytest.fixture(scope="module")
def images(model):
    strangers = torch.rand(3, 1, 6, 5, generator=torch.Generator().manual_seed(4))
    return torch.cat([model.sample(3, seed=9), strangers])


def test_the_search_is_adam_s_from_every_start__reference_torch(model, images):
    """Deviations: the mean square is minimised, and the best of all steps counts."""
    scorer = scorer_of(model)
    images = images[[0, 3]]  # an own one and a stranger
    scores = scorer.score(images)
    for image, score in zip(images, scores.tolist(), strict=True):
        seen = []
        for start in scorer.starts:
            z = start[None].clone().requires_grad_(True)
            adam = torch.optim.Adam([z], lr=0.1)
            for _ in range(30):
                error = model.decode(z) - image
                seen.append(float(error.detach().double().square().sum().sqrt()) / 30)
                (z.grad,) = torch.autograd.grad(error.square().mean(), z)
                adam.step()
            error = (model.decode(z) - image).detach().double()
            seen.append(float(error.square().sum().sqrt()) / 30)
        assert score == pytest.approx(min(seen), rel=FLOAT32)


def test_own_images_are_reconstructed_and_others_not__limit(model, images):
    scores = scorer_of(model, restarts=4, steps=250, chunk=8).score(images)
    assert float(scores[:3].max()) < 1e-4 < 0.1 * float(scores[3:].min())


def test_the_score_is_the_norm_over_the_number_of_values__closed_form(model, images):
    scorer = scorer_of(model)
    latents, distances = scorer.reconstruct(images)
    made = model.decode(latents)
    expected = (made - images).double().flatten(1).norm(dim=1) / 30
    torch.testing.assert_close(distances, expected, rtol=1e-5, atol=0)
    assert torch.equal(scorer.score(images), distances)


def test_the_best_attempt_wins__identity_minimum(model, images):
    scorer, images = scorer_of(model), images[[0, 3]]
    single = [
        dataclasses.replace(scorer, starts=start[None]).score(images) for start in scorer.starts
    ]
    torch.testing.assert_close(
        scorer.score(images), torch.stack(single).amin(dim=0), rtol=FLOAT32, atol=0
    )


def test_how_many_together_does_not_matter__identity_batch_independence(model, images):
    one, eight = scorer_of(model), scorer_of(model, chunk=8)
    scores = one.score(images)
    torch.testing.assert_close(scores, eight.score(images), rtol=FLOAT32, atol=0)
    order = torch.tensor([5, 2, 0, 4, 1, 3])
    assert torch.equal(eight.score(images[order]), eight.score(images)[order])
    assert torch.equal(one.score(images[order[:2]]), scores[order[:2]])


def test_every_image_starts_from_the_same_latents__identity_deviation(model):
    """Deviation: the starts are drawn once per fit; more of them keep the first ones."""
    scorer = scorer_of(model)
    assert scorer.starts.shape == (3, 4)
    assert torch.equal(draw_starts(model, 2, 0), scorer.starts[:2])
    assert not torch.equal(draw_starts(model, 2, 1), scorer.starts[:2])


def test_the_caller_s_model_keeps_its_gradients_and_place__identity_state(model, images):
    scorer_of(model, steps=2).score(images[:1])
    assert all(p.grad is None and p.requires_grad for p in model.module.parameters())
    assert model.to("cpu") is model


def test_a_model_that_draws_its_own_images__rejects_model():
    module = nn.Sequential(nn.Linear(4, 12), nn.Unflatten(1, (3, 2, 2)), nn.Tanh())

    def sample(count, seed):
        return module(torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)))

    generator = wrap_generator(module, sample=sample)
    with pytest.raises(InputError, match="give its latent shape"):
        draw_starts(generator, 1, 0)


def test_latents_of_another_shape__rejects_shape(model):
    with pytest.raises(InputError, match=r"latents of shape \(3,\), the model takes \(4,\)"):
        model.decode(torch.zeros(2, 3))


@pytest.fixture
def network(monkeypatch):
    """A feature network of one layer in place of a pretrained one."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(1), nn.Linear(48, 7))

    def load_it(source, *, resolution):
        asked.append((source, resolution))
        return make_feature_encoder(module, kind="tiny", resolution=resolution)

    asked = []
    monkeypatch.setattr(inversion_feature, "load_feature_encoder", load_it)
    return module, asked


def test_features_are_compared_with_grey_in_three_channels__closed_form(network, model, images):
    module, asked = network
    config = FeatureReconstructionConfig(restarts=2, steps=5)
    scorer = fit_feature_reconstruction(FitMaterial(model, torch.empty(0), seed=0), config)
    assert asked == [("efficientnet-lite0", 32)]  # not below what the network can halve
    latents, distances = scorer.reconstruct(images)
    wide = [batch.repeat(1, 3, 1, 1) for batch in (model.decode(latents), images)]
    with torch.no_grad():
        expected = (module(wide[0]) - module(wide[1])).double().norm(dim=1) / 7
    torch.testing.assert_close(distances, expected, rtol=1e-4, atol=0)
    assert isinstance(scorer, ReconstructionScorer)


def test_the_network_keeps_the_images_own_size__identity_deviation(network, generator):
    """App. E: 64 px images are not resized for the network."""
    config = FeatureReconstructionConfig(restarts=1, steps=1)
    fit_feature_reconstruction(FitMaterial(generator, torch.empty(0), seed=0), config)
    fit_feature_reconstruction(
        FitMaterial(generator, torch.empty(0), seed=0), config.with_values({"resolution": 48})
    )
    assert [resolution for _, resolution in network[1]] == [32, 48]


def test_another_network_than_that_of_the_fit__rejects_network(network, model):
    config = FeatureReconstructionConfig(restarts=1, steps=1)
    scorer = fit_feature_reconstruction(FitMaterial(model, torch.empty(0), seed=0), config)
    meta, tensors = scorer.to_saved()
    again = read_feature_reconstruction(SavedScorer(config, meta, tensors, model, "cpu"))
    assert again.network == scorer.network and torch.equal(again.starts, scorer.starts)
    with torch.no_grad():
        network[0][2].weight.add_(1.0)
    with pytest.raises(ArtifactError, match="the attributor was fitted with"):
        read_feature_reconstruction(SavedScorer(config, meta, tensors, model, "cpu"))


def test_the_default_network_passes_gradients__smoke(generator):
    """EfficientNet-Lite0 at 32 px, one step."""
    pytest.importorskip("efficientnet_lite_pytorch")
    config = FeatureReconstructionConfig(restarts=1, steps=1)
    scorer = fit_feature_reconstruction(FitMaterial(generator, torch.empty(0), seed=0), config)
    assert float(scorer.score(generator.sample(1, seed=1))) > 0
