"""The paper's equations against loops, other libraries and hand-made cases."""

import math

import pytest
import torch

from wherefrom.origin import equations as eq

ROUNDING = 1e-12  # float64 sums of a few dozen terms
SHAPE = (7, 5)


def case(seed=0):
    """Rows f (7, 4), classes C (5, 4), labels (7,), all float64."""
    rng = torch.Generator().manual_seed(seed)
    f = torch.randn(7, 4, generator=rng, dtype=torch.float64)
    C = torch.randn(5, 4, generator=rng, dtype=torch.float64)
    return f, C, torch.randint(5, (7,), generator=rng)


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_class_cosines_are_those_of_all_pairs__naive_loop():
    f, C, _ = case()
    expected = [[cosine(a, b) for b in C.tolist()] for a in f.tolist()]
    found = eq.class_cosines(f, C)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=ROUNDING)


@pytest.mark.parametrize(("s", "m"), [(64.0, 0.35), (3.0, 0.0), (1.0, 1.0)])
def test_cosface_is_its_equation__naive_loop(s, m):
    f, C, y = case()
    total = 0.0
    for row, label in zip(f.tolist(), y.tolist(), strict=True):
        cosines = [cosine(row, b) for b in C.tolist()]
        top = math.exp(s * (cosines[label] - m))
        rest = sum(math.exp(s * c) for j, c in enumerate(cosines) if j != label)
        total -= math.log(top / (top + rest))
    found = eq.cosface_loss(eq.class_cosines(f, C), y, s, m)
    assert found.item() == pytest.approx(total / len(f), rel=1e-10)


def test_cosface_is_a_cross_entropy_of_shifted_logits__reference_torch():
    logits = torch.tensor([[0.9, 0.1, -0.4], [0.2, 0.3, 0.8]], dtype=torch.float64)
    y = torch.tensor([0, 1])
    shifted = 64 * torch.tensor([[0.55, 0.1, -0.4], [0.2, -0.05, 0.8]], dtype=torch.float64)
    expected = torch.nn.functional.cross_entropy(shifted, y)
    assert eq.cosface_loss(logits, y, 64.0, 0.35).item() == pytest.approx(expected.item())


def test_losses_stay_finite_far_from_the_target__limit():
    worst = torch.tensor([[-1.0, 1.0]])
    y = torch.tensor([0])
    assert eq.cosface_loss(worst, y, 64.0, 0.35).item() == pytest.approx(64 * 2.35)
    # a_y = 2.25, a_j = 1.25: 256 (1.25 x 0.75 + 2.25 x 1.75)
    assert eq.circle_loss(worst, y, 256.0, 0.25).item() == pytest.approx(1248.0)


def test_softmax_is_its_equation__naive_loop():
    f, C, y = case()
    total = 0.0
    for row, label in zip(f.tolist(), y.tolist(), strict=True):
        logits = [sum(a * b for a, b in zip(row, c, strict=True)) for c in C.tolist()]
        total -= math.log(math.exp(logits[label]) / sum(math.exp(x) for x in logits))
    assert eq.softmax_loss(f, C, y).item() == pytest.approx(total / len(f), rel=1e-10)


def naive_circle(cosines, y, s, m, weights):
    """The mean loss with the weights a taken from `weights`, and the cosines from `cosines`."""
    total = 0.0
    for row, fixed, label in zip(cosines, weights, y, strict=True):
        a_y = max(1 + m - fixed[label], 0.0)
        positive = math.exp(-s * a_y * (row[label] - (1 - m)))
        negative = 0.0
        for j, value in enumerate(row):
            if j != label:
                negative += math.exp(s * max(fixed[j] + m, 0.0) * (value - m))
        total += math.log(1 + negative * positive)
    return total / len(y)


def test_circle_is_its_equation__naive_loop():
    f, C, y = case()
    cosines = eq.class_cosines(f, C).requires_grad_()
    assert bool((cosines < -0.25).any()), "some weight must be cut off at 0"
    loss = eq.circle_loss(cosines, y, 8.0, 0.25)
    values, labels = cosines.tolist(), y.tolist()
    expected = naive_circle(values, labels, 8.0, 0.25, values)
    assert loss.item() == pytest.approx(expected, rel=1e-10)
    # The gradient, by differences, with the weights held fast.
    loss.backward()
    step = 1e-6
    for i, j in ((0, 0), (0, 3), (4, int(y[4])), (6, 1)):
        moved = [list(row) for row in values]
        moved[i][j] += step
        slope = (naive_circle(moved, labels, 8.0, 0.25, values) - expected) / step
        assert cosines.grad[i, j].item() == pytest.approx(slope, abs=1e-4)


def test_a_map_that_removes_the_change_is_exact__limit():
    """Theorem 1: (z - z_o) W = 0 gives cosine 1 and distance ratio 0."""
    z_o = torch.randn(8, 4)
    z = z_o.clone()
    z[:, 3] += 5 * torch.randn(8)
    W = torch.eye(4)[:, :3]
    assert torch.allclose(eq.row_cosines(eq.transform(z, W), eq.transform(z_o, W)), torch.ones(8))
    assert eq.distance_ratio(z @ W, z_o @ W).item() == 0.0
    assert eq.distance_ratio(z, z_o).item() > 0.5


def test_unrelated_rows_have_distance_ratio_1__limit():
    rng = torch.Generator().manual_seed(2)
    f, f_o = 3 + torch.randn(2, 20_000, 4, generator=rng)
    # 80,000 squares of deviation sqrt(2) around 1
    assert eq.distance_ratio(f, f_o).item() == pytest.approx(1, abs=5 * 2**0.5 / 80_000**0.5)
    scaled = eq.distance_ratio(7 * f, 7 * f_o).item()
    assert scaled == pytest.approx(eq.distance_ratio(f, f_o).item(), rel=1e-6)


def test_distance_ratio_is_that_of_all_pairs__naive_loop():
    f, f_o = torch.randn(2, 6, 3, dtype=torch.float64)
    pair = sum(float((a - b).square().sum()) for a, b in zip(f, f_o, strict=True)) / 6
    other = sum(float((a - b).square().sum()) for a in f_o for b in f_o) / 36
    assert eq.distance_ratio(f, f_o).item() == pytest.approx(pair / other)


def test_singular_values_are_compared_in_order__closed_form():
    """Eq. 4 on diagonal matrices, turned and mirrored: (3, 4) . (5, 12) in descending order."""
    turn, _ = torch.linalg.qr(torch.randn(2, 2, dtype=torch.float64))
    one = turn @ torch.diag(torch.tensor([3.0, -4.0], dtype=torch.float64))
    two = torch.diag(torch.tensor([12.0, 5.0], dtype=torch.float64)) @ turn
    expected = (4 * 12 + 3 * 5) / (5 * 13)
    assert eq.singular_value_cosine(one, two).item() == pytest.approx(expected)
    assert eq.singular_value_cosine(one, 9 * one).item() == pytest.approx(1)
