"""`wherefrom origin sync`, `--root`, and what a search says of pictures that are gone."""

import json
import shutil
from pathlib import Path

import pytest
from indexed_pictures import SMALL, build, copy_home, draw

from wherefrom.cli.main import run
from wherefrom.encoders.tiny_conv import make_autoencoder, save_autoencoder


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    home = build(tmp_path_factory.mktemp("built") / "home")
    save_autoencoder(make_autoencoder(SMALL, seed=1), home / "vae")
    return home


@pytest.fixture
def home(template, tmp_path, monkeypatch):
    home = copy_home(template, tmp_path / "home")
    monkeypatch.chdir(home)
    return home


def ask(capsys, *arguments, code=0):
    command = ["origin", *arguments, "--encoder", "vae"]
    assert run(command) == code
    return capsys.readouterr()


def test_sync_says_what_it_found_and_does_it__closed_form(home, capsys):
    draw(Path("photos/new.png"), 20)
    draw(Path("photos/3.png"), 21)
    Path("photos/0.png").unlink()
    Path("photos/1.png").rename("photos/trip/one.png")
    Path("photos/torn.png").write_bytes(b"\x89PNG")
    lines = [
        "added: photos/new.png",
        "added: photos/torn.png",
        "changed: photos/3.png",
        "gone: photos/0.png",
        "moved: photos/1.png -> photos/trip/one.png",
    ]
    listing = ask(capsys, "sync", "refs.index", "--dry-run").out.splitlines()
    assert listing[:5] == lines
    assert listing[5:] == [
        "2 added, 1 changed, 1 gone, 1 moved, 3 unchanged, 0 not read; nothing was changed "
        "(--dry-run)"
    ]
    out, err = ask(capsys, "sync", "refs.index")
    assert out.splitlines() == [
        *[line for line in lines if "torn" not in line],
        "1 added, 1 changed, 1 gone, 1 moved, 3 unchanged, 1 not read; 6 in the index",
    ]
    assert "photos/torn.png" in err
    report = json.loads(ask(capsys, "sync", "refs.index", "--json").out)
    assert (report["unchanged"], report["images"], report["added"]) == (6, 6, [])
    assert run(["origin", "remove", "refs.index", "photos/*.png"]) == 0
    assert capsys.readouterr().out == "3 removed, 3 left\n"
    text = ask(capsys, "sync", "refs.index").out
    assert "0 added, 0 changed, 0 gone, 0 moved, 3 unchanged, 3 removed before and left out" in text


def test_a_long_list_is_cut__closed_form(home, capsys, monkeypatch):
    monkeypatch.setattr("wherefrom.cli.origin.sync.MAX_LISTED", 2)
    Path("photos").rename("pictures")
    lines = ask(capsys, "sync", "refs.index", "--root", "pictures").out.splitlines()
    assert lines[:3] == [
        "moved: photos/0.png -> pictures/0.png",
        "moved: photos/1.png -> pictures/1.png",
        "moved: 4 more (--json lists all)",
    ]


def test_a_disk_that_is_not_there_is_refused_in_one_line__rejects_missing(home, capsys):
    shutil.rmtree("photos")
    out, err = ask(capsys, "sync", "refs.index", code=2)
    assert out == "" and err.count("\n") == 1
    assert "photos is not there or empty, with 6 of the pictures of the index" in err
    assert "pass --missing-folders" in err
    text = ask(capsys, "sync", "refs.index", "--missing-folders", "--json").out
    assert len(json.loads(text)["gone"]) == 6


def test_a_picture_that_is_gone_is_said_to_be_everywhere__closed_form(home, capsys):
    shutil.copy("photos/1.png", "asked.png")
    Path("photos/1.png").unlink()
    out, err = ask(capsys, "search", "refs.index", "asked.png", "--report", "page.html")
    assert out == "asked.png: copy of photos/1.png (the same file), which is gone\n"
    assert "photos/1.png is gone; put it back, or bring the index up to date" in err
    assert "photos/1.png (the same file), which is gone" in Path("page.html").read_text()
    (answer,) = json.loads(ask(capsys, "search", "refs.index", "asked.png", "--json").out)[
        "answers"
    ]
    ask(capsys, "search", "refs.index", "asked.png", "photos/2.png", "--report", "page.html")
    assert ">photos/1.png, which is gone" in Path("page.html").read_text()  # in the overview
    assert answer["candidates"][0]["missing"] == "is gone" and "which is gone" in answer["sentence"]


@pytest.mark.parametrize("command", ["search", "evaluate", "calibrate", "sync"])
def test_a_root_that_holds_no_picture_is_refused__rejects_root(home, capsys, command):
    more = {
        "search": ["refs.index", "photos/0.png"],
        "evaluate": ["pairs", "--index", "refs.index"],
        "calibrate": ["refs.index", "--pairs", "pairs", "--fpr", "0.1"],
        "sync": ["refs.index"],
    }
    Path("pairs/edits").mkdir(parents=True)
    shutil.copy("photos/0.png", "photos/0_edit.png")
    shutil.move("photos/0_edit.png", "pairs/0__m.png")
    assert run(["-q", "origin", "pairs", "photos", "--edits", "pairs"]) == 0
    capsys.readouterr()
    _, err = ask(capsys, command, *more[command], "--root", "vae", code=2)
    assert err.count("\n") == 1
    assert "--root vae: none of the pictures of the index lies there" in err


def test_the_same_answer_from_another_folder__identity(home, tmp_path, capsys, monkeypatch):
    assert run(["-q", "origin", "build", "photos", "--encoder", "vae", "--out", "own.index"]) == 0
    shutil.copy("photos/1.png", "asked.png")
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    assert run(["-q", "origin", "search", "home/own.index", "home/asked.png"]) == 0
    assert "copy of home/photos/1.png" in capsys.readouterr().out
    Path("home").rename("moved")
    assert run(["-q", "origin", "search", "moved/own.index", "moved/asked.png"]) == 0
    assert "copy of moved/photos/1.png (the same file)\n" in capsys.readouterr().out
    assert run(["-q", "origin", "add", "moved/own.index", "moved/photos", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unchanged"] == 6
