"""Deep SAD: its loss, its centre, its promises about batches, seeds and saving."""

import pytest
import torch
from torch import nn

from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import load_artifact, save_artifact
from wherefrom.detectors import deep_sad
from wherefrom.detectors.deep_sad import (
    CENTRE_MARGIN,
    DeepSadConfig,
    FittedDeepSad,
    deep_sad_loss,
    fit_deep_sad,
)
from wherefrom.metrics.detection import auroc

SHORT = DeepSadConfig(epochs=2, batch=16, representation=8)


def blobs(count, shape, *, shift):
    """Inliers around 0, then outliers around `shift`, with their labels."""
    x = torch.randn(2 * count, *shape)
    x[count:] += shift
    y = torch.ones(2 * count)
    y[count:] = -1
    return x, y


def centre_of(x, y, **settings):
    """The centre, and the representations of x at the start of training."""
    started = []

    def spy(network, *args):
        centre = original(network, *args)
        started.append([part.clone() for part in network.state_dict().values()])
        return centre

    original = deep_sad._centre
    deep_sad._centre = spy
    try:
        fitted = fit_deep_sad(x, y, config=DeepSadConfig(epochs=1, batch=16, **settings))
    finally:
        deep_sad._centre = original
    network = deep_sad.make_network(fitted.shape, fitted.config.representation)
    keys = network.state_dict().keys()
    network.load_state_dict(dict(zip(keys, started[0], strict=True)))
    with torch.no_grad():
        return fitted.centre, network.eval()((x.float() - fitted.mean) / fitted.scale)


def test_loss_is_the_mean_of_the_three_cases__naive_loop():
    """FLIPAD, Eq. 6: d for y = 0, eta d for y = 1, eta / d for y = -1."""
    distance = torch.tensor([0.5, 2.0, 4.0, 0.0, 3.0], dtype=torch.float64)
    y = torch.tensor([0.0, 1.0, -1.0, -1.0, 0.0])
    total = 0.0
    for d, label in zip(distance.tolist(), y.tolist(), strict=True):
        if label == 0:
            total += d
        elif label == 1:
            total += 0.7 * (d + 1e-6)
        else:
            total += 0.7 / (d + 1e-6)
    assert deep_sad_loss(distance, y, 0.7).item() == pytest.approx(total / 5, rel=1e-12)


def test_eta_does_not_touch_unlabelled_inputs__limit():
    distance = torch.tensor([1.0, 2.0])
    assert deep_sad_loss(distance, torch.zeros(2), 100.0).item() == 1.5
    assert deep_sad_loss(distance, torch.ones(2), 0.0).item() == 0.0


def test_centre_ignores_labelled_outliers__identity_deviation():
    """Deviation: the centre is the mean over inliers and unlabelled inputs only."""
    x, y = blobs(30, (5,), shift=3.0)
    y[:10] = 0
    centre, outputs = centre_of(x, y)
    mean = outputs[:30].mean(dim=0)
    free = mean.abs() >= CENTRE_MARGIN
    assert torch.allclose(centre[free], mean[free], atol=1e-6)
    # However far the outliers go, they cannot move it.
    x[30:] *= 100
    assert torch.equal(centre_of(x, y)[0], centre)


def test_small_coordinates_of_the_centre_move_to_the_margin__closed_form():
    x, y = blobs(30, (5,), shift=3.0)
    centre, outputs = centre_of(x, y)
    mean = outputs[:30].mean(dim=0)
    near = mean.abs() < CENTRE_MARGIN
    assert bool(near.any())
    assert torch.equal(centre[near], 0.1 * mean[near].sign())


def test_an_exact_zero_moves_to_the_positive_margin__identity_deviation():
    """Deviation: a coordinate that is exactly 0 moves to +0.1 (the original leaves it at 0)."""
    network = nn.Linear(2, 4, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.0, 0.0], [0.05, 0.0], [-0.05, 0.0], [3.0, 0.0]]))
    x = torch.ones(3, 2)
    centre = deep_sad._centre(network, x, torch.zeros(2), torch.ones(2))
    assert torch.allclose(centre, torch.tensor([0.1, 0.1, -0.1, 3.0]))


@pytest.mark.parametrize("rule", ["inliers", "all", "none"])
def test_inputs_are_standardised_per_element__identity_deviation(rule):
    """Deviation: (x - mean) / (deviation + 0.05), as in FLIPAD's code; "none" is its text."""
    x, y = blobs(20, (2, 8, 8), shift=2.0)
    y[:5] = 0
    config = DeepSadConfig(epochs=1, batch=16, representation=4, standardise=rule)
    fitted = fit_deep_sad(x, y, config=config)
    basis = {"inliers": x[:20], "all": x}.get(rule)
    mean = torch.zeros(2, 8, 8) if basis is None else basis.mean(dim=0)
    scale = torch.ones(2, 8, 8) if basis is None else basis.std(dim=0) + 0.05
    assert torch.allclose(fitted.mean, mean, atol=1e-6)
    assert torch.allclose(fitted.scale, scale, atol=1e-6)


def test_score_is_the_squared_distance_to_the_centre__naive_loop():
    x, y = blobs(20, (6,), shift=2.0)
    fitted = fit_deep_sad(x, y, config=SHORT)
    for value, row in zip(fitted.score(x), x, strict=True):
        output = fitted.network(((row - fitted.mean) / fitted.scale)[None])[0]
        distance = sum(
            (float(a) - float(b)) ** 2 for a, b in zip(output, fitted.centre, strict=True)
        )
        assert float(value) == pytest.approx(distance, rel=1e-4)
    assert fitted.score(x).dtype == torch.float64


@pytest.mark.parametrize("shape", [(6,), (3, 16, 16), (8, 8, 8)])
def test_a_score_does_not_depend_on_its_neighbours__identity_batch_independence(shape):
    x, y = blobs(70, shape, shift=1.0)
    fitted = fit_deep_sad(x, y, config=DeepSadConfig(epochs=1, batch=70, representation=8))
    scores = fitted.score(x)
    order = torch.randperm(140)
    assert torch.equal(fitted.score(x[order]), scores[order])
    for i in (0, 63, 64, 139):
        assert torch.equal(fitted.score(x[i : i + 1]), scores[i : i + 1])
    assert fitted.score(x[:0]).shape == (0,)


def test_the_same_seed_gives_the_same_detector__identity_seed():
    x, y = blobs(20, (3, 8, 8), shift=1.0)
    first = fit_deep_sad(x, y, config=SHORT, seed=5).score(x)
    torch.rand(7)  # the global generator plays no part
    assert torch.equal(fit_deep_sad(x, y, config=SHORT, seed=5).score(x), first)
    assert not torch.equal(fit_deep_sad(x, y, config=SHORT, seed=6).score(x), first)


@pytest.mark.parametrize("shape", [(6,), (3, 16, 16), (8, 8, 8)])
def test_a_detector_survives_saving__roundtrip(tmp_path, shape):
    x, y = blobs(20, shape, shift=1.0)
    fitted = fit_deep_sad(x, y, config=SHORT)
    meta, tensors = fitted.to_saved()
    save_artifact(tmp_path / "d", kind="test", schema=1, meta=meta, tensors=tensors)
    again = FittedDeepSad.from_saved(*load_artifact(tmp_path / "d", kind="test", schema=1))
    assert torch.equal(again.score(x), fitted.score(x))
    assert again.config == fitted.config and again.shape == shape
    assert torch.equal(fitted.to("cpu").score(x), fitted.score(x))


@pytest.mark.parametrize("shape", [(8,), (3, 16, 16)])
def test_an_easy_problem_is_solved__limit(shape):
    """New outliers in the direction of the labelled ones: nearly all are found."""
    x, y = blobs(48, shape, shift=2.0)
    config = DeepSadConfig(epochs=4, batch=32, representation=16)
    fitted = fit_deep_sad(x, y, config=config)
    new, _ = blobs(40, shape, shift=2.0)
    scores = fitted.score(new)
    assert auroc(scores[:40], scores[40:]) > 0.95


def test_the_step_falls_to_a_tenth_after_half_the_epochs__closed_form(monkeypatch):
    rates = []
    original = torch.optim.Adam.step

    def spy(self, closure=None):
        rates.append(self.param_groups[0]["lr"])
        return original(self, closure)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    x, y = blobs(16, (4,), shift=1.0)
    fit_deep_sad(x, y, config=DeepSadConfig(epochs=4, batch=16, representation=4))
    assert rates == pytest.approx([5e-4] * 4 + [5e-5] * 4)


def test_every_epoch_sees_each_input_once_in_a_new_order__closed_form(monkeypatch):
    seen = []
    original = deep_sad._fast_layout
    monkeypatch.setattr(deep_sad, "_fast_layout", lambda x: seen.append(x.clone()) or original(x))
    x, y = blobs(16, (4,), shift=1.0)
    settings = {"epochs": 2, "batch": 8, "representation": 4, "standardise": "none"}
    fit_deep_sad(x, y, config=DeepSadConfig(**settings))
    first, second = torch.cat(seen[:4]), torch.cat(seen[4:])
    assert len(seen) == 8 and not torch.equal(first, second)
    for epoch in (first, second):
        assert torch.equal(epoch[epoch[:, 0].argsort()], x[x[:, 0].argsort()])


def test_half_precision_training_still_learns__smoke():
    x, y = blobs(32, (8,), shift=2.0)
    config = DeepSadConfig(epochs=4, batch=16, representation=8, precision="bf16")
    scores = fit_deep_sad(x, y, config=config).score(x)
    assert bool(torch.isfinite(scores).all())


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (torch.zeros(4, 3, 8), torch.ones(4), r"x of shape \(4, 3, 8\)"),
        (torch.zeros(4, 3), torch.ones(5), "with 5 labels"),
        (torch.zeros(4, 3), torch.tensor([1.0, 2.0, 1.0, -1.0]), "labels must be"),
        (torch.zeros(4, 3), torch.tensor([1.0, torch.nan, 1.0, -1.0]), "labels must be"),
        (torch.zeros(4, 3), torch.tensor([1.0, -1.0, -1.0, -1.0]), "at least two inputs"),
        (torch.full((4, 3), torch.nan), torch.ones(4), "NaN or infinite"),
        (torch.full((4, 3), torch.inf), torch.ones(4), "NaN or infinite"),
        (torch.zeros(4, 3, 4, 8), torch.ones(4), "4x8 are too small for 3 poolings"),
    ],
)
def test_inputs_that_cannot_be_learned_from__rejects_inputs(x, y, says):
    with pytest.raises(InputError, match=says):
        fit_deep_sad(x, y, config=SHORT)


def test_inputs_of_another_shape__rejects_shape():
    x, y = blobs(20, (6,), shift=1.0)
    fitted = fit_deep_sad(x, y, config=SHORT)
    with pytest.raises(InputError, match=r"inputs of shape \(5,\), expected \(6,\)"):
        fitted.score(torch.zeros(2, 5))
