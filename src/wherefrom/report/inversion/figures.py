"""Plots of invertible generators: what is noticed at which intensity, and what merges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure as Canvas

from wherefrom.report.pages.figures import Scheme, dress, legend, render

if TYPE_CHECKING:
    from wherefrom.inversion.classes.merge_tree import MergeTree
    from wherefrom.inversion.outliers.subtlety import SubtletyCurve

STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def subtlety_plot(curve: SubtletyCurve) -> tuple[str, str]:
    """AUROC and share caught against intensity, a line per kind of damage."""
    kinds = list(dict.fromkeys(point.corruption for point in curve.points))

    def draw(canvas: Canvas, scheme: Scheme) -> None:
        axes = canvas.subplots(1, 2, sharex=True)
        colours = (scheme.own, scheme.other, scheme.accent)
        for index, kind in enumerate(kinds):
            points = [point for point in curve.points if point.corruption == kind]
            x = [point.intensity for point in points]
            style = {"color": colours[index % 3], "linestyle": STYLES[index // 3 % len(STYLES)]}
            axes[0].plot(x, [p.auroc for p in points], label=kind.replace("_", " "), **style)
            axes[1].plot(x, [p.caught for p in points], **style)
        axes[0].axhline(0.5, color=scheme.soft, linewidth=0.8)
        axes[1].axhline(curve.rate, color=scheme.soft, linewidth=0.8)
        axes[0].set_ylabel("AUROC")
        axes[1].set_ylabel(f"share flagged at a false-alarm rate of {curve.rate:g}")
        for ax in axes:
            ax.set_xscale("log")
            ax.set_ylim(-0.02, 1.02)
            ax.set_xlabel("intensity of the damage")
        legend(axes[0], scheme)
        dress(list(axes), scheme)

    return render(draw, height=4.4)


def tree_plot(tree: MergeTree) -> tuple[str, str]:
    """A column of classes per penalty, as large as their share, and where their images go."""
    places = _places(tree)

    def draw(canvas: Canvas, scheme: Scheme) -> None:
        ax = canvas.subplots()
        for edge in tree.edges:
            here, there = places[edge.level][edge.child], places[edge.level + 1][edge.parent]
            steps = [edge.level, edge.level + 1]
            ax.plot(steps, [here, there], color=scheme.own, linewidth=0.5 + 2.5 * edge.share)
        for index, level in enumerate(tree.levels):
            for node in level.nodes:
                y = places[index][node.label]
                ax.plot(index, y, "o", color=scheme.other, markersize=4 + 22 * node.share**0.5)
                ax.annotate(
                    f"{node.prior:.2f}",
                    (index, y),
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=scheme.ink,
                )
        labels = [
            _level_label(level.penalty, level.living, level.stability) for level in tree.levels
        ]
        ax.set_xticks(range(len(labels)), labels)
        ax.set_yticks([])
        ax.set_ylabel("classes, as numbers: P(C)")
        dress([ax], scheme)

    return render(draw, height=1.8 + 0.35 * max(len(level.nodes) for level in tree.levels))


def _places(tree: MergeTree) -> list[Mapping[int, float]]:
    """Height of each node: at the last level by size, before that beside its parent."""
    parents = {(edge.level, edge.child): edge.parent for edge in tree.edges}
    places: list[Mapping[int, float]] = []
    for index in reversed(range(len(tree.levels))):
        nodes = list(tree.levels[index].nodes)
        if places:
            above = places[0]
            nodes.sort(key=lambda n: above.get(parents.get((index, n.label), -1), float("inf")))
        places.insert(0, {node.label: _spread(nodes, place) for place, node in enumerate(nodes)})
    return places


def _spread(nodes: Sequence[object], place: int) -> float:
    return (place + 0.5) / len(nodes)


def _level_label(penalty: float, living: Sequence[int], stability: float | None) -> str:
    counts = "/".join(map(str, living))
    agree = "" if stability is None else f"\nagreement {stability:.2f}"
    return f"penalty {penalty:g}\n{counts} classes{agree}"
