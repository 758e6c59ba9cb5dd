"""A score that is no finite number gives "cannot say", and nothing that prints or saves breaks."""

import json
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from wherefrom import attribution
from wherefrom.attribution.checking.discovery import control_discoveries
from wherefrom.attribution.checking.fitted import Attributor
from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.evaluation.comparison import ComparisonDesign, compare
from wherefrom.attribution.methods import METHODS
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import InputError
from wherefrom.core.saving.json_text import to_json
from wherefrom.generators.generator import wrap_generator
from wherefrom.report.attribution.tables import (
    accuracy_line,
    check_table,
    comparison_table,
    evaluation_table,
)
from wherefrom.report.pages.tables import to_plain


@dataclass
class Broken:
    """The mean of an image as its score; of a black one, `value`."""

    value: float

    def score(self, images):
        means = images.double().flatten(1).mean(dim=1)
        return torch.where(means > 0, means, self.value)


def attributor(value):
    config = AttributionConfig(
        calibration_samples=20, false_negative_rate=0.1, false_positive_rate=0.1
    )
    own, other = torch.linspace(0.1, 0.3, 20).double(), torch.linspace(0.6, 0.9, 20).double()
    return Attributor(
        method="world",
        config=config,
        scorer=Broken(value),
        image_shape=(1, 4, 4),
        own_scores=own,
        other_scores=other,
        provenance={},
    )


def greys(*levels):
    """Images of one grey each, no two equal."""
    return torch.stack([torch.full((1, 4, 4), level, dtype=torch.uint8) for level in levels])


def test_a_source_without_any_score_is_a_row_and_the_others_are_measured__closed_form():
    fitted = attributor(float("nan"))
    sources = {"all": greys(0), "one": greys(0, 200, 210), "none": greys(220, 230)}
    result = attribution.evaluate(fitted, greys(40, 50, 60), sources)
    rows = {row.source: row for row in result.others}
    assert (rows["all"].count, rows["all"].unscored) == (0, 1)
    assert rows["all"].verdicts["cannot say"] == 1
    assert (rows["one"].count, rows["one"].unscored) == (2, 1)
    assert rows["one"].auroc == rows["none"].auroc == 1
    assert result.mean_accuracy == rows["none"].accuracy
    payload = json.loads(to_json(result.to_dict()), parse_constant=pytest.fail)
    first = payload["others"][0]
    assert [first[name] for name in ("rejected", "low", "accuracy", "auroc")] == [None] * 4
    assert "nan" not in to_plain(evaluation_table(result)) + accuracy_line(result)
    alone = attribution.evaluate(fitted, greys(40, 50), {"all": greys(0)})
    assert accuracy_line(alone).endswith("cannot say (no image has a finite score)")
    with pytest.raises(InputError, match="none of the 1 own images has a score"):
        attribution.evaluate(fitted, greys(0), {"none": greys(220)})


def test_a_comparison_of_methods_goes_on_without_a_source__closed_form():
    torch.manual_seed(0)
    generator = wrap_generator(nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 3)))
    few = {
        **{"train_samples": 60, "mean_samples": 60, "detector.epochs": 1},
        **{"calibration_samples": 20, "lasso.iterations": 5},
        **{"sibling_samples": 4, "sibling_rate": 0.2},
        **{"false_negative_rate": 0.1, "false_positive_rate": 0.1},
    }
    config = METHODS["flipad"].presets["numbers"].with_values(few)
    rivals = {"huge": torch.full((2, 1, 1, 3), 1e30), "others": torch.randn(9, 1, 1, 3) * 3}
    rivals["huge"][1] *= 2
    result = compare(
        generator,
        torch.randn(120, 1, 1, 3) * 3,
        rivals,
        configs={"flipad": config},
        design=ComparisonDesign(own_samples=20, repetitions=1),
    )
    first = result.rows[0]
    assert first.mean_accuracy.mean == first.accuracy["others"].mean
    shown = to_plain(comparison_table(result, "accuracy"))
    assert "cannot say" in shown and "nan" not in shown
    payload = json.loads(to_json(result.to_dict()), parse_constant=pytest.fail)
    assert payload["rows"][0]["auroc"]["huge"]["mean"] is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_such_an_image_is_answered_and_harms_no_other__closed_form(value):
    images = torch.full((4, 1, 4, 4), 50, dtype=torch.uint8)
    images[1], images[2, 0, :, :2] = 0, 200
    images[1, 0, 0, 0] = 0
    result = attributor(value).check(images)
    broken = result.images[1]
    assert broken.verdict is Verdict.CANNOT_SAY and "not a finite number" in broken.reason
    assert (broken.score, broken.p_value, broken.p_other) == (None, None, None)
    assert result.images[0].verdict is Verdict.OURS
    assert result.images[2].verdict is Verdict.NOT_OURS
    told = json.dumps(control_discoveries(result, 0.1).to_dict(), allow_nan=False)
    assert "nan" not in told.lower().replace("not a finite", "")
    assert "nan" not in to_plain(check_table(result)).lower()


def test_a_huge_value_in_a_row_is_told__limit():
    """Features are kept in half precision, which ends at 65,504."""
    torch.manual_seed(0)
    generator = wrap_generator(nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 3)))
    config = (
        METHODS["flipad"]
        .presets["numbers"]
        .with_values(
            {
                **{"train_samples": 60, "mean_samples": 60, "detector.epochs": 1},
                **{"calibration_samples": 20, "lasso.iterations": 5},
                **{"sibling_samples": 4, "sibling_rate": 0.2},
                **{"false_negative_rate": 0.1, "false_positive_rate": 0.1},
            }
        )
    )
    fitted = attribution.fit(generator, torch.randn(120, 1, 1, 3) * 3, config=config)
    rows = generator.sample(3, seed=1)
    rows[1] = 1e30
    found = fitted.check(rows).images
    assert [row.score is None for row in found] == [False, True, False]
    assert found[1].verdict is Verdict.CANNOT_SAY
