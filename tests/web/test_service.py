"""What the service promises: nothing accepted is lost, nothing unbounded is taken."""

import contextlib
import errno
import io
import json
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from conftest import PATIENCE, Client
from service_process import COMMAND, killed_service

from wherefrom.core.errors import InputError
from wherefrom.web.jobs import crew
from wherefrom.web.jobs.databases import Database
from wherefrom.web.jobs.history import MAX_ATTEMPTS, JobHistory, JobState
from wherefrom.web.service import shown_name
from wherefrom.web.settings import check_token


def hold(gate):
    """An upload that is looked at until there is a file `gate`."""
    return f"hold {gate}".encode()


def events_of(client, job):
    """The jobs that the stream of events tells, until it ends."""
    status, headers, data = client.ask("GET", f"/api/jobs/{job['id']}/events")
    assert (status, headers.get_content_type()) == (200, "text/event-stream")
    blocks = [block.splitlines() for block in data.decode().replace("\r", "").split("\n\n")]
    told = [dict(line.split(": ", 1) for line in b if not line.startswith(":")) for b in blocks]
    return [json.loads(t["data"]) for t in told if t.get("event") == "job"]


def test_an_image_is_queued_followed_and_answered__closed_form(serve):
    client = serve().client
    job = client.submit(b"sleep 0.3", name="my%20cat.png")
    assert (job["name"], job["state"]) == ("my cat.png", "queued")
    told = events_of(client, job)
    states = [t["state"] for t in told]
    assert states[-1] == "done"
    assert "running" in states
    steps = [t["step"]["step"] for t in told if t["step"]]
    assert steps[0] == "model"
    assert told[-1]["summary"][0]["sentence"] == "Mine."
    _, headers, page = client.ask("GET", f"/api/jobs/{job['id']}/report.html?download=true")
    assert b"a report" in page
    assert "my%20cat-report.html" in headers["Content-Disposition"]
    assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert client.json("GET", f"/api/jobs/{job['id']}/report.json")[1] == {"image": "my cat.png"}


def test_jobs_run_in_the_order_in_which_they_came__closed_form(serve):
    client = serve().client
    jobs = [client.submit(name=f"{n}.png") for n in range(6)]
    ended = [client.wait(job) for job in jobs]
    assert [job["finished"] for job in ended] == sorted(job["finished"] for job in ended)
    _, page = client.json("GET", "/api/jobs?count=4")
    assert [job["name"] for job in page["jobs"]] == ["5.png", "4.png", "3.png", "2.png"]
    _, rest = client.json("GET", f"/api/jobs?count=4&before={page['before']}")
    assert [job["name"] for job in rest["jobs"]] == ["1.png", "0.png"]
    assert rest["before"] is None


def test_cancel_ends_waiting_and_running_jobs_and_the_service_goes_on__closed_form(serve):
    client = serve().client
    running, waiting = client.submit(b"sleep 60"), client.submit()
    client.wait(running, ("running",))
    for job in (waiting, running):
        status, told = client.json("DELETE", f"/api/jobs/{job['id']}")
        assert (status, told["state"]) == (200, "cancelled")
    assert client.wait(client.submit())["state"] == "done"
    assert client.json("DELETE", f"/api/jobs/{running['id']}")[1]["state"] == "cancelled"


def test_a_file_that_kills_its_process_fails_alone__rejects_file(serve):
    running = serve()
    deadly, good = running.client.submit(b"die"), running.client.submit()
    assert running.client.wait(good)["state"] == "done"
    told = running.client.wait(deadly)
    assert told["state"] == "failed"
    assert told["error"] == "the process that inspected it died (signal 9)"
    metrics = running.client.ask("GET", "/metrics")[2].decode()
    assert f"wherefrom_worker_deaths_total {float(MAX_ATTEMPTS)}" in metrics


def test_a_file_that_takes_too_long_is_given_up__rejects_file(serve):
    client = serve(job_seconds=0.3).client
    assert "longer than 0.3 seconds" in client.wait(client.submit(b"sleep 60"))["error"]
    assert client.wait(client.submit(b"refuse", name="a.png"))["error"] == "a.png: is not an image"


def test_stopping_loses_no_job_and_the_next_service_does_them__identity(serve, tmp_path):
    first, gate = serve(), tmp_path / "gate"
    jobs = [first.client.submit(hold(gate)), first.client.submit(), first.client.submit()]
    first.client.wait(jobs[0], ("running",))
    first.stop()
    gate.touch()
    second = serve()
    assert [second.client.wait(job)["state"] for job in jobs] == ["done"] * 3


def test_killed_with_9_it_loses_no_accepted_job__identity(serve, tmp_path):
    process, port = killed_service(tmp_path / "data")
    client, gate = Client(port), tmp_path / "gate"
    jobs = [client.submit(hold(gate)), *(client.submit() for _ in range(4))]
    client.wait(jobs[0], ("running",))
    (tmp_path / "data" / "jobs" / "half").mkdir()  # an upload that was never accepted
    process.kill()
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL
    gate.touch()
    second = serve()
    assert second.again == 1
    assert [second.client.wait(job)["state"] for job in jobs] == ["done"] * 5
    assert not (tmp_path / "data" / "jobs" / "half").exists()


def test_it_stops_on_a_signal_while_a_stream_is_open__closed_form(tmp_path):
    process, port = killed_service(tmp_path / "data")
    client = Client(port)
    job = client.submit(b"sleep 60")
    client.wait(job, ("running",))
    with client.follow(job) as stream:
        process.terminate()
        assert b'"state": "running"' in stream.read()
    process.join(PATIENCE)
    assert process.exitcode == 0
    history = JobHistory(tmp_path / "data")
    assert (history.get(job["id"]).state, history.get(job["id"]).attempts) == (JobState.QUEUED, 0)
    history.close()


def test_two_services_on_one_history__rejects_second(serve):
    serve()
    with pytest.raises(InputError, match="another service uses"):
        serve()


def test_a_case_that_cannot_be_opened__rejects_start(serve):
    with pytest.raises(InputError, match="no such case"):
        serve(command=[*COMMAND, "refuse"])


def test_a_job_that_was_begun_too_often_is_given_up__closed_form(tmp_path):
    history = JobHistory(tmp_path)
    job = history.new_id()
    history.place(job).mkdir()
    history.accept(job, "x", 1)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert history.claim_next(f"claim {attempt}", 60).attempts == attempt
        assert history.recover() == 0  # the lease goes on
        again = 1 if attempt < MAX_ATTEMPTS else 0
        assert history.recover(everything=True) == again
    assert history.get(job).state is JobState.FAILED
    assert not history.finish("claim 3", JobState.DONE)
    assert not history.cancel(job)
    assert history.get(job).state is JobState.FAILED  # an end is an end
    assert history.forget_oldest(0) == 1
    assert not history.place(job).exists()
    history.close()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("a\\b\\c.png", "c.png"),
        ("\x1b[2J\n", "_[2J_"),
        ("", "image"),
    ],
)
def test_names_are_shown_and_never_paths__rejects_path(given, shown):
    assert shown_name(given) == shown
    assert len(shown_name("x" * 5000)) == 200


def test_only_this_machine_may_ask_without_a_token__rejects_host():
    check_token("127.0.0.1", None)
    check_token("0.0.0.0", "x" * 16)  # noqa: S104
    with pytest.raises(InputError, match="others can reach the service"):
        check_token("0.0.0.0", None)  # noqa: S104
    with pytest.raises(InputError, match="at least 16"):
        check_token("127.0.0.1", "short")


def test_a_full_disk_takes_nothing_and_says_so__rejects_upload(serve, monkeypatch):
    running = serve()

    def full(_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    status, told = running.client.json("POST", "/api/jobs?name=x", b"ok")
    monkeypatch.undo()
    assert (status, told["detail"]) == (507, "the upload cannot be kept: No space left on device")
    assert running.client.json("GET", "/api/jobs")[1]["jobs"] == []
    assert list((running.where.data / "jobs").iterdir()) == []
    time.sleep(0)
    assert running.client.wait(running.client.submit())["state"] == "done"


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_fills_during_an_upload_keeps_the_jobs_before_it__rejects_upload(
    serve, monkeypatch
):
    running = serve()
    client = running.client
    before = client.wait(client.submit())

    class Filling(io.FileIO):
        def write(self, data):
            raise FULL

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda path, mode: Filling(path, "xb"))
        status, headers, data = client.ask("POST", "/api/jobs", b"ok")
    assert (status, headers["Retry-After"]) == (507, "300")
    assert json.loads(data)["detail"] == "the upload cannot be kept: No space left on device"
    assert [entry.name for entry in (running.where.data / "jobs").iterdir()] == [before["id"]]
    kept = client.json("GET", f"/api/jobs/{before['id']}")[1]
    assert kept | {"step": None} == before | {"step": None}  # a done job's step goes a bit later
    assert client.ask("GET", f"/api/jobs/{before['id']}/report.html")[0] == 200


def test_a_history_on_a_full_disk_stops_nothing_for_good__identity(serve, monkeypatch):
    monkeypatch.setattr(crew, "RETRY_SECONDS", 0.1)
    client = serve(keep=1).client
    client.wait(client.submit())
    first, second = client.submit(b"sleep 0.5"), client.submit()
    client.wait(first, ("running",))

    @contextlib.contextmanager
    def full(base, **_):
        with base._errors():
            raise sqlite3.OperationalError("database or disk is full")
        yield

    with monkeypatch.context() as patched:
        patched.setattr(Database, "changing", full)
        end = time.monotonic() + 30
        while client.ask("GET", "/healthz")[0] != 503:  # the end of the first is not written
            assert time.monotonic() < end
            time.sleep(0.05)
        status, told = client.json("POST", "/api/jobs", b"ok")
        assert (status, "disk is full" in told["detail"]) == (507, True)
        assert client.json("DELETE", f"/api/jobs/{second['id']}")[0] == 507
        assert client.json("GET", f"/api/jobs/{second['id']}")[1]["state"] == "queued"
    assert [client.wait(job)["state"] for job in (first, second)] == ["done", "done"]
    end = time.monotonic() + 30
    while client.ask("GET", "/healthz")[0] != 200:  # it is looked after once a second
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_is_accepted_is_told_although_old_ones_stay__closed_form(serve, monkeypatch):
    client = serve(keep=1).client

    def full(*_):
        raise InputError("cannot use the history: database or disk is full")

    monkeypatch.setattr(JobHistory, "forget_oldest", full)
    assert client.wait(client.submit())["state"] == "done"


def test_a_second_process_is_refused_and_harms_no_job_of_the_first__rejects_second(tmp_path, serve):
    data = tmp_path / "data"
    process, port = killed_service(data)
    try:
        client = Client(port)
        job = client.submit(hold(tmp_path / "gate"))
        (data / "jobs" / "uploading").mkdir()  # the first one's, not yet accepted
        (tmp_path / "same").symlink_to(data)
        for place in (data, tmp_path / "same"):
            with pytest.raises(InputError, match="another service uses"):
                serve(data=place)
        assert (data / "jobs" / "uploading").exists()
        (tmp_path / "gate").touch()
        assert client.wait(job)["state"] == "done"
    finally:
        process.kill()
        process.join()
