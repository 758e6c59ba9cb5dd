"""Zoo files: training resumes bit for bit, and a file says what it is."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.generators.zoo import files as zoo_files
from wherefrom.generators.zoo.files import (
    export,
    load_zoo,
    read_origin,
    sample_grid,
    shipped,
    train_zoo,
)
from wherefrom.generators.zoo.networks import ARCHITECTURES, make_generator
from wherefrom.generators.zoo.training import GanTask, ZooTrainingConfig

DIGEST = "sha256:0"


def config(architecture="dcgan", **settings):
    tiny = {"size": 32, "width": 4, "latent": 5, "steps": 3, "batch": 4, "generator_every": 2}
    return ZooTrainingConfig(architecture=architecture, **tiny | settings)


def pictures():
    return torch.randint(0, 256, (12, 3, 32, 32), generator=stream(0, "x")).to(torch.uint8)


def train(out, made, command="", **options):
    origin = {"images": DIGEST, "command": command}
    return train_zoo(pictures(), out, config=made, origin=origin, **options)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_interrupted_training_ends_with_the_same_bits__identity_resume(
    tmp_path, monkeypatch, architecture
):
    made = config(architecture)
    whole = train(tmp_path / "whole", made).read_bytes()
    original = GanTask.step

    def interrupt(self, index):
        if index == 2:
            raise KeyboardInterrupt
        return original(self, index)

    monkeypatch.setattr(GanTask, "step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "part", made, checkpoint_every=1)
    assert not (tmp_path / "part" / "generator.safetensors").exists()
    done = []
    monkeypatch.setattr(GanTask, "step", lambda self, i: done.append(i) or original(self, i))
    assert train(tmp_path / "part", made, checkpoint_every=1).read_bytes() == whole
    assert done == [2]


@pytest.mark.parametrize("steps", [1, 4])
def test_training_lasts_so_many_steps__identity_deviation(tmp_path, monkeypatch, steps):
    """Deviation: a number of steps, not of epochs: 12 images in batches of 4 are 3 an epoch."""
    done, original = [], GanTask.step
    monkeypatch.setattr(GanTask, "step", lambda self, i: done.append(i) or original(self, i))
    train(tmp_path / "out", config(steps=steps))
    assert done == list(range(steps))


def test_other_settings_or_images__rejects_and_names_them(tmp_path):
    train(tmp_path / "out", config(steps=1))
    with pytest.raises(InputError, match=r"other settings \(seed\)"):
        train(tmp_path / "out", config(steps=1, seed=1))
    with pytest.raises(InputError, match=r"other settings \(images\)"):
        train_zoo(
            pictures(), tmp_path / "out", config=config(steps=1), origin={"images": "sha256:1"}
        )


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(4, 3, 64, 64, dtype=torch.uint8), r"\(3, 64, 64\), .* \(3, 32, 32\)"),
        (torch.zeros(4, 1, 32, 32, dtype=torch.uint8), r"\(1, 32, 32\)"),
        (torch.zeros(4, 3, 32, 32), "float32"),
        (torch.zeros(0, 3, 32, 32, dtype=torch.uint8), "no training image"),
    ],
)
def test_images_of_another_kind__rejects_images(tmp_path, images, says):
    with pytest.raises(InputError, match=says):
        train_zoo(images, tmp_path / "out", config=config(), origin={"images": DIGEST})
    assert not (tmp_path / "out").exists()


def test_sample_grids_are_written_on_the_way__closed_form(tmp_path):
    train(tmp_path / "out", config(steps=3), sample_every=2)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert names == ["samples-000002.png", "samples-000003.png"]
    with Image.open(tmp_path / "out" / names[0]) as image:
        assert image.size == (8 * 34 - 2, 8 * 34 - 2)


def test_a_grid_shows_the_same_latents_and_disturbs_nothing__identity_grid():
    made = config()
    generator = make_generator("dcgan", size=32, channels=3, width=4, latent=5)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    grid = sample_grid(generator, made, 5)
    assert torch.equal(sample_grid(generator, made, 5), grid) and generator.training
    assert all(torch.equal(v, before[k]) for k, v in generator.state_dict().items())
    generator.eval()
    sample_grid(generator, made, 2)
    assert not generator.training
    z = torch.randn(5, 5, generator=stream(made.seed, "zoo", "grid"))
    first = generator(z)[0].detach().add(1).mul(127.5).round().to(torch.uint8)
    assert torch.equal(grid[:, :32, :32], first)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_survives_its_file_in_half_precision__roundtrip(tmp_path, architecture):
    made = config(architecture, channels=1)
    generator = make_generator(architecture, size=32, channels=1, width=4, latent=5)
    generator(torch.randn(9, 5))  # running statistics that are not the initial ones
    export(generator, tmp_path / "g.safetensors", {"config": made.to_dict(), "images": DIGEST})
    again = load_zoo("", tmp_path / "g.safetensors")
    assert type(again) is type(generator)
    for name, value in generator.state_dict().items():
        loaded = again.state_dict()[name]
        half = value.half().float() if value.is_floating_point() else value
        assert torch.equal(loaded, half), name
    floats = {v.dtype for v in load_file(tmp_path / "g.safetensors").values()}
    assert floats == {torch.float16, torch.int64}


def test_the_header_says_where_a_file_comes_from__roundtrip(tmp_path):
    made = config(steps=1)
    path = train(tmp_path / "out", made, command="wherefrom zoo train")
    origin = {"config": made.to_dict(), "images": DIGEST, "command": "wherefrom zoo train"}
    assert read_origin(path) == origin


def test_files_that_are_not_zoo_files__rejects_files(tmp_path):
    state = nn.Linear(2, 2).state_dict()
    save_file(state, tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match="was not written by `wherefrom zoo train`"):
        load_zoo("", tmp_path / "foreign.safetensors")
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    with pytest.raises(InputError, match="cannot read the zoo weights"):
        load_zoo("", tmp_path / "noise.safetensors")
    with pytest.raises(InputError, match="does not exist"):
        load_zoo("", tmp_path / "gone.safetensors")
    with pytest.raises(InputError, match=r"a name \(zoo:NAME\) or a file"):
        load_zoo("", None)


@pytest.mark.parametrize("header", ["no json", "[]", "{}", json.dumps({"config": 3})])
def test_a_damaged_header__rejects_files(tmp_path, header):
    path = tmp_path / "g.safetensors"
    save_file(nn.Linear(2, 2).state_dict(), path, metadata={zoo_files.HEADER: header})
    with pytest.raises(InputError, match=r"header of .* is damaged|must be a mapping"):
        load_zoo("", path)


def test_weights_of_another_architecture__rejects_files(tmp_path):
    generator = make_generator("lsgan", size=32, channels=3, width=4, latent=5)
    export(generator, tmp_path / "g.safetensors", {"config": config("dcgan").to_dict()})
    with pytest.raises(InputError, match="weights of another architecture"):
        load_zoo("", tmp_path / "g.safetensors")


def test_names_that_are_not_shipped__rejects_names(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo_files, "files", lambda _: tmp_path)
    assert shipped() == {}
    folder = tmp_path / "assets" / "zoo"
    folder.mkdir(parents=True)
    generator = make_generator("dcgan", size=32, channels=3, width=4, latent=5)
    export(generator, folder / "mine.safetensors", {"config": config().to_dict()})
    assert shipped() == {"mine": folder / "mine.safetensors"}
    assert type(load_zoo("mine", None)) is type(generator)
    with pytest.raises(InputError, match="no zoo model 'other' is shipped; known: mine"):
        load_zoo("other", None)
