import json
import re
import shlex
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ImageOps

from wherefrom import attribution
from wherefrom.anomaly.config import AnomalyConfig
from wherefrom.calibration.verdict import Verdict
from wherefrom.case.demo import SUSPECTS, DemoConfig, Grade, make_demo, method, start_folder
from wherefrom.case.demo.edits import EDITS
from wherefrom.case.demo.folder import CONTENTS, MARKER
from wherefrom.case.demo.grading import grade_answer, grade_suspect
from wherefrom.case.demo.material import (
    calibration_photographs,
    open_photograph,
    part_clothes,
    shipped_clothes,
    shipped_photographs,
)
from wherefrom.case.demo.suspects import BROKEN, MINE, NO_ORIGIN, Suspect
from wherefrom.case.folder import InspectedFile
from wherefrom.case.result import QUESTIONS
from wherefrom.cli.main import run
from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.generators.loading import load_generator

ASSETS = Path(str(files("wherefrom") / "assets"))
MAX_PHOTOGRAPHS_BYTES = 3 * 2**20  # all of them together
MAX_LINES = 100  # that a demo prints, progress included
LIKENESS = 0.3  # correlation of an edit with its origin; that of unrelated pictures is near 0
TINY = DemoConfig(
    inverter_clothes=64,
    outlier_clothes=20,
    outlier_false_alarms=0.1,
    anomaly=AnomalyConfig(directions=1, restarts=1, steps=2, attack_steps=1),
).with_values({"inversion.steps": 2, "inversion.width": 4, "inversion.calibration_samples": 64})


def answer(question, state, *, path="x/meadow.jpg", shares=(5, 4, 1), reason=""):
    """An answer of an inspection, as far as grading reads it."""
    details = {
        "candidates": [{"path": path}],
        "contributors": ["clothes-1", "clothes-2", "noise"],
        "shares": list(shares),
    }
    part = {"p_value": 0.25, "details": details}
    return {"question": question, "state": state, "reason": reason, "parts": [part]}


def test_no_image_of_clothes_serves_two_purposes__closed_form():
    numbers = torch.arange(2600)
    parts = part_clothes(numbers, DemoConfig().clothes_needed())
    used = torch.cat(list(parts.values()))
    assert len(used.unique()) == len(used)
    assert {name: len(part) for name, part in parts.items()} == DemoConfig().clothes_needed()
    assert shipped_clothes().shape == (2600, 1, 32, 32)


def test_more_clothes_than_are_shipped__rejects():
    with pytest.raises(InputError, match="12 images are needed, and 10 are shipped"):
        part_clothes(torch.arange(10), {"a": 5, "b": 7})


def test_photographs_of_suspects_calibrate_nothing__closed_form():
    mine, others = shipped_photographs("mine"), shipped_photographs("others")
    assert (len(mine), len(others), len(calibration_photographs())) == (40, 30, 25)
    assert set(others) - set(calibration_photographs()) == {
        "sunset", "sunset-1", "sunset-2", "sunset-3", "sunset-4",
    }  # fmt: skip
    origins = {suspect.origin for suspect in SUSPECTS.values()} - {None, NO_ORIGIN}
    assert origins <= set(mine)


def test_the_notice_names_every_photograph__closed_form():
    text = (ASSETS / "photographs" / "NOTICE.md").read_text()
    pictures = list((ASSETS / "photographs").glob("*/*.jpg"))
    for path in pictures:
        name = path.stem.partition("-")[0]
        (line,) = [row for row in text.splitlines() if f"`{path.parent.name}/{name}*.jpg`" in row]
        assert "CC BY" in line or "CC0" in line
    assert sum(path.stat().st_size for path in pictures) < MAX_PHOTOGRAPHS_BYTES


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_another_picture_of_the_same_thing__identity(name):
    picture, other = (
        open_photograph(path).reduce(2)
        for path in (shipped_photographs("mine")["mountain"], shipped_photographs("others")["bird"])
    )
    edited = EDITS[name](picture, other, 1)
    assert edited.size == picture.size and edited.mode == "RGB"
    assert edited.tobytes() == EDITS[name](picture, other, 1).tobytes()
    assert edited.tobytes() != picture.tobytes()
    grey = [np.asarray(one.convert("L"), dtype=float) for one in (picture, edited)]
    found = [
        np.corrcoef(grey[0].ravel(), seen.ravel())[0, 1] for seen in (grey[1], grey[1][:, ::-1])
    ]
    assert max(found) > LIKENESS


def test_a_folder_is_started_and_started_again__closed_form(tmp_path):
    place = tmp_path / "deep" / "demo"
    start_folder(place)
    (place / CONTENTS[0]).write_text("old")
    (place / "suspects").mkdir()
    (place / "suspects" / "old.png").write_text("old")
    (place / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match="an earlier demo; pass --overwrite"):
        start_folder(place)
    assert (place / CONTENTS[0]).read_text() == "old"
    start_folder(place, replace=True)
    assert sorted(path.name for path in place.iterdir()) == [MARKER, "mine.txt"]


@pytest.mark.parametrize("content", ["", "[]", '{"kind": "another"}', None])
def test_a_folder_of_somebody_else_is_left_alone__rejects(tmp_path, content):
    (tmp_path / "case.toml").write_text("precious")
    if content is not None:
        (tmp_path / MARKER).write_text(content)
    for replace in (False, True):
        with pytest.raises(InputError, match="not the folder of an earlier demo"):
            start_folder(tmp_path, replace=replace)
    assert (tmp_path / "case.toml").read_text() == "precious"


def test_a_link_to_a_demo_is_left_alone__rejects(tmp_path):
    start_folder(tmp_path / "demo")
    (tmp_path / "link").symlink_to(tmp_path / "demo")
    with pytest.raises(InputError, match="not the folder of an earlier demo"):
        start_folder(tmp_path / "link", replace=True)


EDIT = Suspect("edit", "an edit", origin="meadow", natural=None)
REAL = Suspect("real", "a real picture", natural=True, shows_clothes=True)
NOISE = Suspect("damaged", "noise", natural=False)


@pytest.mark.parametrize(
    ("suspect", "question", "state", "text", "grade"),
    [
        (MINE, "model", "found", "mine", Grade.RIGHT),
        (MINE, "model", "not found", "not mine", Grade.WRONG),
        (MINE, "model", "cannot say", "cannot say", Grade.NO_ANSWER),
        (MINE, "model", "not asked", "-", Grade.UNGRADED),
        (REAL, "model", "found", "mine", Grade.WRONG),
        (REAL, "model", "not found", "not mine", Grade.RIGHT),
        (EDIT, "origin", "found", "meadow", Grade.RIGHT),
        (EDIT, "origin", "not found", "none", Grade.WRONG),
        (REAL, "origin", "found", "meadow", Grade.WRONG),
        (REAL, "origin", "not found", "none", Grade.RIGHT),
        (REAL, "naturalness", "found", "no (25%)", Grade.WRONG),
        (REAL, "naturalness", "not flagged", "yes (25%)", Grade.RIGHT),
        (NOISE, "naturalness", "found", "no (25%)", Grade.RIGHT),
        (NOISE, "naturalness", "not flagged", "yes (25%)", Grade.WRONG),
        (EDIT, "naturalness", "found", "no (25%)", Grade.UNGRADED),
        (EDIT, "naturalness", "cannot say", "cannot say", Grade.UNGRADED),
        (REAL, "outlier", "found", "yes (25%)", Grade.WRONG),
        (REAL, "outlier", "not flagged", "no (25%)", Grade.RIGHT),
        (NOISE, "outlier", "found", "yes (25%)", Grade.RIGHT),
        (NOISE, "outlier", "not flagged", "no (25%)", Grade.WRONG),
        (MINE, "credit", "found", "50/40/10", Grade.RIGHT),
        (REAL, "credit", "found", "50/40/10", Grade.WRONG),
        (REAL, "credit", "not asked", "-", Grade.UNGRADED),
    ],
)  # fmt: skip
def test_answers_are_held_against_the_truth__closed_form(suspect, question, state, text, grade):
    found = grade_answer(suspect, answer(question, state))
    assert (found.text, found.grade) == (text, grade)


def test_another_photograph_than_the_origin_is_wrong__closed_form():
    found = grade_answer(EDIT, answer("origin", "found", path="x/meadow-1.jpg"))
    assert (found.text, found.grade) == ("meadow-1", Grade.WRONG)


def test_credit_is_wrong_where_noise_earns_more__closed_form():
    found = grade_answer(MINE, answer("credit", "found", shares=(5, 1, 4)))
    assert found.grade is Grade.WRONG


def test_credit_is_missed_where_the_model_is__closed_form():
    missed = answer("credit", "not asked", reason="the image was not assigned to a model, so ...")
    assert grade_answer(MINE, missed).grade is Grade.NO_ANSWER
    absent = answer("credit", "not asked", reason="the case names no credit receipt")
    assert grade_answer(MINE, absent).grade is Grade.UNGRADED


def test_a_file_that_is_no_image_has_a_reason_and_no_answers__closed_form():
    found = grade_suspect(BROKEN, InspectedFile("a/broken.png", None, "a/broken.png: is damaged"))
    assert (found.name, found.unreadable, found.answers) == ("broken.png", "is damaged", {})
    assert not any(found.graded(grade) for grade in Grade)


def without_package(material):
    raise MissingExtraError("some-package", "anomaly", "the feature network")


def mirrored(picture, other, seed):
    """An edit that costs nothing."""
    return ImageOps.mirror(picture)


@pytest.fixture(scope="module")
def tiny():
    """The demo with a tiny inverter, small suspects, and a part whose package is missing."""
    suspects = "wherefrom.case.demo.suspects"
    name, fit = method.PARTS["inverter"]
    parts = {"anomaly": ("the calibration", without_package), "inverter": (name, fit)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{suspects}.open_photograph", lambda path: open_photograph(path).reduce(4))
        patch.setattr(f"{suspects}.EDITS", dict.fromkeys(EDITS, mirrored))
        patch.setattr(method, "PARTS", parts)
        patch.setattr(method, "DemoConfig", lambda: TINY)
        yield


@pytest.fixture(scope="module")
def demo(tiny, tmp_path_factory):
    """A tiny demo and its notes."""
    folder, notes = tmp_path_factory.mktemp("tiny") / "demo", []
    start_folder(folder)
    return make_demo(folder, note=notes.append), notes


def test_a_missing_package_leaves_one_part_out__closed_form(demo):
    made, notes = demo
    assert made.left_out == (
        "the calibration: the feature network needs the package 'some-package', which is not "
        "installed; run: pip install 'wherefrom[anomaly]'",
    )
    assert notes[0] == "1 of 2: the calibration, left out"
    assert notes[1].startswith("2 of 2: the inverter of clothes, ")
    assert sorted(path.name for path in made.suspects.iterdir()) == sorted(SUSPECTS)


def test_the_command_prints_a_table_and_ends_with_the_report__closed_form(
    demo, tmp_path, monkeypatch, capsys
):
    inverter = demo[0].case.with_name("clothes.inverter")

    def fitted_before(material):
        return shutil.copytree(inverter, material.folder / inverter.name)

    monkeypatch.setitem(method.PARTS, "inverter", ("the inverter of clothes", fitted_before))
    monkeypatch.chdir(tmp_path)
    assert run(["demo", "--out", str(tmp_path / "here" / "demo")]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[-1] == f"Report: {Path('here/demo/report/report.html')}"
    assert Path(lines[-1].removeprefix("Report: ")).is_file()
    assert str(tmp_path) not in printed.out + printed.err
    assert "left out, the calibration" in printed.out.replace("\n  ", " ")
    for name, suspect in SUSPECTS.items():
        (line,) = [row for row in lines if row.startswith(f"{name} ")]
        assert suspect.truth in line
    assert "broken.png: not read: is damaged or truncated" in printed.out
    assert len((printed.out + printed.err).splitlines()) <= MAX_LINES
    page = Path("here/demo/report/report.html").read_text()
    assert "Truth and answers" in page
    assert run(["demo", "--out", "here/demo"]) == 2
    assert "holds an earlier demo; pass --overwrite" in capsys.readouterr().err
    assert run(["-q", "demo", "--out", "here/demo", "--overwrite"]) == 0


def readme_commands():
    """The words of each command in the README, and the output beside it."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for line, shown in re.findall(r"^```console\n\$ wherefrom (.*)\n((?:.*\n)*?)^```", text, re.M):
        yield shlex.split(line), shown


def masked(output):
    """The output without what another processor may change: digits, and how wide columns are."""
    return re.sub(r"[ ]+", " ", re.sub(r"[-\d.]+", "0", output)).strip()


def test_the_readme_has_a_command_and_its_output_for_each_question__closed_form():
    pairs = list(readme_commands())
    named = {question for command, _ in pairs for question in command if question != "-q"}
    assert {"attribution", "origin", "anomaly", "credit", "inversion"} <= named
    assert all(shown for _, shown in pairs)
    page = Path(__file__).parents[2] / "README.md"
    assert len(page.read_text(encoding="utf-8").splitlines()) <= 180


def own_images_found(count):
    """Of fresh images of the demo's model, how many its attributor calls the model's."""
    images = load_generator("zoo:fashion-dcgan-0").sample(count, seed=7)
    result = attribution.check("wherefrom-demo/my-model.attributor", images)
    return result.counts()[Verdict.OURS.value]


@pytest.mark.slow
def test_the_demo_answers_all_five_questions__closed_form(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["demo"]) == 0
    printed = capsys.readouterr()
    lines = (printed.out + printed.err).splitlines()
    assert len(lines) <= MAX_LINES
    assert printed.out.splitlines()[-1] == f"Report: {Path('wherefrom-demo/report/report.html')}"
    assert "left out" not in printed.out
    assert run(["-q", "case", "check", "wherefrom-demo/case.toml"]) == 0
    made = {path.name for path in Path("wherefrom-demo").iterdir()} - {MARKER}
    assert made <= set(CONTENTS)  # else --overwrite would leave something behind
    whole = json.loads(Path("wherefrom-demo/report/inspections.json").read_text())
    found = {Path(row["path"]).name: row for row in whole["rows"]}
    assert set(found) == set(SUSPECTS)
    assert found["broken.png"]["inspection"] is None
    states = {
        name: {a["question"]: a["state"] for a in found[name]["inspection"]["answers"]}
        for name in ("mine-1.png", "mine-2.png", "sibling.png")
    }
    assert all(set(answers) == set(QUESTIONS) for answers in states.values())
    mine = [states["mine-1.png"], states["mine-2.png"]]  # so small a fit may not tell one of them
    assert all(answers["model"] != "clear" for answers in mine)
    for answers in mine:
        assert (answers["model"] == "found") == (answers["credit"] == "found")
    assert own_images_found(60) >= 5  # a third are: 38 of 120 in one fit
    assert states["sibling.png"]["model"] != "found"
    graded = [
        grade_answer(SUSPECTS[name], one).grade
        for name, row in found.items()
        if row["inspection"]
        for one in row["inspection"]["answers"]
    ]
    assert graded.count(Grade.RIGHT) > 3 * graded.count(Grade.WRONG)
    capsys.readouterr()
    for command, shown in readme_commands():  # they ask the parts of this demo
        assert run(command) == 0
        assert masked(capsys.readouterr().out) == masked(shown)
