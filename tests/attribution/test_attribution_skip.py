"""Inversion with skip connections: the plain lasso, scikit-learn, and two small networks."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso
from torch import nn
from torch.nn import functional as F

from wherefrom.attribution import fit, load
from wherefrom.attribution.equations import soft_threshold
from wherefrom.attribution.final_layer.lasso import Inverter, LassoConfig
from wherefrom.attribution.final_layer.operator import squared_norm
from wherefrom.attribution.final_layer.skip import Group, Identity, invert_groups, upsampling
from wherefrom.attribution.training.other_layers import draw_by_other_layers
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import InputError
from wherefrom.generators.generator import wrap_generator
from wherefrom.generators.last_layer.skips import takes_skip, with_skip

EXACT = LassoConfig(effort="exact", gap=1e-6, solver="fista")
GAP = 2e-6  # two solutions, each certified to 1e-6


@pytest.fixture(scope="module")
def layer(layer_of):
    torch.manual_seed(1)
    module = nn.Conv2d(4, 2, 3, padding=1, bias=False)
    return layer_of(module, (4, 6, 6)).to(dtype=torch.float64)


def targets(count, shape, seed=2):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=rng, dtype=torch.float64)


def two_groups(layer):
    """The last layer and a residual, with a weight of their own each."""
    zero = torch.zeros(2, 6, 6, dtype=torch.float64)
    return [Group(layer, zero.repeat(2, 1, 1), 0.3), Group(Identity((2, 6, 6)), zero, 0.8)]


def test_one_group_is_the_plain_lasso__identity_reduction(layer):
    o, z_bar = targets(3, (2, 6, 6)), targets(1, (4, 6, 6), 3)[0]
    plain = Inverter(layer, z_bar, LassoConfig(lam=0.05, effort="exact", gap=1e-6, solver="fista"))
    expected = plain.invert(o)
    found = invert_groups([Group(layer, z_bar, 0.05)], o, config=EXACT)
    torch.testing.assert_close(found.objective, expected.objective, rtol=GAP, atol=0)
    torch.testing.assert_close(found.activations[0], expected.activations, rtol=0, atol=5e-3)


def test_two_groups_with_a_weight_each__reference_sklearn(layer, matrix_of):
    """Scaling the columns of a group by 1 / lam_i turns group weights into one weight."""
    o = targets(2, (2, 6, 6))
    groups = two_groups(layer)
    found = invert_groups(groups, o, config=EXACT)
    matrix = np.hstack([matrix_of(layer) / 0.3, np.eye(72) / 0.8])
    lasso = Lasso(alpha=1 / (2 * 72), fit_intercept=False, tol=1e-12, max_iter=100_000)
    for i in range(2):
        solution = lasso.fit(matrix, o[i].flatten().numpy()).coef_
        residual = matrix @ solution - o[i].flatten().numpy()
        objective = residual @ residual + np.abs(solution).sum()
        assert float(found.objective[i]) == pytest.approx(objective, rel=1e-6)
        z, s = (part[i].flatten().numpy() for part in found.activations)
        np.testing.assert_allclose(s, solution[144:] / 0.8, atol=1e-3)
        # the fit is unique where z need not be
        difference = matrix_of(layer) @ (z - solution[:144] / 0.3)
        np.testing.assert_allclose(difference, 0, atol=1e-3)


def test_the_gap_bounds_what_is_missing__identity_certificate(layer):
    o = targets(4, (2, 6, 6))
    groups = two_groups(layer)
    best = invert_groups(groups, o, config=EXACT).objective
    rough = invert_groups(groups, o, config=LassoConfig(iterations=5))
    assert torch.all(rough.objective - rough.gap <= best * (1 + GAP))
    assert torch.all(rough.gap > 0) and torch.all(rough.iterations == 5)
    early = invert_groups(groups, o, config=LassoConfig(effort="exact", gap=0.05))
    assert torch.all(early.gap <= 0.05 * early.objective)


def test_the_skip_alone_is_a_soft_threshold__closed_form():
    """G_L = 0: s = soft(o, lam / 2)."""
    o = targets(3, (2, 5, 5))
    group = Group(Identity((2, 5, 5)), torch.full((2, 5, 5), 0.4, dtype=o.dtype), 0.6)
    found = invert_groups([group], o, config=EXACT)
    expected = soft_threshold(o - 0.4, 0.3) + 0.4
    torch.testing.assert_close(found.activations[0], expected, rtol=0, atol=1e-5)


def test_a_bias_is_taken_off_the_targets__identity_shift(layer):
    o, bias = targets(2, (2, 6, 6)), targets(2, (1, 1), 5)
    config = LassoConfig(iterations=20)
    plain = invert_groups(two_groups(layer), o, config=config).activations
    moved = invert_groups(two_groups(layer), o + bias, bias=bias, config=config).activations
    for a, b in zip(plain, moved, strict=True):
        torch.testing.assert_close(a, b)


def test_how_many_together_does_not_matter__identity_batch_independence(layer):
    o = targets(5, (2, 6, 6))
    groups = two_groups(layer)
    config = LassoConfig(iterations=30)
    found = invert_groups(groups, o, config=config).activations
    order = torch.tensor([3, 0, 4, 1, 2])
    moved = invert_groups(groups, o[order], config=config).activations
    alone = invert_groups(groups, o[4:], config=config).activations
    for a, b, c in zip(found, moved, alone, strict=True):
        assert torch.equal(b, a[order]) and torch.equal(c, a[4:])


@pytest.mark.parametrize(
    ("kernel", "mode"), [(torch.ones(2, 2), "nearest"), (torch.ones(4, 4), None)]
)
def test_an_upsampling_is_a_linear_map__reference_torch(kernel, mode):
    layer = upsampling(kernel, 2, (3, 5, 4))
    small = torch.randn(2, 3, 5, 4)
    made = layer.linear(small)
    assert made.shape == (2, 3, 10, 8)
    if mode:
        assert torch.equal(made, F.interpolate(small, scale_factor=2, mode=mode))
    r = torch.randn(2, 3, 10, 8)
    torch.testing.assert_close((made * r).sum(), (small * layer.adjoint(r)).sum())
    units = torch.eye(60).reshape(60, 3, 5, 4)
    matrix = layer.linear(units).flatten(1).double()
    assert float(torch.linalg.matrix_norm(matrix, 2) ** 2) <= squared_norm(layer) * (1 + 1e-6)


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


@pytest.mark.parametrize("kind", [Residual, OutputSkip])
@torch.no_grad()
def test_a_network_s_own_images_are_explained_cheaply__limit(kind, layer_of):
    """Both groups are recovered near their truth, and at less cost than for a sibling's images.

    The sibling is the same network from another seed.  The inversion sees pixels only.
    """
    nets = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        nets.append(kind())
    own, sibling = nets
    latents = torch.randn(48, 6, generator=torch.Generator().manual_seed(9))
    h, s = own.parts(latents)
    layer = layer_of(own.last, tuple(h.shape[1:]))
    skipped = (
        Identity((3, 8, 8)) if kind is Residual else upsampling(torch.ones(2, 2), 2, (3, 4, 4))
    )
    groups = [Group(layer, h[:40].mean(dim=0), 1e-3), Group(skipped, s[:40].mean(dim=0), 2e-3)]

    def invert(images):
        o = torch.atanh(images.clamp(-0.9999, 0.9999))
        bias = layer.bias.reshape(-1, 1, 1)
        return invert_groups(groups, o, bias=bias, config=LassoConfig(iterations=150, chunk=8))

    mine, other = invert(own(latents[40:])), invert(sibling(latents[40:]))
    assert torch.all(mine.residual < 1e-2)  # the image is explained
    truth = (h[40:], s[40:])
    means = [group.mean for group in groups]
    together = [float((a - b).square().sum()) for a, b in zip(mine.activations, truth, strict=True)]
    of_means = [float((m - b).square().sum()) for m, b in zip(means, truth, strict=True)]
    assert sum(together) < sum(of_means)
    assert float(mine.objective.median()) < 0.9 * float(other.objective.median())


def test_groups_that_do_not_fit__rejects_groups(layer):
    zero = torch.zeros(4, 6, 6)
    with pytest.raises(InputError, match=r"targets of shape \(2, 5, 6\), but the groups make"):
        invert_groups([Group(layer, zero, 0.1)], torch.zeros(1, 2, 5, 6), config=EXACT)
    with pytest.raises(InputError, match="every group needs a positive l1 weight"):
        invert_groups([Group(layer, zero, 0.0)], torch.zeros(1, 2, 6, 6), config=EXACT)
    for kernel, factor in ((torch.ones(3, 3), 2), (torch.ones(2, 4), 2), (torch.ones(2, 2), 4)):
        with pytest.raises(InputError, match="larger than the factor by an even number"):
            upsampling(kernel, factor, (3, 4, 4))


def test_the_joined_layer_is_the_lasso_of_both_groups__reference_groups(layer):
    """An entry of s costs lam / a: the group's own weight."""
    o, lam = targets(3, (2, 6, 6)), 0.2
    joined, skip = with_skip(layer, (0, 1))
    columns = layer.weight.movedim(1, 0).flatten(1).norm(dim=1)
    assert skip.length == pytest.approx(float(columns.mean()))
    zero = torch.zeros(6, 6, 6, dtype=o.dtype)
    config = LassoConfig(lam=lam, effort="exact", gap=1e-6, solver="fista")
    found = Inverter(joined, zero, config).invert(o)
    groups = [
        Group(layer, zero[:4], lam),
        Group(Identity((2, 6, 6)), zero[:2], lam / skip.length),
    ]
    expected = invert_groups(groups, o, config=EXACT)
    torch.testing.assert_close(found.objective, expected.objective, rtol=GAP, atol=0)
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
