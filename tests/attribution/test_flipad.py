"""From a generator and other images to verdicts: seeds, saving, disjoint parts, refusals."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from wherefrom.attribution import FlipadConfig, fit, load
from wherefrom.attribution.config import PRESETS
from wherefrom.attribution.methods.flipad import mean_activation
from wherefrom.attribution.protocol import stored_samples
from wherefrom.attribution.training.others import needed_others
from wherefrom.attribution.training.siblings import SIBLING_KINDS
from wherefrom.calibration.conformal import lower_p_values, upper_p_values
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.rng import derive_seed
from wherefrom.data.decoding.images import Carrier
from wherefrom.data.images.writing import to_float, to_uint8
from wherefrom.generators.generator import wrap_generator


def content(images):
    """The images as a set of their 8-bit pixels."""
    return {to_uint8(image).numpy().tobytes() for image in images}


def test_own_and_other_images_are_told_apart__limit(fitted, generator, smooth):
    own = fitted.check(generator.sample(40, seed=99))
    others = fitted.check(smooth(40, 99))
    assert own.counts()[Verdict.NOT_OURS] <= 8  # 5 % promised, 40 calibration images
    assert others.counts()[Verdict.NOT_OURS] >= 30


def test_the_same_seed_gives_the_same_scores__identity_seed(fitted, recorded, smooth):
    again = recorded[1]
    assert torch.equal(again.own_scores, fitted.own_scores)
    assert torch.equal(again.other_scores, fitted.other_scores)
    assert torch.equal(again.score(smooth(9, 5)), fitted.score(smooth(9, 5)))


def test_another_seed_or_order_of_others__identity_seed(fitted, generator, smooth, small):
    assert not torch.equal(
        fit(generator, smooth(80, 0), config=small, seed=1).own_scores, fitted.own_scores
    )
    # The split follows the images, not their order: the same images are held out.
    shuffled = fit(generator, smooth(80, 0)[torch.randperm(80)], config=small)
    assert torch.equal(shuffled.other_scores, fitted.other_scores)


def test_scores_do_not_depend_on_batch_or_order__identity_batch_independence(fitted, smooth):
    images = smooth(70, 3)
    scores, order = fitted.score(images), torch.randperm(70)
    assert scores.dtype == torch.float64
    assert torch.equal(fitted.score(images[order]), scores[order])
    assert torch.equal(fitted.score(images[69:]), scores[69:])
    assert torch.equal(fitted.score(to_float(images)), scores)
    assert fitted.score(images[:0]).shape == (0,)
    rows, moved = fitted.check(images).images, fitted.check(images[order]).images
    for place, index in enumerate(order.tolist()):
        assert dataclasses.replace(moved[place], name="") == dataclasses.replace(
            rows[index], name=""
        )


def test_parts_are_disjoint_and_of_the_stated_sizes__identity_split(recorded, smooth):
    seen, _ = recorded
    assert {name: len(images) for name, images in seen.items()} == {
        "own": 60,
        "others": 60,
        "impostors": 60,
        "own held": 40,
        "others held": 16,
        **dict.fromkeys(SIBLING_KINDS, 9),
    }
    for kind in SIBLING_KINDS:
        assert not content(seen[kind]) & content(seen["own held"])
    assert not content(seen["own"]) & content(seen["own held"])
    assert not content(seen["others"]) & content(seen["others held"])
    pool = content(to_float(smooth(80, 0)))
    assert len(pool) == 80
    assert content(seen["others"]) | content(seen["others held"]) <= pool
    assert not content(seen["impostors"]) & content(seen["own"])


def test_own_images_are_rounded_to_eight_bits__identity_deviation(recorded):
    """Deviation: own images are rounded to 8 bits first, as every image `check` will meet."""
    for name, images in recorded[0].items():
        assert torch.equal(to_float(to_uint8(images)), images), name


def test_impostors_are_negatives_unless_switched_off__identity_deviation(
    recorded, generator, smooth, small
):
    """Deviation: impostors of the model's own images are negatives; 0 is the paper."""
    seen, with_impostors = recorded
    assert len(seen["impostors"]) == 60
    settings = {"impostors": 0.0, "detector.epochs": 1}
    without = fit(generator, smooth(80, 0), config=small.with_values(settings))
    assert not torch.equal(without.own_scores, with_impostors.own_scores)
    assert PRESETS["paper"].impostors == 0.0


def test_p_values_are_those_of_both_calibration_sets__identity_deviation(fitted, smooth):
    """Deviation: p-values against held-out others and siblings guard "made by this model"."""
    images = smooth(12, 4)
    scores = fitted.score(images)
    rows = fitted.check(images).images
    assert [row.score for row in rows] == scores.tolist()
    assert [row.p_value for row in rows] == upper_p_values(scores, fitted.own_scores).tolist()
    assert [row.p_other for row in rows] == lower_p_values(scores, fitted.other_scores).tolist()
    kinds = torch.stack([lower_p_values(scores, one) for one in fitted.sibling_scores.values()])
    assert [row.p_sibling for row in rows] == kinds.amax(dim=0).tolist()
    for row in rows:
        assert (row.score > fitted.threshold) == (row.verdict is Verdict.NOT_OURS)


def with_scores(fitted, own, other, sibling=1e9):
    """The attributor with calibration scores shifted: every verdict becomes reachable."""
    return dataclasses.replace(
        fitted,
        own_scores=torch.full((40,), float(own)),
        other_scores=torch.full((16,), other),
        sibling_scores={kind: torch.full((9,), float(sibling)) for kind in SIBLING_KINDS},
    )


def test_every_verdict_and_its_reason__closed_form(fitted, smooth):
    images = smooth(1, 4)
    (row,) = with_scores(fitted, 1e9, 1e9).check(images).images
    assert (row.verdict, row.reason) == (Verdict.OURS, "")
    (row,) = with_scores(fitted, -1.0, 1e9).check(images).images
    assert (row.verdict, row.reason) == (Verdict.NOT_OURS, "")
    (row,) = with_scores(fitted, 1e9, -1.0).check(images).images
    assert row.verdict is Verdict.CANNOT_SAY and "also the other images" in row.reason
    (row,) = with_scores(fitted, 1e9, 1e9, -1.0).check(images).images
    assert row.verdict is Verdict.CANNOT_SAY and row.p_sibling == 1.0
    assert "a sibling of this model would look like this" in row.reason


def test_lossy_files_are_not_called_foreign__closed_form(fitted, smooth):
    images = smooth(2, 4)
    not_ours = with_scores(fitted, -1.0, 1e9)
    png, jpg = Carrier("PNG", True, None, (32, 32)), Carrier("JPEG", False, 90, (32, 32))
    rows = not_ours.check(images, carriers=[png, jpg], names=["a", "b"]).images
    assert [row.verdict for row in rows] == [Verdict.NOT_OURS, Verdict.CANNOT_SAY]
    assert rows[1].name == "b" and "the file is lossy" in rows[1].reason
    ours = with_scores(fitted, 1e9, 1e9)
    assert ours.check(images, carriers=[jpg, jpg]).counts()[Verdict.OURS] == 2


def test_blank_images_cannot_be_judged__limit(fitted):
    images = torch.full((3, 3, 32, 32), 255, dtype=torch.uint8)
    images[1] = 0
    images[2].flatten()[: int(0.03 * images[2].numel())] = 100  # 3 % of it is picture
    rows = with_scores(fitted, -1.0, 1e9).check(images).images
    verdicts = [row.verdict for row in rows]
    assert verdicts == [Verdict.CANNOT_SAY, Verdict.CANNOT_SAY, Verdict.NOT_OURS]
    assert "pure black or white" in rows[0].reason


def test_an_attributor_survives_saving__roundtrip(fitted, smooth, tmp_path):
    fitted.save(tmp_path / "mine.attributor")
    again = load(tmp_path / "mine.attributor")
    images = smooth(9, 5)
    assert again.check(images).to_dict() == fitted.check(images).to_dict()
    assert again.config == fitted.config and again.threshold == fitted.threshold
    json.dumps(again.describe())
    with pytest.raises(InputError, match="already exists; pass --overwrite"):
        fitted.save(tmp_path / "mine.attributor")
    fitted.save(tmp_path / "mine.attributor", overwrite=True)


def test_channels_chosen_are_saved_too__roundtrip(generator, smooth, small, tmp_path):
    config = small.with_values({"channels": 3, "detector.epochs": 1})
    fitted = fit(generator, smooth(80, 0), config=config)
    assert len(fitted.scorer.features.channels) == 3 and fitted.scorer.detector.shape == (
        3,
        16,
        16,
    )
    fitted.save(tmp_path / "mine.attributor")
    images = smooth(3, 5)
    assert torch.equal(load(tmp_path / "mine.attributor").score(images), fitted.score(images))


@pytest.mark.parametrize("name", ["tensors.safetensors", "artifact.json"])
def test_a_flipped_byte__rejects_damage(fitted, tmp_path, name):
    fitted.save(tmp_path / "mine.attributor")
    path = tmp_path / "mine.attributor" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"mine\.attributor") as error:
        load(tmp_path / "mine.attributor")
    assert "\n" not in str(error.value)


def test_a_model_without_an_image_side__limit(small):
    """A dense last layer: the activations are vectors, and the detector's network is the MLP."""
    module = nn.Sequential(
        nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 48), nn.Unflatten(1, (3, 4, 4)), nn.Sigmoid()
    )
    generator = wrap_generator(module)
    config = small.with_values({"detector.epochs": 1})
    fitted = fit(generator, torch.rand(80, 3, 4, 4), config=config)
    assert fitted.scorer.detector.shape == (20,)
    assert fitted.score(generator.sample(3, seed=8)).shape == (3,)


def test_mean_activation_is_the_mean_over_its_samples__naive_loop(generator):
    seed = derive_seed(7, "flipad", "mean")
    parts = torch.cat([z for _, z in generator.sample_with_activations(70, seed)])
    expected = sum(z.double() for z in parts) / 70
    assert torch.allclose(mean_activation(generator, 70, 7).double(), expected, atol=1e-6)


def test_samples_are_what_a_png_file_would_hold__identity_rounding(generator):
    pixels = stored_samples(generator, 3, 4)
    assert torch.equal(pixels, to_uint8(generator.sample(3, seed=4)))


def test_too_few_other_images__rejects_and_says_how_many(generator, smooth, small):
    needed = needed_others(small)
    assert needed == 62  # 62 - round(0.2 * 62) = 50
    with pytest.raises(InputError, match=f"there are 61 other images, at least {needed} are"):
        fit(generator, smooth(61, 0), config=small)


@pytest.mark.parametrize("rate", [0.2, 0.01, 0.003])
@pytest.mark.parametrize("share", [0.01, 0.2, 0.9])
def test_the_number_of_others_asked_for_is_the_smallest__naive_loop(rate, share):
    config = FlipadConfig(false_positive_rate=rate, other_calibration_share=share)

    def enough(count):
        held = round(share * count)
        return count - held >= 50 and 1 / (held + 1) <= rate

    needed = needed_others(config)
    assert enough(needed) and not any(
        enough(count) for count in range(max(needed - 300, 0), needed)
    )


def test_rates_without_support__rejects_rates(generator, smooth, small):
    others = smooth(80, 0)
    for settings, says in [
        ({"false_negative_rate": 0.01}, "false-negative rate of 0.01 cannot be supported by 40"),
        ({"false_negative_rate": 0.0}, "false-negative rate is 0.0"),
        ({"false_positive_rate": 0.01}, "false-positive rate of 0.01 cannot be supported by 16"),
        ({"false_positive_rate": 0.0}, "false-positive rate is 0.0"),
    ]:
        with pytest.raises(InputError, match=says):
            fit(generator, others, config=small.with_values(settings))
    with pytest.raises(InputError, match=r"false-positive rate is 0\.0"):
        fit(generator, others[:20], config=small.with_values({"false_positive_rate": 0.0}))


def test_duplicates_among_the_others__rejects_duplicates(generator, smooth, small):
    images = smooth(80, 0)
    images[70:] = images[:10]
    with pytest.raises(InputError, match="10 of the 80 other images are duplicates"):
        fit(generator, images, config=small)


@pytest.mark.parametrize("shape", [(80, 3, 16, 16), (80, 1, 32, 32), (3, 32, 32)])
def test_images_of_another_size__rejects_shape(fitted, generator, small, shape):
    images = torch.rand(shape)
    with pytest.raises(InputError, match="this model makes 3x32x32; give images of that size"):
        fit(generator, images, config=small)
    with pytest.raises(InputError, match="this model makes 3x32x32"):
        fitted.score(images)


def test_nan_pixels__rejects_nan(fitted):
    with pytest.raises(InputError, match="NaN"):
        fitted.check(torch.full((1, 3, 32, 32), torch.nan))
