"""Codes in a file of their own: safetensors with `codes`, `nll`, and the names in its header."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import write_file
from wherefrom.data.files.archives import read_file
from wherefrom.data.files.opening import UnusableFile
from wherefrom.inversion.model import FittedInverter

NAMES = "names"
MAX_BYTES = 2**30  # of a file of codes


def save_codes(
    path: Path, fitted: FittedInverter, images: Tensor, names: Sequence[str]
) -> list[str]:
    """Encode images (N, C, S, S) and write their codes; the names of images that have none.

    The file holds codes (n, d_z) float32, nll (n,) float64 and n names, and is there whole or not
    at all.  Images whose codes are not finite are left out; an `InputError` if that is all of them.
    """
    codes = fitted.encode(images)
    finite = codes.isfinite().all(dim=1).cpu().tolist()
    lost = [name for name, usable in zip(names, finite, strict=True) if not usable]
    if len(lost) == len(codes):
        raise InputError(f"no image has a finite code; the first: {lost[0]}; train the model again")
    codes = codes[torch.tensor(finite, device=codes.device)]
    nll = fitted.negative_log_likelihood(codes)
    used = [name for name, usable in zip(names, finite, strict=True) if usable]
    blob = save(
        {"codes": codes.cpu().contiguous(), "nll": nll.cpu().contiguous()},
        metadata={NAMES: json.dumps(used)},
    )
    try:
        write_file(path, blob)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    return lost


def load_codes(path: Path, latent: int) -> Tensor:
    """The codes (n, d_z) float32 of a file that `save_codes` wrote; else an `InputError`."""
    try:
        tensors = load(read_file(path, max_bytes=MAX_BYTES))
    except (UnusableFile, SafetensorError) as error:
        raise InputError(f"cannot read codes from {path}: {error}") from error
    codes = tensors.get("codes")
    if codes is None or codes.ndim != 2 or not codes.is_floating_point():
        raise InputError(f"{path} holds no codes; give a file that `inversion encode` wrote")
    if codes.shape[1] != latent or not len(codes):
        raise InputError(
            f"{path} holds {codes.shape[0]} codes of length {codes.shape[1]}, this model's have "
            f"{latent}; encode with the same model"
        )
    if not bool(codes.isfinite().all()):
        raise InputError(f"{path} holds codes with NaN or infinity; encode the images again")
    return codes.float()
