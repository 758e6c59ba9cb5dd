"""Files and folders to rows: one per file, in order, and no stop at a broken one."""

import multiprocessing
import os
import sqlite3

import pytest
import torch
from PIL import Image

from wherefrom.attribution import Answers, check_in_processes, check_paths
from wherefrom.attribution.checking import paths as checking
from wherefrom.attribution.checking import processes as scanning
from wherefrom.attribution.checking.paths import check_files
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import InputError
from wherefrom.core.store import digest_file
from wherefrom.data.writing import save_png, to_uint8


@pytest.fixture
def folder(tmp_path, smooth):
    """Two pictures, a copy, a JPEG, one of another size, a broken one."""
    images = smooth(2, 8)
    for name, image in (("a.png", images[0]), ("b.png", images[1]), ("c.png", images[0])):
        save_png(image, tmp_path / name)
    Image.open(tmp_path / "a.png").save(tmp_path / "d.jpg", quality=90)
    save_png(images[0, :, :16], tmp_path / "e.png")
    (tmp_path / "f.png").write_bytes(b"no image")
    return tmp_path


def test_a_row_per_file_in_order__closed_form(fitted, folder, smooth):
    rows = check_paths(fitted, [folder]).images
    assert [row.name for row in rows] == [str(path) for path in sorted(folder.iterdir())]
    scores = fitted.score(smooth(2, 8)).tolist()
    assert [row.score for row in rows[:3]] == [scores[0], scores[1], scores[0]]
    assert [row.score is None for row in rows] == [False, False, False, False, True, True]
    for row in rows[4:]:
        assert row.verdict is Verdict.CANNOT_SAY
        assert row.p_value is None and row.p_other is None and row.reason
    assert "32x16 px, expected 32x32" in rows[4].reason
    assert rows[0].digest == digest_file(folder / "a.png")


def test_a_lossy_file_that_does_not_fit_cannot_be_judged__closed_form(fitted, folder):
    (row,) = check_paths(fitted, [folder / "d.jpg"]).images
    assert row.score > fitted.threshold
    assert row.verdict is Verdict.CANNOT_SAY and "lossy" in row.reason


def test_nothing_readable_is_still_an_answer__limit(fitted, folder):
    result = check_paths(fitted, [folder / "f.png", folder / "e.png"])
    assert result.counts()[Verdict.CANNOT_SAY] == 2
    assert all(row.score is None for row in result.images)


def test_a_missing_path_or_an_empty_folder__rejects_paths(fitted, tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        check_paths(fitted, [tmp_path / "gone.png"])
    with pytest.raises(InputError, match="no image in this folder"):
        check_paths(fitted, [tmp_path])


@pytest.fixture
def imported_once(monkeypatch):
    """The processes are forked from one that has imported what they need: that takes seconds."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["wherefrom.attribution.checking.processes"])
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: forks)


def test_several_processes_say_the_same_in_the_same_order__identity_processes(
    fitted, generator, tmp_path, monkeypatch, imported_once
):
    """They start once: what they answered is taken from the file of answers from then on."""
    monkeypatch.setattr(checking, "PART", 3)
    fitted.save(tmp_path / "a")
    (tmp_path / "images").mkdir()
    for index, image in enumerate(to_uint8(generator.sample(7, seed=4))):
        save_png(image, tmp_path / "images" / f"{index}.png")
    (tmp_path / "images" / "5.png").write_bytes(b"no image")
    alone = check_paths(fitted, [tmp_path / "images"])
    with Answers(tmp_path / "answers", fitted) as answers:
        shared = check_in_processes(
            tmp_path / "a", [tmp_path / "images"], processes=2, answers=answers
        )
    assert [row.name for row in shared.images] == [row.name for row in alone.images]
    for one, other in zip(shared.images, alone.images, strict=True):
        assert (one.verdict, one.p_value) == (other.verdict, other.p_value)
        assert one.reason == other.reason
    with sqlite3.connect(tmp_path / "answers") as base:
        assert base.execute("SELECT count(*) FROM answers").fetchone() == (6,)
    (tmp_path / "images" / "5.png").unlink()  # a broken file is read again
    monkeypatch.setattr(scanning, "ProcessPoolExecutor", None)
    with Answers(tmp_path / "answers", fitted) as answers:
        known = check_in_processes(
            tmp_path / "a", [tmp_path / "images"], processes=2, answers=answers
        )
    assert known.images == (*shared.images[:5], shared.images[6])


def test_no_process__rejects_count(fitted, tmp_path):
    with pytest.raises(InputError, match="0 processes; give at least 1"):
        check_in_processes(tmp_path / "a", [tmp_path], processes=0, fitted=fitted)


def test_an_attributor_that_is_loaded_already_is_not_read_again__identity_processes(
    fitted, generator, tmp_path
):
    save_png(to_uint8(generator.sample(1, seed=4))[0], tmp_path / "0.png")
    found = check_in_processes(tmp_path / "no file", [tmp_path], processes=1, fitted=fitted)
    assert found == check_paths(fitted, [tmp_path])


def test_a_process_that_dies_is_told_in_one_line__bad_input(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(checking, "PART", 1)
    monkeypatch.setattr(scanning, "_begin", os._exit)  # called with the path: dies at once
    fitted.save(tmp_path / "a")
    for index in range(2):
        save_png(torch.zeros(3, 32, 32, dtype=torch.uint8), tmp_path / f"{index}.png")
    with pytest.raises(InputError, match=r"a process ended before its answer.*0 of 2 files"):
        check_in_processes(tmp_path / "a", [tmp_path], processes=2)


def test_a_file_that_vanishes_while_the_folder_is_read_stops_nothing__bad_input(
    fitted, generator, tmp_path
):
    image = to_uint8(generator.sample(1, seed=4))[0]
    save_png(image, tmp_path / "kept.png")
    rows = check_files(fitted, [tmp_path / "gone.png", tmp_path / "kept.png"])
    assert rows[0].reason == "there is no such file" and rows[0].verdict == Verdict.CANNOT_SAY
    assert rows[1].score is not None
