"""A code or score that is no finite number is told with its reason, and the rest goes on."""

import json

import pytest
import torch
from linear_inverter import CODE, SIDE, linear_inverter
from test_outliers import batch_of
from torch import nn

from wherefrom.core.json_text import to_json
from wherefrom.inversion.outliers import (
    NOT_FINITE,
    OutlierConfig,
    calibrate_outliers,
    judge_outliers,
)
from wherefrom.inversion.reconstruction import NOT_FINITE as NO_PICTURE
from wherefrom.inversion.reconstruction import reconstruct
from wherefrom.inversion.refinement import RefinementConfig, refine
from wherefrom.report.inversion_tables import outlier_table
from wherefrom.report.tables import to_csv, to_plain


class Fragile(nn.Module):
    """Numbers as they are; NaN for a white picture, whose numbers are all 1."""

    def forward(self, x):
        return torch.where((x == 1).all(dim=1, keepdim=True), torch.nan, x)


@pytest.fixture
def fitted():
    found = linear_inverter(torch.ones(CODE))
    found.networks.critic.body[1] = Fragile()
    return found


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
    alone = judge_outliers(fitted, calibration, batch_of(pictures(5)), rate=0.2)
    found = judge_outliers(
        fitted, calibration, batch_of(torch.cat([pictures(5), pictures(1, white=[0])])), rate=0.2
    )
    assert found.rows == alone.rows and found.skipped == (("5.png", NOT_FINITE),)
    told = json.loads(to_json(found.to_dict()))
    assert len(told["rows"]) == 5 and told["skipped"] == [["5.png", NOT_FINITE]]
    for text in (to_csv(outlier_table(found)), to_plain(outlier_table(found))):
        assert NOT_FINITE.split(",")[0] in text and "nan" not in text
    nothing = judge_outliers(fitted, calibration, batch_of(pictures(1, white=[0])), rate=0.2)
    assert nothing.rows == () and nothing.skipped == (("0.png", NOT_FINITE),)


def test_a_picture_that_does_not_come_back_is_told_and_leaves_the_means__closed_form(fitted):
    images = pictures(4, white=[2]) / 255
    whole = reconstruct(fitted, images[[0, 1, 3]]).to_dict()
    found = reconstruct(fitted, images)
    told = found.to_dict()
    assert told["images"][2] == {
        "name": "image 2", "psnr": None, "ssim": None, "reason": NO_PICTURE
    }  # fmt: skip
    assert [row["reason"] for row in told["images"]] == ["", "", NO_PICTURE, ""]
    assert told["mean_psnr"] == pytest.approx(whole["mean_psnr"])
    assert told["mean_ssim"] == pytest.approx(whole["mean_ssim"])
    assert found.grid().dtype == torch.uint8
    lost = reconstruct(fitted, images[2:3]).to_dict()
    assert lost["mean_psnr"] is None and lost["mean_ssim"] is None
    refined = refine(fitted, images, config=RefinementConfig(steps=2)).to_dict()
    assert abs(refined["mean_psnr_gained"]) < 1
    json.loads(to_json(refined), parse_constant=pytest.fail)
