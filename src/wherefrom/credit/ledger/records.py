"""The records of a ledger: the game, the outcome of a run, leases and failures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from wherefrom.core.saving.json_text import digest_json
from wherefrom.credit.ledger.game import Run


@dataclass(frozen=True)
class GameIdentity:
    """The identity of a game: runs of one identity are comparable.

    `spec`, JSON values, is everything that determines a run's result: digests of each contributor's
    data and of the weights, and all settings.
    """

    name: str
    players: int
    spec: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of players and spec, without the name."""
        return digest_json({"players": self.players, "spec": dict(self.spec)})


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run: values by property, an error for each other property, and details.

    `detail`: JSON values, as seconds per stage and digests of the output.  `rescorable`: the output
    is saved and can be measured again, so the run is done even if no property has a value.
    """

    values: Mapping[str, float]
    errors: Mapping[str, str] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)
    rescorable: bool = False


class Lease(NamedTuple):
    """The right to make one run, which no other process has until the lease ends."""

    key: str
    mask: int
    seed: int
    owner: str


class Problem(NamedTuple):
    """A recorded failure of a run, or of one property of it."""

    run: Run
    what: str
    error: str


def run_key(game: str, mask: int, seed: int) -> str:
    """The key of a run: SHA-256 over the game's digest, the mask and the seed, as hex."""
    return hashlib.sha256(f"{game}\x1f{mask:x}\x1f{seed}".encode()).hexdigest()


def sort_out(outcome: Outcome) -> tuple[dict[str, float], dict[str, str]]:
    """The finite values of an outcome, and an error for every other property."""
    values = {k: float(v) for k, v in outcome.values.items() if np.isfinite(v)}
    errors = {
        k: f"the property gave {float(v)}, expected a finite number"
        for k, v in outcome.values.items()
        if not np.isfinite(v)
    }
    return values, errors | {k: v or "failed" for k, v in outcome.errors.items()}


def changed_names(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the entries that differ."""
    names, absent = list[str](), object()
    new = json.loads(json.dumps(new))
    for name in sorted({*old, *new}):
        before, after = old.get(name, absent), new.get(name, absent)
        if isinstance(before, dict) and isinstance(after, dict):
            names += changed_names(before, after, f"{prefix}{name}.")
        elif before != after:
            names.append(f"{prefix}{name}")
    return names
