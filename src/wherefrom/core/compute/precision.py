"""Full float32 arithmetic: no autocast, no TF32, no bfloat16, no kernel chosen by timing.

`halves` says where training may use bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

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
