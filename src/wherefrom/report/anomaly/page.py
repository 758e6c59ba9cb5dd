"""The folder of an audit: one HTML page, two CSV tables, one JSON file, and heat maps as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Canvas

from wherefrom.anomaly.auditing import Audit, AuditedImage
from wherefrom.anomaly.comparison.generators import Comparison, comparison_points
from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.json_text import to_json
from wherefrom.data.images.items import to_image
from wherefrom.data.images.notebook import encode_picture
from wherefrom.data.images.writing import save_png
from wherefrom.report.anomaly import wording
from wherefrom.report.anomaly.galleries import galleries, ladders, score_dots, small_pictures
from wherefrom.report.anomaly.tables import generator_table, image_table, pair_table
from wherefrom.report.pages import html
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
from wherefrom.report.pages.files import write_text
from wherefrom.report.pages.pictures import thumbnails
from wherefrom.report.pages.tables import percent, plural, to_csv


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


PAGE, GENERATORS, IMAGES = "report.html", "generators.csv", "images.csv"
WHOLE, HEAT = "audit.json", "heat"
LISTED = 100  # images on the page; the CSV holds all
HEAT_SIDE = 224


def write_audit(folder: Path, audit: Audit, *, track: Track = quiet) -> None:
    """Write or replace the files of an audit in `folder`, each whole or not at all."""
    shown = audit.images[:LISTED]
    pictures = thumbnails([image.judgement for image in shown], track=track)
    small = small_pictures(audit, track=track)
    try:
        (folder / HEAT).mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from error
    for place, heat in enumerate(audit.heat_maps, start=1):
        save_png(heat.picture, folder / HEAT / f"{place:03d}.png")
    write_text(folder / GENERATORS, to_csv(generator_table(audit)))
    write_text(folder / IMAGES, to_csv(image_table(audit.images)))
    write_text(folder / WHOLE, to_json(audit.to_dict()) + "\n")
    html.write_report(
        folder / PAGE,
        "Which generator is best, and which images are broken?",
        audit_sections(audit, pictures, small),
    )


def audit_sections(
    audit: Audit, pictures: Mapping[str, str], small: Mapping[str, str]
) -> list[html.Section]:
    """The page of an audit; `pictures` and `small` are data addresses by image name.

    `small` are those of galleries and dots (`small_pictures`).
    """
    return [
        html.Section(
            "Answer", *_warnings(audit), html.Prose(*wording.answer(audit)), _cards(audit)
        ),
        html.Section("Generators", *_generators(audit)),
        html.Section("Real and generated images", _scatter(audit)),
        html.Section("Worst and best images of each generator", galleries(audit, small)),
        html.Section("Two scores of each image", score_dots(audit, small)),
        html.Section("Images, worst first", *_images(audit, pictures)),
        html.Section("Does AS-i point the right way here?", *_assumption(audit)),
        html.Section("What the figures mean", html.Points(*wording.meanings(audit))),
        html.Section("What they do not show", html.Points(*wording.limits(audit))),
        *_left_out(audit),
        *_method(audit),
    ]


def _warnings(audit: Audit) -> tuple[html.Block, ...]:
    if not audit.warnings:
        return ()
    heads = ("Read this first", *["And this"] * len(audit.warnings))
    points = tuple(zip(heads, audit.warnings, strict=False))
    return (html.Points(*points),)


def _cards(audit: Audit) -> html.Cards:
    flagged = sum(flags.flagged for flags in audit.flags.values())
    real = plural(audit.comparison.real_count, "real image")
    best = audit.comparison.frechet.ranking.best
    return html.Cards(
        (
            best[0] if len(best) == 1 else f"{len(best)} alike",
            f"{'nearest' if len(best) == 1 else 'may be the nearest'}, by Fréchet distance",
            "yes" if len(best) == 1 else "unsure",
        ),
        (
            str(flagged),
            f"of {plural(len(audit.images), 'generated image')} flagged; of as many real ones "
            f"at most {audit.config.false_alarms * len(audit.images):.3g} would be",
            "unsure" if flagged else "",
        ),
        (str(len(audit.comparison.generators)), f"generators, {real}", ""),
    )


def _generators(audit: Audit) -> tuple[html.Block, ...]:
    comparison = audit.comparison
    blocks: tuple[html.Block, ...] = (_scores(audit), html.Prose(*wording.order(comparison)))
    if len(comparison.generators) > 1:
        blocks = (*blocks, html.table_grid(pair_table(comparison)))
    return (*blocks, _shifts(comparison), _other_metrics(comparison))


def _scores(audit: Audit) -> html.Grid:
    comparison = audit.comparison
    rows = tuple(
        (
            comparison.frechet.ranking.show_ranks(row.name),
            row.name,
            str(row.count),
            f"{comparison.frechet.distances[row.name]:.4g}",
            comparison.ranking.show_ranks(row.name),
            f"{row.anomaly_score:.3f} ({row.low:.3f} to {row.high:.3f})",
            f"{row.baseline:.3f} (95%: {row.baseline_high:.3f})",
            f"p = {row.p_together:.3g}",
            percent(round(audit.flags[row.name].flagged / row.count, 4)),
        )
        for row in comparison.generators
    )
    columns = (
        *("rank", "generator", "images", "FD", "rank by AS", "AS (95% interval)"),
        *("AS of real images", "differs from real", "flagged"),
    )
    return html.Grid(columns, rows, (True, False, True, True, True, *[False] * 3, True))


def _shifts(comparison: Comparison) -> html.Grid:
    rows = tuple(
        (row.name, wording.shift(row.complexity), wording.shift(row.vulnerability))
        for row in comparison.generators
    )
    return html.Grid(("generator", "mean C", "mean V"), rows)


def _other_metrics(comparison: Comparison) -> html.Grid:
    rows = []
    for row in comparison.generators:
        m = row.metrics
        figures_of = (
            f"{m.frechet_distance:.4g}",
            f"{m.kernel_distance:.3g}",
            *(f"{value:.2f}" for value in (m.precision, m.recall, m.density, m.coverage)),
            f"{m.realism:.2f}",
            "" if m.inception_score is None else f"{m.inception_score:.2f}",
        )
        rows.append((row.name, *figures_of))
    columns = ("generator", "FD", "KD", "precision", "recall", "density", "coverage", "realism")
    return html.Grid((*columns, "IS"), tuple(rows), (False, *[True] * 8))


def _scatter(audit: Audit) -> html.Figure:
    generated = {name: comparison_points(s, name) for name, s in audit.generated.items()}
    light, dark = anomaly_scatter(
        comparison_points(audit.real, "real"),
        generated,
        ("complexity C, radians", "vulnerability V, units of the features"),
    )
    caption = (
        "Each point is an image. AS is the largest difference between the shares of real and "
        "generated points in any of the four quadrants around any point."
    )
    return html.Figure(light, dark, "Scatter plot of complexity and vulnerability", caption)


def _images(audit: Audit, pictures: Mapping[str, str]) -> tuple[html.Block, ...]:
    heat = {
        item.name: encode_picture(to_image(item.picture), side=HEAT_SIDE)
        for item in audit.heat_maps
    }
    parts = {item.name: item.localisation for item in audit.heat_maps}
    rows = []
    for image in audit.images[:LISTED]:
        name = image.judgement.name
        text = image.judgement.reason
        if name in parts:
            text += f". {wording.heat(parts[name])}"
        rows.append(_image_row(image, pictures.get(name, ""), heat.get(name, ""), text))
    columns = ("rank", "", "where", "image", "", "p-value", "C", "V", "AS-i")
    numeric = (True, False, False, False, False, True, True, True, True)
    notes = (wording.listed(audit, min(LISTED, len(audit.images))),)
    return html.Prose(*notes), html.Grid(columns, tuple(rows), numeric)


def _image_row(image: AuditedImage, picture: str, heat: str, text: str) -> html.Row:
    row = image.judgement
    return (
        str(image.rank),
        html.Cell("", image=picture, large=bool(heat)),
        html.Cell("", image=heat, large=True),
        html.Cell(f"{image.generator}: {Path(row.name).name}", below=text),
        html.Cell(
            "flagged" if row.flagged else "not flagged", tone="unsure" if row.flagged else "no"
        ),
        f"{row.p_value:.3g}",
        f"{row.complexity:.3g}",
        f"{row.vulnerability:.4g}",
        f"{row.as_i:.3g}",
    )


def _assumption(audit: Audit) -> tuple[html.Block, ...]:
    check = audit.calibration.check
    if check is None:
        return (html.Prose("This was not checked."),)
    scores = ("as_i", "complexity", "vulnerability", "joint")
    rows = tuple(
        (f"{row.corruption}, grade {row.grade}", *(f"{row.auc[score]:.2f}" for score in scores))
        for row in check.rows
    )
    columns = ("real images, damaged by", "AS-i", "low C", "high V", "(C, V), no direction")
    return (
        html.Prose(check.message, wording.assumption(check)),
        html.Grid(columns, rows, (False, True, True, True, True)),
        *_ladders(audit),
    )


def _ladders(audit: Audit) -> tuple[html.Block, ...]:
    grid = ladders(audit)
    if grid is None:
        return ()
    decides = wording.DECIDING[audit.calibration.decides]
    text = f"One of the real images, damaged in the same ways; AUC is that of {decides}."
    return html.Prose(text), grid


def _left_out(audit: Audit) -> tuple[html.Section, ...]:
    rows = [(name, file) for name, files in audit.skipped.items() for file in files]
    if not rows:
        return ()
    shown = tuple((name, show_path(file.path), file.reason) for name, file in rows[:LISTED])
    text = f"{plural(len(rows), 'file')} could not be used; the first {len(shown)} are listed here."
    return (
        html.Section("Files left out", html.Prose(text), html.Grid(("set", "file", "why"), shown)),
    )


def _method(audit: Audit) -> tuple[html.Section, ...]:
    described = audit.calibration.describe()
    elsewhere = ("config", "assumption", "kind")
    rest = {key: value for key, value in described.items() if key not in elsewhere}
    return (
        html.Section("What this rests on", html.facts_of(rest)),
        html.settings_section(audit.config),
    )
