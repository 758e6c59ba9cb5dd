"""Results of invertible generators as tables: raw values, rounded only by the writers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wherefrom.report.pages.tables import (
    CANNOT_SAY,
    Cell,
    Column,
    Table,
    show_p_value,
    show_score,
)
from wherefrom.report.pages.text import percent, plural

if TYPE_CHECKING:  # importing a question's package imports torch
    from wherefrom.inversion.classes.clusters import Clustering
    from wherefrom.inversion.classes.merge_tree import MergeTree
    from wherefrom.inversion.codes.evaluation import InverterEvaluation
    from wherefrom.inversion.outliers.calibrated import OutlierReport
    from wherefrom.inversion.outliers.subtlety import SubtletyCurve


def _number(title: str) -> Column:
    return Column(title, show_score, numeric=True)


def _share(value: Cell) -> str:
    return percent(round(float(value or 0), 4))


def outlier_table(found: OutlierReport) -> Table:
    """One row per image, most anomalous first, then those that could not be read."""
    columns = (
        Column("image", folds=True),
        Column("verdict"),
        Column("p-value", show_p_value, numeric=True),
        _number("score"),
        Column("reason", folds=True),
        Column("in the folder"),
        Column("digest"),
    )
    judged = tuple(
        (
            row.name,
            "outlier" if row.flagged else "normal",
            row.p_value,
            row.score,
            "",
            "discovery" if row.discovery else "",
            row.digest,
        )
        for row in found.rows
    )
    skipped = tuple(
        (name, "not judged", None, None, reason, "", None) for name, reason in found.skipped
    )
    return Table(columns, (*judged, *skipped))


OUTLIER_SHOWN = ("image", "verdict", "p-value", "score", "reason")


def outlier_line(found: OutlierReport) -> str:
    """The counts as one line."""
    flagged = sum(row.flagged for row in found.rows)
    discovered = sum(row.discovery for row in found.rows)
    return (
        f"{plural(len(found.rows), 'image')}: {flagged} outliers at a false-alarm rate of "
        f"{found.rate:g}; {discovered} of them stand out within the whole folder"
    )


def subtlety_table(curve: SubtletyCurve) -> Table:
    """One row per corruption and intensity."""
    columns = (
        Column("corruption"),
        _number("intensity"),
        _number("AUROC"),
        Column("caught", _share, numeric=True),
    )
    rows = tuple((p.corruption, p.intensity, p.auroc, p.caught) for p in curve.points)
    return Table(columns, rows)


def least_table(curve: SubtletyCurve) -> Table:
    """From which intensity on at least half of the damaged images are caught."""
    columns = (Column("corruption"), Column("half caught from intensity", numeric=True))
    rows = tuple(
        (kind, "never" if least is None else f"{least:g}") for kind, least in curve.least.items()
    )
    return Table(columns, rows)


def evaluation_table(found: InverterEvaluation) -> Table:
    """Names and values; what a method lacks is left out, what no image has is "cannot say"."""
    pairs: list[tuple[str, float | int | str | None]] = [
        ("real images given", found.given if found.given > found.images else None),
        ("real images", found.images),
        ("generated images", found.generated),
        (f"Frechet distance ({found.features})", found.frechet_distance),
        ("precision", found.precision),
        ("recall", found.recall),
    ]
    for name, likeness in (("real", found.real), ("generated", found.fake)):
        if likeness is not None:
            pairs += [(f"PSNR of {name} images, dB", likeness.psnr)]
            pairs += [(f"SSIM of {name} images", likeness.ssim)]
    pairs += [
        ("encoder loss", found.encoder_loss),
        ("latent entropy, nats", found.latent_entropy),
        ("live latents", found.live),
    ]
    for row in found.detection:
        pairs += [(f"AUROC of {row.score}, weak damage", row.near)]
        pairs += [(f"AUROC of {row.score}, full damage", row.far)]
        pairs += [(f"AUROC of {row.score}, {name}", value) for name, value in row.foreign.items()]
        missing = (f"{count} {name}" for name, count in row.unscored.items())
        pairs += [(f"images without a finite {row.score}", ", ".join(missing) or None)]
    rows = tuple((name, _shown(value)) for name, value in pairs if value is not None)
    return Table((Column("measure", folds=True), Column("value", numeric=True)), rows)


def _shown(value: float | int | str) -> str:
    if isinstance(value, str):
        return value
    return show_score(value) if math.isfinite(value) else CANNOT_SAY


def cluster_table(found: Clustering) -> Table:
    """One row per class, most frequent first."""
    columns = (
        Column("class"),
        Column("P(C)", _share, numeric=True),
        Column("images", numeric=True),
        Column("share", _share, numeric=True),
        Column("state"),
    )
    rows = tuple(
        (
            cluster.name,
            cluster.prior,
            len(cluster.members),
            len(cluster.members) / max(found.images, 1),
            "" if cluster.alive else "dead",
        )
        for cluster in found.clusters
    )
    return Table(columns, rows)


def tree_table(tree: MergeTree) -> Table:
    """One row per penalty."""
    columns = (
        _number("penalty"),
        Column("classes, one number per seed"),
        Column("agreement of seeds", lambda value: f"{value:.3f}", numeric=True),
        Column("P(C) of the first seed", folds=True),
    )
    rows = tuple(
        (
            level.penalty,
            " ".join(map(str, level.found)),
            level.stability,
            " ".join(f"{node.prior:.3f}" for node in level.nodes),
        )
        for level in tree.levels
    )
    return Table(columns, rows)
