"""The scan finds what a loop over all rows finds, whatever the batch, the layout and the dtype."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from making import naive, stored, vectors

from wherefrom.origin.index.scanning import exact, rough, scan
from wherefrom.origin.index.scanning.exact import RowBlock
from wherefrom.origin.index.scanning.rough import Rough, Rows
from wherefrom.origin.index.scanning.scan import STD_FLOOR, STD_TOLERANCE
from wherefrom.origin.index.scanning.top_rows import GROUP, TopRows

# A query is rounded to multiples of 2^-36: D * 2^-37, and the float64 sums of the loop.
SCORE_TOLERANCE = 1e-9
MEAN_TOLERANCE = 1e-12  # float64 sums in another order


@pytest.fixture(params=[False, True], ids=["float32", "bfloat16"], autouse=True)
def arithmetic(request, monkeypatch):
    """Both kinds of rough scores, whatever this processor prefers; chunks of few rows."""
    monkeypatch.setattr(rough, "multiplies_bfloat16", lambda device: request.param)
    monkeypatch.setattr(rough, "LOW_PRECISION_BATCH", 2)
    monkeypatch.setattr(rough, "LOW_PRECISION_ROWS", 1000)
    monkeypatch.setattr(rough, "TILE_ROWS", 512)
    monkeypatch.setattr(rough, "CONVERT_ELEMENTS", 48 * 200)
    monkeypatch.setattr(scan, "QUERY_BLOCK", 160)


def rows_of(table, *, cuts=(), dead=(), ids=None):
    """`Rows` of a float16 table, cut into parts at `cuts`, without the rows `dead`."""
    rows, parts = torch.from_numpy(table), []
    ids = torch.arange(len(table)) + 1 if ids is None else ids
    for low, high in zip([0, *cuts], [*cuts, len(table)], strict=True):
        gone = torch.tensor([n - low for n in dead if low <= n < high], dtype=torch.int64)
        alive = torch.ones(high - low, dtype=torch.bool)
        alive[gone] = False
        total = rows[low:high][alive].double().sum(0)
        parts.append(RowBlock(rows[low:high], ids[low:high], gone, total))
    return Rows(parts)


def unit(queries):
    """Queries as `scan` takes them."""
    return torch.nn.functional.normalize(queries.double(), dim=1)


def search(rows, queries, k):
    """ids, scores, mean, std as arrays."""
    ids, scores, spread = scan.scan(rows, unit(queries), k)
    return tuple(x.numpy() for x in (ids, scores, spread.mean, spread.std))


def assert_same(found, expected):
    """Ids exactly, the rest within its tolerance."""
    assert (found[0] == expected[0]).all()
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=SCORE_TOLERANCE)
    np.testing.assert_allclose(found[2], expected[2], rtol=0, atol=MEAN_TOLERANCE)
    np.testing.assert_allclose(found[3], expected[3], rtol=STD_TOLERANCE, atol=STD_FLOOR)


@pytest.mark.parametrize("together", [0.0, 3.0, 100.0], ids=["all ways", "one way", "nearly equal"])
@pytest.mark.parametrize("count", [1, 2, 63, 65, 512, 513, 1500])
def test_the_best_rows_and_the_spread_of_all__naive_loop(count, together):
    table, queries = stored(vectors(count, together=together)), vectors(5, seed=1)
    found = search(rows_of(table, cuts=[count // 3]), queries, min(10, count))
    expected = naive(dict(enumerate(table, start=1)), queries, 10)
    assert_same(found, expected)


def test_dead_rows_are_as_if_never_there__naive_loop():
    table, queries = stored(vectors(1500)), vectors(5, seed=1)
    dead = [0, 1, 7, 511, 512, 700, *range(900, 1100), 1499]
    alive = {n + 1: row for n, row in enumerate(table) if n not in dead}
    found = search(rows_of(table, cuts=[300, 900], dead=dead), queries, 10)
    assert_same(found, naive(alive, queries, 10))


def test_rows_closer_than_the_rough_scores_can_tell__naive_loop():
    # 900 rows within 1e-3 of one another: float16 still tells them apart, bfloat16 cannot.
    near = vectors(1, 256) + 1e-3 * vectors(900, 256, seed=1)
    table = stored(torch.cat([vectors(600, 256, seed=2), near]))
    queries = vectors(4, 256, seed=3) + vectors(1, 256)
    assert_same(search(rows_of(table), queries, 10), naive(dict(enumerate(table, 1)), queries, 10))


def test_many_equal_rows_come_in_order_of_id__closed_form():
    table = np.repeat(stored(vectors(1)), 1400, axis=0)
    ids = torch.randperm(1400, generator=torch.Generator().manual_seed(0)) + 1
    found = search(rows_of(table, cuts=[100], ids=ids), vectors(3), 20)
    assert (found[0] == np.arange(1, 21)).all()
    assert found[3].max() <= STD_FLOOR


def test_a_batch_and_its_queries_alone__identity_batch():
    rows, queries = rows_of(stored(vectors(600)), cuts=[40, 50]), vectors(300, seed=1)
    together = search(rows, queries, 10)
    for n in (0, 1, 255, 256, 299):
        alone = search(rows, queries[n : n + 1], 10)
        assert (alone[0] == together[0][n]).all()
        assert (alone[1] == together[1][n]).all()
        assert abs(alone[2] - together[2][n]) <= MEAN_TOLERANCE
        assert abs(alone[3] / together[3][n] - 1) <= STD_TOLERANCE


def test_any_cut_into_parts__identity_layout():
    table, queries = stored(vectors(1200)), vectors(20, seed=1)
    whole = search(rows_of(table), queries, 10)
    for cuts in ([1], [512], [3, 4, 5, 1199], list(range(100, 1200, 100))):
        cut = search(rows_of(table, cuts=cuts), queries, 10)
        assert (cut[0] == whole[0]).all()
        assert (cut[1] == whole[1]).all()
        np.testing.assert_allclose(cut[2], whole[2], rtol=0, atol=MEAN_TOLERANCE)
        # The same rough scores, but where a product was summed in another order.
        np.testing.assert_allclose(cut[3], whole[3], rtol=1e-5)


def test_an_exact_score_is_rounded_once__closed_form():
    table, queries = stored(vectors(20, 150)), unit(vectors(3, 150, seed=1))
    found = exact.inner(torch.from_numpy(table).expand(3, -1, -1), exact.digits_of(queries))
    for query, scores in zip(queries.tolist(), found.tolist(), strict=True):
        grid = [Fraction(round(value * 2**36), 2**36) for value in query]
        for row, score in zip(table.tolist(), scores, strict=True):
            assert score == float(sum(map(Fraction.__mul__, map(Fraction, row), grid)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_no_rough_score_is_further_off_than_its_bound__identity_bound(dtype, precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        for together in (0.0, 3.0):
            table, queries = stored(vectors(1000, 200, together=together)), unit(vectors(8, 200))
            rows = rows_of(table)
            nearly = Rough(rows, queries, dtype)
            true = queries @ torch.from_numpy(table).double().T
            for tile, some, scores in nearly.scores():
                assert some == slice(0, 8)
                known = true.T[tile.place : tile.place + len(scores)]
                seen = scores[: len(known)]
                assert (known <= nearly.at_most(seen)).all()
                assert (seen >= nearly.at_least(known)).all()
    finally:
        torch.set_float32_matmul_precision(before)


def test_roundings_that_all_go_one_way__closed_form():
    # The first half rounds up, the other towards zero, by 3/1024 each: 1/16 * 256 * 3/16384 in all.
    row = torch.cat([torch.full((127,), 1 + 5 / 1024), torch.full((127,), -1 - 3 / 1024)]) / 16
    row = torch.cat([row, torch.zeros(2)])
    table = torch.stack([row, -row]).half().numpy()
    query = torch.full((1, 256), 1 / 16).double()
    nearly = Rough(rows_of(table), query, torch.bfloat16)
    ((_, _, scores),) = nearly.scores()
    true = torch.from_numpy(table).double() @ query[0]
    assert float((scores[:2, 0] - true).abs().min()) == pytest.approx(254 / 256 * 3 / 1024)
    for seen, known in zip(scores[:2], true, strict=True):
        assert known <= nearly.at_most(seen)
        assert seen >= nearly.at_least(known)


@pytest.mark.parametrize("order", ["random", "rising", "falling", "equal"])
@pytest.mark.parametrize("wanted", [5, 64, 300])
def test_the_candidates_are_the_largest_scores__reference_torch(order, wanted):
    scores = torch.randn(GROUP * 60, 7, generator=torch.Generator().manual_seed(0))
    if order == "equal":
        scores = scores.sign()
    elif order != "random":
        scores = scores.sort(dim=0, descending=order == "falling").values
    scores[100:140] = -torch.inf
    candidates = TopRows(7, wanted, scores.device)
    for first in range(0, len(scores), 3 * GROUP):
        candidates.offer(scores[first : first + 3 * GROUP], first)
    values, places = candidates.best()
    assert torch.equal(values, scores.topk(wanted, dim=0).values.T)
    assert torch.equal(scores.T.gather(1, places), values)
    assert all(len(set(row)) == wanted for row in places.tolist())


@pytest.mark.gpu
def test_a_gpu_and_a_cpu__identity_device():
    rows, queries = rows_of(stored(vectors(2000)), cuts=[40, 50]), vectors(300, seed=1)
    parts = [RowBlock(p.rows.cuda(), p.ids.cuda(), p.dead.cuda(), p.total) for p in rows.parts]
    here, there = search(rows, queries, 10), search(Rows(parts), queries, 10)
    assert (here[0] == there[0]).all()
    assert (here[1] == there[1]).all()
    np.testing.assert_allclose(there[3], here[3], rtol=STD_TOLERANCE)
