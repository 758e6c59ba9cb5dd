"""Export of the history, deleting, and what the page shows of a job."""

import csv
import io
import json
import zipfile
from types import SimpleNamespace

import pytest

from wherefrom.web.export import name_in_archive


@pytest.fixture
def client(serve):
    """A service with three ended jobs."""
    client = serve().client
    for body, name in ((b"ok", "=1+1.png"), (b"refuse", "b.png"), (b"ok", "..%2F..%2Fc%20d.png")):
        client.wait(client.submit(body, name=name.replace("+", "%2B")))
    return client


def test_the_table_as_csv__closed_form(client):
    status, headers, data = client.ask("GET", "/api/export.csv")
    assert (status, headers.get_content_type()) == (200, "text/csv")
    assert "attachment" in headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    assert [row["image"] for row in rows] == ["c d.png", "b.png", "'=1+1.png"]
    assert [row["model"] for row in rows] == ["found", "", "found"]
    assert rows[1]["error"] == "b.png: is not an image"
    assert rows[0]["sentences"] == "Mine."


def test_the_filtered_table__closed_form(client):
    for asked, count in (
        ("state=found", 2),
        ("state=found&question=origin", 0),
        ("question=model", 3),
        ("name=B.PNG", 1),
    ):
        told = client.json("GET", f"/api/export.json?{asked}")[1]
        assert len(told["jobs"]) == count, asked
    assert client.ask("GET", "/api/export.exe")[0] == 422


def test_the_reports_as_zip__roundtrip(client):
    with zipfile.ZipFile(io.BytesIO(client.ask("GET", "/api/export.zip")[2])) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert json.loads(archive.read(names[1])) == {"image": "c d.png"}
    folders = ["000003-c_d", "000001-1_1"]
    assert names == [f"{f}/{n}" for f in folders for n in ("report.html", "inspection.json")]


@pytest.mark.parametrize(
    "name", ["../../x.png", "/etc/x.png", "C:\\x.png", "a\0b.png", "ä.png", ""]
)
def test_names_in_the_zip_stay_inside__rejects_path(name):
    inside = name_in_archive(SimpleNamespace(number=7, name=name))
    assert inside.startswith("000007-")
    assert set(inside) <= set("abcdefghijklmnopqrstuvwxyzCimage0123456789_-")


def test_a_deleted_job_leaves_nothing__closed_form(serve):
    running = serve()
    client = running.client
    done, busy = client.wait(client.submit()), client.submit(b"sleep 60")
    for file, kind in (("thumbnail.png", "image/png"), ("pictures.json", "application/json")):
        status, headers, _ = client.ask("GET", f"/api/jobs/{done['id']}/{file}")
        assert (status, headers.get_content_type()) == (200, kind)
    for job, state in ((done, "done"), (busy, "cancelled")):
        status, told = client.json("DELETE", f"/api/jobs/{job['id']}?remove=true")
        assert (status, told["state"]) == (200, state)
        assert client.ask("GET", f"/api/jobs/{job['id']}")[0] == 404
    assert list((running.where.data / "jobs").iterdir()) == []
    assert client.ask("DELETE", f"/api/jobs/{done['id']}?remove=true")[0] == 404
    assert client.wait(client.submit())["state"] == "done"
