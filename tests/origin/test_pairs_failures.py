"""One bad photo does not end a build, and the next build does not stop at it again."""

import dataclasses

import pytest
import torch
from building import CONFIG, PROMPTS, TWO, Counting, files_of

from wherefrom.cli.main import run
from wherefrom.core.errors import InputError
from wherefrom.origin.pairs.builder import build_pairs
from wherefrom.origin.pairs.captions import Captioner
from wherefrom.origin.pairs.manifest import read_pairs
from wherefrom.origin.pairs.pipelines import load_pipeline
from wherefrom.origin.pairs.prompts import load_prompts
from wherefrom.origin.pairs.writer import MAX_FAULTS, SKIPPED_NAME

pytestmark = pytest.mark.needs("diffusers", "transformers")

ONE = TWO | {"config": CONFIG}


class Faulty(Counting):
    """A pipeline whose edits number `bad` (from 0) fail in a given way."""

    def __init__(self, pipeline, bad, how):
        super().__init__(pipeline)
        self.bad, self.how = bad, how

    def edit(self, image, **settings):
        number, self.count = self.count, self.count + 1
        if number not in self.bad:
            return torch.zeros(3, 32, 32, dtype=torch.uint8)
        if self.how == "fault":
            raise InputError("the pipeline failed: CUDA out of memory")
        return dataclasses.replace(self.pipeline, pipe=Overflowing()).edit(image, **settings)


class Overflowing:
    """What a VAE in half precision makes of one photograph."""

    def __call__(self, **settings):
        self.images = torch.full((1, 3, 32, 32), torch.nan)
        return self


def build(photos, pipeline, out, **more):
    return build_pairs(photos, pipeline, PROMPTS, out, **(ONE | more))


@pytest.mark.parametrize("bad", [{0}, {1}, {0, 2}])
def test_an_edit_of_nan_is_left_out_and_not_tried_again__identity_rest(sd, photos, tmp_path, bad):
    out = tmp_path / "pairs"
    first = Faulty(sd, bad, "nan")
    manifest = build(photos, first, out)
    assert first.count == 3
    assert [path for path, _ in manifest.skipped] == [photos[i] for i in sorted(bad)]
    assert all("NaN or infinite pixels" in reason for _, reason in manifest.skipped)
    second = Faulty(sd, range(9), "nan")
    again = build(photos, second, out)
    assert second.count == 0
    assert [path for path, _ in again.skipped] == [path for path, _ in manifest.skipped]
    assert all(SKIPPED_NAME in reason for _, reason in again.skipped)
    assert len(read_pairs(out).rows) == 3 - len(bad)
    (out / SKIPPED_NAME).unlink()
    assert len(build(photos, Counting(sd), out).rows) == 3


def test_where_all_edits_are_nan_that_is_said_and_kept__rejects(sd, photos, tmp_path):
    for count in (3, 0):
        pipeline = Faulty(sd, range(9), "nan")
        with pytest.raises(InputError, match=r"no edit was made; first problem: .*NaN"):
            build(photos, pipeline, tmp_path / "pairs")
        assert pipeline.count == count
    assert SKIPPED_NAME in files_of(tmp_path / "pairs")


def test_a_fault_after_a_success_costs_one_edit_and_is_tried_again__identity_rest(
    sd, photos, tmp_path
):
    out = tmp_path / "pairs"
    manifest = build(photos, Faulty(sd, {1}, "fault"), out)
    assert [path for path, _ in manifest.skipped] == [photos[1]]
    assert SKIPPED_NAME not in files_of(out)
    assert len(build(photos, Counting(sd), out).rows) == 3


def test_a_fault_of_the_first_edit_or_of_many_stops__rejects(sd, photos, tmp_path):
    with pytest.raises(InputError, match="out of memory"):
        build(photos, Faulty(sd, {0}, "fault"), tmp_path / "pairs")
    assert files_of(tmp_path) == []
    pipeline = Faulty(sd, range(1, 99), "fault")
    with pytest.raises(InputError, match="out of memory"):
        build(photos, pipeline, tmp_path / "pairs", config=CONFIG.with_values({"per_origin": 4}))
    assert pipeline.count == 1 + MAX_FAULTS
    assert len(read_pairs(tmp_path / "pairs").rows) == 1


def test_a_captioner_that_fails_on_one_photo_costs_that_one__identity_rest(sd, photos, tmp_path):
    class Model:
        device, count = "cpu", 0

        def generate(self, **_settings):
            self.count += 1
            if self.count == 2:
                raise RuntimeError("no words")
            return [[self.count]]

    class Parts:
        pixel_values = torch.zeros(1)

        def __call__(self, **_settings):
            return self

        def batch_decode(self, ids, *, skip_special_tokens):
            return [f"photo {ids[0][0]}"]

    captioner = Captioner("words", "sha256:0", Model(), Parts(), Parts())
    quoting = load_prompts("{caption} in snow")
    pipeline = Faulty(sd, (), "nan")
    manifest = build_pairs(
        photos, pipeline, quoting, tmp_path / "pairs", captioner=captioner, **ONE
    )
    assert [path for path, _ in manifest.skipped] == [photos[1]]
    assert "the captioner words failed: no words" in manifest.skipped[0][1]


@pytest.mark.parametrize("junk", [b"", b"[1]\n", b'{"id": 3', b"\xff\n", b"null\n{}\n"])
def test_a_broken_list_of_failures_is_passed_over__roundtrip(sd, photos, tmp_path, junk):
    out = tmp_path / "pairs"
    build(photos[:1], Faulty(sd, (), "nan"), out)
    (out / SKIPPED_NAME).write_bytes(junk)
    assert len(build(photos, Faulty(sd, {0}, "nan"), out).rows) == 2


def test_a_pipeline_is_offloaded_from_a_gpu_alone__rejects_device(models, monkeypatch):
    with pytest.raises(InputError, match="give a GPU as the device"):
        load_pipeline(models / "sd", offload=True)
    import diffusers

    asked = []
    monkeypatch.setattr(
        diffusers.StableDiffusionImg2ImgPipeline,
        "enable_model_cpu_offload",
        lambda self, device: asked.append((device, self.dtype, self.device.type)),
    )
    pipeline = load_pipeline(models / "sd", device="cuda:0", dtype=torch.bfloat16, offload=True)
    assert asked == [("cuda:0", torch.bfloat16, "cpu")]
    assert pipeline.dtype == "bfloat16"


def test_the_command_takes_the_numbers_to_compute_with__identity_dtype(models, photos, tmp_path):
    out = tmp_path / "pairs"
    command = ["--quiet", "origin", "pairs", str(photos[0]), "--pipeline", str(models / "sd")]
    command += ["--prompts", "a dog", "--out", str(out), "--steps", "2", "--size", "32"]
    assert run([*command, "--dtype", "bfloat16", "--device", "cpu"]) == 0
    assert [row.dtype for row in read_pairs(out).rows] == ["bfloat16"]
    assert run([*command, "--offload", "--device", "cpu"]) == 2
