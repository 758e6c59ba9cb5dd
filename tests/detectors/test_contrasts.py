"""Contrasts: directions and Gaussian against dense algebra, invariance to batches, refusals."""

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.detectors.contrasts import FLOOR, fit_contrasts, project, ridge_solve
from wherefrom.metrics.detection import auroc


def normal(*shape, name="x"):
    return torch.randn(*shape, generator=stream(0, "contrasts", name))


@pytest.mark.parametrize("shape", [(40, 6), (6, 40), (12, 12)])
def test_directions_solve_the_ridge_system__closed_form(shape):
    z, shifts = normal(*shape).double(), normal(shape[1], 3, name="s").double()
    dense = z.T @ z / len(z) + 0.3 * torch.eye(shape[1]).double()
    wanted = torch.linalg.solve(dense, shifts)
    torch.testing.assert_close(ridge_solve(z, shifts, 0.3), wanted, rtol=1e-8, atol=1e-8)


def test_score_is_the_mahalanobis_distance_of_the_projections__reference_sklearn():
    own, fresh, x = normal(200, 8), normal(300, 8, name="f"), normal(50, 8, name="y")
    shifts = normal(3, 8, name="s")
    fitted = fit_contrasts(own, shifts, fresh, ridge=0.1)
    mean, scale = own.mean(0), own.std(0) + FLOOR
    gaussian = EmpiricalCovariance().fit(project(fresh, mean, scale, fitted.directions).numpy())
    wanted = gaussian.mahalanobis(project(x, mean, scale, fitted.directions).numpy())
    # scikit-learn divides by M, torch.cov by M - 1; the rest is float32 input and the 1e-6 floor
    ratio = fitted.score(x).numpy() / wanted * len(fresh) / (len(fresh) - 1)
    assert np.allclose(ratio, 1, rtol=1e-4)


def test_a_shift_along_a_quiet_direction_is_found_whichever_way__limit():
    quiet = torch.tensor([1.0] * 19 + [0.02])
    own, fresh = normal(500, 20) * quiet, normal(500, 20, name="f") * quiet
    shift = torch.zeros(1, 20)
    shift[0, 19] = 0.1
    fitted = fit_contrasts(own, shift, fresh)
    test = normal(300, 20, name="t") * quiet
    for sign in (-1, 1):
        assert auroc(fitted.score(test), fitted.score(test + sign * 0.15 * shift / 0.1)) > 0.99


def test_score_of_an_input_is_the_same_in_any_batch__identity_batch():
    fitted = fit_contrasts(normal(100, 30), normal(4, 30, name="s"), normal(60, 30, name="f"))
    x = normal(130, 30, name="y")
    whole = fitted.score(x)
    assert torch.equal(whole[70:71], fitted.score(x[70:71]))
    order = torch.randperm(130, generator=stream(0, "order"))
    assert torch.equal(whole[order], fitted.score(x[order]))


def test_too_few_fresh_inputs_and_wrong_shapes__rejects_sizes():
    with pytest.raises(InputError, match="8 fresh own inputs for 4 directions"):
        fit_contrasts(normal(50, 5), normal(4, 5, name="s"), normal(8, 5, name="f"))
    fitted = fit_contrasts(normal(50, 5), normal(2, 5, name="s"), normal(20, 5, name="f"))
    with pytest.raises(InputError, match=r"expected \(N, 5\)"):
        fitted.score(normal(3, 4))
