"""Edits through an IP-Adapter: made, recorded, and named out of scope."""

import shutil

import pytest
import torch
from PIL import Image
from refusing import refused
from tiny_captioners import write_captioner
from tiny_pipelines import write_adapter, write_photos

from wherefrom.cli.main import run
from wherefrom.components.libraries import silence
from wherefrom.core.errors import InputError
from wherefrom.origin.pairs.builder import build_pairs
from wherefrom.origin.pairs.config import PairsConfig
from wherefrom.origin.pairs.manifest import read_pairs
from wherefrom.origin.pairs.pipelines import load_pipeline
from wherefrom.origin.pairs.prompts import load_prompts

pytestmark = pytest.mark.needs("diffusers", "transformers")


PROMPTS = load_prompts("a painting of snow")
CONFIG = PairsConfig(size=32, steps=2, strength="0.9", guidance=2.0)


@pytest.fixture(scope="module")
def home(models, sd, tmp_path_factory):
    """Folders `sd`, `instruct`, `adapter`, and two photos."""
    folder = shutil.copytree(models, tmp_path_factory.mktemp("home") / "models")
    write_adapter(folder / "adapter", sd.pipe)
    write_photos(folder / "photos", 2)
    return folder


@pytest.fixture(scope="module")
def pipeline(home):
    return load_pipeline(home / "sd", ip_adapter=home / "adapter", adapter_scale=0.7)


@pytest.fixture(scope="module")
def made(home, pipeline, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "pairs"
    return build_pairs([home / "photos"], pipeline, PROMPTS, out, config=CONFIG)


def test_the_photo_enters_through_the_adapter_alone__reference_diffusers(made, home):
    import diffusers

    row = made.rows[0]
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(home / "sd")
    pipe.load_ip_adapter(home, subfolder="adapter", weight_name="tiny-ip.safetensors")
    pipe.set_ip_adapter_scale(0.7)
    photo = Image.open(row.origin).convert("RGB").resize((32, 32), Image.Resampling.LANCZOS)
    expected = pipe(
        prompt=row.prompt,
        ip_adapter_image=photo,
        height=32,
        width=32,
        num_inference_steps=2,
        guidance_scale=2.0,
        generator=torch.Generator("cpu").manual_seed(row.seed),
    ).images[0]
    assert expected.tobytes() == Image.open(made.folder / row.edit).tobytes()


def test_photo_and_weight_decide_the_edit__identity(home, pipeline):
    photos = [Image.open(home / "photos" / f"photo-{n}.png").resize((32, 32)) for n in (0, 1)]
    settings = {"seed": 1, "prompt": "snow", "num_inference_steps": 2, "height": 32, "width": 32}
    first, second = (pipeline.edit(photo, **settings) for photo in photos)
    assert not torch.equal(first, second)
    none = load_pipeline(home / "sd", ip_adapter=home / "adapter", adapter_scale=0.0)
    first, second = (none.edit(photo, **settings) for photo in photos)
    assert torch.equal(first, second)


def test_a_row_says_how_the_photo_was_seen__closed_form(made, home, pipeline, sd):
    (row, _), plain = made.rows, sd
    assert (row.paradigm, row.adapter_scale, row.strength) == ("ip-adapter", 0.7, None)
    assert (row.pipeline, row.model) == ("StableDiffusionPipeline", "sd+tiny-ip")
    assert row.model_digest == pipeline.digest != plain.digest
    assert (plain.paradigm, plain.adapter_scale) == ("image-to-image", None)
    other = load_pipeline(home / "sd", ip_adapter=home / "adapter" / "tiny-ip.safetensors")
    assert (other.digest, other.adapter_scale) == (pipeline.digest, 1.0)


def test_the_command_line_takes_adapter_and_captioner__closed_form(home, tmp_path, capsys):
    with silence():
        write_captioner(tmp_path / "git", "git")
    make = ["origin", "pairs", f"{home}/photos", "--pipeline", f"{home}/sd", "--device", "cpu"]
    make += ["--ip-adapter", f"{home}/adapter", "--adapter-scale", "0.4", "--size", "32"]
    make += ["--steps", "2", "--captioner", f"{tmp_path}/git", "--out", f"{tmp_path}/pairs"]
    assert run(make) == 0
    assert capsys.readouterr().out == "2 edits of 2 origins\n"
    rows = read_pairs(tmp_path / "pairs").rows
    assert {(row.paradigm, row.adapter_scale, row.captioner) for row in rows} == {
        ("ip-adapter", 0.4, "git")
    }
    assert all(row.prompt == row.caption for row in rows)


def test_another_weight_is_another_edit__identity_resume(made, home, tmp_path):
    out = shutil.copytree(made.folder, tmp_path / "pairs")
    other = load_pipeline(home / "sd", ip_adapter=home / "adapter")
    both = build_pairs([home / "photos"], other, PROMPTS, out, config=CONFIG)
    assert [row.adapter_scale for row in both.rows] == [0.7, 0.7, 1.0, 1.0]
    assert len({row.id for row in both.rows}) == 4


def test_out_of_scope_is_in_the_name_and_counted__closed_form(made, home, sd, tmp_path):
    out = shutil.copytree(made.folder, tmp_path / "pairs")
    build_pairs([home / "photos" / "photo-0.png"], sd, PROMPTS, out, config=CONFIG)
    both = read_pairs(out)
    assert (*dict.fromkeys(both.model_of),) == ("sd+tiny-ip (ip-adapter: out of scope)", "sd")
    assert both.out_of_scope == 2


def test_the_digest_sees_both_files__identity_digest(home, pipeline, tmp_path):
    for name in ("tiny-ip.safetensors", "image_encoder/model.safetensors"):
        changed = write_adapter(tmp_path / name.replace("/", "-"), pipeline.pipe, seed=1)
        copy = shutil.copytree(home / "adapter", tmp_path / f"copy-{name.replace('/', '-')}")
        shutil.copy(changed / name, copy / name)
        assert load_pipeline(home / "sd", ip_adapter=copy).digest != pipeline.digest


def lose(folder, name):
    (folder / name).unlink()


def pickle_encoder(folder):
    (folder / "image_encoder/model.safetensors").rename(folder / "image_encoder/model.bin")


def cut(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:100])


BREAKING = {
    "no file": (lambda f: lose(f, "tiny-ip.safetensors"), "holds no .safetensors"),
    "two files": (
        lambda f: shutil.copy(f / "tiny-ip.safetensors", f / "b.safetensors"),
        "holds 2 files that end in .safetensors",
    ),
    "cut file": (lambda f: cut(f, "tiny-ip.safetensors"), "cannot be loaded as an IP-Adapter"),
    "pickle": (pickle_encoder, "image_encoder holds pickled weights only"),
    "no encoder": (lambda f: shutil.rmtree(f / "image_encoder"), "holds an image_encoder"),
    "cut encoder": (
        lambda f: cut(f, "image_encoder/model.safetensors"),
        "cannot be loaded as an IP-Adapter",
    ),
}


@pytest.mark.parametrize("case", BREAKING)
def test_adapters_that_cannot_be_used__rejects_in_one_line(home, tmp_path, case):
    folder = shutil.copytree(home / "adapter", tmp_path / "adapter")
    damage, said = BREAKING[case]
    damage(folder)
    with refused(said):
        load_pipeline(home / "sd", ip_adapter=folder)


def test_an_instruction_pipeline_takes_no_adapter__rejects(home):
    with pytest.raises(InputError, match="cannot be loaded as a text-to-image"):
        load_pipeline(home / "instruct", ip_adapter=home / "adapter")
    with pytest.raises(InputError, match=r"holds no \.safetensors"):
        load_pipeline(home / "sd", ip_adapter=home / "nothing")
