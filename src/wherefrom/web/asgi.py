"""The service for any ASGI server, configured by environment variables.

    WHEREFROM_CASE=case.toml WHEREFROM_TOKEN_FILE=token WHEREFROM_HISTORY_FILE=history \\
      uvicorn wherefrom.web.asgi:app --factory --workers 2 --timeout-graceful-shutdown 10 \\
        --timeout-worker-healthcheck 60

    WHEREFROM_CASE                       the case file
    WHEREFROM_TOKEN, or _TOKEN_FILE      the token; required, as a server may listen anywhere
    WHEREFROM_HISTORY, or _HISTORY_FILE  the address of a Postgres; else SQLite is used
    WHEREFROM_DATA                       folder of uploads and reports; default: beside the case
    WHEREFROM_DEVICE                     as --device
    WHEREFROM_SERVE_<SETTING>            any setting of `ServiceConfig`, as WHEREFROM_SERVE_QUEUE=50

Each process of the server is a service of its own, so several need a history in Postgres.  What is
wrong is one line that the server prints when it starts the application.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from wherefrom.core.compute.device import resolve_device
from wherefrom.core.errors import InputError, WherefromError
from wherefrom.web.app import create_app
from wherefrom.web.jobs.history import JobHistory
from wherefrom.web.server import Listening, worker_command
from wherefrom.web.service import Service
from wherefrom.web.settings import (
    HISTORY,
    TOKEN,
    ServiceConfig,
    check_token,
    data_beside,
    find_secret,
)

CASE, DATA, DEVICE = "WHEREFROM_CASE", "WHEREFROM_DATA", "WHEREFROM_DEVICE"
SETTING = "WHEREFROM_SERVE_"
ANYWHERE = "0.0.0.0"  # noqa: S104 (what has to be assumed)


def app() -> Application:
    """The application; nothing is opened before the server starts it."""
    return Application()


class Application:
    """A service that begins and ends with the lifespan of its ASGI server."""

    def __init__(self) -> None:
        self._app: FastAPI | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is None:
            raise RuntimeError("the ASGI server did not start the lifespan; switch it on")
        else:
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            where = listening_from(os.environ)
            history = JobHistory(where.data, where.history)
            service = Service(history, worker_command(where), where.config)
        except WherefromError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        try:
            await service.start()
            name, token = where.case.name, where.token
            self._app = create_app(service, case=name, token=token, host=where.host)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        except WherefromError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        finally:
            await service.stop()
        await send({"type": "lifespan.shutdown.complete"})


def listening_from(environment: Mapping[str, str]) -> Listening:
    """The service that the environment describes; an `InputError` if it is not valid."""
    if not environment.get(CASE):
        raise InputError(f"{CASE} is not set; give it the path of a case file")
    case, token = Path(environment[CASE]), find_secret(TOKEN)
    if token is None:
        raise InputError(
            f"{TOKEN} is not set; give it a token, or {TOKEN}_FILE a file that has one"
        )
    check_token(ANYWHERE, token)
    data = Path(environment[DATA]) if environment.get(DATA) else data_beside(case)
    device = resolve_device(environment.get(DEVICE, "auto"))
    history = find_secret(HISTORY)
    return Listening(case, data, ANYWHERE, 0, token, device, _settings(environment), history)


def _settings(environment: Mapping[str, str]) -> ServiceConfig:
    settings: dict[str, Any] = {}
    for name, text in environment.items():
        if name.startswith(SETTING):
            try:
                settings[name.removeprefix(SETTING).lower()] = json.loads(text)
            except ValueError as error:
                raise InputError(f"{name} is {text!r}; give a number, true or false") from error
    return ServiceConfig.from_dict(settings)
