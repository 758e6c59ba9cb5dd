"""`wherefrom inversion`: outliers, evaluate, cluster, merge-tree, from files to files."""

import csv
import json

import pytest
import torch
from untrained_inverters import blobs, fitted_to, untrained

from wherefrom.cli.main import run
from wherefrom.data import save_png
from wherefrom.inversion.codes import evaluation

TINY = [
    *("--size", "8", "--channels", "1", "--steps", "2", "--batch", "4", "--width", "4"),
    *("--latent", "4", "--classes", "3", "--device", "cpu", "--precision", "fp32"),
]


def write(folder, images):
    folder.mkdir()
    for index, image in enumerate(images):
        save_png((image * 255).round().byte(), folder / f"{index:02d}.png")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two untrained models, own images, and a folder with normal, odd and broken ones."""
    folder = tmp_path_factory.mktemp("inversion")
    own = blobs(60)
    fitted_to(own).save(folder / "model")
    untrained("cgpgan", classes=(1, 3)).save(folder / "classes")
    write(folder / "own", own)
    write(folder / "mixed", torch.cat([blobs(5, seed=3), 1 - blobs(3, seed=4).round()]))
    (folder / "mixed" / "broken.png").write_bytes(b"\x89PNG nothing")
    return folder


def call(capsys, *arguments):
    code = run([str(a) for a in ("--quiet", "inversion", *arguments)])
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.fixture
def calibrated(place, capsys):
    """The model's folder with a calibration in it."""
    kept = place / "model" / "outliers"
    if not kept.exists():
        base = ("outliers", place / "model", place / "mixed", "--own", place / "own")
        assert call(capsys, *base, "--fpr", "0.1", "--score", "nll")[0] == 0
    return place


@pytest.mark.usefixtures("undrawn")
def test_outliers_are_ranked_and_the_calibration_is_kept__roundtrip(calibrated, tmp_path, capsys):
    base = ("outliers", calibrated / "model", calibrated / "mixed")
    page, table, curve = (tmp_path / name for name in ("page.html", "list.csv", "curve.csv"))
    own = ("--own", calibrated / "own", "--score", "nll", "--fpr", "0.1")
    files = ("--report", page, "--csv", table, "--curve", curve)
    code, out, _ = call(capsys, *base, *own, *files, "--json")
    assert code == 0
    first = json.loads(out)
    assert first["score"] == "nll" and first["calibrated_on"] == 30
    assert [len(first["rows"]), len(first["skipped"])] == [8, 1]
    scores = [row["score"] for row in first["rows"]]
    assert scores == sorted(scores, reverse=True)
    again = json.loads(call(capsys, *base, "--fpr", "0.1", "--json")[1])
    assert again["rows"] == first["rows"]
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["image"] for row in rows[:8]] == [row["name"] for row in first["rows"]]
    assert rows[8]["verdict"] == "not judged" and rows[8]["reason"]
    points = list(csv.DictReader(curve.read_text().splitlines()))
    assert len(points) == 80 and float(points[0]["intensity"]) == 0.02
    text = page.read_text()
    assert "How small a defect is seen" in text and "<svg" not in text.split("<body")[0]
    assert "00.png" in text and "broken.png" in text


@pytest.mark.parametrize("suffix", [".json", ".svg"])
def test_a_curve_is_also_json_or_a_picture__smoke(calibrated, tmp_path, capsys, suffix):
    curve = tmp_path / f"curve{suffix}"
    base = ("outliers", calibrated / "model", calibrated / "mixed", "--own", calibrated / "own")
    code, out, _ = call(capsys, *base, "--score", "nll", "--fpr", "0.1", "--curve", curve)
    assert code == 0 and "8 images:" in out
    text = curve.read_text()
    if suffix == ".json":
        assert set(json.loads(text)) >= {"points", "half_caught_from", "rate"}
    else:
        assert text.lstrip().startswith("<?xml") and "AUROC" in text


def test_what_outliers_cannot_do__rejects_input(calibrated, tmp_path, capsys):
    base = ("outliers", calibrated / "model", calibrated / "mixed")
    cases = {
        (*base, "--fpr", "0.01"): "cannot be supported by 30 held-out samples",
        (*base, "--fpr", "0.1", "--score", "two-sided"): "take effect with --own only",
        (*base, "--curve", tmp_path / "c.csv"): "give them with --own",
        (*base, "--report", tmp_path / "c.txt"): "must end in .html",
        ("outliers", calibrated / "classes", calibrated / "mixed"): "no calibration of outliers",
        ("outliers", calibrated / "own", calibrated / "mixed"): "not a wherefrom artifact",
    }
    for arguments, message in cases.items():
        code, _, err = call(capsys, *arguments)
        assert code == 2 and message in err, (arguments, err)
        assert len(err.strip().splitlines()) == 1


def test_an_evaluation_prints_its_figures__roundtrip(calibrated, tmp_path, capsys, monkeypatch):
    model, own = calibrated / "model", calibrated / "own"
    base = ("evaluate", model, "--real", own, "--foreign", f"odd={calibrated / 'mixed'}")
    page = tmp_path / "page.html"
    code, out, _ = call(capsys, *base, "--json", "--report", page)
    assert code == 0
    found = json.loads(out)
    assert found["images"] == 60 and found["features"] == "random-conv-1"
    assert found["detection"][0]["foreign"]["odd"] > 0.5
    assert page.read_text().count('src="data:image/png') == 3
    monkeypatch.setattr(evaluation, "MAX_IMAGES", 10)
    assert run(["inversion", *map(str, base)]) == 0
    output = capsys.readouterr()
    assert "note: 10 of 60 real images were measured, drawn by content" in output.err
    assert "real images given" in output.out
    assert "Frechet distance (random-conv-1)" in output.out and "AUROC of nll, odd" in output.out
    assert call(capsys, "evaluate", model, "--real", calibrated / "none")[0] == 2


def test_classes_become_a_page_and_folders__roundtrip(place, tmp_path, capsys):
    page, folder = tmp_path / "classes.html", tmp_path / "sorted"
    base = ("cluster", place / "classes", place / "mixed")
    code, out, _ = call(capsys, *base, "--out", page, "--sorted", folder, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["images"] == 8 and sum(len(c["members"]) for c in found["clusters"]) == 8
    linked = sorted(link.name for link in folder.glob("class-*/*.png"))
    assert linked == [f"{index:02d}.png" for index in range(8)]
    text = page.read_text()
    assert text.count("data:image/png") >= 4 and "class-00: P(C)" in text
    code, _, err = call(capsys, *base, "--out", page, "--sorted", folder)
    assert code == 2 and "choose another --sorted" in err
    code, _, err = call(capsys, "cluster", place / "model", place / "mixed", "--out", page)
    assert code == 2 and "dlsgan finds no classes; train cgpgan" in err


def test_a_merge_tree_is_trained_drawn_and_kept__smoke(place, tmp_path, capsys):
    page, models = tmp_path / "tree.html", tmp_path / "models"
    models.mkdir()
    base = ("merge-tree", place / "own", "--penalties", "1,0.1", "--seeds", "0,1", *TINY)
    code, out, _ = call(capsys, *base, "--out", page, "--models", models)
    assert code == 0 and "agreement of seeds" in out
    tree = json.loads(page.with_suffix(".json").read_text())
    assert [level["penalty"] for level in tree["levels"]] == [0.1, 1.0]
    assert "What merges" in page.read_text()
    assert len(list(models.iterdir())) == 4
    code, _, err = call(capsys, *base, "--out", page, "--models", tmp_path / "none")
    assert code == 2 and "is not a folder" in err
