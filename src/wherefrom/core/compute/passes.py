"""Passing independent rows through a network or solver in passes of one fixed size.

A row's result must depend neither on the other rows nor on the number of threads.  `in_passes`
ensures this for the whole project:

- Every pass has the same number of rows, because a kernel may be chosen by the size of its input.
  A short pass is filled up with copies of its first row.
- On a CPU every pass runs on one torch thread, because threads share the terms of a sum.  Several
  passes run at once, on Python threads.  (Torch's own threads wait for each other actively: beside
  one other busy process, loops of small operations become 10 to 60 times slower.)
- Matrix products may treat a row by its place in the pass.  Intel's MKL does not, if `MKL_CBWR` is
  set (`wherefrom/__init__.py` sets it) and the number of rows is a multiple of 4, as `pass_size`
  ensures.  If MKL was used before it was set, `rows_depend_on_place` is true, and every row gets a
  pass of its own.
- Products are computed in float32 (`full_precision`), whatever the caller's settings.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from wherefrom.core.progress import Track, quiet

FULL = "ieee"


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute float32 products inside the block in float32, whatever the global settings."""
    flags = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.enter_context(flags)
        for backend in _backends():
            stack.callback(setattr, backend, "fp32_precision", backend.fp32_precision)
            backend.fp32_precision = FULL
        yield


def halves(precision: str, device: torch.device) -> bool:
    """Whether a setting "auto", "fp32" or "bf16" means bfloat16.

    "auto" does where the device multiplies bfloat16 faster.
    """
    return multiplies_bfloat16(device) if precision == "auto" else precision == "bf16"


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32.

    oneDNN reports support for every processor with AVX-512, also for those that convert to float32
    and back and take three times as long.
    """
    if device.type != "cpu":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def _backends() -> list[Any]:
    """Backends with a setting that rounds float32 products (torch 2.9 and newer)."""
    known: list[Any] = [torch.backends.cuda.matmul]
    known += [getattr(torch.backends.mkldnn, name, None) for name in ("matmul", "conv")]
    return [backend for backend in known if hasattr(backend, "fp32_precision")]


R = TypeVar("R", Tensor, tuple[Tensor, ...])
T = TypeVar("T")
U = TypeVar("U")
ALIKE = 8  # rows that all matrix kernels treat alike come in multiples of this
AHEAD = 2  # passes per thread that may wait for the caller, so that memory is bounded


def in_passes(
    apply: Callable[..., R], *rows: Tensor, size: int, track: Track = quiet, label: str = "passes"
) -> R:
    """Apply a function to all rows in passes of `size`; its outputs in the order of the rows.

    `rows` are tensors (N, ...) of one N on one device.  `apply` gets as many tensors (size, ...)
    and returns a tensor (size, ...) or a tuple of them, each row from the same row of its inputs
    alone.  It may run in another thread, in the caller's gradient and inference mode.  Where N is
    0 it gets one row of zeros, whose results are cut off.
    """
    device, count = rows[0].device, len(rows[0])
    size = pass_size(size, device) if count else 1

    def run(start: int) -> tuple[Tensor, ...]:
        full = [_filled(x[start : start + size], size) for x in rows]
        output = apply(*full)
        columns = (output,) if isinstance(output, Tensor) else output
        single.append(isinstance(output, Tensor))
        return tuple(column[: min(size, count - start)] for column in columns)

    single: list[bool] = []
    starts = range(0, max(count, 1), size)
    with full_precision(device):
        parts = list(track(each_alone(run, starts, device), label, total=len(starts)))
    columns = tuple(torch.cat(column) for column in zip(*parts, strict=True))
    return columns[0] if single[0] else columns  # type: ignore[return-value]


def each_alone(
    apply: Callable[[T], U], items: Iterable[T], device: torch.device | str = "cpu"
) -> Iterator[U]:
    """Apply a function to each item, in order; on a CPU each on one torch thread, several at once.

    As many run at once as torch has threads; on another device one after the other.  `items` are
    taken in the caller's thread, a few ahead.  `apply` runs in the caller's gradient and inference
    mode.
    """
    if torch.device(device).type != "cpu":
        yield from map(apply, items)
        return
    threads = torch.get_num_threads()
    if threads == 1 or (isinstance(items, Sequence) and len(items) == 1):
        for item in items:
            with one_thread():
                output = apply(item)
            yield output
        return
    call = _in_mode_of_caller(apply)
    with ThreadPoolExecutor(threads, "pass", initializer=torch.set_num_threads, initargs=(1,)) as p:
        try:
            yield from in_order(p, call, items, ahead=AHEAD * threads)
        finally:
            # A thread's setting is its own, but threads that start later take the last one set.
            torch.set_num_threads(threads)


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[T], U], items: Iterable[T], *, ahead: int
) -> Iterator[U]:
    """The results of `work` in the order of the items; at most `ahead` wait for the caller."""
    waiting: deque[Future[U]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def pass_size(size: int, device: torch.device | str = "cpu") -> int:
    """The number of rows of a pass where `size` are wanted.

    On a CPU it is a multiple of 8, or 1: for less than 8, or if places matter in this process.
    """
    if torch.device(device).type != "cpu":
        return size
    return 1 if size < ALIKE or rows_depend_on_place() else size // ALIKE * ALIKE


@lru_cache(maxsize=1)
def rows_depend_on_place() -> bool:
    """Whether this process's matrix products on the CPU give a row other bits in other places.

    Tried once, on passes of 8 and 64 rows.  It is so on AMD processors if MKL was used before
    `MKL_CBWR` was set.
    """
    rng = torch.Generator().manual_seed(0)
    with one_thread(), torch.no_grad():
        for dtype, inner, outer in itertools.product(
            (torch.float32, torch.float64), (5, 48, 100, 257), (1, 5, 10, 31, 128)
        ):
            weight = torch.randn(inner, outer, generator=rng, dtype=dtype)
            for count in (ALIKE, 64):
                x = torch.randn(count, inner, generator=rng, dtype=dtype)
                if not torch.equal((x.flip(0) @ weight).flip(0), x @ weight):
                    return True
    return False


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch's operations inside use the calling thread only."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_mode_of_caller(apply: Callable[[T], U]) -> Callable[[T], U]:
    gradients, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def call(item: T) -> U:
        with ExitStack() as stack:
            if inference:
                stack.enter_context(torch.inference_mode())
            stack.enter_context(torch.set_grad_enabled(gradients))
            return apply(item)

    return call


def _filled(rows: Tensor, size: int) -> Tensor:
    """Rows as a tensor of its own (the place in memory may matter, too), of `size` rows."""
    full = rows.new_zeros(size, *rows.shape[1:])
    full[: len(rows)] = rows
    if 0 < len(rows) < size:
        full[len(rows) :] = rows[:1]
    return full
