"""`wherefrom anomaly`: audit, fit, score, explain, sort, reproduce."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.anomaly.inputs import (
    CACHE,
    CALIBRATION,
    AgainstOptions,
    EncoderOptions,
    RankingOptions,
    cache_option,
    named_folders,
    open_cache,
    prepare_folder,
    require_images,
)
from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session, print_json, print_table

if TYPE_CHECKING:
    from wherefrom.anomaly.auditing import Audit, AuditConfig
    from wherefrom.anomaly.config import AnomalyConfig
    from wherefrom.anomaly.damage.fitted import DamageConfig
    from wherefrom.anomaly.localisation.heat_maps import LocalisationConfig


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


@dataclass(frozen=True, kw_only=True)
class AuditOptions(EncoderOptions):
    """The options of `audit`."""

    real: Path = cli.argument()
    generated: tuple[str, ...] = cli.argument()
    out: Path = cli.option("The report's folder, new or of an earlier audit.", required=True)
    seed: int = cli.use(cli.seed_option)
    as_json: bool = cli.use(cli.json_option)
    config: AuditConfig


@anomaly.command(cls=cli.ConfigCommand, presets=_audit_presets)
@cli.with_options(AuditOptions)
def audit(session: Session, options: AuditOptions) -> None:
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
    from wherefrom.anomaly.method import remember_encoder
    from wherefrom.report.anomaly.page import PAGE, write_audit
    from wherefrom.report.anomaly.wording import early

    out, config = options.out, options.config
    named = named_folders(options.generated)
    network = options.load()
    require_enough(named, options.real, network, config)
    prepare_folder(out)
    result = run_audit(
        named,
        options.real,
        network,
        config=config,
        seed=options.seed,
        cache=FolderCache(out / CACHE),
        first=lambda order: session.note(early(order)),
        track=session.track,
    )
    calibration = remember_encoder(result.calibration, options.encoder, options.resolution)
    calibration.save(out / CALIBRATION, overwrite=True)
    write_audit(out, result, track=session.track)
    _print_audit(session, result, options.as_json)
    session.note(f"wrote {out / PAGE}")


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """The options of `fit`."""

    real: tuple[Path, ...] = cli.argument()
    out: Path = cli.option("The folder for the test, as real.damage.", required=True)
    overwrite: bool = cli.option("Replace a test at --out.")
    seed: int = cli.use(cli.seed_option)
    config: DamageConfig


@anomaly.command(
    cls=cli.ConfigCommand, presets=cli.default_of("anomaly.damage.fitted:DamageConfig")
)
@cli.with_options(FitOptions)
def fit(session: Session, options: FitOptions) -> None:
    """Make a test that finds broken images, from real ones such as yours.

    It takes about a minute for 300 images.  `score`, `sort` and `explain` use it.

    \b
    Example:
      wherefrom anomaly fit real/ --out real.damage
      wherefrom anomaly score generated/ --against real.damage --false-alarms 0.05
    """
    from wherefrom.anomaly import fit_damage_test
    from wherefrom.core.saving.store import refuse_existing

    refuse_existing(options.out, overwrite=options.overwrite)
    test = fit_damage_test(
        options.real, config=options.config, seed=options.seed, track=session.track
    )
    test.save(options.out, overwrite=options.overwrite)
    parts, held = test.provenance["images"], len(test.held_scores)
    if left_out := test.provenance["skipped"]:
        session.note(f"{left_out} files were not read")
    click.echo(
        f"{sum(parts.values())} real images: {parts['shape']} to learn from, {parts['scale']} for "
        f"the scale, {held} held out; the smallest false-alarm rate is {1 / (held + 1):.3g}"
    )
    session.note(f"wrote {options.out}")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(RankingOptions):
    """The options of `score`."""

    images: tuple[Path, ...] = cli.argument()
    as_json: bool = cli.use(cli.json_option)


@anomaly.command()
@cli.with_options(ScoreOptions)
def score(session: Session, options: ScoreOptions) -> None:
    """Rank images and folders among real images, worst first.

    Exits with 2 if not a single image could be scored.

    \b
    Example:
      wherefrom anomaly score image.png --against real.damage
    """
    from wherefrom.report.anomaly.tables import shown_table

    result = options.rank(session, options.images)
    if options.as_json:
        print_json(result.to_dict())
    else:
        print_table(shown_table(result))
        click.echo(result.message)
    sys.stdout.flush()
    require_images(result)


@dataclass(frozen=True, kw_only=True)
class ExplainOptions(AgainstOptions):
    """The options of `explain`."""

    image: Path = cli.argument()
    out: Path = cli.option("The .png file for the heat map.", required=True, before="encoder")
    as_json: bool = cli.use(cli.json_option)
    config: LocalisationConfig


@anomaly.command(
    cls=cli.ConfigCommand,
    presets=cli.default_of("anomaly.localisation.heat_maps:LocalisationConfig"),
)
@cli.with_options(ExplainOptions)
def explain(session: Session, options: ExplainOptions) -> None:
    """Show which parts of an image the evidence against it comes from.

    With a test of damage: of the strongest kind of evidence.  With a calibration: of the image's
    vulnerability; the three segments with the largest share are outlined in yellow, cyan and white.

    \b
    Example:
      wherefrom anomaly explain image.png --against real.damage --out heat.png
    """
    from wherefrom.anomaly.damage.maps import explain_damage
    from wherefrom.anomaly.localisation.heat_maps import explain as find
    from wherefrom.anomaly.localisation.pictures import overlay
    from wherefrom.anomaly.measuring.items import load_image
    from wherefrom.data.images.writing import save_png
    from wherefrom.report.anomaly.wording import outlined

    cli.check_output(options.out, "--out", ".png")
    test = options.damage_test()
    if test is not None:
        damage_map = explain_damage(options.image, test)
        save_png(damage_map.picture, options.out)
        if options.as_json:
            print_json(damage_map.to_dict())
        else:
            p = damage_map.p_by_evidence[damage_map.evidence]
            click.echo(f"{damage_map.evidence}: p = {p:.3g}; red shows where it lies")
        session.note(f"wrote {options.out}")
        return
    calibration, network = options.load()
    pixels = load_image(options.image, network.resolution)
    result = find(
        pixels,
        network,
        config=calibration.config,
        localisation=options.config,
        seed=calibration.seed,
    )
    save_png(overlay(pixels, result), options.out)
    if options.as_json:
        print_json(result.to_dict())
    else:
        click.echo(outlined(result))
    session.note(f"wrote {options.out}")


@dataclass(frozen=True, kw_only=True)
class SortOptions(RankingOptions):
    """The options of `sort`."""

    folder: Path = cli.argument()
    out: Path = cli.option("A new folder for the result.", required=True, before="encoder")
    copy: bool = cli.option("Copy the images instead of linking them.", before="encoder")


@anomaly.command(name="sort")
@cli.with_options(SortOptions)
def sort_command(session: Session, options: SortOptions) -> None:
    """Sort a folder into images to keep and images that look broken, with the reasons.

    \b
    Example:
      wherefrom anomaly sort gen_a/ --against report/calibration --false-alarms 0.01 --out sorted/
    """
    from wherefrom.anomaly.calibration.sorting import sort_images
    from wherefrom.core.saving.store import refuse_existing
    from wherefrom.report.anomaly.tables import whole_table
    from wherefrom.report.pages.tables import to_csv

    refuse_existing(options.out, overwrite=False)
    result = options.rank(session, [options.folder])
    require_images(result)
    reasons = to_csv(whole_table(result))
    counts = sort_images(result.images, options.out, reasons=reasons, copy=options.copy)
    click.echo(f"{counts['keep']} kept, {counts['broken']} broken")
    click.echo(result.message)


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions(EncoderOptions):
    """The options of `reproduce`."""

    real: Path = cli.argument()
    generated: tuple[str, ...] = cli.argument()
    human: Path | None = cli.option("People's guesses: a per-image CSV of dgm-eval.")
    cache: Path | None = cli.use(cache_option)
    seed: int = cli.use(cli.seed_option)
    as_json: bool = cli.use(cli.json_option)
    config: AnomalyConfig


def _paper_presets() -> Mapping[str, AnomalyConfig]:
    from wherefrom.anomaly.config import PRESETS

    return {"paper": PRESETS["paper"]}


@anomaly.command(cls=cli.ConfigCommand, presets=_paper_presets)
@cli.with_options(ReproduceOptions)
def reproduce(session: Session, options: ReproduceOptions) -> None:
    """Print the paper's parameter grid and t-tests for your images, and agreement with people.

    With --human the folders must be called as the models in that table, or as in model=folder.

    \b
    Example:
      wherefrom anomaly reproduce real/ ldm=out/ldm insgen=out/insgen --human ffhq_labeled_data.csv
    """
    from wherefrom.anomaly.paper.human import read_human_table
    from wherefrom.anomaly.paper.reproduce import reproduce as run
    from wherefrom.report.anomaly.tables import reproduction_tables

    named, human = named_folders(options.generated), options.human
    people = None if human is None else read_human_table(human)
    result = run(
        named,
        options.real,
        options.load(),
        config=options.config,
        human=people,
        seed=options.seed,
        cache=open_cache(options.cache),
        track=session.track,
    )
    if options.as_json:
        print_json(result.to_dict())
        return
    for table in reproduction_tables(result):
        print_table(table)
    if result.unmatched:
        session.note(f"note: {result.unmatched} images have no guesses in {human}")


def _print_audit(session: Session, result: Audit, as_json: bool) -> None:
    from wherefrom.report.anomaly.tables import GENERATOR_SHOWN, generator_table
    from wherefrom.report.anomaly.wording import answer, order

    for warning in result.warnings:
        session.note(warning)
    for files in result.skipped.values():
        session.note_skipped(files)
    if as_json:
        print_json(result.to_dict())
        return
    print_table(generator_table(result).select(*GENERATOR_SHOWN))
    for line in (*answer(result)[:2], *order(result.comparison)):
        click.echo(line)
