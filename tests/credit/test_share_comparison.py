"""Shares against every baseline of one study."""

import numpy as np
import pytest
import torch
from studies import NETWORK, write_study
from synthetic_games import played

from wherefrom.core.errors import InputError
from wherefrom.credit.diffusion.properties import Measure, PixelEmbedder, RunOutput
from wherefrom.credit.estimators.design import PairedDesign
from wherefrom.credit.evaluation import comparison
from wherefrom.credit.evaluation.comparison import (
    EvaluationConfig,
    MakeRuns,
    evaluate_shares,
    image_variance,
    leave_one_out_runs,
    sampling_variance,
)
from wherefrom.credit.evaluation.lds import (
    SubsetsDesign,
    counterfactual_runs,
)
from wherefrom.credit.evaluation.table_one import family_of, recipe_of, study_baselines
from wherefrom.credit.ledger.worker import work
from wherefrom.credit.method import open_study, without_evaluation

pytestmark = pytest.mark.needs("diffusers")

BASELINES = """
[baselines]
images = 2
[baselines.gradients]
dimension = 8
steps = 2
"""
CONFIG = EvaluationConfig(subsets=4, seeds=2, alphas=(0.5,))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A tiny study of four contributors, fine-tuned; its design is run."""
    from studies import write_images

    home = tmp_path_factory.mktemp("comparison")
    write_images(home / "data", players=4)
    path = write_study(home, kind="fine-tune", network=NETWORK + BASELINES)
    text = path.read_text().replace('kind = "exact"', 'kind = "paired"')
    path.write_text(text.replace("images = 3", "images = 20"))
    opened = open_study(path)
    with opened.ledger() as ledger:
        ledger.plan(opened.design().take(18))
        work(ledger, opened.play)
    return opened


def run_here(opened, **_):
    with opened.ledger() as ledger:
        work(ledger, opened.play)


def test_every_baseline_has_scores_or_a_reason__identity_table(study):
    found = study_baselines(study.lab, "diversity")
    assert len(found.scores) == 14  # pixels 2, gradients 2, five influence methods twice
    assert set(found.missing) == {"embedding similarity", "clip similarity",
                                  "diversity of the images"}  # fmt: skip
    assert all(np.isfinite(values).all() for values in found.scores.values())
    kinds = {family_of(name) for name in found.scores}
    assert kinds == {"similarity", "influence"}
    again = study_baselines(open_study(study.study.path).lab, "diversity")
    assert list(again.scores) == list(found.scores)
    assert all(np.array_equal(again.scores[name], found.scores[name]) for name in found.scores)


def test_scores_are_kept_by_content_and_not_by_name__identity_digest(study):
    """Another encoder of the same name is another key, and the same one of another name is none."""

    def key(digest, source="mine:encoder"):
        baselines = study.lab.baselines.with_values({"encoder": source, "clip": source})
        lab = Renamed(study.lab, baselines, PixelEmbedder(digest))
        return recipe_of(lab, lab.measured("diversity"))

    assert key("one") == key("one", "another/name") != key("two")


class Renamed:
    """A lab that looks through another encoder."""

    def __init__(self, lab, baselines, embedder):
        self.lab, self.baselines, self.seen = lab, baselines, embedder

    def __getattr__(self, name):
        return getattr(self.lab, name)

    def other_encoder(self):
        return self.baselines.encoder

    def embedder(self, source):
        assert source == self.baselines.encoder
        return self.seen


def test_an_evaluation_makes_its_runs__identity_shares(study, monkeypatch):
    monkeypatch.setattr(comparison, "run_study", run_here)
    seed = study.study.config.study.seed
    with study.ledger() as ledger:
        before = ledger.runs("diversity")
    with pytest.raises(InputError, match="evaluate --run"):
        evaluate_shares(study, "diversity", CONFIG)
    found = evaluate_shares(study, "diversity", CONFIG, make=MakeRuns())
    methods = {row.method for row in found.lds}
    assert {"paired", "loo", "pixel similarity (max)", "d-trak (sum)"} <= methods
    assert "embedding similarity" in found.missing
    followed = {family_of(row.method) for row in found.changes}
    assert followed == {"shares", "leave one out", "similarity", "influence"}
    assert all(row.change is not None for row in found.changes)
    assert found.variance is not None
    assert found.gaps[0].reference == "paired"
    assert found.known > 0
    with study.ledger() as ledger:
        after = ledger.runs("diversity")
    assert len(after.values) > len(before.values)
    kept = without_evaluation(after, seed)
    assert sorted(kept.values) == sorted(before.values)  # no share rests on what was added


def test_runs_of_an_evaluation_are_known__naive_loop():
    def worth(masks):
        return np.asarray(masks, dtype=float).sum(axis=1)

    scores = {"a": np.arange(6.0)}
    table = played(PairedDesign(6, seed=3), 40, worth)
    extra = [*SubsetsDesign(6, 0.5, 5, 2, seed=3).take(10), *counterfactual_runs(scores, 6, 3)]
    for run in extra:
        row = np.array([[bool(run.mask >> i & 1) for i in range(6)]])
        table = table._replace(
            masks=np.concatenate([table.masks, row]),
            values=np.append(table.values, 0.0),
            seeds=np.append(table.seeds, run.seed),
        )
    kept = without_evaluation(table, 3)
    assert len(kept.values) == 40
    assert len(without_evaluation(table, 4).values) == len(table.values)


def test_leave_one_out_costs_n_plus_two_runs__closed_form(study):
    masks = [run.mask for run in leave_one_out_runs(study)]
    assert masks == [15, 14, 13, 11, 7, 0]
    assert len({run.seed for run in leave_one_out_runs(study)}) == 1


def test_the_jackknife_of_a_mean__closed_form():
    images = torch.randint(0, 256, (200, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    made = RunOutput(images.to(torch.uint8))
    mean = Measure("mean", {}, lambda made: float(made.images.double().mean()))
    each = images.double().flatten(1).mean(1)
    # With one image per group it is exactly s^2 / N.
    exact = image_variance(mean, RunOutput(made.images[:20]), groups=10)
    groups = torch.stack([each[:20][torch.arange(20) % 10 == g].mean() for g in range(10)])
    assert exact == pytest.approx(float(groups.var() / 10))
    assert image_variance(mean, RunOutput(made.images[:19])) is None


def test_noise_of_the_images_of_runs__naive_loop(study):
    mean = Measure("mean", {}, lambda made: float(made.images.double().mean()))
    with study.ledger(readonly=True) as ledger:
        keys = [key for key, _, _ in ledger.details()][:18]
    made = [study.play.load(study.play.outputs / key)[0] for key in keys[::3]]
    expected = [image_variance(mean, each) for each in made]
    assert len(expected) == 6  # of 18, at most 8 spread evenly
    assert sampling_variance(study.play, keys, mean) == pytest.approx(np.mean(expected))
    assert sampling_variance(study.play, ["absent"], mean) is None


def test_wrong_settings__rejects_config(study):
    with pytest.raises(InputError, match="choose one of"):
        evaluate_shares(study, "diversity", EvaluationConfig(counterfactual="some"))
    with pytest.raises(InputError, match="give 1 to 100"):
        evaluate_shares(study, "diversity", EvaluationConfig(seeds=101))


def test_a_callable_game_has_reasons_only__identity_table():
    found = study_baselines(None, "worth")
    assert not found.scores
    assert "no network" in found.missing["trak"]
