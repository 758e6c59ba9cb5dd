"""A plot of images by complexity and vulnerability."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure as Canvas

from wherefrom.report.pages.figures import (
    HEAVY_TAIL,
    Scheme,
    Scores,
    dress,
    legend,
    render,
    short_label,
    spread_rows,
)


def anomaly_scatter(
    real: Scores, generated: Mapping[str, Scores], labels: tuple[str, str]
) -> tuple[str, str]:
    """Points (n, 2): the real images, and each generator with a marker of its own."""

    def draw(canvas: Canvas, scheme: Scheme) -> None:
        ax = canvas.subplots()
        markers = "osD^vPX*"
        for index, (name, points) in enumerate(generated.items()):
            few = points[spread_rows(len(points))]
            ax.plot(
                *few.T,
                linestyle="",
                marker=markers[index % len(markers)],
                markersize=4,
                alpha=0.55,
                markeredgewidth=0,
                color=(scheme.other, scheme.accent, scheme.soft)[index % 3],
                label=f"{short_label(name)} ({len(points)})",
            )
        few = real[spread_rows(len(real))]
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
