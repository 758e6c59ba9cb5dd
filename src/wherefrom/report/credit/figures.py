"""Plots of credit: contributors and the clusters of their images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from wherefrom.core.paths import printable
from wherefrom.report.pages.figures import MAX_LABEL, Scheme, Scores, dress, legend, render


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
