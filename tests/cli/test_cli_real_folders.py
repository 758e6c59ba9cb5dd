"""Commands on folders as people have them: what is said of what was not read, and exit codes."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path

import pytest
import torch

from wherefrom.cli.console.session import Session, listening
from wherefrom.cli.main import run
from wherefrom.data import save_png

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)


def pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(0)
    for index in range(count):
        pixels = torch.randint(0, 256, (3, 16, 16), generator=draw, dtype=torch.uint8)
        save_png(pixels, folder / f"{index}.png")


def test_a_phones_folder_is_indexed_and_the_rest_named__closed_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wherefrom.data.files.kinds.find_spec", lambda name: None)
    pictures(Path("phone"), 2)
    for name in ("IMG_1.HEIC", "IMG_2.HEIC"):
        Path("phone", name).write_bytes(HEIC)
    Path("phone/x.jxl").write_bytes(b"\xff\x0a" + bytes(50))
    Path("phone/0.txt").write_text("a caption")
    Path("phone/.DS_Store").write_bytes(b"x")
    Path("phone/1.png").rename("phone/downloaded")
    assert run(["origin", "build", "phone", "--out", "i.index", "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["added"] == 2
    assert [Path(skipped["path"]).name for skipped in report["skipped"]] == [
        "IMG_1.HEIC",
        "IMG_2.HEIC",
        "x.jxl",
    ]
    assert err.count("note: phone: not read as images: 1 other file (1 .txt)") == 1
    assert "(in all 2 .heic, 1 .jxl)" in err
    assert run(["--quiet", "origin", "build", "phone", "--out", "i.index"]) == 0
    assert "note" not in capsys.readouterr().err


def test_a_build_in_which_nothing_was_added__rejects_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("made").mkdir()
    for name, data in (("a.png", b"\0" * 99), ("b.png", b""), ("c.jxl", b"\xff\x0a")):
        Path("made", name).write_bytes(data)
    assert run(["origin", "build", "made", "--out", "i.index"]) == 2
    assert "no image was added: 3 files were left out; the first: made/a.png" in (
        capsys.readouterr().err
    )
    assert not Path("i.index").exists()
    pictures(Path("good"), 1)
    assert run(["origin", "build", "good", "--out", "i.index"]) == 0
    assert run(["origin", "add", "i.index", "made"]) == 2
    assert run(["origin", "build", "good", "--out", "i.index"]) == 0  # all unchanged


def test_what_libraries_warn_of_is_not_printed__limit(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for level in ("warning", "error"):
            with listening(Session(quiet=False), level):
                warnings.warn("to whom it may concern", stacklevel=1)
    assert capsys.readouterr() == ("", "")
    assert logging.getLogger("py.warnings").level == logging.NOTSET


def test_what_libraries_warn_of_is_logged_on_request__closed_form(
    logged: list[str],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with listening(Session(quiet=False), "info"):
            warnings.warn("to whom it may concern", stacklevel=1)
    assert "to whom it may concern" in "".join(logged)


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "._report.html"])
def test_an_output_folder_with_system_files_is_empty__closed_form(
    tmp_path: Path, name: str
) -> None:
    from wherefrom.cli.anomaly.inputs import prepare_folder
    from wherefrom.cli.case.inspect import _prepare
    from wherefrom.cli.zoo import _refuse_filled

    (tmp_path / name).write_bytes(b"x")
    prepare_folder(tmp_path)
    _prepare(tmp_path)
    _refuse_filled(tmp_path, overwrite=False)
