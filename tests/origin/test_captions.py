"""Captions: what a local model says of a photo, quoted in prompts and kept with the edits."""

import json
import shutil

import pytest
import torch
from building import Drawing
from PIL import Image
from refusing import refused
from safetensors.torch import load_file, save_file
from tiny_captioners import MAKERS, write_captioner

from wherefrom.components.libraries import silence
from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.core.rng import stream
from wherefrom.origin.pairs.builder import build_pairs
from wherefrom.origin.pairs.captions import load_captioner
from wherefrom.origin.pairs.config import PairsConfig
from wherefrom.origin.pairs.manifest import read_pairs
from wherefrom.origin.pairs.prompts import load_prompts

pytestmark = pytest.mark.needs("diffusers", "transformers")


CONFIG = PairsConfig(size=32, steps=2, strength="0.9", guidance=2.0)
PROMPTS = load_prompts("a {photo|painting} of {caption}\nsnow")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder for each kind of captioner."""
    folder = tmp_path_factory.mktemp("models")
    with silence():
        for kind in MAKERS:
            write_captioner(folder / kind, kind)
    return folder


@pytest.fixture
def folder(home, tmp_path):
    """A copy of a captioner that a test may damage."""
    return shutil.copytree(home / "git", tmp_path / "git")


class Fixed:
    """A captioner that says what it is told, and counts."""

    name, digest = "fixed", "sha256:00"

    def __init__(self, says="two dogs"):
        self.says, self.asked = says, 0

    def caption(self, image):
        self.asked += 1
        return f"{self.says} {image.width}" if self.says else ""


@pytest.fixture
def images(photos):
    return [Image.open(path).convert("RGB") for path in photos]


@pytest.mark.parametrize("kind", MAKERS)
def test_each_kind_describes_what_it_sees__reference_transformers(home, images, kind, capfd):
    import transformers

    captioner = load_captioner(home / kind)
    found = [captioner.caption(image) for image in images]
    assert captioner.caption(images[0]) == found[0]
    assert len(set(found)) > 1 and any(found)
    assert capfd.readouterr() == ("", "")
    with silence(), torch.no_grad():
        model = type(MAKERS[kind]()[0]).from_pretrained(home / kind)
        processor = transformers.AutoImageProcessor.from_pretrained(home / kind)
        pixels = processor(images=[images[1]], return_tensors="pt")["pixel_values"]
        ids = model.eval().generate(pixel_values=pixels, max_new_tokens=40)[0]
    words = (home / kind / "vocab.txt").read_text().split("\n")
    said = " ".join(words[i] for i in ids.tolist() if words[i].startswith("word"))
    assert found[1] == said


def test_the_digest_sees_weights_and_words_and_no_notes__identity_digest(home, folder):
    before = load_captioner(home / "git").digest
    (folder / "README.md").write_text("a note")
    assert load_captioner(folder).digest == before
    assert load_captioner(home / "blip").digest != before
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1}, folder / "model.safetensors", {"format": "pt"})
    assert load_captioner(folder).digest != before


def test_a_caption_goes_where_the_template_says__closed_form():
    prompts = load_prompts("{a|b} {caption}, {{caption}}\n@c = {caption}\n{c}")
    assert prompts.needs_caption
    drawn = {prompts.draw(1, stream(seed, "x"), "two dogs")[0] for seed in range(40)}
    assert drawn == {"a two dogs, {caption}", "b two dogs, {caption}", "{caption}"}
    assert sum(each.count for each in prompts.templates) == 3
    listed = load_prompts("@caption = one | two\n{caption}")
    assert not listed.needs_caption
    assert {listed.draw(1, stream(s, "x"), "no")[0] for s in range(20)} == {"one", "two"}


def test_rows_keep_captions_and_each_photo_is_asked_once__closed_form(sd, photos, tmp_path):
    fixed, photos = Fixed(), photos[:2]
    given = {"captioner": fixed, "config": CONFIG.with_values({"per_origin": 3})}
    drawing = Drawing(sd)
    made = build_pairs(photos, drawing, PROMPTS, tmp_path / "pairs", **given)
    assert fixed.asked == 2
    for row in made.rows:
        assert (row.caption, row.captioner, row.captioner_digest) == (
            "two dogs 48",  # of the photo as it is, not of the square
            "fixed",
            "sha256:00",
        )
        assert row.prompt in ("snow", "a photo of two dogs 48", "a painting of two dogs 48")
    assert len({row.prompt for row in made.rows}) == 3
    assert read_pairs(tmp_path / "pairs").rows == made.rows
    # Given again it goes on, and asks only for what no row tells.
    (tmp_path / "pairs" / made.rows[0].edit).unlink()
    build_pairs(photos, drawing, PROMPTS, tmp_path / "pairs", **given)
    assert fixed.asked == 2
    assert read_pairs(tmp_path / "pairs").rows == made.rows
    other = Fixed("a cat")
    other.digest = "sha256:01"
    given |= {"captioner": other}
    both = build_pairs(photos, drawing, PROMPTS, tmp_path / "pairs", **given)
    assert other.asked == 2
    assert {row.caption for row in both.rows} == {"two dogs 48", "a cat 48"}


def test_a_real_captioner_makes_the_same_pairs_again__identity_resume(
    home, sd, photos, images, tmp_path
):
    captioner, prompts = load_captioner(home / "git"), load_prompts("{caption}")
    found = [
        build_pairs(
            photos[:2], Drawing(sd), prompts, tmp_path / n, captioner=captioner, config=CONFIG
        )
        for n in ("one", "two")
    ]
    assert found[0].rows == found[1].rows
    assert [row.prompt for row in found[0].rows] == [captioner.caption(i) for i in images[:2]]


def test_a_photo_without_words_is_named_and_the_rest_made__identity_rest(sd, photos, tmp_path):
    class Shy(Fixed):
        def caption(self, image):
            return super().caption(image) if self.asked else self.say_nothing()

        def say_nothing(self):
            self.asked = 1
            return ""

    made = build_pairs(
        photos,
        Drawing(sd),
        PROMPTS,
        tmp_path / "pairs",
        captioner=Shy(),
        config=CONFIG.with_values({"per_origin": 2}),
    )
    assert len(made.rows) == 4
    ((path, reason),) = made.skipped
    assert path.name == "photo-0.png" and "found no words" in reason


def test_captioner_and_template_belong_together__rejects_before_any_work(sd, photos, tmp_path):
    for prompts, captioner, said in (
        (PROMPTS, None, "name the folder of a captioner"),
        (load_prompts("a photo of snow"), Fixed(), "no prompt quotes a {caption}"),
    ):
        with pytest.raises(InputError, match=said):
            build_pairs(photos, sd, prompts, tmp_path / "pairs", captioner=captioner)
    assert list(tmp_path.iterdir()) == []


def change(folder, **changed):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def lose_weight(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(next(name for name in sorted(tensors) if "attention" in name))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:999])


BREAKING = {
    "no config": (lambda f: (f / "config.json").unlink(), "no readable config.json"),
    "config cut": (lambda f: (f / "config.json").write_text("{"), "no readable config.json"),
    "config a list": (lambda f: (f / "config.json").write_text("[]"), "holds a None, expected one"),
    "another kind": (
        lambda f: change(f, model_type="bert"),
        "holds a 'bert', expected one of blip",
    ),
    "own code": (lambda f: change(f, auto_map={"AutoModel": "mine.M"}), "brings code along"),
    "python file": (lambda f: (f / "mine.py").write_text("x"), "mine.py brings code along"),
    "pickled": (pickled, "holds pickled weights only"),
    "cut weights": (cut, "cannot be loaded as the captioner git"),
    "weight lost": (lose_weight, "lacks some of its weights"),
    "no words": (
        lambda f: [(f / name).unlink() for name in ("tokenizer.json", "vocab.txt")],
        "holds no tokenizer",
    ),
    "no processor": (
        lambda f: (f / "preprocessor_config.json").unlink(),
        "cannot be loaded as the captioner git",
    ),
}


@pytest.mark.parametrize("case", BREAKING)
def test_folders_that_hold_no_captioner__rejects_in_one_line(folder, case):
    damage, said = BREAKING[case]
    damage(folder)
    with refused(said):
        load_captioner(folder)


def test_without_transformers__rejects_with_the_pip_line(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'wherefrom\[diffusers\]'"):
        load_captioner(folder)


def test_a_fault_inside_the_captioner_is_one_line__rejects(home):
    captioner = load_captioner(home / "git")
    with refused("the captioner git failed: "):
        captioner.caption("no picture")
