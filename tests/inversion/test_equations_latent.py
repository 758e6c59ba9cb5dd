"""Losses and scores of codes in the thesis, each against a loop or a closed form."""

import math

import pytest
import torch

from wherefrom.core.rng import stream
from wherefrom.inversion import equations as eq


def draw(*shape, name="x"):
    return torch.randn(*shape, generator=stream(0, name), dtype=torch.float64)


def variances(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_latent_scale__naive_loop():
    """Eq. 32 as it is printed."""
    v = variances(0.5, 0.1, 2.0)
    norm = math.sqrt(sum(math.sqrt(x) ** 2 for x in v.tolist()))
    expected = [math.sqrt(3 * x) / norm for x in v.tolist()]
    assert eq.latent_scale(v).tolist() == pytest.approx(expected)


def test_latent_scale_keeps_the_total_variance__identity_norm():
    s = eq.latent_scale(draw(9).square())
    assert float(s.square().sum()) == pytest.approx(9)
    assert eq.latent_scale(torch.full((5,), 1e-4)).tolist() == pytest.approx([1.0] * 5)


def test_encoder_loss__naive_loop():
    """Eq. 33, and Eq. 15 with s = 1."""
    z, predicted, s = draw(4, 3, name="z"), draw(4, 3, name="p"), draw(3, name="s").abs()
    for scale, factors in ((s, s.tolist()), (1.0, [1.0] * 3)):
        total = sum(
            ((float(z[n, i]) - float(predicted[n, i])) * factors[i]) ** 2
            for n in range(4)
            for i in range(3)
        )
        assert float(eq.encoder_loss(z, predicted, scale)) == pytest.approx(total / 12)


def test_infogan_encoder_loss__naive_loop():
    z, predicted, spread = draw(4, 3, name="z"), draw(4, 3, name="p"), draw(4, 3, name="l")
    total = 0.0
    for n in range(4):
        for i in range(3):
            error = (float(z[n, i]) - float(predicted[n, i])) ** 2
            total += float(spread[n, i]) + error / (math.exp(float(spread[n, i])) + 1e-7)
    assert float(eq.infogan_encoder_loss(z, predicted, spread)) == pytest.approx(total / 12)


def test_latent_entropy__reference_torch():
    s = draw(6).abs()
    normal = torch.distributions.Normal(torch.zeros(6, dtype=torch.float64), s)
    assert float(eq.latent_entropy(s)) == pytest.approx(float(normal.entropy().sum()))
    flat = torch.distributions.Uniform(-(3**0.5) * s.double(), 3**0.5 * s.double())
    assert float(eq.latent_entropy(s, "uniform")) == pytest.approx(float(flat.entropy().sum()))


def test_latent_entropy_is_largest_without_scales__limit():
    """The Lemma of Section 3.2, and its value 1453.0 for 1024 dimensions."""
    highest = float(eq.latent_entropy(torch.ones(1024)))
    assert highest == pytest.approx(1453.0, abs=0.05)
    for index in range(5):
        s = eq.latent_scale(draw(1024, name=index).square())
        assert float(eq.latent_entropy(s)) < highest


def test_fixed_classes__naive_loop():
    z, s, w = draw(5, 4, name="z"), draw(4, name="s").abs(), draw(4, 2, 3, name="w")
    c = eq.fixed_classes(z, s, w)
    for n in range(5):
        for label in range(2):
            values = [
                sum(float(z[n, d] * s[d] * w[d, label, k]) for d in range(4)) for k in range(3)
            ]
            expected = [float(v == max(values)) for v in values]
            assert c[n, label].tolist() == expected


def test_a_binary_attribute_is_the_sign__identity_two_heads():
    z, s, w = draw(50, 4, name="z"), draw(4, name="s").abs(), draw(4, 1, name="w")
    c = eq.fixed_classes(z, s, torch.stack([-w, w], dim=2))
    assert torch.equal(c[:, 0, 1] > 0, (z * s) @ w[:, 0] > 0)
    torch.testing.assert_close(eq.attribute_direction(torch.stack([-w, w], dim=2), 0, 1), w[:, 0])


def test_attribute_direction_of_three_classes__closed_form():
    w = draw(4, 2, 3, name="w")
    expected = w[:, 1, 2] - (w[:, 1, 0] + w[:, 1, 1]) / 2
    torch.testing.assert_close(eq.attribute_direction(w, 1, 2), expected)


@pytest.mark.parametrize("t", [-1.0, 0.0, 0.4])
def test_edited_codes_reach_the_score_and_move_along_w_only__closed_form(t):
    z, s, w = draw(5, 4, name="z"), draw(4, name="s").abs(), draw(4, name="w")
    moved = eq.edited(z, s, w, t)
    scores = (moved * s) @ w / math.sqrt(4)
    torch.testing.assert_close(scores, torch.full((5,), t, dtype=torch.float64))
    change = (moved - z) * s
    across = change - torch.outer(change @ w / w.square().sum(), w)
    assert float(across.abs().max()) < 1e-12


def test_edited_codes_leave_dead_dimensions__limit():
    z, w = draw(3, 4, name="z"), draw(4, name="w")
    s = variances(1.0, 0.0, 0.5, 2.0)
    moved = eq.edited(z, s, w, 0.5)
    assert torch.equal(moved[:, 1], z[:, 1])
    scores = (moved * s) @ w / 2
    torch.testing.assert_close(scores, torch.full((3,), 0.5, dtype=torch.float64))


def test_log_likelihood_terms__reference_torch():
    z, mean, v = draw(5, 3, name="z"), draw(3, name="m"), draw(3, name="v").square() + 0.1
    expected = torch.distributions.Normal(mean, v.sqrt()).log_prob(z)
    torch.testing.assert_close(eq.log_likelihood_terms(z, mean, v), expected)


def test_the_thesis_example_of_two_codes__closed_form():
    """Section 3.3: mu = 0, v = (1, .5, .1); x_a scores higher than x_b."""
    v, mean = variances(1.0, 0.5, 0.1), torch.zeros(3, dtype=torch.float64)
    codes = torch.tensor([[0.1, -0.2, 0.3], [-0.3, 0.2, -0.1]], dtype=torch.float64)
    scores = -eq.log_likelihood_terms(codes, mean, v).sum(dim=1)
    assert scores[0] > scores[1]
    by_hand = 0.5 * (3 * math.log(2 * math.pi) + math.log(0.05) + 0.01 + 0.04 / 0.5 + 0.9)
    assert float(scores[0]) == pytest.approx(by_hand)


def test_likelihood_far_away_is_finite__limit():
    terms = eq.log_likelihood_terms(variances(40.0)[None], variances(0.0), variances(1.0))
    assert float(terms) == pytest.approx(-800 - 0.5 * math.log(2 * math.pi))
    dead = eq.log_likelihood_terms(variances(1.0)[None], variances(0.0), variances(0.0))
    assert bool(torch.isfinite(dead).all())


def test_posterior_latents_have_the_prior_variance__limit():
    """Eq. 38: E(X) of variance v plus noise of 1 - v; v above 1 adds nothing."""
    v = variances(0.2, 0.7, 1.3)
    codes, noise = draw(400_000, 3, name="c") * v.sqrt(), draw(400_000, 3, name="n")
    drawn = eq.posterior_latents(codes, noise, v)
    expected = variances(1.0, 1.0, 1.3)
    # five deviations of a variance: 5 v sqrt(2 / N)
    assert bool(((drawn.var(dim=0) - expected).abs() < 5 * expected * math.sqrt(2 / 4e5)).all())
    assert torch.equal(drawn[:, 2], codes[:, 2])


def test_vae_latents_and_prior_loss__naive_loop():
    """Eq. 19 and 21."""
    mean, noise, spread = draw(2, 3, name="m"), draw(2, 3, name="n"), draw(2, 3, name="l")
    drawn, total = eq.vae_latents(mean, noise, spread), 0.0
    for n in range(2):
        for i in range(3):
            m, e, v = float(mean[n, i]), float(noise[n, i]), float(spread[n, i])
            assert float(drawn[n, i]) == pytest.approx(m + e * math.exp(v / 2))
            total += m**2 - v + math.exp(v)
    assert float(eq.prior_loss(mean, spread)) == pytest.approx(total / 6)
    assert float(eq.prior_loss(torch.zeros(1, 1), torch.zeros(1, 1))) == 1


def test_reconstruction_loss__naive_loop():
    """Eq. 20 and 39."""
    y, recovered = draw(2, 3, name="y"), draw(2, 3, name="r")
    total = sum(float(y[n, i] - recovered[n, i]) ** 2 for n in range(2) for i in range(3)) / 6
    assert float(eq.reconstruction_loss(y, recovered)) == pytest.approx(total)
