"""Experts: one detector per kind of alteration that a file shows, and one that saw none."""

import dataclasses

import pytest
import torch

from wherefrom.attribution import METHODS, evaluate, fit, load
from wherefrom.attribution.checking.explaining import explain
from wherefrom.attribution.images.conditions import (
    CLEAN,
    CONDITIONS,
    NOISY,
    NONE,
    Immunity,
    NoiseRange,
    condition_after,
    specialties,
)
from wherefrom.attribution.methods import flipad
from wherefrom.attribution.protocol import FitMaterial, stored_samples
from wherefrom.calibration.conformal import upper_p_values
from wherefrom.core.errors import InputError
from wherefrom.core.rng import derive_seed, stream
from wherefrom.data.altering.degradations import Alteration, jpeg, webp
from wherefrom.data.decoding.images import Carrier
from wherefrom.data.images.writing import to_float
from wherefrom.metrics.detection import auroc

SIZE = (32, 32)
KINDS = {"jpeg", "webp", "crop", "noise"}
MIXED = [
    Carrier("JPEG", False, 85, SIZE),
    Carrier("PNG", True, None, SIZE),
    Carrier("JPEG", False, 65, SIZE),
    Carrier("PNG", True, None, (48, 48)),
    Carrier("WEBP", False, None, SIZE),
    Carrier("JPEG", False, 20, SIZE),
]


@pytest.fixture(scope="module")
def config(small):
    return small.with_values({"immunise": 0.5, "experts": True})


@pytest.fixture(scope="module")
def watched(generator, smooth, config):
    """The attributor with its experts, and the material of each fit behind it."""
    seen = []
    method = METHODS["flipad"]
    spy = dataclasses.replace(method, fit=lambda m, c: seen.append(m) or method.fit(m, c))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "flipad", spy)
        patch.setattr("wherefrom.attribution.method.NOISE_SAMPLES", 60)
        return fit(generator, smooth(80, 0), config=config), seen


@pytest.fixture(scope="module")
def plain(fitted):
    """The small attributor of the session, which has no experts."""
    return fitted


@pytest.fixture(scope="module")
def with_experts(watched):
    """The attributor with its experts."""
    return watched[0]


def condition(name):
    (found,) = (one for one in CONDITIONS if one.name == name)
    return found


def test_unaltered_files_are_judged_as_without_immunisation__identity_plain(
    with_experts, plain, generator
):
    images = stored_samples(generator, 12, 5)
    assert torch.equal(with_experts.score(images), plain.score(images))
    assert set(with_experts.experts) == KINDS


def test_an_expert_is_a_fit_on_its_conditions__reference_by_hand(with_experts, generator, config):
    held_seed = derive_seed(0, "flipad", "calibration")
    own = stored_samples(generator, config.calibration_samples, held_seed)
    for name, kind in (("JPEG 80-89", "jpeg"), ("scaled", "crop")):
        altered = condition(name).applied(own, held_seed)
        expected = with_experts.experts[kind].score(to_float(altered)).cpu()
        assert torch.equal(with_experts.altered[name].own, expected)
        assert torch.equal(with_experts.score(altered, condition=name), expected)
        assert not torch.equal(with_experts.score(altered), expected)


def test_every_training_image_is_altered_as_the_file_will_be__reference_named():
    images = torch.randint(0, 256, (40, 3, 16, 16), generator=stream(1, "x"), dtype=torch.uint8)
    known = specialties(Immunity(0.5, ("jpeg", "webp", "noise")))
    assert {kind: len(one.conditions) for kind, one in known.items()} == {
        "jpeg": 4,
        "webp": 1,
        "noise": 1,
    }
    found = known["webp"].applied(images, 3, "own")
    source = derive_seed(3, "specialty", "own")
    for index, image in enumerate(images):
        rng = stream(source, "WebP", index)
        assert torch.equal(found[index], webp(image, int(torch.randint(60, 99, (), generator=rng))))
    found = known["jpeg"].applied(images, 3, "own")
    best = [
        next((q for q in range(100, 59, -1) if torch.equal(jpeg(x, q), one)), 0)
        for one, x in zip(found, images, strict=True)
    ]
    assert min(best) >= 60
    high = sum(quality >= 90 for quality in best)
    assert 3 <= high <= 20  # a quarter of 40: outside once in 1,000
    assert torch.equal(known["jpeg"].applied(images[:3], 3, "own"), found[:3])
    assert not torch.equal(known["jpeg"].applied(images, 3, "others"), found)


def test_material_of_an_expert_is_altered_for_every_class__identity_calls(watched):
    unaltered, *experts = watched[1]
    assert unaltered.immunity == Immunity() and len(experts) == 4
    for material in experts:
        changed = (material.others != unaltered.others).flatten(1).any(dim=1)
        assert float(changed.double().mean()) > 0.9  # scaled by about one is no change
        assert not torch.equal(material.own(5), unaltered.own(5))


def test_each_image_is_scored_in_its_own_condition__identity_alone(with_experts, smooth):
    images = smooth(len(MIXED), 6)
    rows = with_experts.check(images, carriers=MIXED).images
    names = ["JPEG 80-89", CLEAN, "JPEG 60-69", "scaled", "WebP", None]
    assert [row.condition for row in rows] == names
    for index, (row, name) in enumerate(zip(rows, names, strict=True)):
        (alone,) = with_experts.check(
            images[index : index + 1], carriers=MIXED[index : index + 1]
        ).images
        assert (row.score, row.p_value) == (alone.score, alone.p_value)
        score = with_experts.score(images[index : index + 1], condition=name or CLEAN)
        assert row.score == float(score)
        if name:
            own = with_experts.calibration_of(name).own
            assert row.p_value == float(upper_p_values(score, own))


def test_experts_survive_saving__roundtrip(with_experts, smooth, tmp_path):
    with_experts.save(tmp_path / "m")
    again = load(tmp_path / "m")
    images = smooth(len(MIXED), 6)
    found = again.check(images, carriers=MIXED).to_dict()
    assert found == with_experts.check(images, carriers=MIXED).to_dict()
    one = explain(again, images[0], carrier=MIXED[0])
    other = explain(with_experts, images[0], carrier=MIXED[0])
    assert one.to_dict() == other.to_dict()
    assert one.to_dict()["channels"] != explain(with_experts, images[0]).to_dict()["channels"]


def test_an_evaluation_compares_on_one_scale__identity_threshold(with_experts, generator, smooth):
    own, rough = stored_samples(generator, 9, 8), smooth(7, 9)
    with_experts = dataclasses.replace(
        with_experts, noise=NoiseRange(1e-9, 1.0)
    )  # now all are noisy
    noisy = with_experts.check(rough).images
    assert {row.condition for row in noisy} <= {NOISY, None}
    assert [row.score for row in noisy] != with_experts.score(rough).tolist()
    result = evaluate(with_experts, own, {"rough": rough})
    assert list(result.scores["rough"]) == with_experts.score(rough).tolist()
    assert result.others[0].auroc == auroc(with_experts.score(own), with_experts.score(rough))


def test_the_classifier_of_an_expert_sees_altered_images_only__identity_share(
    generator, smooth, config, monkeypatch
):
    """Own crops, impostors', those of other layers: all but the few that alterations spare."""
    seen = []

    def stop(own, negatives, **options):
        seen.append((own, negatives))
        raise InterruptedError

    monkeypatch.setattr(flipad, "fit_classifier", stop)
    config = config.with_values(
        {"classifier_samples": 40, "mean_samples": 16, "lasso.iterations": 1, "detector.epochs": 1}
    )
    for worn in (NONE, specialties(Immunity.of(config))["jpeg"]):
        others = worn.applied(smooth(30, 0), 0, "others")
        with pytest.raises(InterruptedError):
            METHODS["flipad"].fit(FitMaterial(generator, others, 0, immunity=worn), config)
    (own, negatives), (worn_own, worn_negatives) = seen
    for before, after in ((own, worn_own), (negatives, worn_negatives)):
        assert before.shape == after.shape
        changed = (before != after).flatten(1).any(dim=1)
        assert float(changed.double().mean()) > 0.9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jpeg=80", "JPEG 80-89"),
        ("jpeg=59", ""),
        ("webp=70", "WebP"),
        ("noise=0.1", NOISY),
        ("blur=1", CLEAN),
        ("crop=0.9", CLEAN),
    ],
)
def test_the_condition_after_an_alteration__closed_form(text, expected):
    assert condition_after(Alteration.parse(text)) == expected
    assert condition_after(None) == CLEAN


def test_experts_without_alterations__rejects_settings(generator, smooth, small):
    with pytest.raises(InputError, match="immunise is 0; give a share above 0"):
        fit(generator, smooth(80, 0), config=small.with_values({"experts": True}))
