"""The closed form from rows instead of moments: the same map, whatever the length of a latent."""

import pytest
import torch
from latent_model import DIMENSION, ENCODER, make_pairs

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.origin import EditMapConfig, fit_edit_map
from wherefrom.origin.edit_map import closed_form, gathered
from wherefrom.origin.edit_map.closed_form import Shape, from_moments, from_samples, moments_of
from wherefrom.origin.edit_map.fitting import fit_from_moments
from wherefrom.origin.edit_map.gathered import PairMoments, PairRows
from wherefrom.origin.edit_map.pairs import EmbeddedPairs

CONFIG = EditMapConfig(rank=20)
EIGEN = 1e-8  # two float64 eigensolvers on a pencil of condition about 1e3
SINGLE = 1e-5  # float32 against float64


def gather(origins, edits, owner):
    rows = PairRows.empty(ENCODER, origins.shape[1])
    rows.add_origins(origins)
    rows.add_edits(edits, origins[owner])
    return rows


def by_rows(rows, config):
    return from_samples(
        rows.columns, Shape(rows.origin_count, rows.edit_count, rows.dimension), config
    )


def assert_same(found, expected, tolerance=EIGEN):
    assert torch.allclose(found, expected, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("columns", [2048, 50])
@pytest.mark.parametrize("pairs", [(30, 2), (50, 4), (21, 1)])  # of 128 dimensions
def test_rows_give_the_map_of_the_moments__identity_dual(monkeypatch, columns, pairs):
    """Also with more edits than dimensions, where rows are not the shorter way."""
    monkeypatch.setattr(closed_form, "COLUMNS", columns)
    data = make_pairs(*pairs, 0)
    expected = from_moments(moments_of(EmbeddedPairs(*data, encoder=ENCODER)), CONFIG)
    assert_same(by_rows(gather(*data), CONFIG), expected)


def test_what_rows_leave_out_has_no_eigenvalue__closed_form():
    """The directions outside the span of the origins have variance 0: W is all there is."""
    origins, edits, owner = make_pairs(12, 2, 0)
    W = by_rows(gather(origins, edits, owner), EditMapConfig(rank=11))
    found = moments_of(EmbeddedPairs(origins, edits, owner, encoder=ENCODER))
    S_t, S_d = found.total(), found.difference()
    B = S_d + 1e-2 * S_d.trace() / DIMENSION * torch.eye(DIMENSION, dtype=torch.float64)
    assert_same(W.T @ B @ W, torch.eye(11, dtype=torch.float64))
    values = (W.T @ S_t @ W).diagonal()
    assert_same(S_t @ W, B @ W * values)
    assert float(values.sum()) == pytest.approx(float(torch.linalg.solve(B, S_t).trace()))


@pytest.mark.parametrize(
    ("origins", "edits", "way"), [(100, 127, "rows"), (40, 128, "moments"), (130, 40, "moments")]
)
def test_the_smaller_matrices_are_used__identity_dual(monkeypatch, origins, edits, way):
    used = []
    for name in ("from_samples", "from_moments"):
        real = getattr(closed_form, name)
        monkeypatch.setattr(
            closed_form, name, lambda *a, real=real, name=name: used.append(name) or real(*a)
        )
    z_o = make_pairs(origins, 1, 0)[0]
    z, owner = make_pairs(edits, 1, 1)[1], torch.arange(edits) % origins
    fitted = fit_edit_map(EmbeddedPairs(z_o, z, owner, encoder=ENCODER), config=CONFIG)
    assert used == [{"rows": "from_samples", "moments": "from_moments"}[way]]
    assert_same(fitted.weight, by_rows(gather(z_o, z, owner), CONFIG).float(), SINGLE)


def test_beyond_the_limit_it_says_what_to_do__rejects(monkeypatch):
    for module in (closed_form, gathered):
        monkeypatch.setattr(module, "LIMIT", 60)
    data = make_pairs(30, 2, 0)
    fit_edit_map(EmbeddedPairs(*data, encoder=ENCODER), config=CONFIG)  # 60 edits of 128 dimensions
    data = make_pairs(61, 1, 0)
    with pytest.raises(InputError, match="61 origins and 61 edits of 128 dimensions are too many"):
        fit_edit_map(EmbeddedPairs(*data, encoder=ENCODER), config=CONFIG)
    with pytest.raises(InputError, match="61 origins are more than the 60 whose rows are kept"):
        gather(*data)
    rows = gather(*make_pairs(31, 1, 0))
    with pytest.raises(InputError, match="62 origins are more than the 60"):
        rows.merge(rows)
    with pytest.raises(InputError, match=r"moments of 128 dimensions .* gather rows \(PairRows\)"):
        PairMoments.empty(ENCODER, 128)


def test_rows_of_two_parts_fit_the_map_of_the_whole__identity_merge():
    origins, edits, owner = make_pairs(40, 2, 0)
    left = gather(origins[:15], edits[:30], owner[:30])
    right = gather(origins[15:], edits[30:], owner[30:] - 15)
    whole = fit_edit_map(EmbeddedPairs(origins, edits, owner, encoder=ENCODER), config=CONFIG)
    for both in (left.merge(right), right.merge(left)):
        fitted = fit_from_moments(both, config=CONFIG)
        assert_same(fitted.weight, whole.weight, SINGLE)
        assert torch.allclose(fitted.mean, whole.mean, atol=SINGLE)
        assert fitted.provenance == {"origins": 40, "edits": 80}
    assert (left.origin_count, left.edit_count) == (15, 30)


def test_without_a_ridge_few_edits_leave_no_answer__rejects():
    data, config = make_pairs(30, 2, 0), CONFIG.with_values({"ridge": 0.0})
    for pairs in (moments_of(EmbeddedPairs(*data, encoder=ENCODER)), gather(*data)):
        with pytest.raises(InputError, match="60 edits do not vary in every direction"):
            fit_from_moments(pairs, config=config)


def test_saved_rows_come_back__roundtrip(tmp_path):
    rows = gather(*make_pairs(20, 2, 0))
    rows.save(tmp_path / "rows")
    again = PairRows.load(tmp_path / "rows")
    assert torch.equal(again.origins, rows.origins) and torch.equal(again.changes, rows.changes)
    assert again.encoder == ENCODER
    with pytest.raises(ArtifactError, match="'origin/rows' artifact, expected 'origin/moments'"):
        PairMoments.load(tmp_path / "rows")
