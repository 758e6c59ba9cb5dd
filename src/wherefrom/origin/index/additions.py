"""What an addition to the index amounts to, decided before anything is written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wherefrom.core.errors import InputError
from wherefrom.data.files.opening import show_path
from wherefrom.origin.index.manifest import NewImage
from wherefrom.origin.index.places import absolute_names
from wherefrom.origin.index.result import AddResult

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Ledger(Protocol):
    """What is there already: a manifest, or what stands for one."""

    def live_paths(self, paths: Iterable[bytes]) -> dict[bytes, tuple[int, str]]:
        """(id, digest) of the images among `paths`."""
        ...

    def live_digests(self, digests: Iterable[str]) -> dict[str, int]:
        """The first image of each digest that has one."""
        ...


@dataclass(frozen=True)
class Plan:
    """What to write, and what to answer.

    `images` are new; image i is the item `given[i]` of the call.  `answers` has an entry per item:
    the id that it already has, or the negative number ~i of its new image.
    `earlier[i]`: the item with the digest of image i that came before it, as in `answers`.
    """

    images: list[NewImage]
    given: list[int]
    replaced: list[int]
    answers: list[int]
    earlier: dict[int, int]


def checked_names(paths: Sequence[str | os.PathLike[str]], digests: Sequence[str]) -> list[bytes]:
    """The absolute paths as bytes; an `InputError` naming what cannot be added."""
    if isinstance(paths, str) or len(paths) != len(digests):
        raise InputError(
            f"{len(paths)} paths came with {len(digests)} digests; give one digest for each path"
        )
    for given in map(os.fsencode, paths):
        if not given or b"\0" in given:
            raise InputError(f"{os.fsdecode(given)!r} is not the path of a file; leave it out")
    names = absolute_names(paths)
    seen: dict[bytes, str] = {}
    for name, digest in zip(names, digests, strict=True):
        shown = show_path(Path(os.fsdecode(name)))
        if not DIGEST.fullmatch(digest):
            raise InputError(f"{shown}: its digest is {digest!r}, expected sha256:<64 hex digits>")
        if seen.setdefault(name, digest) != digest:
            raise InputError(f"{shown} is given twice with different digests; give it once")
    return names


def plan(names: Sequence[bytes], digests: Sequence[str], ledger: Ledger) -> Plan:
    """Compare what is given with what is there."""
    there = ledger.live_paths(set(names))
    copies = ledger.live_digests(set(digests))
    made = Plan([], [], [], [], {})
    mine: dict[bytes, int] = {}
    for item, (name, digest) in enumerate(zip(names, digests, strict=True)):
        known = there.get(name)
        if known is not None and known[1] == digest:
            made.answers.append(known[0])
        elif name in mine:
            made.answers.append(mine[name])
        else:
            number = len(made.images)
            made.images.append(NewImage(name, digest, number))
            made.given.append(item)
            made.answers.append(~number)
            mine[name] = ~number
            if known is not None:
                made.replaced.append(known[0])
            if digest in copies:
                made.earlier[number] = copies[digest]
            copies.setdefault(digest, ~number)
    gone = set(made.replaced)
    for number in [n for n, other in made.earlier.items() if other in gone]:
        del made.earlier[number]
    return made


def result(plan: Plan, fresh: Sequence[int]) -> AddResult:
    """The answer, once the new images have the ids `fresh`."""

    def id_of(answer: int) -> int:
        return fresh[~answer] if answer < 0 else answer

    return AddResult(
        ids=tuple(map(id_of, plan.answers)),
        added=len(fresh),
        unchanged=len(plan.answers) - len(fresh),
        replaced=len(plan.replaced),
        duplicates={fresh[number]: id_of(other) for number, other in plan.earlier.items()},
    )
