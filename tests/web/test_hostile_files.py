"""Hostile files and names: what the worker answers, what is served, what a page makes of it."""

import html
import io
import json
import struct
import zlib
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from PIL import GifImagePlugin, Image

from wherefrom.case.result import QUESTIONS, Claim, ImageFacts, Inspection, QuestionAnswer, State
from wherefrom.core.limits import Limits
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data.images.items import decode_image
from wherefrom.report.case.page import PAGE, WHOLE, write_inspection
from wherefrom.web.jobs.worker import _work

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SETTINGS = {"heat": False, "max_bytes": 32 * 2**20, "max_pixels": 50_000_000}
HTML = b"<!DOCTYPE html><script>alert(1)</script>"
FRAMES = 20_000
EVIL = '"><script>alert(1)</script>'


def chunk(kind, data):
    """One chunk of a PNG."""
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def png(side, *chunks):
    """A grey PNG that declares side x side pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return SIGNATURE + head + b"".join(chunks) + chunk(b"IEND", b"")


def tiff(side, tile):
    """A grey TIFF that declares side x side pixels in one deflated tile."""
    rows = [(256, side), (257, side), (258, 8), (259, 8), (262, 1), (277, 1)]
    rows += [(322, tile), (323, tile), (324, 8 + 2 + 12 * 10 + 4), (325, len(BOMB))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in rows)
    head = b"II*\0" + struct.pack("<IH", 8, len(rows))
    return head + entries + struct.pack("<I", 0) + BOMB


def gif(side, frames=1):
    """A GIF whose screen is one pixel and whose frames are not."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02D\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame * frames + b";"


BOMB = zlib.compress(bytes(16 * 2**20), 9)  # 16 KiB
PIXELS = chunk(b"IDAT", zlib.compress(bytes(4 * 5)))
GOOD = png(4, PIXELS)
REFUSED = {
    "50000x50000 PNG": (png(50_000, PIXELS), "is too large"),
    "10000x10000 PNG": (png(10_000, PIXELS), "at most 50000000 pixels"),
    "50000x50000 PPM": (b"P6 50000 50000 255\n", "is too large"),
    "50000x50000 TIFF": (tiff(50_000, 16), "is too large"),
    "TIFF in a huge tile": (tiff(4, 30_000), "its tiles hold over"),
    "GIF with a huge frame": (gif(65_535), "is too large"),
    "JavaScript as GIF": (b"GIF89a/*\0\0*/=1;alert(1)", "is damaged"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>', "is an SVG drawing"),
    "HTML": (HTML, "is not an image"),
    "ZIP": (b"PK\x03\x04" + bytes(60), "is not an image"),
    "one byte": (b"\0", "holds nothing but zero bytes"),
}


@pytest.mark.parametrize("called", REFUSED)
def test_a_hostile_file_fails_in_one_line__rejects_file(called, tmp_path):
    data, reason = REFUSED[called]
    (tmp_path / "upload").write_bytes(data)
    job = {"path": str(tmp_path / "upload"), "name": "x.png", "out": str(tmp_path)}
    told = []
    opened = SimpleNamespace(case=SimpleNamespace(path=tmp_path / "case.toml", parts=()))
    _work(job, opened, SETTINGS, lambda **message: told.append(message))
    ((line,),) = (message.values() for message in told)
    assert line.startswith("x.png: ")
    assert reason in line
    assert len(line.splitlines()) == 1
    assert "script" not in line
    assert [entry.name for entry in tmp_path.iterdir()] == ["upload"]


@pytest.mark.parametrize(
    "chunks",
    [
        (chunk(b"zTXt", b"a\0\0" + BOMB), PIXELS),
        (chunk(b"iCCP", b"a\0\0" + BOMB), PIXELS),
        (PIXELS, chunk(b"zTXt", b"a\0\0" + BOMB)),
    ],
)
def test_metadata_that_inflates_is_left_out__limit(chunks):
    picture = decode_image(png(4, *chunks), Path("x.png"))
    assert picture.pixels.shape == (1, 4, 4)
    assert "metadata left out" in picture.notes[0]


def test_of_pixels_that_inflate_only_those_declared_are_made__limit():
    found = decode_image(png(4, chunk(b"IDAT", BOMB)), Path("x.png"))
    assert found.pixels.shape == (1, 4, 4)


def test_of_very_many_frames_only_the_first_is_decoded__limit(monkeypatch):
    seen, seek = [], GifImagePlugin.GifImageFile._seek
    monkeypatch.setattr(
        GifImagePlugin.GifImageFile, "_seek", lambda *a, **k: (seen.append(a[1]), seek(*a, **k))[1]
    )
    found = decode_image(gif(1, FRAMES), Path("x.gif"), limits=Limits(2**20))
    assert "first of several frames" in found.notes
    assert len(seen) <= 3
    moving = io.BytesIO()
    frames = [Image.new("RGB", (4, 4), (n, 0, 0)) for n in range(200)]
    frames[0].save(moving, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert decode_image(moving.getvalue(), Path("x.webp")).pixels.max() == 0


def inspection(name, data):
    """Answers nobody gave, about a file of this name that claims to be a page."""
    image = ImageFacts(name, digest_bytes(data), len(data), "PNG", 4, 4, 1, True, (EVIL,))
    answers = tuple(
        QuestionAnswer(question, State.UNASKED, f"Not asked: {EVIL}") for question in QUESTIONS
    )
    claims = (Claim("text in the file", EVIL, "</style><script>alert(2)</script>"),)
    return Inspection(image, {"name": EVIL, "digest": ""}, answers, claims, (EVIL,), {})


@pytest.mark.parametrize("tail", [HTML, b"PK\x03\x04evil", b"<svg onload=alert(1)>"])
def test_a_polyglot_is_never_served_as_it_came__rejects_injection(shared, tail, tmp_path):
    client, data = shared.client, GOOD + tail
    job = client.submit(b"ok " + data, name=quote(f"{EVIL}.html"))
    assert client.wait(job)["name"] == "script>.html"  # what stands behind the last slash
    (tmp_path / "x").write_bytes(data)
    place = shared.where.data / "jobs" / job["id"]
    write_inspection(place, inspection(f"{EVIL}.html", data), tmp_path / "x")
    base = f"/api/jobs/{job['id']}"
    kinds = {
        base: "application/json",
        f"{base}/events": "text/event-stream",
        "/api/jobs": "application/json",
        f"{base}/report.json": "application/json",
        f"{base}/report.html": "text/html",
        f"{base}/report.html?download=true": "text/html",
    }
    for path, kind in kinds.items():
        _, headers, body = client.ask("GET", path)
        assert headers.get_content_type() == kind, path
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["Content-Security-Policy"].count("default-src 'none'") == 1, path
        assert tail not in body, path
        if kind == "text/html":
            assert headers["Content-Security-Policy"].startswith("sandbox;")
            assert b"<script" not in body
            assert html.escape(EVIL).encode() in body.replace(b"&#34;", b"&quot;")
        if "download" in path:
            assert headers["Content-Disposition"].startswith("attachment;")
    for path in (f"{base}/upload", f"{base}/report.svg", f"/jobs/{job['id']}/upload"):
        assert client.ask("GET", path)[0] == 404, path
    _, headers, body = client.ask("GET", f"{base}/report.html", Range="bytes=0-3,9-12")
    assert headers["Content-Security-Policy"].startswith("sandbox;")
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("..", ".."),
        ("a\0b\r\nSet-Cookie: x.png", "a_b__Set-Cookie: x.png"),
        ("cat\u202egnp.exe", "cat_gnp.exe"),
        ('"><img src=x onerror=alert(1)>', '"><img src=x onerror=alert(1)>'),
        ("n" * 1000, "n" * 200),
    ],
)
def test_names_reach_no_path_and_no_header__rejects_injection(shared, given, shown):
    client, uploads = shared.client, shared.where.data / "jobs"
    before = set(uploads.iterdir())
    job = client.wait(client.submit(name=quote(given)))
    assert (job["name"], job["state"]) == (shown, "done")
    assert set(uploads.iterdir()) - before == {uploads / job["id"]}
    base = f"/api/jobs/{job['id']}/report.json"
    _, headers, body = client.ask("GET", f"{base}?download=true")
    assert json.loads(body) == {"image": shown}
    assert "Set-Cookie" not in headers
    told = headers["Content-Disposition"]
    assert told.startswith("attachment; filename")
    assert not set('"<>/\\') & set(told.partition("=")[2].strip('"'))


def test_names_are_text_in_the_page_of_the_service__rejects_injection():
    text = (files("wherefrom.web") / "page" / "app.js").read_text()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert way not in text, way


def test_the_json_beside_a_page_is_the_same_text__identity(tmp_path):
    (tmp_path / "x").write_bytes(GOOD)
    write_inspection(tmp_path, inspection(EVIL, GOOD), tmp_path / "x")
    assert json.loads((tmp_path / WHOLE).read_text())["image"]["name"] == EVIL
    assert "<script" not in (tmp_path / PAGE).read_text()
