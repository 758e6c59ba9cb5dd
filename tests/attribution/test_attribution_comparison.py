"""Methods side by side: the numbers are those of `evaluate`, the spread that of the repetitions."""

import json
import math
import statistics

import pytest
import torch

from wherefrom.attribution import METHODS, compare, evaluate, fit
from wherefrom.attribution.evaluation.comparison import ComparisonDesign, Series
from wherefrom.attribution.protocol import as_stored, stored_samples
from wherefrom.core.errors import InputError
from wherefrom.core.rng import derive_seed
from wherefrom.data.altering.degradations import Alteration, jpeg
from wherefrom.data.images.writing import to_float
from wherefrom.metrics.detection import auroc
from wherefrom.report.attribution.tables import altered_table, comparison_cells, comparison_table

TINY = {
    "train_samples": 50,
    "calibration_samples": 20,
    "sibling_samples": 4,
    "sibling_rate": 0.2,
    "false_negative_rate": 0.1,
    "false_positive_rate": 0.2,
}
ALTERED = (Alteration("noise", 0.1), Alteration("jpeg", 80))
CONFIGS = {
    "fingerprint": METHODS["fingerprint"].presets["default"].with_values(TINY),
    "raw-pad": METHODS["raw-pad"]
    .presets["default"]
    .with_values({**TINY, "detector.epochs": 1, "detector.batch": 32}),
}


@pytest.fixture(scope="module")
def generator(half_generator):
    return half_generator


@pytest.fixture(scope="module")
def smooth(half_smooth):
    return half_smooth


@pytest.fixture(scope="module")
def fits(generator, smooth):
    """(method, number of the repetition) -> the attributor that `compare` makes then."""
    return {
        (method, number): fit(
            generator,
            smooth(70, 0),
            method=method,
            config=config,
            seed=derive_seed(3, "comparison", number),
        )
        for method, config in CONFIGS.items()
        for number in range(2)
    }


@pytest.fixture(scope="module")
def compared(generator, smooth):
    rivals = {"one": smooth(6, 7), "two": smooth(9, 8)}
    result = compare(
        generator,
        smooth(70, 0),
        rivals,
        configs=CONFIGS,
        design=ComparisonDesign(alterations=ALTERED, own_samples=10, repetitions=2),
        seed=3,
    )
    return result, rivals


def test_every_number_is_that_of_an_evaluation__naive_loop(compared, generator, fits):
    result, rivals = compared
    assert [row.method for row in result.rows] == ["fingerprint", "raw-pad"]
    for row in result.rows:
        for number in range(2):
            own = stored_samples(generator, 10, derive_seed(3, "comparison", number, "test"))
            expected = evaluate(fits[row.method, number], own, rivals)
            assert row.mean_accuracy.values[number] == expected.mean_accuracy
            assert row.own_rejected.values[number] == expected.own.rejected
            for source in expected.others:
                assert row.accuracy[source.source].values[number] == source.accuracy
                assert row.auroc[source.source].values[number] == source.auroc
        areas = zip(*(one.values for one in row.auroc.values()), strict=True)
        assert row.mean_auroc.values == tuple(map(statistics.fmean, areas))


def test_altered_images_have_a_threshold_of_their_own__naive_loop(compared, generator, fits):
    result, rivals = compared
    assert [(row.method, row.alteration) for row in result.altered] == [
        *(("fingerprint", "noise=0.1"), ("fingerprint", "jpeg=80")),
        *(("raw-pad", "noise=0.1"), ("raw-pad", "jpeg=80")),
    ]
    row, number = result.altered[3], 1  # JPEG draws nothing, so the images are known

    def scores(images):
        stored = torch.stack([jpeg(image, 80) for image in images])
        return fits["raw-pad", number].score(to_float(stored))

    held = stored_samples(generator, 20, derive_seed(3, "comparison", number, "held"))
    own = scores(stored_samples(generator, 10, derive_seed(3, "comparison", number, "test")))
    threshold = scores(held).sort().values[math.ceil(21 * 0.9) - 1]
    kept = float((own <= threshold).double().mean())
    assert row.own_rejected.values[number] == pytest.approx(1 - kept)
    for name, images in rivals.items():
        found = scores(as_stored(images, (3, 16, 16)))
        share = float((found > threshold).double().mean())
        assert row.accuracy[name].values[number] == pytest.approx((kept + share) / 2)
        assert row.auroc[name].values[number] == pytest.approx(auroc(own, found))


def test_the_spread_is_the_sample_deviation__closed_form():
    assert Series((0.9, 0.7)).mean == pytest.approx(0.8)
    assert Series((0.9, 0.7)).deviation == pytest.approx(0.02**0.5)
    assert Series((0.9,)).deviation is None


def test_the_result_is_json_and_the_tables_show_it__roundtrip(compared):
    result, _ = compared
    told = result.to_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["sources"] == {"one": 6, "two": 9} and told["repetitions"] == 2
    wide = comparison_table(result, "accuracy")
    assert [column.title for column in wide.columns] == [
        *("method", "one", "two", "mean", "own rejected")
    ]
    assert [row[0] for row in wide.rows] == ["SM-F", "RawPAD"]
    first = result.rows[0].accuracy["one"]
    assert wide.rows[0][1] == f"{100 * first.mean:.1f} ± {100 * first.deviation:.1f}"
    cells = comparison_cells(result)
    assert cells.rows[0][:5] == ("fingerprint", "", "one", first.mean, first.deviation)
    assert [row[:3] for row in cells.rows[4:6]] == [
        ("fingerprint", "noise=0.1", "one"),
        ("fingerprint", "noise=0.1", "two"),
    ]
    assert len(cells.rows) == 4 + 8
    narrow = altered_table(result, "auroc")
    assert [column.title for column in narrow.columns] == ["method", "noise=0.1", "jpeg=80"]
    assert [row[0] for row in narrow.rows] == ["SM-F", "RawPAD"]
    mean = result.altered[3].mean_auroc
    assert narrow.rows[1][2] == f"{100 * mean.mean:.1f} ± {100 * mean.deviation:.1f}"


def test_a_rival_among_the_others__rejects_leak(generator, smooth):
    others, rivals = smooth(70, 0), {"leak": torch.cat([smooth(3, 9), smooth(70, 0)[5:7]])}
    with pytest.raises(InputError, match="2 of the 5 images of 'leak' are also among the others"):
        compare(generator, others, rivals, configs=CONFIGS)


def test_a_comparison_shows_itself_and_becomes_a_frame__closed_form(compared):
    result, _ = compared
    rows = result.to_rows()
    assert len(rows) == (1 + len(ALTERED)) * len(CONFIGS) * len(result.sources)
    assert result._repr_html_().count("<tr>") == 1 + len(rows)
    pytest.importorskip("pandas")
    assert list(result.to_dataframe()["auroc"]) == [row["auroc"] for row in rows]


def test_nothing_to_compare__rejects_counts(generator, smooth):
    for settings in (
        {"configs": {}},
        {"configs": CONFIGS, "design": ComparisonDesign(repetitions=0)},
    ):
        with pytest.raises(InputError, match="give at least 1 of each"):
            compare(generator, smooth(70, 0), {"a": smooth(2, 1)}, **settings)
    with pytest.raises(InputError, match="no attribution method 'raw'"):
        compare(generator, smooth(70, 0), {"a": smooth(2, 1)}, configs={"raw": CONFIGS["raw-pad"]})
