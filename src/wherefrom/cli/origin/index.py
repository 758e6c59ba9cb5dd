"""`wherefrom origin build`, `add` and `remove`: the images of an index."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console.options import FILE, F, resolve_device
from wherefrom.cli.console.session import Session, print_json
from wherefrom.cli.origin.pairs import tell_skipped
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.encoders.bulk import BulkEmbedding
    from wherefrom.origin.collection.references import References
    from wherefrom.origin.searching.result import AddReport

encoder_option = click.option(
    "--encoder",
    default="default",
    show_default="the small one of this package",
    help="Folder of a VAE (diffusers or the project's own), or owner/name in the hub's cache.",
)
same_encoder_option = click.option(
    "--encoder",
    show_default="the one that the index was built with",
    help="Where that encoder is now, if it was moved.",
)


roots_option = click.option(
    "--root",
    "roots",
    type=FILE,
    multiple=True,
    help="Where the pictures of the index are now, if their folder was moved; may be repeated.",
)


def executor_options(command: F) -> F:
    """`--executor` and `--devices`: where images are embedded."""
    for option in (
        click.option(
            "--devices",
            default="auto",
            show_default=True,
            help="Where to embed.  local: one device; ray: a worker for each, separated by commas, "
            "as in cuda:0,cuda:1 or cpu,cpu.",
        ),
        click.option(
            "--executor",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="Where images are embedded.  local: this process; ray: the machines of a Ray "
            "cluster.",
        ),
    ):
        command = option(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")


def opened_references(
    index: Path,
    encoder: str | None,
    *,
    writable: bool = False,
    roots: Sequence[Path] = (),
    device: str | None = None,
) -> References:
    """The folder of references, with the encoder in the folder `encoder` if one is named.

    The encoder is moved to the `device` (as `--device` names it) where one is given.
    """
    from wherefrom.encoders import load_encoder
    from wherefrom.origin.collection.references import References

    loaded = None if encoder is None else load_encoder(encoder)
    where = None if device is None else resolve_device(device)
    return References.open(index, encoder=loaded, writable=writable, roots=roots, device=where)


@click.command()
@click.argument("photos", type=FILE, nargs=-1, required=True)
@encoder_option
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
    edit_map: Path | None,
    out: Path,
    as_json: bool,
    **executor: str,
) -> None:
    """Make a searchable index of images and folders.

    An index that exists is continued: what is there unchanged is not embedded again.

    \b
    Example:
      wherefrom origin build photos/ --edit-map editmap --out refs.index
    """
    from wherefrom import origin

    report = origin.build(
        out,
        photos,
        encoder=encoder,
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
    as_json: bool,
    **executor: str,
) -> None:
    """Add images and folders to an index; what is there unchanged is left as it is.

    \b
    Example:
      wherefrom origin add refs.index more/
    """
    with opened_references(index, encoder, writable=True) as references:
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


def embedding_by(*, executor: str, devices: str) -> BulkEmbedding:
    """How images are embedded, by the values of `executor_options`."""
    from wherefrom.encoders.bulk import RayEmbedding, embed_on

    names = [name.strip() for name in devices.split(",")]
    if executor != "ray":
        if len(names) > 1:
            raise InputError(
                f"--devices {devices} names {len(names)} devices, and this process embeds on one; "
                "name one, or pass --executor ray"
            )
        return embed_on(resolve_device(names[0]))
    # named devices are the cluster's, which this machine need not have
    return RayEmbedding(tuple(resolve_device(n) if n == "auto" else n for n in names))


def _tell_added(session: Session, report: AddReport, as_json: bool) -> None:
    """Print the report; an `InputError` if no image was added."""
    tell_skipped(session, report.skipped)
    if as_json:
        print_json(report.to_dict())
    else:
        click.echo(
            f"{report.added} added, {report.replaced} replaced, {report.unchanged} unchanged, "
            f"{report.duplicates} of them the same file as another, {len(report.skipped)} left out"
        )
    sys.stdout.flush()
    report.require_usable()
