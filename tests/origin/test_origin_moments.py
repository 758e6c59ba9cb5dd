"""Streaming moments: whatever the order and the parts, the same sums."""

import numpy as np
import pytest
import torch
from latent_model import DIMENSION, ENCODER, make_pairs

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.encoders import EncoderIdentity
from wherefrom.origin.edit_map import gathered
from wherefrom.origin.edit_map.gathered import PairMoments, PairRows

# 400 float64 terms of size about 1 in another order.
ROUNDING = 1e-11


def gather(origins, edits, owner, kind=PairMoments):
    found = kind.empty(ENCODER, origins.shape[1])
    found.add_origins(origins)
    found.add_edits(edits, origins[owner])
    return found


def assert_equal(a, b):
    assert (a.origin_count, a.edit_count) == (b.origin_count, b.edit_count)
    for name in ("mean", "total", "difference"):
        assert torch.allclose(getattr(a, name)(), getattr(b, name)(), atol=ROUNDING), name


@pytest.mark.parametrize("rows", [4096, 7])
def test_moments_are_those_of_the_whole__reference_numpy(monkeypatch, rows):
    monkeypatch.setattr(gathered, "ROWS", rows)
    origins, edits, owner = make_pairs(50, 3, 0)
    found = gather(origins, edits, owner)
    x, d = origins.double().numpy(), (edits.double() - origins.double()[owner]).numpy()
    assert np.allclose(found.total(), np.cov(x.T, bias=True), atol=ROUNDING)
    assert np.allclose(found.difference(), np.einsum("mi,mj->ij", d, d) / len(d), atol=ROUNDING)
    assert np.allclose(found.mean(), x.mean(axis=0), atol=ROUNDING)
    assert found.total().dtype == torch.float64


def test_parts_add_up_in_any_order__identity_streaming():
    origins, edits, owner = make_pairs(40, 3, 0)
    whole = gather(origins, edits, owner)
    parts = PairMoments.empty(ENCODER, DIMENSION)
    for first in (20, 0, 10, 30):
        rows = torch.arange(3 * first, 3 * first + 30)
        parts.add_edits(edits[rows], origins[owner[rows]])
        parts.add_origins(origins[first : first + 10])
    assert_equal(parts, whole)


def test_two_halves_merge_to_the_whole__identity_merge():
    origins, edits, owner = make_pairs(40, 3, 0)
    left = gather(origins[:15], edits[:45], owner[:45])
    right = gather(origins[15:], edits[45:], owner[45:] - 15)
    before = left.total().clone()
    assert_equal(left.merge(right), gather(origins, edits, owner))
    assert_equal(left.merge(right), right.merge(left))
    assert torch.equal(left.total(), before)
    assert_equal(left.merge(PairMoments.empty(ENCODER, DIMENSION)), left)


def test_half_precision_rows_are_summed_in_float64__identity_dtype():
    origins, edits, owner = make_pairs(20, 2, 0)
    half = gather(origins.half(), edits.half(), owner)
    assert_equal(half, gather(origins.half().double(), edits.half().double(), owner))


def test_saved_moments_come_back__roundtrip(tmp_path):
    found = gather(*make_pairs(20, 2, 0))
    found.save(tmp_path / "m")
    again = PairMoments.load(tmp_path / "m")
    assert torch.equal(again.total(), found.total())
    assert torch.equal(again.difference(), found.difference())
    assert (again.encoder, again.origin_count, again.edit_count) == (ENCODER, 20, 40)
    with pytest.raises(InputError, match="already exists"):
        found.save(tmp_path / "m")
    (tmp_path / "m" / "tensors.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="changed or cut short"):
        PairMoments.load(tmp_path / "m")


@pytest.mark.parametrize("kind", [PairMoments, PairRows])
def test_rows_that_do_not_fit__rejects_in_one_line(kind):
    origins, edits, owner = make_pairs(4, 1, 0)
    found = gather(origins, edits, owner, kind)
    bad = origins.clone()
    bad[2, 5] = float("nan")
    other = EncoderIdentity("AutoencoderKL", "sha256:config", "sha256:others")
    for call, problem in (
        (lambda: found.add_origins(bad), "row 2 of the origins holds NaN"),
        (lambda: found.add_edits(bad, origins), "row 2 of the edits holds NaN"),
        (lambda: found.add_edits(edits, bad), "row 2 of the origins holds NaN"),
        (lambda: found.add_origins(origins[:, :3]), r"expected floating-point \(N, 128\)"),
        (lambda: found.add_origins(origins.long()), "expected floating-point"),
        (lambda: found.add_edits(edits[:2], origins), "give one for each"),
        (lambda: kind.empty(ENCODER, 3).mean(), "0 origins and 0 edits are held"),
        (lambda: found.merge(kind.empty(ENCODER, 3)), "do not merge"),
        (lambda: found.merge(kind.empty(other, DIMENSION)), "weights sha256:others"),
    ):
        before = found.mean()
        with pytest.raises(InputError, match=problem):
            call()
        assert torch.equal(found.mean(), before)
        assert (found.origin_count, found.edit_count) == (4, 4)
