"""Edits of photographs as made with an image editor, and one by a neural network.

None is by a diffusion model.  Each takes an RGB picture, a second one to paste from, and a seed,
and gives a picture of the same size; the same input gives the same picture.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from wherefrom.core.rng import stream
from wherefrom.data.images.items import to_image, to_pixels
from wherefrom.data.images.writing import to_float, to_uint8
from wherefrom.encoders.shipped import shipped_encoders
from wherefrom.encoders.tiny_conv import FACTOR, TinyConv, load_autoencoder

Picture = Image.Image
Edit = Callable[[Picture, Picture, int], Picture]

SKY_LIGHT, GROUND_LIGHT = (150, 90, 190), (255, 150, 60)
CAPTION = "AS SEEN ON TV"
COLOURS = 12  # of a painting
MARGIN = 0.08  # that is cut off on every side
CODE_NOISE = 0.45  # deviation of the noise in the code; the code's own is 1


def recolour(picture: Picture, other: Picture, seed: int) -> Picture:
    """Evening light: violet at the top, orange at the bottom, stronger contrast."""
    light = Image.new("RGB", (1, 2))
    light.putpixel((0, 0), SKY_LIGHT)
    light.putpixel((0, 1), GROUND_LIGHT)
    wide = light.resize(picture.size, Image.Resampling.BICUBIC)
    lit = Image.blend(picture, ImageChops.overlay(picture, wide), 0.85)
    return ImageEnhance.Contrast(lit).enhance(1.1)


def paste(picture: Picture, other: Picture, seed: int) -> Picture:
    """A round piece of the other picture at the upper right, and a caption below."""
    width, height = picture.size
    side = round(0.42 * min(width, height))
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).ellipse((3, 3, side - 4, side - 4), fill=255)
    edited = picture.copy()
    piece = ImageOps.fit(other, (side, side), Image.Resampling.LANCZOS)
    place = (round(0.96 * width) - side, round(0.05 * height))
    edited.paste(piece, place, mask.filter(ImageFilter.GaussianBlur(1.5)))
    letters = max(12, height // 9)
    draw = ImageDraw.Draw(edited)
    draw.rectangle((0, height - round(1.5 * letters), width, height), fill=(20, 20, 20))
    draw.text(
        (width // 2, height - round(0.75 * letters)),
        CAPTION,
        fill=(255, 220, 80),
        font=ImageFont.load_default(letters),
        anchor="mm",
    )
    return edited


def paint(picture: Picture, other: Picture, seed: int) -> Picture:
    """A painting: few colours in flat patches, with dark outlines."""
    smooth = picture.filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.ModeFilter(7))
    vivid = ImageEnhance.Color(smooth).enhance(1.5)
    flat = vivid.quantize(COLOURS, dither=Image.Dither.NONE).convert("RGB")
    soft = picture.convert("L").filter(ImageFilter.GaussianBlur(1))
    edges = np.asarray(soft.filter(ImageFilter.FIND_EDGES), dtype=np.int32)
    ink = Image.fromarray((255 - np.clip(3 * (edges - 12), 0, 255)).astype(np.uint8))
    return ImageChops.multiply(flat.filter(ImageFilter.ModeFilter(5)), ink.convert("RGB"))


def reframe(picture: Picture, other: Picture, seed: int) -> Picture:
    """Cropped, mirrored, sepia, with dark corners."""
    width, height = picture.size
    x, y = round(MARGIN * width), round(MARGIN * height)
    part = picture.crop((x, y, width - x, height - y))
    mirrored = ImageOps.mirror(part.resize((width, height), Image.Resampling.LANCZOS))
    grey = ImageOps.autocontrast(mirrored.convert("L"))
    sepia = ImageOps.colorize(grey, (35, 20, 10), (255, 240, 205), (170, 120, 75))
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    shade = np.clip(1.25 - 0.55 * (columns**2 + rows**2), 0, 1)
    return ImageChops.multiply(
        sepia, Image.fromarray((255 * shade).astype(np.uint8)).convert("RGB")
    )


@torch.no_grad()
def redraw(picture: Picture, other: Picture, seed: int) -> Picture:
    """Encoded, the code made noisy, and decoded by the shipped autoencoder."""
    width, height = picture.size
    inside = (width // FACTOR * FACTOR, height // FACTOR * FACTOR)
    network = _autoencoder()
    code = network.encode(to_float(to_pixels(picture.resize(inside)))[None])
    code += CODE_NOISE * torch.randn(code.shape, generator=stream(seed, "demo", "redraw"))
    drawn = to_uint8(network.decode(code).clamp(0, 1))[0]
    return to_image(drawn).resize((width, height), Image.Resampling.LANCZOS)


@cache
def _autoencoder() -> TinyConv:
    return load_autoencoder(shipped_encoders()["default"]).eval()


EDITS: dict[str, Edit] = {
    "recoloured": recolour,
    "pasted": paste,
    "painted": paint,
    "redrawn": redraw,
    "reframed": reframe,
}
