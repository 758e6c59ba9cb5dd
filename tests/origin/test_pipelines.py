"""Loading a pipeline: its identity, and the folders that are refused."""

import json
import logging
import shutil
import sys

import pytest
import torch
from refusing import refused
from safetensors.torch import load_file, save_file
from tiny_pipelines import write_stable_diffusion

from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.origin.pairs.pipelines import digest_pipeline, load_pipeline, read_index

pytestmark = pytest.mark.needs("diffusers", "transformers")


WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
VAE_WEIGHTS = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    return write_stable_diffusion(tmp_path_factory.mktemp("model") / "sd")


@pytest.fixture
def folder(original, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(original, tmp_path / "sd")


def change_index(folder, **changed):
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def digest(folder):
    return digest_pipeline(folder, read_index(folder))


def test_a_text_to_image_folder_becomes_image_to_image__closed_form(folder, capfd):
    pipeline = load_pipeline(folder)
    assert pipeline.kind == "StableDiffusionImg2ImgPipeline"
    assert (pipeline.name, pipeline.dtype, pipeline.scheduler) == ("sd", "float32", "DDPMScheduler")
    assert pipeline.defaults["strength"] == 0.8
    assert load_pipeline(folder, name="mine").name == "mine"
    assert capfd.readouterr() == ("", "")


def test_the_libraries_speak_again_afterwards__identity_restored(folder):
    import diffusers
    import transformers

    modules = [diffusers.utils.logging, transformers.utils.logging]
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]

    def state():
        bars = [module.is_progress_bar_enabled() for module in modules]
        return bars, [(list(log.handlers), log.propagate, log.level) for log in loggers]

    modules[1].set_verbosity_error()  # not the level that loading needs
    try:
        before = state()
        load_pipeline(folder)
        assert state() == before
    finally:
        modules[1].set_verbosity_warning()


def test_the_digest_sees_weights_and_settings_and_no_notes__identity_digest(folder):
    before = digest(folder)
    (folder / "README.md").write_text("a note")
    (folder / "unet" / "notes.md").write_text("a note")
    assert digest(folder) == before == digest(shutil.copytree(folder, folder.parent / "copy"))
    for name in ("scheduler/scheduler_config.json", "tokenizer/vocab.json", WEIGHTS):
        path = next((folder / name.split("/")[0]).glob(name.split("/")[1].replace("vocab", "*")))
        kept = path.read_bytes()
        path.write_bytes(kept + b" ")
        assert digest(folder) != before
        path.write_bytes(kept)
    assert digest(folder) == before


def test_weights_of_half_precision_alone_are_found__identity_variant(folder):
    for path in folder.glob("*/*.safetensors"):
        halves = {name: value.half() for name, value in load_file(path).items()}
        save_file(halves, path.with_suffix(".fp16.safetensors"), {"format": "pt"})
        path.unlink()
    pipeline = load_pipeline(folder)
    dtypes = {
        p.dtype
        for name in ("unet", "vae", "text_encoder")
        for p in getattr(pipeline.pipe, name).parameters()
    }
    assert dtypes == {torch.float32}
    assert torch.equal(
        pipeline.pipe.unet.conv_in.weight,
        load_file(folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")[
            "conv_in.weight"
        ].float(),
    )


def pickle_weights(folder):
    path = folder / WEIGHTS
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()


def rename(folder, name, variant):
    path = folder / name
    path.rename(path.with_suffix(f".{variant}.safetensors"))


def lose_weight(folder, name):
    path = folder / name
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[-3])
    save_file(tensors, path, {"format": "pt"})


BREAKING = {
    "text weight lost": (
        lambda f: lose_weight(f, "text_encoder/model.safetensors"),
        "lacks some of its weights",
    ),
    "unet weight lost": (
        lambda f: lose_weight(f, WEIGHTS),
        r"unet lacks weights of its own: \w+.* and others",
    ),
    "part gone": (
        lambda f: shutil.rmtree(f / "text_encoder"),
        "model_index.json names text_encoder, and there is no such folder",
    ),
    "two variants": (
        lambda f: (rename(f, WEIGHTS, "bf16"), rename(f, VAE_WEIGHTS, "fp16")),
        "holds unet as bf16 and vae as fp16 alone",
    ),
    "no index": (lambda f: (f / "model_index.json").unlink(), "no readable model_index.json"),
    "index cut": (lambda f: (f / "model_index.json").write_text("{"), "no readable model_index"),
    "no class": (lambda f: change_index(f, _class_name=None), "names no _class_name"),
    "own code": (lambda f: change_index(f, _class_name=["pipeline", "Mine"]), "code of its own"),
    "python file": (lambda f: (f / "unet/mine.py").write_text("x"), "mine.py brings code along"),
    "foreign library": (lambda f: change_index(f, unet=["antigravity", "X"]), "'antigravity'"),
    "pickled": (pickle_weights, "unet holds pickled weights only"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "cannot be loaded as an image-to-image"),
    "cut weights": (
        lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:999]),
        "cannot be loaded as an image-to-image",
    ),
    "no editor": (
        lambda f: change_index(f, _class_name="DDPMPipeline"),
        "cannot be loaded as an image-to-image DDPMPipeline",
    ),
}


@pytest.mark.parametrize("case", BREAKING)
def test_folders_that_cannot_be_used__rejects_in_one_line(folder, case):
    damage, said = BREAKING[case]
    damage(folder)
    with refused(said):
        load_pipeline(folder)
    assert "antigravity" not in sys.modules


def test_what_is_no_pipeline_is_told_what_to_give__rejects_in_one_line(folder):
    with refused(f"it is one component; give {folder}, the pipeline around it"):
        load_pipeline(folder / "unet")
    with refused("one file holds no settings"):
        load_pipeline(folder / WEIGHTS)
    with refused(f"it lies in a pipeline; give {folder}"):
        load_pipeline(folder / "model_index.json")
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n")
    with refused("run: git lfs pull"):
        load_pipeline(folder)


def test_a_component_name_that_leads_elsewhere_is_no_component__rejects(folder):
    (folder.parent / "secret.json").write_text("x")
    before = digest(folder)
    index = read_index(folder) | {"..": ["diffusers", "X"]}
    assert digest_pipeline(folder, index) == before


@pytest.mark.parametrize("library", ["diffusers", "transformers"])
def test_without_a_library__rejects_with_the_pip_line(folder, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'wherefrom\[diffusers\]'"):
        load_pipeline(folder)


def test_a_fault_inside_the_pipeline_is_one_line__rejects(folder):
    from PIL import Image

    pipeline = load_pipeline(folder)
    with pytest.raises(InputError, match="StableDiffusionImg2ImgPipeline of sd failed"):
        pipeline.edit(Image.new("RGB", (8, 8)), seed=0, prompt="a", strength=7.0)
