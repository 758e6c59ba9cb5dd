"""Numbers that JSON has not, and games too large, as the credit commands meet them."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from wherefrom.cli.main import run
from wherefrom.credit.ledger.executors import EXECUTORS
from wherefrom.credit.ledger.worker import work

STUDY = """
[contributors]
folder = 'data'
size = 8
[game]
kind = 'callable'
callable = 'gainless_game:value'
[design]
kind = '{kind}'
runs = 40
[[property]]
kind = 'callable'
name = 'score'
"""
GAME = """
def value(names, seed):
    return 0.5 if len(names) in (0, {n}) else 0.5 + 0.01 * ((seed + 3 * len(names)) % 7 - 3)
"""


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """The runs are made in this process: starting others takes seconds."""
    monkeypatch.setitem(EXECUTORS, "local", lambda ledger, make, **_: work(ledger, make("cpu")))
    monkeypatch.delitem(sys.modules, "gainless_game", raising=False)  # of another test
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def write_study(folder, n, kind):
    for i in range(n):
        (folder / "data" / f"c{i:02d}").mkdir(parents=True)
        pixels = np.random.default_rng(i).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "data" / f"c{i:02d}" / "a.png")
    (folder / "gainless_game.py").write_text(GAME.format(n=n))
    (folder / "study.toml").write_text(STUDY.format(kind=kind))
    return str(folder / "study.toml")


def test_a_game_too_large_for_every_subset_is_refused__rejects_players(tmp_path, capsys):
    study = write_study(tmp_path, 17, "exact")
    assert run(["credit", "run", study, "--devices", "cpu"]) == 2
    said = capsys.readouterr().err
    assert "2^17 subsets of 17 contributors" in said
    assert said.count("\n") == 1
    names = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert names == {"data", "gainless_game.py", "study.toml"}


@pytest.mark.parametrize("kind", ["paired", "loo"])
def test_a_gain_of_nothing_is_json_that_every_parser_reads__closed_form(tmp_path, capsys, kind):
    study = write_study(tmp_path, 4, kind)
    assert run(["--quiet", "credit", "run", study, "--devices", "cpu", "--json"]) == 0
    read(capsys)
    commands = [["report", "--method", kind]] + ([["plan"]] if kind == "paired" else [])
    for name, *more in commands:
        assert run(["--quiet", "credit", name, study, "--json", *more]) == 0
        read(capsys)


@pytest.mark.parametrize(("when", "code"), [("True", 2), ("len(names) == 4", 0)])
def test_runs_without_a_finite_value_say_what_to_do__rejects_values(tmp_path, capsys, when, code):
    study = write_study(tmp_path, 4, "paired")
    game = f"def value(names, seed):\n    return float('inf') if {when} else 0.5\n"
    (tmp_path / "gainless_game.py").write_text(game)
    assert run(["--quiet", "credit", "run", study, "--devices", "cpu", "--json"]) == code
    said = capsys.readouterr()
    assert "expected a finite number" in json.loads(said.out)["problems"][0]["error"]
    assert ("error: no run was finished; the first problem was: score" in said.err) == (code == 2)
    assert run(["--quiet", "credit", "report", study]) == 2
    said = capsys.readouterr().err
    assert "no run has a value" in said or "`wherefrom credit run` makes them, or says why" in said


@pytest.mark.parametrize("kind", ["loo", "kernelshap"])
def test_a_design_without_pairs_names_its_method__rejects_auto(tmp_path, capsys, kind):
    study = write_study(tmp_path, 4, kind)
    assert run(["--quiet", "credit", "run", study, "--devices", "cpu", "--json"]) == 0
    capsys.readouterr()
    assert run(["--quiet", "credit", "report", study]) == 2
    said = capsys.readouterr().err
    assert "no subset with its complement" in said
    assert "kernelshap" in said
    assert "make more runs" not in said


def read(capsys):
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
