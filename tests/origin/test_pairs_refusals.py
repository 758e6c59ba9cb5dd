"""What the pairs' builder refuses, and that it leaves nothing behind."""

import dataclasses
import os

import pytest
import torch
from building import CONFIG, PROMPTS, TWO, Counting, files_of

from wherefrom.core.errors import InputError
from wherefrom.origin.pairs.builder import build_pairs
from wherefrom.origin.pairs.config import PairsConfig, Strengths

pytestmark = pytest.mark.needs("diffusers", "transformers")


def test_broken_photos_alone_leave_nothing_behind__rejects(sd, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"no edit was made; first problem: .*a\.png: "):
        build_pairs([tmp_path / "photos"], sd, PROMPTS, tmp_path / "pairs", **TWO)
    assert files_of(tmp_path) == ["photos", "photos/a.png"]


@pytest.mark.parametrize("strength", ["0.3", "0.9,0.4", "0.49..1"])
def test_a_strength_that_leaves_no_step__rejects_before_any_work(sd, photos, tmp_path, strength):
    config = dataclasses.replace(CONFIG, strength=strength)
    with pytest.raises(InputError, match=r"2 steps at strength 0\.\d+ leave no step") as caught:
        build_pairs(photos, sd, PROMPTS, tmp_path / "pairs", config=config)
    least = int(str(caught.value).split("at least ")[1].split()[0])
    low = min(Strengths.parse(strength).values)
    assert int(least * low) >= 1 > int((least - 1) * low)
    assert files_of(tmp_path) == []


@pytest.mark.parametrize("text", ["0", "1.1", "-0.5", "half", "0.3..", "0.9..0.3", "nan", ",", ""])
def test_strengths_that_are_none__rejects(text):
    with pytest.raises(InputError, match="strength is"):
        PairsConfig(strength=text)


def test_a_range_of_strengths_is_filled__closed_form():
    strengths = Strengths.parse("0.3..0.7")
    rng = torch.Generator().manual_seed(0)
    drawn = [strengths.draw(rng) for _ in range(400)]
    assert 0.3 <= min(drawn) < 0.31
    assert 0.69 < max(drawn) <= 0.7
    # The mean of 400 uniform draws over 0.4 has a deviation of 0.4 / sqrt(12 * 400) = 0.0058.
    assert abs(sum(drawn) / 400 - 0.5) < 6 * 0.0058
    assert len(set(drawn)) > 100


REFUSED = {
    "size": ({"size": 33}, "size is 33, but StableDiffusionImg2ImgPipeline needs a multiple of 2"),
    "image_guidance": ({"image_guidance": 1.0}, "takes no image_guidance_scale"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_a_pipeline_cannot_follow__rejects(sd, photos, tmp_path, case):
    changed, said = REFUSED[case]
    config = dataclasses.replace(CONFIG, **changed)
    with pytest.raises(InputError, match=said):
        build_pairs(photos, sd, PROMPTS, tmp_path / "pairs", config=config)
    assert files_of(tmp_path) == []


def test_folders_that_are_no_pairs_folder__rejects(sd, photos, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out, said in (
        (tmp_path / "full", "holds other files and no pairs.jsonl"),
        (tmp_path / "file", "is no folder"),
        (tmp_path / "not" / "there", "is not a folder; create it"),
        (photos[0].parent, "all photos lie inside"),
    ):
        with pytest.raises(InputError, match=said):
            build_pairs(photos, sd, PROMPTS, out, config=CONFIG)
    assert files_of(tmp_path) == ["file", "full", "full/letter.txt"]
    with pytest.raises(InputError, match="per_origin is 0"):
        PairsConfig(per_origin=0)


@pytest.mark.skipif(os.name == "nt", reason="no flock there")
def test_a_second_builder_of_one_folder__rejects(sd, photos, tmp_path):
    out = tmp_path / "pairs"

    class Nested(Counting):
        def edit(self, image, **settings):
            build_pairs(photos[:1], sd, PROMPTS, out, config=CONFIG)

    with pytest.raises(InputError, match="another build is writing"):
        build_pairs(photos[:1], Nested(sd), PROMPTS, out, config=CONFIG)
    assert len(build_pairs(photos[:1], sd, PROMPTS, out, config=CONFIG).rows) == 1


def test_a_broken_manifest_stops_the_build__rejects(sd, photos, tmp_path):
    out = tmp_path / "pairs"
    build_pairs(photos[:1], sd, PROMPTS, out, **TWO)
    path = out / "pairs.jsonl"
    damaged = path.read_bytes()[40:]
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="line 1 is not JSON"):
        build_pairs(photos[:1], sd, PROMPTS, out, **TWO)
    assert path.read_bytes() == damaged
