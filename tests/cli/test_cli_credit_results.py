import json
import shutil
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "credit"))
from studies import write_images

from wherefrom.cli.main import run
from wherefrom.credit.payout.receipt import read_receipt

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
    return made_study(tmp_path_factory.mktemp("credit"))


def made_study(home, *, module="game", runs=46, images=True):
    """The study's file in a folder of its own, its first runs made."""
    if images:
        write_images(home / "data", players=6, each=1)
    (home / "game.py").write_text(GAME)
    path = home / "study.toml"
    path.write_text(STUDY.replace("game:value", f"{module}:value"))
    make_runs(path, runs)
    return path


def make_runs(path, runs):
    """Make the first runs of the study in this process: workers are tested with the executors."""
    from wherefrom.credit.method import open_study

    opened = open_study(path)
    with opened.ledger() as ledger:
        ledger.plan(opened.design().take(runs))
        while (lease := ledger.claim_next()) is not None:
            row = np.array([bool(lease.mask >> i & 1) for i in range(6)])
            ledger.finish(lease, opened.play(row, lease.seed))


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
    planned = told(capsys, "plan", study, "--runs", "40", "--runs", "160")
    rows = planned["rows"]
    assert rows[0]["half_width"] > rows[1]["half_width"] > 0
    assert planned["anchors"] == 3
    assert planned["gain"] > planned["gain_reach"] > 0
    assert planned["anchors_needed"] <= 3


def test_a_plan_says_what_a_budget_resolves_and_pays__closed_form(study, capsys):
    """The pilot's game is known: 6 runs more than its unknowns resolve little, 640 nearly all."""
    rows = told(capsys, "plan", study, "--runs", "18", "--runs", "640")["rows"]
    assert 0 <= rows[0]["paid"] < 0.5 < rows[1]["paid"] < 1
    assert rows[0]["signs"] < 3
    assert 5 < rows[1]["signs"] <= 6
    assert run(["credit", "plan", str(study), "--runs", "18", "--device", "cpu"]) == 0
    said = capsys.readouterr().err
    assert "18 runs will most likely end in 'not resolved' for all" in said
    assert "of the pool and hold the rest" in said


def test_a_pilot_recommends_property_and_estimator__identity_reason(study, capsys):
    advice = {
        each["setting"]: each for each in told(capsys, "plan", study, "--pilot")["recommended"]
    }
    assert advice["property"]["value"] == "worth"
    assert "of a pool" in advice["property"]["reason"]
    assert advice["estimator"]["value"] == "paired"


def test_an_uncertain_gain_needs_more_anchors__identity_advice(tmp_path, capsys):
    (tmp_path / "noisy.py").write_text(GAME.replace("0.3 * draw", "9 * draw"))
    path = made_study(tmp_path, module="noisy")
    pay = ["credit", "divide", str(path), "--pool", "10", "--device", "cpu"]
    assert run(pay) == 2
    said = capsys.readouterr().err
    needed = int(said.split("now 3 and 3 runs; ")[1].split()[0])
    assert run(["credit", "plan", str(path), "--device", "cpu"]) == 0
    assert f"a payout would refuse it, about {needed} each would tell" in capsys.readouterr().err
    path.write_text(path.read_text().replace("runs = 46", f"runs = 46\nanchors = {4 * needed}"))
    make_runs(path, 46)  # what `run` plans now
    assert told(capsys, "plan", path)["anchors"] == 4 * needed
    assert run(pay) == 0


def test_payout_adds_up_and_is_made_again__roundtrip(study, capsys, tmp_path):
    out = tmp_path / "round1"
    receipt = told(capsys, "divide", study, "--pool", "10000.00", "--out", out)
    payments = receipt["records"]["payout"]["payments"]
    assert sum(p["amount"] for p in payments) == 1_000_000
    assert read_receipt(out / "receipt.json") == receipt
    assert (out / "payout.csv").read_text().count("\n") == 8
    assert "Payout" in (out / "payout.html").read_text()
    check = ["credit", "verify", str(study), str(out / "receipt.json")]
    assert run([*check, "--device", "cpu"]) == 0
    assert "gives the same" in capsys.readouterr().out
    second = told(capsys, "divide", study, "--pool", "5", "--last", out / "receipt.json")
    assert sum(p["amount"] for p in second["records"]["payout"]["payments"]) == 500


@pytest.mark.usefixtures("undrawn")
def test_a_changed_receipt__rejects_change(study, capsys, tmp_path):
    out = tmp_path / "round1"
    assert run(["-q", "credit", "divide", str(study), "--pool", "9.00", "--out", str(out)]) == 0
    path = out / "receipt.json"
    text = path.read_text()
    path.write_text(text.replace('"amount": ', '"amount": 1', 1))
    assert run(["credit", "verify", str(study), str(path)]) == 2
    assert "the record 'payout' was changed" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_a_receipt_outlives_more_runs__roundtrip(tmp_path, capsys):
    path, out = made_study(tmp_path), tmp_path / "round1"
    told(capsys, "divide", path, "--pool", "100.00", "--out", out)
    make_runs(path, 60)
    answer = told(capsys, "verify", path, out / "receipt.json")
    assert (answer["runs"], answer["later_runs"]) == (46, 14)
    assert answer["files"] == ["payout.csv", "payout.html"]
    check = ["credit", "verify", str(path), str(out / "receipt.json"), "--device", "cpu"]
    (out / "payout.html").unlink()  # the receipt alone can be checked too
    assert run(check) == 0
    table = out / "payout.csv"
    table.write_text(table.read_text().replace("c0", "c9"))
    assert run(check) == 2
    assert "payout.csv is not the file that was written" in capsys.readouterr().err
    table.unlink()
    base = sqlite3.connect(tmp_path / "study.ledger.sqlite")
    with base:
        base.execute("UPDATE scores SET value = value + 1 WHERE run IN (SELECT key FROM runs "
                     "WHERE place = 7)")  # fmt: skip
    assert run(check) == 2
    assert "one of them was changed" in capsys.readouterr().err
    with base:
        base.execute("DELETE FROM scores WHERE run IN (SELECT key FROM runs WHERE place = 7)")
    base.close()
    assert run(check) == 2
    assert "the ledger lacks the run of subset" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_data_that_two_gave_is_said_where_money_is_paid__closed_form(tmp_path, capsys):
    write_images(tmp_path / "data", players=6, each=2)
    shutil.copy(tmp_path / "data" / "c0" / "0.png", tmp_path / "data" / "c3" / "copy.png")
    path, out = made_study(tmp_path, images=False), tmp_path / "round1"
    said = "c0 and c3 both gave 1 image of the same pixels"
    assert run(["credit", "divide", str(path), "--pool", "10", "--out", str(out)]) == 0
    assert said in capsys.readouterr().err
    assert said in read_receipt(out / "receipt.json")["records"]["shares"]["notes"]
    assert said in (out / "payout.html").read_text()
    page = tmp_path / "r.html"
    assert said in told(capsys, "report", path, "--html", page)["remarks"]
    assert said in page.read_text()


@pytest.mark.usefixtures("undrawn")
def test_escrow_is_settled_by_more_runs__identity_sum(tmp_path, capsys):
    path, out, later = made_study(tmp_path), tmp_path / "round1", tmp_path / "round1b"
    first = told(capsys, "divide", path, "--pool", "100.00", "--out", out)
    settle = ["settle", path, out / "receipt.json"]
    refused = ["credit", *map(str, settle), "--device", "cpu"]
    assert run(refused) == 2
    assert "rests on 46 runs, and there are no others since" in capsys.readouterr().err
    make_runs(path, 120)
    second = told(capsys, *settle, "--out", later)
    assert second["records"]["earlier"]["digest"] == first["chain"][-1]["digest"]
    looks = [each["records"]["payout"]["look"] for each in (first, second)]
    assert looks == [1, 2] and second["records"]["earlier"]["look"] == 1
    assert second["records"]["payout"]["error"] == pytest.approx(0.05 / 6)
    old, new = (each["records"]["payout"]["payments"] for each in (first, second))
    assert [p["before"] for p in new] == [p["paid"] for p in old]
    assert sum(p["before"] + p["paid"] + p["escrow"] for p in new) == 10000
    assert 0 < sum(p["escrow"] for p in new) < sum(p["escrow"] for p in old)
    assert min(p["paid"] for p in new) >= 0
    assert "paid before EUR" in (later / "payout.csv").read_text()
    page = (later / "payout.html").read_text()
    assert "paid before EUR" in page
    assert first["chain"][-1]["digest"] in page
    answer = told(capsys, "verify", path, later / "receipt.json")
    assert answer["files"] == ["payout.csv", "payout.html", "settled.json"]
    (tmp_path / "other.toml").write_text(path.read_text().replace('"worth"', '"other"'))
    shutil.copy(tmp_path / "study.ledger.sqlite", tmp_path / "other.ledger.sqlite")
    refused[2] = str(tmp_path / "other.toml")
    assert run(refused) == 2
    assert "worth" in capsys.readouterr().err
    home = tmp_path / "elsewhere"
    write_images(home / "data", players=6, each=2)
    refused[2] = str(made_study(home, images=False))
    assert run(refused) == 2
    assert "of another study: its record 'game'" in capsys.readouterr().err


def test_audit_tells_of_axioms_and_a_proxy__smoke(study, capsys):
    answer = told(capsys, "audit", study, "--truth", study)
    checks = {row["check"]: row["held"] for row in answer["checks"]}
    assert checks["efficiency"] is True
    assert answer["certificate"]["pearson"] > 0.999


def test_evaluate_makes_its_runs_and_ranks_the_truth_first__closed_form(
    study, capsys, tmp_path, monkeypatch
):
    from wherefrom.credit.evaluation import comparison

    def here(opened, **_):
        with opened.ledger() as ledger:
            while (lease := ledger.claim_next()) is not None:
                row = np.array([bool(lease.mask >> i & 1) for i in range(6)])
                ledger.finish(lease, opened.play(row, lease.seed))

    monkeypatch.setattr(comparison, "run_study", here)
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
    (["divide"], "Missing option '--pool'"),
    (["divide", "--pool", "ten"], "no amount of money"),
    (["divide", "--pool", "1", "--negative", "forgive"], "negative"),
    (["audit", "--split", "STUDY", "--player", "nobody"], "--split needs --player and --parts"),
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
