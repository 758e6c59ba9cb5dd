"""`wherefrom serve`: inspections behind a REST interface and a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console.options import (
    FILE,
    ConfigCommand,
    default_of,
    device_option,
    gathered,
    resolve_device,
)
from wherefrom.cli.console.session import Session
from wherefrom.core.errors import InputError
from wherefrom.core.optional import need

if TYPE_CHECKING:
    from wherefrom.web.settings import ServiceConfig


@dataclass(frozen=True)
class ServeOptions:
    """The options of `serve`."""

    case: Path
    host: str
    port: int
    data: Path | None
    history: str | None
    history_file: Path | None
    token_file: Path | None
    device: str
    config: ServiceConfig


@click.command(cls=ConfigCommand, presets=default_of("web.settings:ServiceConfig"))
@click.option("--with", "case", type=FILE, required=True, help="A case file; see `case init`.")
@click.option(
    "--host",
    default="127.0.0.1",
    help="Address to listen on; others than this machine need a token.",
)
@click.option("--port", default=8420, help="Port; 0: any free one.")
@click.option(
    "--data", type=FILE, help="Folder of uploads, reports and history; default: beside the case."
)
@click.option(
    "--history",
    metavar="ADDRESS",
    help="A Postgres that several services share, as postgresql://USER@HOST/DATABASE; or set "
    "WHEREFROM_HISTORY.  Default: a SQLite file in the folder --data.",
)
@click.option("--history-file", type=FILE, help="A file that holds the address of the history.")
@click.option(
    "--token-file", type=FILE, help="A file that holds the token; or set WHEREFROM_TOKEN."
)
@device_option
@click.pass_obj
@gathered(ServeOptions)
def serve(session: Session, options: ServeOptions) -> None:
    """Serve a page to drop images on, and a REST interface for the same inspections.

    The address is printed once the service accepts connections.  Ctrl-C stops it; images that were
    accepted and not finished are inspected after the next start.  Several services may share one
    history in Postgres and one folder of uploads; each image is inspected by one of them.
    /api/openapi.json describes the interface.

    \b
    Example:
      wherefrom serve --with case.toml
    """
    from wherefrom.web.settings import HISTORY, TOKEN, check_token, data_beside, find_secret

    if options.history is not None and options.history_file is not None:
        raise InputError("give --history or --history-file, not both")
    token = find_secret(TOKEN, options.token_file)
    check_token(options.host, token)
    address = options.history
    if address is None:
        address = find_secret(HISTORY, options.history_file)
    server = need("wherefrom.web.server", "the service", extra="web", called="fastapi")
    where = server.Listening(
        case=options.case,
        data=options.data or data_beside(options.case),
        host=options.host,
        port=options.port,
        token=token,
        device=resolve_device(options.device),
        config=options.config,
        history=address,
    )
    session.note("opening the case")
    server.run_service(where, tell=click.echo)
