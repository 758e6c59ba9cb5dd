"""Making edits: the same whatever the order, whatever was interrupted."""

import dataclasses
import itertools
import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from building import CONFIG, PROMPTS, TWO, Counting, Drawing, files_of
from forked import Child
from PIL import Image

from wherefrom.core.errors import InputError
from wherefrom.core.rng import derive_seed
from wherefrom.core.saving.store import digest_file
from wherefrom.data.images.items import read_image
from wherefrom.origin.pairs.builder import build_pairs
from wherefrom.origin.pairs.config import PairsConfig
from wherefrom.origin.pairs.manifest import read_pairs
from wherefrom.origin.pairs.pipelines import WithheldEdit

pytestmark = pytest.mark.needs("diffusers", "transformers")


@pytest.fixture(scope="module")
def real(sd, photos, tmp_path_factory):
    """Edits of two photos by the pipeline itself."""
    return build_pairs(photos[:2], sd, PROMPTS, tmp_path_factory.mktemp("real") / "pairs", **TWO)


@pytest.fixture(scope="module")
def drawing(sd):
    """A pipeline that is quick, for what does not depend on its pixels."""
    return Drawing(sd)


@pytest.fixture(scope="module")
def whole(drawing, photos, tmp_path_factory):
    """A build that nothing interrupted."""
    return build_pairs(photos, drawing, PROMPTS, tmp_path_factory.mktemp("whole") / "pairs", **TWO)


class Killed(BaseException):
    """What stands for a killed process: nothing may catch it."""


def killed_after(count):
    """A progress tracker that stops the build after `count` edits."""

    def track(items, label, *, total=None):
        yield from itertools.islice(items, count)
        raise Killed

    return track


def contents(manifest):
    """What each row is, and the bytes of its edit."""
    return {row.id: (row, (manifest.folder / row.edit).read_bytes()) for row in manifest.rows}


def test_every_row_says_how_its_edit_was_made__closed_form(whole, sd, photos):
    manifest = read_pairs(whole.folder)
    assert manifest.rows == whole.rows
    assert manifest.origins == tuple(photos)
    assert manifest.owner == (0, 0, 1, 1, 2, 2)
    assert set(manifest.model_of) == {"sd"}
    edits = {row.edit for row in manifest.rows}
    assert files_of(whole.folder) == ["edits", *sorted(edits), "pairs.jsonl"]
    for index, row in enumerate(manifest.rows):
        assert (row.pipeline, row.scheduler) == ("StableDiffusionImg2ImgPipeline", "DDPMScheduler")
        assert (row.steps, row.guidance, row.image_guidance, row.size) == (2, 2.0, None, 32)
        assert (row.negative, row.dtype, row.model_digest) == ("rain", "float32", sd.digest)
        assert row.strength in (0.5, 0.9)
        assert row.seed == derive_seed(3, "edit", digest_file(photos[index // 2]), index % 2)
        assert read_image(whole.folder / row.edit).pixels.shape == (3, 32, 32)
    assert len({row.prompt for row in manifest.rows[:2]}) == 2
    assert len({row.strength for row in manifest.rows}) == 2


def test_an_edit_can_be_made_again_from_its_row__reference_diffusers(real, models):
    import diffusers

    pipe = diffusers.AutoPipelineForImage2Image.from_pretrained(models / "sd")
    row = real.rows[3]
    photo = Image.open(row.origin).convert("RGB").resize((32, 32), Image.Resampling.LANCZOS)
    made = pipe(
        prompt=row.prompt,
        negative_prompt=row.negative,
        image=photo,
        strength=row.strength,
        num_inference_steps=row.steps,
        guidance_scale=row.guidance,
        generator=torch.Generator("cpu").manual_seed(row.seed),
    ).images[0]
    assert made.tobytes() == Image.open(real.folder / row.edit).tobytes()


def test_neither_order_nor_the_global_seed_matters__identity_order(real, sd, photos, tmp_path):
    torch.manual_seed(99)
    backwards = build_pairs(photos[1::-1], sd, PROMPTS, tmp_path / "pairs", **TWO)
    assert [row.id for row in backwards.rows] != [row.id for row in real.rows]
    assert contents(backwards) == contents(real)


def test_fewer_edits_each_are_the_first_ones__identity_prefix(whole, drawing, photos, tmp_path):
    one = build_pairs(photos, drawing, PROMPTS, tmp_path / "pairs", **(TWO | {"config": CONFIG}))
    assert contents(one).items() <= contents(whole).items()
    assert len(one.rows) == 3


@pytest.mark.parametrize("done", [1, 4])
def test_an_interrupted_build_goes_on__identity_resume(whole, drawing, photos, tmp_path, done):
    out = tmp_path / "pairs"
    with pytest.raises(Killed):
        build_pairs(photos, drawing, PROMPTS, out, track=killed_after(done), **TWO)
    assert len(read_pairs(out).rows) == done
    # A writer killed in the middle of a line and of a picture.
    manifest = out / "pairs.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-50])
    (out / "edits" / ".abc.png.0123").write_bytes(b"half")
    counting = Counting(drawing)
    again = build_pairs(photos, counting, PROMPTS, out, **TWO)
    assert counting.count == 6 - done + 1
    assert contents(again) == contents(whole)
    assert read_pairs(out).rows == again.rows
    assert files_of(out) == files_of(whole.folder)


def test_a_finished_build_does_nothing__identity_resume(whole, drawing, photos):
    before = (whole.folder / "pairs.jsonl").read_bytes()
    counting = Counting(drawing)
    again = build_pairs(photos, counting, PROMPTS, whole.folder, **TWO)
    assert (counting.count, again.rows) == (0, whole.rows)
    assert (whole.folder / "pairs.jsonl").read_bytes() == before


def test_lost_and_damaged_edits_are_made_again__identity_resume(whole, drawing, photos, tmp_path):
    out = tmp_path / "pairs"
    made = build_pairs(photos, drawing, PROMPTS, out, **TWO)
    (out / made.rows[0].edit).unlink()
    (out / made.rows[4].edit).write_bytes(b"\x89PNG")
    counting = Counting(drawing)
    again = build_pairs(photos, counting, PROMPTS, out, **TWO)
    assert counting.count == 2
    assert contents(again) == contents(whole)
    assert read_pairs(out).rows == made.rows


def test_a_stale_digest_is_mended_with_its_edit__identity_resume(drawing, photos, tmp_path):
    out = tmp_path / "pairs"
    made = build_pairs(photos[:1], drawing, PROMPTS, out, **TWO)
    manifest = out / "pairs.jsonl"
    manifest.write_text(manifest.read_text().replace(made.rows[0].edit_digest, "sha256:00"))
    build_pairs(photos[:1], drawing, PROMPTS, out, **TWO)
    assert read_pairs(out).rows == made.rows


@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
def test_a_killed_process_loses_one_row_at_most__identity_resume(whole, drawing, photos, tmp_path):
    out, said = tmp_path / "pairs", tmp_path / "said"
    many = TWO | {"config": CONFIG.with_values({"per_origin": 400})}
    work = partial(build_pairs, [photos[0].parent], drawing, PROMPTS, out, **many)
    with Child(work, said) as child:
        deadline = time.monotonic() + 60
        while len(list(out.glob("edits/*.png"))) < 3:
            assert child.poll() is None, said.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert child.status == -signal.SIGKILL
    assert said.read_bytes() == b""  # nothing on the screen: the library is silent
    pictures = len(list(out.glob("edits/[!.]*.png")))
    assert pictures - 1 <= len(read_pairs(out).rows) <= pictures
    build_pairs(photos, drawing, PROMPTS, out, **TWO)
    assert contents(whole).items() <= contents(read_pairs(out)).items()


def test_a_pipeline_without_strength_does_not_get_it__closed_form(instruct, photos, tmp_path):
    config = dataclasses.replace(CONFIG, strength="0.1", image_guidance=1.5)
    made = build_pairs(photos[:1], instruct, PROMPTS, tmp_path / "p", config=config)
    (row,) = made.rows
    assert row.pipeline == "StableDiffusionInstructPix2PixPipeline"
    assert (row.strength, row.guidance, row.image_guidance) == (None, 2.0, 1.5)


def test_two_models_share_a_folder__identity_union(sd, instruct, photos, tmp_path):
    out = tmp_path / "pairs"
    first = build_pairs(photos[:2], sd, PROMPTS, out, config=CONFIG)
    both = build_pairs(photos[:2], instruct, PROMPTS, out, config=CONFIG)
    assert both.rows[:2] == first.rows
    assert (*dict.fromkeys(both.model_of),) == ("sd", "instruct")
    assert both.owner == (0, 1, 0, 1)
    # The same prompts and seeds, so that models are compared on the same task.
    assert [row.prompt for row in both.rows[2:]] == [row.prompt for row in first.rows]
    assert read_pairs(out).rows == both.rows


def test_settings_left_out_are_those_of_the_class__reference_diffusers(sd, photos, tmp_path):
    seen = {}

    class Watching(Counting):
        def edit(self, image, **settings):
            seen.update(settings)
            return torch.zeros(3, 32, 32, dtype=torch.uint8)

    made = build_pairs(
        photos[:1], Watching(sd), PROMPTS, tmp_path / "p", config=PairsConfig(size=32)
    )
    (row,) = made.rows
    assert (row.strength, row.steps, row.guidance) == (0.8, 50, 7.5)
    assert (seen["strength"], seen["num_inference_steps"]) == (0.8, 50)
    assert "negative_prompt" not in seen
    assert "height" not in seen  # the img2img call of Stable Diffusion takes no size


def test_broken_photos_do_not_stop_a_folder__identity_rest(whole, drawing, photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for photo in photos:
        (folder / photo.name).write_bytes(photo.read_bytes())
    (folder / "photo-0b.png").write_bytes(photos[0].read_bytes()[:200])
    (folder / "photo-1b.jpg").write_bytes(b"")
    (folder / "same.png").write_bytes(photos[0].read_bytes())
    counting = Counting(drawing)
    made = build_pairs([folder], counting, PROMPTS, tmp_path / "pairs", **TWO)
    assert {row.id for row in made.rows} == {row.id for row in whole.rows}
    assert counting.count == 6
    reasons = {path.name: reason for path, reason in made.skipped}
    assert set(reasons) == {"photo-0b.png", "photo-1b.jpg", "same.png"}
    assert "photo-0.png" in reasons["same.png"]


def test_a_withheld_edit_is_named_and_the_rest_made__identity_rest(drawing, photos, tmp_path):
    out = tmp_path / "pairs"
    build_pairs(photos[:1], drawing, PROMPTS, out, **TWO)
    counting = Counting(drawing)
    counting.fault = WithheldEdit("the pipeline's safety checker withheld this edit")
    made = build_pairs(photos[:2], counting, PROMPTS, out, **TWO)
    assert [path for path, _ in made.skipped] == [photos[1], photos[1]]
    assert len(read_pairs(out).rows) == 2


def test_what_the_safety_checker_blacked_out_is_no_edit__closed_form(sd, monkeypatch):
    class Made:
        images, nsfw_content_detected = torch.zeros(1, 3, 8, 8), [True]

    pipeline = dataclasses.replace(sd, pipe=lambda **settings: Made)
    with pytest.raises(WithheldEdit, match="safety checker"):
        pipeline.edit(Image.new("RGB", (8, 8)), seed=0)
    monkeypatch.setattr(Made, "nsfw_content_detected", [False])
    assert pipeline.edit(Image.new("RGB", (8, 8)), seed=0).shape == (3, 8, 8)
    monkeypatch.setattr(Made, "images", torch.full((1, 3, 8, 8), torch.nan))
    with pytest.raises(InputError, match="NaN or infinite pixels in float32"):
        pipeline.edit(Image.new("RGB", (8, 8)), seed=0)


def test_edits_inside_the_photos_folder_are_no_photos__identity_resume(drawing, photos, tmp_path):
    (tmp_path / "a.png").write_bytes(photos[0].read_bytes())
    for _ in range(2):
        made = build_pairs([tmp_path], drawing, PROMPTS, tmp_path / "pairs", config=CONFIG)
        assert len(made.rows) == 1


def test_a_moved_photo_is_found_by_its_bytes__identity_resume(drawing, photos, tmp_path):
    out, moved = tmp_path / "pairs", tmp_path / "new.png"
    (tmp_path / "old.png").write_bytes(photos[0].read_bytes())
    build_pairs([tmp_path / "old.png"], drawing, PROMPTS, out, config=CONFIG)
    (tmp_path / "old.png").rename(moved)
    counting = Counting(drawing)
    build_pairs([moved], counting, PROMPTS, out, config=CONFIG)
    assert counting.count == 0
    assert read_pairs(out).origins == (moved,)


def test_rows_are_json_with_the_names_of_the_fields__closed_form(whole):
    line = (whole.folder / "pairs.jsonl").read_text().splitlines()[0]
    assert json.loads(line) == dataclasses.asdict(whole.rows[0])
    assert Path(whole.rows[0].origin).is_absolute()
