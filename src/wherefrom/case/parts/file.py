"""The case file: the fitted values that images are checked with, as TOML with strict keys.

    schema = 1
    [case]          name, family_error
    [[attributor]]  "did my model make this?", one table for each model
    [[origin]]      an index of references with its calibration
    [[anomaly]]     a calibration on real images
    [[inverter]]    an invertible generator with its calibration of outliers
    [[credit]]      the receipt of a payout, for the model of one attributor

Paths are relative to the file.  Every table holds the digest of what it names, so that an answer
states what it rests on, and anything else at the same path is refused.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wherefrom.core.config import Config, setting
from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.store import digest_bytes, write_file
from wherefrom.data.files.archives import read_file

SCHEMA = 1
MAX_BYTES = 2**20
MAX_PARTS = 64
MAX_NAME = 80
HEAD = "Written by `wherefrom case`; paths are relative to this file."


@dataclass(frozen=True, kw_only=True)
class CaseConfig(Config):
    """The table [case]."""

    name: str = setting("case", "shown in reports")
    family_error: float = setting(
        0.01,
        "chance that an image like the other images is assigned to any of the models, at most",
        low=1e-6,
        high=0.5,
    )


@dataclass(frozen=True, kw_only=True)
class PartConfig(Config):
    """The settings of every part of a case."""

    name: str = setting("", "shown in reports")
    path: str = setting("", "where it is, relative to the case file")
    digest: str = setting("", "what it was when it was added")


@dataclass(frozen=True, kw_only=True)
class AttributorPart(PartConfig):
    """A table [[attributor]]."""


@dataclass(frozen=True, kw_only=True)
class OriginPart(PartConfig):
    """A table [[origin]]."""

    encoder: str = setting("", "where its encoder is; empty: where the index found it")


@dataclass(frozen=True, kw_only=True)
class AnomalyPart(PartConfig):
    """A table [[anomaly]]."""

    encoder: str = setting("", "where its encoder is; empty: where the calibration found it")
    false_alarms: float = setting(0.01, "real images that are flagged, at most", low=1e-6, high=0.5)


@dataclass(frozen=True, kw_only=True)
class InverterPart(PartConfig):
    """A table [[inverter]]."""

    false_alarms: float = setting(
        0.01, "normal images that are flagged, at most", low=1e-6, high=0.5
    )


@dataclass(frozen=True, kw_only=True)
class CreditPart(PartConfig):
    """A table [[credit]]."""

    model: str = setting("", "the attributor whose model the study is about")


KINDS: dict[str, type[PartConfig]] = {
    "attributor": AttributorPart,
    "origin": OriginPart,
    "anomaly": AnomalyPart,
    "inverter": InverterPart,
    "credit": CreditPart,
}


@dataclass(frozen=True)
class Case:
    """A case file that has been read.  `digest`: of its bytes, empty before it is written."""

    path: Path
    config: CaseConfig
    parts: tuple[PartConfig, ...] = ()
    digest: str = ""

    def of(self, kind: str) -> list[PartConfig]:
        """The parts of one kind, in their order."""
        return [part for part in self.parts if type(part) is KINDS[kind]]

    def place(self, part: PartConfig) -> Path:
        """Where a part is."""
        return self.path.parent / part.path

    def adding(self, part: PartConfig, *, overwrite: bool = False) -> Case:
        """The case with one more part; `overwrite`: it replaces the one of its kind and name."""
        same = [p for p in self.parts if type(p) is type(part) and p.name == part.name]
        if same and not overwrite:
            raise InputError(
                f"{show_path(self.path)} has {kind_of(part)} {part.name!r} already; choose another "
                "--name, or pass --overwrite to record it again"
            )
        if not same:
            return replace(self, parts=(*self.parts, part))
        return replace(self, parts=tuple(part if p is same[0] else p for p in self.parts))


def kind_of(part: PartConfig) -> str:
    """The name of the part's table in the file."""
    return next(kind for kind, config in KINDS.items() if type(part) is config)


def relative(path: Path, case: Path) -> str:
    """The path as the case file `case` names it: from its folder, with forward slashes."""
    try:
        shown = os.path.relpath(path.resolve(), case.resolve().parent)
    except ValueError:  # another drive
        return path.resolve().as_posix()
    return Path(shown).as_posix()


def read_case(path: Path) -> Case:
    """Read a case file; an `InputError` names the table and the key that are wrong."""
    shown = show_path(path)
    data = read_file(path, max_bytes=MAX_BYTES)
    try:
        tables = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{shown} is not TOML: {error}") from error
    schema = tables.pop("schema", None)
    if schema != SCHEMA:
        raise ArtifactError(
            f"{shown} has the format {schema!r}, this version reads {SCHEMA}; make it again with "
            "`wherefrom case init`"
        )
    for name in tables:
        if name not in ("case", *KINDS):
            known = ", ".join(("case", *KINDS))
            raise InputError(f"{shown}: there is no table [{name}]; known: {known}")
    try:
        config = CaseConfig.from_dict(tables.get("case", {}))
        parts = tuple(_parts(tables))
    except InputError as error:
        raise InputError(f"{shown}: {error}") from error
    return Case(path, config, parts, digest_bytes(data))


def write_case(case: Case, *, new: bool = False) -> Case:
    """Write the file whole; a `new` one must not be there yet."""
    import tomlkit

    shown = show_path(case.path)
    if new and os.path.lexists(case.path):
        raise InputError(f"{shown} already exists; choose another file")
    document = tomlkit.document()
    document.add(tomlkit.comment(HEAD))
    document["schema"] = SCHEMA
    document["case"] = tomlkit.item(case.config.to_dict())
    for kind in KINDS:
        tables = tomlkit.aot()
        for part in case.of(kind):
            tables.append(tomlkit.item(part.to_dict()))
        if len(tables):
            document[kind] = tables
    text = tomlkit.dumps(document).encode()
    try:
        write_file(case.path, text)
    except OSError as error:
        raise InputError(f"cannot write {shown}: {error.strerror or error}") from error
    return replace(case, digest=digest_bytes(text))


def _parts(tables: Mapping[str, Any]) -> Iterator[PartConfig]:
    """The parts in the order of `KINDS`; names are one printable line, each once per kind."""
    for kind, config in KINDS.items():
        entries = tables.get(kind, [])
        if not isinstance(entries, list) or len(entries) > MAX_PARTS:
            raise InputError(f"{kind} must be tables [[{kind}]], at most {MAX_PARTS}")
        names = set()
        for entry in entries:
            part = config.from_dict(entry)
            refuse_name(part.name)
            if not part.path or not part.digest:
                raise InputError(f"[[{kind}]] {part.name} lacks its path or its digest")
            if part.name in names:
                raise InputError(f"two [[{kind}]] are called {part.name!r}")
            names.add(part.name)
            yield part


def refuse_name(name: str) -> None:
    """An `InputError` for a name that does not fit on one line."""
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise InputError(
            f"the name {name[: MAX_NAME + 1]!r} is empty, longer than {MAX_NAME} characters, or "
            "holds control characters; choose another one"
        )
