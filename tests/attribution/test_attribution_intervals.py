"""A data term that knows 8 bits: intervals, weights, the solver, the certificate, the budget."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize
from torch import nn

from wherefrom.attribution.equations import (
    dual_objective,
    interval_distance,
    interval_dual,
    interval_misfit,
)
from wherefrom.attribution.final_layer.config import LassoConfig
from wherefrom.attribution.final_layer.intervals import (
    HALF,
    Intervals,
    excess_variance,
    pixel_intervals,
)
from wherefrom.attribution.final_layer.lasso import Inverter
from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.generators.last_layer.output_map import (
    Affine,
    Clamp,
    OutputMap,
    Permute,
    Sigmoid,
    Tanh,
)

EXACT = LassoConfig(lam=0.2, effort="exact", gap=1e-9, data="interval", max_iterations=20_000)
# Two solutions certified to 1e-9 of the objective, and L-BFGS-B's own end at about 1e-8.
NEAR = 1e-7

MAPS = pytest.mark.parametrize(
    ("output_map", "invert", "slope"),
    [
        (OutputMap.make((Tanh(),)), lambda x: np.arctanh(2 * x - 1), lambda x: 4 * x * (1 - x)),
        (OutputMap.make((Sigmoid(),)), lambda x: np.log(x / (1 - x)), lambda x: 4 * x * (1 - x)),
        (OutputMap.make((Clamp(-1, 1),)), lambda x: 2 * x - 1, lambda x: 1.0),
        (
            OutputMap.make((Tanh(), Affine(-1.0, 0.0))),
            lambda x: np.arctanh(1 - 2 * x),
            lambda x: 4 * x * (1 - x),
        ),
    ],
    ids=["tanh", "sigmoid", "clamp", "falling tanh"],
)


def levels():
    """Every 8-bit level once, (1, 1, 16, 16)."""
    return (torch.arange(256).double() / 255).reshape(1, 1, 16, 16)


@MAPS
def test_a_level_is_its_interval__closed_form(output_map, invert, slope):
    found = pixel_intervals(levels(), output_map)
    low, high, weight = (x.flatten().numpy() for x in (found.low, found.high, found.weight))
    x = np.arange(256) / 255
    # within the levels' own resolution: the map's inverse is cut at 1e-4 of the range
    for v in range(1, 255):
        ends = sorted((invert(x[v] - HALF), invert(x[v] + HALF)))
        assert (low[v], high[v]) == pytest.approx(ends, abs=1e-9)
        assert weight[v] == pytest.approx(slope(x[v]), abs=1e-9)
    rises = invert(0.6) > invert(0.4)
    ends = {0: invert(HALF), 255: invert(1 - HALF)}
    for v, opens_up in ((0, not rises), (255, rises)):
        closed = (ends[v], np.inf) if opens_up else (-np.inf, ends[v])
        assert (low[v], high[v]) == pytest.approx(closed, abs=1e-9)
        assert weight[v] == pytest.approx(slope(abs(x[v] - HALF)), abs=1e-9)


def test_intervals_move_with_the_pixels__identity_rearrangement():
    images = (levels().reshape(1, 4, 8, 8) * torch.ones(2, 1, 1, 1)).double()
    plain = pixel_intervals(images.permute(0, 2, 3, 1), OutputMap.make((Tanh(),)))
    moved = pixel_intervals(images, OutputMap.make((Tanh(), Permute((0, 3, 1, 2)))))
    for name in ("low", "high", "weight"):
        assert torch.equal(getattr(moved, name), getattr(plain, name))


@MAPS
def test_a_generator_s_own_values_lie_in_their_intervals__limit(output_map, invert, slope):
    o = 3 * torch.randn(4, 3, 16, 16, generator=stream(0, "o"), dtype=torch.float64)
    images = (output_map.forward(o) * 255).round() / 255
    found = pixel_intervals(images, output_map)
    assert torch.all((found.low <= o + 1e-9) & (o - 1e-9 <= found.high))
    assert torch.isinf(found.low).any() and torch.isinf(found.high).any()


@pytest.mark.parametrize("s", [0.0005, 0.002, 0.05])
def test_noise_beyond_half_a_level__reference_quadrature(s):
    def integrand(n):
        return max(abs(n) - HALF, 0) ** 2 * np.exp(-(n**2) / (2 * s**2)) / (s * np.sqrt(2 * np.pi))

    expected = quad(integrand, -10 * s, 10 * s, points=[-HALF, HALF], limit=500)[0]
    found = excess_variance(torch.tensor([s, 0.0], dtype=torch.float64), HALF)
    assert found.tolist() == pytest.approx([expected, 0.0], rel=1e-6, abs=1e-14)


def test_the_budget_is_the_truth_s_own_misfit__limit():
    """Over 12,288 pixels the mean square of Gaussian noise is known to 2 sqrt(2 / 12288) < 3 %."""
    output_map = OutputMap.make((Tanh(),))
    o = 0.3 * torch.randn(2, 3, 64, 64, generator=stream(1, "o"), dtype=torch.float64)
    noise = torch.tensor([0.02, 0.05], dtype=torch.float64)
    noisy = output_map.forward(o) + noise.reshape(2, 1, 1, 1) * torch.randn(
        o.shape, generator=stream(1, "n"), dtype=torch.float64
    )
    found = pixel_intervals((noisy.clamp(0, 1) * 255).round() / 255, output_map)
    misfit = interval_misfit(interval_distance(o, found.low, found.high), found.weight)
    # w d is the error in x to first order only: at 0.05 the curvature of tanh adds its part
    torch.testing.assert_close(found.noise_budget(noise), misfit, rtol=0.1, atol=0)


def drawn(layer, count=3, *, seed=0):
    """Intervals around random targets, some of them open, and a z_bar."""
    rng = stream(seed, "intervals")
    o = torch.randn(count, *layer.output_shape, generator=rng, dtype=torch.float64)
    width = torch.rand(o.shape, generator=rng, dtype=torch.float64)
    weight = 0.1 + 0.9 * torch.rand(o.shape, generator=rng, dtype=torch.float64)
    open_end = torch.rand(o.shape, generator=rng)
    low = torch.where(open_end < 0.1, -torch.inf, o - width)
    high = torch.where(open_end > 0.9, torch.inf, o + width)
    z_bar = torch.randn(layer.input_shape, generator=rng, dtype=torch.float64)
    return Intervals(low, high, weight, 1.0), z_bar


@pytest.fixture
def layer(layer_of):
    torch.manual_seed(4)
    return layer_of(nn.ConvTranspose2d(5, 2, 4, 2, 1).double(), (5, 3, 3))


def test_the_solver_finds_the_minimum__reference_scipy(layer, matrix_of):
    """L-BFGS-B on z = p - n with p, n >= 0, where the objective is smooth."""
    intervals, z_bar = drawn(layer)
    found = Inverter(layer, z_bar, EXACT).invert_within(intervals)
    matrix = matrix_of(layer)
    offset = layer.apply(z_bar[None])[0].flatten().numpy()
    size = matrix.shape[1]
    for i in range(3):
        low, high, weight = (
            x[i].flatten().numpy() for x in (intervals.low, intervals.high, intervals.weight)
        )

        def value(pn, low=low, high=high, weight=weight):
            u = matrix @ (pn[:size] - pn[size:]) + offset
            d = weight**2 * (u - np.clip(u, low, high))
            g = 2 * matrix.T @ d
            total = ((d / weight) ** 2).sum() + EXACT.lam * pn.sum()
            return total, np.concatenate([g, -g]) + EXACT.lam

        options = {"maxiter": 50_000, "maxfun": 10**6, "ftol": 1e-15, "gtol": 1e-10}
        best = minimize(
            value, np.zeros(2 * size), jac=True, bounds=[(0, None)] * (2 * size), options=options
        )
        assert float(found.objective[i]) == pytest.approx(best.fun, rel=NEAR)


def test_certificate_and_optimality__identity_gap(layer, kkt_violation):
    intervals, z_bar = drawn(layer, 5)
    inverter = Inverter(layer, z_bar, EXACT)
    found = inverter.invert_within(intervals)
    assert torch.all(found.gap <= 1e-9 * found.objective) and torch.all(found.residual > 0)
    z_shift = found.activations - z_bar
    z_shift = torch.where(z_shift.abs() < 1e-10, 0.0, z_shift)
    d = interval_distance(layer.apply(found.activations), intervals.low, intervals.high)
    gradient = layer.adjoint(d * intervals.weight.square())
    assert torch.all(kkt_violation(z_shift, gradient, EXACT.lam) < 1e-2)
    rough = Inverter(layer, z_bar, LassoConfig(lam=0.2, data="interval", iterations=5))
    early = rough.invert_within(intervals)
    assert torch.all(early.objective - early.gap <= found.objective * (1 + NEAR))
    assert torch.all(early.gap > 1e-3 * early.objective)


def test_intervals_of_no_width_are_eq_5__identity_reduction(layer):
    _, z_bar = drawn(layer)
    o = torch.randn(4, *layer.output_shape, generator=stream(2, "o"), dtype=torch.float64)
    point = Intervals(o, o, torch.ones_like(o), 1.0)
    for effort in ("fast", "exact"):
        square = LassoConfig(lam=0.2, effort=effort, gap=1e-8, solver="fista")
        expected = Inverter(layer, z_bar, square).invert(o)
        interval = square.with_values({"data": "interval"})
        found = Inverter(layer, z_bar, interval).invert_within(point)
        for name in ("activations", "objective", "residual", "iterations", "weight"):
            assert torch.allclose(getattr(found, name).double(), getattr(expected, name).double())
    r = torch.randn(4, 7, generator=stream(2, "r"), dtype=torch.float64)
    target, correlation = torch.randn_like(r), torch.rand(4, dtype=torch.float64) + 0.1
    ours = interval_dual(r + target, r, torch.ones_like(r), correlation, 0.3)
    plain = dual_objective(r, target, correlation, 0.3)
    assert torch.allclose(ours, torch.where(-(r * target).sum(1) > 0, plain, 0.0))


def test_a_pointwise_layer_pulls_to_the_nearest_end__closed_form(layer_of):
    """G = 1: z' = 0 inside, else the nearer end less lam / (2 w^2) towards 0."""
    module = nn.Conv2d(1, 1, 1, bias=False).double()
    nn.init.ones_(module.weight)
    layer = layer_of(module, (1, 1, 5))
    low = torch.tensor([-1.0, 0.5, 0.5, -torch.inf, 0.02], dtype=torch.float64)
    high = torch.tensor([1.0, 2.0, torch.inf, -0.4, 0.5], dtype=torch.float64)
    weight = torch.tensor([1.0, 1.0, 0.5, 0.8, 1.0], dtype=torch.float64)
    shape = (1, 1, 1, 5)
    intervals = Intervals(low.reshape(shape), high.reshape(shape), weight.reshape(shape), 1.0)
    config = LassoConfig(lam=0.1, effort="exact", gap=1e-12, data="interval")
    found = Inverter(layer, torch.zeros(1, 1, 5).double(), config).invert_within(intervals)
    expected = [0.0, 0.5 - 0.05, 0.5 - 0.05 / 0.25, -0.4 + 0.05 / 0.64, 0.0]
    assert found.activations.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_the_weight_follows_the_budget__reference_scipy(layer_of, matrix_of):
    """Eq. 4: the least ||z'||_1 among the activations whose misfit is within the budget."""
    torch.manual_seed(4)
    layer = layer_of(nn.ConvTranspose2d(4, 2, 4, 2, 1).double(), (4, 2, 2))
    intervals, z_bar = drawn(layer, 3, seed=7)
    config = EXACT.with_values({"lam": 1e-3, "slack": "noise", "gap": 1e-5})
    inverter = Inverter(layer, z_bar, config)
    at_zero = interval_misfit(
        interval_distance(layer.apply(z_bar[None]), intervals.low, intervals.high),
        intervals.weight,
    )
    budget = at_zero * torch.tensor([0.3, 0.6, 2.0], dtype=torch.float64)
    found = inverter.invert_within(intervals, budget)
    assert torch.allclose(found.residual[:2], budget[:2], rtol=1e-3)
    assert torch.equal(found.activations[2], z_bar)  # the mean itself is within the budget
    assert torch.all(found.gap <= 1e-5 * found.objective)
    assert float(found.weight[1]) > float(found.weight[0]) > config.lam
    matrix = matrix_of(layer)
    offset = layer.apply(z_bar[None])[0].flatten().numpy()
    size = matrix.shape[1]
    low, high, weight = (
        x[0].flatten().numpy() for x in (intervals.low, intervals.high, intervals.weight)
    )

    def spare(pn):
        u = matrix @ (pn[:size] - pn[size:]) + offset
        return float(budget[0]) - ((weight * (u - np.clip(u, low, high))) ** 2).sum()

    def spare_slope(pn):
        u = matrix @ (pn[:size] - pn[size:]) + offset
        g = -2 * matrix.T @ (weight**2 * (u - np.clip(u, low, high)))
        return np.concatenate([g, -g])

    best = minimize(
        lambda pn: (pn.sum(), np.ones(2 * size)),
        np.full(2 * size, 0.1),
        jac=True,
        bounds=[(0, None)] * (2 * size),
        constraints={"type": "ineq", "fun": spare, "jac": spare_slope},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-10},
    )
    assert best.success
    cost = float((found.activations[0] - z_bar).abs().sum())
    assert cost == pytest.approx(best.fun, rel=2e-3)  # the budget is met to 1e-3


def test_without_noise_the_weight_stays__limit(layer):
    intervals, z_bar = drawn(layer)
    config = LassoConfig(lam=0.2, data="interval", slack="noise", iterations=30)
    inverter = Inverter(layer, z_bar, config)
    plain = inverter.invert_within(intervals)
    none = inverter.invert_within(intervals, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(none.weight, plain.weight)
    torch.testing.assert_close(none.activations, plain.activations, rtol=0, atol=1e-12)


@pytest.mark.parametrize("effort", ["fast", "exact"])
def test_an_image_alone_and_among_others__identity_batch_independence(layer, effort):
    intervals, z_bar = drawn(layer, 7)
    config = LassoConfig(
        lam=0.05, effort=effort, gap=0.02, data="interval", slack="noise", iterations=40, chunk=8
    )
    inverter = Inverter(layer, z_bar, config)
    budget = torch.linspace(0.0, 9.0, 7, dtype=torch.float64)
    together = inverter.invert_within(intervals, budget)
    for i in (0, 3, 6):
        alone = inverter.invert_within(intervals.each(lambda x, i=i: x[i : i + 1]), budget[i, None])
        for name in ("activations", "objective", "gap", "weight", "iterations"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[i]), name


def test_settings_that_contradict__rejects_settings(layer):
    z_bar = torch.zeros(layer.input_shape, dtype=torch.float64)
    with pytest.raises(InputError, match="ADMM solves the square data term only"):
        Inverter(layer, z_bar, LassoConfig(data="interval", solver="admm", effort="exact"))
    with pytest.raises(InputError, match="slack noise needs data interval"):
        Inverter(layer, z_bar, LassoConfig(slack="noise"))
    with pytest.raises(InputError, match="these settings ask for intervals"):
        Inverter(layer, z_bar, LassoConfig(data="interval")).invert(torch.zeros(1, 2, 6, 6))
    intervals, _ = drawn(layer)
    free = Inverter(layer, z_bar, LassoConfig(lam=0.0, data="interval", slack="noise"))
    with pytest.raises(InputError, match="give one above 0"):
        free.invert_within(intervals, torch.ones(3, dtype=torch.float64))
