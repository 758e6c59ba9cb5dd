"""Plots of attribution: scores, thresholds and p-values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Canvas

from wherefrom.report.pages.figures import (
    MAX_MARKS,
    Scheme,
    Scores,
    bins,
    dress,
    legend,
    outlined_histogram,
    render,
    short_label,
    spread_rows,
)


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
        ax.set_yticks(range(1, len(names) + 1), [short_label(name) for name in names])
        for text in ax.get_yticklabels():
            text.set_parse_math(False)
        ax.set_xlabel("score (larger = less likely made by the model)")
        legend(ax, scheme)
        dress([ax], scheme)

    return render(draw, height=1.4 + 0.42 * len(names))


def _curve(ax: Any, values: Scores, name: str, **style: Any) -> None:
    ordered = np.sort(values)
    share = np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
    ax.step(
        np.r_[0, ordered, 1], np.r_[0, share, 1], where="post", label=short_label(name), **style
    )


def _spread(values: Scores) -> Scores:
    chosen: Scores = np.sort(values)[spread_rows(len(values))]
    return chosen
