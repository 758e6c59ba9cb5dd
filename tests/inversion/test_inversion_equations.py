"""Adversarial losses, classes and penalties of the thesis, each against a loop or a closed form."""

import math

import pytest
import torch
from torch.nn import functional as F

from wherefrom.core.rng import stream
from wherefrom.inversion import equations as eq

EXACT = 1e-12  # float64, sums of a few terms


def draw(*shape, name="x"):
    return torch.randn(*shape, generator=stream(0, name), dtype=torch.float64)


def one_hot(rows, classes):
    return F.one_hot(torch.tensor(rows), classes).double()


@pytest.fixture
def classes():
    """Five items, two labels of three classes."""
    return one_hot([[0, 1], [2, 2], [1, 0], [0, 0], [2, 1]], 3)


def log_sigmoid(value):
    return -math.log(1 + math.exp(-value))


def test_non_saturating_losses__naive_loop():
    """Eq. 49 and 50."""
    real, fake = draw(6, name="r"), draw(6, name="f")
    critic = sum(-log_sigmoid(r) for r in real.tolist()) / 6
    critic += sum(-log_sigmoid(-f) for f in fake.tolist()) / 6
    generator = sum(-log_sigmoid(f) for f in fake.tolist()) / 6
    assert float(eq.nsgan_critic_loss(real, fake)) == pytest.approx(critic, abs=EXACT)
    assert float(eq.nsgan_generator_loss(fake)) == pytest.approx(generator, abs=EXACT)


def test_relativistic_losses__naive_loop():
    real, fake = draw(6, name="r"), draw(6, name="f")
    pairs = list(zip(real.tolist(), fake.tolist(), strict=True))
    critic = sum(-log_sigmoid(r - f) for r, f in pairs) / 6
    generator = sum(-log_sigmoid(f - r) for r, f in pairs) / 6
    assert float(eq.relativistic_critic_loss(real, fake)) == pytest.approx(critic, abs=EXACT)
    assert float(eq.relativistic_generator_loss(real, fake)) == pytest.approx(generator, abs=EXACT)


def test_active_scores_add_up_the_losses_of_the_classes__naive_loop():
    """Eq. 29 on the active heads is the sum over classes of Eq. 27, where heads are on."""
    c_r, c_f = one_hot([[0], [2], [0]], 3), one_hot([[1], [2], [2]], 3)
    a_r, a_f = draw(3, 1, 3, name="r"), draw(3, 1, 3, name="f")
    total = 0.0
    for i in range(3):  # one discriminator per class
        for n in range(3):
            if c_r[n, 0, i]:
                total += -log_sigmoid(float(a_r[n, 0, i])) / 3
            if c_f[n, 0, i]:
                total += -log_sigmoid(-float(a_f[n, 0, i])) / 3
    joint = eq.nsgan_critic_loss(eq.active_scores(a_r, c_r), eq.active_scores(a_f, c_f))
    assert float(joint) == pytest.approx(total, abs=EXACT)


def test_classification_loss__naive_loop(classes):
    logits = draw(5, 2, 3)
    total = 0.0
    for n in range(5):
        for label in range(2):
            exps = [math.exp(v) for v in logits[n, label].tolist()]
            k = int(classes[n, label].argmax())
            total -= math.log(exps[k] / sum(exps)) / 10
    assert float(eq.classification_loss(logits, classes)) == pytest.approx(total, abs=EXACT)


def test_classification_loss__reference_torch(classes):
    logits = draw(5, 2, 3)
    torch_loss = F.cross_entropy(logits.flatten(0, 1), classes.argmax(dim=2).flatten())
    assert float(eq.classification_loss(logits, classes)) == pytest.approx(float(torch_loss))


def test_weighted_sums__closed_form():
    """Eq. 7, 8, 11, 17, 18; by two calls Eq. 41."""
    a, r, f = torch.tensor(2.0), torch.tensor(3.0), torch.tensor(5.0)
    assert float(eq.weighted_loss(a, r, 0.5)) == 3.5
    assert float(eq.weighted_loss(eq.weighted_loss(a, r, 0.5), f, 0.1)) == pytest.approx(4.0)


def test_gradient_penalty_of_a_quadratic__closed_form():
    """D = x'Ax / 2 + b'x has the gradient A x + b; no 1/2 in Eq. 51."""
    a, b = draw(4, 4, name="a"), draw(4, name="b")
    a = a + a.T
    x = draw(5, 4).requires_grad_(True)
    scores = 0.5 * torch.einsum("ni,ij,nj->n", x, a, x) + x @ b
    expected = (x.detach() @ a + b).square().sum(dim=1).mean()
    assert eq.gradient_penalty(scores, x).item() == pytest.approx(float(expected), rel=EXACT)


def test_gradient_penalty_of_several_labels_is_that_of_their_mean__closed_form():
    w = draw(4, 2, name="w")
    x = draw(5, 4).requires_grad_(True)
    expected = w.mean(dim=1).square().sum()
    assert eq.gradient_penalty(x @ w, x).item() == pytest.approx(float(expected), rel=EXACT)


def test_gradient_penalty_passes_gradients_to_weights__closed_form():
    w = draw(4, name="w").requires_grad_(True)
    x = draw(3, 4).requires_grad_(True)
    eq.gradient_penalty(x @ w, x).backward()
    torch.testing.assert_close(w.grad, 2 * w.detach())


def test_difference_penalty_becomes_the_gradient_penalty__limit():
    """E[(n . g)^2] = ||g||^2: for a linear D the mean over many n is Eq. 51 itself."""
    w, noise = draw(4, name="w"), 0.01
    x, n = draw(200_000, 4), draw(200_000, 4, name="n")
    found = eq.difference_penalty(x @ w, (x + noise * n) @ w, noise)
    exact = float(w.square().sum())
    # chi-squared of one degree: the mean of N values deviates by sqrt(2 / N), five of them here
    assert float(found) == pytest.approx(exact, rel=5 * math.sqrt(2 / 200_000))


def test_class_gradient_penalty__naive_loop(classes):
    """Eq. 45 with the gradient by central differences, item by item."""
    w = draw(4, 6, name="w")
    x = draw(5, 4).requires_grad_(True)

    def missed(row, n):
        q = (row @ w).reshape(2, 3).softmax(dim=1)
        return float(sum((1 - float((q[k] * classes[n, k]).sum())) ** 2 for k in range(2)) / 2)

    total, step = 0.0, 1e-5
    for n in range(5):
        for i in range(4):
            move = torch.zeros(4, dtype=torch.float64)
            move[i] = step
            row = x.detach()[n]
            total += ((missed(row + move, n) - missed(row - move, n)) / (2 * step)) ** 2 / 5
    found = eq.class_gradient_penalty((x @ w).reshape(5, 2, 3), classes, x)
    assert found.item() == pytest.approx(total, rel=1e-7)  # step^2 times a third derivative


def test_class_gradient_penalty_is_none_where_the_classifier_is_sure__limit():
    x = draw(3, 2).requires_grad_(True)
    logits = torch.stack([x[:, :1] * 0 + 1000, x[:, 1:] * 3], dim=2)
    assert eq.class_gradient_penalty(logits, one_hot([[0], [0], [0]], 2), x).item() == 0


def test_prob_normalise_makes_the_batch_uniform__identity_mean():
    q = draw(7, 2, 3).softmax(dim=2)
    normalised = eq.prob_normalise(q)
    torch.testing.assert_close(normalised.mean(dim=0), torch.full((2, 3), 1 / 3).double())
    torch.testing.assert_close(
        normalised[4, 1, 2], q[4, 1, 2] - sum(q[n, 1, 2] for n in range(7)) / 7 + 1 / 3
    )


def test_argmax_onehot__closed_form():
    """The thesis' own example, page 44."""
    q = torch.tensor([[[0.2, 0.5, 0.3]], [[0.7, 0.1, 0.2]]])
    assert eq.argmax_onehot(q).tolist() == [[[0, 1, 0]], [[1, 0, 0]]]


def test_gumbel_softmax_draws_from_the_prior__limit():
    """The largest entry is distributed as P(C), whatever the temperature."""
    prior = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
    u = torch.rand(50_000, 2, 3, generator=stream(0, "u"))
    drawn = eq.gumbel_softmax(prior.log() + 4.0, u, 0.7)
    torch.testing.assert_close(drawn.sum(dim=2), torch.ones(50_000, 2))
    shares = eq.argmax_onehot(drawn).mean(dim=0)
    assert float((shares - prior).abs().max()) < 4 * math.sqrt(0.25 / 50_000)


def test_gumbel_softmax_becomes_one_hot_when_cold__limit():
    u = torch.rand(20, 1, 4, generator=stream(1, "u"))
    drawn = eq.gumbel_softmax(torch.zeros(1, 4), u, 1e-3)
    assert float(drawn.amax(dim=2).min()) > 0.999
    assert torch.equal(drawn.argmax(dim=2), u.argmax(dim=2))


def test_updated__closed_form():
    rows = torch.tensor([[1.0, 3.0], [3.0, 5.0]])
    expected = torch.tensor([0.9 * 10 + 0.1 * 2, 0.9 * 20 + 0.1 * 4])
    torch.testing.assert_close(eq.updated(torch.tensor([10.0, 20.0]), rows, 0.9), expected)
