"""W: the closed form against SciPy, projections, saving, and what is refused."""

import dataclasses

import pytest
import scipy.linalg
import torch
from latent_model import (
    CLOSED,
    DIMENSION,
    ENCODER,
    make_pairs,
    precision,
    raw_precision,
    seen_queries,
    training_pairs,
    unseen_queries,
)

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.encoders import EncoderIdentity
from wherefrom.origin import EditMapConfig, FittedEditMap, fit_edit_map
from wherefrom.origin.edit_map.closed_form import from_moments, moments_of
from wherefrom.origin.edit_map.fitting import fit_from_moments
from wherefrom.origin.edit_map.gathered import PairMoments
from wherefrom.origin.edit_map.pairs import EmbeddedPairs
from wherefrom.origin.edit_map.theory import report_pairs

TRAINED = EditMapConfig(solver="sgd", rank=48, epochs=1, steps_per_epoch=2, ids_per_batch=32)
EIGEN = 1e-8  # two float64 eigensolvers on a pencil of condition about 1e3
SINGLE = 1e-5  # float32 against float64 in products of 128 terms


@pytest.fixture(scope="module")
def pairs():
    return training_pairs()


def small_moments(ridge=1e-2, rank=4):
    rng = torch.Generator().manual_seed(3)
    origins = torch.randn(30, 9, generator=rng, dtype=torch.float64) @ torch.diag(
        torch.arange(1.0, 10.0, dtype=torch.float64)
    )
    owner = torch.arange(60) % 30
    edits = origins[owner] + torch.randn(60, 9, generator=rng, dtype=torch.float64)
    config = EditMapConfig(rank=rank, ridge=ridge)
    return (
        origins,
        edits,
        owner,
        moments_of(EmbeddedPairs(origins, edits, owner, encoder=ENCODER)),
        config,
    )


def test_closed_form_solves_the_generalised_problem__reference_scipy():
    origins, edits, owner, moments, config = small_moments()
    S_t = torch.cov(origins.T, correction=0)
    d = edits - origins[owner]
    S_d = d.T @ d / 60
    B = S_d + 1e-2 * S_d.trace() / 9 * torch.eye(9, dtype=torch.float64)
    values, vectors = scipy.linalg.eigh(S_t.numpy(), B.numpy())
    W = from_moments(moments, config)
    for column, (value, vector) in enumerate(zip(values[:-5:-1], vectors.T[:-5:-1], strict=True)):
        v = torch.from_numpy(vector.copy())
        v = v * v[v.abs().argmax()].sign()
        assert torch.allclose(W[:, column], v, atol=EIGEN)
        assert torch.allclose(S_t @ W[:, column], value * (B @ W[:, column]), atol=EIGEN * value)
    assert torch.allclose(W.T @ B @ W, torch.eye(4, dtype=torch.float64), atol=EIGEN)


def test_with_a_huge_ridge_w_is_principal_components__limit():
    origins, _, _, moments, config = small_moments(ridge=1e9)
    W = from_moments(moments, config)
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
    moments = moments_of(EmbeddedPairs(origins, edits, owner, encoder=ENCODER))
    W = from_moments(moments, EditMapConfig(rank=2))
    scale = (0.1**2 / 5 * 1.01) ** -0.5
    expected = torch.zeros(5, 2, dtype=torch.float64)
    expected[4, 0] = expected[3, 1] = scale
    assert torch.allclose(W, expected, atol=EIGEN * scale)


def test_duplicates_do_not_count_as_directions__rejects():
    origins, edits, owner = make_pairs(20, 2, 0)
    twice = torch.cat([origins, origins])
    for more in (edits, edits.repeat(4, 1)):  # fewer images than dimensions, and more
        with pytest.raises(InputError, match="too alike to span 30 directions"):
            fit_edit_map(
                EmbeddedPairs(twice, more, owner.repeat(len(more) // 40), encoder=ENCODER),
                config=EditMapConfig(rank=30),
            )


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
        EmbeddedPairs(origins, edits, owner, encoder=ENCODER),
        config=EditMapConfig(rank=12, ridge=1e-7),
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


def test_closed_form_finds_more_origins_than_the_raw_cosine__limit(closed):
    assert raw_precision(seen_queries()) < 0.75
    assert precision(closed, seen_queries()) > 0.98
    assert precision(closed, unseen_queries()) > 0.98


def test_embeddings_are_centred_first__identity_deviation(pairs, closed):
    """Deviation: a constant added to every image changes nothing; without `centre` it does."""
    origins, edits, owner = pairs
    shift = torch.full((DIMENSION,), 2.0)
    shifted = fit_edit_map(
        EmbeddedPairs(origins + shift, edits + shift, owner, encoder=ENCODER), config=CLOSED
    )
    assert torch.allclose(closed.mean, origins.mean(dim=0), atol=SINGLE)
    found, expected = shifted.project(edits + shift), closed.project(edits)
    assert torch.allclose(found @ found.T, expected @ expected.T, atol=100 * SINGLE)
    plain = fit_edit_map(
        EmbeddedPairs(*pairs, encoder=ENCODER), config=CLOSED.with_values({"centre": False})
    )
    assert not plain.mean.any()
    assert torch.equal(plain.weight, closed.weight)
    expected = torch.nn.functional.normalize(edits.double() @ plain.weight.double())
    assert torch.allclose(plain.project(edits).double(), expected, atol=SINGLE)
    sgd = fit_edit_map(EmbeddedPairs(*pairs, encoder=ENCODER), config=TRAINED)
    assert torch.allclose(sgd.mean, origins.mean(dim=0), atol=SINGLE)


def test_default_solver_is_the_closed_form__identity_deviation(closed, pairs):
    """Deviation: no gradient descent unless it is asked for; the seed has no say then."""
    assert EditMapConfig().solver == "closed"
    again = fit_edit_map(EmbeddedPairs(*pairs, encoder=ENCODER), config=CLOSED, seed=9)
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
    fitted = fit_edit_map(EmbeddedPairs(origins, edits, owner, encoder=ENCODER), config=CLOSED)
    whole = fitted.project(edits[:150])
    assert torch.equal(torch.cat([fitted.project(x[None]) for x in edits[:150]]), whole)
    order = torch.randperm(150)
    assert torch.equal(fitted.project(edits[order]), whole[order])
    assert fitted.project(edits[:0]).shape == (0, 48)


def test_streamed_and_merged_moments_fit_the_same_map__identity_streaming(closed, pairs):
    origins, edits, owner = pairs
    left = moments_of(EmbeddedPairs(origins[:100], edits[:400], owner[:400], encoder=ENCODER))
    right = moments_of(
        EmbeddedPairs(origins[100:], edits[400:], owner[400:] - 100, encoder=ENCODER)
    )
    both = left.merge(right)
    fitted = fit_from_moments(both, config=CLOSED)
    assert torch.allclose(fitted.weight, closed.weight, atol=SINGLE * float(closed.weight.max()))
    assert fitted.provenance == {"origins": 500, "edits": 2000}
    with pytest.raises(InputError, match="choose the solver 'closed'"):
        fit_from_moments(both, config=TRAINED)


@pytest.mark.parametrize("config", [CLOSED, TRAINED.with_values({"layers": 3})])
def test_a_saved_map_comes_back__roundtrip(pairs, tmp_path, config):
    fitted = fit_edit_map(EmbeddedPairs(*pairs, encoder=ENCODER), config=config, seed=3)
    fitted.save(tmp_path / "map")
    again = FittedEditMap.load(tmp_path / "map")
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
        FittedEditMap.load(tmp_path / "map")


def test_another_kind_of_artifact__rejects(pairs, tmp_path):
    moments_of(EmbeddedPairs(*pairs, encoder=ENCODER)).save(tmp_path / "m")
    with pytest.raises(
        ArtifactError, match="'origin/moments' artifact, expected 'origin/edit-map'"
    ):
        FittedEditMap.load(tmp_path / "m")


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
            EmbeddedPairs(*data.values(), encoder=ENCODER),
            config=EditMapConfig(**{"rank": 8, **settings}),
        )
    assert "\n" not in str(error.value)


def test_fitted_values_name_their_kind__identity_kinds(closed):
    assert (FittedEditMap.kind, PairMoments.kind) == ("origin/edit-map", "origin/moments")
    assert (closed.rank, closed.dimension) == (48, 128)
    assert closed.to("cpu").digest == closed.digest
