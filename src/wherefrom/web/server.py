"""The service under uvicorn: it listens once its case is open, and stops without losing a job."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from wherefrom.core.compute.threads import threads_per_process
from wherefrom.core.errors import InputError
from wherefrom.web.app import create_app
from wherefrom.web.jobs.history import JobHistory
from wherefrom.web.service import Service
from wherefrom.web.settings import ServiceConfig, check_token

HEADER_BYTES = 32 * 2**10  # of one request, together
STOP_SECONDS = 10
SIGNALS = (signal.SIGINT, signal.SIGTERM)
IDLE_SECONDS = 20
HEAD_SECONDS = 20.0  # for the headers of one request


@dataclass(frozen=True)
class Listening:
    """The address, case, data and settings of a service."""

    case: Path
    data: Path
    host: str
    port: int
    token: str | None
    device: str
    config: ServiceConfig
    history: str | None = None  # the address of a Postgres; it may hold a password


def worker_command(where: Listening) -> list[str]:
    """The command that starts a process of `web.jobs.worker`."""
    config = where.config
    settings = {
        "device": where.device,
        "heat": config.heat_map,
        "max_bytes": config.max_upload_bytes,
        "max_pixels": config.max_pixels,
        "memory_gib": config.memory_gib,
        "threads": threads_per_process(config.workers),
    }
    command = [sys.executable, "-m", "wherefrom.web.jobs.worker"]
    return [*command, str(where.case.resolve()), json.dumps(settings)]


def run_service(where: Listening, *, tell: Callable[[str], None]) -> None:
    """Serve until interrupted; `tell` is called once somebody can connect.

    An `InputError` for a case that cannot be opened, a port in use, another service on `data`,
    a history that cannot be reached.
    """
    check_token(where.host, where.token)
    asyncio.run(_run(where, worker_command(where), tell))


async def _run(where: Listening, command: list[str], tell: Callable[[str], None]) -> None:
    listening = bound_socket(where.host, where.port)
    with contextlib.closing(listening):
        service = Service(JobHistory(where.data, where.history), command, where.config)
        try:
            again = await service.start()
            if again:
                tell(f"{again} jobs of an earlier run continue")
            port = listening.getsockname()[1]
            tell(f"http://{where.host}:{port}")
            await make_server(service, where).serve(sockets=[listening])
        finally:
            await service.stop()


def make_server(service: Service, where: Listening) -> uvicorn.Server:
    """A server that tells the service at once when it is asked to stop."""
    app = create_app(service, case=where.case.name, token=where.token, host=where.host)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        http=_Connection,
        h11_max_incomplete_event_size=HEADER_BYTES,
        limit_concurrency=where.config.connections,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return _Server(config, service)


class _Connection(H11Protocol):
    """A connection that closes if headers arrive too slowly, or a body comes that is not wanted."""

    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """`asyncio.Protocol`."""
        super().connection_made(transport)
        self._watch = self.loop.call_later(HEAD_SECONDS, self._let_go)

    def on_response_complete(self) -> None:
        """`H11Protocol`: the next request may begin, unless this one's body goes on."""
        self._stop_watching()
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.close()
        else:
            self._watch = self.loop.call_later(HEAD_SECONDS, self._let_go)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """`asyncio.Protocol`."""
        self._stop_watching()
        super().connection_lost(exc)

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    def _let_go(self) -> None:
        if self.conn.their_state is h11.IDLE:
            self.transport.close()


class _Server(uvicorn.Server):
    """Streams of events end when the service stops, so that the server can."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """`uvicorn.Server`, which raises the signal again and so would end us in the middle."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for sig in SIGNALS:
            try:
                loop.add_signal_handler(sig, self.handle_exit, sig, None)
            except NotImplementedError:  # on Windows
                signal.signal(sig, self.handle_exit)
        try:
            yield
        finally:
            for sig in SIGNALS:
                with contextlib.suppress(NotImplementedError):
                    loop.remove_signal_handler(sig)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """`uvicorn.Server`: the first signal stops it gently."""
        super().handle_exit(sig, frame)
        self._service.closing = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """`uvicorn.Server`."""
        await self._service.stop_accepting()
        await super().shutdown(sockets)


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; an `InputError` if the address cannot be used."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"cannot listen on {host} port {port}: {error}; choose another --port or --host"
        ) from error
    return listening
