"""The page of an inspection: whole, self-contained, escaped, readable with a keyboard."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from wherefrom.case import inspect_image, open_case
from wherefrom.case.result import QUESTIONS
from wherefrom.core.saving.store import digest_file
from wherefrom.report.case.page import PAGE, WHOLE, summary_lines, write_inspection

CSS = Path(__file__).parents[2] / "src" / "wherefrom" / "report" / "templates" / "page.css"
MOST_BYTES = 2 * 2**20
EVIL = '<img src=x onerror="alert(1)">{{ 7 * 7 }}.png'
READABLE = 4.5  # WCAG 2.2, 1.4.3: contrast of text


class Reader(HTMLParser):
    """Tags with attributes, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def report(case_file, world, tmp_path_factory):
    """The page about one image of `mine` under a hostile name, its folder and its inspection."""
    folder = tmp_path_factory.mktemp("report")
    image = world.own / "0.png"
    with open_case(case_file) as opened:
        found = inspect_image(image, opened, name=EVIL, pictures=True, heat=True)
        write_inspection(folder, found, image)
    return Reader((folder / PAGE).read_text()), folder, found


def test_it_holds_every_answer_rate_and_digest__closed_form(report):
    page, folder, found = report
    for answer in found.answers:
        assert QUESTIONS[answer.question] in page.text
        assert answer.sentence in page.text
        assert all(part.digest in page.text for part in answer.parts)
    rates = [a.error_rate for a in found.answers if a.error_rate is not None]
    assert all(f"at most {100 * rate:.4g}%" in page.text for rate in rates)
    assert digest_file(folder / WHOLE) in page.text
    assert found.image.digest in page.text
    pictures = [attrs["src"] for attrs in page.all("img")]
    assert len(pictures) >= 6  # the image, two models, origin, naturalness, heat, outlier
    assert (folder / PAGE).stat().st_size < MOST_BYTES


def test_it_loads_and_runs_nothing__rejects_injection(report):
    page, _, _ = report
    assert page.all("script") == page.all("link") == page.all("iframe") == []
    addresses = [v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "srcset")]
    assert addresses
    assert all(address.startswith("data:image/") for address in addresses)
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    assert EVIL in page.text  # as text, with nothing of it interpreted


def test_the_image_is_called_by_its_name_and_not_by_where_it_lies__rejects_path(report, world):
    page, _, _ = report
    assert f"Asked for: {EVIL}" in page.text
    assert str(world.own) not in page.text


def test_pictures_have_words_and_tables_take_the_keyboard__closed_form(report):
    page, _, _ = report
    shown = [a for a in page.all("img") if "thumb" not in (a.get("class") or "")]
    assert shown
    assert all(attrs.get("alt") for attrs in shown)
    scrolled = [a for a in page.all("div") if a.get("class") == "scroll"]
    assert scrolled
    assert all(a.get("tabindex") == "0" and a.get("aria-label") for a in scrolled)
    assert page.all("html")[0]["lang"] == "en"


def luminance(colour):
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_stands_out_in_both_schemes__reference_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    css = CSS.read_text()
    blocks = re.findall(r":root \{([^}]*)\}", css)
    assert len(blocks) == 2
    for block in blocks:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        pairs = [("ink", "paper"), ("soft", "paper"), ("soft", "tint"), ("ink", "tint")]
        pairs += [(tone, f"{tone}-tint") for tone in ("yes", "no", "unsure")]
        for text, ground in pairs:
            assert contrast(colours[text], colours[ground]) >= READABLE, (text, ground)


def test_the_terminal_gets_one_line_a_question__closed_form(report):
    _, _, found = report
    lines = summary_lines(found.to_dict())
    assert len(lines) == 1 + len(QUESTIONS) + 1
    assert lines[1].startswith("Did one of my models make it? ")
    assert "At most 10% of the time" in " ".join(lines) or found.answer("model").error_rate is None
