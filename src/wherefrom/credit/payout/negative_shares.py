"""The rule for negative shares: what they get, and what everybody else is sure to get beside them.

`negative` is the setting of the policy: `floor` takes negative shares as zero, `charge` makes them
pay, and `carry` makes them a debt of the next round.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

from wherefrom.credit.payout.money import round_above, round_to


class Owed(NamedTuple):
    """What is owed to a contributor, and its bounds, None where there are none."""

    due: Fraction
    low: Fraction | None
    high: Fraction | None


def amounts_of(
    cents: int, owed: Sequence[Owed], lowest: Sequence[int], negative: str, lot: str
) -> list[int]:
    """Everybody's part of the pool."""
    if negative == "charge":
        return round_to(cents, [each.due for each in owed], lot)
    return round_above(cents, [max(each.due, Fraction(0)) for each in owed], lowest, lot)


def debts_of(
    owed: Sequence[Owed], lowest: Sequence[int], negative: str, *, escrow: bool
) -> list[int]:
    """Under `carry`, how far everybody is below what was paid already, as negative numbers.

    With escrow only as far as the upper bound is below it.  A part of a cent is let off.
    """
    if negative != "carry":
        return [0] * len(owed)
    ends = [each.high if escrow else each.due for each in owed]
    return [
        0 if end is None else min(-int(low - end), 0) for end, low in zip(ends, lowest, strict=True)
    ]


def certain_amounts(
    cents: int, amounts: Sequence[int], owed: Sequence[Owed], negative: str
) -> list[int]:
    """What of everybody's amount is certain, of a charge as a negative number.

    Under `charge` that is the lower bound of o_i, or the upper one of a negative.  Elsewhere what
    is negative counts as zero, so that others' debts make an amount smaller.  With W the sum of all
    o, and the parentheses' plus taking what is negative as zero, the least that i can get is

        P l / (l + min(sum of (u_j)+, W - l + sum of (-l_j)+)),   l = l_i > 0,  sums over j != i
    """
    if any(each.low is None or each.high is None for each in owed):
        return [0] * len(amounts)
    lows, highs = [each.low or Fraction(0) for each in owed], [each.high or 0 for each in owed]
    if negative == "charge":
        return [
            min(amount, max(ceil(low), 0)) if amount > 0 else max(amount, min(floor(high), 0))
            for amount, low, high in zip(amounts, lows, highs, strict=True)
        ]
    whole = sum((each.due for each in owed), Fraction(0))
    positive = sum((max(high, Fraction(0)) for high in highs), Fraction(0))
    below = sum((max(-low, Fraction(0)) for low in lows), Fraction(0))
    certain = []
    for amount, low, high in zip(amounts, lows, highs, strict=True):
        others = max(min(positive - max(high, Fraction(0)), whole - low + below), Fraction(0))
        certain.append(min(amount, ceil(cents * low / (low + others))) if low > 0 else 0)
    return certain
