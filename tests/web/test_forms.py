"""Uploads as forms: the file of a form is taken, whatever the pieces it arrives in."""

import asyncio

import pytest

from wherefrom.web.forms import MAX_AROUND, MAX_HEAD, ImageForm

KIND = "multipart/form-data; boundary=x"
FIELD = b'--x\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
FILE = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a b.png"\r\n\r\n%s\r\n'
END = b"--x--\r\n"
MIB = 2**20


def read(data, piece=1000, kind=KIND):
    """Name and bytes of the file of a form that arrives in pieces."""

    async def body():
        for start in range(0, len(data), piece):
            yield data[start : start + piece]
        yield b""

    async def reading():
        form = ImageForm(kind, body(), ValueError)
        await form.find_file()
        return form.name, b"".join([chunk async for chunk in form.file()])

    return asyncio.run(reading())


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 1000])
def test_the_file_of_a_form_in_pieces__closed_form(piece):
    image = b"\r\n--\r\n--y\r\n\0\r\n-"
    for whole in (FILE % image + END, b"before\r\n" + FIELD + FILE % image + FIELD + END):
        assert read(whole, piece) == ("a b.png", image)


def test_names_of_files_as_clients_write_them__closed_form():
    for written, name in (
        ('filename="ä.png"', "ä.png"),
        ("filename=bare.png", "bare.png"),
        ("filename*=UTF-8''%C3%A4.png", "ä.png"),
        ('filename=""', "image"),
        ('filename="a;b\\\\"c.png"', 'a;b"c.png'),
    ):
        head = f"--x\r\ncontent-disposition: form-data; name=f; {written}\r\n\r\nok\r\n"
        assert read(head.replace('\\\\"', '\\"').encode() + END) == (name, b"ok")


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (FILE % b"ok" + FILE % b"two" + END, KIND, "several files"),
        (FIELD + END, KIND, "no file"),
        (END, KIND, "no file"),
        (FILE % b"ok", KIND, "ends in the middle"),
        (b"", KIND, "ends in the middle"),
        (FILE % b"ok" + END, "multipart/form-data", "no multipart/form-data with a boundary"),
        (FILE % b"ok" + END, "multipart/mixed; boundary=x", "no multipart/form-data"),
        (FILE % b"ok" + END, f"{KIND}{'x' * 70}", "boundary is no text"),
        (b"--xy\r\n\r\n", KIND, "followed by other text"),
        (b"--x\r\n" + b"a: b\r\n" * MAX_HEAD, KIND, "too large"),
        (FIELD * (MAX_AROUND // 10), KIND, "too large"),
        (b"x" * MIB, KIND, "too large"),
        (FILE % b"ok" + END + b"x" * MIB, KIND, "too large"),
    ],
)
def test_forms_that_hold_no_one_image__rejects_upload(body, kind, reason):
    with pytest.raises(ValueError, match=reason):
        read(body, kind=kind)


def test_a_form_is_queued_as_its_file__closed_form(serve):
    client = serve(max_upload_mib=1).client
    headers = {"Content-Type": KIND}
    whole = FIELD + FILE % b"ok" + END
    status, job = client.json("POST", "/api/jobs", whole, **headers)
    assert (status, job["name"], job["bytes"]) == (202, "a b.png", 2)
    status, other = client.json("POST", "/api/jobs?name=c.png", whole, **headers)
    assert (status, other["name"]) == (202, "c.png")
    assert client.wait(job)["state"] == client.wait(other)["state"] == "done"
    for body, status in ((FILE % bytes(MIB) + END, 202), (FILE % bytes(MIB + 1) + END, 413)):
        assert client.ask("POST", "/api/jobs", body, **headers)[0] == status
    status, told = client.json("POST", "/api/jobs", FIELD + END, **headers)
    assert (status, told["detail"].partition(":")[0]) == (400, "this form is refused")
    assert len(client.json("GET", "/api/jobs")[1]["jobs"]) == 3
