"""Random features that no batch changes and that tell sets apart."""

import pytest
import torch
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.metrics.feature_sets.frechet import frechet_distance
from wherefrom.metrics.random_features import random_features


def test_random_features_do_not_depend_on_the_batch__identity_batch():
    images = torch.rand(70, 1, 12, 12, generator=torch.Generator().manual_seed(2))
    together = random_features(images)
    assert together.shape == (70, 272) and together.dtype == torch.float32
    assert torch.equal(together[-1:], random_features(images[-1:]))
    assert torch.equal(together, random_features(images.expand(-1, 3, -1, -1)))
    assert random_features(images[:0]).shape == (0, 272)


def test_random_features_tell_sets_apart__identity_distance():
    rng = torch.Generator().manual_seed(1)
    smooth = F.interpolate(torch.rand(1200, 1, 4, 4, generator=rng), 16, mode="bilinear")
    rough = (smooth + 0.2 * torch.randn(smooth.shape, generator=rng)).clamp(0, 1)
    first, second = random_features(smooth[:600]), random_features(smooth[600:])
    alike = frechet_distance(first, second)
    assert frechet_distance(first, random_features(rough[600:])) > 3 * alike


def test_images_of_other_shapes__rejects_shapes():
    for shape in ((2, 1, 4, 4), (2, 2, 8, 8), (1, 8, 8)):
        with pytest.raises(InputError, match="from 8 px"):
            random_features(torch.zeros(shape))
