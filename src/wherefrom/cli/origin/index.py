"""`wherefrom origin build`, `add` and `remove`: the images of an index."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console.options import FILE, argument, json_option, option, use, with_options
from wherefrom.cli.console.session import Session, print_json
from wherefrom.cli.origin.inputs import (
    ExecutorOptions,
    encoder_option,
    features_option,
    opened_references,
    same_encoder_option,
    same_features_option,
)

if TYPE_CHECKING:
    from wherefrom.origin.searching.result import AddReport


@dataclass(frozen=True, kw_only=True)
class BuildOptions(ExecutorOptions):
    """The options of `build`."""

    photos: tuple[Path, ...] = argument()
    encoder: str = use(encoder_option)
    features: str = use(features_option)
    edit_map: Path | None = option("W from `train`; without it, raw embeddings.")
    out: Path = option("The index: a new folder.", required=True)
    as_json: bool = use(json_option)


@dataclass(frozen=True, kw_only=True)
class AddImagesOptions(ExecutorOptions):
    """The options of `add`."""

    index: Path = argument()
    photos: tuple[Path, ...] = argument()
    encoder: str | None = use(same_encoder_option)
    features: str | None = use(same_features_option)
    as_json: bool = use(json_option)


@click.command()
@with_options(BuildOptions)
def build(session: Session, options: BuildOptions) -> None:
    """Make a searchable index of images and folders.

    An index that exists is continued, with the features that it was built with: what is there
    unchanged is not embedded again.

    \b
    Example:
      wherefrom origin build photos/ --edit-map editmap --out refs.index
    """
    from wherefrom import origin

    o = options
    report = origin.build(
        o.out,
        o.photos,
        encoder=o.encoder,
        features=o.features,
        edit_map=None if o.edit_map is None else origin.FittedEditMap.load(o.edit_map),
        by=o.embedding(),
        track=session.track,
    )
    _tell_added(session, report, o.as_json)
    session.note(f"saved {o.out}")


@click.command()
@with_options(AddImagesOptions)
def add(session: Session, options: AddImagesOptions) -> None:
    """Add images and folders to an index; what is there unchanged is left as it is.

    \b
    Example:
      wherefrom origin add refs.index more/
    """
    o = options
    with opened_references(o.index, o.encoder, o.features, writable=True) as references:
        report = references.add(o.photos, by=o.embedding(), track=session.track)
    _tell_added(session, report, o.as_json)


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
