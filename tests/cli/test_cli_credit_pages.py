"""The credit page's pictures, the cost of a study before it is run, and two ledgers as one."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "credit"))

from studies import NETWORK, write_images, write_study

from wherefrom.cli.main import run
from wherefrom.credit.ledger.executors import EXECUTORS
from wherefrom.credit.ledger.worker import work
from wherefrom.credit.method import open_study

pytestmark = pytest.mark.needs("diffusers")


@pytest.fixture(autouse=True, scope="module")
def here():
    """The runs are made in this process: starting others takes seconds."""

    def run_here(ledger, make_play, **_):
        work(ledger, make_play("cpu"))

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(EXECUTORS, "local", run_here)
        yield


@pytest.fixture(scope="module")
def finished(here, tmp_path_factory):
    """The folder of a study: five contributors, fine-tuned; the design's runs are made."""
    folder = tmp_path_factory.mktemp("study")
    write_images(folder / "data", players=5)
    path = write_study(folder, kind="fine-tune", network=NETWORK)
    path.write_text(path.read_text().replace('kind = "exact"', 'kind = "paired"'))
    assert run(["-q", "credit", "run", str(path), "--devices", "cpu", "--runs", "20"]) == 0
    return folder


@pytest.fixture
def study(finished, tmp_path):
    """The test's own copy of that study."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path / "study.toml"


def told(capsys, *arguments):
    """What one command prints as JSON."""
    capsys.readouterr()
    assert run(["-q", "credit", *map(str, arguments), "--json", "--device", "cpu"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_page_shows_what_there_is_and_says_what_is_missing__identity_runs(
    study, capsys, tmp_path
):
    page = tmp_path / "shares.html"
    first = told(capsys, "report", study, "--html", page)
    text = page.read_text()
    assert "What the model makes" in text
    assert "with all contributors:" in text  # the design has such runs
    assert f"credit report {study} --html {page} --run" in text
    before = text.count("data:image/png")
    second = told(capsys, "report", study, "--html", page, "--run")
    text = page.read_text()
    assert second["values"] == first["values"]  # no share rests on the pictures' runs
    assert "Not run yet" not in text
    assert before < text.count("data:image/png") == 5 + 3
    for said in (
        "without the top 2",
        "with only the top 3",
        "What lies behind it",
        "Ward clusters",
    ):
        assert said in text


@pytest.mark.usefixtures("undrawn")
def test_groups_get_what_their_members_get__identity_sum(study, capsys, tmp_path):
    table = tmp_path / "groups.csv"
    table.write_text("contributor,group\nc0,a\nc1,b\nc2,a\nc3,b\nc4,b\n")
    answer = told(capsys, "report", study, "--groups", table)
    values = np.array(answer["values"])
    sums = [values[[0, 2]].sum(), values[[1, 3, 4]].sum()]
    assert answer["groups"]["names"] == ["a", "b"]
    assert np.allclose(answer["groups"]["values"], sums)
    alike = told(capsys, "report", study, "--groups", "2")
    assert len(alike["groups"]["names"]) == 2
    table.write_text("contributor,group\nc0,a\nc1,b\nc2,a\nc3,b\n")
    assert run(["credit", "report", str(study), "--groups", str(table)]) == 2
    assert "lacks 'c4'" in capsys.readouterr().err
    assert run(["credit", "report", str(study), "--groups", "5"]) == 2
    assert "give 2 to 4" in capsys.readouterr().err
    assert run(["credit", "report", str(study), "--run"]) == 2
    assert "give --html too" in capsys.readouterr().err


def test_two_ledgers_as_one__identity_merge(study, capsys, tmp_path):
    other = tmp_path / "site2.sqlite"
    shutil.copy(study.with_suffix(".ledger.sqlite"), other)
    extend = ["-q", "credit", "run", str(study), "--devices", "cpu", "--runs", "24"]
    assert run(extend) == 0
    longer = study.with_suffix(".ledger.sqlite")
    mine = tmp_path / "mine.sqlite"
    longer.rename(mine)
    other.rename(longer)
    answer = told(capsys, "merge", study, mine)
    assert answer["runs"]["done"] == 24
    assert answer["merged"][0]["runs"] == 4
    assert told(capsys, "merge", study, mine)["merged"][0]["runs"] == 0
    assert run(["credit", "merge", str(study), str(tmp_path / "none.sqlite")]) == 2


def test_a_plan_before_any_run_trains_nothing__closed_form(tmp_path, capsys):
    path = write_study(tmp_path, kind="sparsified")
    answer = told(capsys, "plan", path)
    cost = answer["cost"]
    stages = {stage["name"]: stage for stage in cost["stages"]}
    assert [stage["steps"] for stage in stages.values()] == [2, 1, 2, 2]
    assert cost["pruned"] < cost["parameters"]
    once = sum(stage["seconds"] for stage in stages.values() if stage["once"])
    assert cost["hours_before"] == pytest.approx(once / 3600)
    assert cost["hours_per_run"] > 0
    assert not (tmp_path / "study.work").exists()
    assert not (tmp_path / "study.ledger.sqlite").exists()
    assert run(["credit", "report", str(path)]) == 2  # and neither does a report
    assert not (tmp_path / "study.work").exists()
    assert "run the study first" in capsys.readouterr().err


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A sparsified study whose full model has learned something, with what a payout needs."""
    folder, rate = tmp_path_factory.mktemp("learned"), "learning_rate = 0.01\n"
    path = write_study(folder, kind="sparsified")
    changes = [
        ("[training]\nsteps = 2", f"[training]\n{rate}steps = 60"),
        ("[recovery]\nsteps = 1", f"[recovery]\n{rate}steps = 20"),
        ("images = 3\nsteps = 2", "images = 8\nsteps = 5"),
        ('kind = "exact"\nruns = 8', 'kind = "paired"\npayout = true\nruns = 24'),
        ('[[property]]\nkind = "diversity"\n', ""),
    ]
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    open_study(path)
    return folder


@pytest.mark.usefixtures("undrawn")
def test_a_sparsified_study_is_paid_out__identity_sum(learned, tmp_path, capsys):
    """The gain is that over an untrained network; it is said before any run is made."""
    path = shutil.copytree(learned, tmp_path / "study") / "study.toml"
    make = ["credit", "run", str(path), "--devices", "cpu"]
    assert run(make) == 0
    said = capsys.readouterr().err
    assert "distance, before any run:" in said and "of the empty set (untrained)" in said
    foreseen = float(said.split("a gain of about ")[1].split(";")[0])
    assert run(make) == 0
    assert "before any run" not in capsys.readouterr().err
    out = tmp_path / "round1"
    answer = told(capsys, "divide", path, "--pool", "100.00", "--out", out)
    shares, payout = answer["records"]["shares"], answer["records"]["payout"]
    assert shares["gain"] == pytest.approx(foreseen, rel=0.5) and foreseen > 0
    assert sum(p["paid"] for p in payout["payments"]) > 5000
    apart = sum(abs(v - shares["gain"] / 3) for v in shares["values"]) / 2 / shares["gain"]
    note = f"{100 * apart:.3g} % of the gain is not divided equally"
    assert any(note in each for each in shares["notes"])
    assert told(capsys, "verify", path, out / "receipt.json")["later_runs"] == 0


def test_the_gain_over_the_starting_model__rejects_payout(learned, tmp_path, capsys):
    path = shutil.copytree(learned, tmp_path / "study") / "study.toml"
    text = path.read_text()
    path.write_text(text.replace("kind = 'sparsified'", "kind = 'sparsified'\nempty = 'start'"))
    assert run(["credit", "run", str(path), "--devices", "cpu", "--runs", "12"]) == 0
    assert "these are one model" in capsys.readouterr().err
    assert run(["credit", "divide", str(path), "--pool", "1", "--device", "cpu"]) == 2
    assert "gain" in capsys.readouterr().err


def test_a_property_that_always_fails__rejects_report(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("def boom(images):\n    raise ValueError('no luck')\n")
    text = "[[property]]\nkind = 'callable'\ncallable = 'mine:boom'\nname = 'boom'\n"
    path = write_study(tmp_path, properties=text)
    assert run(["-q", "credit", "run", str(path), "--devices", "cpu", "--runs", "2"]) == 0
    assert run(["credit", "report", str(path), "--device", "cpu"]) == 2
    assert "no run has a value of 'boom'; the first problem was: ValueError: no luck" in (
        capsys.readouterr().err
    )
