"""Equations of FLIPAD against loops, identities and independent solvers."""

import celer
import numpy as np
import pytest
import sklearn.linear_model
import torch
from torch import nn

from wherefrom.attribution.equations import (
    dual_objective,
    duality_gap,
    lasso_objective,
    shifted_objective,
    soft_threshold,
)

LAM = 0.3
# float64: sums of at most ~1e2 products of numbers near 1.
TOLERANCE = 1e-11
# The solvers stop at a duality gap of `SOLVER_TOL` times ||y||^2 / D_out.
SOLVER_TOL = 1e-14


@pytest.fixture
def problem(layer_of, matrix_of):
    """A transposed convolution with a bias, its matrix, targets o, points z and z_bar."""
    layer = layer_of(nn.ConvTranspose2d(3, 2, 4, 2, 1).double(), (3, 3, 4))
    z_bar = torch.randn(3, 3, 4, dtype=torch.float64)
    o = torch.randn(5, *layer.output_shape, dtype=torch.float64)
    z = torch.randn(5, 3, 3, 4, dtype=torch.float64)
    return layer, matrix_of(layer), o, z, z_bar


def dual_parts(problem, z_shift):
    layer, _, o, _, z_bar = problem
    o_shift = o - layer.apply(z_bar[None])
    r = layer.linear(z_shift) - o_shift
    return o_shift, r, layer.adjoint(r)


def solved(problem, solver):
    """z' that an independent library finds for each target, float64."""
    _, matrix, o, z, _ = problem
    o_shift = dual_parts(problem, torch.zeros_like(z))[0]
    count = matrix.shape[0]
    found = []
    for target in o_shift.flatten(1).numpy():
        model = solver(alpha=LAM / (2 * count), fit_intercept=False, tol=SOLVER_TOL)
        found.append(model.fit(np.asfortranarray(matrix), target).coef_)
    assert o.shape[0] == len(found)
    return torch.tensor(np.stack(found)).reshape(z.shape)


def celer_lasso(**settings):
    return celer.Lasso(max_iter=1000, max_epochs=100_000, **settings)


def sklearn_lasso(**settings):
    return sklearn.linear_model.Lasso(max_iter=100_000, **settings)


SOLVERS = pytest.mark.parametrize("solver", [celer_lasso, sklearn_lasso])


def test_objective_is_the_sum_over_elements__naive_loop(problem):
    layer, _, o, z, z_bar = problem
    for i, value in enumerate(lasso_objective(z, o, layer.apply, z_bar, LAM)):
        fit = layer.apply(z[i : i + 1])[0]
        squares = sum((a - b) ** 2 for a, b in zip(fit.flatten(), o[i].flatten(), strict=True))
        absolute = sum(abs(a - b) for a, b in zip(z[i].flatten(), z_bar.flatten(), strict=True))
        assert float(value) == pytest.approx(float(squares + LAM * absolute), abs=TOLERANCE)


def test_eq_5_is_the_shifted_lasso__identity_appendix_c1(problem):
    layer, _, o, z, z_bar = problem
    _, r, _ = dual_parts(problem, z - z_bar)
    shifted = shifted_objective(z - z_bar, r, LAM)
    original = lasso_objective(z, o, layer.apply, z_bar, LAM)
    assert torch.allclose(shifted, original, atol=TOLERANCE)


def test_values_are_summed_in_float64__identity_dtype():
    """2^24 + 1 is no float32: a float32 sum would lose the last element."""
    r = torch.tensor([[4096.0, 1.0]])
    assert shifted_objective(torch.zeros(1, 2), r, LAM).tolist() == [2.0**24 + 1]


def test_soft_threshold_shrinks_by_the_threshold__closed_form():
    x = torch.tensor([-2.0, -0.5, -0.25, 0.0, 0.5, 3.0])
    assert soft_threshold(x, 0.5).tolist() == [-1.5, 0.0, 0.0, 0.0, 0.0, 2.5]
    assert torch.equal(soft_threshold(x, 0.0), x)


def test_soft_threshold_is_the_proximal_map__naive_loop():
    grid = torch.linspace(-4, 4, 80_001, dtype=torch.float64)
    for x in (-2.3, -0.2, 0.1, 1.7):
        best = grid[((grid - x) ** 2 / 2 + 0.6 * grid.abs()).argmin()]
        shrunk = soft_threshold(torch.tensor([x], dtype=torch.float64), 0.6)
        assert abs(float(shrunk) - float(best)) <= 1e-4  # the grid's step


def test_dual_point_is_feasible_and_the_best_multiple__naive_loop(problem):
    """D(theta) = ||o'||^2 - ||o' - theta||^2 over theta = -s r with ||G^T theta||_inf <= lam/2."""
    z = problem[3]
    o_shift, r, gradient = dual_parts(problem, 0.1 * z)
    correlation = gradient.flatten(1).abs().amax(dim=1)
    values = dual_objective(r, o_shift, correlation, LAM)
    for i in range(len(z)):
        limit = LAM / 2 / float(correlation[i])
        s = torch.linspace(-limit, limit, 20_001, dtype=torch.float64)[:, None]
        theta = -s * r[i].flatten()
        target = o_shift[i].flatten()
        dual = target.square().sum() - (target - theta).square().sum(dim=1)
        assert float(values[i]) >= float(dual.max()) - TOLERANCE
        assert float(values[i]) == pytest.approx(float(dual.max()), rel=1e-6, abs=1e-9)


def test_gap_is_never_negative_and_bounds_the_distance_to_the_optimum__reference_celer(problem):
    best = solved(problem, celer_lasso)
    o_shift, r, _ = dual_parts(problem, best)
    minimum = shifted_objective(best, r, LAM)
    for scale in (0.0, 1e-3, 0.1, 1.0, 10.0):
        z_shift = best + scale * problem[3]
        o_shift, r, gradient = dual_parts(problem, z_shift)
        primal, gap = duality_gap(z_shift, r, o_shift, gradient, LAM)
        assert torch.equal(primal, shifted_objective(z_shift, r, LAM))
        assert bool((gap >= -TOLERANCE).all())
        assert bool((primal - gap <= minimum + TOLERANCE).all())


@SOLVERS
def test_gap_vanishes_at_the_optimum__reference_solvers(problem, solver):
    best = solved(problem, solver)
    o_shift, r, gradient = dual_parts(problem, best)
    primal, gap = duality_gap(best, r, o_shift, gradient, LAM)
    assert bool((gap.abs() <= 1e-9 * primal).all())


@SOLVERS
def test_optimality_conditions_hold_at_the_solution_only__reference_solvers(
    problem, solver, kkt_violation
):
    """alpha = lam / (2 D_out): the mapping to other libraries that the module states."""
    best = solved(problem, solver)
    assert bool((best == 0).any()) and bool((best != 0).any())
    assert bool((kkt_violation(best, dual_parts(problem, best)[2], LAM) < 1e-5).all())
    for elsewhere in (torch.zeros_like(best), 1.1 * best, best + 0.01):
        gradient = dual_parts(problem, elsewhere)[2]
        assert bool((kkt_violation(elsewhere, gradient, LAM) > 0.01).all())


def test_kkt_violation_by_hand__closed_form(kkt_violation):
    z_shift = torch.tensor([[1.0, -2.0, 0.0, 0.0]])
    gradient = torch.tensor([[-0.5, 0.5, 0.2, -0.5]])
    assert kkt_violation(z_shift, gradient, 1.0).tolist() == [0.0]
    assert kkt_violation(z_shift, -gradient, 1.0).tolist() == [2.0]
    assert kkt_violation(0 * z_shift, 3 * gradient, 1.0).tolist() == [2.0]


def test_dual_value_of_a_zero_residual_is_zero__limit():
    o_shift = torch.randn(1, 4)
    value = dual_objective(torch.zeros(1, 4), o_shift, torch.zeros(1), LAM)
    assert value.tolist() == [0.0]
