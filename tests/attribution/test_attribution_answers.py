"""Answers kept by digest: what was judged is not judged again, and nothing else is taken for it."""

import dataclasses
import sqlite3

import pytest

from wherefrom.attribution import fit
from wherefrom.attribution.checking import paths as checking
from wherefrom.attribution.checking.cache import Answers, basis_of
from wherefrom.attribution.checking.fitted import Attributor
from wherefrom.attribution.checking.paths import check_paths
from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.data.images.writing import save_png


@pytest.fixture
def folder(tmp_path, smooth):
    """Four pictures, a copy of the first, a broken one."""
    home = tmp_path / "suspects"
    home.mkdir()
    images = smooth(4, 8)
    for number, image in enumerate([*images, images[0]]):
        save_png(image, home / f"{number}.png")
    (home / "x.png").write_bytes(b"no image")
    return home


@pytest.fixture
def judged(monkeypatch):
    """How many images were scored."""
    counts = []
    original = Attributor.judge

    def spy(self, images, **options):
        counts.append(len(images))
        return original(self, images, **options)

    monkeypatch.setattr(Attributor, "judge", spy)
    return counts


def check(fitted, folder, file):
    with Answers(file, fitted) as answers:
        return check_paths(fitted, [folder], answers=answers).to_dict()


def test_what_is_known_is_not_judged_again__identity_answers(fitted, folder, tmp_path, judged):
    expected = check_paths(fitted, [folder]).to_dict()
    judged.clear()
    assert check(fitted, folder, tmp_path / "a") == expected
    assert judged == [5]
    assert check(fitted, folder, tmp_path / "a") == expected
    assert judged == [5]  # the broken file is read again, and nothing is scored
    (folder / "1.png").write_bytes((folder / "2.png").read_bytes())
    (folder / "moved.png").write_bytes((folder / "3.png").read_bytes())
    found = check(fitted, folder, tmp_path / "a")["images"]
    assert judged == [5]
    assert found[1] == found[2] | {"name": str(folder / "1.png")}
    assert found[5] == found[3] | {"name": str(folder / "moved.png")}


def test_a_run_that_was_stopped_goes_on__identity_parts(
    fitted, folder, tmp_path, monkeypatch, judged
):
    monkeypatch.setattr(checking, "PART", 2)
    original = checking.check_files

    def stops(attributor, files):
        if folder / "2.png" in files:
            raise KeyboardInterrupt
        return original(attributor, files)

    monkeypatch.setattr(checking, "check_files", stops)
    with pytest.raises(KeyboardInterrupt):
        check(fitted, folder, tmp_path / "a")
    monkeypatch.setattr(checking, "check_files", original)
    judged.clear()
    found = check(fitted, folder, tmp_path / "a")
    assert sum(judged) == 2  # the first two are known, and with them the copy
    assert found == check_paths(fitted, [folder]).to_dict()


def test_another_attributor_has_answers_of_its_own__identity_basis(
    fitted, folder, tmp_path, judged, generator, smooth, small
):
    config = dataclasses.replace(fitted.config, false_negative_rate=0.1)
    rate = dataclasses.replace(fitted, config=config)
    other = fit(generator, smooth(90, 0), config=small, seed=9)
    numbers = dataclasses.replace(fitted, own_scores=fitted.own_scores + 1e-9)
    assert len({basis_of(one) for one in (fitted, rate, other, numbers)}) == 4
    check(fitted, folder, tmp_path / "a")
    judged.clear()
    assert check(other, folder, tmp_path / "a") == check_paths(other, [folder]).to_dict()
    assert judged == [5, 5]
    judged.clear()
    check(fitted, folder, tmp_path / "a")
    assert judged == []


def test_memory_does_not_grow_with_the_folder__limit(fitted, folder, monkeypatch, judged):
    expected = check_paths(fitted, [folder]).to_dict()
    judged.clear()
    monkeypatch.setattr(checking, "PART", 2)
    assert check_paths(fitted, [folder]).to_dict() == expected
    assert judged == [2, 2, 1]


@pytest.mark.parametrize("content", [b"no database, but text " * 60, b"SQLite format 3\0junk"])
def test_a_file_of_something_else__rejects_file(fitted, tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ArtifactError, match="is no file of answers, or damaged"):
        Answers(tmp_path / "a", fitted)
    assert (tmp_path / "a").read_bytes() == content


def test_answers_that_were_tampered_with_or_cannot_be_kept__rejects_file(fitted, folder, tmp_path):
    check(fitted, folder, tmp_path / "a")
    with sqlite3.connect(tmp_path / "a") as base:
        base.execute('UPDATE answers SET answer = \'{"verdict": "maybe"}\'')
    with pytest.raises(ArtifactError, match="delete it or name another one"):
        check(fitted, folder, tmp_path / "a")
    with pytest.raises(InputError, match="is a folder; name a file"):
        Answers(tmp_path, fitted)
    with pytest.raises(InputError, match="cannot use"):
        Answers(tmp_path / "none" / "a", fitted)
