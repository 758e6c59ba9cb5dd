"""The HTML pages: self-contained, escaped, whole; and the figures and pictures in them."""

import base64
import dataclasses
import html
import re
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from torch import Tensor

from wherefrom.attribution.config import PRESETS
from wherefrom.attribution.result import CheckResult, EvaluationResult, ImageVerdict, SourceRow
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.config import Config
from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import digest_file
from wherefrom.data import save_png
from wherefrom.report.attribution import figures as plots
from wherefrom.report.attribution import wording
from wherefrom.report.attribution.page import write_check_report, write_evaluation_report
from wherefrom.report.pages import figures, pictures
from wherefrom.report.pages.html import (
    Cell,
    Grid,
    Prose,
    Section,
    flatten,
    render_page,
    settings_with_sources,
    write_report,
)

NASTY = "<script>alert('x')</script>\"><img src=http://e.x/p onerror=a()>\x1b[31m\n{{ 7*7 }}.png"


@dataclass(frozen=True)
class Fitted:
    """The part of a fitted attributor that a page reads."""

    config: Config
    own_scores: Tensor
    other_scores: Tensor


class Tags(HTMLParser):
    """Every tag with its attributes, and the text outside the style sheet."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self._style = [], "", False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag):
        self._style = False

    def handle_data(self, data):
        if not self._style:
            self.text += data


def fitted():
    rng = torch.Generator().manual_seed(0)
    own = torch.rand(40, generator=rng, dtype=torch.float64) + 0.1
    other = 50 * torch.rand(30, generator=rng, dtype=torch.float64) + 5
    return Fitted(PRESETS["default"], own, other)


def check_result(name=NASTY):
    rows = (
        ImageVerdict(name, Verdict.OURS, 0.41, 0.01, 0.3, "", "sha256:" + "ab" * 32),
        ImageVerdict("b.png", Verdict.CANNOT_SAY, None, None, None, "is no image", None),
    )
    return CheckResult(rows, 1.05, 0.05, 0.1, {"kind": "k", "generator": {"digest": "sha256:77"}})


def evaluation_result(other=NASTY):
    counts = {str(verdict): 2 for verdict in Verdict}
    own = SourceRow("own", 6, 0.0, 0.0, 0.4, 1.0, None, counts)
    row = SourceRow(other, 6, 1.0, 0.6, 1.0, 1.0, 0.987, counts)
    scores = {"own": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7), other: (9.0, 10.0, 30.0, 44.0, 50.0, 80.0)}
    return EvaluationResult(own, (row,), scores, 1.05, 0.05, {"kind": "k"})


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The two pages as tags."""
    folder = tmp_path_factory.mktemp("pages")
    write_check_report(folder / "c.html", check_result(), fitted(), thumbnails={})
    write_evaluation_report(folder / "e.html", evaluation_result(), fitted())
    return [Tags((folder / name).read_text()) for name in ("c.html", "e.html")]


def test_pages_load_nothing_from_outside__identity_only_data_addresses(pages):
    for page in pages:
        policy = [a["content"] for _, a in page.tags if a.get("http-equiv")]
        assert policy == [
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
            "form-action 'none'"
        ]
        names = {tag for tag, _ in page.tags}
        assert not names & {"script", "iframe", "object", "embed", "link", "form", "a", "base"}
        for _, attributes in page.tags:
            for key in ("src", "srcset", "href"):
                assert attributes.get(key, "data:").startswith("data:")
            assert not any(key.startswith("on") for key in attributes)


def test_style_sheet_names_no_address__identity_no_urls(tmp_path):
    write_report(tmp_path / "p.html", "t", [])
    style = re.search(r"<style>(.*?)</style>", (tmp_path / "p.html").read_text(), re.S)[1]
    assert "@media print" in style
    assert "prefers-color-scheme: dark" in style
    assert not re.search(r"url\(|@import|https?:", style)


def test_file_names_and_source_names_are_shown_and_never_run__closed_form(pages):
    for page in pages:
        shown = NASTY.replace("\x1b", r"\x1b").replace("\n", r"\n")
        assert shown in page.text
        assert not any(a.get("src", "").startswith("http") for _, a in page.tags)


def test_every_kind_of_text_is_escaped__closed_form():
    page = render_page(
        "<b>", [Section("<i>", Prose("<u>"), Grid(("<s>",), ((Cell("<em>", below="<q>"),),)))]
    )
    names = {tag for tag, _ in Tags(page).tags}
    assert not names & {"b", "i", "u", "s", "em", "q"}
    assert html.escape("<em>") in page


def test_check_page_says_verdicts_rates_and_digests__closed_form(pages):
    page = pages[0].text
    for part in ("at most 10% of cases", "at most 5% of cases", "40 images", "30 other images"):
        assert part in page
    assert "sha256:" + "ab" * 32 in page
    assert "is no image" in page
    assert "0.41" in page


def test_evaluation_page_shows_the_results_own_numbers__closed_form(pages):
    page = pages[1].text
    for part in ("100%", "60%", "0.987", "mean accuracy over the other sources"):
        assert part in page


@pytest.fixture
def no_figures(monkeypatch):
    """Pages are written without the drawing, which takes most of the time."""
    monkeypatch.setattr(plots, "score_histogram", lambda *_: ("data:,", "data:,"))


def test_a_single_image_is_answered_in_a_sentence__closed_form(no_figures, tmp_path):
    result = check_result("one.png")
    only = CheckResult(result.images[:1], 1.05, 0.05, 0.1, {})
    write_check_report(tmp_path / "c.html", only, fitted(), thumbnails={})
    text = Tags((tmp_path / "c.html").read_text()).text
    assert "The image one.png was checked. The answer is: made by this model." in text


def test_a_failed_page_leaves_the_old_one__rejects_half_written(tmp_path, monkeypatch):
    path = tmp_path / "p.html"
    path.write_text("old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write_report(path, "t", [])
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["p.html"]


@pytest.mark.parametrize("name", ["suspect.png", "missing/p.html", "folder.html"])
def test_impossible_targets_are_refused__rejects_target(tmp_path, name):
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError, match="--report"):
        write_report(tmp_path / name, "t", [])


def decoded(address, mime):
    head, _, body = address.partition(",")
    assert head == f"data:{mime};base64"
    return base64.b64decode(body)


def drawn_text(address):
    """The SVG without its comments, which repeat every string as it was given."""
    return re.sub("<!--.*?-->", "", decoded(address, "image/svg+xml").decode(), flags=re.S)


def test_figures_are_the_same_for_the_same_numbers__identity_deterministic():
    own, other = np.linspace(0.1, 1, 20), np.geomspace(1, 900, 20)
    first, again = (plots.score_histogram(own, other, 1.0, np.array([0.5, 20.0])) for _ in range(2))
    assert first == again
    assert first[0] != first[1]


def test_histogram_bins_cover_every_score_and_go_log_for_heavy_tails__closed_form():
    even = np.linspace(1.0, 2.0, 50)
    edges, heavy = figures.bins(even)
    assert not heavy
    assert np.histogram(even, edges)[0].sum() == 50
    tailed = np.geomspace(0.1, 1000, 50)
    edges, heavy = figures.bins(tailed)
    assert heavy
    assert np.histogram(tailed, edges)[0].sum() == 50
    edges, _ = figures.bins(np.ones(5))
    assert (np.diff(edges) > 0).all()
    assert np.histogram(np.ones(5), edges)[0].sum() == 5


def test_source_names_in_figures_are_text__closed_form():
    scores = {"own": np.array([1.0, 2.0]), "$x^2$ <b> 写 _": np.array([3.0, 4.0])}
    light, _ = plots.source_scores(scores, "own", 2.5)
    assert "$x^2$ &lt;b&gt; 写 _" in drawn_text(light)
    light, _ = plots.p_value_curves({"own": np.array([0.5]), "_$b$": np.array([0.1])}, "own", 0.1)
    assert "_$b$<" in drawn_text(light)


def test_the_dark_figure_is_as_drawn_in_dark__reference_drawn():
    name = f"paint {figures.LIGHT.own} > <{figures.LIGHT.ink}>"
    spread = np.linspace(0.1, 1, 20)

    def draw(canvas, scheme):
        ax = canvas.subplots()
        ax.hist(spread, color=scheme.own, alpha=0.4, label=name)
        ax.plot(spread, spread, "D", color=scheme.other, markeredgewidth=0)
        ax.axvline(0.5, color=scheme.accent, linestyle="--")
        ax.grid(color=scheme.line)
        figures.legend(ax, scheme)
        figures.dress([ax], scheme)

    def plain(svg):
        """Without the names of parts, which are hashes of their colours too."""
        named = dict.fromkeys(re.findall(rb'id="(m?p?[0-9a-f]{10,})"', svg))
        for number, one in enumerate(named):
            svg = svg.replace(one, b"part %d" % number)
        return svg

    light, dark = figures.render(draw, height=3.0)
    light, dark = decoded(light, "image/svg+xml"), decoded(dark, "image/svg+xml")
    assert light == figures.svg_of(draw, figures.LIGHT, 3.0)
    expected = figures.svg_of(draw, figures.DARK, 3.0)
    comment = re.compile(rb"<!--.*?-->", re.S)
    assert comment.sub(b"", plain(dark)) == comment.sub(b"", plain(expected))
    assert not set(dataclasses.astuple(figures.LIGHT)) & set(dataclasses.astuple(figures.DARK))


def test_pictures_are_small_and_only_of_what_was_checked__closed_form(tmp_path):
    wide, changed, gone = (tmp_path / f"{name}.png" for name in ("wide", "changed", "gone"))
    save_png(torch.full((3, 50, 400), 7, dtype=torch.uint8), wide)
    save_png(torch.full((3, 8, 8), 7, dtype=torch.uint8), changed)
    rows = [
        ImageVerdict(str(wide), Verdict.OURS, 1.0, 0.0, 0.0, "", digest_file(wide)),
        ImageVerdict(str(changed), Verdict.OURS, 1.0, 0.0, 0.0, "", "sha256:other"),
        ImageVerdict(str(gone), Verdict.CANNOT_SAY, None, None, None, "is gone"),
    ]
    found = pictures.thumbnails(rows)
    assert list(found) == [str(wide)]
    data = decoded(found[str(wide)], "image/png")
    assert (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) == (96, 12)


def test_pictures_are_bounded_in_number__limit(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_COUNT", 2)
    rows = []
    for index in range(3):
        path = tmp_path / f"{index}.png"
        save_png(torch.full((3, 4, 4), index, dtype=torch.uint8), path)
        rows.append(ImageVerdict(str(path), Verdict.OURS, 1.0, 0.0, 0.0, ""))
    assert list(pictures.thumbnails(rows)) == [row.name for row in rows[:2]]


def test_descriptions_are_flattened_in_order__closed_form():
    told = {"image_shape": [3, 8], "range": [-1.0, 1], "map": {"on": True, "steps": [{"k": None}]}}
    assert list(flatten(told)) == [
        ("image shape", "3 × 8"),
        ("range", "-1, 1"),
        ("map: on", "yes"),
        ("map: steps", "k none"),
    ]


def test_settings_carry_their_sources_nested_ones_too__closed_form():
    rows = {
        name: (value, remark) for name, value, remark in settings_with_sources(PRESETS["paper"])
    }
    assert rows["lasso: lam"] == ("0.0005", "weight of the l1 term in Eq. 5 [App. G.7]")
    assert rows["detector: epochs"][0] == "50"


def test_the_limits_name_the_states_that_were_calibrated__closed_form(no_figures, tmp_path):
    plain, states = wording.limits(), wording.limits(["JPEG 80-89", "scaled"])
    assert plain[1][0] == "Unaltered images" and len(plain) == len(states)
    assert "JPEG 80-89, scaled" in states[1][1] and "JPEG compression remove" not in states[1][1]
    result = check_result("a.png")
    attributor = {**result.attributor, "further_conditions": ["JPEG 80-89"]}
    known = dataclasses.replace(result, attributor=attributor)
    write_check_report(tmp_path / "r.html", known, fitted(), thumbnails={})
    assert "JPEG 80-89" in Tags((tmp_path / "r.html").read_text()).text
