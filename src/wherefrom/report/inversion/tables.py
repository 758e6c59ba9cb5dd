"""Results of invertible generators as tables: raw values, rounded only by the writers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wherefrom.report.pages.tables import CANNOT_SAY, Column, Table, columns_of, plural, show_score

if TYPE_CHECKING:  # importing a question's package imports torch
    from wherefrom.inversion.classes.clusters import Clustering
    from wherefrom.inversion.classes.merge_tree import MergeTree
    from wherefrom.inversion.codes.editing import Edit
    from wherefrom.inversion.codes.evaluation import InverterEvaluation
    from wherefrom.inversion.codes.latent_report import LatentReport
    from wherefrom.inversion.outliers.calibrated import OutlierReport
    from wherefrom.inversion.outliers.subtlety import SubtletyCurve

Fact = tuple[str, str, str]  # name, value, remark


def outlier_table(report: OutlierReport) -> Table:
    """One row per image, most anomalous first, then those that could not be read."""
    columns = columns_of(
        "image:text | verdict | p-value:p | score:num | reason:text | in the folder | digest"
    )
    verdicts = tuple(
        (
            row.name,
            "outlier" if row.flagged else "normal",
            row.p_value,
            row.score,
            "",
            "discovery" if row.discovery else "",
            row.digest,
        )
        for row in report.rows
    )
    skipped = tuple(
        (str(path), "not judged", None, None, reason, "", None) for path, reason in report.skipped
    )
    return Table(columns, (*verdicts, *skipped))


OUTLIER_SHOWN = ("image", "verdict", "p-value", "score", "reason")


def outlier_line(report: OutlierReport) -> str:
    """The counts as one line."""
    flagged = sum(row.flagged for row in report.rows)
    discovered = sum(row.discovery for row in report.rows)
    return (
        f"{plural(len(report.rows), 'image')}: {flagged} outliers at a false-alarm rate of "
        f"{report.rate:g}; {discovered} of them stand out within the whole folder"
    )


def subtlety_table(curve: SubtletyCurve) -> Table:
    """One row per corruption and intensity."""
    columns = columns_of("corruption | intensity:num | AUROC:num | caught:share")
    rows = tuple((p.corruption, p.intensity, p.auroc, p.caught) for p in curve.points)
    return Table(columns, rows)


def least_table(curve: SubtletyCurve) -> Table:
    """From which intensity on at least half of the damaged images are caught."""
    columns = columns_of("corruption | half caught from intensity:int")
    rows = tuple(
        (kind, "never" if least is None else f"{least:g}") for kind, least in curve.least.items()
    )
    return Table(columns, rows)


def evaluation_table(evaluation: InverterEvaluation) -> Table:
    """Names and values; what a method lacks is left out, what no image has is "cannot say"."""
    pairs: list[tuple[str, float | int | str | None]] = [
        ("real images given", evaluation.given if evaluation.given > evaluation.images else None),
        ("real images", evaluation.images),
        ("generated images", evaluation.generated),
        (f"Frechet distance ({evaluation.features})", evaluation.frechet_distance),
        ("precision", evaluation.precision),
        ("recall", evaluation.recall),
    ]
    for name, likeness in (("real", evaluation.real), ("generated", evaluation.fake)):
        if likeness is not None:
            pairs += [(f"PSNR of {name} images, dB", likeness.psnr)]
            pairs += [(f"SSIM of {name} images", likeness.ssim)]
    pairs += [
        ("encoder loss", evaluation.encoder_loss),
        ("latent entropy, nats", evaluation.latent_entropy),
        ("live latents", evaluation.live),
    ]
    for row in evaluation.detection:
        pairs += [(f"AUROC of {row.score}, weak damage", row.near)]
        pairs += [(f"AUROC of {row.score}, full damage", row.far)]
        pairs += [(f"AUROC of {row.score}, {name}", value) for name, value in row.foreign.items()]
        missing = (f"{count} {name}" for name, count in row.unscored.items())
        pairs += [(f"images without a finite {row.score}", ", ".join(missing) or None)]
    rows = tuple((name, _shown(value)) for name, value in pairs if value is not None)
    return Table(columns_of("measure:text | value:int"), rows)


def _shown(value: float | int | str) -> str:
    if isinstance(value, str):
        return value
    return show_score(value) if math.isfinite(value) else CANNOT_SAY


def reconstruction_facts(values: Mapping[str, Any]) -> list[Fact]:
    """PSNR and SSIM per image, their means, and what refinement changed; `values` of `to_dict`."""
    facts = [
        (row["name"], CANNOT_SAY, row["reason"])
        if row["psnr"] is None
        else (row["name"], f"{row['psnr']:.2f} dB", f"SSIM {row['ssim']:.3f}")
        for row in values["images"]
    ]
    if values["mean_psnr"] is not None:
        facts.append(("mean", f"{values['mean_psnr']:.2f} dB", f"SSIM {values['mean_ssim']:.3f}"))
    if values.get("mean_psnr_gained") is not None:
        gained, lost = values["mean_psnr_gained"], values["mean_nats_lost"]
        change = f"{abs(lost):.1f} nats {'less likely' if lost > 0 else 'likelier'}"
        facts.append(("refinement", f"{gained:+.2f} dB", change))
    return facts


def edit_facts(edit: Edit) -> list[Fact]:
    """The wanted and the reached score per step, and the leakage."""
    pairs = zip(edit.positions, edit.reached, strict=True)
    facts = [(f"{wanted:+.2f}", f"reached {reached:+.2f}", "") for wanted, reached in pairs]
    return [*facts, *((f"leakage into {k}", f"{v:.3f}", "") for k, v in edit.leakage.items())]


def latent_facts(report: LatentReport) -> list[Fact]:
    """The live dimensions, the gap, and what cutting the rest costs."""
    gap = "a clear gap" if report.clear else "no clear gap, so all are counted"
    return [
        ("live dimensions", f"{report.live} of {len(report.spectrum)}", gap),
        ("largest ratio of neighbours in v", f"{report.gap:.3g}", ""),
        ("effective dimension", f"{report.effective:.1f}", "(sum v)^2 / sum v^2"),
        ("latent entropy", f"{report.entropy:.1f} nats", ""),
        *((f"PSNR with {k} dimensions", f"{p:.2f} dB", "") for k, p in report.pruned),
    ]


def cluster_table(clustering: Clustering) -> Table:
    """One row per class, most frequent first."""
    columns = columns_of("class | P(C):share | images:int | share:share | state")
    rows = tuple(
        (
            cluster.name,
            cluster.prior,
            len(cluster.members),
            len(cluster.members) / max(clustering.images, 1),
            "" if cluster.alive else "dead",
        )
        for cluster in clustering.clusters
    )
    return Table(columns, rows)


def tree_table(tree: MergeTree) -> Table:
    """One row per penalty."""
    columns = (
        *columns_of("penalty:num | classes, one number per seed"),
        Column("agreement of seeds", lambda value: f"{value:.3f}", numeric=True),
        Column("P(C) of the first seed", folds=True),
    )
    rows = tuple(
        (
            level.penalty,
            " ".join(map(str, level.living)),
            level.stability,
            " ".join(f"{node.prior:.3f}" for node in level.nodes),
        )
        for level in tree.levels
    )
    return Table(columns, rows)
