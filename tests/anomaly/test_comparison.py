"""AS of generators, and what may be said about their order."""

import json
import math
from dataclasses import replace

import pytest
import torch
from drawn_scores import ENCODER, drawn_scores
from scipy.stats import ttest_ind

from wherefrom.anomaly.comparison.frechet_order import order_by_frechet
from wherefrom.anomaly.comparison.generators import (
    ComparisonConfig,
    anomaly_score,
    compare_generators,
)
from wherefrom.anomaly.comparison.means import mean_test
from wherefrom.anomaly.comparison.ranking import rank
from wherefrom.anomaly.config import AnomalyConfig
from wherefrom.calibration.family import holm_adjusted
from wherefrom.core.errors import InputError
from wherefrom.metrics.feature_sets.frechet import frechet_distance
from wherefrom.metrics.feature_sets.neighbours import realism
from wherefrom.metrics.ks2d import ks2d_distance

FAST = ComparisonConfig(draws=99)
MAX_APART = 4  # of 16 at a rate of 0.05: more happen in 1 of 1,000 cases
SUMMED_IN_ANOTHER_ORDER = 1e-9  # relative, float64


def vectors(scores):
    return torch.stack([scores.complexity, scores.vulnerability], 1).numpy()


def test_score_is_the_distance_of_the_anomaly_vectors__identity_ks2d():
    real, made = drawn_scores("real", 60), drawn_scores("made", 40, c=-1, v=1)
    result = anomaly_score(real, made, name="gan", config=FAST)
    assert result.anomaly_score == ks2d_distance(vectors(real), vectors(made))
    assert result.low < result.anomaly_score < result.high
    assert result.baseline < result.baseline_high < result.anomaly_score
    assert result.test.p_value == 0.01
    assert (result.name, result.count, result.left_out) == ("gan", 40, 0)
    assert result.metrics.frechet_distance == frechet_distance(real.features, made.features)
    medium = realism(real.features, made.features).median()
    assert result.metrics.realism == float(medium)
    assert result.metrics.inception_score is None
    sure = anomaly_score(real, made, config=FAST, logits=1e3 * torch.eye(4).repeat(10, 1))
    assert sure.metrics.inception_score == pytest.approx(4.0)


def test_real_images_against_real_images_are_nothing_special__limit():
    result = anomaly_score(drawn_scores("real", 80), drawn_scores("more", 80), config=FAST)
    assert result.test.p_value > 0.05
    assert result.anomaly_score < result.baseline_high


def test_an_order_only_where_the_data_tell__limit():
    real = drawn_scores("real", 150)
    sets = {
        "far": drawn_scores("far", 120, v=3),
        "near": drawn_scores("near", 120, v=0.5),
        "near too": drawn_scores("near too", 120, v=0.5),
    }
    result = compare_generators(real, sets, config=FAST)
    assert result.generators[2].name == "far"
    ranks = dict(zip(result.ranking.names, result.ranking.ranks, strict=True))
    assert ranks == {"near": (1, 2), "near too": (1, 2), "far": (3, 3)}
    assert set(result.ranking.best) == {"near", "near too"}
    assert [set(group) for group in result.ranking.groups] == [{"near", "near too"}, {"far"}]
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["equal_size"] == 120


def test_generators_are_ordered_by_frechet_distance_where_as_says_otherwise__closed_form():
    """Features and (C, V) of drawn scores are independent; the order is that of the features."""
    real = drawn_scores("real", 80)
    near, far = drawn_scores("near", 60, c=3), drawn_scores("far", 60)
    far = replace(far, features=far.features + 2)
    wide = replace(drawn_scores("wide", 60, c=1), features=near.features[range(59, -1, -1)])
    sets = {"far": far, "near": near, "wide": wide}
    result = compare_generators(real, sets, config=FAST)
    assert {row.name for row in result.generators[:2]} == {"near", "wide"}
    assert result.generators[2].name == "far"
    assert result.ranking.names[0] == "far"
    order = result.frechet
    alone = frechet_distance(real.features, near.features)
    assert order.distances["near"] == pytest.approx(alone, rel=SUMMED_IN_ANOTHER_ORDER)
    assert [order.ranking.show_ranks(name) for name in ("near", "wide", "far")] == ["1-2"] * 2 + [
        "3"
    ]
    assert [row["rank"] for row in result.rows()] == ["1-2", "1-2", "3"]
    assert [row["rank_by_as"] for row in result.rows()][2] == "1"
    turned = {name: scores.select(list(range(59, -1, -1))) for name, scores in sets.items()}
    again = order_by_frechet(real, turned)
    assert again.ranking.pairs == pytest.approx(order.ranking.pairs)


def test_equal_generators_share_their_ranks_and_unequal_ones_do_not__limit():
    """16 pairs of equal generators of heavy-tailed features: few are told apart."""
    apart = 0
    for k in range(16):
        sets = {name: drawn_scores(f"{name}{k}", 40) for name in ("real", "a", "b")}
        for scores in sets.values():
            scores.features.mul_(scores.features[:, :1].exp())
        order = order_by_frechet(sets.pop("real"), sets)
        apart += order.ranking.groups != (order.ranking.names,)
    assert apart <= MAX_APART
    with pytest.raises(InputError, match="few: 1 images could be read"):
        order_by_frechet(drawn_scores("real", 9), {"few": drawn_scores("few", 1)})


def test_several_generators_are_tested_together__identity_holm():
    real = drawn_scores("real", 60)
    sets = {f"g{k}": drawn_scores(f"g{k}", 30, v=0.2 * k) for k in range(5)}
    report = compare_generators(real, sets, config=FAST)
    alone = [row.test.p_value for row in report.generators]
    together = holm_adjusted(alone).tolist()
    assert [row.p_together for row in report.generators] == pytest.approx(together)
    assert any(row.p_together > row.test.p_value for row in report.generators)
    entry = report.to_dict()["generators"][0]
    assert entry["p_value_together"] == report.generators[0].p_together
    single = anomaly_score(real, sets["g4"], config=FAST)
    assert single.p_together == single.test.p_value


def test_a_small_set_is_not_worse_for_being_small__limit():
    """D of 25 images is larger than that of 400 from the same generator."""
    real = drawn_scores("real", 200)
    large, small = drawn_scores("large", 400, v=0.6), drawn_scores("small", 25, v=0.6)
    result = compare_generators(real, {"large": large, "small": small}, config=FAST)
    by_name = {row.name: row for row in result.generators}
    assert result.equal_size == 25
    assert by_name["small"].baseline > 1.5 * by_name["large"].baseline
    assert by_name["large"].as_at_equal_size > by_name["large"].anomaly_score
    assert by_name["small"].as_at_equal_size == by_name["small"].anomaly_score
    assert result.ranking.groups == (tuple(row.name for row in result.generators),)


def test_order_of_images_does_not_matter__identity_permutation():
    real, made = drawn_scores("real", 50), drawn_scores("made", 50, v=1)
    turned = made.select(list(range(49, -1, -1)))
    one, other = (anomaly_score(real, m, config=FAST) for m in (made, turned))
    assert one.anomaly_score == other.anomaly_score
    assert one.metrics.frechet_distance == pytest.approx(other.metrics.frechet_distance)


def test_images_without_a_score_are_left_out_and_counted__closed_form():
    made = drawn_scores("made", 30)
    made.complexity[3] = math.nan
    made.vulnerability[5] = math.nan
    assert anomaly_score(drawn_scores("real", 30), made, config=FAST).left_out == 2


def test_sets_that_cannot_be_compared__rejects_counts_encoders_and_settings():
    real, made = drawn_scores("real", 30), drawn_scores("made", 9)
    with pytest.raises(InputError, match=r"gan: 9 images .* at least 10"):
        compare_generators(real, {"gan": made}, config=FAST)
    with pytest.raises(InputError, match="at least one folder"):
        compare_generators(real, {}, config=FAST)
    other = drawn_scores("made", 30, encoder=replace(ENCODER, weights="sha256:2"))
    with pytest.raises(InputError, match="another encoder"):
        anomaly_score(real, other, config=FAST)
    other = drawn_scores("made", 30, config=AnomalyConfig(steps=5))
    with pytest.raises(InputError, match="different settings"):
        anomaly_score(real, other, config=FAST)


def test_ranks_and_groups_of_a_chain__closed_form():
    """a and b, b and c are alike, a and c are not: two groups share b."""
    pairs = {("a", "b"): 0.4, ("a", "c"): 0.01, ("b", "c"): 0.3}
    result = rank(["a", "b", "c"], pairs, 0.05)
    assert result.groups == (("a", "b"), ("b", "c"))
    assert result.ranks == ((1, 2), (1, 3), (2, 3))
    assert [result.group_letters(name) for name in "abc"] == ["a", "ab", "b"]
    assert result.best == ("a", "b")
    apart = rank(["a", "b"], {("a", "b"): 0.05}, 0.05)
    assert apart.groups == (("a",), ("b",))
    assert rank(["a"], {}, 0.05).ranks == ((1, 1),)


@pytest.mark.parametrize(("expected", "tail"), [("smaller", "less"), ("larger", "greater")])
def test_means_are_compared_with_the_expected_tail__reference_scipy(expected, tail):
    real = torch.tensor([1.0, 2.0, 4.0, 8.0, math.nan], dtype=torch.float64)
    made = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)
    result = mean_test(real, made, expected=expected)
    x, y = real[:4].numpy(), made.numpy()
    assert result.p_two == ttest_ind(x, y, equal_var=False).pvalue
    assert result.p_one == pytest.approx(ttest_ind(y, x, equal_var=False, alternative=tail).pvalue)
    assert (result.real, result.generated) == (3.75, 1.0)
    assert result.low < 1.0 - 3.75 < result.high
    assert (result.real_count, result.generated_count) == (4, 3)
    assert result.as_expected is (expected == "smaller")


def test_one_tail_is_half_of_two_on_the_expected_side__closed_form():
    real, made = drawn_scores("real", 30), drawn_scores("made", 30, c=-2)
    result = mean_test(real.complexity, made.complexity, expected="smaller")
    assert result.p_two == pytest.approx(2 * result.p_one)
    wrong = mean_test(real.complexity, made.complexity, expected="larger")
    assert wrong.p_one == pytest.approx(1 - result.p_one)
    assert not wrong.as_expected


def test_means_without_spread__rejects_constants_and_single_values():
    ones = torch.ones(5)
    with pytest.raises(InputError, match="not all equal"):
        mean_test(ones, ones, expected="larger")
    with pytest.raises(InputError, match="there are 5 real and 1 generated"):
        mean_test(ones, torch.ones(1), expected="larger")
