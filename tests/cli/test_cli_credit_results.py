import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "credit"))
from studies import write_images

from wherefrom.cli.main import run
from wherefrom.credit.receipt import read_receipt

GAME = """
import hashlib
import numpy as np

WORTH = dict(zip([f"c{i}" for i in range(6)], [5.0, 3.0, -2.0, 1.0, 4.0, 0.5]))

def value(names, seed):
    text = repr((sorted(names), seed)).encode()
    draw = np.random.default_rng(int.from_bytes(hashlib.sha256(text).digest()[:8], "big"))
    return 10 + sum(WORTH[name] for name in names) + 0.3 * draw.normal()
"""
STUDY = """
[contributors]
folder = "data"
channels = 1
size = 8
[game]
kind = "callable"
callable = "game:value"
[design]
runs = 46
[[property]]
kind = "callable"
name = "worth"
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of six contributors whose game is a function; its runs are made."""
    home = tmp_path_factory.mktemp("credit")
    write_images(home / "data", players=6, each=1)
    (home / "game.py").write_text(GAME)
    path = home / "study.toml"
    path.write_text(STUDY)
    from wherefrom.credit.method import open_study

    opened = open_study(path)
    # In this process: starting workers is tested with the executors.
    with opened.ledger() as ledger:
        ledger.plan(opened.design().take(46))
        while (lease := ledger.lease()) is not None:
            row = np.array([bool(lease.mask >> i & 1) for i in range(6)])
            ledger.finish(lease, opened.play(row, lease.seed))
    return path


def told(capsys, *arguments):
    """What one command prints as JSON."""
    assert run(["-q", "credit", *map(str, arguments), "--json", "--device", "cpu"]) == 0
    return json.loads(capsys.readouterr().out)


def test_report_finds_the_shares__closed_form(study, capsys, tmp_path):
    page, table = tmp_path / "r.html", tmp_path / "r.csv"
    answer = told(capsys, "report", study, "--html", page, "--csv", table)
    assert np.allclose(answer["values"], [5, 3, -2, 1, 4, 0.5], atol=0.7)
    assert answer["contributors"] == [f"c{i}" for i in range(6)]
    assert "not resolved" in page.read_text() or all(answer["resolved"])
    assert table.read_text().count("\n") == 7


def test_plan_has_rows_that_narrow__identity_width(study, capsys):
    rows = told(capsys, "plan", study, "--runs", "40", "--runs", "160")["rows"]
    assert rows[0]["half_width"] > rows[1]["half_width"] > 0


def test_payout_adds_up_and_is_made_again__roundtrip(study, capsys, tmp_path):
    out = tmp_path / "round1"
    receipt = told(capsys, "payout", study, "--pool", "10000.00", "--out", out)
    payments = receipt["records"]["payout"]["payments"]
    assert sum(p["amount"] for p in payments) == 1_000_000
    assert read_receipt(out / "receipt.json") == receipt
    assert (out / "payout.csv").read_text().count("\n") == 8
    assert "Payout" in (out / "payout.html").read_text()
    check = ["credit", "payout", str(study), "--check", str(out / "receipt.json")]
    assert run([*check, "--device", "cpu"]) == 0
    assert "gives the same" in capsys.readouterr().out
    second = told(capsys, "payout", study, "--pool", "5", "--last", out / "receipt.json")
    assert sum(p["amount"] for p in second["records"]["payout"]["payments"]) == 500


def test_a_changed_receipt__rejects_change(study, capsys, tmp_path):
    out = tmp_path / "round1"
    assert run(["-q", "credit", "payout", str(study), "--pool", "9.00", "--out", str(out)]) == 0
    path = out / "receipt.json"
    text = path.read_text()
    path.write_text(text.replace('"amount": ', '"amount": 1', 1))
    assert run(["credit", "payout", str(study), "--check", str(path)]) == 2
    assert "the record 'payout' was changed" in capsys.readouterr().err


def test_audit_tells_of_axioms_and_a_proxy__smoke(study, capsys):
    answer = told(capsys, "audit", study, "--truth", study)
    checks = {row["check"]: row["held"] for row in answer["checks"]}
    assert checks["efficiency"] is True
    assert answer["certificate"]["pearson"] > 0.999


def test_evaluate_makes_its_runs_and_ranks_the_truth_first__closed_form(
    study, capsys, tmp_path, monkeypatch
):
    from wherefrom.credit import method

    def here(opened, **_):
        with opened.ledger() as ledger:
            while (lease := ledger.lease()) is not None:
                row = np.array([bool(lease.mask >> i & 1) for i in range(6)])
                ledger.finish(lease, opened.play(row, lease.seed))

    monkeypatch.setattr(method, "run_study", here)
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"reversed": [-5, -3, 2, -1, -4, -0.5]}))
    answer = told(
        capsys,
        *("evaluate", study, "--run", "--subsets", "12", "--alpha", "0.5", "--scores", scores),
    )
    lds = {row["method"]: row["lds"] for row in answer["lds"]}
    assert lds["paired"] > 0.9
    assert lds["reversed"] < -0.9
    assert answer["known_left_out"]
    assert {row["subsets"] for row in answer["lds"]} == {12 - answer["known_to_shares"]}
    worst = {r["kind"]: r["change"] for r in answer["counterfactual"] if r["count"] == 2}
    assert worst["remove"] is not None


@pytest.mark.parametrize(("arguments", "say"), [
    (["report", "--property", "beauty"], "beauty"),
    (["report", "--method", "guess"], "choose one of auto"),
    (["payout"], "give --pool"),
    (["payout", "--pool", "ten"], "no amount of money"),
    (["payout", "--pool", "1", "--negative", "forgive"], "negative"),
    (["audit", "--split", "STUDY", "--player", "nobody"], "--split needs --player"),
    (["evaluate", "--subsets", "9", "--alpha", "0.33"], "no size has"),
])  # fmt: skip
def test_what_the_user_has_to_mend__rejects_arguments(study, capsys, arguments, say):
    rest = [str(study) if part == "STUDY" else part for part in arguments[1:]]
    assert run(["credit", arguments[0], str(study), *rest]) == 2
    assert say in capsys.readouterr().err


def test_a_study_that_was_not_run__rejects_ledger(tmp_path, capsys):
    write_images(tmp_path / "data", players=2, each=1)
    (tmp_path / "game.py").write_text(GAME)
    (tmp_path / "study.toml").write_text(STUDY)
    assert run(["credit", "report", str(tmp_path / "study.toml")]) == 2
    assert "run the study first" in capsys.readouterr().err
