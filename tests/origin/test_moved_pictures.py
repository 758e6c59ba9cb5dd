"""An index finds its pictures from any folder, and after either was moved."""

import os
import shutil
from pathlib import Path

import pytest
from indexed_pictures import ALL, COUNT, ENCODER, SMALL, build, copy_home, draw, opened, paths_of
from refusing import refused

from wherefrom.core.errors import InputError
from wherefrom.encoders.tiny_conv import make_autoencoder, save_autoencoder
from wherefrom.origin import AnswerKind, References
from wherefrom.origin.index.places import CHANGED, GONE, missing_now, shown_path


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built") / "home")


@pytest.fixture
def home(template, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return copy_home(template, tmp_path / "home")


def unread(references):
    """How many pictures of the index are not where it says, by their content."""
    return sum(bool(missing_now(i.path, i.digest)) for i in references.index.images())


def test_given_again_by_any_of_its_paths_nothing_is_new__identity(home, monkeypatch):
    Path("link").symlink_to(home)
    monkeypatch.chdir(home)
    ways = ["photos", "./photos/../photos", home / "photos", "../link/photos", "photos/trip"]
    with opened("refs.index", writable=True) as references:
        for way in ways:
            report = references.add([Path(way)])
            assert (report.added, report.replaced) == (0, 0)
        assert references.add([Path("../link/photos/trip/../1.png")]).unchanged == 1
        assert paths_of(references, home) == ALL


@pytest.mark.parametrize("writable", [False, True])
def test_moved_with_its_pictures_or_alone__closed_form(home, tmp_path, writable):
    shutil.move(home, tmp_path / "far" / "away")
    with opened("far/away/refs.index", writable=writable) as references:
        assert paths_of(references, "far/away") == ALL and unread(references) == 0
    shutil.move("far/away/refs.index", tmp_path / "alone.index")
    with opened("alone.index", writable=writable) as references:
        if writable:
            assert paths_of(references, "far/away") == ALL and unread(references) == 0
        else:  # a reader has kept nothing, and nothing leads from here to where they were
            assert unread(references) == COUNT
    if not writable:
        with opened("alone.index", roots=[Path("far/away")]) as references:
            assert unread(references) == 0


def test_a_copy_names_its_own_pictures_and_a_lone_copy_the_old_ones__closed_form(home, tmp_path):
    shutil.copytree(home, tmp_path / "copy")
    (tmp_path / "copy" / "photos" / "2.png").unlink()
    with opened("copy/refs.index") as references:
        assert paths_of(references, "copy") == ALL
        assert unread(references) == 1  # not the one in the folder that was copied
    # Another folder of that name lies beside the index now: the content says that it is another.
    Path("lone").mkdir()
    shutil.copytree(home / "refs.index", "lone/refs.index")
    for number in range(4):
        draw(tmp_path / "lone" / "photos" / f"{number}.png", 10 + number)
    with opened("lone/refs.index") as references:
        assert paths_of(references, home) == ALL and unread(references) == 0


def test_a_writer_keeps_what_moved_along_and_what_is_added_moves_along__identity(home, tmp_path):
    for name in ("second", "third"):
        shutil.move(home, tmp_path / name)
        home = tmp_path / name
        draw(home / "photos" / f"{name}.png", len(name))
        with opened(home / "refs.index", writable=True) as references:
            assert references.add([home / "photos"]).added == 1
    shutil.move(home, tmp_path / "last")
    with opened("last/refs.index") as references:
        added = ["photos/second.png", "photos/third.png"]
        assert paths_of(references, "last") == sorted([*ALL, *added])
        assert unread(references) == 0


@pytest.mark.parametrize("root", ["new", "new/pictures", "new/pictures/photos"])
def test_a_root_is_any_folder_above_the_pictures__closed_form(home, tmp_path, root):
    shutil.move(home / "photos", tmp_path / "new" / "pictures" / "photos")
    if root == "new":
        with refused("--root new: none of the pictures of the index lies there"):
            opened("home/refs.index", roots=[Path(root)])
        return
    with opened("home/refs.index") as references:
        assert unread(references) == COUNT
    with opened("home/refs.index", roots=[Path(root)]) as references:
        assert unread(references) == 0
        assert references.index.find([tmp_path / "new/pictures/photos/1.png"]) == (2,)
    with opened("home/refs.index") as references:
        assert unread(references) == COUNT  # a reader keeps nothing


def test_two_folders_that_went_two_ways_have_two_roots__closed_form(home, tmp_path):
    shutil.move(home / "photos" / "trip", tmp_path / "b")
    shutil.move(home / "photos", tmp_path / "a")
    with opened("home/refs.index", roots=[Path("a"), Path("b")]) as references:
        assert unread(references) == 0
    with refused("--root nowhere: there is no such folder"):
        opened("home/refs.index", roots=[Path("nowhere")])


def test_the_encoder_is_found_from_anywhere_and_moves_along__roundtrip(home, monkeypatch):
    monkeypatch.chdir(home)
    save_autoencoder(make_autoencoder(SMALL, seed=1), Path("vae"))
    References.create(Path("own.index"), ENCODER, source="vae").close()
    monkeypatch.chdir("/")
    References.open(home / "own.index").close()
    shutil.copytree(home / "own.index", home.parent / "alone.index")
    References.open(home.parent / "alone.index").close()
    home.rename(home.with_name("elsewhere"))
    References.open(home.with_name("elsewhere") / "own.index").close()
    with pytest.raises(
        InputError, match=r"was built with the encoder in .*vae, which is not there"
    ):
        References.open(home.parent / "alone.index")


def test_a_search_says_that_what_it_names_is_gone__closed_form(home, monkeypatch):
    monkeypatch.chdir(home)
    shutil.copy("photos/1.png", "asked.png")
    shutil.copy("photos/2.png", "other.png")
    Path("photos/1.png").unlink()
    draw(Path("photos/2.png"), 30)
    with opened("refs.index") as references:
        first, second = references.search([Path("asked.png"), Path("other.png")])
    assert first.sentence() == "copy of photos/1.png (the same file), which is gone"
    assert first.answer is AnswerKind.COPY and first.candidates[0].missing == GONE
    assert "photos/1.png is gone; put it back, or bring the index up to date" in first.notes[0]
    assert second.sentence().endswith("(the same file), which has changed since it was added")
    assert first.to_dict()["candidates"][0]["missing"] == GONE
    assert first.consulted == (str(home / "photos/1.png"),) and "consulted" not in first.to_dict()


def test_of_two_pictures_of_one_content_the_one_that_is_there_is_named__closed_form(home):
    shutil.copy(home / "photos/1.png", home / "photos/z.png")
    with opened("home/refs.index", writable=True) as references:
        references.add([home / "photos"])
        (home / "photos/1.png").rename("asked.png")
        (answer,) = references.search([Path("asked.png")])
    assert answer.candidates[0].path.endswith("photos/z.png") and answer.notes == ()


def test_paths_are_shown_from_a_folder_above_them__closed_form(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inside = str(tmp_path.resolve() / "a" / "b.png")
    assert shown_path(inside) == os.path.join("a", "b.png")  # noqa: PTH118
    assert shown_path(inside, tmp_path / "a") == "b.png"
    assert shown_path(inside, tmp_path / "c") == inside
    assert missing_now(str(tmp_path)) == CHANGED and missing_now("a/b.png") == GONE
