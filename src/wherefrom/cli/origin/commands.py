"""`wherefrom origin`: build, search and the rest."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console.options import FILE, ConfigCommand, device_option, resolve_device
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.cli.origin.index import (
    add,
    build,
    encoder_option,
    json_option,
    opened_references,
    remove,
    roots_option,
    same_encoder_option,
)
from wherefrom.cli.origin.pairs import (
    pairs,
    tell_out_of_scope,
    tell_skipped,
    tell_trained_on,
)
from wherefrom.cli.origin.settings import asked, rerank_option, search_presets, views_option
from wherefrom.cli.origin.sync import sync
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.origin import (
        EditMapConfig,
        OriginAnswer,
        PairsManifest,
        SearchConfig,
    )
    from wherefrom.origin.collection.references import References


@click.group()
def origin() -> None:
    """Which of my images was this AI-edited picture made from?

    \b
    Example:
      wherefrom origin search refs.index suspect.png
    """


for _command in (pairs, build, add, sync, remove):
    origin.add_command(_command)


def _presets() -> Mapping[str, EditMapConfig]:
    from wherefrom.origin import EditMapConfig

    return {"default": EditMapConfig()}


@origin.command(cls=ConfigCommand, presets=_presets)
@click.argument("pairs", type=FILE)
@encoder_option
@click.option("--out", type=FILE, required=True, help="The edit map: a new folder.")
@click.option("--overwrite", is_flag=True, help="Replace an edit map that exists.")
@click.option("--seed", default=0, show_default=True, help="Seed of --solver sgd.")
@device_option
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
    from wherefrom.core.store import refuse_existing
    from wherefrom.encoders import load_encoder
    from wherefrom.origin import fit_edit_map, read_pairs
    from wherefrom.origin.searching.reader import embed_pairs

    refuse_existing(out, overwrite=overwrite)
    found, manifest = load_encoder(encoder).to(resolve_device(device)), read_pairs(pairs)
    tell_out_of_scope(session, manifest)
    embedded = embed_pairs(manifest, found, track=session.track)
    tell_skipped(session, embedded.skipped)
    fitted = fit_edit_map(
        embedded.origins,
        embedded.edits,
        embedded.owner,
        encoder=found.identity,
        latent_shape=found.latent_shape,
        config=config,
        seed=seed,
        seen=embedded.seen,
        track=session.track,
    )
    fitted.save(out, overwrite=overwrite)
    session.note(f"saved {out}")
    click.echo(
        f"W of rank {fitted.rank} from {len(embedded.edits)} edits of "
        f"{len(embedded.origins)} origins"
    )


@origin.command(cls=ConfigCommand, presets=search_presets)
@click.argument("index", type=FILE)
@click.option("--pairs", type=FILE, required=True, help="Edits of known origin.")
@click.option("--fpr", type=float, required=True, help="False alarms, at most.")
@same_encoder_option
@roots_option
@click.option("--seed", default=0, show_default=True, help="Which edit of an origin is taken.")
@device_option
@click.pass_obj
def calibrate(
    session: Session,
    *,
    index: Path,
    pairs: Path,
    fpr: float,
    encoder: str | None,
    roots: tuple[Path, ...],
    seed: int,
    device: str,
    config: SearchConfig,
) -> None:
    """Set when an index says that it does not hold the origin.

    It holds for searches with the same views, re-ranking and statistic, which are its defaults.

    Pairs with an image that the edit map was trained on are refused.  An origin that is in the
    index is left out of the comparison with its own edit.

    \b
    Example:
      wherefrom origin calibrate refs.index --pairs held_out_pairs/ --fpr 0.01
    """
    from wherefrom.origin import read_pairs

    manifest = read_pairs(pairs)
    tell_out_of_scope(session, manifest)
    with opened_references(index, encoder, writable=True, roots=roots, device=device) as references:
        edits, origins, _ = _columns(manifest)
        fitted = references.calibrate(
            edits, origins, rate=fpr, config=config, seed=seed, track=session.track
        )
    if fitted.null is not None:
        tell_skipped(session, fitted.null.provenance["left_out"])
        if fitted.null.provenance["note"]:
            session.note(f"note: {fitted.null.provenance['note']}")
        click.echo(f"calibrated on {len(fitted.null.values)} origins for {fpr:g} false alarms")


@origin.command()
@click.argument("index", type=FILE)
@click.argument("paths", type=FILE, nargs=-1, required=True)
@same_encoder_option
@roots_option
@views_option
@rerank_option
@click.option("--accelerated", is_flag=True, help="Use what `accelerate` made.")
@click.option(
    "--false-discovery-rate",
    type=float,
    help="Judge all images together: at most this share of the answers 'made from' is false.",
)
@click.option("--report", type=FILE, help="Also write a page there (.html is replaced).")
@json_option
@device_option
@click.pass_obj
def search(
    session: Session,
    *,
    index: Path,
    paths: tuple[Path, ...],
    encoder: str | None,
    roots: tuple[Path, ...],
    views: str | None,
    rerank: bool | None,
    accelerated: bool,
    false_discovery_rate: float | None,
    report: Path | None,
    as_json: bool,
    device: str,
) -> None:
    """Say for images and folders which image of the index each was made from.

    Exits with 2 if not a single image could be read and compared.

    \b
    Example:
      wherefrom origin search refs.index suspect.png --report suspect.html
    """
    if report is not None:
        from wherefrom.report.pages.files import check_target

        check_target(report, option="--report", suffixes=(".html", ".htm"))
    with opened_references(index, encoder, roots=roots, device=device) as references:
        config = references.configured(asked(views, rerank))
        answers = references.search(
            paths,
            config=config,
            accelerated=accelerated,
            false_discovery_rate=false_discovery_rate,
            track=session.track,
        )
        if report is not None:
            _write_page(session, report, answers, references, config, false_discovery_rate)
    if as_json:
        rows = [answer.to_dict() for answer in answers]
        print_json({"answers": rows, "false_discovery_rate": false_discovery_rate})
    else:
        from wherefrom.report.pages.text import printable

        for answer in answers:
            click.echo(f"{printable(answer.name)}: {printable(answer.sentence())}")
            for note in answer.notes:
                session.note(f"note: {printable(answer.name)}: {printable(note)}")
    if not any(answer.candidates for answer in answers):
        sys.stdout.flush()
        first = answers[0]
        failed = "read" if all(answer.digest is None for answer in answers) else "compared"
        raise InputError(f"no image could be {failed}; the first: {first.name}: {first.reason}")


@origin.command()
@click.argument("index", type=FILE)
@click.option("--floor", default=0.99, show_default=True, help="Of what the exact scan finds.")
@click.option("--seed", default=0, show_default=True, help="Of the queries of the measurement.")
@click.pass_obj
def accelerate(session: Session, *, index: Path, floor: float, seed: int) -> None:
    """Make the lists for `search --accelerated`, for indexes of millions.

    They may miss an image.  How many of the ten nearest they find is measured, and lists below the
    floor are refused.  When the index changes, run it again.

    \b
    Example:
      wherefrom origin accelerate refs.index
    """
    from wherefrom.origin import Accelerator, Index

    with Index.open(index, writable=True) as opened:
        made = Accelerator.build(opened, floor=floor, seed=seed, track=session.track)
    click.echo(f"finds {100 * made.recall:.2f} % of the ten nearest that the exact scan finds")


@origin.command()
@click.argument("pairs", type=FILE)
@click.option("--index", type=FILE, required=True, help="An index that holds the origins.")
@same_encoder_option
@roots_option
@views_option
@rerank_option
@json_option
@device_option
@click.pass_obj
def evaluate(
    session: Session,
    *,
    pairs: Path,
    index: Path,
    encoder: str | None,
    roots: tuple[Path, ...],
    views: str | None,
    rerank: bool | None,
    as_json: bool,
    device: str,
) -> None:
    """Measure how well the origins of known edits are found, per generating model.

    \b
    Example:
      wherefrom origin evaluate held_out_pairs/ --index refs.index
    """
    from wherefrom.origin import read_pairs

    manifest = read_pairs(pairs)
    tell_out_of_scope(session, manifest)
    with opened_references(index, encoder, roots=roots, device=device) as references:
        config = references.configured(asked(views, rerank))
        report = references.evaluate(*_columns(manifest), config=config, track=session.track)
    tell_skipped(session, report.skipped)
    tell_trained_on(session, report)
    if as_json:
        print_json(report.to_dict())
    else:
        from wherefrom.report.pages.tables import retrieval_table

        print_table(retrieval_table(report))
        click.echo(f"{report.indexed} images in the index")


def _write_page(
    session: Session,
    report: Path,
    answers: Sequence[OriginAnswer],
    references: References,
    config: SearchConfig,
    false_discovery_rate: float | None,
) -> None:
    from wherefrom.report.origin import pictures_of, write_search_report
    from wherefrom.report.pages.thumbnails import thumbnails

    pictures = thumbnails(pictures_of(answers), track=session.track)
    evidence = references.evidence(answers, track=session.track)
    basis = references.describe(config) | {"false_discovery_rate": false_discovery_rate}
    write_search_report(report, answers, basis, thumbnails=pictures, evidence=evidence)
    session.note(f"wrote {report}")


def _columns(manifest: PairsManifest) -> tuple[list[Path], list[Path], list[str]]:
    """The edits, the origin of each, and the model that made each."""
    origins = [manifest.origins[whose] for whose in manifest.owner]
    return list(manifest.edits), origins, list(manifest.model_of)
