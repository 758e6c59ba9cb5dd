"""Contributors: who gave which images, from folders or from a CSV map.

Nobody is dropped in silence: a contributor without a usable image, and a game of one, are errors;
an image that two contributors both gave stays with both and is reported.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.store import digest_bytes
from wherefrom.credit.game import Bools
from wherefrom.data.folders import list_images, read_images

COLUMNS = {"path", "contributor", "label", "prompt"}


@dataclass(frozen=True, eq=False)
class Contributors:
    """Everybody's images in one batch.

    `images`: uint8 (N, C, H, W).  `owner`: int64 (N,), who gave each.  `labels`: int64 (N,), the
    condition of each, by default its owner.  `prompts`: one text per image, or empty.
    `skipped`: every file that was left out, and why.  `shared`: (first, second, count) for pairs
    of contributors who both gave `count` images with the same pixels.
    Where the players are not the contributors as they came, `origin` has these and `seating` says
    what was done.  `unions`: the union of each player for Owen values, or empty.
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
            raise InputError(
                f"there is {len(self.names)} contributor; credit is shared among at least 2"
            )
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
        """Indices of the images of a subset, int64, in order; empty for nobody."""
        mask = torch.from_numpy(np.asarray(members, dtype=bool))
        return torch.nonzero(mask[self.owner]).flatten()

    def digests(self) -> dict[str, str]:
        """SHA-256 over pixels, labels and prompts of each contributor, by name."""
        if self.origin is not None:
            return self.origin.digests()
        found = {}
        for player, name in enumerate(self.names):
            total = hashlib.sha256(str(tuple(self.images.shape[1:])).encode())
            for index in torch.nonzero(self.owner == player).flatten().tolist():
                total.update(self.images[index].numpy().tobytes())
                prompt = self.prompts[index] if self.prompts else ""
                total.update(f"|{int(self.labels[index])}|{prompt}|".encode())
            found[name] = "sha256:" + total.hexdigest()
        return found

    def members(self) -> dict[str, tuple[str, ...]]:
        """By player which contributors' images it has."""
        origin = self if self.origin is None else self.origin
        return {
            name: tuple(
                origin.names[i] for i in sorted(set(origin.owner[self.owner == player].tolist()))
            )
            for player, name in enumerate(self.names)
        }

    def seats(self) -> dict[str, str]:
        """By player whose images it has, as a digest; empty where players are contributors."""
        if self.origin is None:
            return {}
        return {
            name: digest_bytes(torch.nonzero(self.owner == player).numpy().tobytes())
            for player, name in enumerate(self.names)
        }


def contributors_from_folders(
    root: Path, *, channels: int, size: int, resize: bool = True, track: Track = quiet
) -> Contributors:
    """One contributor per folder inside `root`, named as the folder, in order of their names.

    Images are square, of side `size`; with `resize` others are cropped and scaled, without it they
    are skipped.
    """
    if not root.is_dir():
        raise InputError(
            f"{show_path(root)} is not a folder; give one with a folder per contributor"
        )
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    given = {folder.name: _images_in(folder) for folder in folders}
    return _gather(given, {}, channels=channels, size=size, resize=resize, track=track)


def contributors_from_csv(
    table: Path,
    *,
    channels: int,
    size: int,
    resize: bool = True,
    root: Path | None = None,
    track: Track = quiet,
) -> Contributors:
    """Contributors from a CSV file with the columns path and contributor.

    A relative path starts at `root`, by default the table's folder.  The optional columns label (a
    whole number from 0) and prompt give an image's condition.
    """
    home = table.parent if root is None else root
    given: dict[str, list[Path]] = {}
    rows: dict[Path, dict[str, str]] = {}
    for line, row in enumerate(_rows(table), start=2):
        name, path = row["contributor"].strip(), home / row["path"]
        if not name:
            raise InputError(f"{show_path(table)}, line {line}: the contributor has no name")
        if not path.is_file():
            raise InputError(f"{show_path(table)}, line {line}: there is no file {show_path(path)}")
        if path in rows and path in given.get(name, ()):
            raise InputError(f"{show_path(table)}, line {line}: {show_path(path)} is there twice")
        given.setdefault(name, []).append(path)
        rows[path] = row
    return _gather(given, rows, channels=channels, size=size, resize=resize, track=track)


def _images_in(folder: Path) -> list[Path]:
    try:
        return list_images([folder])
    except InputError:
        return []  # a contributor with no data is named below, by name


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = set(reader.fieldnames or ())
            if not {"path", "contributor"} <= columns <= COLUMNS:
                raise InputError(
                    f"{show_path(table)} has the columns {', '.join(sorted(columns)) or 'none'}; "
                    "expected path and contributor, and perhaps label and prompt"
                )
            rows = [{k: v or "" for k, v in row.items() if k in COLUMNS} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{show_path(table)} cannot be read as CSV: {error}") from error
    if not rows:
        raise InputError(f"{show_path(table)} names no image")
    return rows


def _gather(
    given: Mapping[str, Sequence[Path]],
    rows: Mapping[Path, Mapping[str, str]],
    *,
    channels: int,
    size: int,
    resize: bool,
    track: Track,
) -> Contributors:
    names = tuple(sorted(given))
    images: list[Tensor] = []
    owner, labels, prompts = list[int](), list[int](), list[str]()
    paths, skipped = list[Path](), list[tuple[Path, str]]()
    for player, name in enumerate(names):
        if not given[name]:
            raise InputError(f"the contributor {name!r} has no usable image; leave it out")
        batch = read_images(
            given[name],
            channels=channels,
            size=(size, size),
            resize=resize,
            at_least=0,
            drop_duplicates=False,
            track=track,
        )
        if not batch.paths:
            path, reason = batch.skipped[0]
            raise InputError(
                f"the contributor {name!r} has no usable image "
                f"(first problem: {show_path(path)} {reason}); leave it out"
            )
        images.append(batch.images)
        owner += [player] * len(batch.paths)
        paths += batch.paths
        labels += [_label(rows.get(path, {}), player) for path in batch.paths]
        prompts += [rows.get(path, {}).get("prompt", "") for path in batch.paths]
        skipped += batch.skipped
    pixels = (
        torch.cat(images) if images else torch.zeros(0, channels, size, size, dtype=torch.uint8)
    )
    owners = torch.tensor(owner, dtype=torch.int64)
    return Contributors(
        names=names,
        images=pixels,
        owner=owners,
        labels=torch.tensor(labels, dtype=torch.int64),
        paths=tuple(paths),
        prompts=tuple(prompts) if any(prompts) else (),
        skipped=tuple(skipped),
        shared=_shared(names, pixels, owners),
    )


def _label(row: Mapping[str, str], player: int) -> int:
    text = row.get("label", "")
    if not text:
        return player
    if not text.isascii() or not text.isdigit():
        raise InputError(f"the label {text!r} of {row['path']} is no whole number from 0")
    return int(text)


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
