"""Inversion with skip connections: scikit-learn, and two small networks."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso
from torch import nn
from torch.nn import functional as F

from wherefrom.attribution import fit, load
from wherefrom.attribution.final_layer.config import LassoConfig
from wherefrom.attribution.final_layer.lasso import Inverter
from wherefrom.attribution.training.other_layers import draw_by_other_layers
from wherefrom.calibration.verdict import Verdict
from wherefrom.generators.generator import wrap_generator
from wherefrom.generators.last_layer.introspection import takes_skip, with_skip

GAP = 2e-6  # certified to 1e-6, beside what the reference leaves


@pytest.fixture(scope="module")
def layer(layer_of):
    torch.manual_seed(1)
    module = nn.Conv2d(4, 2, 3, padding=1, bias=False)
    return layer_of(module, (4, 6, 6)).to(dtype=torch.float64)


def targets(count, shape, seed=2):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=rng, dtype=torch.float64)


class Residual(nn.Module):
    """x = tanh(conv(h) + s): the output of a block and what skips it."""

    def __init__(self):
        super().__init__()
        self.latent_dim = 6
        self.first = nn.Linear(6, 3 * 64)
        self.hidden = nn.Conv2d(3, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def parts(self, z):
        s = torch.relu(self.first(z).reshape(-1, 3, 8, 8))
        return torch.relu(self.hidden(s)), s

    def forward(self, z):
        h, s = self.parts(z)
        return torch.tanh(self.last(h) + s)


class OutputSkip(nn.Module):
    """x = tanh(rgb(h) + up(y)): a smaller image is upsampled and added, as in StyleGAN2."""

    def __init__(self):
        super().__init__()
        self.latent_dim = 6
        self.first = nn.Linear(6, 8 * 16)
        self.rgb_small = nn.Conv2d(8, 3, 1)
        self.hidden = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 3, 1)

    def parts(self, z):
        small = torch.relu(self.first(z).reshape(-1, 8, 4, 4))
        h = torch.relu(self.hidden(F.interpolate(small, scale_factor=2)))
        return h, self.rgb_small(small)

    def forward(self, z):
        h, y = self.parts(z)
        return torch.tanh(self.last(h) + F.interpolate(y, scale_factor=2))


def test_the_joined_layer_is_the_lasso_of_both_groups__reference_sklearn(layer, matrix_of):
    """An entry of s costs lam / a: the group's own weight."""
    o, lam = targets(3, (2, 6, 6)), 0.2
    joined, skip = with_skip(layer, (0, 1))
    columns = layer.weight.movedim(1, 0).flatten(1).norm(dim=1)
    assert skip.length == pytest.approx(float(columns.mean()))
    zero = torch.zeros(6, 6, 6, dtype=o.dtype)
    config = LassoConfig(lam=lam, effort="exact", gap=1e-6, solver="fista")
    inversion = Inverter(joined, zero, config).invert(o)
    matrix = np.hstack([matrix_of(layer), skip.length * np.eye(72)])
    lasso = Lasso(alpha=lam / (2 * 72), fit_intercept=False, tol=1e-12, max_iter=100_000)
    for target, objective in zip(o.flatten(1).numpy(), inversion.objective, strict=True):
        solution = lasso.fit(matrix, target).coef_
        residual = matrix @ solution - target
        expected = residual @ residual + lam * np.abs(solution).sum()
        assert float(objective) == pytest.approx(expected, rel=GAP)
    z, s = torch.randn(2, 4, 6, 6).double(), torch.randn(2, 2, 6, 6).double()
    torch.testing.assert_close(joined.linear(skip.joined(z, s)), layer.linear(z) + s)


def test_which_layers_take_a_skip__closed_form(layer_of):
    assert takes_skip(layer_of(nn.Conv2d(4, 3, 5, padding=2), (4, 6, 6)))
    assert takes_skip(layer_of(nn.Conv2d(4, 3, 3, padding=2, dilation=2), (4, 6, 6)))
    assert takes_skip(layer_of(nn.Linear(6, 4), (6,)))
    assert not takes_skip(layer_of(nn.Conv2d(4, 3, 3), (4, 6, 6)))
    assert not takes_skip(layer_of(nn.Conv2d(4, 2, 3, padding=1, groups=2), (4, 6, 6)))
    assert not takes_skip(layer_of(nn.ConvTranspose2d(4, 3, 4, 2, 1), (4, 6, 6)))
    assert not takes_skip(layer_of(nn.Linear(6, 4), (9, 6)))


@pytest.mark.parametrize("kind", [Residual, OutputSkip])
def test_an_attributor_of_a_skip_connected_generator__limit(kind, small, tmp_path):
    """`fit` as for any other: own images are kept, those of a sibling mostly not."""
    nets = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        net = kind()
        with torch.no_grad():
            net.last.weight.mul_(4)
        nets.append(wrap_generator(net))
    own, sibling = nets
    assert own.describe()["skip"]["inputs"] == 3
    assert own.last_layer.input_shape == (11, 8, 8)
    others = torch.randint(0, 256, (80, 3, 8, 8), dtype=torch.uint8)
    attributor = fit(own, others, config=small)
    attributor.save(tmp_path / "a")
    again = load(tmp_path / "a")
    mine, theirs = own.sample(40, seed=5), sibling.sample(40, seed=5)
    assert torch.equal(again.score(mine), attributor.score(mine))
    assert attributor.check(mine).counts()[Verdict.NOT_OURS] <= 8
    assert attributor.check(theirs).counts()[Verdict.NOT_OURS] >= 12


@torch.no_grad()
def test_another_last_layer_leaves_the_skip_as_it_is__identity_zero():
    """With G_L = 0 no change of it moves a pixel, whatever the skip carries."""
    torch.manual_seed(0)
    net = Residual()
    net.last.weight.zero_()
    generator = wrap_generator(net)
    drawn = draw_by_other_layers(generator, 64, seed=0)
    batches = generator.sample_with_activations(64, 0, batch=32)
    plain = torch.cat([x for x, _ in batches])
    assert torch.equal(drawn, (plain * 255).round().byte())
