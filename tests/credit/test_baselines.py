"""Projected gradients and the baselines made of them."""

import numpy as np
import pytest
import torch

from wherefrom.core.errors import InputError
from wherefrom.credit.diffusion import gradients
from wherefrom.credit.diffusion.gradients import (
    GradientConfig,
    GradientRows,
    image_gradients,
    noise_images,
    noise_journey,
    project,
    projected_gradients,
)
from wherefrom.credit.diffusion.model import (
    Diffusion,
    SamplingConfig,
    make_unet,
    sample,
    simple_losses,
)
from wherefrom.credit.study.baselines import (
    cosine_scores,
    distance_scores,
    gather,
    largest_cosine_scores,
    relative_scores,
    renormalised_scores,
    trak_scores,
)

pytestmark = pytest.mark.needs("diffusers")

TINY = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "block_out_channels": (4, 8),
    "norm_num_groups": 4,
    "down_block_types": ("AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D"),
    "attention_head_dim": 4,
    "num_class_embeds": 3,
}
CONFIG = GradientConfig(dimension=16, steps=3, batch=2, seed=5)


@pytest.fixture(scope="module")
def model():
    return Diffusion(make_unet(TINY, seed=1), (1, 8, 8), classes=3)


@pytest.fixture(scope="module")
def latents():
    return torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 1, 2, 0, 1])


@pytest.mark.parametrize("loss", ["simple", "square"])
def test_gradients_of_single_images__naive_loop(model, latents, loss, monkeypatch):
    monkeypatch.setattr(gradients, "TIMES_AT_ONCE", 2)  # so that three come in two parts
    latents, labels = latents[:3], LABELS[:3]  # in batches of two
    rows = image_gradients(model, latents, labels, CONFIG, loss=loss)
    inputs = noise_images(model, latents, labels, CONFIG)
    for index in range(len(latents)):
        x, t, e = latents[index].expand(3, -1, -1, -1), inputs.t[index], inputs.e[index]
        given = LABELS[index].expand(3)
        if loss == "simple":
            value = simple_losses(model, x, t, e, given).mean()
        else:
            value = model.predict(model.noised(x, t, e), t, given).square().mean()
        named = dict(model.network.named_parameters())
        found = torch.autograd.grad(value, list(named.values()))
        one = {k: g[None] for k, g in zip(named, found, strict=True)}
        expected = project(one, 16, seed=5)[0]
        assert torch.allclose(
            rows[index], expected, rtol=1e-3, atol=1e-6 + 1e-4 * expected.abs().max()
        )


def test_rows_do_not_depend_on_the_batch__identity_batch_size(model, latents):
    images = latents[:3], LABELS[:3]
    alone = image_gradients(model, *images, CONFIG.with_values({"batch": 1}))
    together = image_gradients(model, *images, CONFIG.with_values({"batch": 3}))
    assert torch.allclose(alone, together, rtol=1e-3, atol=1e-5)


def test_projection_keeps_products_on_average__limit():
    torch.manual_seed(0)
    g = {"a": torch.randn(2, 5000), "b": torch.randn(2, 3, 7)}
    exact = torch.cat([g["a"], g["b"].flatten(1)], dim=1)
    wanted = exact @ exact.T
    k = 512
    found = project(g, k, seed=1)
    # Each product misses by about |g| |h| / sqrt(k).
    scale = exact.norm(dim=1)[:, None] * exact.norm(dim=1) / k**0.5
    assert ((found @ found.T - wanted).abs() < 4 * scale).all()
    assert not torch.equal(found, project(g, k, seed=2))
    assert torch.equal(found, project(g, k, seed=1))


def test_journey_inputs_are_estimates_noised_again__naive_loop(model):
    """Georgiev et al.: x0 as the network sees it at x_t, and fresh noise at t."""
    trail, config = [], SamplingConfig(images=2, steps=4, batch=2)
    sample(model, config, keep=lambda t, x: trail.append((t, x)))
    none = torch.zeros(2, dtype=torch.int64)
    inputs = noise_journey(model, trail, none, seed=5)
    assert inputs.x.shape == inputs.e.shape == (2, 4, 1, 8, 8)
    abars = model.schedule.alpha_bars()
    for step, (t, x) in enumerate(trail):
        assert inputs.t[:, step].tolist() == [t, t]
        with torch.no_grad():
            noise = model.predict(x, torch.full((2,), t), none)
        clean = ((x - (1 - abars[t]).sqrt() * noise) / abars[t].sqrt()).clamp(-1, 1)
        again = abars[t].sqrt() * clean + (1 - abars[t]).sqrt() * inputs.e[:, step]
        assert torch.allclose(again, inputs.x[:, step], atol=1e-5)
    assert 0.8 < float(inputs.e.std()) < 1.2  # also near t = 0, where the old form divided by 0.01
    assert torch.equal(inputs.e, noise_journey(model, trail, none, seed=5).e)
    assert projected_gradients(model, inputs, CONFIG).shape == (2, 16)


def test_kept_gradients__roundtrip(model, latents, tmp_path):
    rows = image_gradients(model, latents[:2], LABELS[:2], CONFIG)
    GradientRows(rows).save(tmp_path / "g")
    assert torch.equal(GradientRows.load(tmp_path / "g").rows, rows)
    with pytest.raises(InputError, match="choose simple or square"):
        projected_gradients(model, noise_images(model, latents, LABELS, CONFIG), CONFIG, loss="x")


@pytest.mark.parametrize("k", [3, 20])
def test_scores_of_influence__naive_loop(k):
    torch.manual_seed(1)
    phi, gamma = torch.randn(8, k), torch.randn(4, k)
    a = phi.double().numpy()
    h = a.T @ a + 0.1 * np.trace(a.T @ a) / k * np.eye(k)
    inverse = np.linalg.inv(h)
    local = np.array([[a[j] @ inverse @ g for g in gamma.double().numpy()] for j in range(8)])
    trak = local.mean(1)
    turned = np.linalg.norm(a @ inverse, axis=1)
    for function, expected in (
        (trak_scores, trak),
        (relative_scores, trak / turned),
        (renormalised_scores, trak / np.linalg.norm(a, axis=1)),
    ):
        assert np.allclose(function(phi, gamma, damping=0.1), expected)
    scaled = trak_scores(10 * phi, 10 * gamma, damping=0.1)
    assert np.allclose(scaled, trak)  # the damping follows the scale


def test_scores_of_similarity__naive_loop():
    torch.manual_seed(2)
    training, generated = torch.randn(6, 5), torch.randn(3, 5)
    owner = torch.tensor([0, 0, 1, 1, 1, 2])
    cosines = torch.nn.functional.cosine_similarity(training[:, None], generated[None], dim=2)
    assert torch.allclose(cosine_scores(training, generated).float(), cosines.mean(1), atol=1e-6)
    largest = [cosines[owner == p].max(0).values.mean() for p in range(3)]
    found = largest_cosine_scores(training, generated, owner)
    assert torch.allclose(found.float(), torch.stack(largest), atol=1e-6)
    far = [[float((x - g).norm()) for g in generated] for x in training]
    assert np.allclose(distance_scores(training, generated), -np.mean(far, axis=1), atol=1e-5)


def test_gathering_by_contributor__closed_form():
    scores, owner = torch.tensor([1.0, 3.0, -2.0, 5.0]), torch.tensor([0, 0, 1, 1])
    assert gather(scores, owner, 2, "sum").tolist() == [4.0, 3.0]
    assert gather(scores, owner, 2, "mean").tolist() == [2.0, 1.5]
    assert gather(scores, owner, 2, "max").tolist() == [3.0, 5.0]
    with pytest.raises(InputError, match="choose one of"):
        gather(scores, owner, 2, "median")
    with pytest.raises(InputError, match="damping"):
        trak_scores(torch.ones(2, 2), torch.ones(1, 2), damping=0.0)
    with pytest.raises(InputError, match="all zero"):
        trak_scores(torch.zeros(2, 2), torch.ones(1, 2))
