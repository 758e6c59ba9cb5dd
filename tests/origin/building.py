"""What the tests of the pairs' builder share."""

import torch

from wherefrom.core.rng import stream
from wherefrom.core.saving.store import digest_bytes
from wherefrom.origin.pairs.config import PairsConfig
from wherefrom.origin.pairs.prompts import load_prompts

PROMPTS = load_prompts("a {photo|painting} of {snow|sand}")
CONFIG = PairsConfig(size=32, steps=2, strength="0.5,0.9", guidance=2.0, negative="rain")
TWO = {"config": CONFIG.with_values({"per_origin": 2}), "seed": 3}


class Counting:
    """A pipeline that counts its edits, and may be told to fail."""

    def __init__(self, pipeline):
        self.pipeline, self.count, self.fault = pipeline, 0, None

    def __getattr__(self, name):
        return getattr(self.pipeline, name)

    def edit(self, image, **settings):
        self.count += 1
        if self.fault is not None:
            raise self.fault
        return self.pipeline.edit(image, **settings)


class Drawing:
    """A pipeline whose edits are noise that photo and settings decide, so that they cost nothing.

    For tests of what becomes of edits; the pipeline's name and digest are those of a real one.
    """

    def __init__(self, pipeline):
        self.pipeline = pipeline

    def __getattr__(self, name):
        return getattr(self.pipeline, name)

    def edit(self, image, **settings):
        rng = stream(0, digest_bytes(image.tobytes()), str(sorted(settings.items())))
        return torch.randint(256, (3, 32, 32), dtype=torch.uint8, generator=rng)


def files_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
