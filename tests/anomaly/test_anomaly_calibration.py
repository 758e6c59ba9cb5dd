"""Ranks among real images: false alarms at the stated rate, and when a score may decide."""

import dataclasses

import pytest
import torch
from known_fields import ConvNet, Curved, encoder, pictures
from torch.nn import functional as F

from wherefrom.anomaly import AnomalyCalibration, AnomalyConfig, ImageScores, score_images
from wherefrom.anomaly.calibration.assumption import (
    AssumptionCheck,
    AssumptionConfig,
    check_assumption,
)
from wherefrom.anomaly.calibration.cloud import Cloud
from wherefrom.anomaly.calibration.discovery import control_discoveries
from wherefrom.anomaly.calibration.fitted import fit_calibration, split_reals
from wherefrom.anomaly.calibration.judgement import FalseAlarms, worst_first
from wherefrom.anomaly.measuring.numerics import NOISE_ANGLE, NumericsCheck, check_numerics
from wherefrom.calibration.conformal import guaranteed_rate
from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.encoders.features import make_feature_encoder

CONFIG = AnomalyConfig(directions=4, restarts=2)
LIGHT = AssumptionConfig(images=10, grades=1)
TIE = 1.5 / 41  # one held-out image of 40 may lie so near that it counts as equal


IDENTITY = encoder(Curved()).identity


def drawn(count, *, seed, shift=(0.0, 0.0), prefix="image", config=CONFIG):
    """Scores whose log C and log V are correlated Gaussians; no encoder is asked."""
    rng = torch.Generator().manual_seed(seed)
    logs = torch.randn(count, 2, generator=rng, dtype=torch.float64)
    C = (0.1 * logs[:, 0] - 2 + shift[0]).exp()
    V = (0.1 * logs[:, 0] + 0.2 * logs[:, 1] + 3 + shift[1]).exp()
    names = tuple(f"{prefix} {i}" for i in range(count))
    return ImageScores(
        complexity=C,
        complexity_error=0.05 * C,
        vulnerability=V,
        vulnerability_error=0.02 * V,
        features=torch.zeros(count, 2),
        names=names,
        digests=tuple(f"{seed} {name}" for name in names),
        skipped=(),
        directions=torch.full((count,), config.directions),
        still=torch.zeros(count, dtype=torch.float64),
        clipped=torch.zeros(count, dtype=torch.float64),
        encoder=IDENTITY,
        config=config,
        seed=0,
    )


@pytest.mark.parametrize("decides", ["as_i", "vulnerability", "joint"])
def test_false_alarms_stay_at_the_rate__identity_conformal(decides):
    flagged, count, rate = 0, 0, 0.1
    for seed in range(60):
        calibration = fit_calibration(drawn(75, seed=seed), decides=decides)
        judgements = calibration.judge(drawn(60, seed=1000 + seed), false_alarms=rate)
        flagged, count = flagged + sum(row.flagged for row in judgements), count + len(judgements)
    # 60 calibrations of 50 held-out images: the mean rate 5/51 has deviation 0.006 (beta-binomial).
    assert abs(flagged / count - 5 / 51) < 0.024


def test_flags_with_confidence_keep_the_highest_of_the_guaranteed_ranks__naive_loop():
    calibration = fit_calibration(drawn(225, seed=1), decides="vulnerability")
    limit = calibration.highest_p_value(0.05, 0.9)
    assert limit == guaranteed_rate(0.05, 150, 0.9, what="rate") < 0.05
    assert calibration.highest_p_value(0.05) == 0.05
    rows = calibration.judge(drawn(400, seed=2), false_alarms=limit)
    ranked = calibration.held_points[:, 1].sort(descending=True).values
    least = float(ranked[round(limit * 151) - 1])
    expected = [row.vulnerability > least * (1 + 2**-12) for row in rows]
    assert [row.flagged for row in rows] == expected and 0 < sum(expected) < 30
    with pytest.raises(InputError, match=r"confidence 0\.999 cannot be supported by 150"):
        calibration.highest_p_value(0.01, 0.999)


def test_flags_of_a_folder_stand_together_or_are_taken_back__reference_scipy():
    from scipy.stats import false_discovery_control

    calibration = fit_calibration(drawn(150, seed=1), decides="vulnerability")
    rows = calibration.judge(drawn(60, seed=2), false_alarms=0.05)
    rows += calibration.judge(drawn(5, seed=3, shift=(0.0, 2.0)), false_alarms=0.05)
    adjusted = false_discovery_control([row.p_value if row.flagged else 1.0 for row in rows])
    controlled = control_discoveries(rows, 0.2)
    assert [row.flagged for row in controlled] == (adjusted <= 0.2).tolist()
    assert [row.p_value for row in controlled] == [row.p_value for row in rows]
    lost = [new for new, row in zip(controlled, rows, strict=True) if row.flagged > new.flagged]
    assert lost and all("65 images judged together" in row.reason for row in lost)
    assert sum(row.flagged for row in controlled[60:]) == 5
    with pytest.raises(InputError, match="false-discovery rate is 1"):
        control_discoveries(rows, 1.0)


def test_what_lies_off_either_way_is_flagged_by_the_joint_score__limit():
    calibration = fit_calibration(drawn(90, seed=1))
    for shift in ((-2.0, 0.0), (2.0, 0.0), (0.0, 2.0), (0.0, -2.0)):
        judgements = calibration.judge(drawn(5, seed=2, shift=shift), false_alarms=0.05)
        assert all(row.flagged and row.percentile > 95 for row in judgements)
    one_sided = fit_calibration(drawn(90, seed=1), decides="as_i")
    natural = one_sided.judge(drawn(5, seed=2, shift=(2.0, 0.0)), false_alarms=0.05)
    assert not any(row.flagged for row in natural)


def test_judgements_come_worst_first_and_say_why__closed_form():
    calibration = fit_calibration(drawn(90, seed=1), decides="vulnerability")
    mixed = [*calibration.judge(drawn(3, seed=5), false_alarms=0.05)]
    mixed += calibration.judge(drawn(1, seed=6, shift=(-1.0, 2.0), prefix="bad"), false_alarms=0.05)
    worst = worst_first(mixed)[0]
    assert worst.name == "bad 0" and worst.p_value == 1 / 61
    assert worst.reason == (
        "its vulnerability ranks above 98.4% of real images; complexity below 100% of them, "
        "vulnerability above 100% of them"
    )
    rate = FalseAlarms(0.05, 1, 4, 60)
    assert calibration.rate(mixed, 0.05).images == 4
    assert rate.message.startswith("1 of 4 images flagged; of as many real images at most 0.2 ")


def test_the_split_follows_content_and_drops_duplicates__identity_order():
    digests = tuple(f"d{i}" for i in range(30))
    cloud, held = split_reals(digests, seed=0)
    assert len(cloud) == 10 and len(held) == 20 and not set(cloud) & set(held)
    order = list(range(29, -1, -1))
    again, _ = split_reals(tuple(digests[i] for i in order), seed=0)
    assert {digests[order[i]] for i in again} == {digests[i] for i in cloud}
    assert len(set().union(*split_reals(digests + digests[:7], seed=0))) == 30


def test_a_calibration_survives_saving__roundtrip(tmp_path):
    check = AssumptionCheck((), 6, {"as_i": 0.9, "joint": 0.8}, {"as_i": (0.8, 0.95)})
    calibration = fit_calibration(drawn(40, seed=3), check=check, provenance={"note": 1})
    first, cloud = (torch.rand(count, 2, dtype=torch.float64) for count in (27, 13))
    calibration = dataclasses.replace(calibration, first_points=first, first_cloud=cloud)
    calibration.save(tmp_path / "c")
    result = AnomalyCalibration.load(tmp_path / "c")
    scores = drawn(4, seed=4)
    assert result.judge(scores, false_alarms=0.1) == calibration.judge(scores, false_alarms=0.1)
    assert torch.equal(result.first_points, first) and torch.equal(result.first_cloud, cloud)
    assert result.describe() == calibration.describe() and result.decides == "as_i"
    (tmp_path / "c" / "tensors.safetensors").write_bytes(b"no")
    with pytest.raises(ArtifactError, match="changed or cut short"):
        AnomalyCalibration.load(tmp_path / "c")


def test_scores_made_otherwise__rejects_mixing():
    calibration = fit_calibration(drawn(40, seed=3))
    other = dataclasses.replace(drawn(3, seed=4), encoder=encoder(Curved(seed=1)).identity)
    with pytest.raises(InputError, match="another encoder was given"):
        calibration.judge(other, false_alarms=0.1)
    changed = dataclasses.replace(CONFIG, alpha=0.02)
    with pytest.raises(InputError, match=r"alpha 0\.02 instead of 0\.01"):
        calibration.judge(drawn(3, seed=4, config=changed), false_alarms=0.1)
    with pytest.raises(InputError, match="seed 7 instead of 0"):
        calibration.judge(dataclasses.replace(drawn(3, seed=4), seed=7), false_alarms=0.1)


def test_too_few_images__rejects():
    with pytest.raises(InputError, match="14 different real images, at least 15"):
        fit_calibration(drawn(14, seed=3))
    with pytest.raises(InputError, match="at least 99 samples"):
        fit_calibration(drawn(40, seed=3)).judge(drawn(3, seed=4), false_alarms=0.01)
    with pytest.raises(InputError, match="choose auto or one of as_i"):
        fit_calibration(drawn(40, seed=3), decides="asi")
    with pytest.raises(InputError, match="without complexity or vulnerability"):
        only = dataclasses.replace(CONFIG, restarts=0)
        fit_calibration(drawn(40, seed=3, config=only))


def test_a_point_is_left_out_of_its_own_cloud__naive_loop():
    rng = torch.Generator().manual_seed(0)
    points = torch.rand(9, 2, generator=rng, dtype=torch.float64) + 0.1
    clouds = Cloud.without_each(points, [4, 0])
    for row, cloud in zip((4, 0), clouds, strict=True):
        rest = torch.cat([points[:row], points[row + 1 :]])
        expected = Cloud.fit(rest).distance(points[row][None])
        assert torch.equal(cloud.distance(points[row][None]), expected)
        assert len(cloud.points) == 8
    with pytest.raises(InputError, match="cloud got 4"):
        Cloud.without_each(points[:4], [0])


def few_and_full(count, *, seed):
    """The scores of the same images with few draws, quite other ones, and with all."""
    full = drawn(count, seed=seed)
    few = drawn(count, seed=100 + seed, config=dataclasses.replace(CONFIG, directions=2))
    return dataclasses.replace(few, digests=full.digests), full


def test_few_draws_are_ranked_among_images_measured_by_the_same_rule__naive_loop():
    first, reals = few_and_full(60, seed=1)
    calibration = fit_calibration(reals, first=first, decides="vulnerability")
    cloud, held = split_reals(reals.digests, seed=0)
    limit = float(first.vulnerability[cloud].quantile(1 - 0.3))  # three times the rate
    first_new, new = few_and_full(40, seed=2)
    opened = first_new.vulnerability > limit
    points = torch.stack([first_new.complexity, first_new.vulnerability], dim=1)
    assert torch.equal(calibration.needs_all_draws(points, 0.1), opened)
    assert 0 < int(opened.sum()) < 40
    merged = dataclasses.replace(
        new,
        vulnerability=torch.where(opened, new.vulnerability, first_new.vulnerability),
        directions=torch.where(opened, 4, 2),
    )
    rows = calibration.judge(merged, false_alarms=0.1, progressive=True)
    for row, all_draws in zip(rows, opened.tolist(), strict=True):
        above = 0
        for place in held:  # whatever has all draws ranks above the rest
            has_all = float(first.vulnerability[place]) > limit
            value = float((reals if has_all else first).vulnerability[place])
            above += has_all > all_draws or (has_all == all_draws and value >= row.vulnerability)
        assert row.p_value == pytest.approx((1 + above) / 41, abs=TIE)
    assert any(row.flagged for row in rows)


def test_few_draws_never_flag__limit():
    first, reals = few_and_full(60, seed=1)
    calibration = fit_calibration(reals, first=first, decides="vulnerability")
    cloud, held = split_reals(reals.digests, seed=0)
    odd = dataclasses.replace(drawn(1, seed=3, shift=(0.0, 5.0)), directions=torch.tensor([2]))
    (row,) = calibration.judge(odd, false_alarms=0.1, progressive=True)
    opened = int((first.vulnerability[held] > first.vulnerability[cloud].quantile(0.7)).sum())
    assert not row.flagged and row.p_value == max(5, 1 + opened) / 41
    none = dataclasses.replace(calibration, first_cloud=calibration.first_cloud + 99)
    (row,) = none.judge(odd, false_alarms=0.1, progressive=True)
    assert not row.flagged and row.p_value == 5 / 41
    with pytest.raises(InputError, match="fewer noise directions than the 4"):
        calibration.judge(odd, false_alarms=0.1)
    # what is missing at few draws is taken from all of them
    part = fit_calibration(reals, first=first.select([0, 1]), decides="vulnerability")
    assert int((part.first_points == part.held_points).all(dim=1).sum()) >= 38


def test_the_joint_distance_does_not_see_units__identity_scale():
    points = torch.rand(30, 2, generator=torch.Generator().manual_seed(0)).double() + 0.1
    other = torch.rand(9, 2, generator=torch.Generator().manual_seed(1)).double() + 0.1
    scale = torch.tensor([1000.0, 0.01], dtype=torch.float64)
    result, scaled = Cloud.fit(points).distance(other), Cloud.fit(points * scale)
    assert torch.allclose(result, scaled.distance(other * scale), rtol=1e-3)
    constant = Cloud.fit(torch.ones(8, 2, dtype=torch.float64)).distance(other)
    assert constant.isfinite().all()


class Loud(torch.nn.Module):
    """Features 100 or 1/100 times as large if the right half is not made of flat 4 px blocks."""

    def __init__(self, sign):
        super().__init__()
        self.gain, self.net = 100.0**sign, Curved(seed=3)

    def forward(self, x):
        right = x[..., 8:].detach()
        flat = F.interpolate(F.avg_pool2d(right, 4), scale_factor=4.0)
        rough = (right - flat).square().mean(dim=(1, 2, 3))[:, None]
        rows = self.net(F.avg_pool2d(x[..., :8], (2, 1)))
        return rows * torch.where(rough > 1e-4, self.gain, 1.0)


def test_the_assumption_check_tells_right_from_inverted__closed_form():
    rng = torch.Generator().manual_seed(0)
    blocks = torch.randint(256, (20, 3, 4, 4), generator=rng) / 255
    images = F.interpolate(blocks, scale_factor=4.0)
    result = {}
    for sign in (1, -1):
        net = encoder(Loud(sign), resolution=16, kind=f"loud {sign}")
        config = AnomalyConfig(directions=2, restarts=1, steps=6, attack_steps=3)
        reals = score_images(images[10:], net, config=config)
        result[sign] = check_assumption(
            images[:10], net, reals=reals, config=config, assumption=LIGHT
        )
    right, wrong = result[1], result[-1]
    assert wrong.mean["vulnerability"] < 0.3 and right.mean["vulnerability"] > 0.7
    assert (right.verdict, wrong.verdict) == ("holds", "inverted")
    assert wrong.message.startswith("WARNING: AS-i is INVERTED")
    assert wrong.advised == "joint" and {"jpeg 2", "noise 2"} <= set(wrong.inverted)
    blur = wrong.rows[0]
    assert blur.corruption == "blur" and blur.auc["vulnerability"] == 0.5  # 0.16 px: no change
    assert AssumptionCheck.from_dict(wrong.to_dict()) == wrong


@pytest.mark.parametrize(
    ("mean", "interval", "verdict", "advised"),
    [
        ({"as_i": 0.9, "joint": 0.8, "vulnerability": 0.5}, (0.8, 0.95), "holds", "as_i"),
        ({"as_i": 0.7, "joint": 0.8, "vulnerability": 0.5}, (0.6, 0.75), "holds", "joint"),
        ({"as_i": 0.6, "joint": 0.5, "vulnerability": 0.5}, (0.4, 0.75), "unclear", "joint"),
        ({"as_i": 0.2, "joint": 0.8, "vulnerability": 0.5}, (0.1, 0.3), "inverted", "joint"),
    ],
)
def test_what_the_check_advises__closed_form(mean, interval, verdict, advised):
    check = AssumptionCheck((), 12, mean, {"as_i": interval})
    assert (check.verdict, check.advised) == (verdict, advised)
    assert check.message.startswith("WARNING") == (verdict != "holds")
    result: AnomalyCalibration = fit_calibration(drawn(30, seed=0), check=check)
    assert result.decides == advised


def test_the_assumption_check_needs_images__rejects():
    net = encoder(ConvNet(), resolution=16)
    with pytest.raises(InputError, match="3 real images, at least 5"):
        check_assumption(pictures(3, side=16), net, reals=drawn(20, seed=0))
    with pytest.raises(InputError, match="6 images, but 2 rows"):
        check_assumption(pictures(6, side=16), net, reals=drawn(20, seed=0), rows=[0, 1])


class Rounded(torch.nn.Module):
    """A smooth map whose float32 answers carry noise, as those of half precision do."""

    def __init__(self):
        super().__init__()
        self.inner = Curved(seed=2)

    def forward(self, x):
        rows = self.inner(x)
        return rows if rows.dtype == torch.float64 else rows + _chaos(x)


def _chaos(x):
    # Differences of neighbouring float32 images, blown up: without order from step to step.
    seed = (x.double().flatten(1).sum(dim=1) * 1e9).long()
    rows = [torch.randn(12, generator=torch.Generator().manual_seed(int(s))) for s in seed]
    return torch.stack(rows)


def test_rounding_noise_is_found_out__identity_float64():
    images = pictures(4)
    good = check_numerics(images, encoder(Curved(seed=2)))
    assert not good.is_noise and good.difference < 0.05 and len(good.double) == 4
    noisy = check_numerics(images, encoder(Rounded()))
    assert noisy.is_noise and noisy.message.startswith("the complexity is rounding noise")
    assert abs(sum(noisy.single) / 4 - NOISE_ANGLE) < 0.15
    assert noisy.to_dict()["is_noise"]


def test_rounding_noise_without_float64_is_known_by_its_angle__limit():
    net = encoder(Rounded())
    plain = make_feature_encoder(net.features, kind="plain", resolution=8)
    result = check_numerics(pictures(4), plain)
    assert result.double == () and result.is_noise and "not compared" in result.message
    assert not NumericsCheck((0.1, 0.2), (), 3, 20).is_noise
    assert "3 of 20 noise steps" in NumericsCheck((0.1, 0.2), (), 3, 20).message
