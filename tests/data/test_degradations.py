"""What happens to images on their way: each kind against another library or a closed form."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.data.altering.degradations import (
    CHAIN,
    KINDS,
    TABLE_3,
    Alteration,
    blur,
    crop,
    degrade,
    degrade_all,
    jpeg,
    noise,
    webp,
)
from wherefrom.data.decoding.jpeg_tables import jpeg_quality
from wherefrom.data.images.items import to_image


def pictures(count=6, channels=3, side=32):
    rng = stream(0, "pictures")
    coarse = torch.rand(count, channels, side // 4, side // 4, generator=rng)
    fine = torch.nn.functional.interpolate(coarse, size=side, mode="bicubic", align_corners=False)
    return (fine.clamp(0, 1) * 255).to(torch.uint8)


def test_blur_is_a_gaussian__reference_pillow():
    """Pillow's is an approximation by boxes: within 3 levels."""
    image = pictures(1)[0]
    theirs = np.asarray(to_image(image).filter(ImageFilter.GaussianBlur(1.5))).transpose(2, 0, 1)
    inner = np.s_[:, 6:-6, 6:-6]
    difference = blur(image, 1.5).numpy()[inner].astype(int) - theirs[inner]
    assert np.abs(difference).max() <= 3
    assert torch.equal(blur(image, 0), image)


def test_crop_keeps_the_centre_and_the_size__closed_form():
    image = torch.zeros(1, 32, 32, dtype=torch.uint8)
    image[:, 4:28, 4:28] = 200  # the middle three quarters
    assert bool((crop(image, 0.75) == 200).all())
    assert torch.equal(crop(image, 1.0), image)


def test_noise_has_its_deviation__limit():
    image = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    added = (noise(image, 0.05, stream(0, "n")).double() - 128) / 255
    assert float(added.std()) == pytest.approx(0.05, rel=0.03)  # 12,288 values: 0.6 %


@pytest.mark.parametrize("channels", [1, 3])
def test_files_are_what_a_viewer_would_show__reference_pillow(channels):
    image = pictures(1, channels)[0]
    for change, name, quality in ((jpeg, "JPEG", 70), (webp, "WEBP", 70)):
        buffer = io.BytesIO()
        to_image(image).save(buffer, format=name, quality=quality)
        shown = np.array(Image.open(buffer).convert("L" if channels == 1 else "RGB"))
        shown = shown[None] if channels == 1 else shown.transpose(2, 0, 1)
        changed = change(image, quality)
        assert changed.shape == image.shape
        assert np.array_equal(changed.numpy(), shown)


@pytest.mark.parametrize("quality", [1, 30, 49, 50, 75, 93, 100])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_file_tells_its_quality__roundtrip(quality, mode):
    buffer = io.BytesIO()
    Image.new(mode, (16, 16)).save(buffer, format="JPEG", quality=quality)
    assert jpeg_quality(Image.open(buffer)) == quality
    assert jpeg_quality(Image.new("RGB", (4, 4))) is None


@pytest.mark.parametrize("kind", [*KINDS, CHAIN])
def test_every_kind_changes_an_image_and_repeats__identity_seed(kind):
    image = pictures(1)[0]
    first, again = (degrade(image, kind, stream(1, kind)) for _ in range(2))
    assert first.dtype == torch.uint8 and first.shape == image.shape
    assert torch.equal(first, again) and not torch.equal(first, image)
    strengths = {degrade(image, kind, stream(s, kind)).numpy().tobytes() for s in range(6)}
    assert len(strengths) > 3


def test_an_image_does_not_depend_on_its_neighbours__identity_batch_independence():
    images = pictures(9)
    together = degrade_all(images, list(KINDS), seed=3, clean_share=0.3)
    assert torch.equal(degrade_all(images[:4], list(KINDS), seed=3, clean_share=0.3), together[:4])
    unchanged = [torch.equal(a, b) for a, b in zip(together, images, strict=True)]
    assert 0 < sum(unchanged) < 9
    assert torch.equal(degrade_all(images, list(KINDS), seed=3, clean_share=1.0), images)
    assert torch.equal(degrade_all(images, [], seed=3), images)


def test_a_kind_that_does_not_exist__rejects_kind():
    with pytest.raises(InputError, match="no degradation 'fog'; choose from blur, crop"):
        degrade_all(pictures(1), ["fog"], seed=0)


def test_an_alteration_is_its_degradation__reference_named():
    images = pictures(3)
    altered = {text: Alteration.parse(text).applied(images, 5) for text in (
        "jpeg=80", "webp=70", "blur=1.5", "crop=0.9", "noise=0.1"
    )}  # fmt: skip
    for index, image in enumerate(images):
        rng = stream(5, "noise=0.1", index)
        for text, expected in {
            "jpeg=80": jpeg(image, 80),
            "webp=70": webp(image, 70),
            "blur=1.5": blur(image, 1.5),
            "crop=0.9": crop(image, 0.9),
            "noise=0.1": noise(image, 0.1, rng),
        }.items():
            assert torch.equal(altered[text][index], expected)
    alone = Alteration("noise", 0.1).applied(images[:1], 5)
    assert torch.equal(alone, altered["noise=0.1"][:1])
    assert Alteration("jpeg", 80).applied(images[:0], 5).shape == (0, 3, 32, 32)


def test_an_alteration_is_its_text__roundtrip():
    assert [str(alteration) for alteration in TABLE_3] == [
        *("blur=1", "crop=0.9375", "crop=0.859375", "noise=0.05", "noise=0.1"),
        *("jpeg=90", "jpeg=80"),
    ]
    assert tuple(Alteration.parse(str(alteration)) for alteration in TABLE_3) == TABLE_3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gif=3", "there is no alteration 'gif=3'; give one of blur, crop, noise, jpeg, webp"),
        ("jpeg", "'jpeg' has no strength from 1 to 100"),
        ("jpeg=0", "'jpeg=0' has no strength from 1 to 100"),
        ("noise=nan", "'noise=nan' has no strength from 0 to 1"),
        ("crop=1.5", "'crop=1.5' has no strength from 0.1 to 1"),
    ],
)
def test_alterations_that_are_none__rejects_text(text, says):
    with pytest.raises(InputError, match=says):
        Alteration.parse(text)
