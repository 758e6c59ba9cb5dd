"""`wherefrom serve`: the same inspection behind a REST interface and a page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console import Session
from wherefrom.cli.options import FILE, ConfigCommand, device_option, resolve_device
from wherefrom.core.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from wherefrom.web.settings import ServiceConfig

TOKEN_VARIABLE = "WHEREFROM_TOKEN"  # noqa: S105 (a name, no secret)
KEPT = ".service"  # beside the case file, after its name


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
    "--token-file", type=FILE, help=f"A file that holds the token; or set {TOKEN_VARIABLE}."
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
    token_file: Path | None,
    device: str,
    config: ServiceConfig,
) -> None:
    """Serve a page on which images are dropped, and a REST interface that does the same.

    It prints its address once it can be asked.  Ctrl-C stops it; images that were accepted and not
    finished are done by the next start.  The interface is described at /api/openapi.json.

    \b
    Example:
      wherefrom serve --with case.toml
    """
    from wherefrom.web.settings import check_token

    token = _token(token_file)
    check_token(host, token)
    try:
        from wherefrom.web.server import Listening, run_service
    except ImportError as error:
        raise MissingExtraError(error.name or "fastapi", "web", "the service") from error
    folder = data or case.with_name(case.name + KEPT)
    where = Listening(case, folder, host, port, token, resolve_device(device), config)
    session.note("opening the case")
    run_service(where, tell=click.echo)


def _token(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get(TOKEN_VARIABLE)
    from wherefrom.data.files import read_regular

    try:
        return read_regular(path, max_bytes=4096).decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} does not hold an ASCII token; write one into it") from error
