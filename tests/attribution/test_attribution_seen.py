"""Images of the fit are refused by an evaluation; images without a score are counted apart."""

import math
from dataclasses import dataclass, replace

import pytest
import torch

from wherefrom.attribution import evaluate, explain, load
from wherefrom.attribution.checking.fitted import Attributor
from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.evaluation.per_source import NO_RECORD
from wherefrom.attribution.evaluation.robustness import judge_altered
from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import are_known, contents_of
from wherefrom.report.attribution.tables import evaluation_table
from wherefrom.report.attribution.wording import evaluation_notes
from wherefrom.report.pages.tables import to_csv, to_plain

USED = 76  # of the 80 others of `fitted`: 60 train, 16 calibrate, and 4 are in neither part


@pytest.mark.parametrize("which", range(0, USED, 15))
def test_one_image_of_the_fit_is_enough__rejects_it(fitted, generator, smooth, which):
    """Whether it trained or calibrated."""
    others = smooth(80, 0)
    others = others[are_known(contents_of(others), fitted.seen)]
    own, fresh = generator.sample(12, seed=77), smooth(7, 9)
    mixed = torch.cat([fresh, others[which : which + 1]])
    match = r"1 of the 8 images of 'real' were among the other images .* give images that it has"
    with pytest.raises(InputError, match=match):
        evaluate(fitted, own, {"fresh": fresh, "real": mixed})
    floats = mixed.float() / 255  # what matters are the pixels as stored
    with pytest.raises(InputError, match=match):
        evaluate(fitted, own, {"real": floats})
    with pytest.raises(InputError, match="images of 'own' were among"):
        evaluate(fitted, others[which : which + 1], {"fresh": fresh})
    assert evaluate(fitted, own, {"fresh": fresh}).notes == ()


def test_the_record_is_saved_and_older_attributors_have_none__roundtrip(
    fitted, generator, smooth, tmp_path
):
    others = smooth(80, 0)
    fitted.save(tmp_path / "a")
    again = load(tmp_path / "a")
    assert torch.equal(again.seen, fitted.seen) and len(fitted.seen) == USED
    own = generator.sample(12, seed=77)
    with pytest.raises(InputError, match=f"{USED} of the 80"):
        evaluate(again, own, {"real": others})
    replace(fitted, seen=None).save(tmp_path / "old")
    old = load(tmp_path / "old")
    result = evaluate(old, own, {"real": others})
    assert old.seen is None and result.notes == (NO_RECORD,)
    assert result.to_dict()["notes"] == [NO_RECORD] and NO_RECORD in evaluation_notes(result)


@dataclass
class Means:
    """The mean of an image as its score; of a black one, NaN."""

    def score(self, images):
        means = images.double().flatten(1).mean(dim=1)
        return torch.where(means > 0, means, torch.nan)


@pytest.fixture
def world():
    config = AttributionConfig(
        calibration_samples=20, false_negative_rate=0.1, false_positive_rate=0.1
    )
    own, other = torch.linspace(0.1, 0.3, 20).double(), torch.linspace(0.6, 0.9, 20).double()
    generator, seen = {"digest": "g"}, torch.empty(0, dtype=torch.int64)
    basis = {"generator": generator, "others": {"digest": "o"}}
    return Attributor(
        method="world",
        config=config,
        scorer=Means(),
        image_shape=(1, 4, 4),
        own_scores=own,
        other_scores=other,
        provenance=basis,
        seen=seen,
    )


def grey(*levels):
    return torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 4, 4)


def test_images_without_a_score_are_left_out_of_shares__closed_form(world):
    result = evaluate(world, grey(50, 60, 250), {"bright": grey(0, 240, 230, 40)})
    (row,) = result.others
    assert (row.count, row.unscored, row.rejected) == (3, 1, 2 / 3)
    assert (result.own.count, result.own.unscored, result.own.rejected) == (3, 0, 1 / 3)
    assert row.accuracy == pytest.approx((1 - 1 / 3 + 2 / 3) / 2)
    assert row.verdicts["cannot say"] == 1
    assert any("1 image of 'bright' without a finite score" in n for n in evaluation_notes(result))
    for text in (to_csv(evaluation_table(result)), to_plain(evaluation_table(result))):
        assert "nan" not in text
    (black,) = evaluate(world, grey(50, 60), {"black": grey(0)}).others
    assert (black.count, black.unscored) == (0, 1) and math.isnan(black.rejected)
    with pytest.raises(InputError, match="none of the 1 own images has a score"):
        evaluate(world, grey(0), {"bright": grey(240)})
    with pytest.raises(InputError, match=r"image cannot be explained: it has a score that is not"):
        explain(world, grey(0)[0])


def test_altered_images_without_a_score_are_left_out__closed_form(world):
    held = grey(*range(20, 60))
    figures = judge_altered(
        world.score,
        None,
        held=torch.cat([held, grey(0)]),
        own=grey(30, 31, 0, 90),
        sources={"bright": grey(0, 200, 210)},
        rate=0.1,
    )
    assert figures.own_rejected == 1 / 3 and figures.auroc["bright"] == 1
    assert figures.accuracy["bright"] == pytest.approx((2 / 3 + 1) / 2)
