"""`wherefrom anomaly`, from folders to answers."""

import json
from pathlib import Path

import pytest
from anomaly_pictures import tiny_encoder, write_images

from wherefrom.cli.main import run

LIGHT = [
    *("--device", "cpu", "--scores-directions", "1", "--scores-restarts", "1"),
    *("--scores-steps", "3", "--scores-attack-steps", "1", "--comparison-draws", "19"),
    *("--comparison-neighbours", "2", "--assumption-images", "5", "--assumption-grades", "1"),
    *("--localisation-segmentation", "grid", "--localisation-segments", "4"),
    *("--false-alarms", "0.1", "--heat-maps", "1"),
]

SCORE = ["score", "gen_a", "--against", "report/calibration"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("anomaly")
    write_images(folder / "real", 24)
    write_images(folder / "gen_a", 12)
    write_images(folder / "gen_b", 12, noise=0.4)
    return folder


@pytest.fixture
def here(home, monkeypatch):
    monkeypatch.chdir(home)
    for module in ("wherefrom.encoders", "wherefrom.anomaly.method"):
        monkeypatch.setattr(f"{module}.load_feature_encoder", lambda *a, **k: tiny_encoder())
    if not Path("report").exists():
        audit = ["anomaly", "audit", "real", "gen_a", "b=gen_b", "--out", "report", *LIGHT]
        assert run(["--quiet", *audit]) == 0
    return home


@pytest.mark.usefixtures("undrawn")
def test_audit_says_which_generator_is_nearest__closed_form(here, capsys):
    again = ["anomaly", "audit", "real/", "gen_a/", "b=gen_b/", "--out", "report", *LIGHT]
    assert run(again) == 0
    output = capsys.readouterr()
    assert "wrote report/report.html" in output.err
    lines = output.out.splitlines()
    assert lines[0].split()[:4] == ["generator", "rank", "group", "images"]
    assert [line.split()[0] for line in lines[1:3]] == ["gen_a", "b"]
    whole = json.loads(Path("report/audit.json").read_text())
    capsys.readouterr()
    assert run([*again, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == whole["images"]


def test_one_image_is_ranked_and_explained__closed_form(here, capsys, tmp_path):
    against = ["--against", "report/calibration", "--device", "cpu"]
    image = "gen_b/003.png"
    assert run(["anomaly", "score", image, *against, "--false-alarms", "0.1", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["images"]
    assert row["name"] == image
    assert row["flagged"] == (row["p_value"] <= 0.1)
    assert run(["anomaly", "score", image, *against, "--false-alarms", "0.1"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(image)
    heat = tmp_path / "heat.png"
    explain = ["anomaly", "explain", image, *against, "--out", str(heat)]
    assert run([*explain, "--segmentation", "grid", "--segments", "4"]) == 0
    assert heat.stat().st_size > 0
    assert "three segments outlined" in capsys.readouterr().out


def test_a_folder_is_sorted__closed_form(here, capsys, tmp_path):
    sort = ["anomaly", "sort", "gen_b", "--against", "report/calibration", "--device", "cpu"]
    assert run([*sort, "--false-alarms", "0.1", "--out", str(tmp_path / "sorted")]) == 0
    output = capsys.readouterr().out.splitlines()[0]
    parts = {part: len(list((tmp_path / "sorted" / part).iterdir())) for part in ("keep", "broken")}
    assert output == f"{parts['keep']} kept, {parts['broken']} broken"
    assert sum(parts.values()) == 12
    assert (tmp_path / "sorted" / "reasons.csv").read_text().startswith("image,flagged,p-value")


def test_a_folder_is_sorted_with_confidence_and_all_images_together__closed_form(
    here, capsys, tmp_path
):
    sort = ["anomaly", "sort", "gen_b", "--against", "report/calibration", "--device", "cpu"]
    sure = ["--false-alarms", "0.2", "--confidence", "0.9", "--false-discovery-rate", "0.1"]
    assert run([*sort, *sure, "--out", str(tmp_path / "sorted")]) == 0
    message = capsys.readouterr().out.splitlines()[1]
    assert "rate 0.2 with confidence 0.9, 16 held-out" in message
    assert message.endswith("at most 10 % are like the real ones, on average")


def test_the_grid_of_the_paper_is_printed__closed_form(here, capsys):
    light = ["--device", "cpu", "--directions", "1"]
    assert run(["anomaly", "reproduce", "gen_a", "gen_b", *light]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9 + 14  # the grid, then the tests of Tab. C.1 and E.1
    assert [line.split()[1:4] for line in lines[1:3]] == [["0.05", "10", "C"], ["0.05", "10", "V"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["audit", "real", "gen_a", "gone", "--out", "r"], "no such file or folder"),
        (["audit", "real", "gen_a", "gen_a", "--out", "r"], "two generators are called 'gen_a'"),
        (["audit", "real", "gen_a", "--out", "gen_b", *LIGHT], "is no folder of an audit"),
        (["audit", "real", "gen_a", "--out", "r"], "needs at least 149"),
        (["score", "gone.png", "--against", "report/calibration"], "no such file"),
        (["score", "gen_a", "--against", "gen_a"], "not a wherefrom artifact"),
        (["score", "gen_a", "--against", "report/calibration"], "cannot be supported by 16"),
        (
            [*SCORE, "--false-alarms", "0.1", "--confidence", "0.9"],
            "with confidence 0.9 cannot be supported by 16 held-out samples; use at least 22",
        ),
        ([*SCORE, "--false-alarms", "0.1", "--confidence", "1"], "must lie in [0, 1)"),
        ([*SCORE, "--false-alarms", "0.1", "--false-discovery-rate", "0"], "between 0 and 1"),
        (["sort", "gen_a", "--against", "report/calibration", "--out", "gen_b"], "already exists"),
        (["explain", "gen_a/000.png", "--against", "report/calibration", "--out", "x"], ".png"),
        (["reproduce", "real", "gen_a", "--human", "gen_a/000.png"], "is not text"),
    ],
)
def test_what_cannot_be_done_is_one_line__rejects(here, capsys, words, message):
    assert run(["anomaly", *words]) == 2
    output = capsys.readouterr().err.splitlines()
    assert len(output) == 1
    assert message in output[0]
    assert not Path("r").exists()


def test_nothing_scored_is_an_error_that_quotes_the_first__rejects(here, capsys, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"nothing")
    words = ["score", str(tmp_path), "--against", "report/calibration", "--false-alarms", "0.1"]
    assert run(["anomaly", *words, "--device", "cpu"]) == 2
    assert "no image could be scored; the first" in capsys.readouterr().err
