import numpy as np
import pytest

from wherefrom.core.errors import InputError
from wherefrom.credit.equations import size_law
from wherefrom.credit.estimators.design import (
    DESIGNS as KINDS,
)
from wherefrom.credit.estimators.design import (
    EnumerationDesign,
    KernelShapDesign,
    LeaveOneOutDesign,
    PairedDesign,
    PermutationDesign,
    UniformDesign,
    anchor_rounds,
    design_of,
)
from wherefrom.credit.estimators.kernel_shap_weights import (
    half_sizes,
    pair_kernel,
    pair_law,
    pair_uniform,
)
from wherefrom.credit.ledger.game import mask_of, members_of

DESIGNS = [
    PairedDesign,
    KernelShapDesign,
    UniformDesign,
    PermutationDesign,
    EnumerationDesign,
    LeaveOneOutDesign,
]


@pytest.mark.parametrize("design", DESIGNS)
def test_more_budget_extends_the_design__identity_prefix(design):
    long = design(5, seed=3).take(200)
    assert design(5, seed=3).take(17) == long[:17]
    assert len(set(long)) == len(long), "the same run twice"
    assert all(0 <= run.mask < 32 and 0 <= run.seed < 2**63 for run in long)
    assert design(5, seed=4).take(17) != long[:17]


@pytest.mark.parametrize("kind", KINDS)
def test_more_anchors_add_anchors_only__identity_prefix(kind):
    few, more = (design_of(kind, 5, 3, anchors) for anchors in (None, 7))
    for runs in (17, 32, 60):
        earlier, later = few.take(runs), more.take(runs)
        assert len(set(later)) == len(later), "the same run twice"
        assert set(earlier) < set(later)
        assert {run.mask for run in set(later) - set(earlier)} == {0, 31}
        assert more.take(runs + 9)[: len(later)] == later
    counts = [[run.mask for run in later].count(mask) for mask in (0, 31)]
    assert counts == [7, 7]
    assert anchor_rounds(kind, 7)[1] == 7
    assert more.take(0) == []


def test_how_often_the_anchors_are_run__closed_form():
    for kind, asked, own, rounds in [
        ("paired", None, 3, 3), ("paired", 1, 1, 1), ("kernelshap", None, 3, 3),
        ("exact", None, 1, 1), ("exact", 3, 1, 3), ("loo", 1, 3, 3), ("banzhaf", 9, 3, 9),
    ]:  # fmt: skip
        assert anchor_rounds(kind, asked) == (own, rounds)
        masks = [run.mask for run in design_of(kind, 4, 0, asked).take(40)]
        assert (masks.count(0), masks.count(15)) == (rounds, rounds)


@pytest.mark.parametrize(("kind", "own"), [("paired", 3), ("permutation", 3), ("exact", 1)])
def test_a_payout_has_more_anchors_unless_they_are_given__closed_form(kind, own):
    assert anchor_rounds(kind, None, payout=True) == (own, 8)
    assert anchor_rounds(kind, 2, payout=True) == anchor_rounds(kind, 2)
    masks = [run.mask for run in design_of(kind, 4, 0, payout=True).take(16)]
    assert masks.count(0) == masks.count(15) == 8
    assert set(design_of(kind, 4, 0).take(16)) < set(design_of(kind, 4, 0, payout=True).take(16))


def test_pairs_are_complements_of_one_seed__identity_pairs():
    runs = PairedDesign(7, seed=1).take(6 + 100)[6:]
    for one, other in zip(runs[::2], runs[1::2], strict=True):
        assert one.mask ^ other.mask == 127
        assert one.seed == other.seed
    assert len({run.seed for run in runs}) == 50


@pytest.mark.parametrize("n", [2, 3, 8, 9])
def test_pair_laws_are_folded_subset_laws__naive_loop(n):
    both = size_law(n)
    folded = [both[s - 1] + both[n - s - 1] * (2 * s != n) for s in half_sizes(n)]
    assert np.allclose(pair_kernel(n), folded)
    rows = [bin(m).count("1") for m in range(1, 2**n - 1)]
    counted = [sum(min(s, n - s) == h for s in rows) / len(rows) for h in half_sizes(n)]
    assert np.allclose(pair_uniform(n), counted)
    assert np.isclose(pair_law(n).sum(), 1)


def test_sizes_follow_the_law_at_every_length__limit():
    masks = np.array([members_of(r.mask, 20) for r in PairedDesign(20).take(6 + 400)[6::2]])
    sizes = np.minimum(masks.sum(axis=1), 20 - masks.sum(axis=1))
    counts = np.bincount(sizes, minlength=11)[1:]
    # A sequence of golden ratio steps is within a few draws of its law, unlike independent ones.
    assert np.abs(counts - 200 * pair_law(20)).max() < 4


def test_each_contributor_is_dealt_before_any_again__identity_deck():
    masks = np.array([members_of(r.mask, 9) for r in PairedDesign(9).take(6 + 600)[6::2]])
    for size in half_sizes(9):
        seen = masks[masks.sum(axis=1) == size].sum(axis=0)
        assert np.ptp(seen) <= 1


def test_kernel_shap_sizes_follow_eq_5__limit():
    masks = [r.mask for r in KernelShapDesign(6).take(2 + 4000)[2:]]
    counts = np.bincount([bin(m).count("1") for m in masks], minlength=6)[1:] / 4000
    assert np.abs(counts - size_law(6)).max() < 0.03  # four standard errors


def test_enumeration_has_every_subset_once_a_round__identity_count():
    runs = EnumerationDesign(4, replicates=2).take(100)
    assert sorted(r.mask for r in runs) == sorted([*range(16), *range(16)])


def test_union_orders_never_cut_two_unions__identity_unions():
    groups = (0, 1, 1, 2, 0, 2, 2)
    for run in PermutationDesign(7, seed=2, groups=groups).take(300):
        row = members_of(run.mask, 7)
        shares = [row[np.array(groups) == g].mean() for g in range(3)]
        assert sum(0 < share < 1 for share in shares) <= 1


def test_masks_as_ints_and_rows__roundtrip():
    row = members_of(0b10110, 5)
    assert row.tolist() == [False, True, True, False, True]
    assert mask_of(row) == 0b10110


def test_a_mask_of_another_game__rejects_mask():
    with pytest.raises(InputError, match="no subset of 3"):
        members_of(8, 3)


def test_one_contributor__rejects_players():
    with pytest.raises(InputError, match="at least two"):
        PairedDesign(1).take(3)


@pytest.mark.parametrize("n", [6, 9, 20])
def test_the_law_lets_noise_do_the_least__identity_cauchy_schwarz(n):
    kernel, energy = pair_kernel(n), half_sizes(n) * (n - half_sizes(n))

    def noise(law):  # of a share, up to a factor, when runs are weighed by kernel / law
        return (kernel**2 / law * energy).sum() / (kernel * energy).sum() ** 2

    draw, best = np.random.default_rng(0), noise(pair_law(n))
    assert best < noise(kernel)
    for _ in range(50):
        other = pair_law(n) * np.exp(0.3 * draw.normal(size=n // 2))
        assert noise(other / other.sum()) > best
