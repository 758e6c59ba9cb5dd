"""Generators of rows and of signals: the same fit, check and files as for images."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.stats import beta
from torch import nn

from wherefrom import attribution
from wherefrom.attribution.checking.paths import check_paths, explain_path
from wherefrom.attribution.config import PRESETS, FlipadConfig
from wherefrom.attribution.evaluation.adapters import sklearn_estimator
from wherefrom.attribution.methods import METHODS
from wherefrom.attribution.protocol import FitMaterial, as_stored
from wherefrom.attribution.result import judge_together
from wherefrom.calibration.verdict import Verdict
from wherefrom.case.parts import opened
from wherefrom.core.errors import InputError
from wherefrom.generators.generator import wrap_generator

RATES = {
    "calibration_samples": 100,
    "sibling_samples": 4,
    "sibling_rate": 0.2,
    "false_negative_rate": 0.05,
    "false_positive_rate": 0.05,
}
TINY = {
    "flipad": {
        **{"train_samples": 120, "mean_samples": 120, "detector.epochs": 5, **RATES},
        **{"lasso.iterations": 50, "lasso.chunk": 64},
    },
    "raw-pad": {"train_samples": 200, "detector.epochs": 5, **RATES},
    "inversion-l2": {"restarts": 2, "steps": 30, "chunk": 64, **RATES},
}
# For what holds however little is learned.
LITTLE = {
    "flipad": {"train_samples": 60, "detector.epochs": 1, "lasso.iterations": 20},
    "inversion-l2": {},
}


def rows_of(seed, columns=7):
    """A generator of rows of any size, in units of a table (tens to thousands)."""
    torch.manual_seed(seed)
    last = nn.Linear(30, columns)
    module = nn.Sequential(nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU(), last)
    with torch.no_grad():
        last.weight.mul_(torch.logspace(0, 2, columns)[:, None])
        last.bias.add_(torch.logspace(1, 3, columns))
    return wrap_generator(module)


def signals_of(seed):
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Linear(6, 4 * 20), nn.Unflatten(1, (4, 20)), nn.ReLU(),
        nn.ConvTranspose1d(4, 2, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    return wrap_generator(module, latent=(6,))


def settings(method):
    return METHODS[method].presets["numbers"].with_values(TINY[method])


def little(method):
    return settings(method).with_values(LITTLE[method])


@pytest.fixture(scope="module")
def mine():
    return rows_of(0)


@pytest.fixture(scope="module")
def others():
    return rows_of(1).sample(300, 5).reshape(300, 7)


@pytest.fixture(scope="module")
def fitted(mine, others):
    return attribution.fit(mine, others, config=settings("flipad"))


def test_rows_leave_the_generator_as_the_model_made_them__reference_module(mine):
    assert mine.image_shape == (1, 1, 7) and mine.makes_numbers
    z = torch.randn(9, 12)
    with torch.no_grad():
        assert torch.equal(mine.decode(z).reshape(9, 7), mine.module(z))
    assert float(mine.sample(50).max()) > 500  # nothing is cut to [0, 1]
    rows, activations = next(mine.sample_with_activations(20))
    assert torch.allclose(mine.output_map.forward(mine.last_layer.apply(activations)), rows)
    assert torch.allclose(mine.output_map.inverse(rows), mine.last_layer.apply(activations))


def test_a_signal_keeps_channels_and_time__reference_module():
    g = signals_of(0)
    assert g.image_shape == (2, 1, 40) and g.makes_numbers and g.last_layer.kind == "conv_transpose"
    z = torch.randn(3, 6)
    with torch.no_grad():
        assert torch.equal(g.decode(z)[:, :, 0], g.module(z))


@pytest.mark.parametrize("method", sorted(TINY))
def test_every_method_of_numbers_tells_another_model__limit(mine, others, method, fitted):
    made = fitted
    if method != "flipad":
        made = attribution.fit(mine, others, method=method, config=settings(method))
    result = attribution.evaluate(made, mine.sample(100, 77), {"other": rows_of(1).sample(100, 8)})
    assert result.own.rejected <= 0.15
    assert result.others[0].auroc > 0.8


def test_a_fit_on_signals_works_like_one_on_rows__limit():
    g, rival = signals_of(0), signals_of(1)
    made = attribution.fit(g, rival.sample(250, 1)[:, :, 0], config=settings("flipad"))
    result = attribution.evaluate(made, g.sample(100, 77), {"rival": rival.sample(100, 2)})
    assert result.own.rejected <= 0.15 and result.others[0].auroc > 0.9


def test_an_attributor_of_rows_survives_saving__roundtrip(fitted, mine, tmp_path):
    fitted.save(tmp_path / "a")
    again = attribution.load(tmp_path / "a")
    rows = mine.sample(20, 4)
    assert torch.equal(again.score(rows), fitted.score(rows)) and again.judges_numbers
    assert torch.equal(again.score(rows[3:4]), fitted.score(rows)[3:4])  # whatever its company


def test_without_settings_the_preset_for_numbers_is_taken__identity_preset():
    assert METHODS["flipad"].settings(None, numbers=True) == PRESETS["numbers"]
    with pytest.raises(InputError, match=r"impostors = 1.0 is for images.*--preset numbers"):
        METHODS["flipad"].settings(FlipadConfig(), numbers=True)
    intervals = PRESETS["numbers"].with_values({"lasso.data": "interval"})
    with pytest.raises(InputError, match=r"lasso\.data = interval is for images"):
        METHODS["flipad"].settings(intervals, numbers=True)
    with pytest.raises(InputError, match=r"dct-pad judges images.*take flipad, raw-pad"):
        METHODS["dct-pad"].settings(None, numbers=True)


@pytest.mark.parametrize("method", ["flipad", "inversion-l2"])
def test_the_units_of_a_table_do_not_matter__identity_units(mine, others, method):
    """A column in milligrams instead of grams: the same model, the same rows, the same scores."""
    factor = torch.tensor([1.0, 1024, 1, 1 / 128, 1, 1, 64])  # exact in binary
    module = copy.deepcopy(mine.module)
    with torch.no_grad():
        module[-1].weight.mul_(factor[:, None])
        module[-1].bias.mul_(factor)
    scorers = [
        METHODS[method].fit(FitMaterial(made, as_stored(rows, (1, 1, 7)), 0), little(method))
        for made, rows in ((mine, others), (wrap_generator(module), others * factor))
    ]
    rows = rows_of(1).sample(20, 9)
    assert torch.allclose(scorers[0].score(rows), scorers[1].score(rows * factor), rtol=1e-3)


def test_a_layer_in_other_units_gives_other_units__identity_linear(layer_of):
    torch.manual_seed(0)
    for module, shape in (
        (nn.Linear(5, 3), (5,)),
        (nn.Conv1d(4, 2, 3, groups=2), (4, 9)),
        (nn.ConvTranspose1d(4, 6, 4, 2, 1, groups=2), (4, 9)),
    ):
        layer = layer_of(module, shape)
        unit = torch.rand(layer.output_shape[0]) + 0.5
        z = torch.randn(2, *shape)
        spread = unit if len(shape) == 1 else unit[:, None]
        assert torch.allclose(layer.divided(unit).apply(z), layer.apply(z) / spread, atol=1e-5)


def test_rows_need_no_others_at_all__limit(mine):
    made = attribution.fit(mine, None, config=little("flipad"))
    assert made.provenance["others"]["origin"] == "self-made"
    assert made.check(mine.sample(60, 3)).counts()[Verdict.NOT_OURS] <= 9


def test_numbers_that_are_not_finite_or_of_another_size_are_refused__bad_input(mine):
    with pytest.raises(InputError, match="hold NaN or infinity"):
        as_stored(torch.tensor([[1.0, math.nan, 2.0]]), (1, 1, 3))
    with pytest.raises(InputError, match="the samples are 4, this model makes 3"):
        as_stored(torch.zeros(2, 4), (1, 1, 3))
    with pytest.raises(InputError, match="makes numbers, not images; leave it out"):
        wrap_generator(mine.module, value_range=(0.0, 1.0))


def test_a_table_is_judged_row_by_row_and_as_a_whole__reference_library(
    fitted, mine, others, tmp_path
):
    own = mine.sample(40, 21).reshape(40, 7).numpy()
    np.savetxt(tmp_path / "own.csv", own, delimiter=",")
    np.savetxt(tmp_path / "rival.csv", others[:40].numpy(), delimiter=",")
    with (tmp_path / "own.csv").open("a") as file:
        file.write("1,2,?,4,5,6,7\n")
    result = check_paths(fitted, [tmp_path / "own.csv"])
    assert len(result.images) == 41 and result.images[0].name.endswith("own.csv:1")
    assert result.images[-1].reason == "'column 3' holds '?', expected a number"
    assert result.images[0].p_value == pytest.approx(
        fitted.check(torch.from_numpy(own[:1]).float()).images[0].p_value
    )
    assert result.together.samples == 40 and result.together.p_value > 1e-4
    rival = check_paths(fitted, [tmp_path / "rival.csv"]).together
    assert rival.rejected > 20 and rival.p_value < 1e-9


def test_columns_of_another_name_are_not_judged__bad_input(mine, others, tmp_path):
    names = [f"c{i}" for i in range(7)]
    made = attribution.fit(mine, others, config=little("flipad"), columns=names)
    rows = others[:3].tolist()
    for name, heading in (("good", names), ("bad", [*names[:6], "odd"])):
        lines = [",".join(heading), *(",".join(map(str, row)) for row in rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))
    result = check_paths(made, [tmp_path / "bad.csv", tmp_path / "good.csv"])
    reasons = {row.name: row.reason for row in result.images if row.score is None}
    assert list(reasons) == [str(tmp_path / "bad.csv")]
    assert "has the column 'odd'" in reasons[str(tmp_path / "bad.csv")]
    with pytest.raises(InputError, match="shows pixels"):
        explain_path(made, tmp_path / "good.csv")


def test_the_law_of_the_whole_is_that_of_exchangeable_scores__monte_carlo():
    """With all samples own, P(p <= t) <= t; and the mean is that of the beta-binomial's Beta."""
    rng = np.random.default_rng(0)
    n, m, rate, runs = 99, 50, 0.05, 2000
    p_values, counts = [], []
    for _ in range(runs):
        calibration, new = np.sort(rng.random(n)), rng.random(m)
        p = (1 + n - np.searchsorted(calibration, new)) / (n + 1)
        found = judge_together(p.tolist(), calibration=n, rate=rate)
        p_values.append(found.p_value)
        counts.append(found.rejected)
    assert found.expected == pytest.approx(m * beta(5, 95).mean())
    assert np.mean(counts) == pytest.approx(found.expected, abs=4 * np.std(counts) / runs**0.5)
    for t in (0.01, 0.05, 0.2, 0.5):
        assert np.mean(np.array(p_values) <= t) <= t + 4 * (t / runs) ** 0.5
    assert np.mean(np.array(p_values) <= 0.5) > 0.3  # and it is not merely cautious


def test_a_set_that_is_empty_or_a_rate_too_small_is_refused__bad_input():
    with pytest.raises(InputError, match="0 samples"):
        judge_together([], calibration=99, rate=0.05)
    with pytest.raises(InputError, match="a rate of at least 1/100"):
        judge_together([0.5], calibration=99, rate=0.005)


def test_rows_go_through_scikit_learns_words_too__roundtrip(fitted, others):
    estimator = sklearn_estimator(fitted).fit(None)
    found = estimator.decision_function(others[:9].numpy())
    assert np.allclose(found, -fitted.score(others[:9]) - estimator.offset_)


def test_a_case_asks_about_images_and_takes_no_attributor_of_rows__bad_input(fitted, tmp_path):
    fitted.save(tmp_path / "rows.attributor")
    with pytest.raises(InputError, match="judges rows of numbers, and a case asks about images"):
        opened._attributor(tmp_path / "rows.attributor", "cpu")
