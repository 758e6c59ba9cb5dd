"""Rows in passes: no row's result depends on the others, on their order or on the threads."""

import threading

import pytest
import torch

from wherefrom.core.compute import passes
from wherefrom.core.compute.passes import each_alone, in_passes, one_thread, pass_size
from wherefrom.core.errors import InputError

WEIGHTS = {
    dtype: torch.randn(48, 5, generator=torch.Generator().manual_seed(0), dtype=dtype)
    for dtype in (torch.float32, torch.float64)
}


@pytest.fixture(params=[1, 2, 3], ids=lambda n: f"{n}-threads")
def threads(request):
    """Torch with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", WEIGHTS)
@pytest.mark.parametrize("size", [1, 3, 8, 16])
def test_a_row_is_the_same_alone_and_in_any_order__identity_batch(threads, size, dtype):
    x, weight = torch.randn(37, 48, dtype=dtype), WEIGHTS[dtype]

    def apply(rows):
        return in_passes(lambda part: part @ weight, rows, size=size)

    whole, order = apply(x), torch.randperm(37)
    assert torch.allclose(whole, x @ weight)
    assert torch.equal(apply(x[order]), whole[order])
    assert torch.equal(torch.cat([apply(x[i : i + 1]) for i in range(5)]), whole[:5])
    with one_thread():
        assert torch.equal(apply(x), whole)


def test_every_pass_has_one_size_and_copies_fill_the_last__closed_form(threads):
    seen = []

    def apply(a, b):
        seen.append((a.clone(), b.clone()))
        return a + 1, b.sum(dim=1)

    a, b = torch.arange(11.0), torch.arange(33).reshape(11, 3)
    first, second = in_passes(apply, a, b, size=8)
    assert torch.equal(first, a + 1) and torch.equal(second, b.sum(dim=1))
    assert [len(x) for x, _ in seen] == [len(y) for _, y in seen] == [8, 8]
    short = min(seen, key=lambda pair: -float(pair[0][0]))
    assert torch.equal(short[0], torch.tensor([8.0, 9, 10, 8, 8, 8, 8, 8]))
    assert torch.equal(short[1][3:], b[8:9].expand(5, 3))


def test_no_rows_give_no_rows_of_the_same_shape__limit(threads):
    output = in_passes(lambda x: x @ torch.ones(4, 2), torch.empty(0, 4), size=64)
    assert output.shape == (0, 2)


@pytest.mark.parametrize(("asked", "used"), [(1, 1), (2, 1), (7, 1), (8, 8), (20, 16), (64, 64)])
def test_sizes_are_those_that_kernels_treat_alike__closed_form(asked, used):
    assert pass_size(asked) == used
    assert pass_size(asked, "cuda") == asked


def test_where_places_matter_every_row_is_alone__closed_form(monkeypatch):
    monkeypatch.setattr(passes, "rows_depend_on_place", lambda: True)
    sizes = []
    in_passes(lambda x: sizes.append(len(x)) or x, torch.zeros(5, 2), size=64)
    assert sizes == [1] * 5 and pass_size(64, "cuda") == 64


def test_passes_run_at_once_each_on_one_torch_thread__closed_form():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        meeting = threading.Barrier(2, timeout=20)  # broken unless two passes run at once

        def apply(x):
            meeting.wait()
            return x * torch.get_num_threads()

        assert torch.equal(in_passes(apply, torch.ones(16), size=8), torch.ones(16))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_gradient_and_inference_mode_are_the_callers__identity(threads):
    def mode(x):
        return torch.full((len(x), 2), 0.0) + torch.tensor(
            [float(torch.is_grad_enabled()), float(torch.is_inference_mode_enabled())]
        )

    x = torch.zeros(16)
    assert in_passes(mode, x, size=8)[0].tolist() == [1, 0]
    with torch.no_grad():
        assert in_passes(mode, x, size=8)[0].tolist() == [0, 0]
    with torch.inference_mode():
        assert in_passes(mode, x, size=8)[0].tolist() == [0, 1]


def test_products_are_in_full_precision__closed_form(threads):
    before = torch.backends.cudnn.allow_tf32
    seen = in_passes(lambda x: x + float(torch.backends.cudnn.allow_tf32), torch.zeros(16), size=8)
    assert not bool(seen.any()) and torch.backends.cudnn.allow_tf32 == before


def test_an_error_ends_the_passes_and_leaves_the_threads_alone__rejects(threads):
    def apply(x):
        if float(x[0]) == 24:
            raise InputError("the fourth pass")
        return x

    with pytest.raises(InputError, match="the fourth pass"):
        in_passes(apply, torch.arange(80.0), size=8)
    assert torch.get_num_threads() == threads


def test_items_are_taken_a_few_ahead_and_answered_in_order__closed_form(threads):
    taken = []

    def items():
        for number in range(40):
            taken.append(number)
            yield number

    results = each_alone(lambda n: n * n, items())
    assert next(results) == 0
    assert len(taken) <= 1 + passes.AHEAD * threads + 1
    assert list(results) == [n * n for n in range(1, 40)]


def test_progress_counts_passes__closed_form(threads):
    calls = []

    def track(items, label, *, total=None):
        calls.append((label, total))
        for item in items:
            calls.append(label)
            yield item

    in_passes(lambda x: x, torch.zeros(20), size=8, track=track, label="embedding images")
    assert calls == [("embedding images", 3)] + ["embedding images"] * 3
