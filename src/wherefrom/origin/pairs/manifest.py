"""A pairs folder: origins, and what editors made of them, as one line of JSON per edit.

`pairs.jsonl` is the manifest and `edits/` holds the pictures.  A line is appended once its picture
is on disk.  A last line that was cut short, as by a killed writer, does not count.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import typing
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Any, Self

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.store import flush_file, write_file
from wherefrom.data.files.archives import digest_anywhere, read_file
from wherefrom.data.files.opening import SkippedFile, UnusableFile

MANIFEST_NAME = "pairs.jsonl"
EDITS_NAME = "edits"
UNKNOWN_MODEL = "unknown"
MAX_MANIFEST_BYTES = 4 * 2**30
# How an editor sees the origin.  One that never sees its latent leaves no trace of it (the paper,
# Section 13 and Table 9).
IMAGE_TO_IMAGE, IP_ADAPTER = "image-to-image", "ip-adapter"
OUT_OF_SCOPE = (IP_ADAPTER,)


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """One edit.  What is not known of an edit made elsewhere is None."""

    id: str
    origin: str  # relative to the pairs folder if inside it, else absolute
    origin_digest: str
    prompt: str | None = None
    caption: str | None = None  # what the prompt quotes of the origin's description
    captioner: str | None = None  # what described it
    captioner_digest: str | None = None
    negative: str | None = None
    model: str = UNKNOWN_MODEL
    model_digest: str | None = None  # of the whole folder
    pipeline: str | None = None  # the class that ran
    paradigm: str | None = None  # how it saw the origin
    adapter_scale: float | None = None  # weight of the origin in an IP-Adapter
    dtype: str | None = None
    strength: float | None = None  # None also where the class has none
    steps: int | None = None
    guidance: float | None = None
    image_guidance: float | None = None
    scheduler: str | None = None
    seed: int | None = None
    size: int | None = None  # side of the square that the origin became, in px
    edit: str  # relative to the pairs folder, always inside it
    edit_digest: str

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Any, where: str) -> Self:
        """The inverse of `to_dict`; `where` names the line in the `InputError` it may raise."""
        if not isinstance(values, Mapping):
            raise InputError(f"{where} is no JSON object; make the pairs again")
        kinds = _kinds()
        for name in values:
            if name not in kinds:
                raise InputError(
                    f"{where} has the unknown entry {name!r}; known: {', '.join(kinds)}"
                )
        for field in dataclasses.fields(cls):
            given = values.get(field.name, field.default)
            if given is dataclasses.MISSING:
                raise InputError(f"{where} has no entry {field.name!r}; make the pairs again")
            if type(given) not in kinds[field.name]:
                wanted = " or ".join(kind.__name__ for kind in kinds[field.name])
                raise InputError(f"{where}: {field.name} is {given!r:.60}, expected {wanted}")
        return cls(**values)


@dataclass(frozen=True, eq=False)
class PairsManifest:
    """The edits of a folder and the origins they were made from.

    `skipped` names each photo or edit that could not be used, and why; only a manifest that was
    just made has any.  Rows with equal origin digests have one origin.
    """

    folder: Path
    rows: tuple[PairRow, ...]
    skipped: tuple[SkippedFile, ...] = ()

    @cached_property
    def origins(self) -> tuple[Path, ...]:
        """Each origin once, in order of first appearance."""
        first: dict[str, Path] = {}
        for row in self.rows:
            first.setdefault(row.origin_digest, self.folder / row.origin)
        return tuple(first.values())

    @cached_property
    def edits(self) -> tuple[Path, ...]:
        """The picture of each row."""
        return tuple(self.folder / row.edit for row in self.rows)

    @cached_property
    def owner(self) -> tuple[int, ...]:
        """For each row the position of its origin in `origins`."""
        place: dict[str, int] = {}
        return tuple(place.setdefault(row.origin_digest, len(place)) for row in self.rows)

    @cached_property
    def origin_of(self) -> tuple[Path, ...]:
        """The origin of each row."""
        return tuple(self.origins[number] for number in self.owner)

    @cached_property
    def model_of(self) -> tuple[str, ...]:
        """For each row the name of the model; models of one name get a piece of their digest.

        One of a paradigm that the method does not cover says so in its name.
        """
        digests: dict[str, set[str | None]] = {}
        for row in self.rows:
            digests.setdefault(row.model, set()).add(row.model_digest)
        return tuple(_model_name(row, len(digests[row.model]) == 1) for row in self.rows)

    @cached_property
    def out_of_scope(self) -> int:
        """How many edits are of a paradigm that the method does not cover."""
        return sum(row.paradigm in OUT_OF_SCOPE for row in self.rows)


def read_pairs(folder: Path, *, verify: bool = True, track: Track = quiet) -> PairsManifest:
    """The manifest of a pairs folder; with `verify` every origin and edit is digested and compared.

    A missing or broken manifest, an edit outside the folder or listed twice, a file that is missing
    or has changed: each is an `InputError` of one line.
    """
    folder = Path(folder)
    rows, _ = scan_manifest(folder)
    if not rows:
        raise InputError(
            f"{show_path(folder / MANIFEST_NAME)} lists no edit; build the pairs first"
        )
    manifest = PairsManifest(folder, rows)
    if verify:
        known: dict[Path, str] = {}
        for row in track(rows, "checking pairs", total=len(rows)):
            _verify(folder / row.origin, row.origin_digest, "origin", known)
            _verify(folder / row.edit, row.edit_digest, "edit", known)
    return manifest


def write_pairs(manifest: PairsManifest, *, overwrite: bool = False) -> Path:
    """Write the manifest into its folder, whole or not at all; an `InputError` if there is one."""
    path = manifest.folder / MANIFEST_NAME
    if os.path.lexists(path) and not overwrite:
        raise InputError(f"{show_path(path)} already exists; move it away, or ask to overwrite it")
    replace_manifest(manifest.folder, manifest.rows)
    return path


def scan_manifest(folder: Path) -> tuple[tuple[PairRow, ...], bool]:
    """The rows of a manifest, and whether it ends well: False if its last line was cut short."""
    path = folder / MANIFEST_NAME
    try:
        data = read_file(path, max_bytes=MAX_MANIFEST_BYTES)
    except UnusableFile as error:
        raise InputError(
            f"{show_path(folder)} is no pairs folder: {MANIFEST_NAME} {error.reason}"
        ) from error
    *lines, tail = data.split(b"\n")
    with suppress(InputError):  # of a last line that was cut short
        _parse(tail, MANIFEST_NAME)
        lines.append(tail)
    rows: list[PairRow] = []
    first_use: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{show_path(path)}, line {number}"
        row = PairRow.from_dict(_parse(line, where), where)
        _require_inside(folder, row, where)
        if row.edit in first_use:
            raise InputError(
                f"{where} lists the edit {row.edit!r} a second time, after line "
                f"{first_use[row.edit]}; remove one of the two"
            )
        first_use[row.edit] = number
        rows.append(row)
    return tuple(rows), not tail


def replace_manifest(folder: Path, rows: Iterable[PairRow]) -> None:
    """Put a manifest of exactly these rows in place, whole or not at all."""
    path = folder / MANIFEST_NAME
    try:
        write_file(path, b"".join(_line(row.to_dict()) for row in rows))
    except OSError as error:
        raise InputError(f"cannot write {show_path(path)}: {error.strerror}") from error


def append_line(path: Path, values: Mapping[str, Any]) -> None:
    """Add one line of JSON to a file; it is on disk when this returns."""
    try:
        with path.open("ab") as file:
            file.write(_line(values))
            file.flush()
            flush_file(file.fileno())
    except OSError as error:
        raise InputError(f"cannot write {show_path(path)}: {error.strerror}") from error


def origin_entry(origin: Path, folder: Path) -> str:
    """An origin's path as a row names it."""
    full, home = origin.resolve(), folder.resolve()
    inside = full.is_relative_to(home)
    return full.relative_to(home).as_posix() if inside else str(full)


def _line(values: Mapping[str, Any]) -> bytes:
    # ASCII, so that any file name survives, even one that is no text.
    return json.dumps(values, allow_nan=False).encode("ascii") + b"\n"


def _parse(line: bytes, where: str) -> Any:
    try:
        return json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{where} is not JSON ({error}); remove that line, or make the pairs again"
        ) from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _require_inside(folder: Path, row: PairRow, where: str) -> None:
    paths = {"edit": row.edit} | ({} if Path(row.origin).is_absolute() else {"origin": row.origin})
    for name, path in paths.items():
        # By its name: a link inside the folder may lead to where the picture is kept.
        if Path(path).is_absolute() or ".." in Path(path).parts or "\0" in path:
            raise InputError(
                f"{where}: the {name} {path!r} lies outside {show_path(folder)}; "
                "move it inside, and name it relative to the folder"
            )


def _verify(path: Path, digest: str, what: str, known: dict[Path, str]) -> None:
    if path not in known:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise InputError(f"the {what} {show_path(path)} is no file; build the pairs again")
        try:
            known[path] = digest_anywhere(path)
        except OSError as error:
            raise InputError(
                f"the {what} {show_path(path)} cannot be read: {error.strerror}; put it back, or "
                "build the pairs again"
            ) from error
    if known[path] != digest:
        raise InputError(
            f"the {what} {show_path(path)} has changed: its digest is {_brief(known[path])}, the "
            f"manifest says {_brief(digest)}; put the file back, or build the pairs again"
        )


def _model_name(row: PairRow, is_unique: bool) -> str:
    name = row.model if is_unique else f"{row.model}@{_brief(row.model_digest)}"
    return f"{name} ({row.paradigm}: out of scope)" if row.paradigm in OUT_OF_SCOPE else name


def _brief(digest: str | None) -> str:
    return "unknown" if digest is None else digest.removeprefix("sha256:")[:12]


@functools.cache
def _kinds() -> dict[str, tuple[type, ...]]:
    """For each entry of a row the types it may have; a whole number passes for a float."""
    hints = typing.get_type_hints(PairRow)
    kinds = {}
    for name, hint in hints.items():
        types = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
        kinds[name] = (*types, int) if float in types else types
    return kinds
