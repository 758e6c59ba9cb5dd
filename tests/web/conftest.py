"""A service on a free port of this machine, with the scripted worker, and a small client."""

import asyncio
import contextlib
import http.client
import json
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from postgres import address, cluster  # noqa: F401 (fixtures)
from service_process import COMMAND

from wherefrom.web.jobs.history import JobHistory
from wherefrom.web.server import Listening, bound_socket, make_server
from wherefrom.web.service import Service
from wherefrom.web.settings import ServiceConfig

PATIENCE = 60.0  # seconds; a busy machine is no failure
ENDED = ("done", "failed", "cancelled")


@dataclass
class Client:
    """Plain HTTP, so that a test can also send what no library would."""

    port: int
    token: str | None = None

    def ask(self, method, path, body=None, **headers):
        """Status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def json(self, method, path, body=None, **headers):
        """Status and JSON."""
        status, _, data = self.ask(method, path, body, **headers)
        return status, json.loads(data)

    def submit(self, body=b"ok", name="x.png"):
        """Hand something in; the job."""
        status, job = self.json("POST", f"/api/jobs?name={name}", body)
        assert status == 202, job
        return job

    @contextlib.contextmanager
    def follow(self, job):
        """The stream of a job's events, once it is open."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", f"/api/jobs/{job['id']}/events")
            with connection.getresponse() as stream:
                yield stream
        finally:
            connection.close()

    def wait(self, job, states=ENDED):
        """The job once it is in one of the states."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            _, found = self.json("GET", f"/api/jobs/{job['id']}")
            if found["state"] in states:
                return found
            time.sleep(0.02)
        raise AssertionError(f"the job is still {found['state']}")


class Running:
    """A service in a thread of its own."""

    def __init__(self, where, command):
        self.where, self.command = where, command
        self.started, self.error = threading.Event(), None
        self.thread = threading.Thread(target=self._main, daemon=True)
        self.thread.start()
        assert self.started.wait(PATIENCE)
        if self.error:
            raise self.error
        self.client = Client(self.port, where.token)

    def _main(self):
        try:
            asyncio.run(self._run())
        except Exception as error:  # it is raised where the test can see it
            self.error = error
        self.started.set()

    async def _run(self):
        with contextlib.closing(bound_socket(self.where.host, 0)) as listening:
            self.port = listening.getsockname()[1]
            history = JobHistory(self.where.data, self.where.history)
            self.service = Service(history, self.command, self.where.config)
            try:
                self.again = await self.service.start()
                self.server = make_server(self.service, self.where)
                self.started.set()
                await self.server.serve(sockets=[listening])
            finally:
                await self.service.stop()

    def stop(self):
        """As a signal would."""
        self.server.should_exit = True
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def starting(folder):
    """What `serve` is; at its end every service that it started is stopped."""
    running = []

    def start(*, command=COMMAND, token=None, data=folder / "data", history=None, **settings):
        config = replace(ServiceConfig(), **settings)
        where = Listening(Path("case.toml"), data, "127.0.0.1", 0, token, "cpu", config, history)
        running.append(Running(where, command))
        return running[-1]

    yield start
    alive = [each for each in running if each.thread.is_alive()]
    for each in alive:
        each.server.should_exit = True  # all stop at once
    for each in alive:
        each.stop()


@pytest.fixture(scope="session", autouse=True)
def swift_uvicorn():
    """uvicorn looks ten times as often whether it shall stop: each service would wait 0.2 s."""
    swift = SimpleNamespace(**vars(asyncio))
    swift.sleep = lambda seconds: asyncio.sleep(seconds / 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uvicorn.server.asyncio", swift)
        yield


@pytest.fixture
def serve(tmp_path):
    """`serve(token=..., queue=...)` -> a running service; several on one folder, one by one."""
    with starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A running service for the tests of a file that leave it as it was, or only hand files in."""
    with starting(tmp_path_factory.mktemp("shared")) as start:
        yield start()
