"""Tables as other tools write them: separators, encodings, quotes, JSON; and what is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from wherefrom.core.errors import InputError
from wherefrom.data.tables.annotations import captions_beside
from wherefrom.data.tables.labels import read_labels
from wherefrom.data.tables.matching_names import find_file, readings
from wherefrom.data.tables.records import read_records

ROWS = [("a.png", "größe, 2"), ("b c.png", 'said "no"')]


def quoted(separator: str) -> str:
    lines = [("file_name", "text"), *ROWS]
    cells = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row] for row in lines]
    return "\r\n".join(separator.join(row) for row in cells) + "\r\n"


def jsonl() -> str:
    return "\n".join(json.dumps({"file_name": name, "text": text}) for name, text in ROWS)


@pytest.fixture
def notes(notes: list[str]) -> Callable[[], str]:
    return lambda: "\n".join(notes)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (quoted(","), "utf-8"),
        (quoted(";"), "utf-8-sig"),
        (quoted("\t"), "utf-16"),  # "Unicode text" of spreadsheets
        (quoted("\t"), "utf-16-le"),
        (quoted(";"), "utf-16-be"),
        (quoted("|"), "utf-32"),
        (quoted(";"), "cp1252"),
        (quoted(","), "latin-1"),
        ('file_name\ttext\na.png\tgröße, 2\nb c.png\tsaid "no"\n', "utf-8"),
        ("sep=;\r\n" + quoted(";"), "utf-8"),
        ("file_name;text;;\n" + "a.png;größe, 2;;\n" + 'b c.png;"said ""no""";;\n', "utf-8"),
        ("\n\n" + quoted(","), "utf-8"),
        (quoted(",").replace("\r\n", "\r"), "utf-8"),
        (jsonl(), "utf-8"),
        (jsonl() + "\n\n", "utf-8-sig"),
        (json.dumps([{"file_name": name, "text": text} for name, text in ROWS]), "utf-8"),
    ],
)
def test_a_table_in_any_dress__roundtrip(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "metadata.csv"
    path.write_bytes(text.encode(encoding))
    records = read_records(path)
    assert records.columns == ("file_name", "text")
    assert [(row.cells["file_name"], row.cells["text"]) for row in records.rows] == ROWS


def test_a_guessed_encoding_is_noted__closed_form(tmp_path: Path, notes: Callable[[], str]) -> None:
    (tmp_path / "t.csv").write_bytes("file,who\nä.png,ann\n".encode("cp1252"))
    assert read_records(tmp_path / "t.csv").rows[0].cells["file"] == "ä.png"
    assert "not UTF-8 and was read as Windows-1252" in notes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\3\4rest", "is an Excel workbook or another zip archive, expected text"),
        (b"PAR1rest", "is a Parquet table"),
        (b"a,b\n1,2,3\n", r"line 2 needs 2 filled cells and has 3: .* into quotes"),
        (b"a,a\n1,2\n", "several columns of one name"),
        (b'{"a": 1}\n{"a": \n', "not readable JSON"),
        (b"[1, 2]", "row 1 is '1', expected an object"),
        (b'"a', "not a readable CSV file"),
        (b"\x89PNG\0\0\0\0", "not text"),
    ],
)
def test_what_is_no_table__rejects_in_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_records(tmp_path / "t.csv")


def test_a_name_is_read_in_every_spelling__closed_form(tmp_path: Path) -> None:
    for name in ("é.png", "sub/b.png", "=c.png", "d\ne.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for written, name in [
        ("é.png", "é.png"), ("sub\\b.png", "sub/b.png"), (" sub/b.png ", "sub/b.png"),
        ("'=c.png", "=c.png"), ("d\\ne.png", "d\ne.png"), ("./sub/b.png", "sub/b.png"),
    ]:  # fmt: skip
        assert find_file(tmp_path, written) == tmp_path / name
    assert find_file(tmp_path, "x" * 5000) is None
    assert readings("a.png") == ["a.png"]


IMAGES = [Path("data/train") / name for name in ("cats/a.png", "cats/b.png", "dogs/a.png")]


@pytest.mark.parametrize(
    "names",
    [
        ["cats/a.png", "cats/b.png", "dogs/a.png"],
        ["cats\\a.png", "cats\\b.png", "dogs\\a.png"],
        ["train/cats/a.png", "train/cats/b.png", "train/dogs/a.png"],
        ["C:\\me\\train\\cats\\a.png", "C:\\me\\train\\cats\\b.png", "C:\\me\\train\\dogs\\a.png"],
        ["/elsewhere/cats/a.png", "/elsewhere/cats/b.png", "/elsewhere/dogs/a.png"],
        [str(path.absolute()) for path in IMAGES],
        ["./cats/a.png", "b.png", "dogs/a.png"],
        ["cats/a.png", "b", "dogs/a.png"],
    ],
)
def test_labels_find_their_images_from_anywhere__closed_form(
    tmp_path: Path, names: list[str]
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("image;class\n" + "".join(f"{n};{i}\n" for i, n in enumerate(names)))
    assert read_labels(table, IMAGES, Path("data/train")).values.tolist() == [0, 1, 2]


def test_a_row_of_another_split_labels_no_image__closed_form(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(
        "file_name,label\n"
        + "".join(f"val/{p.relative_to('data/train')},9\n" for p in IMAGES)
        + "".join(f"train/{p.relative_to('data/train')},{i}\n" for i, p in enumerate(IMAGES))
        + "x/y.png,0\n"
    )
    with pytest.raises(InputError, match="names the class '9', but none of its images"):
        read_labels(table, IMAGES, Path("data/train"))


@pytest.mark.parametrize(
    ("header", "rows", "names", "note"),
    [
        ("file_name,text,label,width", "a cat,x,512", ("x",), "not used: the columns text, width"),
        ("file_name,class,split", "x,train", ("x",), "not used: the column split"),
        ("image_id,smile,hat", "-1,1", ("smile", "hat"), ""),
        ("image,smile,comment,hat", "true,fine,false", ("smile", "hat"), "the column comment"),
        (",file_name,label", None, ("x",), "not used: the column column 1"),
    ],
)
def test_further_columns_are_named__closed_form(
    tmp_path: Path,
    notes: Callable[[], str],
    header: str,
    rows: str | None,
    names: object,
    note: str,
) -> None:
    table = tmp_path / "labels.csv"
    lines = [f"{p.relative_to('data/train')},{rows}" if rows else f"{i},{p.name[:0]}{p},x"
             for i, p in enumerate(IMAGES)]  # fmt: skip
    table.write_text("\n".join([header, *lines]))
    labels = read_labels(table, IMAGES, Path("data/train"))
    assert labels.names == names and note in notes()


def test_columns_without_a_class__rejects(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file_name,text,width\ncats/a.png,a cat,512\n")
    with pytest.raises(InputError, match="none called label or class and none of 0 and 1"):
        read_labels(tmp_path / "t.csv", IMAGES[:1], Path("data/train"))


def test_captions_beside_images__closed_form(tmp_path: Path, notes: Callable[[], str]) -> None:
    names = ["a.png", "b.png", "in/c.png", "in/d.png", "e.png", "none.png"]
    images = [tmp_path / name for name in names]
    (tmp_path / "in").mkdir()
    for image in images:
        image.touch()
    (tmp_path / "a.txt").write_text(" a cat,\n sitting \n")
    (tmp_path / "b.caption").write_bytes("größer".encode("cp1252"))
    (tmp_path / "in" / "metadata.jsonl").write_text('{"file_name": "c.png", "text": "inside"}\n')
    (tmp_path / "metadata.csv").write_text("file_name;caption;w\nin/d.png;above;3\na.png;other;3\n")
    (tmp_path / "e.json").write_text('{"prompt": "by hand", "steps": 20}')
    assert captions_beside(images, tmp_path) == {
        images[0]: "a cat, sitting",
        images[1]: "größer",
        images[2]: "inside",
        images[3]: "above",
        images[4]: "by hand",
    }
    (tmp_path / "e.json").write_text("{")
    assert images[4] not in captions_beside(images, tmp_path)
    assert "e.json: is not readable JSON" in notes()


def test_tabs_without_quoting__closed_form(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('file_name\ttext\na.png\t"to be\nb.png\tor not\n')
    cells = [row.cells["text"] for row in read_records(tmp_path / "t.tsv").rows]
    assert cells == ['"to be', "or not"]


def test_a_table_without_header__rejects(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("cats/a.png,0\ncats/b.png,1\n")
    with pytest.raises(InputError, match=r"no header: its first line names cats/a.png; add a line"):
        read_labels(tmp_path / "t.csv", IMAGES, Path("data/train"))
