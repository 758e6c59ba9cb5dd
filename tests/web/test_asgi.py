"""The service under any ASGI server, and with several workers."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import uvicorn
from conftest import COMMAND, PATIENCE, Client
from postgres import free_port

from wherefrom.core.errors import InputError
from wherefrom.web import asgi
from wherefrom.web.jobs.crew import Bell
from wherefrom.web.settings import ServiceConfig

TOKEN = "a token of the asgi test"  # noqa: S105 (of the test only)


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """The least that the application needs; set more with what it returns."""
    for name in os.environ:
        if name.startswith("WHEREFROM_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WHEREFROM_CASE", str(tmp_path / "case.toml"))
    monkeypatch.setenv("WHEREFROM_TOKEN", TOKEN)
    monkeypatch.setenv("WHEREFROM_DEVICE", "cpu")
    monkeypatch.setattr(asgi, "worker_command", lambda where: COMMAND)
    return monkeypatch.setenv


def serve_asgi():
    """A uvicorn in a thread, with the lifespan on: (server, thread, client)."""
    port = free_port()
    config = uvicorn.Config(
        asgi.app, factory=True, port=port, log_level="error", timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)

    def run():
        with contextlib.suppress(SystemExit):  # so it says that it could not start
            server.run()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    end = time.monotonic() + PATIENCE
    while thread.is_alive() and not server.started:
        assert time.monotonic() < end
        time.sleep(0.02)
    return server, thread, Client(port, TOKEN)


def test_it_lives_as_long_as_its_server__closed_form(environment, tmp_path):
    environment("WHEREFROM_SERVE_WORKERS", "2")
    server, thread, client = serve_asgi()
    assert client.wait(client.submit())["state"] == "done"
    jobs = [client.submit(b"sleep 60"), client.submit(b"sleep 60")]
    for job in jobs:
        client.wait(job, ("running",))  # both at once
    client.token = None
    assert client.ask("GET", "/api/jobs")[0] == 401
    client.token = TOKEN
    assert client.ask("GET", "/api/jobs", Host="any.example")[0] == 200
    server.should_exit = True
    thread.join(PATIENCE)
    history = asgi.JobHistory(tmp_path / "case.toml.service")
    assert [history.get(job["id"]).state for job in jobs] == ["queued"] * 2
    history.close()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("WHEREFROM_CASE", "", "WHEREFROM_CASE is not set"),
        ("WHEREFROM_TOKEN", "short", "use at least 16"),
        ("WHEREFROM_HISTORY", "mysql://u:hunter22@h/b", "begins with mysql://"),
        ("WHEREFROM_SERVE_QUEUE", "many", "give a number, true or false"),
        ("WHEREFROM_SERVE_QUEUE", "0", "must be at least 1"),
        ("WHEREFROM_SERVE_QUEU", "5", "did you mean 'queue'"),
        ("WHEREFROM_DEVICE", "abacus", "cannot be used here"),
    ],
)
def test_what_is_wrong_is_one_line_for_the_server__rejects_environment(
    environment, name, value, told, logged, monkeypatch
):
    environment(name, value)
    monkeypatch.setattr(uvicorn.Config, "configure_logging", lambda config: None)
    _, thread, _ = serve_asgi()
    thread.join(PATIENCE)
    lines = [line for line in logged if told in line]
    assert len(lines) == 1
    assert len(lines[0].splitlines()) == 1
    assert "hunter22" not in "".join(logged)
    assert "Traceback" not in "".join(logged)


def test_the_environment_sets_every_setting__closed_form(environment):
    for info in ServiceConfig.describe():
        value = {int: "8", float: "16.5", bool: "true"}[info.type]
        environment(f"WHEREFROM_SERVE_{info.name.upper()}", value)
    config = asgi.listening_from(os.environ).config
    assert (config.queue, config.lease_seconds, config.heat_map) == (8, 16.5, True)


def test_without_a_token__rejects_environment(environment, monkeypatch):
    monkeypatch.delenv("WHEREFROM_TOKEN")
    with pytest.raises(InputError, match="WHEREFROM_TOKEN is not set"):
        asgi.listening_from(os.environ)


def test_several_workers_look_at_several_images_at_once__closed_form(serve):
    client = serve(workers=3).client
    jobs = [client.submit(b"sleep 60") for _ in range(3)]
    for job in jobs:
        client.wait(job, ("running",))
    for job in jobs:
        assert client.json("DELETE", f"/api/jobs/{job['id']}")[1]["state"] == "cancelled"
    assert client.wait(client.submit())["state"] == "done"
    metrics = client.ask("GET", "/metrics")[2].decode()
    assert 'wherefrom_jobs_ended_total{state="cancelled"} 3.0' in metrics
    assert "wherefrom_worker_deaths_total 0.0" in metrics


def test_one_worker_of_several_refuses_the_case__rejects_start(serve):
    with pytest.raises(InputError, match="no such case"):
        serve(command=[*COMMAND, "refuse"], workers=3)


def test_a_worker_inherits_no_secret__closed_form(serve, monkeypatch):
    for name in ("WHEREFROM_TOKEN", "WHEREFROM_HISTORY", "WHEREFROM_OTHER"):
        monkeypatch.setenv(name, "x")
    client = serve().client
    assert client.wait(client.submit(b"inherited"))["error"] == "WHEREFROM_OTHER"


def test_a_ring_between_looking_and_waiting_is_heard__limit():
    async def wait_after_ring():
        bell = Bell()
        seen = bell.rings
        await bell.ring()
        start = time.monotonic()
        await bell.wait(seen, 30)
        heard = time.monotonic() - start
        await bell.wait(bell.rings, 0.2)  # nobody rings
        return heard, time.monotonic() - start

    heard, both = asyncio.run(wait_after_ring())
    assert heard < 10
    assert both >= 0.2


@pytest.mark.slow
def test_uvicorn_with_several_processes_on_one_history__identity(
    case_file, world, address, tmp_path
):
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "wherefrom.web.asgi:app", "--factory"]
    command += ["--workers", "2", "--port", str(port), "--timeout-graceful-shutdown", "10"]
    command += ["--timeout-worker-healthcheck", "60"]  # opening a case keeps a worker busy
    (tmp_path / "history").write_text(address)
    asked = {
        "WHEREFROM_CASE": str(case_file),
        "WHEREFROM_TOKEN": TOKEN,
        "WHEREFROM_HISTORY_FILE": str(tmp_path / "history"),
        "WHEREFROM_DATA": str(tmp_path / "data"),
        "WHEREFROM_DEVICE": "cpu",
    }
    process = subprocess.Popen(command, env=os.environ | asked, start_new_session=True)
    client = Client(port, TOKEN)
    try:
        end = time.monotonic() + 4 * PATIENCE
        while True:
            try:
                if client.ask("GET", "/healthz")[0] == 200:
                    break
            except OSError:
                time.sleep(0.2)
            assert time.monotonic() < end
        image = (world.photos / "003.png").read_bytes()
        jobs = [client.submit(image) for _ in range(4)]
        assert [client.wait(job)["state"] for job in jobs] == ["done"] * 4
        assert all(job["summary"] for job in map(client.wait, jobs))
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE)
