"""`wherefrom origin sync`: bring an index up to date with its pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console.options import argument, json_option, option, use, with_options
from wherefrom.cli.console.session import Session, print_json
from wherefrom.cli.origin.inputs import (
    ExecutorOptions,
    opened_references,
    roots_option,
    same_encoder_option,
    same_features_option,
)

if TYPE_CHECKING:
    from wherefrom.origin.searching.result import SyncReport

KINDS = ("added", "changed", "gone", "moved")
MAX_LISTED = 20  # lines of a kind


@dataclass(frozen=True, kw_only=True)
class SyncOptions(ExecutorOptions):
    """The options of `sync`."""

    index: Path = argument()
    folders: tuple[Path, ...] = argument(required=False)
    encoder: str | None = use(same_encoder_option)
    features: str | None = use(same_features_option)
    roots: tuple[Path, ...] = use(roots_option)
    dry_run: bool = option("Only say what is different.")
    missing_folders: bool = option(
        "Also forget pictures whose whole folder is not there, which is refused otherwise."
    )
    as_json: bool = use(json_option)


@click.command()
@with_options(SyncOptions)
def sync(session: Session, options: SyncOptions) -> None:
    """Bring an index up to date with its pictures: what is new, gone, moved or changed.

    It reads the pictures of the index, the folders that were given to `build` and `add`, and
    further FOLDERS.  A picture that has moved is known by its content and not embedded again.  What
    cannot be read is named, and stays as it is.

    \b
    Example:
      wherefrom origin sync refs.index --dry-run
    """
    from wherefrom.origin.collection.synchronising import preview, synchronise

    with opened_references(
        options.index,
        options.encoder,
        options.features,
        writable=not options.dry_run,
        roots=options.roots,
    ) as references:
        if options.dry_run:
            report = preview(references, options.folders, track=session.track)
        else:
            report = synchronise(
                references,
                options.folders,
                missing_folders=options.missing_folders,
                by=options.embedding(),
                track=session.track,
            )
    session.note_skipped(report.skipped)
    if options.as_json:
        print_json(report.to_dict())
    else:
        for line in _sync_lines(report):
            click.echo(line)


def _sync_lines(report: SyncReport) -> list[str]:
    """What a synchronisation found, `MAX_LISTED` lines of a kind, and the counts."""
    from wherefrom.core.paths import printable
    from wherefrom.origin.index.places import shown_path

    lines: list[str] = []
    moved = [f"{shown_path(old)} -> {shown_path(new)}" for old, new in report.moved]
    listed = {kind: [*map(shown_path, getattr(report, kind))] for kind in KINDS if kind != "moved"}
    for kind in KINDS:
        names = moved if kind == "moved" else listed[kind]
        lines += [f"{kind}: {printable(name)}" for name in names[:MAX_LISTED]]
        if len(names) > MAX_LISTED:
            lines.append(f"{kind}: {len(names) - MAX_LISTED} more (--json lists all)")
    counts = ", ".join(f"{len(getattr(report, kind))} {kind}" for kind in KINDS)
    removed = f", {report.removed} removed before and left out" if report.removed else ""
    end = "nothing was changed (--dry-run)" if report.dry_run else f"{report.images} in the index"
    return [
        *lines,
        f"{counts}, {report.unchanged} unchanged{removed}, {len(report.skipped)} not read; {end}",
    ]
