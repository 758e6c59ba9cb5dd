"""The receipt of a payout: every record from the data to the money, and the chain over them.

A receipt is checked in three ways: by its own digests, against the files that were written with it,
and against the study, by making it again from the runs that it rests on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.saving.store import digest_bytes, digest_file
from wherefrom.credit.estimators.tables import checked
from wherefrom.credit.ledger.game import RunTable, mask_of
from wherefrom.credit.payout.division import Payout
from wherefrom.credit.result import Shares

START = digest_bytes(b"wherefrom credit chain 1")
KIND = "wherefrom credit receipt"
SCHEMA = 3
STUDY = ("contributors", "game", "property")
RECORDS = ("earlier", *STUDY, "runs", "shares", "payout", "files")
SETTLED = "settled.json"  # a copy of the receipt that a later one settles
FILES = ("payout.csv", "payout.html", SETTLED)  # what is written beside a receipt
SETTINGS = ("property", "pool", "currency", "method", "level", "policy", "balances")
COMPUTED = ("shares", "payout")  # records whose fractions are computed from the runs again
# Between processors, least squares in double precision differ by about 1e-16 times the condition of
# the weighted design, which is below 1e6.
ROUNDING = 1e-9
MAX_BYTES = 256 * 2**20


def make_receipt(
    study: Mapping[str, Any],
    *,
    table: RunTable,
    shares: Shares,
    payout: Payout,
    settings: Mapping[str, Any],
    earlier: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The receipt as JSON values; its record of files is empty (`with_files`).

    `study` has the records `STUDY`: the names of the contributors, the game with the digests of the
    data and the recipe, and the property.  `settings` is what the payout was asked for, so that it
    can be asked for again.  `earlier` is the receipt that is settled (`of_study.earlier_of`).
    """
    bodies = {
        "earlier": dict(earlier or {}),
        **{name: study[name] for name in STUDY},
        "runs": _rows(table),
        "shares": shares.to_dict(),
        "payout": payout.to_dict() | {"settings": dict(settings)},
        "files": {},
    }
    return _sealed(bodies)


def runs_digest(table: RunTable) -> str:
    """SHA-256 of the runs as a receipt lists them; cents that tie are drawn from it."""
    return digest_bytes(canonical(_rows(table)))


def _rows(table: RunTable) -> list[list[Any]]:
    runs = checked(table)
    rows = zip(runs.masks, runs.seeds, runs.values, strict=True)
    return [[f"{mask_of(row):x}", int(seed), float(value)] for row, seed, value in rows]


def with_files(receipt: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """The receipt with the digests of the files that are written beside it."""
    digests = {name: digest_bytes(content) for name, content in files.items()}
    return _sealed({**receipt["records"], "files": digests})


def _sealed(bodies: Mapping[str, Any]) -> dict[str, Any]:
    records = [(name, bodies[name]) for name in RECORDS]
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "records": dict(bodies),
        "chain": [asdict(link) for link in build_chain(records)],
    }


def read_receipt(path: Path) -> dict[str, Any]:
    """Read a receipt file; an `ArtifactError` names the record that was changed."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ArtifactError(f"{path} is larger than {MAX_BYTES} bytes and no receipt")
        receipt = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged (not JSON: {error})") from error
    good = isinstance(receipt, dict) and receipt.get("kind") == KIND
    if not good or receipt.get("schema") != SCHEMA:
        raise ArtifactError(f"{path} is no receipt of a payout of format {SCHEMA}")
    records, chain = receipt.get("records"), receipt.get("chain")
    shaped = isinstance(records, dict) and set(records) == set(RECORDS) and isinstance(chain, list)
    if not shaped or not all(isinstance(link, dict) for link in chain):
        raise ArtifactError(f"{path} lacks records or links")
    try:
        verify_chain([(name, records[name]) for name in RECORDS], chain)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    return dict(receipt)


def settings_of(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the payout, as `SETTINGS`; an `ArtifactError` where they are missing."""
    paid = receipt["records"]["payout"]
    settings = paid.get("settings") if isinstance(paid, Mapping) else None
    if not isinstance(settings, Mapping) or set(settings) != set(SETTINGS):
        raise ArtifactError("the receipt does not say what its payout was asked for; it is forged")
    return dict(settings)


def runs_of(receipt: Mapping[str, Any], table: RunTable) -> RunTable:
    """The runs that a receipt rests on, out of all that the ledger has of its property now.

    `InputError` where one is absent or has another value.
    """
    known = {
        (mask_of(row), int(seed)): j
        for j, (row, seed) in enumerate(zip(table.masks, table.seeds, strict=True))
    }
    chosen = []
    for mask, seed, value in _listed(receipt):
        place = known.get((mask, seed))
        if place is None:
            raise InputError(
                f"the ledger lacks the run of subset {mask:x} with seed {seed} that the receipt "
                "rests on; check it against the ledger it was made from"
            )
        recorded = float(table.values[place])
        if recorded != value:
            raise InputError(
                f"the run of subset {mask:x} with seed {seed} has the value {value!r} in the "
                f"receipt, and {recorded!r} in the ledger; one of them was changed"
            )
        chosen.append(place)
    return table.at(chosen)


def _listed(receipt: Mapping[str, Any]) -> list[tuple[int, int, float]]:
    try:
        listed = receipt["records"]["runs"]
        return [(int(mask, 16), int(seed), float(value)) for mask, seed, value in listed]
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"the receipt's list of runs is malformed ({error})") from error


def check_files(receipt: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Names of the receipt's files that lie in the folder, unchanged; `InputError` for another."""
    files = receipt["records"]["files"]
    if not isinstance(files, Mapping) or not set(files) <= set(FILES):
        raise ArtifactError(f"the receipt names other files than {', '.join(FILES)}; it is forged")
    present = tuple(name for name in FILES if name in files and (folder / name).is_file())
    for name in present:
        if digest_file(folder / name) != files[name]:
            raise InputError(
                f"{folder / name} is not the file that was written with the receipt; "
                "it was changed or belongs to another payout"
            )
    return present


def compare_receipts(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first record in which a receipt and one made again differ; empty where none does.

    Fractions that were computed may differ by `ROUNDING`, as another processor's do; everything
    else, amounts of money and measured values among it, must be equal.  Files are not made again
    (`check_files`).
    """
    for name in RECORDS[:-1]:
        same = _same_computed if name in COMPUTED else _same
        if not same(old["records"][name], new["records"][name]):
            return name
    return ""


def _same(a: Any, b: Any) -> bool:
    return canonical(a) == canonical(b)


def _same_computed(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return set(a) == set(b) and all(_same_computed(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same_computed, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return _same(a, b)


def balances_of(receipt: Mapping[str, Any]) -> dict[str, int]:
    """The balance of every contributor, which the next round takes over, in the smallest unit."""
    return column_of(receipt, "balance")


def column_of(receipt: Mapping[str, Any], *columns: str) -> dict[str, int]:
    """The sum of columns of the payout's table by contributor, in the smallest unit."""
    try:
        payments = receipt["records"]["payout"]["payments"]
        return {each["name"]: sum(int(each[name]) for name in columns) for each in payments}
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the receipt's payments are malformed ({error!r})") from error


@dataclass(frozen=True)
class Link:
    """One record of the chain: `digest` covers the name, the record's content and `previous`."""

    name: str
    content: str
    previous: str
    digest: str


def canonical(value: Any) -> bytes:
    """One byte string per JSON value: sorted names, no spaces, UTF-8.  NaN is a `ValueError`."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def build_chain(records: Sequence[tuple[str, Any]]) -> tuple[Link, ...]:
    """Links for named records (JSON values), in order."""
    links: list[Link] = []
    for name, record in records:
        previous = links[-1].digest if links else START
        content = digest_bytes(canonical(record))
        links.append(Link(name, content, previous, _digest(name, content, previous)))
    return tuple(links)


def verify_chain(records: Sequence[tuple[str, Any]], links: Sequence[Mapping[str, str]]) -> str:
    """The last digest, if the links are those of the records; else an `ArtifactError`.

    It names the first record that is not what it was when the chain was made.
    """
    built = build_chain(records)
    if len(built) != len(links):
        raise ArtifactError(
            f"the chain has {len(links)} links for {len(built)} records; records were added or "
            "removed after it was made"
        )
    for new, old in zip(built, links, strict=True):
        if new.name != old.get("name") or new.content != old.get("content"):
            raise ArtifactError(f"the record {new.name!r} was changed after the chain was made")
        if (new.previous, new.digest) != (old.get("previous"), old.get("digest")):
            raise ArtifactError(f"the chain itself was changed at {new.name!r}")
    return built[-1].digest if built else START


def _digest(name: str, content: str, previous: str) -> str:
    return digest_bytes(canonical([name, content, previous]))
