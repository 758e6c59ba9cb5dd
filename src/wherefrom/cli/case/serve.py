"""`wherefrom serve`: the same inspection behind a REST interface and a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console.options import FILE, ConfigCommand, device_option, resolve_device
from wherefrom.cli.console.session import Session
from wherefrom.core.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from wherefrom.web.settings import ServiceConfig


def _presets() -> Mapping[str, ServiceConfig]:
    from wherefrom.web.settings import ServiceConfig

    return {"default": ServiceConfig()}


@click.command(cls=ConfigCommand, presets=_presets)
@click.option("--with", "case", type=FILE, required=True, help="A case file; see `case init`.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Elsewhere a token is needed.")
@click.option("--port", default=8420, show_default=True, help="0: one that is free.")
@click.option(
    "--data", type=FILE, help="Folder of uploads, reports and history; default: beside the case."
)
@click.option(
    "--history",
    metavar="ADDRESS",
    help="A Postgres that several services share, as postgresql://USER@HOST/DATABASE; or set "
    "WHEREFROM_HISTORY.  Default: a SQLite file in the folder.",
)
@click.option(
    "--history-file", type=FILE, help="A file that holds that address, with its password."
)
@click.option(
    "--token-file", type=FILE, help="A file that holds the token; or set WHEREFROM_TOKEN."
)
@device_option
@click.pass_obj
def serve(
    session: Session,
    *,
    case: Path,
    host: str,
    port: int,
    data: Path | None,
    history: str | None,
    history_file: Path | None,
    token_file: Path | None,
    device: str,
    config: ServiceConfig,
) -> None:
    """Serve a page on which images are dropped, and a REST interface that does the same.

    It prints its address once it can be asked.  Ctrl-C stops it; images that were accepted and not
    finished are done by the next start.  Several services may share one history in Postgres and
    one folder of uploads; each image is done by one of them.  /api/openapi.json describes the
    interface.

    \b
    Example:
      wherefrom serve --with case.toml
    """
    from wherefrom.web.settings import HISTORY, TOKEN, check_token, find_secret, kept_beside

    if history is not None and history_file is not None:
        raise InputError("give --history or --history-file, not both")
    token = find_secret(TOKEN, token_file)
    check_token(host, token)
    address = find_secret(HISTORY, history_file) if history is None else history
    try:
        from wherefrom.web.server import Listening, run_service
    except ImportError as error:
        raise MissingExtraError(error.name or "fastapi", "web", "the service") from error
    used, folder = resolve_device(device), data or kept_beside(case)
    where = Listening(case, folder, host, port, token, used, config, address)
    session.note("opening the case")
    run_service(where, tell=click.echo)
