"""Arithmetic as on paper: no autocast, no TF32, no bfloat16, no kernel chosen by timing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

FULL = "ieee"


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Every float32 product inside the block is one, whatever the caller's global settings."""
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


def _backends() -> list[Any]:
    """What else rounds float32 products where it is told to (torch 2.9 and newer)."""
    known: list[Any] = [torch.backends.cuda.matmul]
    known += [getattr(torch.backends.mkldnn, name, None) for name in ("matmul", "conv")]
    return [backend for backend in known if hasattr(backend, "fp32_precision")]
