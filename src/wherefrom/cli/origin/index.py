"""`wherefrom origin build`, `add` and `remove`: the images of an index."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console.options import FILE, json_option
from wherefrom.cli.console.session import Session, print_json
from wherefrom.cli.origin.inputs import (
    embedding_by,
    encoder_option,
    executor_options,
    features_option,
    opened_references,
    same_encoder_option,
    same_features_option,
)

if TYPE_CHECKING:
    from wherefrom.origin.searching.result import AddReport


@click.command()
@click.argument("photos", type=FILE, nargs=-1, required=True)
@encoder_option
@features_option
@click.option("--edit-map", type=FILE, help="W from `train`; without it, raw embeddings.")
@click.option("--out", type=FILE, required=True, help="The index: a new folder.")
@executor_options
@json_option
@click.pass_obj
def build(
    session: Session,
    /,
    *,
    photos: tuple[Path, ...],
    encoder: str,
    features: str,
    edit_map: Path | None,
    out: Path,
    as_json: bool,
    **executor: str,
) -> None:
    """Make a searchable index of images and folders.

    An index that exists is continued, with the features that it was built with: what is there
    unchanged is not embedded again.

    \b
    Example:
      wherefrom origin build photos/ --edit-map editmap --out refs.index
    """
    from wherefrom import origin

    report = origin.build(
        out,
        photos,
        encoder=encoder,
        features=features,
        edit_map=None if edit_map is None else origin.FittedEditMap.load(edit_map),
        by=embedding_by(**executor),
        track=session.track,
    )
    _tell_added(session, report, as_json)
    session.note(f"saved {out}")


@click.command()
@click.argument("index", type=FILE)
@click.argument("photos", type=FILE, nargs=-1, required=True)
@same_encoder_option
@same_features_option
@executor_options
@json_option
@click.pass_obj
def add(
    session: Session,
    /,
    *,
    index: Path,
    photos: tuple[Path, ...],
    encoder: str | None,
    features: str | None,
    as_json: bool,
    **executor: str,
) -> None:
    """Add images and folders to an index; what is there unchanged is left as it is.

    \b
    Example:
      wherefrom origin add refs.index more/
    """
    with opened_references(index, encoder, features, writable=True) as references:
        report = references.add(photos, by=embedding_by(**executor), track=session.track)
    _tell_added(session, report, as_json)


@click.command()
@click.argument("index", type=FILE)
@click.argument("photos", type=FILE, nargs=-1, required=True)
def remove(*, index: Path, photos: tuple[Path, ...]) -> None:
    """Remove images: pictures, whole folders, and patterns such as 'photos/2019*/**'.

    A folder need not be there any more.  In a pattern * and ? match inside one name, ** any number
    of folders.  What was removed stays out of `sync`, until it is given to `add`.

    \b
    Example:
      wherefrom origin remove refs.index photos/a.jpg old_photos/ 'photos/*.tif'
    """
    from wherefrom.origin.collection.removing import remove as remove_images
    from wherefrom.origin.index.index import Index

    with Index.open(index, writable=True) as opened:
        opened.pictures.follow(writable=True)
        count = remove_images(opened, photos)
        click.echo(f"{count} removed, {opened.count()} left")


def _tell_added(session: Session, report: AddReport, as_json: bool) -> None:
    """Print the report; an `InputError` if no image was added."""
    session.note_skipped(report.skipped)
    if as_json:
        print_json(report.to_dict())
    else:
        click.echo(
            f"{report.added} added, {report.replaced} replaced, {report.unchanged} unchanged, "
            f"{report.duplicates} of them the same file as another, {len(report.skipped)} left out"
        )
    sys.stdout.flush()
    report.require_usable()
