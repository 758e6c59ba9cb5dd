"""Players that are not the contributors as they came: parts of them, unions, groups."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "cli"))

from studies import write_images
from synthetic_games import owen_value

from wherefrom import credit
from wherefrom.core.errors import InputError
from wherefrom.credit.equations import all_subsets, shapley_value
from wherefrom.credit.study.file import load_study

GAME = """
import numpy as np

def value(names, seed):
    present = sorted(names)
    total = 1.0
    for name in present:
        total += 1 + len(name) + 3 * int(name[1])
    pairs = {a[:2] for a in present}
    return total + 2.0 * len(pairs) ** 2 + 12.0 * ({"c0/1", "c0/2", "c2/2"} <= set(names))
"""
STUDY = """
[contributors]
folder = "data"
channels = 1
size = 8
{contributors}
[game]
kind = "callable"
callable = "{game}:value"
[design]
{design}
[[property]]
kind = "callable"
name = "worth"
"""


def callable_study(home, *, contributors="", design="runs = 46", players=3, each=4, game="seats"):
    """A study whose game is a function of the players' names, with `players` contributors."""
    if not (home / "data").is_dir():
        write_images(home / "data", players=players, each=each)
        (home / f"{game}.py").write_text(GAME)
    path = home / "study.toml"
    path.write_text(STUDY.format(contributors=contributors, design=design, game=game))
    return path


def make_runs(path, runs):
    """Make the runs in this process."""
    opened = credit.open_study(path)
    credit.run(opened, runs)
    return opened


def test_more_contributors_than_shares_are_computed_for_play_in_groups__limit(
    tmp_path, monkeypatch, notes
):
    monkeypatch.setattr("wherefrom.credit.study.file.MAX_PLAYERS", 5)
    monkeypatch.setattr("wherefrom.credit.study.file.MANY_GROUPS", 3)
    path = callable_study(tmp_path, players=6, each=1)
    opened = make_runs(path, 46)
    assert opened.data.players == 3
    assert "6 contributors are played as 3 groups" in str(notes)
    assert sum(len(each) for each in opened.data.members().values()) == 6
    groups = callable_study(tmp_path, contributors='groups = "2"', players=6, each=1)
    assert load_study(groups).contributors().players == 2


def test_parts_divide_the_images_of_each__identity_partition(tmp_path):
    write_images(tmp_path / "data", players=2, each=5)
    write_images(tmp_path / "more", players=1, each=1)
    (tmp_path / "more" / "c0").rename(tmp_path / "data" / "c2")
    path = callable_study(tmp_path, design="kind = 'owen'\nparts = 3")
    data = load_study(path).contributors()
    assert data.names == ("c0/1", "c0/2", "c0/3", "c1/1", "c1/2", "c1/3", "c2/1")
    assert data.unions == ("c0",) * 3 + ("c1",) * 3 + ("c2",)
    assert sorted(data.counts().tolist()) == [1, 1, 1, 2, 2, 2, 2]
    plain = load_study(path).given()
    whose = np.array([int(data.unions[i][1]) for i in data.owner.tolist()])
    assert (whose == plain.owner.numpy()).all()
    assert data.digests() == plain.digests()
    assert (data.labels == plain.labels).all()


def test_owen_values_of_parts__naive_loop(tmp_path):
    from wherefrom.cli.main import run

    path = callable_study(tmp_path, design="kind = 'owen'\nparts = 2")
    opened = make_runs(path, 6 + 10 * 48)
    game = np.array([opened.play(row, 0).values["worth"] for row in all_subsets(6)])
    truth = owen_value(game, np.array([0, 0, 1, 1, 2, 2]))
    assert run(["-q", "credit", "report", str(path), "--device", "cpu"]) == 0
    result = credit.shares(opened)
    assert result.names == ("c0", "c1", "c2")
    assert result.inside.names[:2] == ("c0/1", "c0/2")
    assert result.inside.shares.runs == 6 + 10 * 48
    assert np.abs(truth - shapley_value(game)).max() > 1
    assert np.allclose(result.inside.shares.values, truth, atol=0.9)
    assert np.allclose(result.shares.values, truth.reshape(3, 2).sum(axis=1), atol=0.9)
    sums = result.inside.shares.values.reshape(3, 2).sum(axis=1)
    assert np.allclose(result.shares.values, sums)
    assert np.isclose(result.shares.values.sum(), result.shares.anchors.gain)


def test_unions_of_contributors_are_the_same_game__identity_game(tmp_path):
    plain = make_runs(callable_study(tmp_path, players=4), 46)
    (tmp_path / "unions.csv").write_text("contributor,group\nc0,a\nc1,b\nc2,a\nc3,b\n")
    path = callable_study(tmp_path, contributors="unions = 'unions.csv'", design="kind = 'owen'")
    opened = make_runs(path, 6 + 6 * 40)
    assert opened.identity == plain.identity  # so that no run is lost
    result = credit.shares(opened)
    game = np.array([opened.play(row, 0).values["worth"] for row in all_subsets(4)])
    truth = owen_value(game, np.array([0, 1, 0, 1]))
    assert result.names == ("a", "b")
    assert result.inside.shares.runs == 3 + 3 + 6 * 40
    assert np.allclose(result.inside.shares.values, truth, atol=0.5)


@pytest.mark.parametrize(("contributors", "design"), [
    ("", "kind = 'owen'"),
    ("", "parts = 2"),
    ("unions = 'u.csv'", "kind = 'owen'\nparts = 2"),
])  # fmt: skip
def test_owen_needs_one_way_of_making_unions__rejects_design(tmp_path, contributors, design):
    path = callable_study(tmp_path, contributors=contributors, design=design)
    with pytest.raises(InputError, match="the design owen needs one"):
        load_study(path).contributors()


def test_owen_with_another_method__rejects_method(tmp_path, capsys):
    from wherefrom.cli.main import run

    path = callable_study(tmp_path, design="kind = 'owen'\nparts = 2")
    make_runs(path, 16)
    ask = ["credit", "report", str(path), "--device", "cpu", "--method", "paired"]
    assert run(ask) == 2
    assert "goes with the method owen" in capsys.readouterr().err
    assert run(["credit", "plan", str(path), "--device", "cpu"]) == 2
    assert "plan it with the design paired" in capsys.readouterr().err


def test_groups_play_as_one_each__closed_form(tmp_path, capsys):
    import json

    from wherefrom.cli.main import run

    plain = make_runs(callable_study(tmp_path, players=4), 46)
    (tmp_path / "groups.csv").write_text("contributor,group\nc0,a\nc1,b\nc2,a\nc3,b\n")
    path = callable_study(tmp_path, contributors="groups = 'groups.csv'", design="kind = 'exact'")
    opened = make_runs(path, 4)  # in the same ledger, beside the other game
    assert opened.identity.digest != plain.identity.digest
    assert opened.data.names == ("a", "b")
    assert opened.data.members() == {"a": ("c0", "c2"), "b": ("c1", "c3")}
    game = [plain.play(np.array(row), 0).values["worth"]
            for row in ([0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [1, 1, 1, 1])]  # fmt: skip
    first = (game[1] - game[0] + game[3] - game[2]) / 2
    capsys.readouterr()
    page = tmp_path / "shares.html"
    ask = ["-q", "credit", "report", str(path), "--device", "cpu", "--html", str(page), "--json"]
    assert run(ask) == 0
    told = json.loads(capsys.readouterr().out)
    assert np.allclose(told["values"], [first, game[3] - game[0] - first])
    assert told["players"]["members"]["b"] == ["c1", "c3"]
    assert "2 groups of 4 contributors" in page.read_text()
    assert run(["credit", "report", str(path), "--device", "cpu"]) == 0
    assert "the players are 2 groups of 4 contributors" in capsys.readouterr().err


def test_groups_by_number_are_of_like_images__closed_form(tmp_path):
    data = load_study(callable_study(tmp_path, contributors="groups = '2'")).contributors()
    assert data.players == 2  # grey levels 40, 100 and 160 with noise of 50
    assert sorted(map(len, data.members().values())) == [1, 2]
    assert "like mean pixels" in data.seating


@pytest.mark.parametrize(("contributors", "design", "say"), [
    ("groups = '2'", "kind = 'owen'\nparts = 2", "not groups"),
    ("groups = '3'", "runs = 9", "give 2 to 2"),
    ("groups = 'none.csv'", "runs = 9", "no such file"),
])  # fmt: skip
def test_groups_that_cannot_be__rejects_groups(tmp_path, contributors, design, say):
    path = callable_study(tmp_path, contributors=contributors, design=design)
    with pytest.raises(InputError, match=say):
        load_study(path).contributors()


def test_the_advice_names_the_setting__closed_form():
    from wherefrom.credit.estimators.planning import BudgetRow, RunsPlan

    plan = RunsPlan(20, 86, 1.0, 0.2, 3, 3, 44, 1.0, 0.1, ())
    advice = plan.advice(BudgetRow(40, 1.0, 10.0, 0.0, None))
    assert 'groups = "10"' in advice
    assert "[contributors]" in advice
