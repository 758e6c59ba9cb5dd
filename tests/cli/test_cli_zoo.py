"""`wherefrom zoo`: training that resumes, sampling, the shipped list."""

import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from wherefrom.cli.installed import shipped
from wherefrom.cli.main import run
from wherefrom.data import read_image, save_png, to_uint8
from wherefrom.encoders import load_encoder
from wherefrom.encoders import shipped as shipped_files
from wherefrom.encoders.tiny_conv import TinyConvConfig, make_autoencoder, save_autoencoder
from wherefrom.generators.loading import load_generator
from wherefrom.generators.zoo import files as zoo_files

SMALL = (
    "--size 32 --width 4 --latent 4 --batch 4 --checkpoint-every 1 --sample-every 1 --device cpu"
)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    rng = torch.Generator().manual_seed(0)
    for index in range(8):
        pixels = torch.randint(256, (3, 32, 32), generator=rng, dtype=torch.uint8)
        save_png(pixels, folder / f"{index}.png")
    return folder


def train(data, out, *more):
    return run(["zoo", "train", "--data", str(data), "--out", str(out), *SMALL.split(), *more])


def test_training_stopped_and_given_again_ends_the_same__identity_resume(
    data, tmp_path, monkeypatch, capsys
):
    assert train(data, tmp_path / "whole", "--steps", "2") == 0
    assert capsys.readouterr().out == f"{tmp_path}/whole/generator.safetensors\n"
    real = zoo_files.GanTask.step

    def stop_at_one(self, index):
        if index == 1:
            raise KeyboardInterrupt
        return real(self, index)

    with monkeypatch.context() as patched:
        patched.setattr(zoo_files.GanTask, "step", stop_at_one)
        assert train(data, tmp_path / "cut", "--steps", "2") == 130
    assert not (tmp_path / "cut" / "generator.safetensors").exists()
    done = []
    monkeypatch.setattr(
        zoo_files.GanTask, "step", lambda self, index: done.append(index) or real(self, index)
    )
    assert train(data, tmp_path / "cut", "--steps", "2") == 0
    assert done == [1]
    whole, cut = (load_file(tmp_path / n / "generator.safetensors") for n in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    assert (tmp_path / "cut" / "samples-000002.png").exists()
    origin = zoo_files.read_origin(tmp_path / "cut" / "generator.safetensors")
    assert origin["config"]["width"] == 4


def test_other_settings_in_the_same_folder_are_refused__rejects_settings(data, tmp_path, capsys):
    assert train(data, tmp_path / "a", "--steps", "1") == 0
    assert train(data, tmp_path / "a", "--steps", "1", "--learning-rate", "0.1") == 2
    assert "settings" in capsys.readouterr().err.splitlines()[-1]


def test_samples_are_the_generators_own_images__reference_library(place, tmp_path, capsys):
    out = tmp_path / "out"
    spec = f"{place}/my.py:G"
    assert run(["zoo", "sample", spec, "--count", "11", "--out", str(out), "--seed", "3"]) == 0
    files = sorted(out.iterdir())
    assert [file.name for file in files] == [f"{index:02d}.png" for index in range(11)]
    expected = to_uint8(load_generator(spec).sample(11, 3))
    assert all(
        torch.equal(read_image(file).pixels, image)
        for file, image in zip(files, expected, strict=True)
    )


def test_samples_overwrite_nothing_unasked__rejects_filled_folder(place, tmp_path, capsys):
    (tmp_path / "0.png").write_text("evidence")
    arguments = ["zoo", "sample", f"{place}/my.py:G", "--count", "1", "--out"]
    assert run([*arguments, str(tmp_path)]) == 2
    assert "is not empty; pass --overwrite" in capsys.readouterr().err
    assert (tmp_path / "0.png").read_text() == "evidence"
    assert run([*arguments, str(tmp_path / "a" / "b")]) == 2
    assert run([*arguments, str(tmp_path / "0.png")]) == 2
    assert run([*arguments, str(tmp_path), "--overwrite"]) == 0
    assert (tmp_path / "0.png").read_bytes().startswith(b"\x89PNG")


def test_a_failed_load_leaves_no_folder__rejects_half_written(tmp_path):
    code = run(["zoo", "sample", "gone.py:G", "--count", "1", "--out", str(tmp_path / "out")])
    assert code == 2
    assert not (tmp_path / "out").exists()


def test_list_compares_digests_with_the_packed_list__closed_form(
    data, tmp_path, monkeypatch, capsys
):
    assert train(data, tmp_path / "run", "--steps", "1", "--seed", "5") == 0
    files = {name: tmp_path / f"{name}.safetensors" for name in ("good", "changed", "unlisted")}
    for path in files.values():
        shutil.copy(tmp_path / "run" / "generator.safetensors", path)
    digest = hashlib.sha256(files["good"].read_bytes()).hexdigest()
    lines = f"{digest}  good.safetensors\n{'0' * 64} *changed.safetensors\n"
    (tmp_path / "SHA256SUMS").write_text(lines)
    monkeypatch.setattr(shipped, "shipped", lambda: files)
    capsys.readouterr()
    assert run(["zoo", "list", "--json"]) == 0
    models = {model["name"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert models["good"]["state"] == "ok"
    assert "changed after packing" in models["changed"]["state"]
    assert "not in SHA256SUMS" in models["unlisted"]["state"]
    assert run(["zoo", "list"]) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row == ["good", "dcgan", "32", "4", "1", "5", "ok"]
    assert run(["doctor"]) == 2


def test_an_empty_list_says_so__closed_form(monkeypatch, capsys):
    monkeypatch.setattr(shipped, "shipped", dict)
    assert run(["zoo", "list"]) == 0
    assert "ships no models" in capsys.readouterr().out


def test_doctor_shows_the_digest_of_a_shipped_encoder__closed_form(tmp_path, monkeypatch, capsys):
    small = TinyConvConfig(latent_channels=1, width_half=2, width_quarter=2, width_eighth=2)
    for name in ("default", "changed", "unlisted", "broken"):
        save_autoencoder(make_autoencoder(small), tmp_path / name)
    for name in ("default", "changed", "broken"):
        files = sorted((tmp_path / name).iterdir())
        lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]
        (tmp_path / name / "SHA256SUMS").write_text("\n".join(lines))
    config = tmp_path / "changed" / "config.json"
    config.write_text(config.read_text() + " ")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"cut")
    monkeypatch.setattr(shipped_files, "FOLDER", tmp_path)
    assert run(["doctor", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)["findings"]
    encoders = {finding["name"]: finding for finding in told if finding["part"] == "encoders"}
    good = encoders.pop("default")
    assert good["state"] == "ok"
    assert good["value"] == f"ok, {load_encoder(tmp_path / 'default').identity.digest}"
    assert {finding["state"] for finding in encoders.values()} == {"missing"}
    for name, why in (
        ("changed", "changed after packing"),
        ("unlisted", "not in SHA256SUMS"),
        ("broken", "not a readable safetensors file"),
    ):
        assert why in encoders[name]["value"]


def test_doctor_says_if_no_encoder_is_shipped__limit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shipped_files, "FOLDER", tmp_path)
    run(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)["findings"]
    (found,) = [finding for finding in told if finding["part"] == "encoders"]
    assert (found["name"], found["state"]) == ("default", "note")
    assert found["value"].startswith("none is shipped")
