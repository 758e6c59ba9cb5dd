"""Images that are held out: by content, whole, and of use to outliers."""

import pytest
import torch
from untrained_inverters import blobs

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.saving.store import digest_tensors
from wherefrom.inversion.outliers.of_run import HeldOut, hold_out


def pictures(count=40):
    return (blobs(count) * 255).round().byte()


def keys_of(images):
    return [digest_tensors({"": image}) for image in images]


def test_every_image_is_on_one_side_with_its_label__identity_partition():
    images = pictures()
    rest, labels, held = hold_out(images, torch.arange(40), 0.25, seed=0)
    assert len(held.images) == 10
    assert sorted(keys_of(rest) + keys_of(held.images)) == sorted(keys_of(images))
    assert torch.equal(images[labels], rest)


def test_equal_images_stay_together_and_count_once__identity_content():
    images = pictures()
    twice = torch.cat([images, images])
    rest, labels, held = hold_out(twice, None, 0.25, seed=0)
    assert labels is None
    assert len(held.images) == 10
    assert len(rest) == 60
    assert not set(keys_of(rest)) & set(keys_of(held.images))


def test_the_order_of_images_does_not_matter_and_the_seed_does__identity_content():
    images = pictures()
    chosen = [
        set(keys_of(hold_out(x, None, 0.25, seed=s)[2].images))
        for x, s in ((images, 0), (images.flip(0), 0), (images, 1))
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_held_out_set_comes_back__roundtrip(tmp_path):
    held = hold_out(pictures(), None, 0.25, seed=3)[2]
    held.save(tmp_path / "held-out")
    again = HeldOut.load(tmp_path / "held-out")
    assert torch.equal(again.images, held.images)
    assert (again.share, again.seed) == (0.25, 3)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_that_is_none__rejects_share(share):
    with pytest.raises(InputError, match="between 0 and 1"):
        hold_out(pictures(), None, share, seed=0)


def test_too_few_to_calibrate__rejects_count(tmp_path):
    with pytest.raises(InputError, match="hold out at least 8"):
        hold_out(pictures(), None, 0.1, seed=0)
    with pytest.raises(ArtifactError):
        HeldOut.load(tmp_path / "nothing")
