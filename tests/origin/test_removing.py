"""Images are removed by picture, folder and pattern, whether their files are there or not."""

import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from making import digest, vectors
from refusing import refused

from wherefrom.origin import remove
from wherefrom.origin.index.index import Index

NAMES = [
    "photos/2019 spring/a.jpg",
    "photos/2019 spring/deep/b.png",
    "photos/2020/a.jpg",
    "photos/2020/[x]*.png",
    "photos/2020/x1.png",
    "photos/.jpg",
    "photos2/a.jpg",
    unicodedata.normalize("NFD", "photos/é/c.jpg"),
    os.fsdecode(b"photos/\xff.jpg"),
]


@pytest.fixture
def index(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Index.create(tmp_path / "i", dim=48, identity={}) as index:
        index.add(NAMES, [digest(n) for n in range(len(NAMES))], vectors(len(NAMES)))
        yield index


def left(index, home):
    names = {os.path.relpath(image.path, home.resolve()) for image in index.images()}
    return [name for name in NAMES if name not in names]


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        (["photos/2020/a.jpg"], [2]),
        (["photos/2019 spring"], [0, 1]),
        (["photos/2019 spring/"], [0, 1]),
        (["photos"], [0, 1, 2, 3, 4, 5, 7, 8]),
        (["photos/*/a.jpg"], [0, 2]),
        (["photos/**/a.jpg", "photos2/?.jpg"], [0, 2, 6]),
        (["**/*.png"], [1, 3, 4]),
        (["photos/2019*/**"], [0, 1]),
        (["photos/2020/[x]*.png"], [3]),  # what is called so comes before what it would match
        (["photos/2020/[w-y]*.png"], [4]),
        (["photos/*.jpg"], [5, 8]),
        (["photos/é/c.jpg"], [7]),
        (["photos/é"], [7]),
        (["photos/é/*"], [7]),
        ([os.fsdecode(b"photos/\xff.jpg")], [8]),
        (["."], list(range(9))),
        (["photos/../photos2"], [6]),
    ],
    ids=ascii,
)
def test_what_is_named_is_removed_and_nothing_else__closed_form(index, tmp_path, given, gone):
    assert remove(index, given) == len(gone)
    assert left(index, tmp_path) == [NAMES[i] for i in gone]


def test_an_absolute_pattern_looks_everywhere__closed_form(index, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    with refused(r"\*\*/x1\.jpg is not in .*, as a picture, a folder or a pattern; nothing was"):
        remove(index, ["**/x1.jpg"])
    assert remove(index, ["/**/x?.png"]) == 1
    assert left(index, tmp_path) == ["photos/2020/x1.png"]


@pytest.mark.parametrize("given", ["photo", "photos/2020/b*", "PHOTOS2", "photos/2020/a.jpg/x"])
def test_one_that_names_nothing_removes_nothing__rejects_name(index, given):
    with refused("nothing was removed"):
        remove(index, ["photos2", given])
    assert index.count() == len(NAMES)


def test_after_a_move_pictures_are_named_where_they_are__closed_form(index, tmp_path):
    Path("photos2").mkdir()
    Path("photos2/a.jpg").touch()
    index.close()
    for name in ("i", "photos2"):
        shutil.move(name, tmp_path / "far" / name)
    with Index.open("far/i", writable=True) as moved:
        moved.pictures.follow(writable=True)
        assert remove(moved, ["far/photos2"]) == 1
        assert remove(moved, ["photos"]) == 8
