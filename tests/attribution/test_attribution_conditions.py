"""Immunisation, and a calibration for every state in which a file may arrive."""

import dataclasses

import pytest
import torch
from PIL import Image

from wherefrom.attribution import fit, load
from wherefrom.attribution.checking.fitted import HeldOutScores
from wherefrom.attribution.checking.paths import check_paths
from wherefrom.attribution.images.conditions import (
    CLEAN,
    CONDITIONS,
    NOISY,
    Immunity,
    NoiseRange,
    condition_of,
    conditions_for,
)
from wherefrom.attribution.methods.features import FeatureMap
from wherefrom.attribution.protocol import stored_samples
from wherefrom.calibration.conformal import lower_p_values, upper_p_values
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.rng import derive_seed
from wherefrom.data.altering.degradations import CHAIN, KINDS, jpeg
from wherefrom.data.decoding.images import Carrier
from wherefrom.data.images.items import crop_and_resize, read_image, to_image
from wherefrom.data.images.writing import save_png, to_float, to_uint8
from wherefrom.metrics.noise_level import noise_level

SIZE = (32, 32)
RANGE = NoiseRange(0.01, 0.1)


@pytest.fixture(scope="module")
def worn(generator, smooth, small):
    """What went into the feature map during an immunised fit, in order, and the fit."""
    seen = []
    original = FeatureMap.extract

    def spy(self, images, **options):
        seen.append(to_uint8(images))
        return original(self, images, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureMap, "extract", spy)
        patch.setattr("wherefrom.attribution.method.NOISE_SAMPLES", 60)
        config = small.with_values({"immunise": 0.7})
        return fit(generator, smooth(80, 0), config=config), seen


def carrier(kind="PNG", quality=None, size=SIZE):
    return Carrier(kind, kind == "PNG", quality, size)


@pytest.mark.parametrize(
    ("given", "level", "expected", "why"),
    [
        (None, 0.0, CLEAN, ""),
        (carrier(), 0.01, CLEAN, ""),
        (carrier(), 0.011, NOISY, ""),
        (carrier(), 0.2, "", "noise level is 0.2"),
        (carrier("JPEG", 90), 0.2, "JPEG 90-100", ""),
        (carrier("JPEG", 89), 0.0, "JPEG 80-89", ""),
        (carrier("JPEG", 60), 0.0, "JPEG 60-69", ""),
        (carrier("JPEG", 59), 0.0, "", "quality 59; calibrated are 60 to 100"),
        (carrier("WEBP"), 0.0, "WebP", ""),
        (carrier("TIFF"), 0.0, CLEAN, ""),
        (carrier(size=(64, 64)), 0.2, "scaled", ""),
        (carrier(size=(48, 64)), 0.2, "scaled", ""),
        (carrier(size=(15, 40)), 0.0, "", "0.47 times the model's size"),
        (carrier("JPEG", 90, (64, 64)), 0.0, "", "both scaled and compressed"),
    ],
)
def test_the_state_of_a_file__closed_form(given, level, expected, why):
    if given is not None and given.format == "TIFF":
        given = dataclasses.replace(given, lossless=True)
    found, reason = condition_of(given, level, SIZE, RANGE)
    assert found == expected and why in reason and bool(reason) == (not expected)


def test_an_unknown_lossy_codec_is_not_guessed__rejects_condition():
    found, reason = condition_of(carrier("TIFF"), 0.0, SIZE, RANGE)
    assert found == "" and "lossy TIFF" in reason


def test_what_is_left_out_is_in_no_fit_and_no_calibration__identity_settings(small):
    everything = Immunity.of(small.with_values({"immunise": 0.5}))
    assert everything.kinds == (*KINDS, CHAIN)
    assert conditions_for(everything) == CONDITIONS
    without = Immunity.of(small.with_values({"immunise": 0.5, "left_out": "jpeg"}))
    # a chain may hold a JPEG file
    assert set(without.kinds) == set(KINDS) - {"jpeg"}
    assert {one.kind for one in conditions_for(without)} == {"webp", "crop", "noise"}
    chains = Immunity.of(small.with_values({"immunise": 0.5, "left_out": CHAIN}))
    assert set(chains.kinds) == set(KINDS)
    assert Immunity.of(small) == Immunity() and conditions_for(Immunity()) == ()


def test_every_class_is_altered_alike__identity_share(worn, recorded):
    """Own, others and impostors: 70 % of 60 is 42; outside of 28 to 56 once in 10,000."""
    _, seen = worn
    plain = [to_uint8(images) for images in recorded[0].values()]
    for altered, before in zip(seen[:3], plain[:3], strict=True):
        changed = (altered != before).flatten(1).any(dim=1).sum()
        assert 28 <= int(changed) <= 56
    assert torch.equal(seen[3], plain[3]) or len(seen[3]) < len(plain[3])  # held: as they are


def test_each_condition_has_scores_of_its_own__reference_by_hand(worn, generator, smooth, small):
    fitted, _ = worn
    # this untrained generator's images look like noise: too few are noisier to calibrate on
    assert set(fitted.altered) == {one.name for one in CONDITIONS} - {NOISY}
    held_seed = derive_seed(0, "flipad", "calibration")
    own = stored_samples(generator, small.calibration_samples, held_seed)
    for name in ("JPEG 80-89", "scaled"):
        (one,) = (c for c in CONDITIONS if c.name == name)
        assert torch.equal(fitted.score(one.applied(own, held_seed)), fitted.altered[name].own)
    is_noisy = noise_level(to_float(own)) > fitted.noise.clean
    assert torch.equal(fitted.score(own[~is_noisy]), fitted.own_scores)
    few = CONDITIONS[0].applied(own[:3], held_seed)
    assert torch.equal(few, CONDITIONS[0].applied(own, held_seed)[:3])


def test_p_values_are_those_of_the_file_s_condition__closed_form(worn, generator):
    fitted, _ = worn
    images = torch.stack([jpeg(x, 85) for x in stored_samples(generator, 4, 77)])
    rows = fitted.check(images, carriers=[carrier("JPEG", 85)] * 4).images
    scores = fitted.score(images)
    known = fitted.altered["JPEG 80-89"]
    assert [row.p_value for row in rows] == upper_p_values(scores, known.own).tolist()
    assert [row.p_other for row in rows] == lower_p_values(scores, known.other).tolist()
    assert {row.condition for row in rows} == {"JPEG 80-89"}
    # with calibration scores far below, a lossy file is told apart too
    low = HeldOutScores(torch.full((60,), -1.0), known.other)
    sharp = dataclasses.replace(fitted, altered={**fitted.altered, "JPEG 80-89": low})
    (row, *_) = sharp.check(images, carriers=[carrier("JPEG", 85)] * 4).images
    assert row.verdict is Verdict.NOT_OURS


def test_outside_of_what_was_calibrated_it_cannot_say__limit(worn, generator, smooth, tmp_path):
    fitted, _ = worn
    image = stored_samples(generator, 1, 78)[0]
    save_png(image, tmp_path / "a.png")
    to_image(image).save(tmp_path / "b.jpg", quality=30)
    save_png(crop_and_resize(image, (48, 48)), tmp_path / "c.png")
    save_png(crop_and_resize(image, (9, 9)), tmp_path / "d.png")
    to_image(image).save(tmp_path / "e.webp", quality=80)
    rows = check_paths(fitted, [tmp_path]).images
    assert [row.condition for row in rows] == [CLEAN, None, "scaled", None, "WebP"]
    assert [row.verdict for row in rows][1::2] == [Verdict.CANNOT_SAY] * 2
    assert "quality 30" in rows[1].reason and "0.28 times" in rows[3].reason
    without = {k: v for k, v in fitted.altered.items() if not k.startswith("JPEG")}
    (row,) = (
        dataclasses.replace(fitted, altered=without)
        .check(image[None], carriers=[carrier("JPEG", 90)])
        .images
    )
    assert row.verdict is Verdict.CANNOT_SAY and "'JPEG 90-100', which was not" in row.reason


def test_conditions_survive_saving__roundtrip(worn, smooth, tmp_path):
    fitted, _ = worn
    fitted.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.noise == fitted.noise and set(again.altered) == set(fitted.altered)
    carriers = [carrier("JPEG", 75), None, carrier(size=(40, 40))]
    images = smooth(3, 6)
    found = again.check(images, carriers=carriers).to_dict()
    assert found == fitted.check(images, carriers=carriers).to_dict()


def test_files_say_how_they_carried_an_image__closed_form(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg", quality=72)
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.jpg").carrier == Carrier("JPEG", False, 72, (10, 20))
    assert read_image(tmp_path / "a.png").carrier == Carrier("PNG", True, None, (10, 20))
