"""Kept answers of a folder are those that would be given now: pictures go and come back."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
from indexed_pictures import ENCODER, build, copy_home
from PIL import Image, ImageEnhance

from wherefrom.case.folder import inspect_folder
from wherefrom.case.parts.file import Case, CaseConfig, OriginPart
from wherefrom.case.parts.opened import OpenCase
from wherefrom.case.questions.origin import ask_origin
from wherefrom.case.result import State
from wherefrom.core.errors import InputError
from wherefrom.origin import References, remove
from wherefrom.report.case.folder import write_folder

COUNT = 22  # an index of fewer cannot say which of its images stands out


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built") / "home", count=COUNT)


@pytest.fixture
def opened(template, tmp_path, monkeypatch):
    """A case of one index, and `asked/` with a copy and an edit."""
    from indexed_pictures import opened as references

    home = copy_home(template, tmp_path / "home")
    monkeypatch.chdir(home)
    Path("asked").mkdir()
    shutil.copy("photos/1.png", "asked/copy.png")
    ImageEnhance.Brightness(Image.open("photos/2.png")).enhance(0.7).save("asked/edit.png")
    with references(home / "refs.index", base=home) as index:
        case = Case(home / "case.toml", CaseConfig(), digest="sha256:0")
        yield OpenCase(case, (), ((OriginPart(name="refs", path="refs.index"), index),), (), (), ())


def ask(opened):
    """The answers about the origin by name, and how many an earlier run had stored."""
    report = inspect_folder([Path("asked")], opened, keep=Path("kept"))
    rows = {Path(row.path).name: row.inspection["answers"][1] for row in report.rows}
    return rows, report.reused


def test_kept_answers_follow_pictures_that_go_and_come_back__closed_form(opened):
    first, count = ask(opened)
    assert count == 0 and first["copy.png"]["state"] == State.FOUND
    assert first["copy.png"]["sentence"].startswith("Copy of photos/1.png (the same file), in")
    assert ask(opened) == (first, 2)
    Path("photos").rename("away")
    gone, count = ask(opened)
    assert count == 0
    assert "photos/1.png (the same file), which is gone, in" in gone["copy.png"]["sentence"]
    assert "nearest images could not be compared" in gone["edit.png"]["reason"]
    assert ask(opened) == (gone, 2)
    Path("away").rename("photos")
    assert ask(opened) == (first, 0)  # not what was kept while they were gone
    os.utime("photos/1.png", ns=(0, 0))  # as if another file had come: all of them looked at it
    assert ask(opened)[1] == 0
    record = json.loads(next(Path("kept").iterdir()).read_text())
    assert set(record["rests_on"]) <= {
        str(path.resolve()) for path in Path("photos").rglob("*.png")
    }


def test_the_page_and_the_table_say_that_a_picture_is_gone__closed_form(opened, tmp_path):
    Path("photos/1.png").unlink()
    report = inspect_folder([Path("asked/copy.png")], opened, keep=Path("kept"))
    (tmp_path / "out").mkdir()
    page = write_folder(tmp_path / "out", report, "case").read_text()
    with (tmp_path / "out" / "inspections.csv").open(newline="") as file:
        table = list(csv.reader(file))
    for told in (page, table[1][-1], (tmp_path / "out" / "inspections.json").read_text()):
        assert "photos/1.png (the same file), which is gone" in told
    caveats = report.rows[0].inspection["answers"][1]["caveats"]
    assert "bring the index up to date with `wherefrom origin sync`" in caveats[0]


def test_an_answer_that_failed_is_not_kept__closed_form(opened, monkeypatch):
    def fail(*_, **__):
        raise InputError("the disk is away")

    with monkeypatch.context() as patch:
        patch.setattr("wherefrom.origin.collection.references.References.search", fail)
        failed, kept = ask(opened)
    assert kept == 0 and "the disk is away" in failed["copy.png"]["reason"]
    now, kept = ask(opened)
    assert kept == 0 and now["copy.png"]["state"] == State.FOUND


def test_an_index_that_is_too_small_is_asked_once__closed_form(opened):
    references = opened.origins[0][1]
    with References.open(references.index.path, encoder=ENCODER, writable=True) as writer:
        remove(writer.index, ["photos/trip"])
    first, _ = ask(opened)
    assert "an answer needs at least 20" in first["edit.png"]["reason"]
    assert ask(opened) == (first, 2)


def test_words_and_candidates_are_those_of_the_case_from_anywhere__identity(opened, monkeypatch):
    path, answers = Path("asked/edit.png").resolve(), []
    for folder in (".", "/"):
        monkeypatch.chdir(folder)
        asked = ask_origin(path, opened, pictures=False)
        answers.append(asked.answer.to_dict())
        assert len(asked.consulted) == COUNT and all(Path(p).is_absolute() for p in asked.consulted)
    assert answers[0] == answers[1]
    candidates = answers[0]["parts"][0]["details"]["candidates"]
    assert all(c["path"].startswith("photos/") and not c["missing"] for c in candidates)
