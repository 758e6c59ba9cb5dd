"""The order of generators, as far as the data tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ranking:
    """Possible ranks, 1 = nearest to the real images, and groups that cannot be told apart.

    `ranks`: from (1 + generators that are certainly nearer) to (all - generators certainly
    further).  `groups`: the longest runs of neighbours in the table in which no two can be told
    apart; a generator may be in several.  `pairs`: p-values adjusted for their number (Holm), the
    nearer generator first.
    """

    names: tuple[str, ...]
    ranks: tuple[tuple[int, int], ...]
    groups: tuple[tuple[str, ...], ...]
    pairs: Mapping[tuple[str, str], float]
    error_rate: float

    @property
    def best(self) -> tuple[str, ...]:
        """Every generator that may be the nearest."""
        return tuple(
            name for name, (first, _) in zip(self.names, self.ranks, strict=True) if first == 1
        )

    def show_ranks(self, name: str) -> str:
        """`2`, or `1-3` where the data do not tell."""
        first, last = self.ranks[self.names.index(name)]
        return str(first) if first == last else f"{first}-{last}"

    def group_letters(self, name: str) -> str:
        """The groups that a generator is in, as letters: those that share none are told apart."""
        return "".join(_letter(i) for i, group in enumerate(self.groups) if name in group)

    def to_dict(self) -> dict[str, Any]:
        return {
            "ranks": {
                name: list(ranks) for name, ranks in zip(self.names, self.ranks, strict=True)
            },
            "groups": [list(group) for group in self.groups],
            "pairs": [
                {"nearer": a, "further": b, "p_value": p, "told_apart": p <= self.error_rate}
                for (a, b), p in self.pairs.items()
            ],
            "error_rate": self.error_rate,
        }


def rank(
    names: Sequence[str], pairs: Mapping[tuple[str, str], float], error_rate: float
) -> Ranking:
    """The ranking of `names`, given nearest first; `pairs` holds p-values by (nearer, further)."""
    apart = {pair for pair, p in pairs.items() if p <= error_rate}
    count = len(names)
    ranks = tuple(
        (
            1 + sum((other, name) in apart for other in names[:place]),
            count - sum((name, other) in apart for other in names[place + 1 :]),
        )
        for place, name in enumerate(names)
    )
    return Ranking(tuple(names), ranks, _groups(names, apart), dict(pairs), error_rate)


def _groups(names: Sequence[str], apart: set[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    groups: list[tuple[str, ...]] = []
    reached = 0
    for start in range(len(names)):
        end = start + 1
        while end < len(names) and all((a, names[end]) not in apart for a in names[start:end]):
            end += 1
        if end > reached:
            groups.append(tuple(names[start:end]))
            reached = end
    return tuple(groups)


def _letter(place: int) -> str:
    return chr(ord("a") + place % 26) * (1 + place // 26)
