"""`wherefrom origin build`, `add` and `remove`: what stands in an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console import Session, print_json
from wherefrom.cli.options import FILE, F, resolve_device
from wherefrom.cli.origin_pairs import tell_skipped

if TYPE_CHECKING:
    from wherefrom.encoders.bulk import BulkEmbedding
    from wherefrom.origin import AddReport
    from wherefrom.origin.references import References

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


def executor_options(command: F) -> F:
    """`--executor` and `--devices`: who embeds."""
    for option in (
        click.option(
            "--devices",
            default="auto",
            show_default=True,
            help="With ray: one worker for each, separated by commas, as in cuda:0,cuda:1 or "
            "cpu,cpu.",
        ),
        click.option(
            "--executor",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="Who embeds.  local: this process; ray: the machines of a Ray cluster.",
        ),
    ):
        command = option(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")


def opened_references(index: Path, encoder: str | None, *, writable: bool = False) -> References:
    from wherefrom.encoders import load_encoder
    from wherefrom.origin import References

    found = None if encoder is None else load_encoder(encoder)
    return References.open(index, encoder=found, writable=writable)


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

    Given again, it goes on: what is there unchanged is not embedded again.

    \b
    Example:
      wherefrom origin build photos/ --edit-map editmap --out refs.index
    """
    from wherefrom.data.folders import list_images
    from wherefrom.encoders import load_encoder
    from wherefrom.origin import References, load_edit_map

    list_images(photos)  # refuse impossible paths before the folder is made
    found = load_encoder(encoder)
    fitted = None if edit_map is None else load_edit_map(edit_map)
    if out.is_dir():
        references = References.open(out, encoder=found, writable=True)
        references.require_map(fitted)
    else:
        references = References.create(out, found, edit_map=fitted, source=encoder)
    with references:
        _add(session, references, photos, as_json, **executor)
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
        _add(session, references, photos, as_json, **executor)


@click.command()
@click.argument("index", type=FILE)
@click.argument("photos", type=FILE, nargs=-1, required=True)
def remove(*, index: Path, photos: tuple[Path, ...]) -> None:
    """Remove images by the paths under which they were added.

    \b
    Example:
      wherefrom origin remove refs.index photos/a.jpg
    """
    from wherefrom.origin import Index
    from wherefrom.origin import remove as forget

    with Index.open(index, writable=True) as opened:
        count = forget(opened, photos)
        click.echo(f"{count} removed, {opened.count()} left")


def _add(
    session: Session,
    references: References,
    photos: tuple[Path, ...],
    as_json: bool,
    *,
    executor: str,
    devices: str,
) -> None:
    from wherefrom.encoders.bulk import RayEmbedding, embed_here

    by: BulkEmbedding = embed_here
    if executor == "ray":
        # named devices are the cluster's, which this machine need not have
        names = [name.strip() for name in devices.split(",")]
        by = RayEmbedding(tuple(resolve_device(n) if n == "auto" else n for n in names))
    report = references.add(photos, by=by, track=session.track)
    _tell_added(session, report, as_json)


def _tell_added(session: Session, report: AddReport, as_json: bool) -> None:
    tell_skipped(session, report.skipped)
    if as_json:
        print_json(report.to_dict())
        return
    click.echo(
        f"{report.added} added, {report.replaced} replaced, {report.unchanged} unchanged, "
        f"{report.duplicates} of them the same file as another, {len(report.skipped)} left out"
    )
