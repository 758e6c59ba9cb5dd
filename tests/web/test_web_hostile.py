"""Bad requests: too large, too slow, too many, from elsewhere, without the token."""

import contextlib
import json
import socket
import time

import pytest

from wherefrom.web import guard, server

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


def let_go(port, head, byte):
    """Whether the service ends, within 15 s, a connection on which bytes trickle after `head`."""
    end = time.monotonic() + 15
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < end:
                connection.sendall(byte)
                time.sleep(0.05)
    return time.monotonic() < end


def test_headers_that_trickle_are_let_go__rejects_request(serve, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.25)
    port = serve().client.port
    whole = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    unread = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999\r\n\r\n"
    for before in (b"", whole, unread):  # the first request, the next one, a body not asked for
        assert let_go(port, before, b"G"), before


def test_a_body_that_trickles_is_given_up__rejects_upload(serve):
    running = serve(upload_seconds=0.25)
    head = b"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n\r\n"
    assert let_go(running.client.port, head, b"x")
    assert list((running.where.data / "jobs").iterdir()) == []


def test_a_stream_of_events_outlives_the_limit_on_headers__closed_form(serve, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    client = serve().client
    job = client.submit(b"sleep 0.6")
    assert b'"state": "done"' in client.ask("GET", f"/api/jobs/{job['id']}/events")[2]


def test_a_body_without_end_is_cut_off__rejects_upload(serve):
    running = serve(max_upload_mib=1)
    chunk = b"%x\r\n" % 2**16 + bytes(2**16) + b"\r\n"
    for path in (b"/api/jobs", b"/api/session", b"/healthz"):
        head = b"POST " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        head += b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        with socket.create_connection(("127.0.0.1", running.client.port)) as connection:
            connection.sendall(head)
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < 64 * 2**20:  # what the buffers of the sockets hold is far less
                    connection.sendall(chunk)
                    sent += len(chunk)
        assert sent < 64 * 2**20, path
    assert list((running.where.data / "jobs").iterdir()) == []


def test_bodies_that_are_no_uploads_are_small_and_soon__rejects_request(serve, monkeypatch):
    monkeypatch.setattr(guard, "SMALL_SECONDS", 0.2)
    port = serve(token=TOKEN).client.port
    head = "POST /api/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    large = guard.SMALL_BODY + 1
    assert b" 408 " in raw(port, f"{head}Content-Length: 100\r\n\r\n{{".encode())
    assert b" 413 " in raw(port, f"{head}Content-Length: {large}\r\n\r\n{' ' * large}".encode())


def test_a_client_that_leaves_leaves_nothing__rejects_upload(serve, capfd):
    running = serve()
    head = b"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nfew"
    jobs = running.where.data / "jobs"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", running.client.port)) as connection:
            connection.sendall(head)
            wait_for(lambda: list(jobs.iterdir()))
        wait_for(lambda: not list(jobs.iterdir()))
    assert running.client.wait(running.client.submit())["state"] == "done"
    assert "Traceback" not in capfd.readouterr().err


def wait_for(true):
    """Until it is true; a busy machine is no failure."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_packed_body_is_not_taken__rejects_upload(shared):
    status, told = shared.client.json(
        "POST", "/api/jobs", b"\x1f\x8b", **{"Content-Encoding": "gzip"}
    )
    assert (status, told["detail"].partition(";")[0]) == (415, "the body is compressed")
    assert shared.client.json("GET", "/api/jobs")[1]["jobs"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/jobs?name=" + "<script>" * 625, b"ok", 422),
        ("GET", "/api/jobs?before=" + "9" * 30, None, 422),
        ("GET", "/api/jobs?count=%3Cscript%3E", None, 422),
        ("GET", "/api/jobs/%3Cscript%3E", None, 422),
        ("POST", "/api/session", b'{"token": "\\ud800<script>"}', 422),
        ("POST", "/api/session", b'{"token": NaN}', 422),
        ("POST", "/api/session", b'{"<script>": 1}', 422),
        ("POST", "/api/session", b"[" * 9000, 400),
        ("PUT", "/api/jobs", b"<script>", 405),
    ],
)
def test_a_wrong_request_is_told_in_one_line__rejects_request(shared, method, path, body, status):
    kind = {"Content-Type": "application/json"}
    found, headers, data = shared.client.ask(method, path, body, **kind)
    assert found == status
    assert headers.get_content_type() == "application/json"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert len(json.loads(data)["detail"].splitlines()) == 1
    assert b"<script>" not in data


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
    assert "Secure" not in cookie
    kind["Origin"] = f"https://127.0.0.1:{client.port}"  # behind a proxy that speaks TLS
    _, headers, _ = client.ask("POST", "/api/session", json.dumps({"token": TOKEN}), **kind)
    assert "; Secure" in headers["Set-Cookie"]
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
    assert shared.client.ask("GET", path)[0] in (404, 422)


def test_every_answer_carries_the_headers_that_protect_it__closed_form(shared):
    for path in ("/", "/api/jobs", "/static/app.js", "/nothing"):
        _, headers, _ = shared.client.ask("GET", path)
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], path
        assert headers["Referrer-Policy"] == "no-referrer", path


def test_the_interface_describes_itself_and_its_health__closed_form(serve):
    client = serve().client
    _, told = client.json("GET", "/api/openapi.json")
    assert told["openapi"].startswith("3.")
    assert {"/api/jobs", "/api/jobs/{job}", "/api/jobs/{job}/events"} <= told["paths"].keys()
    assert "requestBody" in told["paths"]["/api/jobs"]["post"]
    status, health = client.json("GET", "/healthz")
    assert (status, health["healthy"]) == (200, True)
    client.wait(client.submit())
    time.sleep(0.05)
    metrics = client.ask("GET", "/metrics")[2].decode()
    assert 'wherefrom_jobs_ended_total{state="done"} 1.0' in metrics
    assert 'wherefrom_jobs{state="done"} 1.0' in metrics
