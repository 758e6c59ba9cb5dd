"""Contributors and their images, read from folders or from a CSV table.

A contributor without a usable image is an error, and so is a study with fewer than two.  An image
that two contributors both gave counts for both, and is reported.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.paths import is_system_name, looks, show_path, unwritable
from wherefrom.core.progress import Track, add_note, quiet
from wherefrom.core.saving.store import digest_bytes
from wherefrom.credit.ledger.game import Bools
from wherefrom.data.batches import BatchOptions, read_files
from wherefrom.data.files.archives import has_archive_name, without_suffix
from wherefrom.data.files.kinds import IMAGE_SUFFIXES
from wherefrom.data.files.listing import holds_images
from wherefrom.data.folders import list_images, subfolders
from wherefrom.data.tables.annotations import MAX_CLASSES, captions_beside
from wherefrom.data.tables.matching_names import find_file
from wherefrom.data.tables.records import (
    CLASS_COLUMNS,
    FILE_COLUMNS,
    PROMPT_COLUMNS,
    Records,
    read_records,
)


@dataclass(frozen=True)
class ImageCondition:
    """Label and prompt of one image; the label None stands for the contributor's number."""

    label: int | None = None
    prompt: str = ""


@dataclass(frozen=True, eq=False)
class Contributors:
    """The players of a game and their images, all in one batch.

    `images`: uint8 (N, C, H, W).  `owner`: int64 (N,), the player who gave each.  `labels`: int64
    (N,), the condition of each, by default its owner.  `prompts`: one text per image, or empty.
    `skipped`: every file that was left out, and why.  `shared`: (first, second, count) for pairs
    of contributors who both gave `count` images with the same pixels.
    Where the players are groups or parts of contributors, `origin` holds the contributors and
    `seating` says how the players were formed.  `unions`: each player's union for Owen values, or
    empty.
    """

    names: tuple[str, ...]
    images: Tensor
    owner: Tensor
    labels: Tensor
    paths: tuple[Path, ...]
    prompts: tuple[str, ...] = ()
    skipped: tuple[tuple[Path, str], ...] = ()
    shared: tuple[tuple[str, str, int], ...] = ()
    origin: Contributors | None = None
    seating: str = ""
    unions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            alone = "".join(f" (there is only {name!r})" for name in self.names)
            raise InputError(
                f"there is {len(self.names)} contributor; credit is shared among at least 2{alone}"
            )
        refuse_names(self.names)
        counts = self.counts()
        for name, count in zip(self.names, counts.tolist(), strict=True):
            if not count:
                raise InputError(f"the contributor {name!r} has no usable image; leave it out")

    @property
    def players(self) -> int:
        """n."""
        return len(self.names)

    def counts(self) -> Tensor:
        """How many images each gave, int64 (n,)."""
        return torch.bincount(self.owner, minlength=len(self.names))

    def chosen(self, members: Bools) -> Tensor:
        """Indices of the images of a subset, int64, in order."""
        mask = torch.from_numpy(np.asarray(members, dtype=bool))
        return torch.nonzero(mask[self.owner]).flatten()

    def digests(self) -> dict[str, str]:
        """SHA-256 over pixels, labels and prompts of each contributor, by name."""
        if self.origin is not None:
            return self.origin.digests()
        digests = {}
        for player, name in enumerate(self.names):
            total = hashlib.sha256(str(tuple(self.images.shape[1:])).encode())
            for index in torch.nonzero(self.owner == player).flatten().tolist():
                total.update(self.images[index].numpy().tobytes())
                prompt = self.prompts[index] if self.prompts else ""
                total.update(f"|{int(self.labels[index])}|{prompt}|".encode())
            digests[name] = "sha256:" + total.hexdigest()
        return digests

    def members(self) -> dict[str, tuple[str, ...]]:
        """The contributors whose images each player has, by the player's name."""
        origin = self if self.origin is None else self.origin
        return {
            name: tuple(
                origin.names[i] for i in sorted(set(origin.owner[self.owner == player].tolist()))
            )
            for player, name in enumerate(self.names)
        }

    def seats(self) -> dict[str, str]:
        """A digest of each player's choice of images; empty where players are contributors."""
        if self.origin is None:
            return {}
        return {
            name: digest_bytes(torch.nonzero(self.owner == player).numpy().tobytes())
            for player, name in enumerate(self.names)
        }


def contributors_from_folders(
    root: Path, *, channels: int, size: int, resize: bool = True, track: Track = quiet
) -> Contributors:
    """One contributor per folder or archive in `root`, named after it, in order of the names.

    `root` may be an archive with a folder per contributor.  Images are square, of side `size`; with
    `resize` others are cropped and scaled, without it they are skipped.  An image's prompt is the
    caption beside it (`data.tables.annotations`).
    """
    given: dict[str, dict[Path, ImageCondition]] = {}
    for name, files in _files_of_each(root).items():
        captions = captions_beside(files, root)
        given[name] = {path: ImageCondition(prompt=captions.get(path, "")) for path in files}
    return _gather(given, channels=channels, size=size, resize=resize, track=track)


def _files_of_each(root: Path) -> dict[str, list[Path]]:
    if root.is_dir():
        given = {folder.name: _images_in(folder, folder.name) for folder in subfolders(root)}
        unowned = []
        for path in _files_in(root):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                unowned.append(path.name)
            if not (has_archive_name(path) or holds_images(path)):
                continue
            name = without_suffix(path)
            if name in given:
                raise InputError(f"{show_path(root)} has a folder and an archive of {name!r}")
            given[name] = _images_in(path, name)
        _note_unowned(root, unowned)
        return given
    if not holds_images(root):
        raise InputError(
            f"{show_path(root)} is not a folder; give one with a folder per contributor"
        )
    given = {}
    for path in list_images([root]):
        parts = path.relative_to(root).parts
        if len(parts) < 2:
            raise InputError(f"{show_path(path)} lies in no contributor's folder; put it into one")
        given.setdefault(parts[0], []).append(path)
    return given


def contributors_from_csv(
    table: Path,
    *,
    channels: int,
    size: int,
    resize: bool = True,
    root: Path | None = None,
    track: Track = quiet,
) -> Contributors:
    """Contributors from a table with the columns path (or file_name) and contributor.

    A relative path starts at `root`, by default the table's folder.  The optional columns label (a
    whole number from 0, or names of classes) and prompt (or caption, text) give an image's
    condition, for each contributor who gave it.  A note names other columns.
    """
    home = table.parent if root is None else root
    records, columns = _columns_of(table)
    numbers = _label_numbers(records, columns["label"])
    given: dict[str, dict[Path, ImageCondition]] = {}
    there: set[tuple[str, str]] = set()  # one file by two paths would count twice
    for record in records.rows:
        cells = {
            role: record.cells[column].strip() if column else "" for role, column in columns.items()
        }
        where = f"{show_path(table)}, line {record.line}"
        name, written = cells["contributor"], record.cells[columns["path"] or ""]
        if not name:
            raise InputError(f"{where}: the contributor has no name")
        path = find_file(home, written)
        if path is None:
            raise InputError(f"{where}: there is no file {show_path(home / written)}")
        rows = given.setdefault(name, {})
        if (name, os.path.realpath(path)) in there:
            raise InputError(f"{where}: {show_path(path)} is there twice for {name!r}")
        there.add((name, os.path.realpath(path)))
        rows[path] = ImageCondition(numbers.get(cells["label"]), cells["prompt"])
    _refuse_missing_labels(records, columns["label"])
    records.note_unused([column for column in columns.values() if column])
    return _gather(given, channels=channels, size=size, resize=resize, track=track)


def refuse_names(names: Sequence[str]) -> None:
    """An `InputError` for a name that cannot be printed in a receipt, or two that look the same.

    Called before anything is read: a reader of the receipt must be able to tell payees apart.
    """
    by_look: dict[str, str] = {}
    for name in names:
        if reason := unwritable(name):
            raise InputError(
                f"the contributor {show_path(Path(name))!r} cannot be printed in a receipt: "
                f"{reason}; rename it"
            )
        other = by_look.setdefault(looks(name), name)
        if other != name:
            raise InputError(
                f"the contributors {other!r} and {name!r} look the same but are spelled with other "
                f"characters ({other!a} and {name!a}); give them one name, or two that "
                "differ visibly"
            )


def _images_in(folder: Path, name: str) -> list[Path]:
    try:
        return list_images([folder])
    except InputError as error:
        refuse_names([name])
        raise InputError(
            f"the contributor {name!r} has no usable image ({error}); leave it out"
        ) from error


def _files_in(root: Path) -> list[Path]:
    """The files directly in a folder, without hidden ones and those of operating systems."""
    return sorted(
        path
        for path in root.iterdir()
        if path.is_file() and not path.name.startswith(".") and not is_system_name(path.name)
    )


def _note_unowned(root: Path, names: Sequence[str]) -> None:
    if not names:
        return
    lie = "1 image lies" if len(names) == 1 else f"{len(names)} images lie"
    are = "is" if len(names) == 1 else "are"
    add_note(
        f"{show_path(root)}: {lie} in no contributor's folder and {are} left out, as "
        f"{show_path(Path(names[0]))}"
    )


def _columns_of(table: Path) -> tuple[Records, dict[str, str | None]]:
    """The table, and by role which column has it."""
    records = read_records(table)
    columns = {
        "path": records.column(("path", *FILE_COLUMNS)),
        "contributor": records.column(("contributor",)),
        "label": records.column(CLASS_COLUMNS),
        "prompt": records.column(PROMPT_COLUMNS),
    }
    if columns["path"] is None or columns["contributor"] is None:
        raise InputError(
            f"{show_path(table)} has the columns {', '.join(sorted(records.columns)) or 'none'}; "
            "expected path and contributor, and perhaps label and prompt"
        )
    if not records.rows:
        raise InputError(f"{show_path(table)} names no image")
    return records, columns


def _refuse_missing_labels(records: Records, column: str | None) -> None:
    """An `InputError` for a row without a label where others have one.

    Its label would be the contributor's number, which is another class.
    """
    rows = [] if column is None else records.rows
    unlabelled = [row for row in rows if not row.cells[column or ""].strip()]
    if unlabelled and len(unlabelled) < len(rows):
        raise InputError(
            f"{show_path(records.path)}, line {unlabelled[0].line}: there is no label, and other "
            "rows have one; give a label in every row, or in none"
        )


def _label_numbers(records: Records, column: str | None) -> dict[str, int]:
    """The number of each label: its own value, or its place among the sorted names of classes."""
    if column is None:
        return {}
    stated = [(row, row.cells[column].strip()) for row in records.rows if row.cells[column].strip()]
    numeric = [text.isascii() and text.isdigit() for _, text in stated]
    names = sorted({text for _, text in stated})
    if any(numeric):
        for (row, text), is_number in zip(stated, numeric, strict=True):
            if is_number and (len(text) > 18 or int(text) >= MAX_CLASSES):
                raise InputError(
                    f"{show_path(records.path)}, line {row.line}: the label {text[:40]!r} is too "
                    f"large; give numbers below {MAX_CLASSES}, or names"
                )
            if not is_number:
                raise InputError(
                    f"{show_path(records.path)}, line {row.line}: the label {text!r} is no whole "
                    "number from 0, and other labels are; give numbers or names throughout"
                )
        return {text: int(text) for text in names}
    return {text: number for number, text in enumerate(names)}


def _gather(
    given: Mapping[str, Mapping[Path, ImageCondition]],
    *,
    channels: int,
    size: int,
    resize: bool,
    track: Track,
) -> Contributors:
    names = tuple(sorted(given))
    refuse_names(names)
    for name in names:
        if not given[name]:
            raise InputError(f"the contributor {name!r} has no usable image; leave it out")
    files = [(player, path) for player, name in enumerate(names) for path in given[name]]
    wanted = BatchOptions(
        channels, (size, size), resize, at_least=0, drop_duplicates=False, losses=False
    )
    # All in one call, because one file may hold images of several contributors.
    batch = read_files([path for _, path in files], "the contributors", wanted, track=track)
    problems = dict(batch.skipped)
    usable = [(player, path) for player, path in files if path not in problems]
    _require_images(names, given, problems)
    rows = [given[names[player]][path] for player, path in usable]
    owners = [player for player, _ in usable]
    labels = [
        player if row.label is None else row.label for player, row in zip(owners, rows, strict=True)
    ]
    prompts = tuple(row.prompt for row in rows)
    owner = torch.tensor(owners, dtype=torch.int64)
    return Contributors(
        names=names,
        images=batch.images,
        owner=owner,
        labels=torch.tensor(labels, dtype=torch.int64),
        paths=batch.paths,
        prompts=prompts if any(prompts) else (),
        skipped=batch.skipped,
        shared=_shared(names, batch.images, owner),
    )


def _require_images(
    names: Sequence[str],
    given: Mapping[str, Mapping[Path, ImageCondition]],
    problems: Mapping[Path, str],
) -> None:
    """An `InputError` for a contributor none of whose files can be read."""
    for name in names:
        if all(path in problems for path in given[name]):
            path = next(iter(given[name]))
            raise InputError(
                f"the contributor {name!r} has no usable image "
                f"(first problem: {show_path(path)} {problems[path]}); leave it out"
            )


def _shared(
    names: Sequence[str], images: Tensor, owner: Tensor
) -> tuple[tuple[str, str, int], ...]:
    holders: dict[bytes, set[int]] = {}
    for image, player in zip(images, owner.tolist(), strict=True):
        key = hashlib.sha256(image.numpy().tobytes()).digest()
        holders.setdefault(key, set()).add(player)
    counts: dict[tuple[int, int], int] = {}
    for players in holders.values():
        ordered = sorted(players)
        for i, first in enumerate(ordered):
            for second in ordered[i + 1 :]:
                counts[first, second] = counts.get((first, second), 0) + 1
    return tuple((names[a], names[b], count) for (a, b), count in sorted(counts.items()))
