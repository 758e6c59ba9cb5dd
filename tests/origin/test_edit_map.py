"""W: the closed form against SciPy, metric learning against raw cosine, and what is refused."""

import dataclasses
import math

import pytest
import scipy.linalg
import torch
from latent_model import DIMENSION, ENCODER, make_pairs, mean_average_precision

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.encoders import EncoderIdentity
from wherefrom.origin import (
    EditMapConfig,
    FittedEditMap,
    PairMoments,
    fit_edit_map,
    fit_from_moments,
    load_edit_map,
)
from wherefrom.origin.method import closed_form, moments_of
from wherefrom.origin.metric_learning import EditMapTask, Pairs, learning_rate_factor
from wherefrom.origin.theory import compare_encoders, compare_maps, report_pairs

CLOSED = EditMapConfig(rank=48)
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
EIGEN = 1e-8  # two float64 eigensolvers on a pencil of condition about 1e3
SINGLE = 1e-5  # float32 against float64 in products of 128 terms


@pytest.fixture(scope="module")
def pairs():
    return make_pairs(500, 4, 0)


@pytest.fixture(scope="module")
def queries():
    """Held-out pairs: of the editor trained on, and of one that keeps other frequencies."""
    return {"seen": make_pairs(250, 1, 1), "unseen": make_pairs(250, 1, 2, kept=(1.5, 4.5))}


@pytest.fixture(scope="module")
def closed(pairs):
    return fit_edit_map(*pairs, encoder=ENCODER, config=CLOSED)


def precision(fitted, pairs):
    origins, edits, owner = pairs
    return mean_average_precision(fitted.project(edits), fitted.project(origins), owner)


def raw_precision(pairs):
    origins, edits, owner = pairs
    return mean_average_precision(edits, origins, owner)


def small_moments(ridge=1e-2, rank=4):
    rng = torch.Generator().manual_seed(3)
    origins = torch.randn(30, 9, generator=rng, dtype=torch.float64) @ torch.diag(
        torch.arange(1.0, 10.0, dtype=torch.float64)
    )
    owner = torch.arange(60) % 30
    edits = origins[owner] + torch.randn(60, 9, generator=rng, dtype=torch.float64)
    config = EditMapConfig(rank=rank, ridge=ridge)
    return origins, edits, owner, moments_of(origins, edits, owner, encoder=ENCODER), config


def test_closed_form_solves_the_generalised_problem__reference_scipy():
    origins, edits, owner, moments, config = small_moments()
    S_t = torch.cov(origins.T, correction=0)
    d = edits - origins[owner]
    S_d = d.T @ d / 60
    B = S_d + 1e-2 * S_d.trace() / 9 * torch.eye(9, dtype=torch.float64)
    values, vectors = scipy.linalg.eigh(S_t.numpy(), B.numpy())
    W = closed_form(moments, config)
    for column, (value, vector) in enumerate(zip(values[:-5:-1], vectors.T[:-5:-1], strict=True)):
        v = torch.from_numpy(vector.copy())
        v = v * v[v.abs().argmax()].sign()
        assert torch.allclose(W[:, column], v, atol=EIGEN)
        assert torch.allclose(S_t @ W[:, column], value * (B @ W[:, column]), atol=EIGEN * value)
    assert torch.allclose(W.T @ B @ W, torch.eye(4, dtype=torch.float64), atol=EIGEN)


def test_with_a_huge_ridge_w_is_principal_components__limit():
    origins, _, _, moments, config = small_moments(ridge=1e9)
    W = closed_form(moments, config)
    W = W / W.norm(dim=0)
    _, vectors = torch.linalg.eigh(torch.cov(origins.T, correction=0))
    for column in range(4):
        assert abs(float(W[:, column] @ vectors[:, -1 - column])) == pytest.approx(1, abs=1e-6)


def test_isotropic_edits_give_principal_components_too__closed_form():
    """S_d = c I: lambda_i is the variance of a component over c (1 + ridge)."""
    origins = torch.diag(torch.arange(1.0, 6.0, dtype=torch.float64))
    origins = torch.cat([origins, -origins])
    change = 0.1 * torch.eye(5, dtype=torch.float64)
    edits, owner = torch.cat([origins[:5] + change, origins[5:] - change]), torch.arange(10)
    moments = moments_of(origins, edits, owner, encoder=ENCODER)
    W = closed_form(moments, EditMapConfig(rank=2))
    scale = (0.1**2 / 5 * 1.01) ** -0.5
    expected = torch.zeros(5, 2, dtype=torch.float64)
    expected[4, 0] = expected[3, 1] = scale
    assert torch.allclose(W, expected, atol=EIGEN * scale)


def test_a_planted_invariant_subspace_is_found__limit():
    """Edits redraw 20 of 32 directions and keep the rest: W sees none of the 20."""
    rng = torch.Generator().manual_seed(4)
    basis, _ = torch.linalg.qr(torch.randn(32, 32, generator=rng))
    kept, redrawn = basis[:12], basis[12:]
    content = torch.randn(400, 12, generator=rng)
    owner = torch.arange(400).repeat_interleave(2)
    origins = content @ kept + 3 * torch.randn(400, 20, generator=rng) @ redrawn
    edits = content[owner] @ kept + 3 * torch.randn(800, 20, generator=rng) @ redrawn
    fitted = fit_edit_map(
        origins, edits, owner, encoder=ENCODER, config=EditMapConfig(rank=12, ridge=1e-7)
    )
    W = fitted.weight / fitted.weight.norm(dim=0)
    assert float((redrawn @ W).abs().max()) < 1e-3
    assert float(torch.linalg.svdvals(kept @ W).min()) > 0.1
    report = report_pairs(fitted, edits, origins[owner])
    assert report.cosine > 1 - 1e-4
    assert report.cosine_raw < 0.3
    assert report.distance_ratio < 1e-4 < report.distance_ratio_raw
    assert raw_precision((origins, edits, owner)) < 0.5
    assert precision(fitted, (origins, edits, owner)) > 0.999


def test_closed_form_finds_more_origins_than_the_raw_cosine__limit(closed, queries):
    assert raw_precision(queries["seen"]) < 0.75
    assert precision(closed, queries["seen"]) > 0.98
    assert precision(closed, queries["unseen"]) > 0.98


@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({}, 0.98),
        ({"loss": "circle"}, 0.98),
        ({"loss": "softmax"}, 0.78),
        ({"layers": 2}, 0.9),
        ({"start": "closed", "epochs": 1, "warm_up": 0}, 0.98),
    ],
)
def test_metric_learning_finds_more_than_the_raw_cosine__limit(pairs, queries, settings, least):
    origins, _, owner = pairs
    fitted = fit_edit_map(
        *pairs,
        encoder=ENCODER,
        config=QUICK.with_values(settings),
        watch={"seen": (pairs[1], origins[owner])},
    )
    assert precision(fitted, queries["seen"]) > least > raw_precision(queries["seen"]) + 0.05
    assert [row["epoch"] for row in fitted.history] == list(range(fitted.config.epochs))
    report = report_pairs(fitted, pairs[1], origins[owner])
    assert fitted.history[-1]["seen"] == pytest.approx(report.cosine, abs=SINGLE)
    if "start" not in settings:  # Fig. 7: the cosines rise
        assert fitted.history[-1]["seen"] > fitted.history[0]["seen"] + 0.1
        assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]


def test_seeds_decide_the_result_and_nothing_else__identity_seed(pairs):
    short = QUICK.with_values({"epochs": 1, "steps_per_epoch": 5})
    first, again, other = (
        fit_edit_map(*pairs, encoder=ENCODER, config=short, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.weight, again.weight)
    assert first.digest == again.digest != other.digest


def test_an_interrupted_training_ends_with_the_same_bits__identity_resume(pairs, tmp_path):
    config = QUICK.with_values({"epochs": 2, "steps_per_epoch": 3, "layers": 2})
    whole = fit_edit_map(*pairs, encoder=ENCODER, config=config)

    def stops(items, label, *, total=None):
        for index, item in enumerate(items):
            if index == 4:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        fit_edit_map(*pairs, encoder=ENCODER, config=config, checkpoint=tmp_path / "c", track=stops)
    rest = fit_edit_map(*pairs, encoder=ENCODER, config=config, checkpoint=tmp_path / "c")
    assert torch.equal(rest.weight, whole.weight)
    assert torch.equal(rest.layers[0], whole.layers[0])
    assert rest.history == whole.history[1:]
    with pytest.raises(InputError, match="other settings"):
        fit_edit_map(*pairs, encoder=ENCODER, config=config, seed=1, checkpoint=tmp_path / "c")


def test_schedule_is_a_rise_a_plain_and_a_cosine__closed_form():
    paper = EditMapConfig()
    found = [learning_rate_factor(epoch, paper) for epoch in range(25)]
    assert found[:5] == pytest.approx([0.01, 0.208, 0.406, 0.604, 0.802])
    assert found[5:11] == [1.0] * 6
    assert found[17] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 15)))
    assert found[24] == pytest.approx(0.5 * (1 + math.cos(math.pi * 14 / 15)))


def test_batches_hold_every_class_once_per_pass__identity_sampler(pairs):
    origins, edits, owner = pairs
    task = EditMapTask(Pairs(origins, edits, owner, torch.zeros(DIMENSION)), QUICK, 0)
    passes = [torch.cat([task._classes(15 * n + i) for i in range(15)]) for n in (0, 1)]
    for seen in passes:
        assert len(seen.unique()) == len(seen) == 480
    assert not torch.equal(*passes)
    z, y = task.pairs.draw(torch.tensor([3, 7]), 4, torch.Generator().manual_seed(0))
    assert y.tolist() == [3] * 4 + [7] * 4
    for row, label in zip(z, y.tolist(), strict=True):
        members = torch.cat([origins[label : label + 1], edits[4 * label : 4 * label + 4]])
        assert int((members == row).all(dim=1).sum()) == 1
    assert len(z.unique(dim=0)) == 8


def test_origins_belong_to_their_class_and_small_classes_repeat__identity_sampler():
    origins, edits = torch.arange(4.0)[:, None], torch.tensor([[10.0], [30.0], [31.0]])
    pairs = Pairs(origins, edits, torch.tensor([1, 3, 3]), torch.tensor([0.5]))
    assert pairs.ids.tolist() == [1, 3]
    assert pairs.centred_origins().tolist() == [[0.5], [2.5]]
    rng = torch.Generator().manual_seed(0)
    drawn = [pairs.draw(torch.tensor([0, 1]), 8, rng)[0].flatten().tolist() for _ in range(9)]
    assert {x for row in drawn for x in row[:8]} == {0.5, 9.5}
    assert {x for row in drawn for x in row[8:]} == {2.5, 29.5, 30.5}


def test_average_follows_its_recursion__naive_loop(pairs):
    config = QUICK.with_values({"ema": 0.3})
    task = EditMapTask(Pairs(*pairs, torch.zeros(DIMENSION)), config, 0)
    expected = task.map.weight.detach().clone()
    for t in range(1, 6):
        task.step(t - 1)
        decay = min(0.3, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * task.map.weight.detach()
        assert torch.allclose(task.averaged.weight, expected, atol=SINGLE)
    assert not torch.equal(task.averaged.weight, task.map.weight)


def test_embeddings_are_centred_first__identity_deviation(pairs, closed):
    """Deviation: a constant added to every image changes nothing; without `centre` it does."""
    origins, edits, owner = pairs
    shift = torch.full((DIMENSION,), 2.0)
    shifted = fit_edit_map(origins + shift, edits + shift, owner, encoder=ENCODER, config=CLOSED)
    assert torch.allclose(closed.mean, origins.mean(dim=0), atol=SINGLE)
    found, expected = shifted.project(edits + shift), closed.project(edits)
    assert torch.allclose(found @ found.T, expected @ expected.T, atol=100 * SINGLE)
    plain = fit_edit_map(*pairs, encoder=ENCODER, config=CLOSED.with_values({"centre": False}))
    assert not plain.mean.any()
    assert torch.equal(plain.weight, closed.weight)
    expected = torch.nn.functional.normalize(edits.double() @ plain.weight.double())
    assert torch.allclose(plain.project(edits).double(), expected, atol=SINGLE)
    sgd = fit_edit_map(
        *pairs, encoder=ENCODER, config=QUICK.with_values({"epochs": 1, "steps_per_epoch": 1})
    )
    assert torch.allclose(sgd.mean, origins.mean(dim=0), atol=SINGLE)


def test_default_solver_is_the_closed_form__identity_deviation(closed, pairs):
    """Deviation: no gradient descent unless it is asked for; the seed has no say then."""
    assert EditMapConfig().solver == "closed"
    again = fit_edit_map(*pairs, encoder=ENCODER, config=CLOSED, seed=9)
    assert torch.equal(again.weight, closed.weight)


def test_projections_are_unit_rows_of_x_minus_mean_times_w__naive_loop(closed, pairs):
    x = pairs[1][:5]
    found = closed.project(x)
    assert found.dtype == torch.float32
    for row, result in zip(x.double(), found.double(), strict=True):
        expected = (row - closed.mean.double()) @ closed.weight.double()
        assert torch.allclose(result, expected / expected.norm(), atol=SINGLE)
    assert not closed.project(closed.mean[None]).any()


def test_no_projection_depends_on_its_batch__identity_batch(pairs):
    origins, edits, owner = pairs
    fitted = fit_edit_map(origins, edits, owner, encoder=ENCODER, config=CLOSED)
    whole = fitted.project(edits[:150])
    assert torch.equal(torch.cat([fitted.project(x[None]) for x in edits[:150]]), whole)
    order = torch.randperm(150)
    assert torch.equal(fitted.project(edits[order]), whole[order])
    assert fitted.project(edits[:0]).shape == (0, 48)


def test_streamed_merged_and_updated_moments_fit_the_same_map__identity_streaming(closed, pairs):
    origins, edits, owner = pairs
    extra_origins, extra_edits, extra_owner = make_pairs(20, 2, 9)
    left = moments_of(origins[:100], edits[:400], owner[:400], encoder=ENCODER)
    left.add_origins(extra_origins)
    left.add_edits(extra_edits, extra_origins[extra_owner])
    right = moments_of(origins[100:], edits[400:], owner[400:] - 100, encoder=ENCODER)
    both = left.merge(right)
    both.remove_edits(extra_edits, extra_origins[extra_owner])
    both.remove_origins(extra_origins)
    fitted = fit_from_moments(both, config=CLOSED)
    assert torch.allclose(fitted.weight, closed.weight, atol=SINGLE * float(closed.weight.max()))
    assert fitted.provenance == {"origins": 500, "edits": 2000}
    with pytest.raises(InputError, match="choose the solver 'closed'"):
        fit_from_moments(both, config=QUICK)


@pytest.mark.parametrize("config", [CLOSED, QUICK.with_values({"epochs": 1, "layers": 3})])
def test_a_saved_map_comes_back__roundtrip(pairs, tmp_path, config):
    config = config.with_values({"steps_per_epoch": 2})
    fitted = fit_edit_map(*pairs, encoder=ENCODER, config=config, seed=3)
    fitted.save(tmp_path / "map")
    again = load_edit_map(tmp_path / "map")
    assert torch.equal(again.project(pairs[1]), fitted.project(pairs[1]))
    assert again.digest == fitted.digest
    for field in ("config", "encoder", "history", "provenance"):
        assert getattr(again, field) == getattr(fitted, field)
    assert again.provenance["seed"] == 3
    with pytest.raises(InputError, match="already exists"):
        fitted.save(tmp_path / "map")
    blob = tmp_path / "map" / "tensors.safetensors"
    damaged = bytearray(blob.read_bytes())
    damaged[-1] ^= 1
    blob.write_bytes(damaged)
    with pytest.raises(ArtifactError, match="changed or cut short"):
        load_edit_map(tmp_path / "map")


def test_another_kind_of_artifact__rejects(pairs, tmp_path):
    moments_of(*pairs, encoder=ENCODER).save(tmp_path / "m")
    with pytest.raises(
        ArtifactError, match="'origin/moments' artifact, expected 'origin/edit-map'"
    ):
        load_edit_map(tmp_path / "m")


def test_another_encoder__rejects_and_says_what_differs(closed):
    closed.require_encoder(ENCODER)
    other = EncoderIdentity("AutoencoderTiny", "sha256:config", "sha256:weights")
    with pytest.raises(InputError, match="kind 'AutoencoderTiny' instead of 'AutoencoderKL'"):
        closed.require_encoder(other)
    assert dataclasses.replace(closed, encoder=other).digest != closed.digest
    with pytest.raises(InputError, match=r"this map needs \(N, 128\)"):
        closed.project(torch.zeros(2, 64))
    with pytest.raises(InputError, match="NaN"):
        closed.project(torch.full((1, DIMENSION), float("nan")))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"rank": 129}, "rank 129 is more than the 128 dimensions"),
        ({"rank": 40}, "40 origins span fewer than the 40 directions"),
        ({"owner": torch.zeros(80, dtype=torch.int64)}, "all edits are of one origin"),
        ({"owner": torch.full((80,), 40)}, r"outside 0 \.\. 39"),
        ({"owner": torch.arange(80) % 40 - 1}, r"outside 0 \.\. 39"),
        ({"owner": torch.zeros(80)}, "expected int64"),
        ({"owner": torch.zeros(79, dtype=torch.int64)}, r"expected int64 \(80,\)"),
        ({"edits": torch.zeros(80, 3)}, "embed both with one encoder"),
        ({"edits": torch.full((80, 128), float("inf"))}, "the edits hold NaN or infinite"),
        ({"edits": torch.zeros(0, 128), "owner": torch.zeros(0).long()}, "at least one"),
        ({"edits": "origins"}, "every edit equals its origin"),
        ({"origins": torch.zeros(40, 2, 64)}, r"expected floating-point embeddings \(N, n\)"),
        ({"layers": 2}, "choose the solver 'sgd'"),
        ({"ridge": 0.0}, "80 edits do not vary in every direction"),
    ],
)
def test_data_that_cannot_be_fitted__rejects_in_one_line(change, problem):
    origins, edits, owner = make_pairs(40, 2, 0)
    data = {"origins": origins, "edits": edits, "owner": owner}
    settings = {k: v for k, v in change.items() if k not in data}
    data |= {k: v for k, v in change.items() if k in data}
    if isinstance(data["edits"], str):
        data["edits"] = origins[owner]
    with pytest.raises(InputError, match=problem) as error:
        fit_edit_map(
            *data.values(), encoder=ENCODER, config=EditMapConfig(**{"rank": 8, **settings})
        )
    assert "\n" not in str(error.value)


def test_maps_of_two_editors_have_like_singular_values__limit(closed):
    """Table 1: cos(phi) near 1, although the maps differ; and 1 with itself."""
    other = fit_edit_map(*make_pairs(500, 4, 5, kept=(1.5, 4.5)), encoder=ENCODER, config=CLOSED)
    assert compare_maps(closed, closed) == pytest.approx(1, abs=SINGLE)
    assert 0.9 < compare_maps(closed, other) < 1
    with pytest.raises(InputError, match="rank 48 and 8"):
        low = fit_edit_map(*make_pairs(20, 2, 0), encoder=ENCODER, config=EditMapConfig(rank=8))
        compare_maps(closed, low)


def test_encoders_are_compared_as_in_table_3__naive_loop():
    from wherefrom.encoders import TinyConvConfig, as_encoder, make_autoencoder

    small = {"width_half": 4, "width_quarter": 4, "width_eighth": 4, "blocks": 0}
    one, two, wide = (
        as_encoder(make_autoencoder(TinyConvConfig(latent_channels=c, **small), seed=seed))
        for c, seed in ((2, 0), (2, 1), (3, 0))
    )
    images = torch.rand(2, 3, 64, 64)
    found = compare_encoders(one, two, images)
    a, b = one.embed(images).double(), two.embed(images).double()
    mean = sum(float(x @ y / (x.norm() * y.norm())) for x, y in zip(a, b, strict=True)) / 2
    assert found.embed == pytest.approx(mean, abs=SINGLE)
    v, w = one.module.encoder[-1].weight.flatten(), two.module.encoder[-1].weight.flatten()
    assert found.conv == pytest.approx(float(v @ w / (v.norm() * w.norm())), abs=SINGLE)
    same = compare_encoders(one, one, images)
    assert (same.conv, same.embed) == (pytest.approx(1), pytest.approx(1))
    assert compare_encoders(one, wide, images).to_dict() == {"conv": None, "embed": None}


def test_a_report_needs_pairs__rejects(closed, pairs):
    with pytest.raises(InputError, match="at least two rows"):
        report_pairs(closed, pairs[1][:1], pairs[0][:1])
    with pytest.raises(InputError, match="but the map has 128"):
        report_pairs(closed, torch.zeros(2, 3), torch.zeros(2, 3))


def test_fitted_values_name_their_kind__identity_kinds(closed):
    assert (FittedEditMap.kind, PairMoments.kind) == ("origin/edit-map", "origin/moments")
    assert (closed.rank, closed.dimension) == (48, 128)
    assert closed.to("cpu").digest == closed.digest
