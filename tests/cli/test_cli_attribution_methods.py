"""`--method`: one switch for `fit`, and side by side in `evaluate`."""

import json
import shutil

import pytest

from wherefrom import attribution
from wherefrom.cli.main import run
from wherefrom.cli.options import MethodCommand

SMALL = [
    *("--train-samples", "60", "--calibration-samples", "20", "--device", "cpu"),
    *("--false-negative-rate", "0.1", "--false-positive-rate", "0.2"),
]
SETTINGS = [
    *("--setting", "train_samples=60", "--setting", "calibration_samples=20"),
    *("--setting", "false_negative_rate=0.1", "--setting", "false_positive_rate=0.2"),
]


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    """The test's own folder, with `others/` in two parts."""
    monkeypatch.chdir(tmp_path)
    for name, span in (("others", range(80)), ("rival", range(80, 90))):
        (tmp_path / name).mkdir()
        for index in span:
            shutil.copy(place / "others" / f"{index}.png", tmp_path / name)
    return tmp_path


def fit(place, method, *more):
    spec = ["--generator", f"{place}/my.py:G", "--others", "others", "--out", "m"]
    return run(["attribution", "fit", *spec, "--method", method, *more])


def test_fit_and_check_by_another_method__reference_library(here, place, capsys):
    assert fit(place, "fingerprint", *SMALL) == 0
    assert "attribution/fingerprint" in capsys.readouterr().out
    assert run(["attribution", "check", "m", "rival", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    expected = attribution.check_paths(attribution.load("m"), ["rival"])
    assert told == json.loads(json.dumps(expected.to_dict()))


def test_an_inversion_is_checked_with_its_model__reference_library(here, place, capsys):
    small = [*SMALL[2:], "--restarts", "1", "--steps", "2"]
    assert fit(place, "inversion-l2", *small) == 0
    capsys.readouterr()
    assert run(["attribution", "check", "m", "rival"]) == 2
    assert "give the generator too (command line: --generator)" in capsys.readouterr().err
    spec = ["--generator", f"{place}/my.py:G"]
    assert run(["attribution", "check", "m", "rival", *spec]) == 0
    assert "10 images" in capsys.readouterr().out
    assert run(["attribution", "check", "m", "rival", "--latent", "8"]) == 2
    assert "--latent says something about a generator" in capsys.readouterr().err
    assert run(["attribution", "show", "m"]) == 0
    assert "attempts per image [App. G.7]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["raw-pad", "--lasso-lam", "1"], "--lasso-lam is no setting of the method raw-pad"),
        (["inversion-l2", "--train-samples", "60"], "--train-samples is no setting of the method"),
        (["nonsense"], "'nonsense' is not one of"),
    ],
)
def test_settings_of_other_methods__rejects_settings(here, place, capsys, arguments, says):
    assert fit(place, *arguments) == 2
    assert says in capsys.readouterr().err
    assert not (here / "m").exists()


def test_the_help_says_which_method_has_a_setting__closed_form(capsys):
    command = attribution_command("fit")
    assert isinstance(command, MethodCommand)
    with command.make_context("fit", [], resilient_parsing=True) as ctx:
        options = {option.name: option for option in command.get_params(ctx)}
    assert options["setting__steps"].help.endswith("[inversion-l2, inversion-feature]")
    assert "[" not in options["setting__false_negative_rate"].help
    shown = options["setting__calibration_samples"].show_default
    assert shown == "1000; 200 (inversion-l2), 200 (inversion-feature)"


def attribution_command(name):
    from wherefrom.cli.attribution import attribution as group

    return group.commands[name]


def evaluate(place, *more):
    spec = ["--generator", f"{place}/my.py:G", "--others", "others", "--other", "rival=rival"]
    counts = ["--own-samples", "6", "--repetitions", "2", "--device", "cpu"]
    return run(["attribution", "evaluate", *spec, *counts, *more])


def test_methods_side_by_side__reference_library(here, place, capsys):
    methods = ["--method", "fingerprint", "--method", "raw-pad", *SETTINGS]
    more = ["--setting", "detector.epochs=1", "--csv", "c.csv"]
    assert evaluate(place, *methods, *more) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "accuracy, %" and lines[1].split()[:3] == ["method", "rival", "mean"]
    assert lines[2].startswith("SM-F") and lines[3].startswith("RawPAD")
    assert "±" in lines[2] and lines[-1].endswith("over 2 repetitions")
    assert (here / "c.csv").read_text().count("fingerprint,rival,") == 1
    assert evaluate(place, *methods, *more[:2], "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["config"]["train_samples"] for row in told["rows"]] == [60, 60]
    assert told["rows"][1]["config"]["detector"]["epochs"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--method", "rawpad"], "did you mean 'raw-pad'"),
        (["--method", "raw-pad", "--setting", "steps=3"], "none of raw-pad has that setting"),
        (["--method", "raw-pad", "--setting", "side=x"], "--setting side=x: "),
        (["--method", "raw-pad", "--setting", "side"], "is not of the form name=value"),
        (["--method", "raw-pad", "--preset", "slow"], "raw-pad has no preset 'slow'"),
        (["--method", "raw-pad", "--own", "rival"], "leave the attributor, --own and"),
        ([], "nothing to evaluate: give an attributor and --own, or --method"),
    ],
)
def test_comparisons_that_make_no_sense__rejects_options(here, place, capsys, arguments, says):
    assert evaluate(place, *arguments) == 2
    assert says in capsys.readouterr().err
