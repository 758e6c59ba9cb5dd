"""From shares to money: amounts in whole cents that add up to the pool exactly.

Arithmetic is in fractions, so no cent is lost or made, and the same shares give the same table on
every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.credit.result import Shares

# ISO 4217: currencies whose smallest unit is not a hundredth.
WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"
DIGITS = dict.fromkeys(WHOLE.split(), 0) | dict.fromkeys(THOUSANDTHS.split(), 3)
MAX_POOL_DIGITS = 18
EFFICIENT = 1e-6  # relative: how far shares that are a division may be from the gain


@dataclass(frozen=True, kw_only=True)
class PayoutConfig(Config):
    """The policy of a payout."""

    negative: str = setting(
        "floor",
        "negative shares: floor (get nothing), charge (pay), or carry (a debt for the next round)",
        choices=("floor", "charge", "carry"),
    )
    uncertain: str = setting(
        "escrow",
        "the part that the interval does not support: escrow (hold back) or pay",
        choices=("escrow", "pay"),
    )
    minimum: str = setting("0", "amounts below this are held for the next round, as in 1.00")


@dataclass(frozen=True)
class Payment:
    """One contributor's line, money in the smallest unit of the currency.

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
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Payout:
    """The table, the pool in the smallest unit, and how many digits that unit has."""

    payments: tuple[Payment, ...]
    pool: int
    currency: str
    digits: int
    config: PayoutConfig

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "currency": self.currency,
            "digits": self.digits,
            "pool": self.pool,
            "policy": self.config.to_dict(),
            "payments": [payment.to_dict() for payment in self.payments],
        }


def divide_pool(
    shares: Shares,
    names: Sequence[str],
    pool: str,
    *,
    currency: str = "EUR",
    config: PayoutConfig = PayoutConfig(),
    balances: Mapping[str, int] | None = None,
    paid: Mapping[str, int] | None = None,
) -> Payout:
    """Divide `pool` (as "10000.00") by the shares under a stated policy.

    `balances` is the column of the last round: what was held is paid with this round's amount, and
    a debt (only under `carry`) lessens it.

    The weights are the shares over their sum: `floor` takes negative ones as zero, `charge` as
    they are, `carry` subtracts debts and takes what is below zero as a new debt.  With `escrow`,
    of each amount only the part is paid that the interval supports: low / share of a positive one,
    high / share of a negative one, which is charged or made a debt.  What is not charged cannot be
    paid either: as much waits of the other amounts, in proportion to what is due.
    Cents are rounded by largest remainder, ties by order.

    `paid` is what this pool has paid already: it counts, and only `charge` takes it back.  Who
    would get less keeps it, `carry` making the difference a debt, and the others share the rest.

    Refuses where the shares carry no division: no gain, a gain whose interval contains zero, or
    shares that do not add up to the gain (those of `loo` and `banzhaf`).
    """
    digits = DIGITS.get(_currency(currency), 2)
    cents, minimum = parse_money(pool, digits), parse_money(config.minimum, digits, zero=True)
    if len(names) != shares.players or len(set(names)) != len(names):
        raise InputError(
            f"{len(names)} names ({len(set(names))} different) for {shares.players} shares; "
            "expected one name each"
        )
    require_gain(shares)
    require_efficient(shares)
    last = _balances(balances, names, config)
    exact = [Fraction(float(value)) for value in shares.values]
    total = sum(exact, Fraction(0))
    if total <= 0:
        raise InputError("the shares add up to nothing; there is nothing to divide")
    owed = [cents * share / total + min(old, 0) for share, old in zip(exact, last, strict=True)]
    lines = [
        Line(name, max(old, 0), (paid or {}).get(name, 0))
        for name, old in zip(names, last, strict=True)
    ]
    kept = [max(line.before - line.brought, 0) for line in lines]
    amounts, debts = _amounts(cents, owed, kept, config)
    if config.uncertain == "escrow":
        debts = [-round(-debt * supported_part(shares, i)) for i, debt in enumerate(debts)]
    waiting = _waiting(shares, amounts, lines, config)
    payments = [
        _payment(shares, i, lines[i], amounts[i], waiting[i], debts[i], minimum)
        for i in range(shares.players)
    ]
    return Payout(tuple(payments), cents, currency, digits, config)


class Line(NamedTuple):
    """What a contributor brings to a division: held in the last round, paid from this pool."""

    name: str
    brought: int
    before: int


def _amounts(
    cents: int, owed: Sequence[Fraction], kept: Sequence[int], config: PayoutConfig
) -> tuple[list[int], list[int]]:
    """Everybody's part of the pool, and debts as negative numbers."""
    if config.negative == "charge":
        return round_to(cents, owed), [0] * len(owed)
    amounts = round_above(cents, [max(due, Fraction(0)) for due in owed], kept)
    debts = [0] * len(owed)
    if config.negative == "carry":  # a part of a cent is let off
        debts = [min(-int(low - due), 0) for due, low in zip(owed, kept, strict=True)]
    return amounts, debts


def require_efficient(shares: Shares) -> None:
    """An `InputError` unless the shares add up to the gain, as those of a division must."""
    total, gain = float(np.sum(shares.values)), shares.anchors.gain
    if not np.isclose(total, gain, rtol=EFFICIENT, atol=0):
        raise InputError(
            f"the shares by {shares.method} add up to {total:.6g}, but the gain is {gain:.6g}: "
            "they divide nothing; take another --method, such as auto"
        )


def require_gain(shares: Shares) -> None:
    """An `InputError` unless the model with all data is better than without, beyond its noise."""
    anchors = shares.anchors
    if anchors.gain <= 0:
        raise InputError(
            f"the property is {anchors.full:.6g} with all contributors and {anchors.empty:.6g} "
            "with none: there is no gain to divide; choose a property that grows"
        )
    reach = anchors.reach(shares.level)
    if not np.isfinite(reach):
        raise InputError(
            "the noise of the gain is unknown: the empty and the full set were run once; set "
            "`anchors` in [design] of the study to at least 3 and run it again"
        )
    if anchors.gain <= reach:
        now, needed = f"now {anchors.empty_runs} and {anchors.full_runs} runs", anchors.needed
        raise InputError(
            f"the gain is {anchors.gain:.6g} give or take {reach:.6g}: it may be zero; "
            + advice_on_anchors(now, needed(shares.level))
        )


def advice_on_anchors(now: str, needed: int | None) -> str:
    """What to do about a gain that is not certain."""
    if needed is None:
        return f"no number of runs would tell ({now}); measure with less noise"
    return (
        "set `anchors` in [design] of the study, how often the empty and the full set are run "
        f"({now}; {needed} each would tell at this noise), and run it again"
    )


def round_to(total: int, weights: Sequence[Fraction]) -> list[int]:
    """Whole numbers in proportion to the weights that add up to `total`: largest remainder.

    `InputError` if the weights do not add up to a positive number.
    """
    whole = sum(weights, Fraction(0))
    if whole <= 0:
        raise InputError("nobody has a positive share; there is nothing to divide")
    exact = [total * weight / whole for weight in weights]
    parts = [part.numerator // part.denominator for part in exact]
    order = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], i))
    for i in order[: total - sum(parts)]:
        parts[i] += 1
    return parts


def round_above(total: int, weights: Sequence[Fraction], lowest: Sequence[int]) -> list[int]:
    """As `round_to` for weights of 0 and more, with at least `lowest` (0 and more) for each.

    Who would fall below gets the lowest, and the others share the rest by their weights.
    """
    if sum(lowest) > total:
        raise InputError(
            f"{sum(lowest)} was paid from a pool of {total}, in the currency's smallest unit; the "
            "earlier receipt is not one of this pool"
        )
    fixed: set[int] = set()
    while True:
        free = [i for i in range(len(weights)) if i not in fixed]
        rest = total - sum(lowest[i] for i in fixed)
        whole = sum((weights[i] for i in free), Fraction(0))
        short = {i for i in free if rest * weights[i] < lowest[i] * whole}
        if not short:
            break
        fixed |= short
    shared = dict(zip(free, round_to(rest, [weights[i] for i in free]), strict=True))
    return [shared.get(i, lowest[i]) for i in range(len(weights))]


def parse_money(text: str, digits: int, *, zero: bool = False) -> int:
    """An amount as "10000.00" in the smallest unit of a currency with so many digits."""
    whole, dot, rest = text.strip().partition(".")
    good = whole.isascii() and whole.isdigit() and (not dot or (rest.isascii() and rest.isdigit()))
    if not good or len(rest) > digits or len(whole) > MAX_POOL_DIGITS:
        example = "10000." + "0" * digits if digits else "10000"
        raise InputError(f"{text!r} is no amount of money; write it as {example}")
    cents = int(whole + rest.ljust(digits, "0"))
    if cents == 0 and not zero:
        raise InputError(f"the pool is {text}; there is nothing to divide")
    return cents


def show_money(cents: int, digits: int) -> str:
    """The amount as text, the other way of `parse_money`."""
    sign, plain = "-" if cents < 0 else "", f"{abs(cents):0{digits + 1}d}"
    return sign + (f"{plain[:-digits]}.{plain[-digits:]}" if digits else plain)


def _waiting(
    shares: Shares, amounts: Sequence[int], lines: Sequence[Line], config: PayoutConfig
) -> list[int]:
    """What of everybody's amount waits in escrow; below 0 for a charge that waits."""
    if config.uncertain != "escrow":
        return [0] * len(amounts)
    left = [
        amount + line.brought - line.before for amount, line in zip(amounts, lines, strict=True)
    ]
    waiting = []
    for i, amount in enumerate(amounts):
        unsupported = amount - round(amount * supported_part(shares, i))
        # What was paid stays paid when an interval has become wider.
        waiting.append(
            min(unsupported, max(left[i], 0)) if amount > 0 else max(unsupported, min(left[i], 0))
        )
    uncollected = -sum(waiting)
    due = [Fraction(max(rest - held, 0)) for rest, held in zip(left, waiting, strict=True)]
    if uncollected > 0 and any(due):
        more = round_to(min(uncollected, int(sum(due))), due)
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


def supported_part(shares: Shares, i: int) -> Fraction:
    """Which part of a share its interval supports, in [0, 1]: that of the end nearer to zero."""
    low, high, share = (float(part[i]) for part in (shares.low, shares.high, shares.values))
    end = low if share > 0 else high
    if not np.isfinite(end) or end * share <= 0:
        return Fraction(0)
    return Fraction(1) if abs(share) <= abs(end) else Fraction(end) / Fraction(share)


def _balances(
    balances: Mapping[str, int] | None, names: Sequence[str], config: PayoutConfig
) -> list[int]:
    balances = balances or {}
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


def _currency(code: str) -> str:
    if len(code) != 3 or not code.isascii() or not code.isalpha() or not code.isupper():
        raise InputError(f"{code!r} is no currency; write its three letters, as in EUR")
    return code
