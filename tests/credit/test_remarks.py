"""What a report says about its study besides the shares."""

import json
import shutil

import pytest
from test_players import callable_study, make_runs

from wherefrom.cli.main import run
from wherefrom.credit.game import Run
from wherefrom.credit.remarks import Left, full_data_left


def test_what_is_left_of_the_full_model__closed_form():
    def row(mask, share, status="done"):
        return "key", Run(mask, 0, {}, status), {"full_data_share": share}

    rows = [row(0, 1.0), row(1, 0.02), row(3, 0.04), row(2, 0.9, "failed"),
            ("key", Run(1, 0, {}, "done"), {})]  # fmt: skip
    assert full_data_left(rows) == Left(pytest.approx(0.03), 0.04)  # nobody's run is all of it
    assert full_data_left(rows[:1]) is None


def test_a_report_says_who_gave_the_same_and_what_remains__closed_form(
    tmp_path, capsys, monkeypatch
):
    path = callable_study(tmp_path, design="kind = 'exact'", game="twice")
    shutil.copy(tmp_path / "data" / "c0" / "0.png", tmp_path / "data" / "c1" / "copy.png")
    make_runs(path, 8)
    from wherefrom.credit import remarks

    monkeypatch.setattr(remarks, "full_data_left", lambda details: Left(0.02, 0.42))
    capsys.readouterr()
    page = tmp_path / "shares.html"
    ask = ["credit", "report", str(path), "--device", "cpu"]
    assert run([*ask, "--html", str(page)]) == 0
    told = capsys.readouterr().err
    for said in ("c0 and c1 both gave 1 image of the same pixels", "up to 42 % of the averaged"):
        assert said in told
        assert said in page.read_text()
    assert "share of full-data weights that remains" in page.read_text()
    assert run(["-q", *ask, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["same images"] == [["c0", "c1", 1]]
    assert answer["share of full-data weights that remains"] == {"mean": 0.02, "largest": 0.42}
