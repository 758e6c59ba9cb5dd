"""Random streams of single items, so that no result depends on batch size or order."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *path: object) -> int:
    """A 63-bit seed from `seed` and a path of names: SHA-256, stable across runs and machines."""
    text = "\x1f".join([str(int(seed)), *map(str, path)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *path: object) -> torch.Generator:
    """A `torch.Generator` of its own for the item that `path` names, as in `stream(0, "z", 17)`."""
    return torch.Generator().manual_seed(derive_seed(seed, *path))
