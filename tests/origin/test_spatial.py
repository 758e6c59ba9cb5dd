"""Laying a query over candidates: flips, shifts, crops, and the map of differences."""

import pytest
import torch
from torch.nn import functional as F

from wherefrom.core.rng import stream
from wherefrom.origin.reranking import spatial
from wherefrom.origin.reranking.spatial import align, difference_map

SIDE = 32


def field(number, height=SIDE, width=SIDE):
    """A latent (3, height, width) with structure at several scales."""
    rng = stream(number, "field")
    rows = [
        F.interpolate(
            torch.randn(1, 3, n, n, generator=rng), (height, width), mode="bicubic"
        )[0] * weight
        for n, weight in ((4, 2.0), (12, 1.0), (24, 0.5))
    ]  # fmt: skip
    return sum(rows)


def others(count=6):
    return torch.stack([field(100 + n) for n in range(count)])


def correlation(q, o):
    """Of two equally large windows (c, a, b)."""
    return float((q * o).sum() / (q.norm() * o.norm()))


def high_passed(latent):
    """A cell less the mean of the 9 x 9 cells around it that there are."""
    out = latent.clone()
    for y in range(SIDE):
        for x in range(SIDE):
            near = latent[:, max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5]
            out[:, y, x] -= near.mean((1, 2))
    return out


def test_agreement_at_equal_scale__naive_loop(monkeypatch):
    monkeypatch.setattr(spatial, "SCALES", ((1.0, 1.0),))
    q, o = field(1), field(1) + 0.7 * field(2)
    spread = q.std((1, 2), correction=0)[:, None, None]
    a, b = high_passed(q / spread), high_passed(o / spread)
    inner = a[:, 2:30, 2:30]
    values = {
        (y - 2, x - 2): correlation(inner, b[:, y : y + 28, x : x + 28])
        for y in range(5)
        for x in range(5)
    }
    (found,) = align(q[None], o[None])
    best = max(values, key=values.get)
    assert found.agreement == pytest.approx(values[best], abs=1e-5)
    assert (found.y0 * SIDE, found.x0 * SIDE) == pytest.approx(best)


@pytest.mark.parametrize("shift", [(0, 0), (2, -1), (-2, 2)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_shift_and_a_flip_are_found__closed_form(shift, mirrored):
    large = field(3, SIDE + 4, SIDE + 4)
    origin = large[:, 2 : 2 + SIDE, 2 : 2 + SIDE]
    y, x = 2 + shift[0], 2 + shift[1]
    query = large[:, y : y + SIDE, x : x + SIDE]
    frames = torch.stack([query, query.flip(-1)])
    if mirrored:
        frames = frames.flip(0)
    found = align(frames, torch.cat([origin[None], others()]))
    assert found[0].mirrored is mirrored and found[0].is_whole
    assert found[0].is_plain is not mirrored
    assert (found[0].y0 * SIDE, found[0].x0 * SIDE) == pytest.approx(shift)
    # The means of surroundings differ at the edges, where the two end.
    assert found[0].agreement > 0.95
    assert max(other.agreement for other in found[1:]) < 0.7


def test_a_crop_and_a_border_are_found__closed_form():
    origin = field(4, 40, 40)
    crop = origin[:, 4:36, 8:40]
    small = F.interpolate(origin[None], (SIDE, SIDE), mode="bilinear", antialias=True)[0]
    found = align(crop[None], torch.cat([small[None], others()]))
    assert found[0].agreement == max(each.agreement for each in found) and not found[0].is_whole
    edges = (found[0].y0, found[0].x0, found[0].y1, found[0].x1)
    assert edges == pytest.approx((0.1, 0.2, 0.9, 1.0), abs=0.03)
    bordered = torch.randn(3, SIDE, SIDE, generator=stream(0, "border")) * 0.2
    inner = F.interpolate(small[None], (27, 27), mode="bilinear", antialias=True)[0]
    bordered[:, 2:29, 3:30] = inner
    (found,) = align(bordered[None], small[None])
    assert (found.y0 * 27, found.x0 * 27) == pytest.approx((-2, -3), abs=0.6)


@pytest.mark.parametrize("size", [(40, 27), (32, 43), (36, 32)])
def test_resizing_by_matrices__reference_torch(size):
    latents = others(2)
    wanted = F.interpolate(latents, size, mode="bilinear", antialias=True)
    assert torch.allclose(spatial._resized(latents, size), wanted, atol=1e-5)


def test_each_candidate_is_compared_on_its_own__identity_batch():
    query, candidates = field(5)[None], others()
    together = align(query, candidates)
    for one, found in zip(candidates, together, strict=True):
        (alone,) = align(query, one[None])
        assert alone.agreement == pytest.approx(found.agreement, abs=1e-5)
        assert (alone.y0, alone.x0, alone.mirrored) == (found.y0, found.x0, found.mirrored)


def test_a_new_palette_does_not_count__identity_offset():
    origin = field(6)
    tinted = origin + torch.tensor([3.0, -2.0, 1.0])[:, None, None]
    (found,) = align(tinted[None], origin[None])
    assert found.agreement == pytest.approx(1, abs=1e-5) and found.is_plain


def test_the_map_shows_the_place_that_differs__closed_form():
    origin = field(7)
    query = origin.clone()
    query[:, 8:14, 20:26] += field(8)[:, 8:14, 20:26] * 2
    (found,) = align(query[None], origin[None])
    cells = difference_map(query, origin, found)
    inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inside[8:14, 20:26] = True
    assert found.is_plain and cells.shape == (SIDE, SIDE)
    assert float(cells[inside].mean()) > 5 * float(cells[~inside].mean())
    assert float(cells[20:, :10].abs().max()) < 1e-5


def test_the_map_is_in_the_frame_of_the_query__identity_flip():
    origin = field(9)
    query = origin.flip(-1).clone()
    query[:, 4:8, 4:8] += 3
    frames = torch.stack([query, query.flip(-1)])
    (found,) = align(frames, origin[None])
    assert found.mirrored
    cells = difference_map(frames[1], origin, found)
    top = int(cells.flatten().argmax())
    assert 4 <= top // SIDE < 8 and 4 <= top % SIDE < 8


def test_the_map_is_blank_where_the_candidate_ends__closed_form():
    place = spatial.Alignment(0.5, False, -0.5, 0.0, 0.5, 1.0)
    cells = difference_map(field(10), field(11), place)
    assert bool(cells[:16].isnan().all()) and not bool(cells[16:].isnan().any())
