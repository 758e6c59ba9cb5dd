"""Plots as SVG data addresses, each in a light and a dark scheme.

Matplotlib is used through its objects only: no window system, no global figure.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, TypeAlias

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from wherefrom.data.notebook import data_uri
from wherefrom.report.pages.text import printable

Scores: TypeAlias = NDArray[np.float64]
Points: TypeAlias = NDArray[np.float64]

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


def score_histogram(
    own: Scores, other: Scores, threshold: float, checked: Scores
) -> tuple[str, str]:
    """Calibration scores of both kinds, the threshold, and a mark per checked image."""
    edges, heavy = bins(np.concatenate([own, other, checked, [threshold]]))

    def draw(canvas: Canvas, scheme: Scheme) -> None:
        with_marks = len(checked) > 0
        ratios = [6, 1] if with_marks else [1]
        axes = np.atleast_1d(
            canvas.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
        ).tolist()
        main = axes[0]
        for values, colour, label in (
            (own, scheme.own, f"held-out images of the model ({len(own)})"),
            (other, scheme.other, f"held-out other images ({len(other)})"),
        ):
            outlined_histogram(main, values, edges, colour, label)
        for ax in axes:
            ax.axvline(threshold, color=scheme.accent, linestyle="--", linewidth=1.3)
        main.plot([], [], color=scheme.accent, linestyle="--", label="threshold")
        main.set_ylabel("share of images, %")
        if heavy:
            main.set_xscale("log")
        legend(main, scheme)
        if with_marks:
            marks = checked if len(checked) <= MAX_MARKS else _spread(checked)
            axes[1].vlines(marks, 0, 1, color=scheme.ink, linewidth=1.1)
            axes[1].set_yticks([])
            axes[1].set_ylim(-0.15, 1.15)
            axes[1].set_ylabel("checked", rotation=0, ha="right", va="center")
        axes[-1].set_xlabel("score (larger = less likely made by the model)")
        dress(axes, scheme)

    return render(draw, height=3.9)


def outlined_histogram(
    ax: Any, values: Scores, edges: Sequence[float] | Scores, colour: str, label: str
) -> None:
    """Share of the values in each bin, in percent.  One outline a set draws faster than bars."""
    weights = np.full(len(values), 100 / max(len(values), 1))
    ax.hist(values, edges, weights=weights, histtype="stepfilled", color=colour, alpha=0.35)
    ax.hist(values, edges, weights=weights, histtype="step", color=colour, label=label)


def p_value_position(own: Scores, other: Scores, score: float) -> tuple[str, str]:
    """The p-value that each score would get among own and among other images, and one score."""
    edges, heavy = bins(np.concatenate([own, other, [score]]))
    spaced = np.geomspace if heavy else np.linspace
    x = spaced(edges[0], edges[-1], 400)

    def draw(canvas: Canvas, scheme: Scheme) -> None:
        ax = canvas.subplots()
        for values, colour, label, above in (
            (own, scheme.own, f"among the model's own ({len(own)})", True),
            (other, scheme.other, f"among the others ({len(other)})", False),
        ):
            ordered = np.sort(values)
            below = np.searchsorted(ordered, x, side="left" if above else "right")
            count = len(ordered) - below if above else below
            ax.step(x, (1 + count) / (len(ordered) + 1), color=colour, label=label)
        ax.axvline(score, color=scheme.accent, linewidth=1.3, label="this image")
        ax.set_yscale("log")
        if heavy:
            ax.set_xscale("log")
        ax.set_xlabel("score (larger = less likely made by the model)")
        ax.set_ylabel("p-value")
        legend(ax, scheme)
        dress([ax], scheme)

    return render(draw, height=3.6)


def p_value_curves(p_values: Mapping[str, Scores], own: str, rate: float) -> tuple[str, str]:
    """Share of each source's images with a p-value of at most x; the own ones follow y = x."""

    def draw(canvas: Canvas, scheme: Scheme) -> None:
        ax = canvas.subplots()
        ax.plot([0, 1], [0, 1], color=scheme.soft, linestyle=":", label="perfectly calibrated")
        styles = ["-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1))]
        rivals = [name for name in p_values if name != own]
        for index, name in enumerate(rivals):
            _curve(ax, p_values[name], name, color=scheme.other, linestyle=styles[index % 5])
        _curve(ax, p_values[own], f"{own} (the model's)", color=scheme.own, linewidth=2.2)
        ax.axvline(rate, color=scheme.accent, linestyle="--", linewidth=1, label="rate in force")
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1.02)
        ax.set_xlabel("p-value")
        ax.set_ylabel("share of images with a p-value this small")
        legend(ax, scheme, loc="lower right")
        dress([ax], scheme)

    return render(draw, height=4.2)


def source_scores(scores: Mapping[str, Scores], own: str, threshold: float) -> tuple[str, str]:
    """A box per source: the middle half, the median, and whiskers from 1 % to 99 %."""
    _, heavy = bins(np.concatenate([*scores.values(), [threshold]]))
    names = list(scores)[::-1]

    def draw(canvas: Canvas, scheme: Scheme) -> None:
        ax = canvas.subplots()
        boxes = ax.boxplot(
            [scores[name] for name in names],
            orientation="horizontal",
            whis=(1, 99),
            showfliers=False,
            patch_artist=True,
            medianprops={"color": scheme.ink},
            whiskerprops={"color": scheme.soft},
            capprops={"color": scheme.soft},
        )
        for name, box in zip(names, boxes["boxes"], strict=True):
            box.set(
                facecolor=scheme.own if name == own else scheme.other,
                alpha=0.6,
                edgecolor=scheme.soft,
            )
        ax.axvline(threshold, color=scheme.accent, linestyle="--", linewidth=1.3, label="threshold")
        if heavy:
            ax.set_xscale("log")
        ax.set_yticks(range(1, len(names) + 1), [_label(name) for name in names])
        for text in ax.get_yticklabels():
            text.set_parse_math(False)
        ax.set_xlabel("score (larger = less likely made by the model)")
        legend(ax, scheme)
        dress([ax], scheme)

    return render(draw, height=1.4 + 0.42 * len(names))


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


def contributor_bars(
    names: Sequence[str], values: Scores, top: NDArray[np.bool_], *, label: str
) -> tuple[str, str]:
    """One bar per contributor, those at the top (bool (n,)) in another colour, and both means."""

    def draw(canvas: Canvas, scheme: Scheme) -> None:
        ax = canvas.subplots()
        rows = np.arange(len(names))
        for chosen, colour, what in ((top, scheme.own, "top"), (~top, scheme.other, "the rest")):
            ax.barh(rows[chosen], values[chosen], color=colour, label=what)
            mean = float(values[chosen].mean())
            ax.axvline(mean, color=colour, linestyle="--", label=f"mean of {what}: {mean:.3g}")
        ax.set_yticks(rows, [printable(name)[:MAX_LABEL] for name in names])
        ax.invert_yaxis()
        ax.set_xlabel(label)
        legend(ax, scheme, above=True)
        dress([ax], scheme)

    return render(draw, height=1.6 + 0.3 * len(names))


def cluster_bars(top: Scores, rest: Scores, generated: Scores | None) -> tuple[str, str]:
    """Training images by cluster (K,), stacked, and where a model's images fall as a line."""
    total = max(float(top.sum() + rest.sum()), 1.0)

    def draw(canvas: Canvas, scheme: Scheme) -> None:
        ax = canvas.subplots()
        places = np.arange(len(top)) + 1
        ax.bar(places, 100 * top / total, color=scheme.own, label="images of the top")
        ax.bar(
            places,
            100 * rest / total,
            bottom=100 * top / total,
            color=scheme.other,
            label="images of the rest",
        )
        if generated is not None:
            share = 100 * generated / max(float(generated.sum()), 1.0)
            ax.plot(places, share, "D", color=scheme.accent, label="images of the model of all")
        ax.set_xticks(places)
        ax.set_xlabel("cluster, largest first")
        ax.set_ylabel("part of the images, %")
        legend(ax, scheme, above=True)
        dress([ax], scheme)

    return render(draw, height=3.4)


def anomaly_scatter(
    real: Points, generated: Mapping[str, Points], labels: tuple[str, str]
) -> tuple[str, str]:
    """Points (n, 2): the real images, and each generator with a marker of its own."""

    def draw(canvas: Canvas, scheme: Scheme) -> None:
        ax = canvas.subplots()
        markers = "osD^vPX*"
        for index, (name, points) in enumerate(generated.items()):
            few = points[_spread_rows(len(points))]
            ax.plot(
                *few.T,
                linestyle="",
                marker=markers[index % len(markers)],
                markersize=4,
                alpha=0.55,
                markeredgewidth=0,
                color=(scheme.other, scheme.accent, scheme.soft)[index % 3],
                label=f"{_label(name)} ({len(points)})",
            )
        few = real[_spread_rows(len(real))]
        ax.plot(
            *few.T,
            linestyle="",
            marker=".",
            markersize=5,
            alpha=0.8,
            markeredgewidth=0,
            color=scheme.own,
            label=f"real images ({len(real)})",
        )
        for scale, values in (("x", 0), ("y", 1)):
            every = np.concatenate([real, *generated.values()])[:, values]
            if every.min() > 0 and every.max() > HEAVY_TAIL * np.median(every):
                getattr(ax, f"set_{scale}scale")("log")
        ax.set_xlabel(labels[0])
        ax.set_ylabel(labels[1])
        legend(ax, scheme)
        dress([ax], scheme)

    return render(draw, height=5.2)


def _spread_rows(count: int) -> Any:
    return np.linspace(0, count - 1, min(count, MAX_MARKS)).astype(int)


def bins(values: Scores) -> tuple[Scores, bool]:
    """Edges of a histogram, and whether its axis should be logarithmic."""
    low, high = float(values.min()), float(values.max())
    middle, tail = np.quantile(values, [0.5, 0.99])
    if low > 0 and tail > HEAVY_TAIL * middle:
        return np.geomspace(low * 0.95, high * 1.05, BINS + 1), True
    margin = 0.02 * (high - low) or 1.0
    return np.linspace(low - margin, high + margin, BINS + 1), False


def _spread(values: Scores) -> Scores:
    chosen: Scores = np.sort(values)[_spread_rows(len(values))]
    return chosen


def _curve(ax: Any, values: Scores, name: str, **style: Any) -> None:
    ordered = np.sort(values)
    share = np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
    ax.step(np.r_[0, ordered, 1], np.r_[0, share, 1], where="post", label=_label(name), **style)


def _label(name: str) -> str:
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
    return re.sub(rb"<[^>]*>", lambda tag: colours.sub(lambda found: dark[found[0]], tag[0]), light)


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
        canvas.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
