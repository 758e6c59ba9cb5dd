"""`wherefrom case` and `wherefrom inspect`, from files to answers."""

import json
import shutil

import pytest

from wherefrom.cli.main import run


def test_check_says_what_is_whole__closed_form(case_file, capsys):
    assert run(["-q", "case", "check", str(case_file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["healthy"]
    assert [part["state"] for part in told["parts"]] == ["ok"] * 6


def test_check_names_what_was_changed_and_exits_2__rejects_part(world, tmp_path, capsys):
    copy = shutil.copytree(world.folder / "mine.attributor", tmp_path / "mine.attributor")
    case = str(tmp_path / "case.toml")
    assert run(["-q", "case", "init", case, "--family-error", "0.1"]) == 0
    assert run(["-q", "case", "add", case, str(copy)]) == 0
    shutil.rmtree(copy)
    shutil.copytree(world.folder / "sister.attributor", copy)
    capsys.readouterr()
    assert run(["-q", "case", "check", case]) == 2
    out, err = capsys.readouterr()
    assert "is not the one that was added" in out
    assert err.startswith("error: the attributor 'mine'")
    assert err.count("\n") == 1
    assert run(["-q", "inspect", str(world.own / "0.png"), "--with", case]) == 2
    assert run(["-q", "case", "add", case, str(copy)]) == 2  # there is one of that name
    assert run(["-q", "case", "add", case, str(copy), "--overwrite"]) == 0
    assert run(["-q", "case", "check", case]) == 0


def test_foreign_things_and_options_are_refused_and_nothing_is_written__rejects_part(
    world, case_file, tmp_path, capsys
):
    before = case_file.read_bytes()
    (tmp_path / "not.json").write_text("{}")
    for path, more, reason in (
        (tmp_path / "not.json", ["--model", "mine"], "no receipt"),
        (world.folder / "receipt.json", [], "say with --model"),
        (world.folder / "receipt.json", ["--model", "x", "--name", "y"], "is about the model 'x'"),
        (world.photos, [], "not usable in a case"),
        (world.folder / "calibration", ["--false-alarms", "1e-4", "--name", "y"], "cannot be"),
        (world.folder / "mine.attributor", ["--encoder", "vae", "--name", "y"], "no --encoder"),
    ):
        assert run(["-q", "case", "add", str(case_file), str(path), *more]) == 2
        err = capsys.readouterr().err
        assert reason in err, err
        assert err.count("\n") == 1
    assert case_file.read_bytes() == before


@pytest.mark.usefixtures("undrawn")
def test_one_image_gives_lines_json_and_a_report__closed_form(world, case_file, tmp_path, capsys):
    image, out = str(world.own / "0.png"), tmp_path / "report"
    arguments = ["-q", "inspect", image, "--with", str(case_file)]
    assert run([*arguments, "--out", str(out)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("0.png  sha256:")
    assert sorted(path.name for path in out.iterdir()) == ["inspection.json", "report.html"]
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "inspection.json").read_text())
    (out / "mine.txt").write_text("my notes")
    assert run([*arguments, "--out", str(out)]) == 2
    assert "holds files that are no report (mine.txt)" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_a_folder_gives_a_table_and_goes_on__closed_form(world, case_file, tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "report"
    folder.mkdir()
    shutil.copy(world.photos / "003.png", folder / "copy.png")
    (folder / "broken.png").write_bytes(b"no image")
    arguments = ["inspect", str(folder), "--with", str(case_file), "--out", str(out)]
    assert run(arguments) == 0
    told, _ = capsys.readouterr()
    assert "something was found about 1 of 2 images; 1 file could not be read" in told
    assert told.index("copy.png") < told.index("broken.png")
    assert {path.name for path in out.iterdir()} == {
        "report.html", "inspections.csv", "inspections.json",
    }  # fmt: skip
    assert run(arguments) == 0
    assert "1 of 2 were known from an earlier run" in capsys.readouterr().err
    (folder / "copy.png").unlink()
    assert run(["-q", "inspect", str(folder), "--with", str(case_file)]) == 2
    assert "no image could be read" in capsys.readouterr().err
