"""`wherefrom inversion`: from a folder to a model, codes, pairs, strips and the latent report."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from wherefrom.cli.main import run
from wherefrom.core.rng import stream
from wherefrom.data import read_image, save_png, to_float
from wherefrom.inversion import load

SMALL = [
    *("--size", "8", "--channels", "1", "--width", "2", "--latent", "4", "--batch", "4"),
    *("--steps", "2", "--calibration-samples", "64", "--checkpoint-every", "1"),
    *("--sample-every", "1", "--log-every", "1", "--device", "cpu"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`photos/` of two sub-folders, `labels.csv` of two attributes, `model/` of aedlsgan."""
    folder = tmp_path_factory.mktemp("inversion")
    for index in range(8):
        part = folder / "photos" / ("dark" if index < 4 else "light")
        part.mkdir(parents=True, exist_ok=True)
        shade = torch.rand(1, 8, 8, generator=stream(0, index)) * 100 + (index >= 4) * 150
        save_png(shade.byte(), part / f"{index}.png")
    rows = "".join(f"{index}.png,{int(index >= 4)},{index % 2}\n" for index in range(8))
    (folder / "labels.csv").write_text("image,light,odd\n" + rows)
    assert train(folder, "model", "--method", "aedlsgan", *csv_of(folder)) == 0
    return folder


def csv_of(folder):
    return ["--label-file", f"{folder}/labels.csv"]


def train(folder, out, *more):
    return run(
        ["inversion", "train", f"{folder}/photos", "--out", f"{folder}/{out}", *SMALL, *more]
    )


def test_training_leaves_a_model_and_its_record__smoke(place, capsys):
    assert train(place, "model", "--method", "aedlsgan", *csv_of(place)) == 0  # done: nothing new
    assert capsys.readouterr().out == f"{place}/model\n"
    names = {path.name for path in (place / "model").iterdir()}
    assert {"inverter", "checkpoint", "metrics.csv", "samples-0000002.png"} <= names
    fitted = load(place / "model")
    assert fitted.find_attribute("odd") == (1, 1)
    assert fitted.directions.shape == (4, 2, 2)


def test_a_stopped_run_is_used_and_says_so__identity_model(place, tmp_path, capsys):
    fitted = load(place / "model")
    stopped = replace(fitted, provenance={**fitted.provenance, "step": 500, "steps": 2000})
    (tmp_path / "run").mkdir()
    stopped.save(tmp_path / "run" / "inverter")
    argv = ["inversion", "latents", str(tmp_path / "run")]
    assert run(argv) == 0
    assert "a run that stopped; its model is that of step 500 of 2,000" in capsys.readouterr().err


def test_sub_folders_are_classes__identity_labels(place):
    assert train(place, "classes", "--method", "cagan") == 0
    fitted = load(place / "classes")
    assert fitted.prior.tolist() == [[0.5, 0.5]]
    assert fitted.provenance["label_names"] == ["dark", "light"]


def test_codes_are_those_of_the_library__reference_library(place, capsys):
    out = place / "codes.safetensors"
    argv = ["inversion", "encode", f"{place}/model", f"{place}/photos", "--out", f"{out}"]
    assert run(argv) == 0
    fitted = load(place / "model")
    with safe_open(out, framework="pt") as file:
        names = json.loads(file.metadata()["names"])
        codes, nll = file.get_tensor("codes"), file.get_tensor("nll")
    assert len(names) == 8
    images = torch.stack([to_float(read_image(name).pixels) for name in names])
    assert torch.equal(codes, fitted.encode(images))
    assert torch.equal(nll, fitted.negative_log_likelihood(codes))


def test_reconstruct_prints_each_image_and_the_mean__reference_library(place, capsys):
    out = place / "grid.png"
    argv = ["inversion", "reconstruct", f"{place}/model", f"{place}/photos", "--out", f"{out}"]
    assert run([*argv, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    values = [image["psnr"] for image in told["images"]]
    assert told["mean_psnr"] == pytest.approx(sum(values) / 8)
    assert read_image(out).pixels.shape == (1, 8, 16 * 8 + 15 * 2)
    assert run(argv) == 0
    assert f"{told['mean_psnr']:.2f} dB" in capsys.readouterr().out


def test_refining_tells_what_it_gained_and_cost__reference_library(place, capsys):
    out = place / "refined.png"
    argv = ["inversion", "reconstruct", f"{place}/model", f"{place}/photos", "--out", f"{out}"]
    assert run([*argv, "--refine", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert run([*argv, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert told["mean_psnr_gained"] == pytest.approx(told["mean_psnr"] - plain["mean_psnr"])
    assert run([*argv, "--refine", "5"]) == 0
    shown = capsys.readouterr().out
    word = "less likely" if told["mean_nats_lost"] > 0 else "likelier"
    assert f"{abs(told['mean_nats_lost']):.1f} nats {word}" in shown


def test_held_out_images_calibrate_outliers_without_others__roundtrip(tmp_path, capsys):
    for index in range(32):
        shade = torch.rand(1, 8, 8, generator=stream(1, index)) * 255
        (tmp_path / "photos").mkdir(exist_ok=True)
        save_png(shade.byte(), tmp_path / "photos" / f"{index:02d}.png")
    assert train(tmp_path, "model", "--hold-out", "0.5") == 0
    assert load(tmp_path / "model").provenance["images"] == 16
    capsys.readouterr()
    argv = ["inversion", "outliers", f"{tmp_path}/model", f"{tmp_path}/photos", "--fpr", "0.12"]
    assert run([*argv, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["calibrated_on"], len(told["rows"])) == (8, 32)
    assert run([*argv, "--json", "--score", "reconstruction"]) == 0  # calibrated anew, as asked
    assert json.loads(capsys.readouterr().out)["score"] == "reconstruction"
    curve = tmp_path / "curve.csv"
    assert run([*argv, "--json", "--curve", f"{curve}"]) == 0
    assert json.loads(capsys.readouterr().out)["score"] == "reconstruction"
    assert len(curve.read_text().splitlines()) == 81


def test_a_class_without_images__rejects_folder(place, capsys):
    (place / "photos" / "none").mkdir()
    try:
        assert train(place, "empty-class", "--method", "cagan") == 2
        assert "photos/none: no image in this folder" in capsys.readouterr().err
    finally:
        (place / "photos" / "none").rmdir()


def test_editing_by_attribute_and_by_examples__smoke(place, capsys):
    image, out = f"{place}/photos/dark/0.png", place / "strip.png"
    argv = ["inversion", "edit", f"{place}/model", image, "--out", f"{out}", "--steps", "3"]
    assert run([*argv, "--attribute", "light"]) == 0
    assert "leakage into attribute 1" in capsys.readouterr().out
    assert read_image(out).pixels.shape == (1, 8, 5 * 8 + 4 * 2)
    photos = place / "photos"
    assert run([*argv, "--with", f"{photos}/light", "--without", f"{photos}/dark", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["positions"] == [-1.0, 0.0, 1.0]


def test_latents_are_reported_and_drawn__smoke(place, capsys):
    out = place / "sheet.png"
    argv = ["inversion", "latents", f"{place}/model", f"{place}/photos", "--out", f"{out}"]
    assert run([*argv, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["of"] == 4
    assert told["pruned"][-1]["kept"] == 4
    assert read_image(out).pixels.shape[1] == 8 * min(told["live"], 8) + 2 * (told["live"] - 1)
    assert run(argv) == 0
    assert "live dimensions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--method", "dlsgan", "--label-file", "labels.csv"], "dlsgan takes no labels"),
        (["--method", "cagan", "--label-file", "nothing.csv"], "there is no such file"),
        (["--method", "cagan", "--label-file", "labels.csv", "--limit", "4"], "without --limit"),
        (["--size", "9"], "images of 9 px; the networks take"),
        (["--latent", "5", "--out", "model"], "other settings"),
        (["--hold-out", "0.5"], "hold out at least 8"),
    ],
)
def test_what_cannot_be_trained__rejects(place, capsys, monkeypatch, more, message):
    monkeypatch.chdir(place)
    capsys.readouterr()
    method = [] if "--method" in more else ["--method", "aedlsgan", *csv_of(place)]
    assert train(place, "new", *method, *more) == 2
    assert message in capsys.readouterr().err
    assert not (place / "new").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "say what to edit"),
        (["--attribute", "hat"], "no attribute 'hat'; this model was trained with: light, odd"),
        (["--attribute", "light", "--with", "x"], "not both"),
        (["--with", "photos", "--without", "photos", "--keep", "x"], "expected NAME=WITH:WITHOUT"),
    ],
)
def test_what_cannot_be_edited__rejects(place, capsys, monkeypatch, more, message):
    monkeypatch.chdir(place)
    capsys.readouterr()
    assert run(["inversion", "edit", "model", "photos/dark/0.png", "--out", "s.png", *more]) == 2
    assert message in capsys.readouterr().err


def pictures_in(folder):
    return [to_float(read_image(path).pixels) for path in sorted(folder.iterdir())]


def test_samples_are_files_and_a_sheet__reference_library(place, tmp_path, capsys):
    out, sheet = tmp_path / "samples", tmp_path / "sheet.png"
    argv = ["inversion", "sample", f"{place}/model", "--count", "3", "--seed", "5"]
    assert run([*argv, "--truncation", "0.5", "--out", f"{out}", "--sheet", f"{sheet}"]) == 0
    assert [path.name for path in sorted(out.iterdir())] == [f"00000{n}.png" for n in range(3)]
    wanted = load(place / "model").sample(3, seed=5, truncation=0.5)
    assert float((torch.stack(pictures_in(out)) - wanted).abs().max()) <= 0.5 / 255 + 1e-6
    assert read_image(sheet).pixels.shape == (1, 8, 3 * 8 + 2 * 2)
    assert run([*argv, "--out", f"{out}"]) == 2  # the folder is there
    assert run([*argv, "--truncation", "0", "--out", f"{tmp_path}/other"]) == 2
    assert run([*argv, "--class", "light", "--out", f"{tmp_path}/other"]) == 2
    assert "makes no images of a wanted class" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_latents_nearer_to_the_mean_vary_less__closed_form(place):
    """Codes of a truncated draw are that share of the whole draw's."""
    fitted = load(place / "model")
    mean = fitted.decode(torch.zeros(1, 4), clip=False)
    tiny = fitted.sample(4, seed=0, truncation=1e-6)
    assert float((tiny - mean.clamp(0, 1)).abs().max()) < 1e-4


def test_codes_become_images_again__roundtrip(place, tmp_path, capsys):
    codes, out = tmp_path / "codes.safetensors", tmp_path / "decoded"
    assert (
        run(["inversion", "encode", f"{place}/model", f"{place}/photos", "--out", f"{codes}"]) == 0
    )
    argv = ["inversion", "decode", f"{place}/model", f"{codes}", "--out", f"{out}"]
    assert run(argv) == 0
    fitted = load(place / "model")
    with safe_open(codes, framework="pt") as file:
        wanted = fitted.decode(file.get_tensor("codes"))
    assert float((torch.stack(pictures_in(out)) - wanted).abs().max()) <= 0.5 / 255 + 1e-6
    capsys.readouterr()
    (tmp_path / "text.safetensors").write_text("no codes")
    argv[3:5] = [f"{tmp_path}/text.safetensors", "--out"]
    assert run([*argv[:5], f"{tmp_path}/more"]) == 2
    assert "cannot read codes from" in capsys.readouterr().err


def test_the_way_between_two_images__limit(place, tmp_path, capsys):
    """It begins and ends with what comes back of the images, and moves as a GIF."""
    a, b = sorted((place / "photos" / "dark").iterdir())[:2]
    out, gif = tmp_path / "way.png", tmp_path / "way.gif"
    argv = ["inversion", "interpolate", f"{place}/model", f"{a}", f"{b}", "--out", f"{out}"]
    assert run([*argv, "--steps", "3", "--gif", f"{gif}"]) == 0
    strip = to_float(read_image(out).pixels)
    cells = [strip[:, :, 10 * n : 10 * n + 8] for n in range(5)]
    fitted, ends = load(place / "model"), [to_float(read_image(path).pixels) for path in (a, b)]
    back = fitted.reconstruct(torch.stack(ends))
    for cell, wanted in zip(cells[:2] + cells[3:], (ends[0], *back, ends[1]), strict=True):
        assert float((cell - wanted).abs().max()) <= 0.5 / 255 + 1e-6
    with Image.open(gif) as moving:
        assert moving.n_frames in (5, 6)  # Pillow joins frames that are equal


def test_images_of_a_class_are_drawn_by_its_name__reference_library(place, tmp_path):
    assert train(place, "classes", "--method", "cagan") == 0
    out = tmp_path / "light"
    argv = ["inversion", "sample", f"{place}/classes", "--count", "2", "--class", "light"]
    assert run([*argv, "--out", f"{out}"]) == 0
    fitted = load(place / "classes")
    number = fitted.provenance["label_names"].index("light")
    wanted = fitted.sample(2, seed=0, label=number)
    assert float((torch.stack(pictures_in(out)) - wanted).abs().max()) <= 0.5 / 255 + 1e-6
