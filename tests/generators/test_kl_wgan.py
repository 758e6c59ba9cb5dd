"""KL-WGAN: its weights, and that it learns a table."""

import pytest
import torch

from wherefrom.core.errors import InputError
from wherefrom.generators.generator import wrap_generator
from wherefrom.generators.kl_wgan import KlWganConfig, KlWganTask, ratios


def test_ratios_are_those_of_the_density_that_the_critic_implies__closed_form():
    scores = torch.tensor([0.0, 1.0, -2.0], requires_grad=True)
    found = ratios(scores)
    assert torch.allclose(found, scores.exp() / scores.exp().mean())
    assert not found.requires_grad


def test_it_learns_means_spreads_and_a_correlation__limit():
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(2000, 2, generator=rng)
    rows = torch.stack([10 + 2 * z[:, 0], 500 + 80 * (0.8 * z[:, 0] + 0.6 * z[:, 1])], dim=1)
    task = KlWganTask(
        rows, KlWganConfig(width=32, latent=8, steps=80, learning_rate=5e-3, batch=64)
    )
    for index in range(80):
        task.step(index)
    made = wrap_generator(task.finished()).sample(2000, 1).reshape(2000, 2)
    assert torch.allclose(made.mean(dim=0), torch.tensor([10.0, 500.0]), rtol=0.1)
    assert torch.allclose(made.std(dim=0), torch.tensor([2.0, 80.0]), rtol=0.35)
    assert torch.corrcoef(made.T)[0, 1] == pytest.approx(0.8, abs=0.2)


def test_a_step_depends_on_its_number_and_the_seed_only__determinism():
    rows = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    first, second = (KlWganTask(rows, KlWganConfig(width=8, batch=16)) for _ in range(2))
    torch.randn(5)
    assert (
        first.step(3) == second.step(3) != KlWganTask(rows, KlWganConfig(width=8, batch=16)).step(4)
    )


def test_the_units_are_those_of_the_table__closed_form():
    rows = torch.randn(50, 3) * torch.tensor([1.0, 10, 100]) + 5
    task = KlWganTask(rows, KlWganConfig(width=8))
    z = torch.randn(4, 64)
    with torch.no_grad():
        assert torch.allclose(
            task.finished()(z), task.generator(z) * task.scale + task.mean, atol=1e-4
        )


@pytest.mark.parametrize("rows", [torch.ones(9, 2), torch.tensor([[1.0, float("nan")]] * 3)])
def test_a_constant_column_or_a_gap_is_refused__bad_input(rows):
    with pytest.raises(InputError, match="finite numbers"):
        KlWganTask(rows, KlWganConfig())
