"""Which images a fit has seen."""

import hashlib

import torch

from wherefrom.core.saving.store import are_known, content_of, content_set, contents_of


def test_a_content_is_the_head_of_the_digest__reference_hashlib():
    image = torch.arange(48, dtype=torch.uint8).reshape(3, 4, 4)
    head = hashlib.sha256(bytes(range(48))).digest()[:8]
    assert content_of(image) == int.from_bytes(head, "big", signed=True)
    assert content_of(image.transpose(1, 2)) != content_of(image)
    assert content_of(image.transpose(1, 2).contiguous().transpose(1, 2)) == content_of(image)


def test_known_images_are_found_and_no_others__closed_form():
    images = torch.randint(0, 256, (300, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    contents = contents_of(images.to(torch.uint8))
    known = content_set(torch.cat([contents[:200], contents[:50]]))
    assert known.dtype == torch.int64 and len(known) == 200 and bool((known.diff() > 0).all())
    assert are_known(contents, known).tolist() == [True] * 200 + [False] * 100
    assert contents_of([]).shape == (0,)
