"""Final-layer inversion against independent solvers, a naive loop and closed forms."""

from dataclasses import replace

import celer
import numpy as np
import pytest
import sklearn.linear_model
import torch
from torch import nn

from wherefrom.attribution.equations import lasso_objective, soft_threshold
from wherefrom.attribution.final_layer.config import LassoConfig
from wherefrom.attribution.final_layer.lasso import Inverter
from wherefrom.attribution.final_layer.operator import squared_norm
from wherefrom.attribution.final_layer.window import centre_window
from wherefrom.attribution.methods.flipad import mean_activation
from wherefrom.core.errors import InputError
from wherefrom.generators.loading import load_generator

EXACT = {"effort": "exact", "max_iterations": 5_000}
SOLVERS = pytest.mark.parametrize("solver", ["fista", "admm"])
EFFORTS = pytest.mark.parametrize(
    "effort",
    [
        {"effort": "fast"},
        {"effort": "exact", "solver": "fista"},
        {"effort": "exact", "solver": "admm"},
    ],
    ids=["fast", "fista", "admm"],
)
# float64: the solvers agree on the objective to their own gaps, 1e-10 of it.
GAP = 1e-10
RESTARTED = 200  # iterations after which each of the problems below has overshot and restarted
# float32: the residual carries ~1e-7 of the target's size per element, the gap squares of that and
# their product with the residual; below this relative gap rounding decides.
FLOAT32_GAP = 1e-4


def drawn(layer, count, *, dtype=torch.float64):
    """Targets that no z explains, and a z_bar."""
    o = torch.randn(count, *layer.output_shape, dtype=dtype)
    return o, torch.randn(layer.input_shape, dtype=dtype)


def problems():
    """Modules with their input shapes; with more outputs than inputs z is determined."""
    yield "wide transposed", nn.ConvTranspose2d(2, 3, 4, 2, 1), (2, 4, 3)
    yield "narrow transposed", nn.ConvTranspose2d(12, 2, 4, 2, 1), (12, 3, 3)
    yield "convolution", nn.Conv2d(8, 2, 3, 1, 1), (8, 5, 4)
    yield "wide dense", nn.Linear(6, 20), (6,)
    yield "narrow dense", nn.Linear(30, 11), (30,)


PROBLEMS = pytest.mark.parametrize(
    ("module", "shape"),
    [(m, s) for _, m, s in problems()],
    ids=[name for name, _, _ in problems()],
)


def seeded(module):
    """The module in float64, drawn again: parameters of a test are made before its seed is set."""
    module.reset_parameters()
    return module.double()


@SOLVERS
@PROBLEMS
def test_objective_and_solution_agree__reference_solvers(
    layer_of, matrix_of, module, shape, solver
):
    layer = layer_of(seeded(module), shape)
    matrix, lam = matrix_of(layer), 0.2
    o, z_bar = drawn(layer, 3)
    ours = Inverter(layer, z_bar, LassoConfig(lam=lam, gap=GAP, solver=solver, **EXACT)).invert(o)
    o_shift = (o - layer.apply(z_bar[None])).flatten(1).numpy()
    # For p(z) - p(z*) >= sigma^2 ||z - z*||^2, with sigma the smallest singular value.
    sigma = np.linalg.svd(matrix, compute_uv=False)[-1] if len(matrix) >= matrix.shape[1] else 0
    for library in (celer, sklearn.linear_model):
        lasso = library.Lasso(
            alpha=lam / (2 * len(matrix)), fit_intercept=False, tol=1e-13, max_iter=100_000
        )
        solutions = [lasso.fit(np.asfortranarray(matrix), y).coef_.copy() for y in o_shift]
        theirs = torch.tensor(np.stack(solutions)).reshape(3, *shape) + z_bar
        best = lasso_objective(theirs, o, layer.apply, z_bar, lam)
        assert torch.allclose(ours.objective, best, rtol=2 * GAP), library.__name__
        if sigma > 1e-3:
            distance = (ours.activations - theirs).flatten(1).norm(dim=1)
            bound = 2 * (2 * GAP * best).sqrt() / sigma
            assert bool((distance <= bound).all()), library.__name__


@SOLVERS
@PROBLEMS
def test_exact_effort_meets_its_certificate_and_the_optimality_conditions__identity_gap(
    layer_of, module, shape, solver, kkt_violation
):
    layer = layer_of(seeded(module), shape)
    o, z_bar = drawn(layer, 3)
    config = LassoConfig(lam=0.2, gap=1e-12, solver=solver, **EXACT)
    found = Inverter(layer, z_bar, config).invert(o)
    assert bool((found.relative_gap <= 1e-12).all())
    assert bool((found.iterations < config.max_iterations).all())
    z_shift = found.activations - z_bar
    z_shift = torch.where(z_shift.abs() < 1e-12, 0.0, z_shift)  # z' + z_bar - z_bar rounds
    gradient = layer.adjoint(layer.apply(found.activations) - o)
    assert bool((kkt_violation(z_shift, gradient, 0.2) < 1e-3).all())


@EFFORTS
def test_what_is_returned_belongs_together__identity_objective(layer_of, effort):
    layer = layer_of(seeded(nn.ConvTranspose2d(6, 2, 4, 2, 1)), (6, 3, 3))
    o, z_bar = drawn(layer, 11)
    found = Inverter(layer, z_bar, LassoConfig(lam=0.1, chunk=8, **effort)).invert(o)
    z = found.activations
    objective = lasso_objective(z, o, layer.apply, z_bar, 0.1)
    assert torch.allclose(found.objective, objective, rtol=1e-10)
    squares = (layer.apply(z) - o).square().flatten(1).sum(dim=1)
    assert torch.allclose(found.residual, squares, rtol=1e-10)
    assert torch.allclose(found.relative_gap, found.gap / objective, rtol=1e-8)
    assert found.iterations.dtype == torch.int64 and len(found.iterations) == 11


@SOLVERS
def test_exact_effort_in_float32__limit(layer_of, solver):
    layer = layer_of(nn.ConvTranspose2d(6, 2, 4, 2, 1), (6, 4, 4))
    o, z_bar = drawn(layer, 5, dtype=torch.float32)
    found = Inverter(
        layer, z_bar, LassoConfig(lam=0.2, gap=FLOAT32_GAP, solver=solver, **EXACT)
    ).invert(o)
    assert found.activations.dtype == torch.float32
    assert bool((found.relative_gap <= FLOAT32_GAP).all())
    assert bool((found.iterations < 5_000).all())


@SOLVERS
def test_exact_effort_stops_at_its_limit_and_says_so__limit(layer_of, solver):
    layer = layer_of(seeded(nn.Linear(30, 11)), (30,))
    o, z_bar = drawn(layer, 3)
    config = LassoConfig(lam=1e-3, effort="exact", solver=solver, gap=1e-14, max_iterations=25)
    found = Inverter(layer, z_bar, config).invert(o)
    assert found.iterations.tolist() == [25, 25, 25]
    assert bool((found.relative_gap > 1e-14).all())
    if solver == "fista":  # from a cold start, the very steps of the fast effort
        found = Inverter(layer, z_bar, replace(config, continuation=0)).invert(o)
        steps = Inverter(layer, z_bar, LassoConfig(lam=1e-3, iterations=25)).invert(o)
        assert torch.equal(found.activations, steps.activations)


def test_larger_weights_first_come_to_the_same_in_fewer_steps__reference_cold():
    """The centre of a trained GAN's last layer, the paper's weight: badly conditioned, so slow."""
    generator = load_generator("zoo:fashion-lsgan-0")
    window, layer = centre_window(generator.last_layer, 6, 1)
    z_bar = mean_activation(generator, 64, 0, window=window)
    o = window.of_outputs(generator.output_map.inverse(generator.sample(2, 1)))
    config = LassoConfig(effort="exact", solver="fista", gap=0.3, chunk=1)
    cold = Inverter(layer, z_bar, replace(config, continuation=0)).invert(o)
    warm = Inverter(layer, z_bar, config).invert(o)
    assert bool((warm.relative_gap <= config.gap).all())
    # both objectives lie between the minimum and gap above it
    assert torch.allclose(warm.objective, cold.objective, rtol=config.gap)
    assert bool((warm.iterations < cold.iterations / 2).all())
    alone = Inverter(layer, z_bar, config).invert(o[1:])
    assert torch.equal(alone.activations[0], warm.activations[1])
    assert torch.equal(alone.iterations[0], warm.iterations[1])


@pytest.mark.parametrize(
    ("continuation", "expected"),
    [(0, [(1.0, 0.01, 100)]), (2, [(100.0, 0.1, 25), (10.0, 0.1, 25), (1.0, 0.01, 50)])],
)
def test_the_stages_share_the_iterations__closed_form(layer_of, continuation, expected):
    config = LassoConfig(
        lam=1.0, effort="exact", gap=0.01, max_iterations=100, continuation=continuation
    )
    layer = layer_of(seeded(nn.Conv2d(4, 3, 3, padding=1)), (4, 6, 6))
    z_bar = torch.zeros(4, 6, 6, dtype=layer.weight.dtype)
    stages = Inverter(layer, z_bar, config)._stages()
    assert [(s.lam, s.gap, s.max_iterations) for s in stages] == expected


@EFFORTS
def test_an_orthogonal_pointwise_layer_is_soft_thresholding__closed_form(layer_of, effort):
    """G^T G = I: z = z_bar + soft(G^T o', lam / 2)."""
    module = nn.Conv2d(4, 4, 1).double()
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    with torch.no_grad():
        module.weight.copy_(rotation[:, :, None, None])
    layer = layer_of(module, (4, 3, 3))
    o, z_bar = drawn(layer, 3)
    expected = z_bar + soft_threshold(layer.adjoint(o - layer.apply(z_bar[None])), 0.35)
    config = LassoConfig(lam=0.7, gap=1e-14, **effort)
    found = Inverter(layer, z_bar, config).invert(o)
    assert torch.allclose(found.activations, expected, atol=1e-6 if "solver" in effort else 1e-10)


def fista(matrix, target, lam, step, iterations):
    """FISTA with the gradient restart of O'Donoghue and Candes, as one writes it down."""
    z = y = np.zeros(matrix.shape[1])
    t = 1.0
    restarts = 0
    for _ in range(iterations):
        v = y - step * (matrix.T @ (matrix @ y - target))
        new = np.sign(v) * np.maximum(np.abs(v) - step * lam / 2, 0)
        if np.dot(y - new, new - z) > 0:
            restarts += 1
            t, y = 1.0, new
        else:
            t_next = (1 + np.sqrt(1 + 4 * t * t)) / 2
            y = new + (t - 1) / t_next * (new - z)
            t = t_next
        z = new
    return z, restarts


@PROBLEMS
@pytest.mark.parametrize("iterations", [1, 2, RESTARTED])
def test_fast_effort_takes_the_steps_of_restarted_fista__naive_loop(
    layer_of, matrix_of, module, shape, iterations
):
    """Deviation: it starts at z_bar, with the computed step, and each image goes by itself."""
    layer = layer_of(seeded(module), shape)
    matrix, step = matrix_of(layer), 1 / squared_norm(layer)
    o, z_bar = drawn(layer, 5)
    config = LassoConfig(lam=0.05, iterations=iterations, chunk=8)
    found = Inverter(layer, z_bar, config).invert(o)
    o_shift = (o - layer.apply(z_bar[None])).flatten(1).numpy()
    by_hand = [fista(matrix, y, 0.05, step, iterations) for y in o_shift]
    expected = torch.tensor(np.stack([z for z, _ in by_hand])).reshape(5, *shape) + z_bar
    assert torch.allclose(found.activations, expected, atol=1e-9)
    assert found.iterations.tolist() == [iterations] * 5
    if iterations == RESTARTED:
        assert max(restarts for _, restarts in by_hand) > 0


@EFFORTS
@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.ConvTranspose2d(12, 3, 4, 2, 1), (12, 7, 7)),
        (nn.Conv2d(12, 3, 3, 1, 1), (12, 7, 7)),
        (nn.Linear(40, 13), (40,)),
    ],
)
def test_an_image_is_solved_alike_alone_and_among_others__identity_batch_independence(
    layer_of, module, shape, effort
):
    module.reset_parameters()
    layer = layer_of(module.float(), shape)
    o, z_bar = drawn(layer, 13, dtype=torch.float32)
    o = o * torch.logspace(-1, 1, 13).reshape(-1, *[1] * (o.ndim - 1))  # unlike each other
    inverter = Inverter(layer, z_bar, LassoConfig(lam=0.2, gap=0.1, **effort))
    together = inverter.invert(o)
    assert len(set(together.iterations.tolist())) > 1 or effort["effort"] == "fast"
    order = torch.randperm(13)
    shuffled = inverter.invert(o[order])
    alone = [inverter.invert(o[i : i + 1]) for i in (0, 8, 12)]
    for name in ("activations", "objective", "gap", "residual", "iterations"):
        value = getattr(together, name)
        assert torch.equal(getattr(shuffled, name), value[order]), name
        for i, one in zip((0, 8, 12), alone, strict=True):
            assert torch.equal(getattr(one, name)[0], value[i]), name


@EFFORTS
def test_the_image_of_z_bar_gives_z_bar__limit(layer_of, effort):
    layer = layer_of(nn.ConvTranspose2d(6, 2, 4, 2, 1), (6, 4, 4))
    _, z_bar = drawn(layer, 1, dtype=torch.float32)
    found = Inverter(layer, z_bar, LassoConfig(**effort)).invert(layer.apply(z_bar[None]))
    assert torch.equal(found.activations[0], z_bar)
    assert found.objective.item() == found.gap.item() == found.relative_gap.item() == 0


@EFFORTS
@PROBLEMS
def test_from_the_critical_weight_on_z_is_z_bar__limit(layer_of, module, shape, effort):
    """0 solves the shifted problem if and only if lam >= 2 ||G^T o'||_inf."""
    layer = layer_of(seeded(module), shape)
    o, z_bar = drawn(layer, 1)
    critical = 2 * float(layer.adjoint(o - layer.apply(z_bar[None])).abs().max())
    at = Inverter(layer, z_bar, LassoConfig(lam=critical * (1 + 1e-9), **effort)).invert(o)
    assert torch.equal(at.activations[0], z_bar)
    assert abs(at.relative_gap.item()) < 1e-8
    config = LassoConfig(lam=0.9 * critical, gap=1e-8, **effort)
    below = Inverter(layer, z_bar, config).invert(o)
    assert not torch.equal(below.activations[0], z_bar)


def test_without_weight_it_is_least_squares__limit(layer_of, matrix_of):
    layer = layer_of(seeded(nn.Linear(6, 20)), (6,))
    o, z_bar = drawn(layer, 4)
    found = Inverter(layer, z_bar, LassoConfig(lam=0.0, iterations=300)).invert(o)
    target = (o - layer.bias).numpy()
    solution = np.linalg.lstsq(matrix_of(layer), target.T, rcond=None)[0].T
    assert torch.allclose(found.activations, torch.tensor(solution), atol=1e-8)


def test_a_layer_of_zeros_leaves_z_bar__limit(layer_of):
    module = nn.Linear(3, 2)
    nn.init.zeros_(module.weight)
    layer = layer_of(module, (3,))
    o, z_bar = drawn(layer, 2, dtype=torch.float32)
    assert torch.equal(Inverter(layer, z_bar, LassoConfig()).invert(o).activations[0], z_bar)


def test_no_image_gives_no_activation__limit(layer_of):
    layer = layer_of(nn.Conv2d(4, 2, 3), (4, 5, 5))
    found = Inverter(layer, torch.zeros(4, 5, 5), LassoConfig()).invert(torch.empty(0, 2, 3, 3))
    assert found.activations.shape == (0, 4, 5, 5)
    assert found.objective.shape == found.iterations.shape == (0,)


def test_admm_where_it_has_no_factor__rejects_solver(layer_of):
    layer = layer_of(nn.Conv2d(2, 4, 3, padding=1), (2, 2, 200))  # 800 outputs a row
    z_bar = torch.zeros(2, 2, 200)
    config = LassoConfig(effort="exact", solver="admm", max_iterations=20)
    with pytest.raises(InputError, match=r"Conv2d\(2, 4\).*use the solver auto or fista"):
        Inverter(layer, z_bar, config)
    with pytest.raises(InputError, match="positive lam"):
        Inverter(layer, z_bar, config.with_values({"lam": 0.0}))
    o = layer.apply(z_bar[None] + 1)
    auto = Inverter(layer, z_bar, config.with_values({"solver": "auto"})).invert(o)
    named = Inverter(layer, z_bar, config.with_values({"solver": "fista"})).invert(o)
    assert torch.equal(auto.activations, named.activations)
