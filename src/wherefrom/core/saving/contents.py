"""Recognising images that a fit has used, by 64 bits of a digest of each image's pixels.

A fitted value stores them, so that an evaluation can refuse images of its own fit.  Two different
images have the same 64 bits with probability 2^-64: between m images and n stored ones the chance
of any false match is at most m n / 2^64, as 1e-12 for 4,000 and 4,000.  The decoded pixels are
compared: the same picture in another lossless file matches, a lossy copy of it does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

BYTES = 8


def content_of(image: Tensor) -> int:
    """The first 64 bits, as a signed number, of the SHA-256 of an image's pixels as stored."""
    data = image.contiguous().numpy().tobytes()
    return int.from_bytes(hashlib.sha256(data).digest()[:BYTES], "big", signed=True)


def contents_of(images: Iterable[Tensor]) -> Tensor:
    """`content_of` each image, in their order, (N,) int64."""
    return torch.tensor([content_of(image) for image in images], dtype=torch.int64)


def content_set(contents: Tensor) -> Tensor:
    """The contents (N,) of a fit in the form in which they are stored: sorted, each once, int64."""
    return torch.tensor(sorted(set(contents.tolist())), dtype=torch.int64)


def are_known(contents: Tensor, known: Tensor) -> Tensor:
    """Which of the contents (N,) are in a `content_set`, (N,) bool."""
    return torch.isin(contents, known)
