"""`wherefrom attribution`, from files to answers."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
from PIL import Image, ImageOps

from wherefrom import attribution
from wherefrom.attribution.checking.paths import check_paths, explain_path
from wherefrom.attribution.config import PRESETS
from wherefrom.cli.main import run

SLOW_IMPORTS = ("matplotlib", "scipy", "sklearn", "jinja2", "transformers", "diffusers")
# Libraries in C that cannot be loaded twice, and what the test itself runs in.
LOADED_ONCE = ("torch", "numpy", "PIL", "safetensors", "pytest", "_pytest", "pluggy")


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    """The test's own folder, with copies of the attributor and the own images."""
    shutil.copytree(place / "m.attributor", tmp_path / "m.attributor")
    shutil.copytree(place / "own", tmp_path / "own")
    shutil.copy(place / "others" / "0.png", tmp_path / "rival.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_check_prints_a_row_per_file_and_the_counts__reference_library(here, capsys):
    assert run(["attribution", "check", "m.attributor", "own", "rival.png"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["image", "verdict", "p-value", "score", "reason"]
    expected = check_paths(attribution.load("m.attributor"), ["own", "rival.png"])
    for line, image in zip(lines[1:], expected.images, strict=False):
        assert line.startswith(image.name)
        assert str(image.verdict) in line
        assert f"{image.p_value:.3g}" in line
    assert lines[-1].startswith("5 images: ")
    assert err == ""


def test_check_json_is_one_object_equal_to_the_result__roundtrip(here, capsys):
    assert run(["attribution", "check", "m.attributor", "own", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    expected = check_paths(attribution.load("m.attributor"), ["own"]).to_dict()
    assert printed == json.loads(json.dumps(expected))


def test_check_keeps_answers__identity_again(here, capsys, monkeypatch):
    arguments = ["attribution", "check", "m.attributor", "own", "--answers", "a.sqlite", "--json"]
    assert run(arguments) == 0
    first = capsys.readouterr().out
    monkeypatch.delattr("wherefrom.attribution.checking.fitted.Attributor.check")
    assert run(arguments) == 0
    assert capsys.readouterr().out == first
    assert run([*arguments[:5], "m.attributor"]) == 2
    assert "m.attributor is a folder; name a file" in capsys.readouterr().err


def test_check_writes_page_and_spreadsheet__smoke(here, capsys):
    targets = ["--report", "r.html", "--csv", "r.csv"]
    assert run(["attribution", "check", "m.attributor", "own/0.png", *targets]) == 0
    assert "data:image/png;base64," in (here / "r.html").read_text()
    assert (here / "r.csv").read_text().startswith("image,verdict,p-value,score,reason")
    assert capsys.readouterr().err == "wrote r.html\n"


@pytest.mark.usefixtures("undrawn")
def test_explain_tells_prints_and_writes_the_same__reference_library(here, capsys):
    found, _ = explain_path(attribution.load("m.attributor"), "own/0.png")
    assert run(["attribution", "explain", "m.attributor", "own/0.png", "--report", "r.html"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].startswith(f"own/0.png: {found.image.verdict}")
    for one in found.reencodings:
        assert one.change in out
    assert err == "wrote r.html and r.json\n"
    written = json.loads((here / "r.json").read_text())
    assert run(["attribution", "explain", "m.attributor", "own/0.png", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == written
    assert written["digests"] == dict(found.digests)


def test_strange_file_names_reach_the_terminal_escaped_and_whole__closed_form(here, capsys):
    name = "[red]" + "x" * 150 + "\x1b[31m\n=cmd.png"
    shutil.copy("rival.png", name)
    assert run(["attribution", "check", "m.attributor", f"./{name}"]) == 0
    out = capsys.readouterr().out
    assert "[red]" + "x" * 150 + r"\x1b[31m\n=cmd.png" in out
    assert "\x1b" not in out


def test_check_goes_on_past_a_broken_file__closed_form(here, capsys):
    (here / "bad.png").write_bytes(b"no")
    assert run(["attribution", "check", "m.attributor", "bad.png", "own"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split()[:3] == ["bad.png", "cannot", "say"]
    assert out.splitlines()[-1].endswith("1 cannot say")


def test_check_fails_if_nothing_could_be_judged__rejects_all_broken(here, capsys):
    (here / "bad.png").write_bytes(b"no")
    assert run(["attribution", "check", "m.attributor", "bad.png"]) == 2
    out, err = capsys.readouterr()
    assert "cannot say" in out
    assert err.startswith("error: nothing could be judged; the first: bad.png: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "nothing", "own"], "error: nothing is not a wherefrom artifact"),
        (["check", "m.attributor", "gone.png"], "error: gone.png: there is no such file"),
        (["check", "m.attributor", "own", "--report", "own/0.png"], "error: --report is own/0.png"),
        (["check", "m.attributor", "own", "--csv", "a/b.csv"], "error: a is not a folder"),
        (["evaluate", "m.attributor", "--own", "own", "--other", "x"], "'x' is not of the form"),
        (
            ["evaluate", "m.attributor", "--own", "own", "--other", "a=own", "--other", "a=own"],
            "error: two sources are called 'a'",
        ),
        (
            ["fit", "--generator", "g.py:G", "--others", "own", "--out", "m.attributor"],
            "error: m.attributor already exists; pass --overwrite",
        ),
        (
            ["fit", "--generator", "g.py:G", "--out", "new"],
            "error: give --others, or --self-made where there are none",
        ),
        (
            ["fit", "--generator", "g.py:G", "--others", "own", "--self-made", "--out", "new"],
            "error: give --others, or --self-made where there are none",
        ),
        (
            [
                *("fit", "--generator", "g.py:G", "--self-made", "--out", "new"),
                *("--own", "own", "--own-latents", "z.npy"),
            ],
            "error: give one of --own, --own-latents and",
        ),
        (
            ["explain", "m.attributor", "own", "--report", "r.html"],
            "error: own is a folder of 4 images; name one of them",
        ),
        (
            ["explain", "m.attributor", "own/0.png", "--report", "own/0.png"],
            "error: --report is own/0.png",
        ),
        (
            ["fit", "--generator", "g.py:G", "--others", "own", "--out", "new"],
            "error: the Python file g.py does not exist",
        ),
        (
            ["fit", "--generator", "g.py:G", "--others", "own", "--out", "n", "--lasso-lam", "-1"],
            "error: LassoConfig.lam is -1.0",
        ),
        (
            ["fit", "--generator", "g.py:G", "--others", "own", "--out", "n", "--latent", "a,1"],
            "'a,1' is not of the form 100,1,1",
        ),
        (
            ["fit", "--generator", "g.py:G", "--others", "own", "--out", "n", "--value-range", "1"],
            "'1' is not of the form -1,1",
        ),
        (
            ["fit", "--generator", "g.py:G", "--others", "own", "--out", "n", "--device", "abacus"],
            "error: the device 'abacus' cannot be used here",
        ),
    ],
)
def test_wrong_arguments_end_with_one_line_and_2__rejects_arguments(
    here, capsys, arguments, message
):
    before = sorted(here.rglob("*"))
    assert run(["attribution", *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err.splitlines()[-1]
    assert out == ""
    assert sorted(here.rglob("*")) == before


def test_fit_passes_options_over_the_preset__reference_library(
    place, tmp_path, monkeypatch, capsys
):
    seen = {}

    class EnoughError(Exception):
        pass

    def fake(generator, others, **settings):
        seen.update(settings, shape=tuple(others.shape))
        raise EnoughError

    monkeypatch.setattr(attribution, "fit", fake)
    arguments = (
        f"attribution fit --generator {place}/my.py:G --others {place}/others --seed 5 "
        f"--out {tmp_path}/x --preset paper --detector-epochs 20 --lasso-gap 0.5 --device cpu"
    )
    with pytest.raises(EnoughError):
        run(arguments.split())
    paper = PRESETS["paper"]
    expected = replace(
        paper,
        detector=replace(paper.detector, epochs=20),
        lasso=replace(paper.lasso, gap=0.5),
    )
    assert seen["config"] == expected
    assert (seen["seed"], seen["device"], seen["shape"]) == (5, "cpu", (100, 3, 16, 16))
    assert not (tmp_path / "x").exists()


def test_fit_says_which_files_it_left_out__closed_form(place, tmp_path, monkeypatch, capsys):
    others = tmp_path / "others"
    shutil.copytree(place / "others", others)
    (others / "bad.png").write_bytes(b"no")
    arguments = ["--generator", f"{place}/my.py:G", "--others", str(others), "--out", "x"]
    small = ["--train-samples", "60", "--calibration-samples", "20"]
    monkeypatch.chdir(tmp_path)
    code = run(["attribution", "fit", *arguments, *small])
    err = capsys.readouterr().err
    assert f"note: {others}: 1 file left out; the first: {others}/bad.png: is not an image" in err
    assert code == 2  # 20 images do not support the default rate, and the line says so
    assert "cannot be supported by 20 held-out samples" in err.splitlines()[-1]


def test_fit_takes_own_images_from_disk__reference_library(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    spec = f"{place}/my.py:G"
    assert run(["zoo", "sample", spec, "--count", "200", "--out", "mine", "--seed", "3"]) == 0
    (tmp_path / "mine" / "bad.png").write_bytes(b"no")
    arguments = ["--generator", spec, "--others", f"{place}/others", "--method", "raw-pad"]
    rates = ["--false-negative-rate", "0.05", "--false-positive-rate", "0.1"]
    small = ["--sibling-samples", "0", "--detector-epochs", "1", "--train-samples", "50"]
    fit = ["attribution", "fit", *arguments, *rates, *small]
    assert run([*fit, "--own", "mine", "--out", "x"]) == 0
    out, err = capsys.readouterr()
    assert "note: mine: 1 file left out; the first: mine/bad.png: is not an image" in err
    assert run(["attribution", "show", "x"]) == 0
    assert capsys.readouterr().out in out
    facts = [line.split() for line in out.splitlines()]
    assert ["own:", "origin", "given"] in facts and ["own:", "count", "200"] in facts
    assert attribution.load("x").describe()["own"]["parts"]["calibration"] == 60
    assert run([*fit, "--own", f"{place}/own", "--out", "y"]) == 2
    assert (
        "different own images given: 4; these error rates need at least"
        in (capsys.readouterr().err.splitlines()[-1])
    )


@pytest.mark.usefixtures("undrawn")
def test_evaluate_prints_a_row_per_source__reference_library(here, place, capsys):
    (here / "mirrored").mkdir()
    for path in sorted((place / "others").iterdir())[:20]:
        with Image.open(path) as image:
            ImageOps.mirror(image).save(here / "mirrored" / path.name)
    arguments = ["--own", "own", "--other", "smooth=mirrored", "--report", "e.html"]
    assert run(["attribution", "evaluate", "m.attributor", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["own", "smooth"]
    assert lines[-1].startswith("mean accuracy over 1 other source: ")
    assert "Box plot" in (here / "e.html").read_text()
    assert run(["attribution", "evaluate", "m.attributor", *arguments[:4], "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert set(payload["scores"]) == {"own", "smooth"} and payload["notes"] == []


def test_images_of_the_fit_are_not_evaluated_on__rejects_them(here, place, capsys):
    arguments = ["--own", "own", "--other", f"smooth={place}/others"]
    assert run(["attribution", "evaluate", "m.attributor", *arguments]) == 2
    assert "of 'smooth' were among the other images that this attributor was fitted to" in (
        capsys.readouterr().err
    )


def test_show_tells_what_the_attributor_rests_on__reference_library(here, capsys):
    assert run(["attribution", "show", "m.attributor"]) == 0
    text = capsys.readouterr().out
    described = attribution.load("m.attributor").describe()
    assert described["generator"]["digest"] in text
    assert "weight of the l1 term in Eq. 5 [App. G.7]" in text
    assert run(["attribution", "show", "m.attributor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == described


@pytest.fixture
def fresh_modules(monkeypatch):
    """The slow imports that are tried from here on; every module of the package is loaded anew."""
    tried = []

    class Refuse:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in SLOW_IMPORTS:
                tried.append(name)
                raise ImportError(name)

    for name in list(sys.modules):
        if name.partition(".")[0] not in {*sys.stdlib_module_names, *LOADED_ONCE}:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Refuse(), *sys.meta_path])
    before = dict(sys.modules)
    yield tried
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


def test_check_imports_nothing_that_it_does_not_need__closed_form(here, fresh_modules):
    from wherefrom.cli.main import run as run_anew

    assert run_anew is not run
    assert run_anew(["attribution", "check", "m.attributor", "own/0.png"]) == 0
    assert fresh_modules == []


@pytest.mark.usefixtures("undrawn")
def test_check_judges_a_folder_as_one_source__roundtrip(here, capsys):
    arguments = ["attribution", "check", "m.attributor", "own", "rival.png", "--same-source"]
    assert run([*arguments, "--report", "r.html"]) == 0
    *_, own, file = capsys.readouterr().out.splitlines()
    assert own.startswith("own: its 4 images together") and file.startswith("the files given: ")
    assert "Each source as a whole" in (here / "r.html").read_text()
    assert run([*arguments, "--json"]) == 0
    sources = json.loads(capsys.readouterr().out)["same_source"]
    assert [source["sentence"] for source in sources] == [own, file]
