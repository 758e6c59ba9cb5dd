"""Features: pooling, channels, and one set per image whatever its neighbours."""

import dataclasses

import pytest
import torch

from wherefrom.attribution.final_layer.intervals import pixel_intervals
from wherefrom.attribution.final_layer.lasso import Inverter
from wherefrom.attribution.methods.features import pool_to, select_channels
from wherefrom.attribution.protocol import SavedScorer
from wherefrom.data.images.writing import to_float
from wherefrom.metrics.noise_level import noise_level


@pytest.mark.parametrize(
    ("size", "side", "after"),
    [((8, 8), 8, (8, 8)), ((16, 16), 8, (8, 8)), ((33, 9), 8, (8, 2)), ((64, 64), 5, (4, 4))],
)
def test_pooling_takes_the_largest_of_each_block__naive_loop(size, side, after):
    z = torch.randn(2, 3, *size)
    expected = z
    while max(expected.shape[-2:]) > side:
        height, width = (s // 2 * 2 for s in expected.shape[-2:])
        blocks = expected[:, :, :height, :width]
        quarters = [blocks[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        expected = torch.stack(quarters).amax(dim=0)
    assert torch.equal(pool_to(z, side), expected)
    assert tuple(expected.shape[-2:]) == after


@pytest.mark.parametrize("inner", [(), (2, 3)])
def test_channels_that_differ_most_are_kept__naive_loop(inner):
    own = torch.randn(30, 6, *inner)
    others = torch.randn(20, 6, *inner)
    others[:, 4] += 3
    others[:, 1] -= 2
    own[:, 2] *= 0.05  # a quiet channel, in which a small difference counts
    others[:, 2] = 0.05 * others[:, 2] + 0.5
    differences = []
    for c in range(6):
        mean, scale = own[:, c].mean(dim=0), own[:, c].std(dim=0) + 0.05
        differences.append(float(((others[:, c].mean(dim=0) - mean) / scale).abs().mean()))
    ranked = sorted(range(6), key=lambda c: -differences[c])
    assert ranked[:3] == [2, 4, 1]
    for count in (1, 2, 4):
        assert select_channels(own, others, count).tolist() == sorted(ranked[:count])
    assert select_channels(own, others, 99).tolist() == list(range(6))


def test_features_are_the_inverted_activations_pooled__reference_inverter(fitted, smooth):
    images = to_float(smooth(5, 1))
    f = dataclasses.replace(fitted.scorer.features, max_side=8, channels=torch.tensor([0, 3, 5]))
    o = f.output_map.inverse(images)
    z = Inverter(f.last_layer, f.mean_activation, f.lasso).invert(o).activations
    expected = pool_to(z[:, [0, 3, 5]], 8).half()
    assert f.extract(images).dtype == torch.float16
    assert torch.equal(f.extract(images), expected)
    assert f.extract(images).shape == (5, 3, 8, 8)


def test_features_do_not_depend_on_neighbours__identity_batch_independence(fitted, smooth):
    images = to_float(smooth(19, 1))
    together = fitted.scorer.features.extract(images)
    order = torch.randperm(19)
    assert torch.equal(fitted.scorer.features.extract(images[order]), together[order])
    for i in (0, 7, 8, 18):
        assert torch.equal(fitted.scorer.features.extract(images[i : i + 1]), together[i : i + 1])
    assert fitted.scorer.features.extract(images[:0]).shape == (0, *together.shape[1:])


ROBUST = {"data": "interval", "slack": "noise", "iterations": 30}


def robust(fitted, **changes):
    f = fitted.scorer.features
    return dataclasses.replace(f, lasso=f.lasso.with_values({**ROBUST, **changes}))


def test_intervals_and_noise_enter_the_features__reference_inverter(fitted, generator):
    images = generator.sample(4, 1)
    noisy = (images + 0.05 * torch.randn(images.shape)).clamp(0, 1).mul(255).round() / 255
    f = dataclasses.replace(robust(fitted), clean_noise=0.01)
    intervals = pixel_intervals(noisy, f.output_map)
    added = (noise_level(noisy).square() - 0.01**2).clamp_min(0).sqrt()
    inverter = Inverter(f.last_layer, f.mean_activation, f.lasso)
    expected = inverter.invert_within(intervals, intervals.noise_budget(added))
    assert torch.equal(f.extract(noisy), pool_to(expected.activations, f.max_side).half())
    assert torch.all(expected.weight > f.lasso.lam)  # noise is there, and is given room
    fixed = robust(fitted, slack="fixed")
    assert torch.all(fixed.invert(noisy).weight == f.lasso.lam)
    assert not torch.equal(fixed.extract(noisy), f.extract(noisy))
    together = f.extract(noisy)
    for i in range(4):
        assert torch.equal(f.extract(noisy[i : i + 1]), together[i : i + 1])
    assert f.extract(noisy[:0]).shape == (0, *together.shape[1:])


def test_clean_noise_is_what_own_images_have__closed_form(fitted, smooth):
    own = to_float(smooth(40, 3))
    level = robust(fitted).with_clean_noise(own).clean_noise
    assert level == pytest.approx(float(torch.quantile(noise_level(own), 0.95)))
    kept = dataclasses.replace(robust(fitted), clean_noise=level)
    config = dataclasses.replace(fitted.config, lasso=kept.lasso)
    again = type(kept).from_saved(SavedScorer(config, *kept.to_saved()))
    assert again.clean_noise == level
    assert torch.equal(again.extract(own[:2]), kept.extract(own[:2]))
