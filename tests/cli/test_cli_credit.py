"""`wherefrom credit run` as a person types it."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "credit"))

from studies import PROPERTIES, write_study

from wherefrom.cli.main import run
from wherefrom.credit.ledger.executors import EXECUTORS
from wherefrom.credit.ledger.worker import work

pytestmark = pytest.mark.needs("diffusers")


@pytest.fixture
def here(monkeypatch):
    """The runs are made in this process: starting others takes seconds."""

    def run_here(ledger, make_play, **_):
        work(ledger, make_play("cpu"))

    monkeypatch.setitem(EXECUTORS, "local", run_here)


@pytest.mark.slow
def test_processes_make_a_study__smoke(tmp_path, capsys):
    command = ["--quiet", "credit", "run", str(write_study(tmp_path)), "--devices", "cpu,cpu"]
    assert run(command) == 0
    assert "8" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_a_study_runs_and_goes_on__identity_resume(tmp_path, capsys):
    path = write_study(tmp_path)
    command = ["--quiet", "credit", "run", str(path), "--devices", "cpu", "--json"]
    assert run([*command, "--runs", "4"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["runs"] == {"planned": 0, "leased": 0, "done": 4, "failed": 0}
    assert first["values"] == {"diversity": 4, "distance": 4}
    kept = sorted(p.name for p in (tmp_path / "study.work" / "runs").iterdir())
    assert len(kept) == 4
    path = write_study(tmp_path, properties=PROPERTIES + "[[property]]\nkind = 'similarity'\n"
                       "reference = 'data/c0/0.png'\n")  # fmt: skip
    assert run([*command, "--runs", "5"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["values"] == {"diversity": 5, "distance": 5, "similarity": 5}
    assert second["problems"] == []
    assert {*kept} < {p.name for p in (tmp_path / "study.work" / "runs").iterdir()}


def test_what_the_user_has_to_mend__rejects_it(tmp_path, capsys):
    assert run(["credit", "run", str(tmp_path / "none.toml")]) == 2
    assert "cannot read" in capsys.readouterr().err
    path = write_study(tmp_path)
    assert run(["credit", "run", str(path), "--devices", "cpu", "--executor", "slurm"]) == 2
    assert "choose local or ray" in capsys.readouterr().err
