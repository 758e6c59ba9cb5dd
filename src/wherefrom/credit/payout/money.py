"""Amounts of money: whole numbers of the currency's smallest unit, and shares of them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import digest_bytes

# ISO 4217: currencies whose smallest unit is not a hundredth.
WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"
DIGITS = dict.fromkeys(WHOLE.split(), 0) | dict.fromkeys(THOUSANDTHS.split(), 3)
MAX_POOL_DIGITS = 18


def round_to(total: int, weights: Sequence[Fraction], lot: str = "") -> list[int]:
    """Whole numbers in proportion to the weights that add up to `total`: largest remainder.

    Of equal remainders those come first whose SHA-256 of `lot` and their place is smallest: nobody
    can buy a cent by a name that is listed early, as long as nobody chooses the `lot`.
    `InputError` if the weights do not add up to a positive number.
    """
    whole = sum(weights, Fraction(0))
    if whole <= 0:
        raise InputError("nobody has a positive share; there is nothing to divide")
    exact = [total * weight / whole for weight in weights]
    parts = [part.numerator // part.denominator for part in exact]
    drawn = [digest_bytes(f"{lot}:{i}".encode()) for i in range(len(parts))]
    order = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], drawn[i]))
    for i in order[: total - sum(parts)]:
        parts[i] += 1
    return parts


def round_above(
    total: int, weights: Sequence[Fraction], lowest: Sequence[int], lot: str = ""
) -> list[int]:
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
    shared = dict(zip(free, round_to(rest, [weights[i] for i in free], lot), strict=True))
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
    """The text of an amount in the smallest unit; `parse_money` reads it."""
    sign, plain = "-" if cents < 0 else "", f"{abs(cents):0{digits + 1}d}"
    return sign + (f"{plain[:-digits]}.{plain[-digits:]}" if digits else plain)


def digits_of(currency: str) -> int:
    """How many digits follow the point; an `InputError` for what is no currency's three letters."""
    if len(currency) != 3 or not (currency.isascii() and currency.isalpha() and currency.isupper()):
        raise InputError(f"{currency!r} is no currency; write its three letters, as in EUR")
    return DIGITS.get(currency, 2)
