"""Text that is drawn into pictures: every letter is seen, or its number is."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw

from wherefrom.report.case.signed import drawable, font_for
from wherefrom.report.pages.figures import LIGHT, Scheme, legend, svg_of

SEEN = ["plain", "Müller", "Łódź", "Жанна", "Ωμέγα"]
NUMBERED = [("日本", "\\u65e5\\u672c"), ("\U00020000", "\\U00020000"), ("a\nb", "a\\nb")]


def drawn(text: str) -> Image.Image:
    canvas = Image.new("L", (400, 30), 255)
    ImageDraw.Draw(canvas).text((2, 2), text, fill=0, font=font_for(text, 15))
    return canvas


@pytest.mark.parametrize("text", SEEN)
def test_letters_of_many_alphabets_are_drawn_as_they_are__closed_form(text: str) -> None:
    assert drawable(text) == text
    boxes = drawn("\U0010fffd" * len(text))
    assert ImageChops.difference(drawn(text), boxes).getbbox() is not None


@pytest.mark.parametrize(("text", "shown"), NUMBERED)
def test_letters_without_a_font_fall_back_to_their_number__closed_form(
    text: str, shown: str
) -> None:
    assert drawable(text) == shown
    assert drawable(shown) == shown


def test_a_drawing_for_a_browser_keeps_all_names__roundtrip() -> None:
    names = ("日本語", "עברית", "عربي", "😀", "हिन्दी")

    def draw(canvas: Any, scheme: Scheme) -> None:
        axes = canvas.subplots()
        for name in names:
            axes.plot([0, 1], [0, 1], label=name)
        legend(axes, scheme)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = svg_of(draw, LIGHT, 2.0).decode()
    assert all(name in svg for name in names)
