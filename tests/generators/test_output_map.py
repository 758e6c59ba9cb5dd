"""Steps after the last layer: forward, inverse, range, saving."""

import json
import math

import pytest
import torch

from wherefrom.core.errors import InputError
from wherefrom.generators.last_layer.output_map import (
    CLIP,
    STEPS,
    Affine,
    Clamp,
    Flip,
    OutputMap,
    Permute,
    Reshape,
    Sigmoid,
    Tanh,
    derived_range,
)

# float32 values below 1, a handful of roundings; atanh near |o| = 2 amplifies them ~15-fold.
TOLERANCE = 1e-5

SHUFFLE = (
    Reshape((-1, 12, 2, 2), (-1, 3, 2, 2, 2, 2)),
    Permute((0, 1, 4, 2, 5, 3)),
    Reshape((-1, 3, 2, 2, 2, 2), (-1, 3, 4, 4)),
)
MAPS = {
    "tanh": (Tanh(),),
    "sigmoid": (Sigmoid(),),
    "tanh to [0, 1]": (Tanh(), Affine(0.5, 0.5)),
    "clamp": (Clamp(-4.0, 4.0),),
    "inverted sigmoid, BGR": (Sigmoid(), Affine(-1.0, 1.0), Flip((1,))),
    "shuffled tanh": (*SHUFFLE, Tanh()),
}


@pytest.mark.parametrize("name", MAPS)
def test_inverse_undoes_forward__identity_inverse(name):
    steps = MAPS[name]
    output_map = OutputMap.make(steps)
    shape = (5, 12, 2, 2) if "shuffled" in name else (5, 3, 4, 4)
    o = torch.randn(shape, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    images = output_map.forward(o)
    assert images.shape == (5, 3, 4, 4)
    assert 0 <= images.min() < images.max() <= 1
    assert torch.allclose(output_map.inverse(images), o, atol=TOLERANCE)


def test_pixel_shuffle_steps_agree_with_torch__reference_torch():
    o = torch.arange(96.0).reshape(2, 12, 2, 2)
    shuffled = OutputMap.make(SHUFFLE, (0.0, 96.0)).to_output(o)
    assert torch.equal(shuffled, torch.pixel_shuffle(o, 2))


def test_saturated_pixels_are_clipped_alike__closed_form():
    ends = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
    bound = math.atanh(1 - CLIP)
    of_tanh = OutputMap.make((Tanh(),)).inverse(ends).flatten()
    of_sigmoid = OutputMap.make((Sigmoid(),)).inverse(ends).flatten()
    # float32 knows 1 - 1e-4 to 6e-8, that is 3e-4 of its distance to 1.
    assert of_tanh.tolist() == pytest.approx([-bound, bound], abs=1e-3)
    assert of_sigmoid.tolist() == pytest.approx([-2 * bound, 2 * bound], abs=2e-3)


def test_range_follows_the_steps__closed_form():
    assert derived_range((Tanh(),)) == (-1, 1)
    assert derived_range((Sigmoid(),)) == (0, 1)
    assert derived_range((Affine(0.5, 0.5), Clamp(0, 1))) == (0, 1)
    assert derived_range((Tanh(), Affine(-2, 1), Permute((0,)))) == (-1, 3)
    assert derived_range((Affine(3, 1),)) == (-math.inf, math.inf)


def test_unbounded_output_needs_a_range_and_is_cut_to_it__closed_form():
    output_map = OutputMap.make((), (-1, 1))
    images = output_map.forward(torch.tensor([-3.0, -1.0, 0.0, 1.0, 2.0]))
    assert images.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("name", MAPS)
def test_every_step_survives_json__roundtrip(name):
    output_map = OutputMap.make(MAPS[name])
    meta = output_map.to_meta()
    again = json.loads(json.dumps(meta))
    assert again == meta
    assert OutputMap.from_meta(again) == output_map


def test_the_maps_here_use_every_step__identity_coverage():
    assert {step.kind for steps in MAPS.values() for step in steps} == set(STEPS)


def test_ranges_that_cannot_be_are_refused__rejects_bad_ranges():
    with pytest.raises(InputError, match="--value-range -1,1"):
        OutputMap.make((Affine(2, 0),))
    with pytest.raises(InputError, match="the smaller first"):
        OutputMap.make((), (1, -1))
    with pytest.raises(InputError, match="would cut off values"):
        OutputMap.make((Tanh(),), (0, 1))
