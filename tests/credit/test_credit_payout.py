import functools
import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import t
from synthetic_games import MixedGame, played

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.credit.estimators.design import PairedDesign
from wherefrom.credit.estimators.intervals import bonferroni, error_of_look
from wherefrom.credit.estimators.paired import estimate_paired
from wherefrom.credit.payout.division import History, PayoutConfig, divide_pool
from wherefrom.credit.payout.money import parse_money, round_to, show_money
from wherefrom.credit.payout.receipt import build_chain, canonical, verify_chain

NAMES = list("abcdef")


@functools.cache
def some_shares():
    return estimate_paired(played(PairedDesign(6), 66, MixedGame(6), noise=0.1))


def shares_of(values, spread=0.1, gain_variance=0.0, look=1):
    """Shares with the given values, whose bounds at payout number `look` are `spread` wide.

    `spread`: half-width, of everybody or of each; the covariance that gives them is not unique.
    """
    found, values = some_shares(), np.array(values, dtype=np.float64)
    n, full = len(values), found.anchors.empty + values.sum()
    quantile = bonferroni(n, found.freedom, 1 - error_of_look(found.level, look) / 2)
    wide = (np.broadcast_to(np.asarray(spread, dtype=np.float64), n) / quantile) ** 2
    # The variances d of independent shares whose differences from their mean have these.
    moved = wide.sum() / (n * (n - 1))
    variances = (wide - moved) / (1 - 2 / n)
    return replace(
        found,
        values=values,
        centers=values,
        low=values - spread,
        high=values + spread,
        covariance=np.diag(variances),
        anchors=replace(found.anchors, full=full, variance=gain_variance, freedom=4),
    )


def test_cents_add_up_to_the_pool_for_any_shares__identity_sum():
    draw = np.random.default_rng(0)
    for trial in range(120):
        values = draw.standard_t(2, 6) * 10.0 ** draw.integers(-6, 7)
        values[0] += 2 * np.abs(values).sum()
        config = PayoutConfig(
            negative=str(draw.choice(["floor", "charge", "carry"])),
            uncertain=str(draw.choice(["escrow", "pay"])),
            minimum=str(draw.choice(["0", "0.05", "3.00"])),
        )
        pool = int(draw.integers(1, 10 ** int(draw.integers(1, 13))))
        spread = float(np.abs(values).mean() * draw.random())
        lowest = -min(50, pool // 10) if config.negative == "carry" else 0
        owed = {name: int(draw.integers(lowest, 51)) for name in NAMES} if trial % 3 else {}
        given = shares_of(values, spread)
        payout = divide_pool(
            given, NAMES, show_money(pool, 2), config=config, history=History(owed)
        )
        assert sum(p.amount for p in payout.payments) == pool
        for p in payout.payments:
            assert p.paid + p.escrow + p.held == p.amount + p.brought
            assert p.escrow >= 0 or (config.negative == "charge" and p.escrow >= p.amount)
            assert p.held >= 0
            assert p.paid >= 0 or config.negative == "charge"
            assert p.paid <= 0 or p.paid >= parse_money(config.minimum, 2, zero=True)
        brought = sum(max(cents, 0) for cents in owed.values())
        assert sum(p.brought for p in payout.payments) == brought


def test_largest_remainder__closed_form():
    assert sorted(round_to(10, [Fraction(1)] * 3)) == [3, 3, 4]
    assert round_to(100, [Fraction(1, 3), Fraction(2, 3), Fraction(0)]) == [33, 67, 0]
    assert round_to(7, [Fraction(3), Fraction(-1)]) == [11, -4]


def test_a_cent_that_ties_is_drawn_and_not_bought__identity_lots():
    """Who is listed first gets it no more often than others, and the same lot draws the same."""
    drawn = [round_to(10, [Fraction(1)] * 3, f"runs {number}") for number in range(600)]
    assert drawn == [round_to(10, [Fraction(1)] * 3, f"runs {number}") for number in range(600)]
    counts = np.array([parts.index(4) for parts in drawn])
    # 200 expected of each, four standard deviations are 46.
    assert np.abs(np.bincount(counts, minlength=3) - 200).max() < 46
    payouts = {
        tuple(p.amount for p in divide_pool(shares_of([1] * 6), NAMES, "10.00", lot=lot).payments)
        for lot in "abcdefgh"
    }
    assert len(payouts) > 1


def test_rounding_is_never_a_whole_cent_off__identity_quota():
    draw = np.random.default_rng(1)
    for _ in range(100):
        weights = [Fraction(float(x)) for x in draw.random(9)]
        for part, weight in zip(round_to(997, weights), weights, strict=True):
            assert abs(part - 997 * weight / sum(weights)) < 1


@pytest.mark.parametrize(("policy", "amounts", "balances"), [
    ("floor", [600, 400, 0, 0, 0, 0], [0] * 6),
    ("charge", [750, 500, -250, 0, 0, 0], [0] * 6),
    ("carry", [600, 400, 0, 0, 0, 0], [0, 0, -250, 0, 0, 0]),
])  # fmt: skip
def test_policies_for_negative_shares__closed_form(policy, amounts, balances):
    config = PayoutConfig(negative=policy, uncertain="pay")
    payout = divide_pool(shares_of([3, 2, -1, 0, 0, 0]), NAMES, "10.00", config=config)
    assert [p.amount for p in payout.payments] == amounts
    assert [p.balance for p in payout.payments] == balances


def test_a_debt_is_paid_off_in_the_next_round__closed_form():
    config = PayoutConfig(negative="carry", uncertain="pay")
    shares = shares_of([1, 1, 2, 0, 0, 0])
    payout = divide_pool(shares, NAMES, "10.00", config=config, history=History({"c": -250}))
    assert sorted(p.amount for p in payout.payments) == [0, 0, 0, 333, 333, 334]
    assert [p.amount > 0 for p in payout.payments] == [True] * 3 + [False] * 3


def test_the_uncertain_part_waits__closed_form():
    """Under charge, the lower bound; under floor, the least that the policy could give.

    There the others may get the rest: 4.05 - 2.9 + 0.35 (what negative shares of -0.1, -0.1, -0.1
    and -0.05 would leave to the positive ones), or at most 1.1 + 0.15 + 0.3.
    """
    shares = shares_of([3, 1, 0.05, 0, 0, 0], spread=0.1)
    for policy, paid in [
        ("charge", [29000, 9000, 0]),
        ("floor", [round(40500 * 2.9 / (2.9 + 1.5)), round(40500 * 0.9 / (0.9 + 3.5)), 0]),
    ]:
        payout = divide_pool(shares, NAMES, "405.00", config=PayoutConfig(negative=policy))
        assert [p.amount for p in payout.payments][:3] == [30000, 10000, 500]
        for payment, expected in zip(payout.payments, paid, strict=False):
            assert abs(payment.paid - expected) <= 1
            assert payment.paid + payment.escrow == payment.amount


def test_an_uncertain_gain_holds_more_back__closed_form():
    """The part of the gain is 1/n + b/g: for b > 0 the lower bound is at the largest gain."""
    config = PayoutConfig(negative="charge")
    shares = shares_of([3, 1, 0.05, 0, 0, 0], spread=0.1, gain_variance=0.01)
    reach = 0.1 * t.ppf(1 - 0.025 / 4, 4)
    b = 3 - 4.05 / 6
    payment = divide_pool(shares, NAMES, "405.00", config=config).payments[0]
    assert abs(payment.paid - 40500 * (1 / 6 + (b - 0.1) / (4.05 + reach))) <= 1


def test_the_error_is_spent_over_looks__identity_sum():
    spent = [error_of_look(0.95, look) for look in range(1, 2000)]
    assert spent[:3] == pytest.approx([0.025, 0.05 / 6, 0.05 / 12])
    assert 0.0499 < sum(spent) < 0.05
    shares = shares_of([3, 1, 0.05, 0, 0, 0], spread=0.1)
    first, later = (
        divide_pool(shares, NAMES, "405.00", history=History(look=look)) for look in (1, 5)
    )
    assert (first.look, first.error, later.look) == (1, pytest.approx(0.025), 5)
    assert later.payments[0].paid < first.payments[0].paid
    with pytest.raises(InputError, match="payout number 0"):
        divide_pool(shares, NAMES, "405.00", history=History(look=0))


@pytest.mark.parametrize("policy", ["charge", "carry"])
def test_nobody_pays_for_what_is_uncertain__closed_form(policy):
    """All intervals hold zero: nothing is certain, so nothing is paid, charged or owed."""
    config = PayoutConfig(negative=policy)
    payout = divide_pool(shares_of([3, 2, -1, 0, 0, 0], spread=5), NAMES, "1000.00", config=config)
    assert [p.paid for p in payout.payments] == [0] * 6
    assert [p.balance for p in payout.payments] == [0] * 6
    assert sum(p.escrow for p in payout.payments) == 100_000


def test_a_negative_share_is_charged_as_far_as_its_interval_goes__closed_form():
    """-1 with an interval from -1.5 to -0.5 is charged by half; the others wait for the rest."""
    config = PayoutConfig(negative="charge")
    part = shares_of([3, 2, -1, 0, 0, 0], spread=[0, 0, 0.5, 0, 0, 0])
    first, second, third, *_ = divide_pool(part, NAMES, "10.00", config=config).payments
    assert (third.paid, third.escrow) == (-125, -125)
    assert (first.paid, first.escrow) == (675, 75) and (second.paid, second.escrow) == (450, 50)
    debt = divide_pool(part, NAMES, "10.00", config=PayoutConfig(negative="carry")).payments[2]
    assert debt.balance in (-124, -125)  # a bound is a float, and a part of a cent is let off


def test_a_charge_that_waits_is_made_once_it_is_certain__closed_form():
    config = PayoutConfig(negative="charge")
    wide, sure = shares_of([3, 2, -1, 0, 0, 0], spread=1.5), shares_of([3, 2, -1, 0, 0, 0], 0)
    now = divide_pool(wide, NAMES, "10.00", config=config).payments
    assert now[2].paid == 0 and 0 < now[0].paid < 750
    paid = {p.name: p.paid for p in now}
    later = divide_pool(sure, NAMES, "10.00", config=config, history=History(paid=paid)).payments
    assert [p.before + p.paid for p in later] == [750, 500, -250, 0, 0, 0]
    assert not any(p.escrow for p in later)


def test_a_payout_as_a_table_of_a_notebook__smoke():
    html = divide_pool(shares_of([3, 1, 0, 0, 0, 0]), NAMES, "4.00")._repr_html_()
    assert "4.00 EUR divided" in html and "escrow" in html


@pytest.mark.parametrize("values", [[3, -2.99, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]])
def test_shares_that_are_no_division_of_the_gain__rejects_shares(values):
    """Leave-one-out and Banzhaf values add up to something else; their sum would divide money."""
    shares = shares_of(values)
    apart = replace(shares, anchors=replace(shares.anchors, full=shares.anchors.full + 1))
    with pytest.raises(InputError, match=r"add up to .* but the gain is .* divide nothing"):
        divide_pool(apart, NAMES, "1000.00")


def test_without_intervals_all_waits__limit():
    shares = shares_of([3, 1, 0, 0, 0, 0])
    unknown = replace(shares, covariance=np.full((6, 6), np.nan), freedom=0)
    payout = divide_pool(unknown, NAMES, "4.00")
    assert sum(p.escrow for p in payout.payments) == 400


def test_settling_pays_what_the_bounds_released__closed_form():
    """In quarters of the gain: 2.5 of 6 are certain of the first, then 2.9 of 4.4."""
    first = divide_pool(shares_of([3, 1, 0, 0, 0, 0], spread=0.5), NAMES, "400.00")
    assert [(p.paid, p.escrow) for p in first.payments][:2] == [(16667, 13333), (3334, 6666)]
    paid = {p.name: p.paid for p in first.payments}
    then = divide_pool(
        shares_of([3, 1, 0, 0, 0, 0], spread=0.1), NAMES, "400.00", history=History(paid=paid)
    )
    assert [(p.before, p.paid, p.escrow) for p in then.payments][:2] == [
        (16667, 26364 - 16667, 30000 - 26364),
        (3334, 8182 - 3334, 10000 - 8182),
    ]
    # The second contributor was paid more than its share is now: it keeps that, and no more.
    other = shares_of([3.875, 0.125, 0, 0, 0, 0], spread=0.0)
    for policy, lines in [
        ("floor", [(19999, 0, 0), (0, 0, 0)]),
        ("carry", [(19999, 0, 0), (0, 0, -2084)]),
        ("charge", [(22083, 0, 0), (-2084, 0, 0)]),
    ]:
        config = PayoutConfig(negative=policy)
        then = divide_pool(other, NAMES, "400.00", config=config, history=History(paid=paid))
        assert [(p.paid, p.escrow, p.balance) for p in then.payments][:2] == lines
    with pytest.raises(InputError, match="not one of this pool"):
        divide_pool(other, NAMES, "200.00", history=History(paid=paid))


def test_no_cent_is_lost_over_settlements__identity_sum():
    draw = np.random.default_rng(2)
    for _ in range(60):
        config = PayoutConfig(
            negative=str(draw.choice(["floor", "charge", "carry"])),
            uncertain="escrow",
            minimum=str(draw.choice(["0", "3.00"])),
        )
        pool, paid = int(draw.integers(1, 10**6)), dict.fromkeys(NAMES, 0)
        owed = {name: int(draw.integers(0, 51)) for name in NAMES}
        values = draw.standard_t(2, 6) + 1.0
        values[0] += 2 * np.abs(values).sum()
        for spread in (2.0, 0.5, 0.7, 0.0):
            given = shares_of(values + 0.3 * spread * draw.normal(size=6), spread)
            if given.values.sum() <= 0:
                continue
            table = divide_pool(
                given, NAMES, show_money(pool, 2), config=config, history=History(owed, paid)
            ).payments
            assert sum(p.before + p.paid + p.escrow + p.held for p in table) == pool + sum(
                owed.values()
            )
            assert {p.name: p.before for p in table} == paid
            assert config.negative == "charge" or all(p.escrow >= 0 for p in table)
            assert sum(p.before + p.paid for p in table) <= pool + sum(owed.values())
            assert config.negative == "charge" or all(p.paid >= 0 for p in table)
            paid = {p.name: p.before + p.paid for p in table}
        assert sum(p.escrow for p in table) == 0


def test_small_amounts_are_held__closed_form():
    config = PayoutConfig(uncertain="pay", minimum="1.01")
    payout = divide_pool(shares_of([3, 1, 0, 0, 0, 0]), NAMES, "4.00", config=config)
    first, second = payout.payments[:2]
    assert (first.paid, first.held, first.balance) == (300, 0, 0)
    assert (second.paid, second.held, second.balance) == (0, 100, 100)
    balances = {p.name: p.balance for p in payout.payments}
    again = divide_pool(
        shares_of([3, 1, 0, 0, 0, 0]), NAMES, "4.00", config=config, history=History(balances)
    )
    assert [p.paid for p in again.payments] == [300, 200, 0, 0, 0, 0]


@pytest.mark.parametrize(("text", "digits", "cents"), [
    ("10000.00", 2, 1000000), ("1", 2, 100), ("0.5", 2, 50), ("7", 0, 7), ("1.234", 3, 1234),
])  # fmt: skip
def test_money_is_read_exactly__closed_form(text, digits, cents):
    assert parse_money(text, digits) == cents
    assert parse_money(show_money(cents, digits), digits) == cents


@pytest.mark.parametrize("text", ["", "-1", "1e3", "1,000", "1.234", "nan", "½", "0.00", "1.", "٣"])
def test_what_is_no_money__rejects_text(text):
    with pytest.raises(InputError):
        parse_money(text, 2)


def test_yen_have_no_cents__rejects_digits():
    with pytest.raises(InputError, match="write it as 10000"):
        divide_pool(shares_of([1] * 6), NAMES, "10.50", currency="JPY")
    assert divide_pool(shares_of([1] * 6), NAMES, "11", currency="JPY").pool == 11


@pytest.mark.parametrize(("change", "say"), [
    ({"values": [-1, -1, 0, 0, 0, 0]}, "no gain to divide"),
    ({"values": [1] * 6, "gain_variance": 9.0}, "it may be zero"),
    ({"values": [1] * 6, "gain_variance": np.nan}, "noise of the gain is unknown"),
])  # fmt: skip
def test_a_gain_that_is_none__rejects_shares(change, say):
    with pytest.raises(InputError, match=say):
        divide_pool(shares_of(**change), NAMES, "10.00")


def test_the_refusal_says_how_many_anchors_would_do__closed_form():
    shares = shares_of([1] * 6, gain_variance=9.0)  # three runs each: 13.5 for a run
    with pytest.raises(InputError, match=r"set `anchors` in \[design\].*\(now 3 and 3 runs; (\d+)"):
        divide_pool(shares, NAMES, "10.00")
    level = 0.9875  # half of the error of a first payout
    needed = shares.anchors.needed(level)
    for runs, enough in ((needed - 1, False), (needed, True)):
        more = replace(
            shares.anchors,
            empty_runs=runs,
            full_runs=runs,
            variance=27 / runs,
            freedom=runs - 1,
        )
        assert (more.gain > more.reach(level)) == enough
    with pytest.raises(InputError, match="less noise"):
        divide_pool(shares_of([1e-6] * 6, gain_variance=9.0), NAMES, "10.00")


def test_names_and_currencies__rejects_typos():
    shares = shares_of([1] * 6)
    with pytest.raises(InputError, match="5 different"):
        divide_pool(shares, list("abcdea"), "10.00")
    with pytest.raises(InputError, match="no currency"):
        divide_pool(shares, NAMES, "10.00", currency="euro")
    with pytest.raises(InputError, match="no contributor now"):
        divide_pool(shares, NAMES, "10.00", history=History({"z": 5}))
    with pytest.raises(InputError, match="left a debt of 'a'"):
        divide_pool(shares, NAMES, "10.00", history=History({"a": -5}))


RECORDS = [
    ("data", {"a": "sha256:1", "b": "sha256:2"}),
    ("runs", [[3, 1.5], [4, 2.5]]),
    ("payout", {"pool": 100}),
]


def links_of(records):
    return [vars(link) for link in build_chain(records)]


def test_an_unchanged_chain_holds__roundtrip():
    links = links_of(RECORDS)
    assert verify_chain(RECORDS, links) == links[-1]["digest"]


def test_any_change_of_a_record_breaks_the_chain__rejects_change():
    links, text = links_of(RECORDS), canonical([record for _, record in RECORDS]).decode()
    broken = 0
    for place in range(len(text)):
        if text[place] not in "0123456789abdlnorstu":
            continue
        other = text[:place] + ("7" if text[place] != "7" else "8") + text[place + 1 :]
        try:
            changed = json.loads(other)
        except ValueError:
            continue
        named = [(name, record) for (name, _), record in zip(RECORDS, changed, strict=True)]
        with pytest.raises(ArtifactError, match="was changed"):
            verify_chain(named, links)
        broken += 1
    assert broken > 20


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("field", ["name", "content", "previous", "digest"])
def test_any_change_of_a_link_breaks_the_chain__rejects_change(place, field):
    links = links_of(RECORDS)
    links[place] = links[place] | {field: links[place][field][:-1] + "?"}
    with pytest.raises(ArtifactError):
        verify_chain(RECORDS, links)


def test_records_cannot_be_dropped_or_swapped__rejects_change():
    links = links_of(RECORDS)
    for records in (RECORDS[:2], [RECORDS[1], RECORDS[0], RECORDS[2]], [*RECORDS, ("x", 1)]):
        with pytest.raises(ArtifactError):
            verify_chain(records, links)
