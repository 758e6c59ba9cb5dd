"""`wherefrom serve`: inspections behind a REST interface and a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session
from wherefrom.core.errors import InputError
from wherefrom.core.optional import need

if TYPE_CHECKING:
    from wherefrom.web.settings import ServiceConfig


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The options of `serve`."""

    case: Path = cli.option("A case file; see `case init`.", flag="--with", required=True)
    host: str = cli.option(
        "Address to listen on; others than this machine need a token.", "127.0.0.1"
    )
    port: int = cli.option("Port; 0: any free one.", 8420)
    data: Path | None = cli.option(
        "Folder of uploads, reports and history; default: beside the case."
    )
    history: str | None = cli.option(
        "A Postgres that several services share, as postgresql://USER@HOST/DATABASE; or set "
        "WHEREFROM_HISTORY.  Default: a SQLite file in the folder --data.",
        metavar="ADDRESS",
    )
    history_file: Path | None = cli.option("A file that holds the address of the history.")
    token_file: Path | None = cli.option("A file that holds the token; or set WHEREFROM_TOKEN.")
    device: str = cli.use(cli.device_option)
    config: ServiceConfig


@click.command(cls=cli.ConfigCommand, presets=cli.default_of("web.settings:ServiceConfig"))
@cli.with_options(ServeOptions)
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
        device=cli.resolve_device(options.device),
        config=options.config,
        history=address,
    )
    session.note("opening the case")
    server.run_service(where, tell=click.echo)
