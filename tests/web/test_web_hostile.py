"""Bad requests: too large, too slow, too many, from elsewhere, without the token."""

import contextlib
import json
import socket
import time

import pytest

TOKEN = "correct horse battery"  # noqa: S105 (of the test only)
PAGE = "/"


def raw(port, data, *, wait=20.0):
    """What comes back for these very bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        connection.sendall(data)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


def test_a_body_that_is_too_large_is_cut_off_and_nothing_is_kept__rejects_upload(serve):
    running = serve(max_upload_mib=1)
    client, much = running.client, b"x" * (2**20 + 1)
    status, told = client.json("POST", "/api/jobs?name=x", much)
    assert (status, told["detail"]) == (413, "the file is larger than 1 MiB")
    chunked = (
        f"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n"
        f"Transfer-Encoding: chunked\r\n\r\n{len(much):x}\r\n"
    ).encode()
    assert b" 413 " in raw(client.port, chunked + much + b"\r\n0\r\n\r\n")
    lying = f"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {10**15}\r\n\r\n"
    assert b" 413 " in raw(client.port, lying.encode())
    assert client.json("POST", "/api/jobs", b"")[0] == 400
    assert list((running.where.data / "jobs").iterdir()) == []


def test_slow_clients_and_huge_headers_are_let_go__rejects_request(serve):
    port = serve(upload_seconds=0.2).client.port
    head = b"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nfew"
    assert b" 408 " in raw(port, head)
    huge = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 2_000_000
    with contextlib.suppress(ConnectionResetError):  # it may let go before all is sent
        assert b" 400 " in raw(port, huge)


def test_a_full_queue_says_come_back__rejects_upload(serve):
    client = serve(queue=2).client
    first = client.submit(b"sleep 60")
    client.wait(first, ("running",))
    client.submit()
    client.submit()
    status, headers, data = client.ask("POST", "/api/jobs", b"ok")
    assert (status, headers["Retry-After"]) == (503, "30")
    assert json.loads(data)["detail"] == "2 images wait already; come back"


def test_other_websites_may_not_ask__rejects_origin(serve):
    client = serve().client
    here = f"http://127.0.0.1:{client.port}"
    for headers, status in (
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": here}, 202),
        ({"Sec-Fetch-Site": "same-origin"}, 202),
        ({"Host": "evil.example"}, 421),
        ({"Host": f"localhost:{client.port}"}, 202),
    ):
        assert client.ask("POST", "/api/jobs", b"ok", **headers)[0] == status, headers
    assert client.ask("GET", "/api/jobs", Host="evil.example")[0] == 421


def test_with_a_token_nothing_is_told_without_it__rejects_request(serve):
    client = serve(token=TOKEN).client
    job = client.submit()
    client.wait(job)
    client.token = None
    paths = ["/api/jobs", f"/api/jobs/{job['id']}", f"/api/jobs/{job['id']}/events", "/metrics"]
    paths += [f"/api/jobs/{job['id']}/report.html", "/api/openapi.json", "/api/service"]
    for path in paths:
        assert client.ask("GET", path)[0] == 401, path
        assert client.ask("GET", path, Authorization="Bearer wrong")[0] == 401, path
        assert client.ask("GET", path, Cookie=f"wherefrom_session={TOKEN}")[0] == 401, path
    assert client.ask("POST", "/api/jobs", b"ok")[0] == 401
    assert client.ask("GET", PAGE)[0] == client.ask("GET", "/healthz")[0] == 200
    kind = {"Content-Type": "application/json"}
    assert client.ask("POST", "/api/session", json.dumps({"token": "wrong"}), **kind)[0] == 401
    status, headers, _ = client.ask("POST", "/api/session", json.dumps({"token": TOKEN}), **kind)
    assert status == 204
    cookie = headers["Set-Cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert client.ask("GET", "/api/jobs", Cookie=cookie.partition(";")[0])[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/jobs/..%2f..%2fhistory.sqlite",
        "/api/jobs/../../history.sqlite",
        "/api/jobs/" + "0" * 32,
        "/static/..%2fapp.py",
        "/static/app.py",
        "/docs",
        "/api/jobs/" + "0" * 32 + "/report.html",
    ],
)
def test_paths_lead_nowhere_else__rejects_path(shared, path):
    assert shared.ask("GET", path)[0] in (404, 422)


@pytest.fixture
def shared(serve):
    return serve().client


def test_every_answer_carries_the_headers_that_protect_it__closed_form(shared):
    for path in ("/", "/api/jobs", "/static/app.js", "/nothing"):
        _, headers, _ = shared.ask("GET", path)
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], path
        assert headers["Referrer-Policy"] == "no-referrer", path


def test_the_interface_describes_itself_and_its_health__closed_form(shared):
    _, told = shared.json("GET", "/api/openapi.json")
    assert told["openapi"].startswith("3.")
    assert {"/api/jobs", "/api/jobs/{job}", "/api/jobs/{job}/events"} <= told["paths"].keys()
    assert "requestBody" in told["paths"]["/api/jobs"]["post"]
    status, health = shared.json("GET", "/healthz")
    assert (status, health["healthy"]) == (200, True)
    shared.wait(shared.submit())
    time.sleep(0.05)
    metrics = shared.ask("GET", "/metrics")[2].decode()
    assert 'wherefrom_jobs_ended_total{state="done"} 1.0' in metrics
    assert 'wherefrom_jobs{state="done"} 1.0' in metrics
