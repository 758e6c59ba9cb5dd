"""A file that tells of changed pixels is never called "not made by this model"."""

import io

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from wherefrom.attribution.checking.paths import check_paths
from wherefrom.calibration.verdict import Verdict
from wherefrom.data.images.writing import save_png


def _screenshot(image):
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "Screenshot 4.1")
    return image, {"format": "PNG", "pnginfo": info}


def _translucent(image):
    clear = image.copy()
    clear.putalpha(image.convert("L"))
    return clear, {"format": "PNG"}


def _with_profile(image):
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    data = bytearray(wide.tobytes())
    at = data.index(b"rXYZ") + 4  # the entry of the red primary in the table of tags
    place = int.from_bytes(data[at : at + 4], "big")
    data[place + 8 : place + 12] = (0x8000).to_bytes(4, "big")  # a redder red
    return image, {"format": "PNG", "icc_profile": bytes(data)}


CHANGES = {
    "palette": lambda image: (image.quantize(16), {"format": "PNG"}),
    "palette saved as colours": lambda image: (image.quantize(8).convert("RGB"), {"format": "PNG"}),
    "GIF": lambda image: (image, {"format": "GIF"}),
    "one bit": lambda image: (image.convert("1"), {"format": "TIFF", "compression": "group4"}),
    "palette in BMP": lambda image: (image.quantize(256), {"format": "BMP"}),
    "JPEG in TIFF": lambda image: (image, {"format": "TIFF", "compression": "jpeg"}),
    "lossy WebP": lambda image: (image, {"format": "WEBP", "quality": 90}),
    "AVIF": lambda image: (image, {"format": "AVIF"}),
    "alpha": _translucent,
    "profile": _with_profile,
    "screenshot": _screenshot,
}


@pytest.fixture(scope="module")
def foreign(smooth):
    """A picture that the model did not make."""
    return smooth(2, 8)[0]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_not_accused__closed_form(fitted, foreign, tmp_path, change):
    save_png(foreign, tmp_path / "plain.png")
    with Image.open(tmp_path / "plain.png") as opened:
        image, options = CHANGES[change](opened.convert("RGB"))
    buffer = io.BytesIO()
    image.save(buffer, **options)
    (tmp_path / "z").write_bytes(buffer.getvalue())
    plain, changed = check_paths(fitted, [tmp_path / "plain.png", tmp_path / "z"]).images
    assert plain.verdict is Verdict.NOT_OURS
    assert changed.verdict in (Verdict.CANNOT_SAY, Verdict.OURS)
    assert Verdict.NOT_OURS not in changed.possible
    if changed.verdict is Verdict.CANNOT_SAY:
        assert "original file" in changed.reason or "black or white" in changed.reason


def test_an_opaque_alpha_and_srgb_stay_judged__identity_plain(fitted, foreign, tmp_path):
    save_png(foreign, tmp_path / "plain.png")
    with Image.open(tmp_path / "plain.png") as opened:
        image = opened.convert("RGBA")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path / "z.png", icc_profile=profile)
    plain, tagged = check_paths(fitted, [tmp_path]).images
    assert plain.score == tagged.score
    assert tagged.verdict is Verdict.NOT_OURS
