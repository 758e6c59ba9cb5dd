"""W by metric learning: better than the raw cosine, the same bits from the same seed."""

import math

import pytest
import torch
from latent_model import DIMENSION, ENCODER, precision, raw_precision, seen_queries, training_pairs

from wherefrom.core.errors import InputError
from wherefrom.origin import EditMapConfig, fit_edit_map
from wherefrom.origin.edit_map.cosface_and_circle_loss import (
    EditMapTask,
    OriginClasses,
    learning_rate_factor,
)
from wherefrom.origin.edit_map.pairs import EmbeddedPairs
from wherefrom.origin.edit_map.theory import report_pairs

QUICK = EditMapConfig(
    solver="sgd",
    rank=48,
    epochs=5,
    steps_per_epoch=60,
    warm_up=1,
    flat=1,
    learning_rate=1e-2,
    ids_per_batch=32,
)
SINGLE = 1e-5  # float32 in two orders of the same sums


@pytest.fixture(scope="module")
def pairs():
    return training_pairs()


@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({"steps_per_epoch": 25}, 0.98),
        ({"loss": "circle", "steps_per_epoch": 25}, 0.98),
        ({"loss": "softmax", "epochs": 4, "steps_per_epoch": 15, "learning_rate": 5e-2}, 0.78),
        ({"layers": 2, "steps_per_epoch": 20}, 0.9),
        ({"start": "closed", "epochs": 1, "warm_up": 0, "steps_per_epoch": 10}, 0.98),
    ],
)
def test_metric_learning_finds_more_than_the_raw_cosine__limit(pairs, settings, least):
    origins, _, owner = pairs
    fitted = fit_edit_map(
        EmbeddedPairs(*pairs, encoder=ENCODER),
        config=QUICK.with_values(settings),
        watch={"seen": (pairs[1], origins[owner])},
    )
    assert precision(fitted, seen_queries()) > least > raw_precision(seen_queries()) + 0.05
    assert [row["epoch"] for row in fitted.history] == list(range(fitted.config.epochs))
    report = report_pairs(fitted, pairs[1], origins[owner])
    assert fitted.history[-1]["seen"] == pytest.approx(report.cosine, abs=SINGLE)
    if "start" not in settings:  # Fig. 7: the cosines rise
        assert fitted.history[-1]["seen"] > fitted.history[0]["seen"] + 0.1
        assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]


def test_seeds_decide_the_result_and_nothing_else__identity_seed(pairs):
    short = QUICK.with_values({"epochs": 1, "steps_per_epoch": 5})
    first, again, other = (
        fit_edit_map(EmbeddedPairs(*pairs, encoder=ENCODER), config=short, seed=seed)
        for seed in (1, 1, 2)
    )
    assert torch.equal(first.weight, again.weight)
    assert first.digest == again.digest != other.digest


def test_an_interrupted_training_ends_with_the_same_bits__identity_resume(pairs, tmp_path):
    config = QUICK.with_values({"epochs": 2, "steps_per_epoch": 3, "layers": 2})
    whole = fit_edit_map(EmbeddedPairs(*pairs, encoder=ENCODER), config=config)

    def stops(items, label, *, total=None):
        for index, item in enumerate(items):
            if index == 4:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        fit_edit_map(
            EmbeddedPairs(*pairs, encoder=ENCODER),
            config=config,
            checkpoint=tmp_path / "c",
            track=stops,
        )
    rest = fit_edit_map(
        EmbeddedPairs(*pairs, encoder=ENCODER), config=config, checkpoint=tmp_path / "c"
    )
    assert torch.equal(rest.weight, whole.weight)
    assert torch.equal(rest.layers[0], whole.layers[0])
    assert rest.history == whole.history[1:]
    with pytest.raises(InputError, match="other settings"):
        fit_edit_map(
            EmbeddedPairs(*pairs, encoder=ENCODER), config=config, seed=1, checkpoint=tmp_path / "c"
        )


def test_schedule_is_a_rise_a_plain_and_a_cosine__closed_form():
    paper = EditMapConfig()
    found = [learning_rate_factor(epoch, paper) for epoch in range(25)]
    assert found[:5] == pytest.approx([0.01, 0.208, 0.406, 0.604, 0.802])
    assert found[5:11] == [1.0] * 6
    assert found[17] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 15)))
    assert found[24] == pytest.approx(0.5 * (1 + math.cos(math.pi * 14 / 15)))


def test_batches_hold_every_class_once_per_pass__identity_sampler(pairs):
    origins, edits, _ = pairs
    task = EditMapTask(
        OriginClasses(EmbeddedPairs(*pairs, encoder=ENCODER), torch.zeros(DIMENSION)), QUICK, 0
    )
    passes = [torch.cat([task._classes(15 * n + i) for i in range(15)]) for n in (0, 1)]
    for seen in passes:
        assert len(seen.unique()) == len(seen) == 480
    assert not torch.equal(*passes)
    z, y = task.classes.draw(torch.tensor([3, 7]), 4, torch.Generator().manual_seed(0))
    assert y.tolist() == [3] * 4 + [7] * 4
    for row, label in zip(z, y.tolist(), strict=True):
        members = torch.cat([origins[label : label + 1], edits[4 * label : 4 * label + 4]])
        assert int((members == row).all(dim=1).sum()) == 1
    assert len(z.unique(dim=0)) == 8


def test_origins_belong_to_their_class_and_small_classes_repeat__identity_sampler():
    origins, edits = torch.arange(4.0)[:, None], torch.tensor([[10.0], [30.0], [31.0]])
    embedded = EmbeddedPairs(origins, edits, torch.tensor([1, 3, 3]), encoder=ENCODER)
    pairs = OriginClasses(embedded, torch.tensor([0.5]))
    assert pairs.ids.tolist() == [1, 3]
    assert pairs.centred_origins().tolist() == [[0.5], [2.5]]
    rng = torch.Generator().manual_seed(0)
    drawn = [pairs.draw(torch.tensor([0, 1]), 8, rng)[0].flatten().tolist() for _ in range(9)]
    assert {x for row in drawn for x in row[:8]} == {0.5, 9.5}
    assert {x for row in drawn for x in row[8:]} == {2.5, 29.5, 30.5}


def test_average_follows_its_recursion__naive_loop(pairs):
    config = QUICK.with_values({"ema": 0.3})
    classes = OriginClasses(EmbeddedPairs(*pairs, encoder=ENCODER), torch.zeros(DIMENSION))
    task = EditMapTask(classes, config, 0)
    expected = task.map.weight.detach().clone()
    for t in range(1, 6):
        task.step(t - 1)
        decay = min(0.3, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * task.map.weight.detach()
        assert torch.allclose(task.averaged.weight, expected, atol=SINGLE)
    assert not torch.equal(task.averaged.weight, task.map.weight)
