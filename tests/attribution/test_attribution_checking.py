"""Files and folders to rows: one per file, in order, and no stop at a broken one."""

import multiprocessing
import os
import sqlite3

import pytest
import torch
from PIL import Image

from wherefrom.attribution.checking import paths as checking
from wherefrom.attribution.checking.cache import Answers
from wherefrom.attribution.checking.paths import check, check_files, check_in_processes, check_paths
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import digest_file
from wherefrom.data.folders import list_images
from wherefrom.data.images.writing import save_png, to_uint8


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
    forks.set_forkserver_preload(["wherefrom.attribution.checking.paths"])
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
        files = list_images([tmp_path / "images"])
        shared = check_in_processes(tmp_path / "a", files, processes=2, answers=answers)
    assert [row.name for row in shared] == [row.name for row in alone.images]
    for one, other in zip(shared, alone.images, strict=True):
        assert (one.verdict, one.p_value) == (other.verdict, other.p_value)
        assert one.reason == other.reason
    with sqlite3.connect(tmp_path / "answers") as base:
        assert base.execute("SELECT count(*) FROM answers").fetchone() == (6,)
    (tmp_path / "images" / "5.png").unlink()  # a broken file is read again
    monkeypatch.setattr(checking, "ProcessPoolExecutor", None)
    with Answers(tmp_path / "answers", fitted) as answers:
        files = list_images([tmp_path / "images"])
        known = check_in_processes(tmp_path / "a", files, processes=2, answers=answers)
    assert known == [*shared[:5], shared[6]]


def test_samples_of_every_kind_get_the_same_verdicts__identity_kinds(
    fitted, generator, tmp_path, monkeypatch, imported_once
):
    images = to_uint8(generator.sample(3, seed=4))
    (tmp_path / "images").mkdir()
    for index, image in enumerate(images):
        save_png(image, tmp_path / "images" / f"{index}.png")
    fitted.save(tmp_path / "a")
    expected = [row.p_value for row in fitted.check(images).images]
    place = tmp_path / "images"
    for result in (
        check(fitted, images),
        check(str(tmp_path / "a"), str(place)),
        check(fitted, [place / "0.png", place / "1.png", place / "2.png"]),
        check(tmp_path / "a", place, processes=2, answers=tmp_path / "answers"),
        check(fitted, place, false_discovery_rate=0.1),
    ):
        assert [row.p_value for row in result.images] == expected
    assert result.false_discovery_rate == 0.1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"processes": 0}, "0 processes; give at least 1"),
        ({"processes": 2}, "give its folder instead"),
        ({"answers": "answers"}, "these samples are a tensor"),
    ],
)
def test_a_check_that_makes_no_sense__rejects_options(fitted, smooth, options, says):
    with pytest.raises(InputError, match=says):
        check(fitted, smooth(1, 8), **options)


def test_a_result_shows_itself_and_becomes_a_frame__closed_form(fitted, folder):
    result = check(fitted, folder)
    page = result._repr_html_()
    assert page.count("<img") == 5 and "b.png" in page and "p_value" in page
    pandas = pytest.importorskip("pandas")
    frame = result.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["score"][:4]) == [row.score for row in result.images[:4]]


def test_a_process_that_dies_is_told_in_one_line__bad_input(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(checking, "PART", 1)
    monkeypatch.setattr(checking, "_begin", os._exit)  # called with the path: dies at once
    fitted.save(tmp_path / "a")
    (tmp_path / "images").mkdir()
    for index in range(2):
        image = torch.zeros(3, 32, 32, dtype=torch.uint8)
        save_png(image, tmp_path / "images" / f"{index}.png")
    with pytest.raises(InputError, match=r"a process ended before its answer.*0 of 2 files"):
        check_in_processes(tmp_path / "a", list_images([tmp_path / "images"]), processes=2)


def test_a_file_that_vanishes_while_the_folder_is_read_stops_nothing__bad_input(
    fitted, generator, tmp_path
):
    image = to_uint8(generator.sample(1, seed=4))[0]
    save_png(image, tmp_path / "kept.png")
    rows = check_files(fitted, [tmp_path / "gone.png", tmp_path / "kept.png"])
    assert rows[0].reason == "there is no such file" and rows[0].verdict == Verdict.CANNOT_SAY
    assert rows[1].score is not None
