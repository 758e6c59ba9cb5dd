"""What a report says about its study besides the shares."""

import json
import shutil

import pytest
from test_players import callable_study, make_runs

from wherefrom.cli.main import run
from wherefrom.credit.evaluation.remarks import StartWeight, start_weight_of
from wherefrom.credit.ledger.game import Run


def test_the_weight_of_the_start_in_the_averages__closed_form():
    def row(mask, share, status="done"):
        return "key", Run(mask, 0, {}, status), {"start_weight": share}

    rows = [row(0, 1.0), row(1, 0.02), row(3, 0.04), row(2, 0.9, "failed"),
            ("key", Run(1, 0, {}, "done"), {})]  # fmt: skip
    # The run of the empty set is not trained, so it does not count.
    assert start_weight_of(rows) == StartWeight(pytest.approx(0.03), 0.04)
    assert start_weight_of(rows[:1]) is None


def test_a_report_says_who_gave_the_same_and_what_remains__closed_form(
    tmp_path, capsys, monkeypatch
):
    path = callable_study(tmp_path, design="kind = 'exact'", game="twice")
    shutil.copy(tmp_path / "data" / "c0" / "0.png", tmp_path / "data" / "c1" / "copy.png")
    make_runs(path, 8)
    from wherefrom.credit.evaluation import remarks
    from wherefrom.report.credit import page as shares_page

    for module in (remarks, shares_page):
        monkeypatch.setattr(module, "start_weight_of", lambda details: StartWeight(0.02, 0.42))
    capsys.readouterr()
    page = tmp_path / "shares.html"
    ask = ["credit", "report", str(path), "--device", "cpu"]
    assert run([*ask, "--html", str(page)]) == 0
    told = capsys.readouterr().err
    for said in (
        "c0 and c1 both gave 1 image of the same pixels",
        "gives up to 42 % to the weights it started",
    ):
        assert said in told
        assert said in page.read_text()
    assert "weight of the starting weights in the average of a run" in page.read_text()
    assert run(["-q", *ask, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["same images"] == [["c0", "c1", 1]]
    assert answer["weight of the starting weights in the average of a run"] == {
        "mean": 0.02,
        "largest": 0.42,
    }
