"""Who plays: the contributors themselves, groups of them, or parts of what each of them gave.

The images stay what they are and where they are; only their owners in the game change.  So the full
model of a study is the same whoever plays.
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
    """Each contributor's images dealt by chance into `parts` players, its union.

    Who gave fewer images than that gets one player for each image.
    """
    if parts < 2:
        raise InputError(f"{parts} part of each contributor; give at least 2")
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
    """Groups of contributors as the players, each all in or all out.

    `asked` is a CSV file (contributor, group) in `home`, or a number of groups: then contributors
    whose images have like mean pixels are joined (Ward's clusters).  Nobody looks at shares for it.
    """
    counted = asked.isascii() and asked.isdigit()
    groups, names = choose_groups(asked if counted else str(home / asked), data, PixelEmbedder())
    how = " by like mean pixels" if counted else ""
    seating = f"{len(names)} groups of {data.players} contributors{how}"
    owner = torch.tensor(groups)[data.owner]
    return replace(data, names=names, owner=owner, origin=data, seating=seating)


def join_unions(data: Contributors, table: Path) -> Contributors:
    """The same players, each in the union that a CSV file (contributor, group) names."""
    return replace(data, unions=tuple(read_groups(table, data.names)))
