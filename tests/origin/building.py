"""What the tests of the pairs' builder share."""

from wherefrom.origin.pairs_config import PairsConfig
from wherefrom.origin.prompts import load_prompts

PROMPTS = load_prompts("a {photo|painting} of {snow|sand}")
CONFIG = PairsConfig(size=32, steps=2, strength="0.5,0.9", guidance=2.0, negative="rain")
TWO = {"per_origin": 2, "config": CONFIG, "seed": 3}


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


def files_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
