"""`wherefrom anomaly`: audit, score, explain, sort, reproduce."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.anomaly.inputs import (
    CACHE,
    CALIBRATION,
    against_option,
    cache_option,
    encoder_options,
    false_alarms_option,
    json_option,
    load,
    load_against,
    named_folders,
    open_cache,
    prepare_folder,
    same_encoder_option,
    score_against,
    seed_option,
    tell_skipped,
)
from wherefrom.cli.console.options import FILE, ConfigCommand, device_option
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.anomaly.auditing import Audit, AuditConfig
    from wherefrom.anomaly.config import AnomalyConfig
    from wherefrom.anomaly.localisation.heat_maps import LocalisationConfig
    from wherefrom.anomaly.result import ImageScores


@click.group()
def anomaly() -> None:
    """How natural are these generated images, and which generator is best?

    \b
    Example:
      wherefrom anomaly audit real/ gen_a/ gen_b/ --out report/
    """


def _audit_presets() -> Mapping[str, AuditConfig]:
    from wherefrom.anomaly.auditing import AuditConfig
    from wherefrom.anomaly.config import PRESETS

    return {name: AuditConfig(scores=scores) for name, scores in PRESETS.items()}


@anomaly.command(cls=ConfigCommand, presets=_audit_presets)
@click.argument("real", type=FILE)
@click.argument("generated", nargs=-1, required=True)
@encoder_options
@click.option("--out", type=FILE, required=True, help="The report's folder; goes on in its cache.")
@seed_option
@json_option
@click.pass_obj
def audit(
    session: Session,
    *,
    real: Path,
    generated: tuple[str, ...],
    encoder: str,
    resolution: int | None,
    download: bool,
    device: str,
    out: Path,
    seed: int,
    as_json: bool,
    config: AuditConfig,
) -> None:
    """Compare folders of generated images with real ones, and rank every image.

    A generator is called by its folder's name, or as in name=folder.  The report holds a page,
    tables as CSV, everything as JSON, heat maps, and the calibration that `score`, `explain` and
    `sort` use.

    \b
    Example:
      wherefrom anomaly audit real/ gen_a/ gen_b/ --encoder dinov2 --out report/
    """
    from wherefrom.anomaly.auditing import audit as run_audit
    from wherefrom.anomaly.auditing import require_enough
    from wherefrom.anomaly.measuring.cache import FolderCache
    from wherefrom.report.anomaly.page import PAGE, write_audit

    named = named_folders(generated)
    network = load(encoder, resolution, download, device)
    require_enough([real], named, network, config)
    prepare_folder(out)
    found = run_audit(
        [real],
        named,
        network,
        config=config,
        seed=seed,
        cache=FolderCache(out / CACHE),
        track=session.track,
    )
    source = str(Path(encoder).resolve()) if Path(encoder).is_dir() else encoder
    remembered = {"encoder_source": source, "encoder_resolution": resolution}
    calibration = found.calibration
    dataclasses.replace(calibration, provenance={**calibration.provenance, **remembered}).save(
        out / CALIBRATION, overwrite=True
    )
    write_audit(out, found, track=session.track)
    _tell_audit(session, found, as_json)
    session.note(f"wrote {out / PAGE}")


@anomaly.command()
@click.argument("images", type=FILE, nargs=-1, required=True)
@against_option
@false_alarms_option
@same_encoder_option
@cache_option
@device_option
@json_option
@click.pass_obj
def score(
    session: Session,
    *,
    images: tuple[Path, ...],
    against: Path,
    false_alarms: float,
    encoder: str | None,
    cache: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Rank images and folders among the real images of a calibration, worst first.

    Exits with 2 if not a single image could be scored.

    \b
    Example:
      wherefrom anomaly score image.png --against report/calibration
    """
    from wherefrom.anomaly.calibration.judgement import worst_first
    from wherefrom.report.anomaly.tables import JUDGEMENT_SHOWN, judgement_table

    calibration, scores = score_against(
        session, images, against, false_alarms, encoder, cache, device
    )
    judged = calibration.judge(scores, false_alarms=false_alarms)
    flags = calibration.rate(judged, false_alarms)
    if as_json:
        rows = [row.to_dict() for row in worst_first(judged)]
        print_json({"images": rows, "skipped": [list(pair) for pair in scores.skipped]})
    else:
        print_table(judgement_table(worst_first(judged)).select(*JUDGEMENT_SHOWN))
        click.echo(flags.message)
    _require_some(scores)


def _localisation_presets() -> Mapping[str, LocalisationConfig]:
    from wherefrom.anomaly.localisation.heat_maps import LocalisationConfig

    return {"default": LocalisationConfig()}


@anomaly.command(cls=ConfigCommand, presets=_localisation_presets)
@click.argument("image", type=FILE)
@against_option
@click.option("--out", type=FILE, required=True, help="The heat map, a .png file.")
@same_encoder_option
@device_option
@json_option
@click.pass_obj
def explain(
    session: Session,
    *,
    image: Path,
    against: Path,
    out: Path,
    encoder: str | None,
    device: str,
    as_json: bool,
    config: LocalisationConfig,
) -> None:
    """Show which parts of an image its vulnerability comes from.

    The three segments with the largest share are outlined in yellow, cyan and white.

    \b
    Example:
      wherefrom anomaly explain image.png --against report/calibration --out heat.png
    """
    from wherefrom.anomaly.localisation.heat_maps import explain as find
    from wherefrom.anomaly.localisation.segments import overlay
    from wherefrom.anomaly.measuring.items import load_image
    from wherefrom.data.writing import save_png
    from wherefrom.report.pages.files import check_target
    from wherefrom.report.pages.text import percent

    check_target(out, option="--out", suffixes=(".png",))
    calibration, network = load_against(against, encoder, device)
    pixels = load_image(image, network.resolution)
    found = find(
        pixels, network, config=calibration.config, localisation=config, seed=calibration.seed
    )
    save_png(overlay(pixels, found), out)
    if as_json:
        print_json(found.to_dict())
    else:
        shares = ", ".join(percent(round(float(found.shares[i]), 3)) for i in found.top)
        click.echo(
            f"V = {found.vulnerability:.4g}; the three segments outlined: {shares} of it; "
            f"{percent(found.stability)} of them are the same from another start"
        )
    session.note(f"wrote {out}")


@anomaly.command(name="sort")
@click.argument("folder", type=FILE)
@against_option
@false_alarms_option
@click.option("--out", type=FILE, required=True, help="A new folder, with keep/ and broken/.")
@click.option("--copy", is_flag=True, help="Copy the images instead of linking them.")
@same_encoder_option
@cache_option
@device_option
@click.pass_obj
def sort_command(
    session: Session,
    *,
    folder: Path,
    against: Path,
    false_alarms: float,
    out: Path,
    copy: bool,
    encoder: str | None,
    cache: Path | None,
    device: str,
) -> None:
    """Part a folder into images to keep and images that look broken, with the reasons.

    \b
    Example:
      wherefrom anomaly sort gen_a/ --against report/calibration --false-alarms 0.01 --out sorted/
    """
    from wherefrom.anomaly.calibration.judgement import worst_first
    from wherefrom.anomaly.calibration.sorting import sort_images
    from wherefrom.core.store import refuse_existing
    from wherefrom.report.anomaly.tables import judgement_table
    from wherefrom.report.pages.tables import to_csv

    refuse_existing(out, overwrite=False)
    calibration, scores = score_against(
        session, (folder,), against, false_alarms, encoder, cache, device
    )
    _require_some(scores)
    judged = worst_first(calibration.judge(scores, false_alarms=false_alarms))
    counts = sort_images(judged, out, reasons=to_csv(judgement_table(judged)), copy=copy)
    click.echo(f"{counts['keep']} kept, {counts['broken']} broken")
    click.echo(calibration.rate(judged, false_alarms).message)


def _paper_presets() -> Mapping[str, AnomalyConfig]:
    from wherefrom.anomaly.config import PRESETS

    return {"paper": PRESETS["paper"]}


@anomaly.command(cls=ConfigCommand, presets=_paper_presets)
@click.argument("real", type=FILE)
@click.argument("generated", nargs=-1, required=True)
@encoder_options
@click.option("--human", type=FILE, help="People's guesses: a per-image CSV of dgm-eval.")
@cache_option
@seed_option
@json_option
@click.pass_obj
def reproduce(
    session: Session,
    *,
    real: Path,
    generated: tuple[str, ...],
    encoder: str,
    resolution: int | None,
    download: bool,
    device: str,
    human: Path | None,
    cache: Path | None,
    seed: int,
    as_json: bool,
    config: AnomalyConfig,
) -> None:
    """Print the paper's parameter grid and t-tests for your images, and agreement with people.

    With --human the folders must be called as the models in that table, or as in model=folder.

    \b
    Example:
      wherefrom anomaly reproduce real/ ldm=out/ldm insgen=out/insgen --human ffhq_labeled_data.csv
    """
    from wherefrom.anomaly.paper.human import read_human_table
    from wherefrom.anomaly.paper.reproduce import reproduce as run
    from wherefrom.report.anomaly.tables import reproduction_tables

    named = named_folders(generated)
    people = None if human is None else read_human_table(human)
    found = run(
        [real],
        named,
        load(encoder, resolution, download, device),
        config=config,
        human=people,
        seed=seed,
        cache=open_cache(cache),
        track=session.track,
    )
    if as_json:
        print_json(found.to_dict())
        return
    for table in reproduction_tables(found):
        print_table(table)
    if found.unmatched:
        session.note(f"note: {found.unmatched} images have no guesses in {human}")


def _tell_audit(session: Session, found: Audit, as_json: bool) -> None:
    from wherefrom.report.anomaly.tables import GENERATOR_SHOWN, generator_table
    from wherefrom.report.anomaly.wording import answer, order

    for warning in found.warnings:
        session.note(warning)
    for rows in found.skipped.values():
        tell_skipped(session, rows)
    if as_json:
        print_json(found.to_dict())
        return
    print_table(generator_table(found).select(*GENERATOR_SHOWN))
    for line in (*answer(found)[:2], *order(found.comparison)):
        click.echo(line)


def _require_some(scores: ImageScores) -> None:
    if not len(scores):
        sys.stdout.flush()
        name, reason = scores.skipped[0]
        raise InputError(f"no image could be scored; the first: {name}: {reason}")
