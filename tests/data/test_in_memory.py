"""Every verb takes images as paths, arrays, tensors and Pillow images, and answers the same."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from wherefrom import anomaly, attribution, origin
from wherefrom.core.errors import InputError
from wherefrom.data import save_png, to_uint8
from wherefrom.data.images.in_memory import as_files, pixels_of, stacked
from wherefrom.encoders import make_feature_encoder


def pixels(count, channels, side, seed=0):
    """Random uint8 images (N, C, H, W)."""
    random = torch.Generator().manual_seed(seed)
    shape = (count, channels, side, side)
    return torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)


def ways(images, folder):
    """The images (N, C, H, W) as tensor, array, Pillow images, a mixed list, and files."""
    folder.mkdir(exist_ok=True)
    arrays = np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1))
    shown = [Image.fromarray(a.squeeze(-1) if a.shape[-1] == 1 else a) for a in arrays]
    paths = [folder / f"{n}.png" for n in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        save_png(image, path)
    return {
        "files": paths,
        "texts": [str(path) for path in paths],
        "tensor": images,
        "floats": images.double() / 255,
        "array": arrays,
        "pillow": shown,
        "list": [images[0], *arrays[1:2], *shown[2:]],
        "mixed": [str(paths[0]), images[1], *shown[2:]],
    }


def few(images, folder):
    """Three of the ways, for verbs that take long."""
    given = ways(images, folder)
    return given["files"], given["array"], given["mixed"]


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_the_same_in_every_form__identity(channels, tmp_path):
    images = pixels(3, channels, 5)
    for name, given in ways(images, tmp_path / "f").items():
        assert torch.equal(stacked(given), images), name
        with as_files(given) as paths:
            assert torch.equal(stacked(paths), images), name
    assert torch.equal(stacked(images[0]), images[:1])
    assert list(tmp_path.iterdir()) == [tmp_path / "f"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (np.zeros((4, 4, 4), np.uint8), "with 1 or 3 channels"),
        (torch.zeros(2, 4, 4), "with 1 or 3 channels"),
        (torch.zeros(0, 3, 4, 4), "with 1 or 3 channels"),
        (np.zeros(4, np.uint8), "with 1 or 3 channels"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "expected floating point"),
        (torch.full((3, 4, 4), torch.nan), "NaN"),
        (Image.new("RGBA", (2, 2)), "mode RGBA, expected L or RGB"),
        ([3], "an image is of type int"),
    ],
)
def test_what_is_no_image__rejects_input(given, reason):
    with pytest.raises(InputError, match=reason):
        pixels_of(given)


def test_images_of_several_sizes_are_no_batch__rejects_input():
    with pytest.raises(InputError, match="3x4x4 and 3x5x5; pass images of one size"):
        stacked([torch.zeros(3, 4, 4), torch.zeros(3, 5, 5)])


def test_attribution_check__identity_forms(tmp_path):
    fitted = attribution.load(files("wherefrom") / "assets" / "demo" / "dcgan.attributor")
    scores = [
        [row.score for row in attribution.check(fitted, given).images]
        for given in few(pixels(3, 1, 32), tmp_path / "f")
    ]
    assert all(row == scores[0] for row in scores)


def test_origin_search__identity_forms(tmp_path):
    photos = tmp_path / "photos"
    ways(pixels(3, 3, 16), photos)
    origin.build(tmp_path / "refs.index", [photos], features="none")
    asked = ways(pixels(3, 3, 16), tmp_path / "asked")
    for name, given in asked.items():
        answers = origin.search(tmp_path / "refs.index", given)
        best = [Path(answer.candidates[0].path).name for answer in answers]
        assert best == ["0.png", "1.png", "2.png"], name
    assert [a.name for a in origin.search(tmp_path / "refs.index", asked["pillow"])] == [
        f"image-{n}.png" for n in range(3)
    ]


def test_anomaly_score__identity_forms(tmp_path):
    layers = nn.Conv2d(3, 4, 3, 2, 1), nn.Tanh(), nn.Flatten()
    encoder = make_feature_encoder(nn.Sequential(*layers), kind="example", resolution=16)
    real = ways(to_uint8(torch.rand(15, 3, 16, 16)), tmp_path / "real")["files"]
    config = anomaly.AnomalyConfig(directions=1, restarts=1, steps=2, attack_steps=1)
    calibration, _ = anomaly.calibrate(real, encoder, config=config)
    values = []
    for given in few(pixels(3, 3, 16), tmp_path / "asked"):
        judged = anomaly.score(given, calibration, encoder, false_alarms=0.5)
        values.append(sorted(row.p_value for row in judged.images))
        assert len(values[-1]) == 3
    assert all(row == values[0] for row in values)


def test_inversion_encode__identity_forms(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "inversion")
    from linear_inverter import linear_inverter

    inverter = linear_inverter(torch.ones(6))
    images = pixels(3, 1, 8)
    codes = inverter.encode(images)
    for name, given in ways(images, tmp_path / "f").items():
        if name != "floats":  # a tensor as it is
            assert torch.equal(inverter.encode(given), codes), name
