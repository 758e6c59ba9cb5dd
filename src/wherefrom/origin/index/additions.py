"""Plan what adding images to an index will write and return, before anything is written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.origin.index.manifest import NewImage, as_json
from wherefrom.origin.index.places import absolute_names
from wherefrom.origin.index.result import AddResult

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class KnownImages(Protocol):
    """Which images an index holds already: `Manifest`, or an index on Milvus."""

    def live_paths(self, paths: Iterable[bytes]) -> dict[bytes, tuple[int, str]]:
        """(id, digest) of the images among `paths`."""

    def live_digests(self, digests: Iterable[str]) -> dict[str, int]:
        """The first image of each digest that has one."""


@dataclass(frozen=True)
class AdditionPlan:
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


def refuse_shape(vectors: Tensor, wanted: tuple[int | None, int], where: str) -> None:
    """An `InputError` unless vectors are floats of shape `wanted`, where None is any number."""
    rows, dim = wanted
    shape = tuple(vectors.shape)
    expected = len(vectors) if rows is None and shape else rows, dim
    if not vectors.is_floating_point() or shape != expected:
        number = "any number" if rows is None else rows
        raise InputError(
            f"the vectors are {vectors.dtype} of shape {shape}, but {where} takes floats of shape "
            f"({number}, {dim}); use the encoder it was built with"
        )


def require_built_with(
    built: tuple[int, Mapping[str, Any]],
    dim: int | None,
    identity: Mapping[str, Any] | None,
    where: str,
) -> None:
    """An `InputError` if an index was `built` with another dimension or identity than is given."""
    for what, actual, wanted in (
        ("dimension", built[0], dim),
        ("identity", as_json(built[1]), identity and as_json(identity)),
    ):
        if wanted is not None and actual != wanted:
            raise InputError(
                f"{where} holds vectors of {what} {actual}, not {wanted}; use what it was built "
                "with, or build another index"
            )


def plan_addition(
    names: Sequence[bytes], digests: Sequence[str], known: KnownImages
) -> AdditionPlan:
    """Compare the images that are given with those that the index holds."""
    there = known.live_paths(set(names))
    copies = known.live_digests(set(digests))
    plan = AdditionPlan([], [], [], [], {})
    mine: dict[bytes, int] = {}
    for item, (name, digest) in enumerate(zip(names, digests, strict=True)):
        earlier = there.get(name)
        if earlier is not None and earlier[1] == digest:
            plan.answers.append(earlier[0])
        elif name in mine:
            plan.answers.append(mine[name])
        else:
            number = len(plan.images)
            plan.images.append(NewImage(name, digest, number))
            plan.given.append(item)
            plan.answers.append(~number)
            mine[name] = ~number
            if earlier is not None:
                plan.replaced.append(earlier[0])
            if digest in copies:
                plan.earlier[number] = copies[digest]
            copies.setdefault(digest, ~number)
    gone = set(plan.replaced)
    for number in [n for n, other in plan.earlier.items() if other in gone]:
        del plan.earlier[number]
    return plan


def addition_result(plan: AdditionPlan, fresh: Sequence[int]) -> AddResult:
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
