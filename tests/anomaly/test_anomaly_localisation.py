"""Contributions of segments: against Captum, against additive games, and the picture of them."""

import pytest
import torch
from known_fields import ConvNet, encoder, pictures
from torch import nn

from wherefrom.anomaly import AnomalyConfig, explain
from wherefrom.anomaly.localisation.heat_maps import Localisation, LocalisationConfig
from wherefrom.anomaly.localisation.pictures import overlay
from wherefrom.anomaly.localisation.regression import regress
from wherefrom.anomaly.localisation.segments import grid_segments, slic_segments
from wherefrom.anomaly.measuring.features import attacked_image
from wherefrom.core.errors import InputError

CONFIG = AnomalyConfig(start_radius=0.01)
GRID = LocalisationConfig(segmentation="grid", segments=16)
SIDE = 16


@pytest.fixture
def net():
    return encoder(ConvNet(), resolution=SIDE)


@pytest.fixture
def image():
    return pictures(1, side=SIDE)[0]


def change_of(net, image, attacked):
    """V of a batch (T, 3, H, W), from the definition."""
    clean = net.features(image[None])
    return lambda batch: torch.linalg.vector_norm((net.features(batch) - clean).double(), dim=1)


def test_leave_one_out__reference_captum(net, image):
    captum = pytest.importorskip("captum.attr")
    result = explain(image, net, config=CONFIG, localisation=GRID)
    attacked = attacked_image(image, net, config=CONFIG, seed=0, which=0)
    ablation = captum.FeatureAblation(change_of(net, image, attacked))
    with torch.no_grad():
        expected = ablation.attribute(
            attacked[None], baselines=image[None], feature_mask=result.segments[None, None]
        )
    per_segment = torch.stack([expected[0, 0][result.segments == s][0] for s in range(16)])
    assert torch.allclose(result.repeats[0], per_segment.double(), atol=1e-5)


def test_regression_agrees_with_shapley_values__reference_captum(net, image):
    captum = pytest.importorskip("captum.attr")
    config = LocalisationConfig(
        method="regression", segmentation="grid", segments=16, trials=400, fewest=4, most=12
    )
    result = explain(image, net, config=CONFIG, localisation=config)
    attacked = attacked_image(image, net, config=CONFIG, seed=0, which=0)
    kernel = captum.KernelShap(change_of(net, image, attacked))
    with torch.no_grad():
        shares = kernel.attribute(
            attacked[None],
            baselines=image[None],
            feature_mask=result.segments[None, None],
            n_samples=600,
            perturbations_per_eval=50,
        )
    per_segment = torch.stack([shares[0, 0][result.segments == s][0] for s in range(16)])
    both = torch.corrcoef(torch.stack([result.repeats[0], per_segment.double()]))
    assert float(both[0, 1]) > 0.95


def test_regression_recovers_an_additive_game__closed_form():
    W = torch.tensor([1.0, 0.0, -2.0, 3.0], dtype=torch.float64)
    rng = torch.Generator().manual_seed(0)
    v = torch.randint(0, 2, (30, 4), generator=rng).double()
    assert torch.allclose(regress(v, v @ W + 5), W, atol=1e-9)


def test_twenty_trials_of_twenty_segments_take_the_least_norm__reference_pinv():
    rng = torch.Generator().manual_seed(0)
    v = torch.randint(0, 2, (20, 20), generator=rng).double()
    Y = torch.rand(20, generator=rng, dtype=torch.float64)
    A = torch.cat([v, torch.ones(20, 1, dtype=torch.float64)], dim=1)
    assert torch.allclose(regress(v, Y), (torch.linalg.pinv(A) @ Y)[:-1], atol=1e-8)


class OneCorner(nn.Module):
    """Sees the upper left quarter only."""

    def forward(self, x):
        return x[..., : SIDE // 2, : SIDE // 2].flatten(1) * 2


@pytest.mark.parametrize("method", ["leave-one-out", "regression", "paper"])
def test_only_what_the_encoder_sees_contributes__closed_form(method, image):
    net = encoder(OneCorner(), resolution=SIDE)
    config = LocalisationConfig(method=method, segmentation="grid", segments=16)
    result = explain(image, net, config=CONFIG, localisation=config)
    seen = {0, 1, 4, 5}
    assert set(result.top) <= seen and result.method == method
    assert result.forwards == {"leave-one-out": 16, "regression": 200, "paper": 20}[method]
    if method != "paper":
        blind = [s for s in range(16) if s not in seen]
        assert result.contributions[blind].abs().max() < 0.15 * result.contributions.max()
    if method == "leave-one-out":
        # Four equal parts of a squared length: V (1 - sqrt(3/4)).
        share = 1 - 0.75**0.5
        assert torch.allclose(result.shares[[0, 1, 4, 5]], torch.tensor(share).double(), atol=0.02)


def test_the_default_is_steadier_than_twenty_trials__identity_repeats(net, image):
    steady = explain(image, net, config=CONFIG, localisation=GRID)
    paper = LocalisationConfig(method="paper", segmentation="grid", segments=16, repeats=4)
    assert steady.correlation > explain(image, net, config=CONFIG, localisation=paper).correlation
    assert steady.correlation < steady.reliability < 1
    again = explain(image, net, config=CONFIG, localisation=GRID)
    assert torch.equal(steady.contributions, again.contributions)


def test_stability_is_the_overlap_of_the_top_three__closed_form():
    rows = torch.tensor([[5.0, 4.0, 3.0, 0.0, 0.0], [5.0, 4.0, 0.0, 3.0, 0.0]]).double()
    result = Localisation(torch.zeros(2, 2, dtype=torch.int64), rows.mean(0), rows, 10.0, "x", 5)
    assert result.top == [0, 1, 2] and result.stability == pytest.approx(2 / 3)
    assert result.shares.tolist() == [0.5, 0.4, 0.15, 0.15, 0]
    assert result.to_dict()["stability"] == result.stability


def test_slic_comes_close_to_the_wanted_number__identity_count():
    pytest.importorskip("skimage")
    rng = torch.Generator().manual_seed(1)
    blobs = nn.functional.interpolate(torch.rand(1, 3, 6, 6, generator=rng), 64, mode="bicubic")[
        0
    ].clamp(0, 1)
    result = slic_segments(blobs, 20)
    count = int(result.max()) + 1
    assert 16 <= count <= 24 and len(torch.bincount(result.flatten())) == count
    assert (torch.bincount(result.flatten()) > 0).all()
    blank = slic_segments(torch.full((3, 64, 64), 0.5), 20)
    assert blank.max() >= 1


def test_grid_segments_are_even__closed_form():
    result = grid_segments(torch.zeros(3, 40, 50), 20)
    assert torch.bincount(result.flatten()).tolist() == [100] * 20
    assert result[0].unique_consecutive().tolist() == [0, 1, 2, 3, 4]


def test_the_overlay_outlines_the_top_three__closed_form():
    segments = grid_segments(torch.zeros(3, 16, 16), 16)
    W = torch.zeros(1, 16).double()
    W[0, [5, 2, 9]] = torch.tensor([3.0, 2.0, 1.0]).double()
    result = Localisation(segments, W[0], W.repeat(2, 1), 6.0, "x", 16)
    shown = overlay(torch.full((3, 16, 16), 0.5), result)
    assert shown.shape == (3, 16, 16) and shown.dtype == torch.uint8
    assert shown[:, 4, 4].tolist() == [255, 230, 0]
    assert shown[:, 0, 8].tolist() == [0, 230, 255]
    assert shown[:, 8, 4].tolist() == [255, 255, 255]
    inside, outside = shown[:, 5, 5].int(), shown[:, 13, 13].int()
    assert inside[0] > outside[0] and outside.tolist() == [128, 128, 128]


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        (torch.zeros(SIDE, SIDE, dtype=torch.int64), "at least 2"),
        (torch.zeros(4, 4, dtype=torch.int64), "expected int64"),
        (torch.arange(SIDE * SIDE).view(SIDE, SIDE) * 2, "every number in use"),
    ],
)
def test_segments_that_are_none__rejects(segments, message, net, image):
    with pytest.raises(InputError, match=message):
        explain(image, net, config=CONFIG, segments=segments)


def test_wrong_trials__rejects(net, image):
    config = LocalisationConfig(method="regression", segmentation="grid", fewest=6, most=3)
    with pytest.raises(InputError, match="6 to 3 segments"):
        explain(image, net, config=CONFIG, localisation=config)


class Still(nn.Module):
    """Features that no attack moves."""

    def forward(self, x):
        return x.flatten(1)[:, :2] * 0 + 1


def test_an_attack_that_does_nothing__rejects(image):
    with pytest.raises(InputError, match="no segment contributes"):
        explain(image, encoder(Still(), resolution=SIDE), localisation=GRID)
