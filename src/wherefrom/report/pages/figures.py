"""Plots as SVG data URIs, each in a light and a dark scheme.

Matplotlib is used without a window system and without its global figure.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any, TypeAlias

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from wherefrom.core.paths import printable
from wherefrom.data.images.notebook import data_uri

Scores: TypeAlias = NDArray[np.float64]

# Above this ratio of the 99 % point to the median a linear axis would hide the bulk.
HEAVY_TAIL = 10.0
BINS = 60
MAX_MARKS = 1000
MAX_LABEL = 40


@dataclass(frozen=True)
class Scheme:
    """Colours of one rendering; blue and orange stay apart for colour-blind readers."""

    ink: str
    soft: str
    line: str
    own: str
    other: str
    accent: str


LIGHT = Scheme("#1c2330", "#5b6577", "#dfe3ea", "#1f5fa8", "#d9822b", "#a3262a")
DARK = Scheme("#e6e9ef", "#9aa4b5", "#2c3442", "#8fc1f7", "#f0a35e", "#ff8a80")
Draw: TypeAlias = Callable[[Canvas, Scheme], None]


def outlined_histogram(
    ax: Any, values: Scores, edges: Sequence[float] | Scores, colour: str, label: str
) -> None:
    """Share of the values in each bin, in percent.  One outline a set draws faster than bars."""
    weights = np.full(len(values), 100 / max(len(values), 1))
    ax.hist(values, edges, weights=weights, histtype="stepfilled", color=colour, alpha=0.35)
    ax.hist(values, edges, weights=weights, histtype="step", color=colour, label=label)


def share_intervals(
    names: Sequence[str], values: Scores, low: Scores, high: Scores
) -> tuple[str, str]:
    """One row per contributor: its share, and its interval where there is one."""

    def draw(canvas: Canvas, scheme: Scheme) -> None:
        ax = canvas.subplots()
        rows = np.arange(len(names))
        known = np.isfinite(low) & np.isfinite(high)
        ax.hlines(rows[known], low[known], high[known], color=scheme.own, linewidth=1.6)
        ax.plot(values, rows, "o", color=scheme.ink, markersize=4)
        ax.axvline(0, color=scheme.line, linewidth=1)
        ax.set_yticks(rows, [printable(name)[:MAX_LABEL] for name in names])
        ax.invert_yaxis()
        ax.set_xlabel("share of the gain")
        dress([ax], scheme)

    return render(draw, height=1.4 + 0.3 * len(names))


def spread_rows(count: int) -> Any:
    """Indices of at most `MAX_MARKS` of `count` rows, evenly spaced."""
    return np.linspace(0, count - 1, min(count, MAX_MARKS)).astype(int)


def bins(values: Scores) -> tuple[Scores, bool]:
    """Edges of a histogram, and whether its axis should be logarithmic."""
    low, high = float(values.min()), float(values.max())
    middle, tail = np.quantile(values, [0.5, 0.99])
    if low > 0 and tail > HEAVY_TAIL * middle:
        return np.geomspace(low * 0.95, high * 1.05, BINS + 1), True
    margin = 0.02 * (high - low) or 1.0
    return np.linspace(low - margin, high + margin, BINS + 1), False


def short_label(name: str) -> str:
    """The name on one line, shortened to `MAX_LABEL` characters, for a legend or an axis."""
    # A label with a leading underscore would silently vanish from the legend.
    shown = printable(name)
    short = shown if len(shown) <= MAX_LABEL else shown[: MAX_LABEL - 1] + "…"
    return "\u200b" + short if short.startswith("_") else short


def legend(ax: Any, scheme: Scheme, loc: str = "best", *, above: bool = False) -> None:
    """The axes' legend in the scheme; no text in it is taken for mathematics."""
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 4} if above else {"loc": loc}
    box = ax.legend(frameon=False, fontsize=9, labelcolor=scheme.ink, **place)
    for text in box.get_texts():
        text.set_parse_math(False)


def dress(axes: Sequence[Any], scheme: Scheme) -> None:
    """Axes in the colours of the scheme, open at the top and right."""
    for ax in axes:
        ax.set_facecolor("none")
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            ax.spines[side].set_color(scheme.soft)
        ax.tick_params(which="both", colors=scheme.soft, labelcolor=scheme.ink, labelsize=9)
        ax.xaxis.label.set(color=scheme.ink, fontsize=10)
        ax.yaxis.label.set(color=scheme.ink, fontsize=10)


def render(draw: Draw, *, height: float) -> tuple[str, str]:
    """The drawing in both schemes, as SVG data addresses.  It is drawn once, in LIGHT."""
    light = svg_of(draw, LIGHT, height)
    return data_uri(light, "image/svg+xml"), data_uri(recoloured(light), "image/svg+xml")


def recoloured(light: bytes) -> bytes:
    """A drawing in LIGHT as one in DARK: in tags its colours are replaced, in texts nothing is."""
    pairs = zip(astuple(LIGHT), astuple(DARK), strict=True)
    dark = {old.encode(): new.encode() for old, new in pairs}
    colours = re.compile(b"|".join(dark))
    return re.sub(rb"<[^>]*>", lambda tag: colours.sub(lambda match: dark[match[0]], tag[0]), light)


def svg_of(draw: Draw, scheme: Scheme, height: float) -> bytes:
    """The drawing in one scheme, as SVG."""
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",  # the reader's fonts know more scripts than ours
        "svg.hashsalt": "wherefrom",  # the same result is the same file
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        # Only the measuring font lacks the glyph; the text in the file is complete.
        warnings.filterwarnings("ignore", r"Glyph \d+")
        canvas = Canvas(figsize=(9, height), layout="constrained")
        canvas.patch.set_alpha(0)
        draw(canvas, scheme)
        buffer = io.BytesIO()
        # `savefig` would draw it twice.
        picture: Any = FigureCanvasSVG(canvas)
        picture.print_svg(buffer, metadata={"Date": None})
    return buffer.getvalue()
