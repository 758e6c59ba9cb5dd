"""A code or score that is no finite number is told with its reason, and the rest goes on."""

import json
from pathlib import Path

import pytest
import torch
from linear_inverter import CODE, SIDE, linear_inverter
from test_outliers import batch_of
from torch import nn

from wherefrom.core.saving.json_text import to_json
from wherefrom.inversion.codes.evaluation import evaluate_inverter
from wherefrom.inversion.codes.reconstruction import NOT_FINITE as NO_PICTURE
from wherefrom.inversion.codes.reconstruction import reconstruct
from wherefrom.inversion.codes.refinement import RefinementConfig, refine
from wherefrom.inversion.outliers.calibrated import (
    NOT_FINITE,
    OutlierConfig,
    calibrate_outliers,
    find_outliers,
)
from wherefrom.inversion.outliers.detecting import LikelihoodDetector
from wherefrom.inversion.outliers.self_test import run_self_test
from wherefrom.inversion.outliers.subtlety import subtlety_points
from wherefrom.report.inversion.tables import evaluation_table, outlier_table
from wherefrom.report.pages.tables import to_csv, to_plain


class Fragile(nn.Module):
    """Numbers as they are; NaN for a white picture, whose numbers are all 1."""

    def forward(self, x):
        return torch.where((x == 1).all(dim=1, keepdim=True), torch.nan, x)


@pytest.fixture
def fitted():
    inverter = linear_inverter(torch.ones(CODE))
    inverter.networks.critic.body[1] = Fragile()
    return inverter


def pictures(count, *, white=()):
    drawn = torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    images = (100 + 50 * drawn).byte()
    images[list(white)] = 255
    return images


@pytest.mark.parametrize("score", ["nll", "reconstruction"])
def test_such_an_image_is_not_judged_as_an_outlier_or_as_none__closed_form(fitted, score):
    own = pictures(40)
    keys = [f"own {i}" for i in range(40)]
    calibration = calibrate_outliers(fitted, own, keys=keys, config=OutlierConfig(score=score))
    alone = find_outliers(fitted, calibration, batch_of(pictures(5)), rate=0.2)
    report = find_outliers(
        fitted, calibration, batch_of(torch.cat([pictures(5), pictures(1, white=[0])])), rate=0.2
    )
    assert report.rows == alone.rows and report.skipped == ((Path("5.png"), NOT_FINITE),)
    payload = json.loads(to_json(report.to_dict()))
    assert len(payload["rows"]) == 5
    assert payload["skipped"] == [{"path": "5.png", "reason": NOT_FINITE}]
    for text in (to_csv(outlier_table(report)), to_plain(outlier_table(report))):
        assert NOT_FINITE.split(",")[0] in text and "nan" not in text
    nothing = find_outliers(fitted, calibration, batch_of(pictures(1, white=[0])), rate=0.2)
    assert nothing.rows == () and nothing.skipped == ((Path("0.png"), NOT_FINITE),)


def test_a_picture_that_does_not_come_back_is_told_and_leaves_the_means__closed_form(fitted):
    images = pictures(4, white=[2]) / 255
    whole = reconstruct(fitted, images[[0, 1, 3]]).to_dict()
    result = reconstruct(fitted, images)
    payload = result.to_dict()
    assert payload["images"][2] == {
        "name": "image 2", "psnr": None, "ssim": None, "reason": NO_PICTURE
    }  # fmt: skip
    assert [row["reason"] for row in payload["images"]] == ["", "", NO_PICTURE, ""]
    assert payload["mean_psnr"] == pytest.approx(whole["mean_psnr"])
    assert payload["mean_ssim"] == pytest.approx(whole["mean_ssim"])
    assert result.grid().dtype == torch.uint8
    lost = reconstruct(fitted, images[2:3]).to_dict()
    assert lost["mean_psnr"] is None and lost["mean_ssim"] is None
    refined = refine(fitted, images, config=RefinementConfig(steps=2)).to_dict()
    assert abs(refined["mean_psnr_gained"]) < 1
    json.loads(to_json(refined), parse_constant=pytest.fail)


def test_an_evaluation_goes_on_without_such_images__closed_form(fitted):
    images = pictures(24, white=[2, 9]) / 255
    keys = [f"own {i}" for i in range(24)]
    foreign = {"some": pictures(5, white=[1]) / 255, "none": pictures(3, white=[0, 1, 2]) / 255}
    figures = evaluate_inverter(fitted, images, keys=keys, foreign=foreign)
    whole = evaluate_inverter(fitted, pictures(24) / 255, keys=keys)
    assert figures.real.psnr == pytest.approx(whole.real.psnr, rel=0.2)
    nll = {row.score: row for row in figures.detection}["nll"]
    assert 0 <= nll.near <= 1 and 0 <= nll.far <= 1 and 0 <= nll.foreign["some"] <= 1
    assert nll.unscored["some"] == 1 and nll.unscored["none"] == 3
    payload = json.loads(to_json(figures.to_dict()), parse_constant=pytest.fail)
    row = next(one for one in payload["detection"] if one["score"] == "nll")
    assert row["foreign"]["none"] is None
    shown = to_plain(evaluation_table(figures))
    assert "cannot say" in shown and "nan" not in shown
    assert "1 some, 3 none" in shown


def test_a_curve_and_a_self_test_go_on_without_such_images__closed_form(fitted):
    images = pictures(8, white=[3]) / 255
    keys = [f"own {i}" for i in range(8)]
    detectors = {"nll": LikelihoodDetector(fitted)}
    assert 0 <= run_self_test(detectors, images, keys=keys, near=0.3).means["nll"] <= 1
    blind = {"blind": Blind(), **detectors}
    assert run_self_test(blind, images, keys=keys, near=0.3).chosen == "nll"
    points = subtlety_points(detectors["nll"], images, 1.0, keys=keys, intensities=[1.0])
    assert all(0 <= point.auroc <= 1 for point in points)


class Blind:
    """A score that is never a number."""

    def score(self, images):
        return torch.full((len(images),), torch.nan, dtype=torch.float64)
