"""Division of a pool of money by shares, in whole cents that add up to the pool exactly.

Arithmetic is in fractions, so no cent is lost or made, and the same shares give the same table on
every machine.

Symbols (money in the smallest unit of the currency):
    P        the pool
    f_i      part of the gain that contributor i brings, in [l_i, u_i] (`bounds.part_bounds`)
    o_i      what is owed, P f_i less a debt of the last round; o_i in [P l_i - debt, P u_i - debt]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.credit.estimators.intervals import error_of_look, gain_level, part_bounds
from wherefrom.credit.payout.money import digits_of, parse_money, round_to, show_money
from wherefrom.credit.payout.negative_shares import Owed, amounts_of, certain_amounts, debts_of
from wherefrom.credit.result import Shares
from wherefrom.data.images.notebook import AsTable, Rows

EFFICIENT = 1e-6  # relative: how far shares that are a division may be from the gain


@dataclass(frozen=True, kw_only=True)
class PayoutConfig(Config):
    """The policy of a payout."""

    negative: str = setting(
        "floor",
        "what a negative share gets: floor (nothing), charge (it pays), carry (a debt for the next "
        "round)",
        choices=("floor", "charge", "carry"),
    )
    uncertain: str = setting(
        "escrow",
        "what becomes of the part of an amount above its lower bound: escrow (hold back) or pay",
        choices=("escrow", "pay"),
    )
    minimum: str = setting("0", "amounts below this are held for the next round, as in 1.00")


@dataclass(frozen=True)
class Payment:
    """The payment of one contributor, money in the smallest unit of the currency.

    `amount` is the part of this pool; `brought` was held in the last round and lies ready beside
    the pool; `before` was paid when this pool was divided with fewer runs.
    `amount` + `brought` = `before` + `paid` + `escrow` + `held`.  `paid` is due now, and negative
    for who is charged; `escrow` waits until the payout is settled with more runs, `held` for the
    minimum.  `balance` goes to the next round: `held`, or a debt as a negative number.
    """

    name: str
    share: float
    low: float | None
    high: float | None
    resolved: bool
    amount: int
    brought: int
    before: int
    paid: int
    escrow: int
    held: int
    balance: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Payout(AsTable):
    """The payments of a pool, in the smallest unit of a currency with so many `digits`.

    `look`: 1 for the first payout of this pool, 2 for its first settlement, and so on; `error`: the
    probability that its bounds may be wrong (`bounds.error_of_look`).
    """

    payments: tuple[Payment, ...]
    pool: int
    currency: str
    digits: int
    config: PayoutConfig
    look: int
    error: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "currency": self.currency,
            "digits": self.digits,
            "pool": self.pool,
            "policy": self.config.to_dict(),
            "look": self.look,
            "error": self.error,
            "payments": [payment.to_dict() for payment in self.payments],
        }

    def as_table(self) -> tuple[Rows, str]:
        pool = f"{show_money(self.pool, self.digits)} {self.currency} divided"
        return self._rows(), pool

    def _rows(self) -> list[dict[str, Any]]:
        money = ("amount", "brought", "before", "paid", "escrow", "held", "balance")
        return [
            {
                name: show_money(value, self.digits) if name in money else value
                for name, value in payment.to_dict().items()
            }
            for payment in self.payments
        ]


@dataclass(frozen=True)
class History:
    """Earlier payouts, in the smallest unit of the currency.

    `balances`: what the last round left of each contributor: an amount that was held, or a debt as
    a negative number.  `paid`: what this pool has paid already.  `look`: the number of this payout
    of the pool, 1 for the first.
    """

    balances: Mapping[str, int] = field(default_factory=dict)
    paid: Mapping[str, int] = field(default_factory=dict)
    look: int = 1


def divide_pool(
    shares: Shares,
    names: Sequence[str],
    pool: str,
    *,
    currency: str = "EUR",
    config: PayoutConfig = PayoutConfig(),
    history: History = History(),
    lot: str = "",
) -> Payout:
    """Divide `pool` (as "10000.00") by the shares under a stated policy.

    What the last round held is paid with this round's amount, and a debt (only under `carry`)
    lessens it.

    The weights are the shares over their sum: `floor` takes negative ones as zero, `charge` as
    they are, `carry` subtracts debts and takes what is below zero as a new debt.  Cents are rounded
    by largest remainder; contributors whose remainders are equal draw lots from `lot`, a text that
    none of them chose, such as a digest of the runs.

    With `escrow` only what is certain of an amount is paid: with bounds of everybody's part of the
    gain that hold for all at once, the least that the policy could give (`certain_amounts`).  The
    bounds of all looks hold at once with probability `shares.level`, so with that probability
    nobody ever has more than the true part of the pool by more than a cent; the number of runs of
    each look must have been fixed before it.  What is not charged cannot be paid either: as much
    waits of the other amounts, in proportion to what is due.

    What this pool has paid already counts, and only `charge` takes it back.  Who would get less
    keeps it, `carry` making the difference a debt, and the others share the rest.

    `InputError` where the shares carry no division: no gain, a gain that may be zero at half of the
    error of this look, or shares that do not add up to the gain (those of `loo` and `banzhaf`).
    """
    digits = digits_of(currency)
    cents, minimum = parse_money(pool, digits), parse_money(config.minimum, digits, zero=True)
    if len(names) != shares.players or len(set(names)) != len(names):
        raise InputError(
            f"{len(names)} names ({len(set(names))} different) for {shares.players} shares; "
            "expected one name each"
        )
    require_gain(shares, history.look)
    require_efficient(shares)
    last = _balances(history.balances, names, config)
    owed = _owed(shares, cents, [min(old, 0) for old in last], history.look)
    lines = [
        Line(name, max(old, 0), history.paid.get(name, 0))
        for name, old in zip(names, last, strict=True)
    ]
    lowest = [max(line.before - line.brought, 0) for line in lines]
    amounts = amounts_of(cents, owed, lowest, config.negative, lot)
    certain = certain_amounts(cents, amounts, owed, config.negative)
    waiting = _waiting(amounts, certain, lines, config, lot)
    debts = debts_of(owed, lowest, config.negative, escrow=config.uncertain == "escrow")
    payments = [
        _payment(shares, i, lines[i], amounts[i], waiting[i], debts[i], minimum)
        for i in range(shares.players)
    ]
    error = error_of_look(shares.level, history.look)
    return Payout(tuple(payments), cents, currency, digits, config, history.look, error)


class Line(NamedTuple):
    """A contributor's amounts before a division: held in the last round, paid from this pool."""

    name: str
    brought: int
    before: int


def _owed(shares: Shares, cents: int, debts: Sequence[int], look: int) -> list[Owed]:
    """o_i of everybody; `debts` are negative."""
    exact = [Fraction(float(value)) for value in shares.values]
    total, bounds = sum(exact, Fraction(0)), part_bounds(shares, look)

    def end(part: float, debt: int) -> Fraction | None:
        return cents * Fraction(part) + debt if isfinite(part) else None

    return [
        Owed(cents * share / total + debt, end(float(low), debt), end(float(high), debt))
        for share, debt, low, high in zip(exact, debts, bounds.low, bounds.high, strict=True)
    ]


def require_efficient(shares: Shares) -> None:
    """An `InputError` unless the shares add up to the gain, as those of a division must."""
    total, gain = float(np.sum(shares.values)), shares.anchors.gain
    if not np.isclose(total, gain, rtol=EFFICIENT, atol=0):
        raise InputError(
            f"the shares by {shares.method} add up to {total:.6g}, but the gain is {gain:.6g}: "
            "they divide nothing; take another --method, such as auto"
        )


def require_gain(shares: Shares, look: int = 1) -> None:
    """An `InputError` unless the model with all data is better than without, beyond its noise.

    The gain is tested with half of the error of payout number `look` (`bounds.gain_level`).
    """
    anchors, level = shares.anchors, gain_level(shares.level, look)
    if anchors.gain <= 0:
        raise InputError(
            f"the property is {anchors.full:.6g} with all contributors and {anchors.empty:.6g} "
            "with none: there is no gain to divide; choose a property that grows, or another "
            "meaning of `empty` in [game]"
        )
    reach = anchors.reach(level)
    if not np.isfinite(reach):
        raise InputError(
            "the noise of the gain is unknown: the empty and the full set were run once; set "
            "`anchors` in [design] of the study to at least 3 and run it again"
        )
    if anchors.gain <= reach:
        now, needed = f"now {anchors.empty_runs} and {anchors.full_runs} runs", anchors.needed
        raise InputError(
            f"the gain is {anchors.gain:.6g} give or take {reach:.6g}: it may be zero; "
            + advice_on_anchors(now, needed(level))
        )


def advice_on_anchors(now: str, needed: int | None) -> str:
    """What to do about a gain that is not certain."""
    if needed is None:
        return f"no number of runs would tell ({now}); measure with less noise"
    return (
        "set `anchors` in [design] of the study, how often the empty and the full set are run "
        f"({now}; {needed} each would tell at this noise), and run it again"
    )


def _waiting(
    amounts: Sequence[int],
    certain: Sequence[int],
    lines: Sequence[Line],
    config: PayoutConfig,
    lot: str,
) -> list[int]:
    """What of everybody's amount waits in escrow; below 0 for a charge that waits."""
    if config.uncertain != "escrow":
        return [0] * len(amounts)
    unpaid = [
        amount + line.brought - line.before for amount, line in zip(amounts, lines, strict=True)
    ]
    waiting = []
    for amount, sure, rest in zip(amounts, certain, unpaid, strict=True):
        # What was paid stays paid when a bound has become lower.
        held = amount - sure
        waiting.append(min(held, max(rest, 0)) if amount > 0 else max(held, min(rest, 0)))
    uncollected = -sum(waiting)
    due = [Fraction(max(rest - held, 0)) for rest, held in zip(unpaid, waiting, strict=True)]
    if uncollected > 0 and any(due):
        more = round_to(min(uncollected, int(sum(due))), due, lot)
        waiting = [held + extra for held, extra in zip(waiting, more, strict=True)]
    return waiting


def _payment(
    shares: Shares, i: int, line: Line, amount: int, escrow: int, debt: int, minimum: int
) -> Payment:
    low, high, share = (float(part[i]) for part in (shares.low, shares.high, shares.values))
    due = amount + line.brought - line.before - escrow
    held = due if 0 < due < minimum else 0
    return Payment(
        name=line.name,
        share=share,
        low=low if np.isfinite(low) else None,
        high=high if np.isfinite(high) else None,
        resolved=bool(shares.resolved[i]),
        amount=amount,
        brought=line.brought,
        before=line.before,
        paid=due - held,
        escrow=escrow,
        held=held,
        balance=held + debt,
    )


def _balances(balances: Mapping[str, int], names: Sequence[str], config: PayoutConfig) -> list[int]:
    for name, balance in balances.items():
        if balance and name not in set(names):
            raise InputError(
                f"the last round left a balance for {name!r}, who is no contributor now; "
                "settle it first"
            )
        if balance < 0 and config.negative != "carry":
            raise InputError(
                f"the last round left a debt of {name!r}, which only the policy 'carry' knows; "
                f"this one is {config.negative!r}"
            )
    return [int(balances.get(name, 0)) for name in names]
