"""The same file is found from a table, a folder and an index, however its name is spelled."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
import torch

from wherefrom.core.errors import InputError
from wherefrom.credit.contributors.reading import contributors_from_csv, contributors_from_folders
from wherefrom.data import list_images, save_png
from wherefrom.data.tables.labels import read_labels
from wherefrom.data.tables.matching_names import ImageNames, find_file
from wherefrom.origin.pairs.folders import pairs_from_folders

# What lies on the disk, and what a table calls it.
SPELLINGS = [
    ("Mu\u0308ller.png", "Müller.png"),
    ("Müller.png", "Mu\u0308ller.png"),
    ("M\udcfcller.png", "Müller.png"),
    ("ga\u0308ste/Zoë.png", "gäste/Zoe\u0308.png"),
    ("gäste/Zoe\u0308.png", "ga\u0308ste\\Zoe\u0308.png"),
    ("sub/a b.png", "sub\\a b.png"),
    ("back\\slash.png", "back\\slash.png"),
    ("end.png ", "end.png"),
    ("end.png", " end.png "),
    (" start.png", "start.png"),
    ("a\u200eb.png", "ab.png"),
    ("עברית.png", "\u202aעברית.png\u202c"),
    ("日本語.png", "日本語.png"),
    ("か\u3099.png", "が.png"),
    ("new\nline.png", "new\\nline.png"),
    ("=1+1.png", "'=1+1.png"),
]


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(seed)
    save_png(torch.randint(0, 256, (3, 6, 6), generator=draw, dtype=torch.uint8), path)
    return path


@pytest.mark.parametrize(("name", "called"), SPELLINGS)
def test_a_table_finds_the_file_of_a_folder__identity_spelling(
    tmp_path: Path, name: str, called: str
) -> None:
    file = picture(tmp_path / "in" / name)
    assert list_images([tmp_path / "in"]) == [file]
    assert find_file(tmp_path / "in", called) == file
    table = tmp_path / "labels.csv"
    table.write_text(f'file_name,label\n"{called}",7\n', encoding="utf-8", newline="")
    labels = read_labels(table, [file], tmp_path / "in")
    assert (labels.names, labels.unused) == (("7",), 0)


def test_two_files_that_look_alike_are_not_mistaken__rejects_ambiguity(tmp_path: Path) -> None:
    composed, decomposed = picture(tmp_path / "é.png"), picture(tmp_path / "e\u0301.png", 1)
    assert find_file(tmp_path, "é.png") == composed
    assert find_file(tmp_path, "e\u0301.png") == decomposed
    places = ImageNames([composed, decomposed], tmp_path).places(["é.png", "e\u0301.png"])
    assert places == [0, 1]
    picture(tmp_path / "a.png "), picture(tmp_path / " a.png", 1)
    assert find_file(tmp_path, "a.png") is None
    assert find_file(tmp_path, "../é.png") is None
    assert find_file(tmp_path, "no\0file.png") is None


def test_edits_are_matched_in_any_spelling__identity_spelling(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "Zoë.png")
    picture(tmp_path / "edits" / "Zoe\u0308__made.png", 1)
    assert len(pairs_from_folders(tmp_path / "photos", tmp_path / "edits").rows) == 1


def test_a_pair_that_cannot_be_read_is_left_out__rejects_link(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.png")
    picture(tmp_path / "edits" / "a__1.png", 1)
    (tmp_path / "edits" / "a__2.png").symlink_to(tmp_path / "gone.png")
    manifest = pairs_from_folders(tmp_path / "photos", tmp_path / "edits")
    assert len(manifest.rows) == 1
    assert "which is not there" in manifest.skipped[0][1]


def contributors(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        picture(root / name / "a.png", seed)
    return root


@pytest.mark.parametrize("name", ["M\udcfcller", "new\nline", "\x1b[31mred", "a\u2028b"])
def test_a_name_that_no_receipt_carries__rejects_before_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    root = contributors(tmp_path / "data", "anna", name)
    monkeypatch.setattr(
        "wherefrom.credit.contributors.reading.read_files",
        lambda *_, **__: pytest.fail("it was read"),
    )
    with pytest.raises(
        InputError, match=r"cannot be printed in a receipt: .*; rename it"
    ) as caught:
        contributors_from_folders(root, channels=3, size=6)
    str(caught.value).encode()


def test_contributors_that_look_alike__rejects_both(tmp_path: Path) -> None:
    root = contributors(tmp_path / "data", "Zoë", "Zoe\u0308")
    with pytest.raises(InputError, match="look the same"):
        contributors_from_folders(root, channels=3, size=6)
    table = tmp_path / "map.csv"
    table.write_text("path,contributor\ndata/Zoë/a.png,Zoë\ndata/Zoe\u0308/a.png,Zo\u200bë\n")
    with pytest.raises(InputError, match="look the same"):
        contributors_from_csv(table, channels=3, size=6)


def test_names_of_all_scripts_are_paid__closed_form(tmp_path: Path) -> None:
    names = ("Zoe\u0308", "日本語", "עברית", "a\u200fb", "back\\slash", "O'Neil, Anna")
    root = contributors(tmp_path / "data", *names, "@eaDir", "__MACOSX", ".Trashes")
    (root / "lost+found").mkdir()
    (root / "linked").symlink_to(contributors(tmp_path / "other", "bert") / "bert")
    data = contributors_from_folders(root, channels=3, size=6)
    assert set(data.names) == {*names, "linked"}


def test_a_name_on_the_disk_is_composed_or_not__identity_spelling(tmp_path: Path) -> None:
    for name, called in SPELLINGS[:2]:
        assert unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", called)
        assert os.fsencode(name) != os.fsencode(called)
