"""Altered images: who gives the threshold, and that no two roles share their noise."""

import pytest
import torch

from wherefrom.attribution.evaluation.robustness import judge_altered
from wherefrom.data.altering.degradations import Alteration


def brightness(images):
    return images.double().mean(dim=(1, 2, 3))


def grey(*levels):
    return torch.stack([torch.full((1, 8, 8), level, dtype=torch.uint8) for level in levels])


def test_held_images_give_the_threshold__closed_form():
    images = {"held": grey(*range(9)), "own": grey(0, 4, 200, 201), "sources": {"a": grey(9, 3)}}
    found = judge_altered(brightness, None, **images, rate=0.1)  # the largest of nine
    assert (found.own_rejected, found.accuracy) == (0.5, {"a": 0.5})
    assert found.auroc == {"a": 3 / 8}
    found = judge_altered(brightness, None, **images, rate=0.9)  # the smallest
    assert (found.own_rejected, found.accuracy) == (0.75, {"a": 0.625})


def test_every_role_is_altered_by_itself__identity_distinct():
    seen = []

    def score(images):
        seen.append(images)
        return brightness(images)

    plain = grey(100, 100)
    noise = Alteration("noise", 0.1)
    for _ in range(2):
        judge_altered(
            score, noise, held=plain, own=plain, sources={"a": plain, "b": plain}, rate=0.5, seed=4
        )
    first, again = seen[:4], seen[4:]
    for number, images in enumerate(first):
        assert torch.equal(images, again[number])
        assert float((images - 100 / 255).std()) == pytest.approx(0.1, rel=0.2)
        others = [one for other, one in enumerate(first) if other != number]
        assert not any(torch.equal(images, one) for one in others)
