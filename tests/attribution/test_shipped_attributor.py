"""The fitted attributor that the package ships: it fits its generator, and accuses no sibling."""

from importlib.resources import files
from pathlib import Path

import pytest

from wherefrom.attribution import load
from wherefrom.attribution.protocol import stored_samples
from wherefrom.calibration.verdict import Verdict
from wherefrom.generators.loading import load_generator


@pytest.fixture(scope="module")
def shipped():
    return load(Path(str(files("wherefrom") / "assets" / "demo" / "dcgan.attributor")))


def verdicts(shipped, name):
    images = stored_samples(load_generator(f"zoo:fashion-{name}"), 40, 4242)
    return [row.verdict for row in shipped.check(images).images]


def test_own_images_are_kept_and_many_are_called_own__limit(shipped):
    given = verdicts(shipped, "dcgan-0")
    assert given.count(Verdict.NOT_OURS) <= 2  # 0.005 of 40 are expected
    assert given.count(Verdict.OURS) >= 12  # half of them are expected


@pytest.mark.parametrize("name", ["dcgan-1", "wgan-gp-0"])
def test_other_models_are_not_called_own__limit(shipped, name):
    given = verdicts(shipped, name)
    assert given.count(Verdict.OURS) <= 2 and given.count(Verdict.NOT_OURS) >= 1
