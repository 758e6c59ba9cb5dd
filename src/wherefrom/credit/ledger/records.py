"""What a ledger holds: games, runs by name, what they gave, and what failed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.credit.game import Run


@dataclass(frozen=True)
class GameIdentity:
    """What makes two runs comparable: `spec` (JSON values) is all that decides a run's result.

    It holds the digests of every contributor's data and of the weights, and the whole recipe.
    """

    name: str
    players: int
    spec: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of players and spec; the name is not part of it."""
        return digest_json({"players": self.players, "spec": dict(self.spec)})


@dataclass(frozen=True)
class Outcome:
    """What a run gave: values by property, an error for each property without one, and detail.

    `detail` is JSON values: seconds per stage, digests of what was kept.  `kept` says that what
    was made can be scored again, so that the run counts as done even if no property has a value.
    """

    values: Mapping[str, float]
    errors: Mapping[str, str] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)
    kept: bool = False


class Lease(NamedTuple):
    """A run that this process, and no other, is to make."""

    key: str
    mask: int
    seed: int
    owner: str


class Problem(NamedTuple):
    """Something that failed and was recorded: a run, or one property of it."""

    run: Run
    what: str
    error: str


def run_key(game: str, mask: int, seed: int) -> str:
    """The name of a run: SHA-256 over the game's digest, the mask and the seed, as hex."""
    return hashlib.sha256(f"{game}\x1f{mask:x}\x1f{seed}".encode()).hexdigest()


def sort_out(outcome: Outcome) -> tuple[dict[str, float], dict[str, str]]:
    """Finite values, and an error for every other property."""
    values = {k: float(v) for k, v in outcome.values.items() if np.isfinite(v)}
    errors = {
        k: f"the property gave {float(v)}, expected a finite number"
        for k, v in outcome.values.items()
        if not np.isfinite(v)
    }
    return values, errors | {k: v or "failed" for k, v in outcome.errors.items()}


def changed_names(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of what differs."""
    found, absent = [], object()
    new = json.loads(json.dumps(new))
    for name in sorted({*old, *new}):
        before, after = old.get(name, absent), new.get(name, absent)
        if isinstance(before, dict) and isinstance(after, dict):
            found += changed_names(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name}")
    return found


def as_json(value: Mapping[str, Any]) -> str:
    """Canonical text; an `InputError` for what is not JSON."""
    try:
        return json.dumps(dict(value), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"what a ledger holds must be JSON values: {error}") from error


def digest_json(value: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical text, as hex."""
    return hashlib.sha256(as_json(value).encode()).hexdigest()
