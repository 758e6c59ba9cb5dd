"""The folder of an audit: one HTML page, two CSV tables, one JSON file, and heat maps as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wherefrom.anomaly.auditing import Audit, AuditedImage
from wherefrom.anomaly.comparison.generators import Comparison, comparison_points
from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.json_text import to_json
from wherefrom.data.notebook import encode_picture
from wherefrom.data.shaping import to_image
from wherefrom.data.writing import save_png
from wherefrom.report.anomaly import figures, wording
from wherefrom.report.anomaly.tables import generator_table, image_table, pair_table
from wherefrom.report.pages.describe import flatten, settings_with_sources
from wherefrom.report.pages.files import write_text
from wherefrom.report.pages.html import (
    Block,
    Cards,
    Cell,
    Facts,
    Figure,
    Grid,
    Points,
    Prose,
    Section,
    page_footer,
    table_grid,
    write_report,
)
from wherefrom.report.pages.tables import to_csv
from wherefrom.report.pages.text import percent, plural
from wherefrom.report.pages.thumbnails import thumbnails

PAGE, GENERATORS, IMAGES = "report.html", "generators.csv", "images.csv"
WHOLE, HEAT = "audit.json", "heat"
LISTED = 100  # images on the page; the CSV holds all
HEAT_SIDE = 224


def write_audit(folder: Path, audit: Audit, *, track: Track = quiet) -> None:
    """Write or replace the files of an audit in `folder`, each whole or not at all."""
    shown = audit.images[:LISTED]
    pictures = thumbnails([image.judgement for image in shown], track=track)
    try:
        (folder / HEAT).mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from error
    for place, heat in enumerate(audit.heat_maps, start=1):
        save_png(heat.picture, folder / HEAT / f"{place:03d}.png")
    write_text(folder / GENERATORS, to_csv(generator_table(audit)))
    write_text(folder / IMAGES, to_csv(image_table(audit.images)))
    write_text(folder / WHOLE, to_json(audit.to_dict()) + "\n")
    write_report(
        folder / PAGE,
        "Which generator is best, and which images are broken?",
        audit_sections(audit, pictures),
        footer=page_footer(),
    )


def audit_sections(audit: Audit, pictures: Mapping[str, str]) -> list[Section]:
    """The page of an audit; `pictures` are data addresses by image name."""
    return [
        Section("Answer", (*_warnings(audit), Prose(wording.answer(audit)), _cards(audit))),
        Section("Generators", _generators(audit)),
        Section("Real and generated images", (_scatter(audit),)),
        Section("Images, worst first", _images(audit, pictures)),
        Section("Does AS-i point the right way here?", _assumption(audit)),
        Section("What the figures mean", (Points(wording.meanings(audit)),)),
        Section("What they do not show", (Points(wording.limits(audit)),)),
        *_left_out(audit),
        *_method(audit),
    ]


def _warnings(audit: Audit) -> tuple[Block, ...]:
    if not audit.warnings:
        return ()
    heads = ("Read this first", *["And this"] * len(audit.warnings))
    points = tuple(zip(heads, audit.warnings, strict=False))
    return (Points(points),)


def _cards(audit: Audit) -> Cards:
    flagged = sum(flags.flagged for flags in audit.flags.values())
    real = plural(audit.comparison.real_count, "real image")
    best = audit.comparison.ranking.best
    return Cards(
        (
            (
                best[0] if len(best) == 1 else f"{len(best)} alike",
                "nearest to the real images" if len(best) == 1 else "may be the nearest",
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
    )


def _generators(audit: Audit) -> tuple[Block, ...]:
    comparison = audit.comparison
    blocks: tuple[Block, ...] = (_scores(audit), Prose(wording.order(comparison)))
    if len(comparison.generators) > 1:
        blocks = (*blocks, table_grid(pair_table(comparison)))
    return (*blocks, _shifts(comparison), _other_metrics(comparison))


def _scores(audit: Audit) -> Grid:
    comparison = audit.comparison
    rows = tuple(
        (
            Cell(comparison.ranking.show_ranks(row.name), numeric=True),
            Cell(row.name),
            Cell(str(row.count), numeric=True),
            Cell(f"{row.anomaly_score:.3f} ({row.low:.3f} to {row.high:.3f})"),
            Cell(f"{row.baseline:.3f} (95%: {row.baseline_high:.3f})"),
            Cell(f"p = {row.p_together:.3g}"),
            Cell(percent(round(audit.flags[row.name].flagged / row.count, 4)), numeric=True),
        )
        for row in comparison.generators
    )
    columns = (
        *("rank", "generator", "images", "AS (95% interval)", "AS of real images"),
        *("differs from real", "flagged"),
    )
    return Grid(columns, rows, (True, False, True, False, False, False, True))


def _shifts(comparison: Comparison) -> Grid:
    rows = tuple(
        (
            Cell(row.name),
            Cell(wording.shift(row.complexity)),
            Cell(wording.shift(row.vulnerability)),
        )
        for row in comparison.generators
    )
    return Grid(("generator", "mean C", "mean V"), rows)


def _other_metrics(comparison: Comparison) -> Grid:
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
        rows.append((Cell(row.name), *(Cell(text, numeric=True) for text in figures_of)))
    columns = ("generator", "FD", "KD", "precision", "recall", "density", "coverage", "realism")
    return Grid((*columns, "IS"), tuple(rows), (False, *[True] * 8))


def _scatter(audit: Audit) -> Figure:
    generated = {name: comparison_points(s, name) for name, s in audit.generated.items()}
    light, dark = figures.anomaly_scatter(
        comparison_points(audit.real, "real"),
        generated,
        ("complexity C, radians", "vulnerability V, units of the features"),
    )
    caption = (
        "Each point is an image. AS is the largest difference between the shares of real and "
        "generated points in any of the four quadrants around any point."
    )
    return Figure(light, dark, "Scatter plot of complexity and vulnerability", caption)


def _images(audit: Audit, pictures: Mapping[str, str]) -> tuple[Block, ...]:
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
    return Prose(notes), Grid(columns, tuple(rows), numeric)


def _image_row(image: AuditedImage, picture: str, heat: str, text: str) -> tuple[Cell, ...]:
    row = image.judgement
    return (
        Cell(str(image.rank), numeric=True),
        Cell("", image=picture, large=bool(heat)),
        Cell("", image=heat, large=True),
        Cell(f"{image.generator}: {Path(row.name).name}", below=text),
        Cell("flagged" if row.flagged else "not flagged", tone="unsure" if row.flagged else "no"),
        Cell(f"{row.p_value:.3g}", numeric=True),
        Cell(f"{row.complexity:.3g}", numeric=True),
        Cell(f"{row.vulnerability:.4g}", numeric=True),
        Cell(f"{row.as_i:.3g}", numeric=True),
    )


def _assumption(audit: Audit) -> tuple[Block, ...]:
    check = audit.calibration.check
    if check is None:
        return (Prose(("This was not checked.",)),)
    scores = ("as_i", "complexity", "vulnerability", "joint")
    rows = tuple(
        (
            Cell(f"{row.corruption}, grade {row.grade}"),
            *(Cell(f"{row.auc[score]:.2f}", numeric=True) for score in scores),
        )
        for row in check.rows
    )
    columns = ("real images, damaged by", "AS-i", "low C", "high V", "(C, V), no direction")
    return (
        Prose((check.message, wording.assumption(check))),
        Grid(columns, rows, (False, True, True, True, True)),
    )


def _left_out(audit: Audit) -> tuple[Section, ...]:
    rows = [(name, file) for name, files in audit.skipped.items() for file in files]
    if not rows:
        return ()
    shown = tuple(
        (Cell(name), Cell(show_path(file.path)), Cell(file.reason)) for name, file in rows[:LISTED]
    )
    text = f"{plural(len(rows), 'file')} could not be used; the first {len(shown)} are listed here."
    return (Section("Files left out", (Prose((text,)), Grid(("set", "file", "why"), shown))),)


def _method(audit: Audit) -> tuple[Section, ...]:
    described = audit.calibration.describe()
    elsewhere = ("config", "assumption", "kind")
    rest = {key: value for key, value in described.items() if key not in elsewhere}
    facts = tuple((name, value, "") for name, value in flatten(rest))
    return (
        Section("What this rests on", (Facts(facts),)),
        Section("Settings and their sources", (Facts(tuple(settings_with_sources(audit.config))),)),
    )
