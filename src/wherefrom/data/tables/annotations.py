"""Reading labels and captions from files beside images: dataset.json, metadata.csv, a.cls, a.txt.

Other tools write these: StyleGAN dataset.json, Hugging Face metadata.csv or .jsonl, WebDataset
.cls, .json and .txt, trainers of LoRA .txt and .caption.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import add_note
from wherefrom.data.files.archives import is_file, read_file
from wherefrom.data.files.opening import UnusableFile
from wherefrom.data.tables.matching_names import ImageNames
from wherefrom.data.tables.records import (
    CLASS_COLUMNS,
    FILE_COLUMNS,
    PROMPT_COLUMNS,
    Records,
    decode_text,
    is_vector,
    read_records,
)

TABLES = ("metadata.csv", "metadata.jsonl", "metadata.tsv")
STYLEGAN_TABLE = "dataset.json"
CAPTION_SUFFIXES = (".txt", ".caption")
MAX_TEXT_BYTES = 2**20
MAX_CLASSES = 100_000  # networks hold numbers for each class from 0 on
PARTS = frozenset(
    {"train", "training", "trn", "val", "valid", "validation", "dev", "test", "testing", "eval"}
)
_STYLEGAN_NAME = re.compile(r"(\d{5})/img\1\d{3}\.\w+$")


@dataclass(frozen=True, eq=False)
class ClassLabels:
    """Classes of images, int64 (N,), and their source; None if there are no classes.

    `names`: of the classes by number; () where the classes are numbers themselves.
    """

    values: Tensor | None
    source: str = ""
    names: tuple[str, ...] = ()


def labels_beside(images: Sequence[Path], root: Path) -> ClassLabels:
    """The class of each image below `root`, a folder or an archive.

    The first of these decides: a dataset.json or the column label of a metadata table; a .cls or
    .json beside every image; the folder of each image, if all lie equally deep in two folders or
    more.  A table that lacks some images, or holds vectors, gives no labels and a note.
    """
    for home in _shared_folders(images, root):
        for table in (home / name for name in (STYLEGAN_TABLE, *TABLES)):
            if is_file(table) and (labels := _from_table(images, home, table)) is not None:
                return labels
    stated = _stated_classes(images)
    if stated is not None:
        return _numbered(stated, "a class beside each image")
    if all(_STYLEGAN_NAME.search(image.as_posix()) for image in images):
        return ClassLabels(None)  # folders of a thousand files each, which are no classes
    return _folder_ranks(images)


def captions_beside(images: Sequence[Path], root: Path) -> dict[Path, str]:
    """The captions of those images below `root` that have one.

    A caption is the text in `a.txt` or `a.caption` beside `a.png`, the prompt, caption or text in
    its `a.json`, or in a metadata table in its folder or one above.
    """
    captions = _captions_in_tables(images, root)
    for image in images:
        caption = _caption_file(image) or _field(image, PROMPT_COLUMNS)
        if caption:
            captions[image] = caption
    return captions


def _shared_folders(images: Sequence[Path], root: Path) -> list[Path]:
    """The folders up to `root` in which all images lie, the deepest first."""
    parents = {image.parent for image in images}
    home = min(parents, default=root, key=lambda path: len(path.parts))
    folders = []
    while home.is_relative_to(root):
        if all(parent.is_relative_to(home) for parent in parents):
            folders.append(home)
        if home == root:
            break
        home = home.parent
    return folders or [root]


def _from_table(images: Sequence[Path], root: Path, table: Path) -> ClassLabels | None:
    """The classes in a table; None if it has no column of classes."""
    try:
        rows = _cells(images, root, table, CLASS_COLUMNS)
    except InputError as error:
        if table.name == STYLEGAN_TABLE and _has_null_labels(table):
            return ClassLabels(None)
        add_note(f"{error}; no labels are taken from it")
        return ClassLabels(None)
    if rows is None:
        return None
    cells, doubtful = rows
    texts = [cells.get(place, "") for place in range(len(images))]
    problem = ""
    if doubtful:
        problem = f" says different things of {images[doubtful[0]].name}"
    elif not all(texts):
        problem = f" has no label for {texts.count('')} of {len(images)} images"
    elif any(map(is_vector, texts)):
        problem = " holds vectors, not classes"
    if problem:
        add_note(f"{show_path(table)}{problem}; no labels are taken from it")
        return ClassLabels(None)
    return _numbered(texts, table.name)


def _has_null_labels(table: Path) -> bool:
    try:
        value = json.loads(read_file(table, max_bytes=MAX_TEXT_BYTES))
    except (InputError, ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "labels" in value and value["labels"] is None


def _cells(
    images: Sequence[Path], root: Path, table: Path, columns: Sequence[str]
) -> tuple[dict[int, str], list[int]] | None:
    """By the place of each image its cell in the first of `columns`; None if there is none.

    Of an image with several rows the first counts; the list has those whose rows differ.
    """
    records: Records = read_records(table)
    column, named_by = records.column(columns), records.column(FILE_COLUMNS)
    if column is None or named_by is None:
        return None
    names = ImageNames(images, root, table)
    places = names.places([row.cells[named_by] for row in records.rows])
    cells: dict[int, str] = {}
    doubtful = []
    for place, row in zip(places, records.rows, strict=True):
        text = row.cells[column].strip()
        if place is not None and cells.setdefault(place, text) != text:
            doubtful.append(place)
    return cells, doubtful


def _captions_in_tables(images: Sequence[Path], root: Path) -> dict[Path, str]:
    homes = {root}
    for image in images:
        home = image.parent
        while home not in homes and home.is_relative_to(root):
            homes.add(home)
            home = home.parent
    captions: dict[Path, str] = {}
    for home in sorted(homes, key=lambda path: path.parts):
        for table in (home / name for name in TABLES):
            if is_file(table):
                below = [image for image in images if image.is_relative_to(home)]
                cells, doubtful = _cells(below, home, table, PROMPT_COLUMNS) or ({}, [])
                captions |= {below[place]: text for place, text in cells.items() if text}
                if doubtful:
                    add_note(
                        f"{show_path(table)} has several captions for {below[doubtful[0]].name} "
                        f"({len(doubtful)} rows in all); the first is taken"
                    )
    return captions


def _beside(image: Path, suffix: str) -> Path | None:
    """The file of this suffix beside an image: `a.txt`, for `a.png` and for `a.large.png`."""
    stem, _, _ = image.name.partition(".")
    for path in dict.fromkeys((image.with_suffix(suffix), image.with_name(stem + suffix))):
        if is_file(path):
            return path
    return None


def _caption_file(image: Path) -> str:
    for suffix in CAPTION_SUFFIXES:
        path = _beside(image, suffix)
        if path is not None:
            return " ".join(_text(path).split())
    return ""


def _field(image: Path, names: Sequence[str]) -> str:
    """The first of these fields in the .json beside an image; empty without one."""
    path = _beside(image, ".json")
    if path is None:
        return ""
    try:
        value = json.loads(_text(path))
    except (ValueError, RecursionError) as error:  # an `InputError` is a `ValueError`, too
        unread = isinstance(error, UnusableFile)
        add_note(str(error) if unread else f"{show_path(path)}: is not readable JSON: {error}")
        return ""
    fields: Mapping[str, object] = value if isinstance(value, dict) else {}
    stated = next((fields[name] for name in names if fields.get(name) is not None), "")
    return str(stated).strip() if isinstance(stated, (str, int)) else ""


def _stated_classes(images: Sequence[Path]) -> list[str] | None:
    """The class in the .cls or .json beside each image, None unless every one has it."""
    classes = []
    for image in images:
        path = _beside(image, ".cls")
        text = _text(path).strip() if path is not None else _field(image, ("cls", *CLASS_COLUMNS))
        if not text:
            return None
        classes.append(text)
    return classes or None


def _text(path: Path) -> str:
    return decode_text(path, read_file(path, max_bytes=MAX_TEXT_BYTES))[0]


def _numbered(classes: Sequence[str], source: str) -> ClassLabels:
    """Classes as numbers: themselves where all are whole numbers, else places of sorted names.

    Numbers that are no classes but identities of a database (`MAX_CLASSES`) are names.
    """
    if all(text.isascii() and text.isdigit() and len(text) < 10 for text in classes):
        numbers = [int(text) for text in classes]
        if max(numbers) < MAX_CLASSES:
            return ClassLabels(torch.tensor(numbers), source)
    ranks = {name: rank for rank, name in enumerate(sorted(set(classes)))}
    return ClassLabels(torch.tensor([ranks[text] for text in classes]), source, tuple(ranks))


def _folder_ranks(images: Sequence[Path]) -> ClassLabels:
    """The rank of each image's folder, where all lie equally deep in two folders or more.

    Archives of a numbered series, and `train` and `test`, are parts of one set, not classes.
    """
    parents = sorted({image.parent for image in images})
    if len(parents) < 2 or len({len(image.parts) for image in images}) > 1:
        return ClassLabels(None)
    series = {re.sub(r"\d+", "", parent.name) for parent in parents}
    if len(series) == 1 and all(parent.is_file() for parent in parents):
        return ClassLabels(None)
    names = [image.parent.parts for image in images]
    levels = [level for level, same in enumerate(zip(*names, strict=True)) if not _are_parts(same)]
    classes = [tuple(parts[level] for level in levels) for parts in names]
    ranks = {name: rank for rank, name in enumerate(sorted(set(classes)))}
    if len(ranks) < 2:
        return ClassLabels(None)
    # Folders that are the same for all images name nothing.
    differ = [n for n, parts in enumerate(zip(*ranks, strict=True)) if len(set(parts)) > 1]
    called = tuple("/".join(name[n] for n in differ) for name in ranks)
    return ClassLabels(torch.tensor([ranks[name] for name in classes]), names=called)


def _are_parts(names: Sequence[str]) -> bool:
    """Whether folders of these names are the parts of a data set, and not classes."""
    return all(name.casefold() in PARTS for name in names)
