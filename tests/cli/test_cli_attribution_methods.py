"""`--method`: one switch for `fit`, and side by side in `compare`."""

import dataclasses
import json
import shutil

import pytest
from PIL import Image

from wherefrom import attribution
from wherefrom.attribution.checking.paths import check_paths
from wherefrom.attribution.evaluation.choosing import choose_methods
from wherefrom.cli.console.options import MethodCommand
from wherefrom.cli.main import run
from wherefrom.generators.loading import load_generator

SMALL = [
    *("--train-samples", "60", "--calibration-samples", "20", "--device", "cpu"),
    *("--false-negative-rate", "0.1", "--false-positive-rate", "0.2"),
    *("--sibling-samples", "20"),
]
SETTINGS = [
    *("--setting", "train_samples=60", "--setting", "calibration_samples=20"),
    *("--setting", "sibling_samples=20"),
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
    expected = check_paths(attribution.load("m"), ["rival"])
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
    from wherefrom.cli.attribution.commands import attribution as group

    return group.commands[name]


def compare(place, *more):
    spec = ["--generator", f"{place}/my.py:G", "--others", "others", "--other", "rival=rival"]
    counts = ["--own-samples", "6", "--repetitions", "2", "--device", "cpu"]
    return run(["attribution", "compare", *spec, *counts, *more])


def test_methods_side_by_side__reference_library(here, place, capsys):
    methods = ["--method", "fingerprint", "--method", "raw-pad", *SETTINGS]
    more = ["--setting", "detector.epochs=1", "--csv", "c.csv"]
    altered = ["--alter", "jpeg=80", "--alter", "noise=0.1"]
    assert compare(place, *methods, *more, *altered) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "accuracy, %" and lines[1].split()[:3] == ["method", "rival", "mean"]
    assert lines[2].startswith("SM-F") and lines[3].startswith("RawPAD")
    assert "±" in lines[2] and any(line.endswith("over 2 repetitions") for line in lines)
    assert (here / "c.csv").read_text().count("fingerprint,,rival,") == 1
    start = lines.index("accuracy on altered images, mean over the sources, %")
    assert lines[start + 1].split() == ["method", "jpeg=80", "noise=0.1"]
    assert lines[start + 3].startswith("RawPAD") and "±" in lines[start + 3]
    assert lines[start + 5].startswith("AUROC on altered images")
    assert compare(place, *methods, *more[:2], *altered, "--repetitions", "1", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["alteration"] for row in told["altered"]] == ["jpeg=80", "noise=0.1"] * 2
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
        (["--method", "raw-pad", "--alter", "jpeg=500"], "no strength from 1 to 100"),
        (["--method", "raw-pad", "--own", "rival"], "No such option"),
        ([], "Missing option '--method'"),
    ],
)
def test_comparisons_that_make_no_sense__rejects_options(here, place, capsys, arguments, says):
    assert compare(place, *arguments) == 2
    assert says in capsys.readouterr().err


ROWS_PY = """
import torch
from torch import nn

def G(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 40), nn.ReLU(), nn.Linear(40, 5))

def rival():
    made = G(1)
    with torch.no_grad():
        made[-1].weight.mul_(4)
    return made
"""


def write_rows(path, factory, count, seed):
    rows = load_generator(f"rows.py:{factory}").sample(count, seed).reshape(count, 5)
    path.write_text("\n".join(["a,b,c,d,e", *(",".join(map(repr, r)) for r in rows.tolist())]))


def test_a_table_goes_from_files_to_answers__smoke(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.py").write_text(ROWS_PY)
    write_rows(tmp_path / "others.csv", "rival", 200, 1)
    write_rows(tmp_path / "rival.csv", "rival", 40, 2)
    write_rows(tmp_path / "own.csv", "G", 40, 3)
    (tmp_path / "own.csv").write_text((tmp_path / "own.csv").read_text() + "\n1,2,red,4,5\n")
    fit = ["attribution", "fit", "--generator", "rows.py:G", "--others", "others.csv"]
    small = [
        *("--train-samples", "100", "--calibration-samples", "60", "--mean-samples", "50"),
        *("--false-negative-rate", "0.05", "--false-positive-rate", "0.1", "--device", "cpu"),
        *("--detector-epochs", "5", "--sibling-samples", "20"),
    ]
    assert run([*fit, "--out", "m", *small]) == 2
    assert "start from the preset 'numbers'" in capsys.readouterr().err
    assert run([*fit, "--preset", "numbers", "--out", "m", *small]) == 0
    assert run(["attribution", "check", "m", "own.csv"]) == 0
    out = capsys.readouterr().out
    assert "own.csv:42" in out and "'c' holds 'red', expected a number" in out
    assert "\n41 rows: " in out and "\ntogether: " in out
    assert run(["attribution", "check", "m", "rival.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["together"]["p_value"] < 1e-6
    assert run(["attribution", "check", "m", "own.csv", "--report", "r.html"]) == 2
    assert "this attributor judges rows; take --csv" in capsys.readouterr().err
    assert run(["zoo", "sample", "rows.py:G", "--count", "1", "--out", "images"]) == 2
    assert "makes rows of numbers, and this command writes images" in capsys.readouterr().err
    assert not (tmp_path / "images").exists()
    compare = ["attribution", "compare", "--method", "all", "--preset", "numbers"]
    compare += ["--generator", "rows.py:G", "--others", "others.csv", "--other", "rival=rival.csv"]
    tiny = [
        "train_samples=60",
        "calibration_samples=40",
        "sibling_samples=20",
        "detector.epochs=1",
        "steps=3",
    ]
    tiny += ["false_negative_rate=0.05", "false_positive_rate=0.1", "restarts=1", "mean_samples=50"]
    settings = [part for one in tiny for part in ("--setting", one)]
    assert run([*compare, "--repetitions", "1", "--own-samples", "20", "--json", *settings]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["method"] for row in rows] == ["flipad", "raw-pad", "inversion-l2"]


def test_others_from_lossy_files_are_refused_where_a_fit_would_learn_the_codec__bad_input(
    place, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jpeg").mkdir()
    for index in range(80):
        image = Image.open(place / "others" / f"{index}.png")
        image.save(tmp_path / "jpeg" / f"{index}.jpg", quality=90)
    fit = ["attribution", "fit", "--generator", f"{place}/my.py:G", "--others", "jpeg"]
    small = [*SMALL, "--out", "m"]
    raw = [*fit, "--method", "raw-pad", "--detector-epochs", "1", *small]
    assert run(raw) == 2
    err = capsys.readouterr().err
    assert "80 of 80 others are from lossy files" in err and "--lossy-others" in err
    assert not (tmp_path / "m").exists()
    assert run([*raw, "--lossy-others"]) == 0
    # a method that learns nothing from them, and files of twice the size, leave no codec behind
    assert run([*fit, "--method", "fingerprint", *small, "--overwrite"]) == 0
    for path in (tmp_path / "jpeg").iterdir():
        Image.open(path).resize((32, 32)).save(path, quality=90)
    assert run([*raw, "--resize", "--overwrite"]) == 0


def test_of_all_methods_those_are_left_out_that_the_model_has_no_parts_for__closed_form(place):
    """It draws its own images (no latent) and has no encoder."""
    latentless = dataclasses.replace(load_generator(f"{place}/my.py:G"), latent_shape=None)
    notes = []
    able = ["patches", "flipad", "raw-pad", "dct-pad", "fingerprint", "ensemble"]
    assert choose_methods(["all"], latentless, note=notes.append) == able
    assert notes[0] == "note: inversion-l2 is left out: the model has no latent"
    assert notes[-1] == "note: autoencoder is left out: the model has no encoder"
    assert choose_methods(["autoencoder"], latentless) == ["autoencoder"]  # asked for by name
