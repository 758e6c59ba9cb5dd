"""Plots and pictures of an inspection's exhibits, as data URIs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure as Canvas

from wherefrom.anomaly.localisation.pictures import overlay
from wherefrom.case.questions.exhibits import (
    HeatShown,
    ReconstructionShown,
    ScorePlace,
    SharesShown,
)
from wherefrom.data.images.items import to_image
from wherefrom.data.images.notebook import encode_picture
from wherefrom.data.images.writing import image_grid, to_uint8
from wherefrom.report.pages.figures import (
    Scheme,
    bins,
    dress,
    legend,
    outlined_histogram,
    render,
    share_intervals,
)
from wherefrom.report.pages.html import Figure, Panel
from wherefrom.report.pages.text import percent

HEAT_SIDE = 320
MIN_SIDE = 160  # px that a small picture is enlarged to


def score_figure(place: ScorePlace) -> Figure:
    """Calibration scores as histograms, the threshold, and a line where the image lies."""
    own = place.own.double().numpy()
    other = np.empty(0) if place.other is None else place.other.double().numpy()
    edges, heavy = bins(np.concatenate([own, other, [place.threshold, place.score]]))

    def draw(canvas: Canvas, scheme: Scheme) -> None:
        ax = canvas.subplots()
        rows = ((own, scheme.own, place.own_label), (other, scheme.other, place.other_label))
        for values, colour, label in rows:
            if len(values):
                outlined_histogram(ax, values, edges, colour, f"{label} ({len(values)})")
        ax.axvline(place.threshold, color=scheme.accent, linestyle="--", label="threshold")
        ax.axvline(place.score, color=scheme.ink, linewidth=2.4, label="this image")
        ax.set_ylabel("share of images, %")
        ax.set_xlabel(place.axis)
        if heavy:
            ax.set_xscale("log")
        legend(ax, scheme)
        dress([ax], scheme)

    light, dark = render(draw, height=3.0)
    side = "beyond" if place.score > place.threshold else "not beyond"
    larger = float((own >= place.score).mean()) if len(own) else 0.0
    alt = (
        f"Histogram of calibration scores of {place.name}. This image scores {place.score:.4g}, "
        f"{side} the threshold of {place.threshold:.4g}; {percent(round(larger, 4))} of "
        f"{place.own_label} score as high."
    )
    caption = (
        f"{place.name}: where the score of this image (solid line) lies among scores of images "
        "that the method never saw. The dashed line is the threshold."
    )
    return Figure(light, dark, alt, caption)


def shares_figure(shown: SharesShown) -> Figure:
    """Shares with their intervals."""

    def column(values: Sequence[float | None]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([np.nan if v is None else v for v in values], dtype=np.float64)

    order = np.argsort(-column(shown.values), kind="stable")
    rows = [column(values)[order] for values in (shown.values, shown.low, shown.high)]
    light, dark = share_intervals([shown.contributors[i] for i in order], *rows)
    alt = f"Shares of {len(shown.contributors)} contributors with their intervals; see the table"
    return Figure(light, dark, alt, "Shares (points) and the intervals that hold for all at once.")


def heat_panels(shown: HeatShown) -> list[Panel]:
    """The image with the parts outlined that its vulnerability comes from."""
    located = shown.localisation
    shares = [float(located.shares[i]) for i in located.top]
    listed = ", ".join(percent(round(share, 3)) for share in shares)
    caption = (
        f"{shown.name}: parts that the score rests on; the three outlined hold {listed} of it. "
        f"{percent(round(located.stability, 2))} of them are the same from another start."
    )
    picture = encode_picture(to_image(overlay(shown.pixels, located)), side=HEAT_SIDE)
    return [Panel(picture, caption, alt="The image with a heat map over it")]


def reconstruction_panels(shown: ReconstructionShown) -> list[Panel]:
    """The image as the inverter sees it, beside what comes back of it."""
    pair = to_uint8(torch.stack([shown.image, shown.recovered]))
    times = max(1, -(-MIN_SIDE // pair.shape[-1]))
    larger = pair.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)
    picture = encode_picture(to_image(image_grid(larger, 2, gap=8)), side=2 * HEAT_SIDE)
    caption = (
        f"{shown.name}: left the image as the inverter sees it, right what its generator makes of "
        f"the image's code (PSNR {shown.psnr:.1f} dB)."
    )
    return [Panel(picture, caption, alt="The image beside its reconstruction")]
