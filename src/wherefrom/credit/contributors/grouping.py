"""Groups of contributors, by similar images or from a CSV file; shares play no part in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.estimators.owen import ward_groups
from wherefrom.credit.game import Floats
from wherefrom.credit.properties import Embedder
from wherefrom.data.tables.records import read_records

MEMBERS_SHOWN = 4
CHUNK = 256  # images whose features are in memory at once


def choose_groups(
    asked: str, data: Contributors, embedder: Embedder
) -> tuple[list[int], tuple[str, ...]]:
    """The group of each contributor, as an index, and the groups' names.

    `asked` is a number of groups, formed from contributors whose images have similar mean features;
    or a CSV file with the columns contributor and group, and one row per contributor.
    """
    if asked.isascii() and asked.isdigit():
        count = int(asked)
        if not 2 <= count < data.players:
            raise InputError(
                f"{count} groups of {data.players} contributors; give 2 to {data.players - 1}, or "
                "a CSV file"
            )
        groups = ward_groups(mean_features(data, embedder), count).tolist()
        return groups, tuple(_members(data, groups, g) for g in dict.fromkeys(groups))
    named = read_groups(Path(asked), data.names)
    order = list(dict.fromkeys(named))
    return [order.index(name) for name in named], tuple(order)


def mean_features(data: Contributors, embedder: Embedder) -> Floats:
    """The mean feature of each contributor's images, float64 (n, D)."""
    means = []
    for player in range(data.players):
        mine = torch.nonzero(data.owner == player).flatten()
        parts = torch.split(mine, CHUNK)
        sums = [embedder.features(data.images[part]).double().sum(0) for part in parts]
        means.append((torch.stack(sums).sum(0) / len(mine)).numpy())
    return np.stack(means)


def _members(data: Contributors, groups: list[int], group: int) -> str:
    names = [name for name, each in zip(data.names, groups, strict=True) if each == group]
    rest = len(names) - MEMBERS_SHOWN
    return ", ".join(names[:MEMBERS_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def read_groups(path: Path, names: tuple[str, ...]) -> list[str]:
    """The group of each name, from a CSV file with one row per contributor."""
    records = read_records(path)
    who, which = records.column(("contributor",)), records.column(("group",))
    if who is None or which is None:
        raise InputError(f"{show_path(path)} needs the columns contributor and group")
    records.note_unused([who, which])
    rows = [(row.cells[who].strip(), row.cells[which].strip()) for row in records.rows]
    given = {name: group for name, group in rows if name and group}
    absent = [name for name in names if name not in given]
    unknown = [name for name in given if name not in names]
    if absent or unknown or len(given) < len(rows):
        what = f"lacks {absent[0]!r}" if absent else f"names {unknown[0]!r}, who is no contributor"
        if not absent and not unknown:
            what = "names a contributor twice, or without a group"
        raise InputError(f"{show_path(path)} {what}; give each contributor one group")
    if len(set(given.values())) < 2:
        raise InputError(f"{show_path(path)} has one group only; give at least two")
    return [given[name] for name in names]
