import json
import shutil
from importlib.resources import files

import jsonschema
import pytest
import torch

from wherefrom.case import inspect_image, open_case
from wherefrom.case.folder import InspectedFile, inspect_folder
from wherefrom.case.questions.asked import FlagWords, combine_flags
from wherefrom.case.result import QUESTIONS, PartAnswer, State
from wherefrom.core.errors import InputError
from wherefrom.data import save_png
from wherefrom.report.case.folder import _cells, _worst
from wherefrom.report.case.wording import TONES

SCHEMA = json.loads((files("wherefrom.case") / "inspection.schema.json").read_text())


@pytest.fixture(scope="module")
def opened(case_file):
    with open_case(case_file) as opened:
        yield opened


@pytest.fixture(scope="module")
def suspect(world, opened):
    """An image that `mine` made and the case is sure about, with its inspection."""
    for path in sorted(world.own.iterdir()):
        found = inspect_image(path, opened, pictures=True)
        if found.answer("model").state is State.FOUND:
            return path, found
    pytest.fail("the case is sure about none of the model's own images")


def states(found):
    return {answer.question: str(answer.state) for answer in found.answers}


def test_every_question_is_answered_or_says_why_not__closed_form(opened, suspect, world):
    _, found = suspect
    assert list(states(found)) == list(QUESTIONS)
    model, credit = found.answer("model"), found.answer("credit")
    assert model.sentence == "Made by the model “mine”."
    assert (model.error_rate, len(model.parts)) == (0.1, 2)
    assert credit.state is State.FOUND
    assert "most credit for diversity: ann" in credit.sentence
    assert credit.error_rate == pytest.approx(0.05)
    copied = inspect_image(world.photos / "003.png", opened)
    assert states(copied)["origin"] == "found"
    assert "the same file" in copied.answer("origin").sentence
    assert states(copied)["model"] == "cannot say"
    assert states(copied)["credit"] == "not asked"
    assert all(a.reason for a in copied.answers if str(a.state) in ("cannot say", "not asked"))


def test_answers_are_those_of_the_methods__identity(opened, suspect):
    from wherefrom.attribution.checking.paths import check_paths

    path, found = suspect
    rows = [check_paths(fitted, [path]).images[0] for _, fitted in opened.attributors]
    parts = found.answer("model").parts
    assert [part.p_value for part in parts] == [row.p_value for row in rows]
    assert [part.verdict for part in parts] == [str(row.verdict) for row in rows]
    (part,) = found.answer("naturalness").parts
    (_, fitted) = opened.naturalness[0]
    from wherefrom.anomaly.method import score_progressively

    scores = score_progressively([path], fitted.encoder, fitted.calibration, false_alarms=0.1)
    (row,) = fitted.calibration.judge(scores, false_alarms=0.1, progressive=True)
    assert part.p_value == row.p_value


def test_the_json_keeps_its_schema__reference_jsonschema(opened, suspect, world):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for found in (suspect[1], inspect_image(world.photos / "001.png", opened)):
        told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        jsonschema.validate(told, SCHEMA)
        for spoil in (
            lambda t: t["answers"].pop(),
            lambda t: t["answers"].reverse(),
            lambda t: t["answers"][0].update(state="surely"),
            lambda t: t["image"].update(digest="md5:0"),
            lambda t: t.update(verdict="guilty"),
        ):
            other = json.loads(json.dumps(told))
            spoil(other)
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(other, SCHEMA)


@pytest.mark.parametrize("question", ["naturalness", "outlier"])
def test_what_only_flags_is_not_flagged_rather_than_not_found__closed_form(question):
    part = PartAnswer("a", "a", "", "not flagged", 0.5)
    words = FlagWords("Unlike", "Like", "Whether", "")
    said = combine_flags(question, [part], [0.1], words, ()).to_dict()
    assert (said["state"], said["sentence"]) == (
        "not flagged",
        "Like, as far as can be told (p = 0.5).",
    )
    assert said["state"] in SCHEMA["$defs"]["answer"]["properties"]["state"]["enum"]
    row = InspectedFile("x.png", {"answers": [said]})
    assert row.rank()[0] == 2
    (column,) = (cell for cell in _cells(row)[1:5] if cell)
    assert (column, TONES[column], _worst(row)) == ("not flagged", "no", State.CLEAR)


def test_asked_twice_it_answers_the_same__identity(opened, suspect):
    path, found = suspect
    assert inspect_image(path, opened).to_dict() == found.to_dict()


def test_a_file_that_is_no_image_is_refused__rejects_file(opened, tmp_path):
    (tmp_path / "x.png").write_bytes(b"GIF89a<script>")
    with pytest.raises(InputError, match=r"x\.png: is"):
        inspect_image(tmp_path / "x.png", opened)


def test_a_folder_goes_on_and_a_broken_file_never_stops_it__closed_form(
    opened, suspect, world, tmp_path
):
    folder, keep = tmp_path / "in", tmp_path / "answers"
    folder.mkdir()
    shutil.copy(suspect[0], folder / "b-own.png")
    shutil.copy(world.photos / "003.png", folder / "c-copy.png")
    save_png(torch.full((3, 16, 16), 128, dtype=torch.uint8), folder / "d-grey.png")
    (folder / "a-broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    first = inspect_folder([folder], opened, keep=keep)
    names = [row.path.rpartition("/")[2] for row in first.rows]
    assert first.reused == 0
    assert names[-1] == "a-broken.png"
    assert names[0] == "c-copy.png"  # the same file: nothing is more certain
    assert first.rows[-1].reason
    ranks = [row.rank() for row in first.rows]
    assert ranks == sorted(ranks)
    # Cut one stored answer short, as a full disk would: it is asked again, the others are not.
    entries = sorted(keep.iterdir())
    assert len(entries) == 3
    entries[0].write_bytes(entries[0].read_bytes()[:100])
    again = inspect_folder([folder], opened, keep=keep)
    assert again.reused == 2
    pandas = pytest.importorskip("pandas")
    frame = again.to_dataframe()
    assert isinstance(frame, pandas.DataFrame) and list(frame["path"]) == [
        r.path for r in again.rows
    ]
    assert again._repr_html_().count("<tr>") == 1 + len(again.rows)
    assert again.to_dict() == first.to_dict()
