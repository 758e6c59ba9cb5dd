"""Players that are not the contributors: groups of them, or parts of each one's images.

Only the owners of the images change, not the images or their order.  So the full model of a study
is the same for all of these.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.credit.contributors.grouping import choose_groups, read_groups
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.properties import PixelEmbedder


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
