"""Complexity and vulnerability against what they must be by hand."""

import dataclasses
import math

import pytest
import torch
from known_fields import SIDE, Circle, ConvNet, Curved, Linear, encoder, pictures
from torch import nn

from wherefrom.anomaly import PRESETS, AnomalyConfig, score_images
from wherefrom.anomaly import equations as eq
from wherefrom.anomaly.measuring.features import attacked_image, direction
from wherefrom.core.errors import InputError
from wherefrom.encoders.features import make_feature_encoder

FEW = AnomalyConfig(directions=3, restarts=2)
# float32 features of size ~10 carry errors of 1e-6; a noise step moves them by about 1e-2.
ROUNDING = 2e-3
EXACT = 1e-9  # float64


def complexity(images, net, *, config, seed=0):
    """C alone."""
    only = dataclasses.replace(config, restarts=0)
    return score_images(images, net, config=only, seed=seed).complexity


def vulnerability(images, net, *, config):
    """V alone."""
    return score_images(images, net, config=dataclasses.replace(config, directions=0)).vulnerability


def test_complexity_of_a_linear_encoder__closed_form():
    images = pictures(3)
    double = encoder(Linear(5)).in_double()
    n = direction(images[0], 0, seed=0).double()
    points = eq.path(images[0].double(), n, 0.01, 10, clamp=False)
    assert float(eq.complexity(double.features(points))) < 1e-6
    assert complexity(images, encoder(Linear(5)), config=FEW).max() < ROUNDING


def test_vulnerability_of_a_one_row_linear_encoder__closed_form():
    module = Linear(1)
    config = dataclasses.replace(FEW, start_radius=1e-6, clamp=False)
    expected = config.attack_steps * config.alpha * float(module.w.detach().abs().sum())
    result = vulnerability(pictures(3), encoder(module), config=config)
    # The start adds at most 1e-6 |w|_1, a relative 1e-5; 1e-4 if it had to be doubled.
    assert torch.allclose(result, torch.full((3,), expected, dtype=torch.float64), rtol=1e-4)


def test_vulnerability_of_a_one_row_linear_encoder_with_a_bound__closed_form():
    module = Linear(1)
    config = AnomalyConfig(**{**PRESETS["public-code-fixed"].to_dict(), "clamp": False})
    expected = 8 / 255 * float(module.w.detach().abs().sum())
    result = vulnerability(pictures(2), encoder(module), config=config)
    assert torch.allclose(result, torch.full((2,), expected, dtype=torch.float64), rtol=2e-5)


def test_complexity_of_a_circle__closed_form():
    image = pictures(1)[0].double()
    n = direction(image.float(), 0, seed=0).double()
    double = encoder(Circle(n, rate=7.0)).in_double()
    # A step of 0.01 along n turns by 0.07; so do the chords.
    moved = torch.cat([image[None], eq.path(image, n, 0.01, 10, clamp=False)])
    result = eq.angles(double.features(moved))
    assert result.shape == (9,)
    assert torch.allclose(result, torch.full((9,), 0.07, dtype=torch.float64), atol=1e-7)


def test_angles_equal_the_arccos_of_the_definition__naive_loop():
    points = torch.randn(4, 11, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for path, result in zip(points, eq.angles(points), strict=True):
        for k in range(1, 10):
            a, b = path[k] - path[k - 1], path[k + 1] - path[k]
            cosine = float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))
            assert math.isclose(float(result[k - 1]), math.acos(cosine), abs_tol=EXACT)


def test_angles_of_parallel_and_opposite_steps__limit():
    line = torch.tensor([[0.0], [1.0], [2.0], [1.0]])
    assert torch.allclose(eq.angles(line), torch.tensor([0.0, math.pi], dtype=torch.float64))


def test_steps_of_length_zero_are_left_out_and_counted__closed_form():
    points = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    assert eq.angles(points)[0].isnan()
    assert math.isclose(float(eq.complexity(points)), math.pi / 2)
    assert int(eq.still_steps(points)) == 1


def test_path_is_the_definition__naive_loop():
    x, n = pictures(1)[0], direction(pictures(1)[0], 0, seed=3)
    assert math.isclose(float(n.square().sum()), 1, rel_tol=1e-5)
    for clamp, low in ((False, x), (True, x.clamp_max(0.301))):
        moved = eq.path(low, n, 5.0, 4, clamp=clamp)
        for k in range(1, 5):
            step = low + k * 5.0 * n
            assert torch.allclose(moved[k - 1], step.clamp(0, 1) if clamp else step)


def test_the_attack_climbs__identity_sign():
    images, net = pictures(8, side=16), encoder(ConvNet(), resolution=16)
    result = vulnerability(images, net, config=FEW)
    random = []
    for i, image in enumerate(images):
        rng = torch.Generator().manual_seed(i)
        signs = torch.randint(0, 2, image.shape, generator=rng) * 2.0 - 1
        moved = (image + FEW.attack_steps * FEW.alpha * signs)[None]
        random.append(eq.vulnerability(net.features(image[None]), net.features(moved))[0].detach())
    assert (result > 2 * torch.stack(random)).all()


def test_vulnerability_grows_with_steps_and_step_size__identity_monotone():
    images, net = pictures(4, side=16), encoder(ConvNet(), resolution=16)

    def v(**changes):
        return vulnerability(images, net, config=dataclasses.replace(FEW, **changes))

    assert (v(attack_steps=5) < v(attack_steps=10)).all()
    assert (v(alpha=0.005) < v(alpha=0.01)).all()


def test_the_public_code_descends_and_its_score_is_another__closed_form():
    """Deviation of `attack_step`: a subtracted sign returns to M(x), so V is at most a step."""
    module = Linear(1).requires_grad_(requires_grad=False)
    net, image = encoder(module), pictures(1)
    clean, moved = net.features(image), image + 1e-6
    for _ in range(10):
        moved = moved.detach().requires_grad_()
        far = (net.features(moved) - clean).square().sum()
        (gradient,) = torch.autograd.grad(far, moved)
        moved = eq.attack_step(moved.detach(), image, -gradient, 2 / 255, 8 / 255, clamp=False)
    one_step = 2 / 255 * float(module.w.abs().sum())
    assert float(eq.vulnerability(clean, net.features(moved.detach()))) < 1.01 * one_step
    fixed = AnomalyConfig(**{**PRESETS["public-code-fixed"].to_dict(), "clamp": False})
    assert float(vulnerability(image, net, config=fixed)) > 3.9 * one_step


def test_attacked_images_respect_bound_and_range__identity_bounds():
    image, net = pictures(1, side=16)[0], encoder(ConvNet(), resolution=16)
    config = PRESETS["public-code-fixed"]
    moved = attacked_image(image, net, config=config, seed=0, which=0)
    assert (moved - image).abs().max() <= 8 / 255 + 1e-6
    white = attacked_image(torch.ones(3, 16, 16), net, config=FEW, seed=0, which=0)
    assert white.min() >= 0 and white.max() <= 1


def test_scores_do_not_depend_on_batch_order_or_neighbours__identity_batches():
    images, net = pictures(5, side=16), encoder(ConvNet(), resolution=16)
    whole = score_images(images, net, config=FEW)
    order = [3, 0, 4, 2, 1]
    shuffled = score_images(images[order], net, config=FEW)
    for column in ("complexity", "vulnerability", "complexity_error", "features"):
        assert torch.equal(getattr(whole.select(order), column), getattr(shuffled, column))
        alone = torch.cat(
            [getattr(score_images(images[i : i + 1], net, config=FEW), column) for i in range(5)]
        )
        assert torch.equal(getattr(whole, column), alone)


def test_the_group_size_changes_scores_by_rounding_only__limit(monkeypatch):
    images, net = pictures(5, side=16), encoder(ConvNet(), resolution=16)
    config = dataclasses.replace(FEW, start_radius=0.01)
    alone = score_images(images, net, config=config)
    monkeypatch.setattr("wherefrom.anomaly.measuring.features.CPU_GROUP", 3)
    grouped = score_images(images, net, config=config)
    assert torch.allclose(alone.complexity, grouped.complexity, rtol=0.02, atol=ROUNDING)
    # One rounding may turn the sign of a gradient that is about zero, and with it one value.
    assert torch.allclose(alone.vulnerability, grouped.vulnerability, rtol=0.02)
    assert grouped.names == alone.names


def test_errors_are_those_of_the_mean_of_draws__naive_loop():
    images, net = pictures(2), encoder(Curved())
    config = AnomalyConfig(directions=5, restarts=3)
    result = score_images(images, net, config=config)
    first = score_images(images, net, config=dataclasses.replace(config, directions=4, restarts=2))
    # The mean of 5 and of 4 of the same draws leave the fifth.
    fifth = 5 * result.complexity - 4 * first.complexity
    assert ((result.complexity - fifth).abs() < 5 * 2 * result.complexity_error).all()
    assert (result.directions == 5).all() and (result.vulnerability_error > 0).all()
    single = score_images(images, net, config=PRESETS["paper"])
    assert single.complexity_error.isnan().all() and single.vulnerability_error.isnan().all()
    assert torch.equal(result.as_i, result.vulnerability / result.complexity)


def test_more_directions_make_the_complexity_reproducible__identity_error():
    images, net = pictures(24), encoder(Curved())

    def spread(count):
        config = AnomalyConfig(directions=count, restarts=0)
        runs = [complexity(images, net, config=config, seed=seed) for seed in range(2)]
        return float((runs[0] - runs[1]).square().mean().sqrt())

    # Four times the directions halve it; 1.4 leaves room for chance, and the seeds are fixed.
    assert spread(16) * 1.4 < spread(4)


def test_settings_of_the_presets__paper_values():
    paper, fixed = PRESETS["paper"], PRESETS["public-code-fixed"]
    assert (paper.epsilon, paper.steps, paper.alpha, paper.attack_steps) == (0.01, 10, 0.01, 10)
    assert (paper.bound, paper.directions, fixed.bound) == (0, 1, 8 / 255)
    assert fixed.alpha == 2 / 255 and PRESETS["default"].directions >= 8


def test_scores_under_no_grad_inference_mode_and_autocast__identity_modes():
    images, net = pictures(2, side=16), encoder(ConvNet(), resolution=16)
    usual = score_images(images, net, config=FEW)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(score_images(images, net, config=FEW).vulnerability, usual.vulnerability)
    with torch.inference_mode():
        result = score_images(images.clone(), net, config=FEW)
        assert torch.equal(result.complexity, usual.complexity)


def test_an_encoder_without_gradients__rejects_vulnerability():
    net = encoder(ConvNet(), resolution=16)
    blind = make_feature_encoder(
        lambda x: net.features(x).detach(), kind="blind", resolution=16, config={"v": 1}
    )
    images = pictures(2, side=16)
    assert not blind.differentiable
    with pytest.raises(InputError, match=r"passes no gradient .* use restarts 0"):
        score_images(images, blind, config=FEW)
    result = score_images(images, blind, config=dataclasses.replace(FEW, restarts=0))
    assert result.vulnerability.isnan().all() and result.complexity.isfinite().all()


class NaNBelow(nn.Module):
    """NaN for dark images."""

    def forward(self, x):
        mean = x.mean(dim=(1, 2, 3))[:, None]
        return torch.where(mean < 0.2, torch.nan, mean * torch.tensor([1.0, 2.0]))


def test_nan_features_name_the_image__rejects_nan():
    images = pictures(3)
    images[1] = 0.1
    with pytest.raises(InputError, match="beta: the encoder gives NaN"):
        score_images(images, encoder(NaNBelow()), config=FEW, names=["alpha", "beta", "gamma"])


class Constant(nn.Module):
    """Features that no image moves."""

    def forward(self, x):
        return x.flatten(1)[:, :2] * 0 + 1


def test_features_that_never_move__rejects_undefined():
    with pytest.raises(InputError, match="image 0: no noise step moves its features"):
        score_images(pictures(1), encoder(Constant()), config=FEW)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 1, SIDE, SIDE), "repeat a grey channel"),
        (torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8), "divide by 255"),
        (torch.full((2, 3, SIDE, SIDE), 1.5), "image 0 holds values from 1.5 to 1.5"),
        (torch.full((2, 3, SIDE, SIDE), torch.nan), "image 0 holds values from nan"),
    ],
)
def test_images_that_are_none__rejects(images, message):
    with pytest.raises(InputError, match=message):
        score_images(images, encoder(Linear(2)), config=FEW)


def test_wrong_settings__rejects():
    with pytest.raises(InputError, match="smaller than the start radius"):
        AnomalyConfig(bound=1e-4)
    with pytest.raises(InputError, match="3 names"):
        score_images(pictures(2), encoder(Linear(2)), names=["a", "b", "c"])
    with pytest.raises(InputError, match="steps is 1"):
        AnomalyConfig(steps=1)


def test_an_empty_batch__limit():
    result = score_images(torch.zeros(0, 3, SIDE, SIDE), encoder(Linear(4)), config=FEW)
    assert len(result) == 0 and result.features.shape == (0, 4)
    assert result.to_dict()["images"] == []
