"""Sections of the credit page with the top contributors' images, and figures that explain them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from wherefrom.core.paths import printable
from wherefrom.credit.evaluation.portrait import WITHOUT, Portrait, Scene
from wherefrom.credit.result import Shares
from wherefrom.data.images.items import to_image
from wherefrom.data.images.notebook import encode_picture
from wherefrom.data.images.writing import image_grid
from wherefrom.report.credit.tables import is_ranked, rank_of, sign_of
from wherefrom.report.pages.figures import MAX_LABEL, Scheme, Scores, dress, legend, render
from wherefrom.report.pages.html import Figure, Panel, Prose, Section, Strip
from wherefrom.report.pages.tables import percent, plural


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


COLUMNS = 4
SIDE = 400  # px of a sheet of images
SHOWN = 6  # contributors whose images are shown
MAX_BARS = 60  # contributors in one figure


def picture_sections(
    portrait: Portrait, shares: Shares, names: Sequence[str], *, command: str
) -> list[Section]:
    """Sections of images and figures; `command` makes the runs whose images are missing."""
    title = "Top contributors" if is_ranked(shares) else "Contributors"
    blocks: list[Any] = [
        Prose(_selection_text(portrait, shares)),
        _contributors(portrait, shares, names),
    ]
    sections = [Section(title, *blocks)]
    if portrait.scenes:
        sections.append(_scenes(portrait, names, command))
    return [*sections, _analysis(portrait, names)]


def sheet(images: Tensor) -> str:
    """Images uint8 (k, C, H, W) as one picture, each pixel enlarged by a whole number."""
    grid = to_image(image_grid(images, COLUMNS))
    scale = max(1, SIDE // max(grid.size))
    larger = grid.resize((grid.width * scale, grid.height * scale), Image.Resampling.NEAREST)
    return encode_picture(larger, side=max(SIDE, *larger.size))


def _selection_text(portrait: Portrait, shares: Shares) -> str:
    count = plural(portrait.top, "contributor")
    if is_ranked(shares):
        return (
            f"The {count} with the most credit, {percent(WITHOUT)} of all as in the paper, are "
            "called the top below. Some of what each gave:"
        )
    return (
        "The runs cannot tell any two contributors apart. Below, the top is the "
        f"{count} with the largest estimates; another draw of runs might choose others. "
        "Some of what each gave:"
    )


def _contributors(portrait: Portrait, shares: Shares, names: Sequence[str]) -> Strip:
    panels = []
    for player in portrait.order[:SHOWN]:
        facts = [
            f"share {shares.values[player]:.4g}",
            f"sign {sign_of(shares, player)}",
            f"rank {rank_of(shares, player)}",
            plural(int(portrait.counts[player]), "image"),
        ]
        caption = f"{names[player]}: {', '.join(facts)}"
        panels.append(Panel(sheet(portrait.samples[player]), caption))
    return Strip(*panels)


def _scenes(portrait: Portrait, names: Sequence[str], command: str) -> Section:
    first = portrait.scenes[0].value
    panels, missing = [], []
    for scene in portrait.scenes:
        if scene.images is None:
            missing.append(scene.title)
        else:
            images = scene.images[: 2 * COLUMNS]
            panels.append(Panel(sheet(images), _caption(scene, first)))
    paragraphs = [
        "Images at one place began at the same noise; the models differ by the data that they "
        "were made of, and by the seed of training where no run with the same one is there.",
        *(
            f"{scene.title}: {', '.join(names[i] for i in scene.players)}."
            for scene in portrait.scenes[1:]
            if len(scene.players) <= SHOWN
        ),
    ]
    if missing:
        paragraphs.append(f"Not run yet: {'; '.join(missing)}. This makes the runs: {command}")
    blocks: list[Any] = [Prose(*paragraphs)]
    return Section("What the model makes", *blocks, *([Strip(*panels)] if panels else []))


def _caption(scene: Scene, first: float | None) -> str:
    if scene.value is None:
        return f"{scene.title}: the property has no value"
    caption = f"{scene.title}: {scene.value:.4g} in {plural(scene.runs, 'run')}"
    if first and scene.value != first:
        change = (scene.value - first) / abs(first)
        caption += f", {'+' if change > 0 else ''}{percent(change)}"
    return caption


def _analysis(portrait: Portrait, names: Sequence[str]) -> Section:
    order = np.array(portrait.order)
    chosen = (
        order if len(order) <= MAX_BARS else order[np.arange(MAX_BARS) * len(order) // MAX_BARS]
    )
    ordered, top = [names[i] for i in chosen], portrait.top_players[chosen]
    blocks: list[Any] = []
    if len(chosen) < len(order):
        blocks.append(Prose(f"{len(chosen)} of {len(order)} contributors, evenly by rank."))
    if portrait.uncertainty is not None:
        label = "entropy of the classifier over the images, nats"
        blocks.append(
            Figure(
                *contributor_bars(ordered, portrait.uncertainty[chosen], top, label=label),
                alt="entropy of the classifier by contributor",
                caption="How unsure the classifier is about each contributor's images: clear "
                "objects have a low entropy.",
            )
        )
    if portrait.clusters.shape[1]:
        blocks += _cluster_figures(portrait, chosen, ordered)
    else:
        blocks.append(Prose("All images look the same, so there are no clusters of them."))
    return Section("What lies behind it", *blocks)


def _cluster_figures(portrait: Portrait, chosen: Any, ordered: list[str]) -> list[Figure]:
    top = portrait.top_players
    variety = contributor_bars(
        ordered, portrait.variety[chosen], top[chosen], label="entropy over clusters, nats"
    )
    clusters = portrait.clusters.astype(np.float64)
    generated = None if portrait.generated is None else portrait.generated.astype(np.float64)
    number = clusters.shape[1]
    space = f"{number} Ward clusters of the training images by {portrait.space}"
    return [
        Figure(
            *variety,
            alt="variety of each contributor's images",
            caption=f"How many kinds of images each contributor gave: 0 is one only ({space}).",
        ),
        Figure(
            *cluster_bars(clusters[top].sum(axis=0), clusters[~top].sum(axis=0), generated),
            alt="images by cluster",
            caption=f"Where the images of the top and of the rest fall ({space}).",
        ),
    ]
