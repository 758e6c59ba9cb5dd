"""Images above 50 megapixels are read reduced where they are scaled, within one limit."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from wherefrom.cli.main import cli
from wherefrom.core import limits
from wherefrom.core.errors import InputError
from wherefrom.core.limits import Limits, limits_in_force, reading_key, reading_with
from wherefrom.data import UnusableFile, read_images
from wherefrom.data.decoding import images as decoding
from wherefrom.data.images.items import ReadImage, decode_image

HERE = Path("picture")
SMALL = Image.fromarray(np.random.default_rng(0).integers(0, 256, (10, 15, 3), dtype=np.uint8))
PHOTO = SMALL.resize((300, 200), Image.Resampling.BICUBIC)
FULL = 20_000  # what counts as large here, instead of 50 million


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "FULL_PIXELS", FULL)
    monkeypatch.delenv(limits.MAX_PIXELS, raising=False)
    monkeypatch.delenv(limits.BACKGROUND, raising=False)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read(image: Image.Image, kind: str, **options: object) -> ReadImage:
    return decode_image(encode(image, kind, **options), HERE)


CLEAR = PHOTO.copy()
CLEAR.putalpha(PHOTO.convert("L"))
CASES = [
    (PHOTO, "JPEG", {}), (PHOTO.convert("L"), "JPEG", {}), (PHOTO.convert("CMYK"), "JPEG", {}),
    (PHOTO, "JPEG", {"progressive": True}), (PHOTO, "MPO", {}), (PHOTO, "PNG", {}),
    (PHOTO.convert("L"), "PNG", {}), (CLEAR, "PNG", {}), (CLEAR.convert("LA"), "PNG", {}),
    (PHOTO.quantize(64), "PNG", {}), (PHOTO, "WEBP", {}), (PHOTO, "TIFF", {}), (PHOTO, "BMP", {}),
    (PHOTO.convert("CMYK"), "TIFF", {}), (PHOTO, "AVIF", {}), (PHOTO, "PPM", {}),
    (PHOTO.convert("1"), "PNG", {}),
]  # fmt: skip


@pytest.mark.parametrize(("image", "kind", "options"), CASES, ids=range(len(CASES)))
def test_a_large_image_is_the_shrunk_one__reference_pillow(
    image: Image.Image, kind: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = read(image, kind, **options)
    monkeypatch.setattr(decoding, "FULL_PIXELS", 50_000_000)
    whole = read(image, kind, **options).pixels.permute(1, 2, 0).numpy()
    wanted = np.asarray(Image.fromarray(whole.squeeze()).reduce(2)).reshape(100, 150, -1)
    assert picture.pixels.shape[1:] == (100, 150)
    assert np.abs(picture.pixels.permute(1, 2, 0).numpy() - wanted.astype(int)).mean() < 3
    assert picture.carrier.size == (200, 300)
    assert "read at 150x100 px of its 300x200" in picture.notes


@pytest.mark.parametrize(("sides", "factor"), [((200, 100), 1), ((201, 100), 2), ((600, 140), 4)])
def test_it_is_shrunk_as_little_as_needed__closed_form(sides: tuple[int, int], factor: int) -> None:
    for kind in ("PNG", "JPEG"):
        picture = read(PHOTO.resize(sides), kind)
        assert picture.pixels.shape[1:] == (-(-sides[1] // factor), -(-sides[0] // factor))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_it_is_turned_like_any_other__closed_form(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, plain = read(PHOTO, kind, exif=exif), read(PHOTO, kind)
    assert turned.carrier.size == (300, 200)
    assert torch.equal(turned.pixels, plain.pixels.rot90(-1, (1, 2)))


def test_bands_leave_no_seam__identity_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(CLEAR, "PNG")
    monkeypatch.setattr("wherefrom.data.decoding.colour._ROWS", 16)
    assert torch.equal(read(CLEAR, "PNG").pixels, whole.pixels)


def test_a_folder_takes_it_only_where_it_scales__rejects_full_size(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(PHOTO, "JPEG"))
    batch = read_images([tmp_path], channels=3, size=(64, 64), resize=True)
    assert batch.images.shape == (1, 3, 64, 64)
    assert "cropped and scaled from 300x200 px" in batch.notes[0]
    for size in ((100, 150), (200, 300), None):
        with pytest.raises(InputError, match=r"too large: 300x200 px; above"):
            read_images([tmp_path], channels=3, size=size)


def test_16_bits_are_not_read_at_that_size__rejects_deep() -> None:
    deep = Image.fromarray(np.zeros((200, 300), dtype=np.uint16))
    for kind in ("PNG", "TIFF"):
        with pytest.raises(UnusableFile, match="16 bits per colour"):
            read(deep, kind)


def test_the_limit_is_one_for_all__rejects_larger(tmp_path: Path) -> None:
    data = encode(PHOTO, "PNG")
    with reading_with(max_pixels=59_999):
        with pytest.raises(UnusableFile, match=r"at most 59999 pixels \(--max-pixels\)"):
            decode_image(data, HERE)
        assert limits_in_force().max_pixels == 59_999
    assert limits_in_force() == Limits()
    with reading_with(max_pixels=10**9):
        assert limits_in_force().max_bytes == 4 * 10**9


def test_kept_results_know_their_background__identity_key() -> None:
    plain = reading_key()
    with reading_with(background="black"):
        assert reading_key() != plain
    with reading_with(max_pixels=7):
        assert reading_key() == plain


@pytest.mark.parametrize("value", ["x", "-1", "0", "1.5", "²"])
def test_a_wrong_variable__rejects_number(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.MAX_PIXELS, value)
    with pytest.raises(InputError, match="WHEREFROM_MAX_PIXELS"):
        limits_in_force()


@pytest.mark.parametrize(
    "command",
    [
        "attribution fit", "attribution check", "origin build", "origin search", "origin pairs",
        "anomaly score", "inversion train", "inspect", "credit run",
    ],
)  # fmt: skip
def test_every_command_that_reads_images_takes_the_options__closed_form(command: str) -> None:
    shown = CliRunner().invoke(cli, [*command.split(), "--help"]).output
    assert "--max-pixels" in shown
    assert "--background" in shown


def test_the_options_hold_for_one_command__identity_state(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(PHOTO, "PNG"))
    asked = ["origin", "build", str(tmp_path), "--out", str(tmp_path / "i")]
    refused = CliRunner().invoke(cli, [*asked, "--max-pixels", "100"])
    assert "at most 100 pixels" in refused.output + str(refused.exception)
    wrong = CliRunner().invoke(cli, [*asked, "--background", "nocolour"])
    assert "expected a colour" in wrong.output + str(wrong.exception)
    assert limits.MAX_PIXELS not in os.environ
    assert limits.BACKGROUND not in os.environ
