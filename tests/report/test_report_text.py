"""Text from outside in terminals and spreadsheets."""

import csv
import io

import pytest

from wherefrom.core.paths import printable
from wherefrom.data.tables.records import read_records
from wherefrom.report.pages.tables import Column, Table, csv_text, percent, plural, to_csv, to_plain

NASTY = "a\x1b[31m\nb\t\u202egnp.exe\udcff\x00"


def test_printable_leaves_ordinary_names_alone__identity_same_text():
    assert printable("photo 1 [red]é写.png") == "photo 1 [red]é写.png"


def test_printable_escapes_control_format_and_undecodable_characters__closed_form():
    assert printable(NASTY) == r"a\x1b[31m\nb\t\u202egnp.exe\udcff\x00"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "  =", "＝"])
def test_spreadsheets_see_text_where_a_formula_could_start__closed_form(start):
    assert csv_text(f"{start}HYPERLINK(1)") == f"'{start}HYPERLINK(1)"


def test_spreadsheet_numbers_stay_numbers__roundtrip():
    table = Table((Column("name"), Column("score", lambda v: f"{v:.1f}")), (("=x", -1.23456789),))
    rows = list(csv.reader(io.StringIO(to_csv(table))))
    assert rows == [["name", "score"], ["'=x", "-1.23456789"]]


def test_csv_keeps_every_row_on_one_line_whatever_the_name__roundtrip():
    table = Table((Column("name"), Column("reason")), ((NASTY, 'a "quoted", text'), ("b", None)))
    text = to_csv(table)
    assert text.count("\r\n") == 3
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[1:] == [[printable(NASTY), 'a "quoted", text'], ["b", ""]]


@pytest.mark.parametrize("name", ["größe.png", "写真.png", "e\u0301.png", "emoji \U0001f600.png"])
def test_spreadsheets_are_told_the_encoding_of_names__roundtrip(name, tmp_path):
    data = to_csv(Table((Column("image"),), ((name,), ("=1+1",)))).encode()
    assert data.startswith(b"\xef\xbb\xbf")
    (tmp_path / "t.csv").write_bytes(data)
    assert [row.cells["image"] for row in read_records(tmp_path / "t.csv").rows] == [name, "'=1+1"]
    assert to_csv(Table((Column("image"),), (("a.png",),))) == "image\r\na.png\r\n"


def test_plain_tables_align_wide_characters_and_never_shorten__closed_form():
    long = "x" * 300
    table = Table(
        (Column("n"), Column("v", numeric=True), Column("r")), (("写", 1, ""), (long, 20, "b"))
    )
    lines = to_plain(table).splitlines()
    assert lines[0] == "n" + " " * 302 + "v  r"
    assert lines[1] == "写" + " " * 301 + "1"
    assert lines[2] == f"{long}  20  b"
    assert to_plain(Table((Column("n"), Column("r")), (("写写", "b"),))) == "n     r\n写写  b"


def test_selected_columns_keep_their_rows__identity_same_values():
    table = Table((Column("a"), Column("b"), Column("c")), ((1, 2, 3), (4, 5, 6)))
    assert table.select("c", "a").rows == ((3, 1), (6, 4))


def test_counts_and_shares_read_well__closed_form():
    assert [plural(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert [percent(x) for x in (0.005, 1.0, 0.12345)] == ["0.5%", "100%", "12.35%"]


def test_numbers_that_are_not_finite_are_empty_cells__closed_form():
    nan, inf = float("nan"), float("inf")
    columns = (Column("n"), Column("v", lambda v: f"{v:.2f}", numeric=True), Column("why"))
    table = Table(columns, (("a", nan, "no score"), ("b", -inf, "too large"), ("c", 1.5, "")))
    shown = [["a", "", "no score"], ["b", "", "too large"], ["c", "1.50", ""]]
    assert table.shown() == shown
    for text in (to_csv(table), to_plain(table)):
        assert "nan" not in text and "inf" not in text
