"""The models inside the package, as rows for `zoo list` and `doctor`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wherefrom.core.errors import InputError
from wherefrom.core.store import digest_file
from wherefrom.generators.zoo_files import read_origin, shipped
from wherefrom.report.tables import Cell, Column

SUMS = "SHA256SUMS"
ZOO_COLUMNS = (
    Column("name"),
    Column("architecture"),
    Column("size", numeric=True),
    Column("width", numeric=True),
    Column("steps", numeric=True),
    Column("seed", numeric=True),
    Column("file"),
)


@dataclass(frozen=True)
class ShippedModel:
    """One shipped file.  `state` is `ok`, or what is wrong with it."""

    name: str
    path: str
    digest: str
    state: str
    origin: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def row(self) -> tuple[Cell, ...]:
        """Cells for `ZOO_COLUMNS`."""
        config = self.origin.get("config", {})
        facts = (config.get(key) for key in ("architecture", "size", "width", "steps", "seed"))
        return (self.name, *facts, self.state)


def describe_shipped() -> list[ShippedModel]:
    """Every shipped model, its digest compared with the list that was packed beside it."""
    return [_describe(name, path) for name, path in shipped().items()]


def _describe(name: str, path: Path) -> ShippedModel:
    digest = digest_file(path)
    listed = _listed(path.with_name(SUMS)).get(path.name)
    origin: dict[str, Any] = {}
    try:
        origin = read_origin(path)
        state = "ok" if listed == digest else "changed after packing; install the package again"
    except InputError as error:
        state = str(error)
    if listed is None:
        state = f"not in {SUMS}; install the package again"
    return ShippedModel(name, str(path), digest, state, origin)


def _listed(sums: Path) -> dict[str, str]:
    """`sha256sum` lines by file name; empty without the file."""
    if not sums.is_file():
        return {}
    pairs = (line.split(maxsplit=1) for line in sums.read_text().splitlines() if line.strip())
    return {name.lstrip("*"): f"sha256:{digest}" for digest, name in pairs}
