"""Outliers, subtlety, discovered classes and merge trees as self-contained pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure as Canvas
from torch import Tensor

from wherefrom.core.progress import Track, quiet
from wherefrom.data.images.items import to_image
from wherefrom.data.images.notebook import encode_picture
from wherefrom.data.images.writing import image_grid, to_uint8
from wherefrom.inversion.classes.clusters import Cluster, Clustering
from wherefrom.inversion.classes.merge_tree import MergeTree
from wherefrom.inversion.codes.evaluation import InverterEvaluation
from wherefrom.inversion.outliers.calibrated import OutlierCalibration, OutlierReport, OutlierRow
from wherefrom.inversion.outliers.subtlety import SubtletyCurve
from wherefrom.report.inversion.tables import (
    cluster_table,
    evaluation_table,
    least_table,
    outlier_line,
    tree_table,
)
from wherefrom.report.pages import html
from wherefrom.report.pages.figures import Scheme, dress, legend, render
from wherefrom.report.pages.pictures import thumbnails
from wherefrom.report.pages.tables import percent, plural

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


LISTED = 200
SHOWN = 16  # images per class and kind
COLUMNS = 8
CELL = 48  # px that a small image is enlarged to
WIDEST = 640


def write_outliers(
    path: Path,
    report: OutlierReport,
    calibration: OutlierCalibration,
    *,
    curve: SubtletyCurve | None = None,
    track: Track = quiet,
) -> None:
    """Write or replace the page of a folder's outliers."""
    pictures = thumbnails(report.rows[:LISTED], track=track)
    sections = [
        html.Section("Answer", *_answer(report)),
        html.Section("Images, most unusual first", _ranking(report.rows, pictures)),
        *([] if curve is None else [html.Section("How small a defect is seen", *_subtlety(curve))]),
        html.Section("Does the score see damage at all?", *_self_test(calibration)),
        html.Section("What the words mean", html.Points(*_meanings(report))),
        *_left_out(report),
    ]
    html.write_report(path, "Which images are unlike the others?", sections)


def _answer(report: OutlierReport) -> tuple[html.Block, ...]:
    flagged = sum(row.flagged for row in report.rows)
    cards = html.Cards(
        (str(flagged), f"of {plural(len(report.rows), 'image')} flagged", "unsure"),
        (str(sum(row.discovery for row in report.rows)), "stand out within the folder", ""),
        (
            f"{report.rate * len(report.rows):.3g}",
            "would be flagged if all were normal, at most, on average",
            "",
        ),
    )
    text = html.Prose(f"{outlier_line(report)}.")
    if not report.warning:
        return text, cards
    return html.Points(("Read this first", report.warning)), text, cards


def _ranking(rows: Sequence[OutlierRow], pictures: Mapping[str, str]) -> html.Grid:
    shown = tuple(
        (
            str(place),
            html.Cell("", image=pictures.get(row.name, "")),
            html.Cell(row.name, below="stands out within the folder" if row.discovery else ""),
            html.Cell(
                "outlier" if row.flagged else "normal", tone="unsure" if row.flagged else "no"
            ),
            f"{row.p_value:.3g}",
            f"{row.score:.4g}",
        )
        for place, row in enumerate(rows[:LISTED], start=1)
    )
    columns = ("rank", "", "image", "verdict", "p-value", "score")
    return html.Grid(columns, shown, (True, False, False, False, True, True))


def _subtlety(curve: SubtletyCurve) -> tuple[html.Block, ...]:
    light, dark = subtlety_plot(curve)
    caption = (
        f"{plural(curve.images, 'own image')}, damaged in ten ways; an intensity of 0.1 mixes a "
        "tenth of the damaged image into the clean one."
    )
    figure = html.Figure(light, dark, "AUROC and share caught by intensity", caption)
    return figure, html.table_grid(least_table(curve))


def _self_test(calibration: OutlierCalibration) -> tuple[html.Block, ...]:
    means = calibration.self_test["means"]
    rows = tuple(
        (
            str(row["corruption"]).replace("_", " "),
            f"{row['intensity']:g}",
            *(f"{row['auroc'][name]:.2f}" for name in means),
        )
        for row in calibration.self_test["rows"]
    )
    text = (
        "Own images were compared with the same images, damaged. The score in use is "
        f"{calibration.score}: mean AUROC {means[calibration.score]:.2f}. "
        "0.5 is chance. Real outliers had no say in this choice.",
    )
    columns = ("damage", "intensity", *means)
    return html.Prose(*text), html.Grid(columns, rows, (False, *[True] * (1 + len(means))))


def _meanings(report: OutlierReport) -> tuple[tuple[str, str], ...]:
    return (
        (
            "Outlier",
            f"its score is so large that at most {percent(report.rate)} of normal images would be "
            f"flagged; this rests on {plural(report.calibrated_on, 'own image')}, not on labels.",
        ),
        (
            "Stands out within the folder",
            f"of all images so marked, at most {percent(report.rate)} are normal ones, on average "
            "(Benjamini-Hochberg).",
        ),
        ("p-value", "the share of own images with a score as large, counting this image too."),
        ("Score", f"{report.score}; larger is more unusual. Unusual is not the same as broken."),
    )


def _left_out(report: OutlierReport) -> tuple[html.Section, ...]:
    if not report.skipped:
        return ()
    rows = tuple((str(path), reason) for path, reason in report.skipped[:LISTED])
    text = f"{plural(len(report.skipped), 'file')} were left out; the first {len(rows)}:"
    return (html.Section("Files left out", html.Prose(text), html.Grid(("file", "why"), rows)),)


def write_clusters(
    path: Path, clustering: Clustering, images: Tensor, generated: Mapping[int, Tensor]
) -> None:
    """Write the page of discovered classes.

    `images` are uint8 (N, C, H, W) as they were sorted, `generated` float (n, C, H, W) by label.
    """
    text = (
        f"{clustering.living} of {clustering.looked_for} classes are in use; "
        f"{plural(clustering.images, 'image')} sorted.",
        "P(C) is how often the model makes a class, learnt while it was trained. A class with "
        "P(C) below 1% counts as dead.",
    )
    sections = [
        html.Section("Answer", html.Prose(*text), html.table_grid(cluster_table(clustering))),
        *(_class_section(cluster, images, generated) for cluster in clustering.clusters),
    ]
    html.write_report(path, "Which kinds of images are there?", sections)


def write_evaluation(
    path: Path, evaluation: InverterEvaluation, pictures: Mapping[str, Tensor]
) -> None:
    """Write the page of an evaluation; `pictures` are float (n, C, H, W) by what they show."""
    panels = tuple(
        html.Panel(_sheet(to_uint8(images)), name)
        for name, images in pictures.items()
        if len(images)
    )
    text = (
        "Smaller is better for the Frechet distance and the encoder loss, larger for the rest; "
        f"distances on {evaluation.features} compare with each other only.",
        "AUROC: how well a score separates real from damaged or foreign images; 0.5 is chance.",
    )
    sections = [
        html.Section("Figures", html.Prose(*text), html.table_grid(evaluation_table(evaluation))),
        html.Section("Images", html.Strip(*panels)),
    ]
    html.write_report(path, "How good is this generator?", sections)


def write_tree(path: Path, tree: MergeTree) -> None:
    """Write the page of a merge tree."""
    html.write_report(path, "How many kinds are there?", [_tree_section(tree)])


def _tree_section(tree: MergeTree) -> html.Section:
    """The tree as a plot and a table."""
    light, dark = tree_plot(tree)
    level = tree.suggested
    text = (
        f"The stronger the penalty, the fewer classes; {plural(tree.images, 'image')} sorted at "
        f"each. The most stable level has the penalty {level.penalty:g}.",
        "The agreement of seeds is the adjusted Rand index: 1 is the same classes from every "
        "start, 0 is chance.",
    )
    caption = "Lines lead to the class that most images of a class are in at the next penalty."
    figure = html.Figure(light, dark, "Classes by penalty, and where they merge", caption)
    return html.Section("What merges", html.Prose(*text), figure, html.table_grid(tree_table(tree)))


def _class_section(
    cluster: Cluster, images: Tensor, generated: Mapping[int, Tensor]
) -> html.Section:
    panels = []
    if cluster.members:
        rows = images[list(cluster.members[:SHOWN])]
        panels.append(html.Panel(_sheet(rows), "the most certain of your images"))
    drawn = generated.get(cluster.label)
    if drawn is not None and len(drawn):
        panels.append(html.Panel(_sheet(to_uint8(drawn)), "generated"))
    title = f"{cluster.name}: P(C) = {percent(round(cluster.prior, 4))}"
    return html.Section(title, html.Strip(*panels))


def _sheet(images: Tensor) -> str:
    times = max(1, CELL // images.shape[-1])
    larger = images.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)
    return encode_picture(to_image(image_grid(larger, COLUMNS)), side=WIDEST)
