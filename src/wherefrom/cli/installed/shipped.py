"""The models and encoders inside the package, for `zoo list` and `doctor`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import digest_file
from wherefrom.encoders import load_encoder, shipped_encoders
from wherefrom.generators.zoo.files import read_origin, shipped
from wherefrom.report.pages.tables import Cell, columns_of

SUMS = "SHA256SUMS"
GOOD = "ok"
CHANGED = "changed after packing; install the package again"
UNLISTED = f"not in {SUMS}; install the package again"
ZOO_COLUMNS = columns_of("name | architecture | size:int | width:int | steps:int | seed:int | file")


@dataclass(frozen=True)
class ShippedModel:
    """A shipped generator or encoder; `state` is `ok`, or why it cannot be used.

    `digest`: of a generator's file, or of an encoder's identity, as indexes record it.
    """

    name: str
    path: str
    digest: str
    state: str
    origin: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def row(self) -> tuple[Cell, ...]:
        """Cells for `ZOO_COLUMNS`."""
        config = self.origin.get("config", {})
        facts = (config.get(key) for key in ("architecture", "size", "width", "steps", "seed"))
        return (self.name, *facts, self.state)


def describe_shipped() -> list[ShippedModel]:
    """Every shipped model, its digest compared with the list that was packed beside it."""
    return [_describe(name, path) for name, path in shipped().items()]


def describe_encoders() -> list[ShippedModel]:
    """Every shipped encoder, its files compared with the list that was packed beside them."""
    return [_describe_encoder(name, folder) for name, folder in shipped_encoders().items()]


def _describe(name: str, path: Path) -> ShippedModel:
    origin: dict[str, Any] = {}
    state = _packed_state(path)
    try:
        origin = read_origin(path)
    except InputError as error:
        state = str(error) if state != UNLISTED else state
    return ShippedModel(name, str(path), digest_file(path), state, origin)


def _describe_encoder(name: str, folder: Path) -> ShippedModel:
    packed = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != SUMS]
    states = [_packed_state(path) for path in packed]
    state = next((state for state in states if state != GOOD), GOOD)
    try:
        return ShippedModel(name, str(folder), load_encoder(folder).identity.digest, state)
    except InputError as error:
        return ShippedModel(name, str(folder), "", str(error))


def _packed_state(path: Path) -> str:
    listed = _listed(path.with_name(SUMS)).get(path.name)
    if listed is None:
        return UNLISTED
    return GOOD if listed == digest_file(path) else CHANGED


def _listed(sums: Path) -> dict[str, str]:
    """`sha256sum` lines by file name; empty without the file."""
    if not sums.is_file():
        return {}
    pairs = (line.split(maxsplit=1) for line in sums.read_text().splitlines() if line.strip())
    return {name.lstrip("*"): f"sha256:{digest}" for digest, name in pairs}
