"""Held-out siblings: how they are drawn, and that the guard which rests on them holds."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from wherefrom.attribution.checking.fitted import describe_saved, load
from wherefrom.attribution.training import other_layers, siblings
from wherefrom.attribution.training.held_out import called_ours
from wherefrom.attribution.training.siblings import SIBLING_KINDS, draw_siblings, least_squares
from wherefrom.calibration.conformal import lower_p_values
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.data.images.writing import to_float

LAYERS = {
    "transposed": (nn.ConvTranspose2d(6, 2, 4, 2, 1), (6, 5, 5)),
    "convolution": (nn.Conv2d(6, 3, 3, padding=1), (6, 7, 7)),
    "grouped": (nn.Conv2d(6, 4, 3, padding=1, groups=2), (6, 7, 7)),
    "dense": (nn.Linear(6, 9), (6,)),
}


@pytest.mark.parametrize("kind", SIBLING_KINDS)
def test_siblings_show_the_model_content_by_other_layers__limit(generator, kind):
    drawn = draw_siblings(generator, kind, 24, seed=3)
    assert drawn.shape == (24, *generator.image_shape) and drawn.dtype == torch.uint8
    assert torch.equal(drawn, draw_siblings(generator, kind, 24, seed=3))
    assert not torch.equal(drawn, draw_siblings(generator, kind, 24, seed=4))
    seed = siblings.derive_seed(3, "siblings", kind)
    own = torch.cat([x for x, _ in generator.sample_with_activations(24, seed)])
    x, y = (to_float(drawn)).flatten(1).double(), own.flatten(1).double()
    x, y = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
    likeness = (x * y).sum(dim=1) / (x.norm(dim=1) * y.norm(dim=1))
    assert float(likeness.median()) > 0.5 and float((x - y).abs().mean()) > 0.5 / 255


@pytest.mark.parametrize("name", LAYERS)
def test_conjugate_gradients_come_to_least_squares__reference_numpy(layer_of, matrix_of, name):
    module, shape = LAYERS[name]
    layer = layer_of(module, shape)
    o = torch.randn(2, *layer.output_shape, generator=stream(0, name))
    solutions = least_squares(layer, o, steps=200).flatten(1).double().numpy()
    matrix = matrix_of(layer)
    for z, target in zip(solutions, o.flatten(1).double().numpy(), strict=True):
        best = np.linalg.lstsq(matrix, target, rcond=None)[0]
        assert np.linalg.norm(matrix @ z - matrix @ best) < 2e-3 * np.linalg.norm(target)


@pytest.mark.parametrize("name", LAYERS)
def test_fresh_kernels_have_the_second_moments_of_the_old__monte_carlo(layer_of, name):
    layer = layer_of(*LAYERS[name])
    axis = other_layers.input_axis(layer)
    rows = layer.weight.movedim(axis, 0).flatten(1).double()
    drawn = [
        siblings._fresh_kernels(layer, stream(1, name, index)).movedim(axis, 0).flatten(1).double()
        for index in range(400)
    ]
    moments = torch.stack([one.T @ one for one in drawn]).mean(dim=0)
    wanted = rows.T @ rows
    assert float((moments - wanted).norm() / wanted.norm()) < 0.15
    assert not torch.equal(drawn[0], drawn[1])


def test_every_image_has_a_layer_of_its_own__identity(generator, monkeypatch):
    seen = []

    def watched(layer, z, rng):
        seen.append((len(z), float(torch.rand(1, generator=rng))))
        return layer.linear(z)

    monkeypatch.setitem(SIBLING_KINDS, "gains", watched)
    draw_siblings(generator, "gains", 9, seed=0)
    assert [size for size, _ in seen] == [1] * 9 and len({draw for _, draw in seen}) == 9


def test_new_siblings_are_called_own_at_most_at_the_rate__limit(fitted, generator):
    """Through the public functions: fresh siblings of both kinds, calibrated by 20 of each."""
    count = 60
    held = {
        kind: fitted.score(draw_siblings(generator, kind, 20, seed=5)) for kind in SIBLING_KINDS
    }
    config = fitted.config.with_values({"sibling_rate": 0.05})
    fitted = dataclasses.replace(fitted, config=config, sibling_scores=held)
    for kind in SIBLING_KINDS:
        rows = fitted.check(draw_siblings(generator, kind, count, seed=77)).images
        accused = sum(row.verdict is Verdict.OURS for row in rows)
        assert accused <= 9  # 1e-3 of Binomial(60, 0.05), and a calibration of 20 is coarse


def test_the_guard_is_saved_and_told__roundtrip(fitted, tmp_path):
    fitted.save(tmp_path / "a")
    again = load(tmp_path / "a")
    assert set(again.sibling_scores) == set(SIBLING_KINDS)
    for kind, scores in fitted.sibling_scores.items():
        assert torch.equal(again.sibling_scores[kind], scores)
    described, _ = describe_saved(tmp_path / "a")
    assert described == again.describe()
    assert set(described["called_ours"]) == {
        "own",
        "other",
        *(f"sibling, {k}" for k in SIBLING_KINDS),
    }


def test_the_share_of_each_kind_that_is_called_own__naive_loop(fitted):
    known = fitted.calibration_of("clean")
    shares = called_ours(known, fitted.config)
    held = {"own": known.own, "other": known.other}
    held |= {f"sibling, {kind}": scores for kind, scores in known.siblings.items()}
    for name, scores in held.items():
        called = 0
        for score in scores:
            fits = float(score) <= fitted.threshold
            other = float(lower_p_values(score[None], known.other)) <= 0.2
            sibling = all(
                float(lower_p_values(score[None], one)) <= fitted.config.sibling_rate
                for one in known.siblings.values()
            )
            called += fits and other and sibling
        assert shares[name] == pytest.approx(called / len(scores))


def test_without_a_guard_no_sibling_is_drawn__closed_form(fitted, smooth):
    bare = dataclasses.replace(fitted, sibling_scores={})
    result = bare.check(smooth(1, 4))
    assert result.sibling_rate is None and result.images[0].p_sibling is None


def test_too_few_siblings_for_the_rate_are_refused_before_the_fit__rejects_settings(
    generator, small, smooth
):
    from wherefrom import attribution

    config = small.with_values({"sibling_samples": 18, "sibling_rate": 0.05})
    with pytest.raises(InputError, match=r"sibling rate of 0\.05 cannot be supported by 18"):
        attribution.fit(generator, smooth(80, 0), config=config)
