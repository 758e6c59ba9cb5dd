"""Several services on one history in Postgres: each job is done once, and nothing is lost."""

import collections
import json
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import PATIENCE, Client
from service_process import killed_service
from test_service import hold

from wherefrom.core.errors import ArtifactError, InputError, MissingExtraError
from wherefrom.web.jobs import crew, databases
from wherefrom.web.jobs.databases import HistoryAwayError
from wherefrom.web.jobs.history import MAX_ATTEMPTS, JobHistory, JobState

psycopg = pytest.importorskip("psycopg")

LEASE = 2.0  # seconds
LONG = b"sleep 60"


@pytest.fixture
def pair(tmp_path, address, monkeypatch):
    """`pair(queue=...)` -> two services in processes of their own: (process, client) each."""
    monkeypatch.setenv("SCRIPT_LOG", str(tmp_path / "log"))
    processes = []

    def start(count=2, **settings):
        for _ in range(count):
            settings = {"lease_seconds": LEASE} | settings
            process, port = killed_service(tmp_path / "data", address, **settings)
            processes.append((process, Client(port)))
        return processes

    yield start
    for process, _ in processes:
        process.kill()
        process.join()


@pytest.fixture
def two(tmp_path, address, monkeypatch, serve):
    """`two(queue=...)` -> two services in threads of this process, which look often."""
    monkeypatch.setenv("SCRIPT_LOG", str(tmp_path / "log"))
    monkeypatch.setattr(crew, "POLL_SECONDS", 0.1)
    return lambda **settings: [serve(history=address, **settings) for _ in range(2)]


def log_of(tmp_path):
    """How often each job was begun, and ended."""
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    return [collections.Counter(job for what, job in lines if what == w) for w in ("begin", "end")]


def running(address):
    """Process that holds it, by job."""
    with psycopg.connect(address) as base:
        rows = base.execute("SELECT id, claim FROM wherefrom_jobs WHERE state = 'running'")
        return {job: int(claim.split(":")[-2]) for job, claim in rows}


def until(true):
    """What it gives once that is true; a busy machine is no failure."""
    end = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@pytest.mark.slow
def test_of_20_jobs_none_is_lost_or_done_twice_although_a_service_is_killed__identity(
    pair, tmp_path, address
):
    (first, one), (_, other) = pair()
    jobs = [(one, other)[n % 2].submit(b"sleep 0.4", name=f"{n}.png") for n in range(20)]
    held = until(lambda: [job for job, holder in running(address).items() if holder == first.pid])
    first.kill()
    first.join()
    ended = [other.wait(job) for job in jobs]
    assert [job["state"] for job in ended] == ["done"] * 20
    begun, done = log_of(tmp_path)
    assert done == {job["id"]: 1 for job in jobs}
    assert {job for job, times in begun.items() if times > 1} == set(held)
    assert len(held) == 1
    for job in jobs:
        assert other.ask("GET", f"/api/jobs/{job['id']}/report.html")[0] == 200


def test_both_services_work_and_each_tells_of_all__closed_form(two, address, tmp_path):
    one, other = (each.client for each in two())
    until(lambda: other.ask("GET", "/healthz")[0] == 200)
    one.wait(one.submit())  # by then the other has looked, and waits
    gate = tmp_path / "gate"
    jobs = [one.submit(hold(gate)), one.submit(hold(gate))]
    until(lambda: len(running(address)) == 2)  # each has one worker
    until(lambda: all(other.wait(j, ("running",))["step"]["step"] == "model" for j in jobs))
    with other.follow(jobs[0]) as stream:
        assert any(b'"state": "running"' in line for line in stream)  # it stops there
        gate.touch()
        assert b'"state": "done"' in stream.read()
    assert [one.wait(job)["state"] for job in jobs] == ["done"] * 2
    _, page = other.json("GET", "/api/jobs")
    assert [job["id"] for job in page["jobs"]][:2] == [jobs[1]["id"], jobs[0]["id"]]


def test_any_service_cancels_what_another_does__closed_form(two, tmp_path, address):
    one, other = (each.client for each in two())
    jobs = [one.submit(LONG), one.submit(LONG), one.submit(LONG)]
    until(lambda: len(running(address)) == 2)
    for job in reversed(jobs):
        status, told = other.json("DELETE", f"/api/jobs/{job['id']}")
        assert (status, told["state"]) == (200, "cancelled")
    gate = tmp_path / "gate"
    more = [one.submit(hold(gate)), one.submit(hold(gate))]
    until(lambda: len(running(address)) == 2)  # both workers are free for them
    gate.touch()
    assert [other.wait(job)["state"] for job in more] == ["done"] * 2
    begun, done = log_of(tmp_path)
    assert done == {job["id"]: 1 for job in more}
    assert begun[jobs[2]["id"]] == 0
    assert {one.wait(job)["state"] for job in jobs} == {"cancelled"}
    for client in (one, other):
        assert "wherefrom_worker_deaths_total 0.0" in client.ask("GET", "/metrics")[2].decode()


def test_the_queue_is_bounded_over_all_services__limit(two, address):
    one, other = (each.client for each in two(queue=3))
    for _ in range(2):
        one.submit(LONG)
    until(lambda: len(running(address)) == 2)
    with ThreadPoolExecutor(12) as pool:
        asked = [
            pool.submit((one, other)[n % 2].ask, "POST", "/api/jobs", b"ok") for n in range(12)
        ]
        statuses = sorted(answer.result()[0] for answer in asked)
    assert statuses == [202] * 3 + [503] * 9
    assert other.json("GET", "/healthz")[1]["waiting"] == 3


def test_a_service_that_is_stopped_leaves_its_job_to_the_other__identity(two, tmp_path, address):
    first, second = two()
    one, other = first.client, second.client
    gate = tmp_path / "gate"
    jobs = [one.submit(hold(gate)), one.submit(hold(gate))]
    until(lambda: len(running(address)) == 2)
    first.stop()
    gate.touch()
    assert [other.wait(job)["state"] for job in jobs] == ["done"] * 2
    history = JobHistory(tmp_path / "data", address)
    assert [history.get(job["id"]).attempts for job in jobs] == [1, 1]  # stopping is no fault
    history.close()


@pytest.mark.slow
def test_while_the_database_is_away_nothing_is_taken_and_then_work_goes_on__identity(
    pair, tmp_path, cluster
):
    _, (_, client) = pair()
    (jobs,) = (tmp_path / "data").glob("jobs-*")
    job = client.submit(b"sleep 3")
    client.wait(job, ("running",))
    pool = ThreadPoolExecutor(1)
    told = pool.submit(client.ask, "GET", f"/api/jobs/{job['id']}/events")
    cluster.stop()
    try:
        until(lambda: client.ask("GET", "/healthz")[0] == 503)
        status, headers, body = client.ask("POST", "/api/jobs", b"ok")
        assert (status, headers["Retry-After"]) == (503, "10")
        assert json.loads(body)["detail"] == "the history cannot be reached; come back soon"
        assert client.ask("GET", f"/api/jobs/{job['id']}")[0] == 503
        assert client.ask("GET", "/metrics")[0] == 200
        assert [entry.name for entry in jobs.iterdir()] == [job["id"]]
        until(lambda: log_of(tmp_path)[1])  # it ends meanwhile
        time.sleep(LEASE)  # and nobody renews its lease
    finally:
        cluster.start()
    until(lambda: client.ask("GET", "/healthz")[0] == 200)
    assert client.wait(job)["state"] == "done"
    assert log_of(tmp_path) == [{job["id"]: 1}] * 2  # the other, as blind, did not take it
    assert b'"state": "done"' in told.result()[2]
    pool.shutdown()
    assert client.wait(client.submit())["state"] == "done"


@pytest.fixture(params=["sqlite", "postgres"])
def history(request, tmp_path):
    """An open history in each database."""
    given = request.getfixturevalue("address") if request.param == "postgres" else None
    made = JobHistory(tmp_path / "data", given)
    yield made
    made.close()


def accepted(history):
    """The identity of a new job."""
    job = history.new_id()
    history.place(job).mkdir()
    history.accept(job, "x", 1)
    return job


def test_a_claim_holds_until_its_lease_ends_and_its_holder_is_gone__closed_form(history):
    job = accepted(history)
    taken = history.claim_next("first", 0.3)
    assert (taken.id, taken.state, taken.attempts) == (job, JobState.RUNNING, 1)
    assert history.claim_next("first", 0.3).id == job  # asked again, the same is told
    assert history.claim_next("second", 60) is None
    assert history.renew(["first"], 0.3) == {"first"}
    assert history.recover() == 0
    time.sleep(0.4)
    assert history.recover() == 1
    assert history.renew(["first"], 60) == set()
    assert history.claim_next("second", 60).attempts == 2
    assert not history.finish("first", JobState.DONE)  # it comes too late
    history.record_step("first", {"step": "late", "done": 0, "total": None})
    assert (history.get(job).state, history.get(job).step) == (JobState.RUNNING, None)
    assert history.finish("second", JobState.FAILED, error="a\0b")
    assert history.get(job).error == "a\N{REPLACEMENT CHARACTER}b"


def test_a_renewed_lease_lasts__closed_form(history):
    accepted(history)
    history.claim_next("mine", 0.5)
    for _ in range(3):  # longer than one lease
        time.sleep(0.2)
        assert history.renew(["mine"], 0.5) == {"mine"}
        assert history.recover() == 0


def test_what_was_begun_too_often_is_given_up__closed_form(history):
    job = accepted(history)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert history.claim_next(str(attempt), 0.01).attempts == attempt
        time.sleep(0.05)
        assert history.recover() == (1 if attempt < MAX_ATTEMPTS else 0)
    told = history.get(job)
    assert (told.state, told.error) == (JobState.FAILED, "it was begun 3 times and never finished")
    assert told.finished is not None


def test_many_that_ask_at_once_get_a_job_each__identity(history):
    jobs = {accepted(history) for _ in range(12)}
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda n: history.claim_next(f"claim {n}", 60), range(14)))
    assert {job.id for job in taken if job} == jobs
    assert len([job for job in taken if job]) == 12


def test_the_bound_holds_for_those_who_ask_at_once__limit(history):
    gate = threading.Barrier(4)

    def ask(_):
        gate.wait()
        return history.accept(history.new_id(), "x", 1, 3)

    with ThreadPoolExecutor(4) as pool:
        made = [job for job in pool.map(ask, range(20)) if job]
    assert (len(made), history.waiting()) == (3, 3)


def test_the_oldest_go_and_only_old_strays_are_swept__closed_form(history):
    jobs = [accepted(history) for _ in range(3)]
    for job in jobs:
        history.cancel(job)
    assert history.forget_oldest(1) == 2
    (history.jobs / "stray").mkdir()
    history.sweep(60)
    assert {entry.name for entry in history.jobs.iterdir()} == {jobs[2], "stray"}
    history.sweep(0)
    assert [entry.name for entry in history.jobs.iterdir()] == [jobs[2]]


def test_services_must_share_the_folder_and_the_format__rejects_history(tmp_path, address):
    first = JobHistory(tmp_path / "data", address)
    JobHistory(tmp_path / "data", address).close()
    first.close()
    with pytest.raises(InputError, match="keeps its uploads in a folder jobs-"):
        JobHistory(tmp_path / "other", address)
    with psycopg.connect(address) as base:
        base.execute("UPDATE wherefrom_history SET format = 99")
    with pytest.raises(ArtifactError, match="holds a history of format 99, this version reads 2"):
        JobHistory(tmp_path / "data", address)


def test_a_history_of_the_first_format__rejects_history(tmp_path):
    import sqlite3

    base = sqlite3.connect(tmp_path / "history.sqlite")
    base.execute("CREATE TABLE jobs (number INTEGER)")
    base.close()
    with pytest.raises(ArtifactError, match="holds a history of format 1, this version reads 2"):
        JobHistory(tmp_path)


def test_a_wrong_password_is_told_without_it__rejects_address(tmp_path, cluster):
    with pytest.raises(HistoryAwayError, match="cannot reach the history at") as told:
        JobHistory(tmp_path, cluster.address("postgres", password="hunter22"))  # noqa: S106
    assert "hunter22" not in str(told.value)
    assert len(str(told.value).splitlines()) == 1
    with pytest.raises(HistoryAwayError, match='database "nowhere" does not exist'):
        JobHistory(tmp_path, cluster.address("nowhere"))


def test_what_was_accepted_is_on_the_servers_disk__closed_form(tmp_path, address):
    with psycopg.connect(address, autocommit=True) as base:
        base.execute("ALTER ROLE wherefrom SET synchronous_commit = off")
    history = JobHistory(tmp_path, address)
    with history._base.reading() as base:
        assert base.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
    history.close()
    with psycopg.connect(address, autocommit=True) as base:
        base.execute("ALTER ROLE wherefrom RESET synchronous_commit")


@pytest.mark.parametrize("written", [True, False])
def test_when_it_is_not_known_whether_a_job_was_written_its_upload_is_kept__identity(
    serve, monkeypatch, written
):
    running, accept = serve(), JobHistory.accept

    def lost(*given):
        if written:
            accept(*given)
        raise HistoryAwayError("the connection was lost")

    with monkeypatch.context() as patched:
        patched.setattr(JobHistory, "accept", lost)
        status, told = running.client.json("POST", "/api/jobs", b"ok")
    assert (status, told["detail"]) == (503, HistoryAwayError.for_clients)
    (upload,) = running.service.history.jobs.iterdir()
    if written:
        running.client.submit()  # it wakes the worker
        assert running.client.wait({"id": upload.name})["state"] == "done"
    running.stop()
    serve()
    assert upload.exists() == written  # else it was swept


def test_a_full_disk_of_the_database_is_no_absence__rejects_upload():
    from sqlalchemy.exc import OperationalError

    with (
        pytest.raises(InputError, match="No space left on device; make room") as told,
        databases._postgres_errors("the history at h/b"),
    ):
        raise OperationalError("", {}, psycopg.errors.DiskFull("No space left on device\nHINT"))
    assert not isinstance(told.value, HistoryAwayError)


def test_without_the_extra_the_pip_line_is_told__rejects_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'wherefrom[postgres]'")):
        JobHistory(tmp_path, "postgresql://u@127.0.0.1/base")
