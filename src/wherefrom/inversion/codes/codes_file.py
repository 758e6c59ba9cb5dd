"""Codes in a file of their own: safetensors with `codes`, `nll`, and the names in its header."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.store import write_file

NAMES = "names"


def write_codes(path: Path, codes: Tensor, nll: Tensor, names: Sequence[str]) -> None:
    """Write codes (N, d_z) float32, nll (N,) float64 and N names, whole or not at all."""
    if not len(codes) == len(nll) == len(names):
        raise InputError(f"{len(codes)} codes, {len(nll)} likelihoods and {len(names)} names")
    tensors = {"codes": codes.cpu().contiguous(), "nll": nll.cpu().contiguous()}
    blob = save(tensors, metadata={NAMES: json.dumps(list(names))})
    try:
        write_file(path, blob)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
