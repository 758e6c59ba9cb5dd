"""The classifier: whitening, schedule, ranking, and its promises about batches, seeds, saving."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.detectors.classifier import (
    LIMIT,
    PATCH,
    RIDGE,
    WARM_UP,
    ClassifierConfig,
    ConvClassifier,
    FittedClassifier,
    _set_whitening,
    fit_classifier,
    one_cycle,
)
from wherefrom.metrics.detection import auroc

SHORT = ClassifierConfig(epochs=2, batch=16, width=8, side=16, precision="fp32")
STRIDE_TWO = torch.tensor([1.0, -1.0]).repeat(8)


def noise(count, *, name, side=16):
    return torch.randn(count, 2, side, side, generator=stream(0, "classifier", name))


def combed(count, *, name, phase, side=16):
    """Noise with a faint comb of period 2: two phases differ in nothing but a shift."""
    comb = STRIDE_TWO.repeat(side // 16).roll(phase)
    return noise(count, name=name, side=side) + 0.5 * comb


@pytest.fixture(scope="module")
def fitted():
    return fit_classifier(noise(32, name="own"), noise(24, name="neg") + 0.3, config=SHORT, seed=4)


def test_whitened_patches_are_principal_components__reference_sklearn():
    x = noise(30, name="w").cumsum(dim=3)
    network = ConvClassifier(2, 8, whitens=True)
    _set_whitening(network, x)
    patches = F.unfold(x, PATCH, stride=2, padding=PATCH // 2 - 1).transpose(1, 2).flatten(0, 1)
    pca = PCA().fit(patches.double().numpy())
    count = len(patches)
    spread = np.sqrt(pca.explained_variance_ * (count - 1) / count + RIDGE)
    wanted = pca.transform(patches.double().numpy()) / spread
    with torch.no_grad():
        result = network.patches(x).flatten(2).transpose(1, 2).flatten(0, 1).double().numpy()
    # Components come in the opposite order, and each may have the other sign.
    result = result[:, ::-1]
    signs = np.sign((result * wanted).sum(axis=0))
    assert np.allclose(result * signs, wanted, atol=2e-3)


def test_whitening_is_not_trained_and_every_other_member_learns_its_patches__identity_frozen():
    own, negative = noise(40, name="a"), noise(40, name="b") + 1
    members = fit_classifier(own, negative, config=SHORT, seed=1).members
    before = ConvClassifier(2, SHORT.width, whitens=True)
    _set_whitening(before, own)
    assert [m.whitens for m in members] == [True, False]
    assert torch.equal(members[0].patches.weight, before.patches.weight)
    assert torch.equal(members[0].patches.bias, before.patches.bias)
    assert members[1].patches.bias is None


def test_extreme_inputs_are_cut_before_the_trunk__limit():
    network = ConvClassifier(2, 8, whitens=True)
    _set_whitening(network, noise(20, name="w"))
    with torch.no_grad():
        cut = network.trunk[0](network.patches(1e4 * noise(2, name="x")))
    assert float(cut.abs().max()) == LIMIT


def test_one_cycle_rises_then_falls_to_nothing__closed_form():
    assert one_cycle(WARM_UP) == pytest.approx(1.0)
    assert one_cycle(1.0) == pytest.approx(0.0, abs=1e-12)
    assert one_cycle(WARM_UP / 2) == pytest.approx(0.5)
    middle = (1 + WARM_UP) / 2
    assert one_cycle(middle) == pytest.approx(0.5)
    assert one_cycle(0.9) == pytest.approx(0.5 - 0.5 * math.cos(math.pi * 0.1 / (1 - WARM_UP)))


def test_a_shift_by_one_pixel_is_found_in_new_inputs__limit():
    config = ClassifierConfig(epochs=4, batch=32, width=8, side=16, precision="fp32")
    own, moved = combed(100, name="o", phase=0), combed(100, name="m", phase=1)
    result = fit_classifier(own, moved, config=config, seed=0)
    new, new_moved = combed(50, name="no", phase=0), combed(50, name="nm", phase=1)
    assert auroc(result.score(new), result.score(new_moved)) > 0.95


def test_rare_negatives_weigh_as_much_as_all_inliers__naive_loop():
    """At zero logits the loss is log 2 per inlier, and the same sum over the negatives."""
    from wherefrom.detectors.classifier import _ClassifierTask

    network = ConvClassifier(2, 8, whitens=False)
    task = _ClassifierTask(network, noise(30, name="a"), noise(6, name="b"), SHORT, 0)
    logits, y = torch.zeros(36), torch.tensor([0.0] * 30 + [1.0] * 6)
    losses = [math.log(2) * (5.0 if label else 1.0) for label in y.tolist()]
    result = F.binary_cross_entropy_with_logits(logits, y, pos_weight=task.weight)
    assert float(result) == pytest.approx(sum(losses) / 36)


def test_score_is_the_mean_over_members_and_tiles__naive_loop(fitted):
    x = noise(3, name="big", side=32)
    tiles = [x[..., i : i + 16, j : j + 16] for i in (0, 16) for j in (0, 16)]
    with torch.no_grad():
        logits = [[member(tile) for tile in tiles] for member in fitted.members]
    wanted = sum(sum(row) for row in logits) / 8
    assert torch.allclose(fitted.score(x).float(), wanted, atol=1e-4)


def test_score_of_an_input_is_the_same_in_any_batch__identity_batch(fitted):
    x = noise(130, name="batch")
    whole = fitted.score(x)
    assert whole.dtype == torch.float64
    assert torch.equal(whole[70:71], fitted.score(x[70:71]))
    order = torch.randperm(130, generator=stream(0, "order"))
    assert torch.equal(whole[order], fitted.score(x[order]))


def test_the_same_seed_fits_the_same_networks__identity_seed(fitted):
    torch.rand(5)
    again = fit_classifier(noise(32, name="own"), noise(24, name="neg") + 0.3, config=SHORT, seed=4)
    other = fit_classifier(noise(32, name="own"), noise(24, name="neg") + 0.3, config=SHORT, seed=5)
    x = noise(4, name="x")
    assert torch.equal(fitted.score(x), again.score(x))
    assert not torch.equal(fitted.score(x), other.score(x))


def test_a_saved_classifier_scores_the_same__roundtrip(fitted):
    again = FittedClassifier.from_saved(*fitted.to_saved())
    x = noise(4, name="x")
    assert torch.equal(fitted.score(x), again.score(x))
    assert torch.equal(fitted.score(x), fitted.to("cpu").score(x))


@pytest.mark.parametrize(
    ("own", "negative", "message"),
    [
        (torch.zeros(9, 2, 16, 16), torch.zeros(9, 1, 16, 16), "of one size"),
        (torch.zeros(9, 8), torch.zeros(9, 8), "of one size"),
        (torch.zeros(1, 2, 16, 16), torch.zeros(9, 2, 16, 16), "at least two"),
        (torch.zeros(9, 2, 4, 16), torch.zeros(9, 2, 4, 16), "4x16; give at least 8x8"),
    ],
)
def test_unfit_inputs__rejects_shapes(own, negative, message):
    with pytest.raises(InputError, match=message):
        fit_classifier(own, negative, config=SHORT)


def test_scoring_other_channels__rejects_shapes(fitted):
    with pytest.raises(InputError, match=r"expected \(N, 2, H, W\)"):
        fitted.score(torch.zeros(3, 1, 16, 16))


def test_light_trunks_see_whitened_patches_alone__identity_frozen():
    """Both networks whiten, the pointwise one looks at no neighbour before its stride."""
    own = noise(40, name="a")
    light = SHORT.with_values({"trunks": "light"})
    members = fit_classifier(own, noise(40, name="b") + 1, config=light, seed=1).members
    before = ConvClassifier(2, SHORT.width, whitens=True, trunk="strided")
    _set_whitening(before, own)
    assert all(torch.equal(m.patches.weight, before.patches.weight) for m in members)
    kernels = [[p.shape[-1] for p in m.trunk.parameters() if p.ndim == 4] for m in members]
    assert kernels == [[1, 1, 4, 1], [4, 3]]
    again = FittedClassifier.from_saved(*fit_classifier(own, own + 1, config=light).to_saved())
    assert again.score(own[:3]).shape == (3,)
