"""`wherefrom origin`: the group, and `train`, `calibrate`, `search`, `evaluate`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.cli.origin.index import add, build, remove
from wherefrom.cli.origin.inputs import QueryOptions, ReferencesOptions, encoder_option
from wherefrom.cli.origin.pairs import pairs, tell_out_of_scope, tell_trained_on
from wherefrom.cli.origin.sync import sync

if TYPE_CHECKING:
    from wherefrom.origin.collection.references import References
    from wherefrom.origin.edit_map.fitted import EditMapConfig
    from wherefrom.origin.searching.config import SearchConfig
    from wherefrom.origin.searching.result import OriginAnswer


@click.group()
def origin() -> None:
    """Which of my images was this AI-edited picture made from?

    \b
    Example:
      wherefrom origin search refs.index suspect.png
    """


for _command in (pairs, build, add, sync, remove):
    origin.add_command(_command)


@origin.command(
    cls=cli.ConfigCommand, presets=cli.default_of("origin.edit_map.fitted:EditMapConfig")
)
@click.argument("pairs", type=cli.FILE)
@encoder_option
@click.option("--out", type=cli.FILE, required=True, help="The edit map: a new folder.")
@click.option("--overwrite", is_flag=True, help="Replace an edit map that exists.")
@click.option("--seed", default=0, help="Seed of --solver sgd.")
@cli.device_option
@click.pass_obj
def train(
    session: Session,
    *,
    pairs: Path,
    encoder: str,
    out: Path,
    overwrite: bool,
    seed: int,
    device: str,
    config: EditMapConfig,
) -> None:
    """Learn W from pairs of an origin and its edits.

    \b
    Example:
      wherefrom origin train pairs/ --out editmap
    """
    from wherefrom.core.saving.store import refuse_existing
    from wherefrom.encoders import load_encoder
    from wherefrom.origin.edit_map.fitting import fit_edit_map
    from wherefrom.origin.pairs.embedding import embed_pairs
    from wherefrom.origin.pairs.manifest import read_pairs

    refuse_existing(out, overwrite=overwrite)
    loaded, manifest = load_encoder(encoder).to(cli.resolve_device(device)), read_pairs(pairs)
    tell_out_of_scope(session, manifest)
    embedded = embed_pairs(manifest, loaded, track=session.track)
    session.note_skipped(embedded.skipped)
    fitted = fit_edit_map(embedded, config=config, seed=seed, track=session.track)
    fitted.save(out, overwrite=overwrite)
    session.note(f"saved {out}")
    click.echo(
        f"W of rank {fitted.rank} from {len(embedded.edits)} edits of "
        f"{len(embedded.origins)} origins"
    )


@dataclass(frozen=True, kw_only=True)
class OriginCalibrateOptions(ReferencesOptions):
    """The options of `calibrate`."""

    LAST: ClassVar[tuple[str, ...]] = ("seed", "report", "device")
    pairs: Path = cli.option(
        "A pairs folder: edits of known origin.", required=True, before="encoder"
    )
    fpr: float = cli.option(
        "Share of images without an origin in the index that may be given one.",
        required=True,
        before="encoder",
    )
    seed: int = cli.option("Seed of the draw of one edit per origin.", 0)
    report: Path | None = cli.use(cli.report_option)
    config: SearchConfig


@origin.command(
    cls=cli.ConfigCommand, presets=cli.default_of("origin.searching.config:SearchConfig")
)
@cli.with_options(OriginCalibrateOptions)
def calibrate(session: Session, options: OriginCalibrateOptions) -> None:
    """Set from which p-value on a search says that the origin is not in the index.

    The calibration holds for searches with the same views, re-ranking and statistic, and searches
    use these by default.

    Pairs with an image that the edit map was trained on are refused.  An origin that is in the
    index is left out of the comparison with its own edit, with its near-duplicates.

    The edits that stand out most without their origin are named, and shown in the report: one that
    was made from what it was compared with, or from a near-duplicate of it, spoils the calibration.

    \b
    Example:
      wherefrom origin calibrate refs.index --pairs held_out_pairs/ --fpr 0.01
    """
    from wherefrom.origin.pairs.manifest import read_pairs

    cli.check_output(options.report, "--report")
    manifest = read_pairs(options.pairs)
    tell_out_of_scope(session, manifest)
    with options.opened(writable=True) as references:
        null = references.calibrate(
            manifest.edits,
            manifest.origin_of,
            rate=options.fpr,
            config=options.config,
            seed=options.seed,
            track=session.track,
        ).null
    if null is not None:
        from wherefrom.data.files.opening import SkippedFile

        left_out = null.provenance["left_out"]
        session.note_skipped([SkippedFile(Path(f["path"]), f["reason"]) for f in left_out])
        if null.provenance["note"]:
            session.note(f"note: {null.provenance['note']}")
        if null.provenance["same_series"]:
            count = len(null.provenance["same_series"])
            session.note(f"{count} edits left out: another one of their series is used")
        click.echo(f"calibrated on {len(null.values)} origins for {options.fpr:g} false alarms")
        _tell_largest(session, null.provenance["largest"], options.report)


@dataclass(frozen=True, kw_only=True)
class OriginSearchOptions(QueryOptions):
    """The options of `search`."""

    paths: tuple[Path, ...] = cli.argument()
    accelerated: bool = cli.option(
        "Search the lists that `accelerate` made, which may miss an image."
    )
    false_discovery_rate: float | None = cli.option(
        "Judge all images together: at most this share of the answers 'made from' is false."
    )
    report: Path | None = cli.use(cli.report_option)
    csv: Path | None = cli.use(cli.csv_option)


@origin.command()
@cli.with_options(OriginSearchOptions)
def search(session: Session, options: OriginSearchOptions) -> None:
    """Say for images and folders which image of the index each was made from.

    Exits with 2 if not a single image could be read and compared.

    \b
    Example:
      wherefrom origin search refs.index suspect.png --report suspect.html
    """
    from wherefrom.report.origin import answers_table
    from wherefrom.report.pages.files import write_text
    from wherefrom.report.pages.tables import to_csv

    cli.check_output(options.report, "--report")
    cli.check_output(options.csv, "--csv", ".csv")
    with options.opened() as references:
        config = options.config(references)
        answers = references.search(
            options.paths,
            config=config,
            accelerated=options.accelerated,
            false_discovery_rate=options.false_discovery_rate,
            track=session.track,
        )
        if options.report is not None:
            rate = options.false_discovery_rate
            basis = references.describe(config) | {"false_discovery_rate": rate}
            _write_page(session, options.report, answers, references, basis)
    if options.csv is not None:
        write_text(options.csv, to_csv(answers_table(answers)))
    if options.as_json:
        print_json(answers.to_dict() | {"false_discovery_rate": options.false_discovery_rate})
    else:
        from wherefrom.core.paths import printable

        for answer in answers:
            click.echo(f"{printable(answer.name)}: {printable(answer.sentence())}")
            for note in answer.notes:
                session.note(f"note: {printable(answer.name)}: {printable(note)}")
    sys.stdout.flush()
    answers.require_compared()


@origin.command()
@click.argument("index", type=cli.FILE)
@click.option("--floor", default=0.99, help="Least share of the exact ten nearest.")
@click.option("--seed", default=0, help="Seed of the queries that measure it.")
@click.pass_obj
def accelerate(session: Session, *, index: Path, floor: float, seed: int) -> None:
    """Make the lists for `search --accelerated`, for indexes of millions.

    The lists may miss an image.  The share of the ten nearest images that they find is measured,
    and lists below the floor are refused.  When the index changes, run it again.

    \b
    Example:
      wherefrom origin accelerate refs.index
    """
    from wherefrom.origin.index.index import Index
    from wherefrom.origin.other_indexes.accelerator import Accelerator

    with Index.open(index, writable=True) as opened:
        accelerator = Accelerator.build(opened, floor=floor, seed=seed, track=session.track)
    recall = 100 * accelerator.recall
    click.echo(f"finds {recall:.2f} % of the ten nearest that the exact scan finds")


@dataclass(frozen=True, kw_only=True)
class OriginEvaluateOptions(QueryOptions):
    """The options of `evaluate`."""

    index: Path = cli.option("An index that holds the origins.", required=True)
    pairs: Path = cli.argument()


@origin.command()
@cli.with_options(OriginEvaluateOptions)
def evaluate(session: Session, options: OriginEvaluateOptions) -> None:
    """Measure how well the origins of known edits are found, per generating model.

    \b
    Example:
      wherefrom origin evaluate held_out_pairs/ --index refs.index
    """
    from wherefrom.origin.pairs.manifest import read_pairs

    manifest = read_pairs(options.pairs)
    tell_out_of_scope(session, manifest)
    with options.opened() as references:
        report = references.evaluate(
            manifest.edits,
            manifest.origin_of,
            manifest.model_of,
            config=options.config(references),
            track=session.track,
        )
    session.note_skipped(report.skipped)
    tell_trained_on(session, report)
    if options.as_json:
        print_json(report.to_dict())
    else:
        from wherefrom.report.origin import retrieval_table

        print_table(retrieval_table(report))
        click.echo(f"{report.indexed} images in the index")


def _tell_largest(
    session: Session, largest: Sequence[Mapping[str, Any]], report: Path | None
) -> None:
    """Name the edits that stand out most without their origin, and show them in a page."""
    from wherefrom.core.paths import printable
    from wherefrom.origin.index.places import shown_path

    for row in largest[:3]:
        edit, match = (printable(shown_path(row[key])) for key in ("edit", "match"))
        session.note(f"largest without its origin: {row['value']:.1f} of {edit}, beside {match}")
    if report is not None:
        from wherefrom.report.origin import largest_files, write_calibration_report
        from wherefrom.report.pages.pictures import thumbnails

        pictures = thumbnails(largest_files(largest), track=session.track)
        write_calibration_report(report, largest, thumbnails=pictures)
        session.note(f"wrote {report}")


def _write_page(
    session: Session,
    report: Path,
    answers: Sequence[OriginAnswer],
    references: References,
    basis: Mapping[str, Any],
) -> None:
    from wherefrom.report.origin import pictures_of, write_search_report
    from wherefrom.report.pages.pictures import thumbnails

    pictures = thumbnails(pictures_of(answers), track=session.track)
    evidence = references.evidence(answers, track=session.track)
    write_search_report(report, answers, basis, thumbnails=pictures, evidence=evidence)
    session.note(f"wrote {report}")
