"""Groups of contributors, and players that are groups or parts of them.

Groups are formed by similar images or read from a CSV file; shares play no part in it.  Where the
players are not the contributors, only the owners of the images change, not the images or their
order.  So the full model of a study is the same for all of these.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.rng import stream
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.diffusion.properties import Embedder, PixelEmbedder
from wherefrom.credit.estimators.owen import ward_groups
from wherefrom.credit.ledger.game import Floats
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


def split_into_parts(data: Contributors, parts: int, *, seed: int = 0) -> Contributors:
    """Each contributor's images split at random among `parts` players, who form its union.

    A contributor with fewer images than that has one player per image.
    """
    if parts < 2:
        raise InputError(f"{parts} part of each contributor is given; give at least 2")
    names, unions, owner = list[str](), list[str](), torch.empty_like(data.owner)
    for player, name in enumerate(data.names):
        mine = torch.nonzero(data.owner == player).flatten()
        count = min(parts, len(mine))
        dealt = torch.randperm(len(mine), generator=stream(seed, "credit", "parts", name)) % count
        owner[mine] = len(names) + dealt
        names += [f"{name}/{part + 1}" for part in range(count)]
        unions += [name] * count
    seating = f"the images of each contributor in up to {parts} parts"
    return replace(
        data, names=tuple(names), owner=owner, unions=tuple(unions), origin=data, seating=seating
    )


def play_in_groups(data: Contributors, asked: str, *, home: Path) -> Contributors:
    """Groups of contributors as the players; a run has all of a group or none of it.

    `asked` is a CSV file (contributor, group) in `home`, or a number of groups: Ward's clusters of
    the contributors' mean pixels.
    """
    counted = asked.isascii() and asked.isdigit()
    groups, names = choose_groups(asked if counted else str(home / asked), data, PixelEmbedder())
    how = " by like mean pixels" if counted else ""
    seating = f"{len(names)} groups of {data.players} contributors{how}"
    owner = torch.tensor(groups)[data.owner]
    return replace(data, names=names, owner=owner, origin=data, seating=seating)


def join_unions(data: Contributors, table: Path) -> Contributors:
    """The same players in the unions that a CSV file (contributor, group) names."""
    return replace(data, unions=tuple(read_groups(table, data.names)))
