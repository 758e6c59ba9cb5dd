"""Self-test, subtlety curve, calibration by parts, p-values and discoveries of a folder."""

import functools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.stats import false_discovery_control
from untrained_inverters import blobs, fitted_to, untrained

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.data.altering.mnist_corruptions import MNIST_CORRUPTIONS, mnist_corrupt, near_out
from wherefrom.data.batches import ImageBatch
from wherefrom.data.decoding.images import Carrier
from wherefrom.data.files.opening import SkippedFile
from wherefrom.inversion.outliers.calibrated import (
    OutlierCalibration,
    OutlierConfig,
    calibrate_outliers,
    find_outliers,
    own_parts,
)
from wherefrom.inversion.outliers.self_test import run_self_test
from wherefrom.inversion.outliers.subtlety import SubtletyCurve, SubtletyPoint, subtlety_points

OWN = (blobs(40) * 255).round().byte()
KEYS = [f"own {index}" for index in range(40)]


class Roughness:
    """Mean squared difference of neighbours, or its negative: seen by damage, blind to none."""

    def __init__(self, sign=1.0):
        self.sign = sign

    def score(self, x):
        return self.sign * x.diff(dim=3).double().square().mean(dim=(1, 2, 3))


def model():
    return fitted_to(OWN / 255)


@functools.cache
def calibrated():
    """Of the own images, by the best score."""
    return calibrate_outliers(model(), OWN, keys=KEYS)


def batch_of(images, skipped=()):
    count = len(images)
    return ImageBatch(
        images=images,
        paths=tuple(Path(f"{index}.png") for index in range(count)),
        digests=tuple(f"d{index}" for index in range(count)),
        notes=((),) * count,
        skipped=tuple(skipped),
        duplicates=0,
        carriers=(Carrier("PNG", True, None, (8, 8)),) * count,
    )


def test_a_self_test_compares_own_images_with_themselves__naive_loop():
    images = OWN[:10] / 255
    found = run_self_test({"nll": Roughness()}, images, keys=KEYS[:10], near=0.3)
    assert [(row.corruption, row.intensity) for row in found.rows] == [
        (kind, w) for kind in MNIST_CORRUPTIONS for w in (0.3, 1.0)
    ]
    own = Roughness().score(images)
    for row in found.rows:
        far = mnist_corrupt(images, row.corruption, keys=KEYS[:10])
        seen = Roughness().score(near_out(far, images, row.intensity))
        wins = [(b > a) + 0.5 * (b == a) for a in own for b in seen]
        assert row.auroc["nll"] == pytest.approx(float(sum(wins)) / len(wins))
    assert found.means["nll"] == pytest.approx(sum(r.auroc["nll"] for r in found.rows) / 20)
    assert found.warning == ""


def test_the_score_that_sees_damage_is_chosen_and_a_blind_one_is_named__identity_sign():
    images = OWN[:10] / 255
    both = {"nll": Roughness(-1), "reconstruction": Roughness()}
    found = run_self_test(both, images, keys=KEYS[:10], near=0.3)
    assert found.chosen == "reconstruction"
    assert found.means["nll"] == pytest.approx(1 - found.means["reconstruction"])
    assert found.warning.startswith("under-trained: the likelihood calls corrupted images")
    alone = run_self_test({"energy": Roughness(-1)}, images, keys=KEYS[:10], near=0.3)
    assert alone.warning.startswith("under-trained: no score sees")
    equal = {"two-sided": Roughness(), "reconstruction": Roughness()}
    assert run_self_test(equal, images, keys=KEYS[:10], near=0.3).chosen == "two-sided"


def test_subtlety_counts_what_passes_the_threshold__naive_loop():
    images = OWN[:12] / 255
    own = Roughness().score(images)
    threshold = float(own.max())
    points = subtlety_points(Roughness(), images, threshold, keys=KEYS[:12], intensities=(1.0, 0.1))
    assert [p.intensity for p in points] == [0.1, 1.0] * 10
    for point in points:
        far = mnist_corrupt(images, point.corruption, keys=KEYS[:12])
        mixed = point.intensity * far + (1 - point.intensity) * images
        above = [float(s) > threshold for s in Roughness().score(mixed)]
        assert point.caught == pytest.approx(sum(above) / 12)
    stripe = [p for p in points if p.corruption == "stripe"]
    assert stripe[1].auroc > 0.9


def test_the_least_intensity_is_where_half_stay_caught__closed_form():
    caught = {"fog": (0.1, 0.6, 0.4, 0.5, 0.9), "zigzag": (0, 0, 0, 0, 0.4)}
    points = tuple(
        SubtletyPoint(kind, w, 0.5, share)
        for kind, shares in caught.items()
        for w, share in zip((0.1, 0.2, 0.3, 0.5, 1.0), shares, strict=True)
    )
    curve = SubtletyCurve("nll", 0.01, 10, points)
    assert curve.least == {"fog": 0.5, "zigzag": None}
    assert curve.to_dict()["half_caught_from"] == curve.least


def test_own_images_calibrate_in_a_part_of_their_own__identity_order():
    fitted, found = model(), calibrated()
    assert len(found.own_scores) == 20 and found.self_test["images"] == 10
    assert found.score == found.self_test["chosen"]
    order = torch.randperm(40)
    again = calibrate_outliers(fitted, OWN[order], keys=[KEYS[i] for i in order])
    assert torch.equal(found.own_scores.sort().values, again.own_scores.sort().values)
    assert again.self_test["means"] == pytest.approx(found.self_test["means"])
    detector = found.detector(fitted)
    every = {float(s) for s in detector.score(OWN / 255)}
    assert {float(s) for s in found.own_scores} <= every


@pytest.mark.parametrize(("count", "sizes"), [(40, (5, 5, 10, 20)), (9, (1, 1, 2, 5))])
def test_the_curve_has_images_that_decide_nothing__closed_form(count, sizes):
    parts = own_parts(KEYS[:count])
    assert tuple(map(len, parts.values())) == sizes
    assert list(parts) == ["reference", "curve", "test", "calibration"]
    assert sorted(row for part in parts.values() for row in part) == list(range(count))
    rows = set(parts["curve"])
    if count == 40:  # other images there change nothing
        other = OWN.clone()
        other[sorted(rows)] = 255 - other[sorted(rows)]
        again = calibrate_outliers(model(), other, keys=KEYS)
        assert torch.equal(again.own_scores, calibrated().own_scores)
        assert again.self_test == calibrated().self_test


def test_verdicts_follow_from_the_calibration_scores__naive_loop():
    fitted = model()
    found = calibrate_outliers(fitted, OWN, keys=KEYS, config=OutlierConfig(score="nll"))
    normal, odd = blobs(12, seed=5), 1 - blobs(6, seed=6).round()
    images = (torch.cat([normal, odd]) * 255).round().byte()
    batch = batch_of(images, skipped=[SkippedFile(Path("broken.png"), "is damaged")])
    report = find_outliers(fitted, found, batch, rate=0.05)
    scores = found.detector(fitted).score(images / 255)
    p_values = {}
    for index, score in enumerate(scores):
        above = sum(float(own) >= float(score) for own in found.own_scores)
        p_values[f"{index}.png"] = (1 + above) / 21
    adjusted = false_discovery_control(list(p_values.values()))
    for row in report.rows:
        assert row.p_value == pytest.approx(p_values[row.name])
        assert row.flagged == (row.p_value <= 0.05) == (row.score > report.threshold)
        assert row.discovery == (adjusted[int(row.name.split(".")[0])] <= 0.05)
    assert [row.score for row in report.rows] == sorted(r.score for r in report.rows)[::-1]
    assert report.skipped == ((Path("broken.png"), "is damaged"),)
    assert report.rows[0].flagged and not report.rows[-1].flagged
    assert report.calibrated_on == 20
    assert list(report.to_dataframe()["name"]) == [row.name for row in report.rows]
    assert report.rows[0].name in report._repr_html_()


def test_a_calibration_is_saved_with_its_model__roundtrip(tmp_path):
    sorter = untrained("classifier", classes=(1, 4))
    for fitted, score in ((model(), "two-sided"), (sorter, "energy")):
        config = OutlierConfig(score=score)
        found = calibrate_outliers(fitted, OWN, keys=KEYS, config=config)
        found.save(tmp_path / score)
        loaded = OutlierCalibration.load(tmp_path / score)
        assert loaded.constant == found.constant  # infinite for the energy
        assert loaded.config == config and loaded.self_test == found.self_test
        batch = batch_of(OWN[:5])
        first, second = (find_outliers(fitted, c, batch, rate=0.1) for c in (found, loaded))
        assert first == second
    with pytest.raises(InputError, match="belongs to another model"):
        found.detector(model())
    moved = replace(model(), trace=model().trace * 2)
    with pytest.raises(InputError, match="belongs to another model"):
        OutlierCalibration.load(tmp_path / "two-sided").detector(moved)
    (tmp_path / "energy" / "artifact.json").write_text("{}")
    with pytest.raises(ArtifactError):
        OutlierCalibration.load(tmp_path / "energy")


def test_damage_that_moves_codes_to_the_mean_looks_normal__limit():
    fitted = model()
    narrow = replace(fitted, mean=fitted.encode(mnist_corrupt(OWN / 255, "fog", keys=KEYS)).mean(0))
    found = calibrate_outliers(narrow, OWN, keys=KEYS, config=OutlierConfig(score="nll"))
    fog = [r for r in found.self_test["rows"] if r["corruption"] == "fog" and r["intensity"] == 1]
    assert fog[0]["auroc"]["nll"] < 0.5


def test_too_little_to_calibrate__rejects_counts():
    with pytest.raises(InputError, match="7 own images; give at least 8"):
        calibrate_outliers(model(), OWN[:7], keys=KEYS[:7])
    found = calibrated()
    with pytest.raises(InputError, match=r"false-alarm rate of 0\.01 .* 20 held-out"):
        find_outliers(model(), found, batch_of(OWN[:2]), rate=0.01)
    with pytest.raises(InputError, match="no score of outliers"):
        calibrate_outliers(untrained("cagan", classes=(1, 3)), OWN, keys=KEYS)
    with pytest.raises(InputError, match="same content"):
        calibrate_outliers(model(), OWN, keys=["a"] * 40)
