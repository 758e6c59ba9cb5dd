"""The encoder inside the package is the one whose indexes and edit maps people have on disk."""

import pytest
import torch

from wherefrom.cli.installed.shipped import describe_encoders
from wherefrom.core.rng import stream
from wherefrom.encoders import load_encoder

# Frozen when the weights were packed, with
#   python tests/encoders/test_default_encoder.py
IDENTITY = "sha256:b0ee822f20d56c344236f83efa28c5c7bff3ebd1a9e9095784d71297de0675ca"
EMBEDDED = (0.032188, 1.351706, -1.104038, 0.006130)
KERNELS = 1e-4  # float32 sums in another order on another processor


def measured():
    """The identity's digest; mean, deviation, first and middle value of one image's embedding."""
    encoder = load_encoder()
    image = torch.rand(1, 3, 64, 48, generator=stream(0, "frozen image"))
    row = encoder.embed(image)[0].double()
    middle = row[len(row) // 2]
    return encoder.identity.digest, tuple(float(x) for x in (row.mean(), row.std(), row[0], middle))


def test_the_shipped_encoder_never_changes__reference_frozen():
    identity, embedded = measured()
    assert identity == IDENTITY
    assert embedded == pytest.approx(EMBEDDED, abs=KERNELS)


def test_the_shipped_encoder_is_small_and_whole__closed_form():
    (result,) = describe_encoders()
    assert (result.name, result.state) == ("default", "ok")
    assert load_encoder().latent_shape == (4, 32, 32)


if __name__ == "__main__":
    print(measured())  # noqa: T201
