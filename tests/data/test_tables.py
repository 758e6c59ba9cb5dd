"""Rows out of tables: what is read, what is left out and why."""

from pathlib import Path

import numpy as np
import pytest
import torch

from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data.tables.numbers import read_rows

ROW = (1, 1, 3)


@pytest.fixture
def table(tmp_path):
    def write(text, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_numbers_of_every_separator_are_the_same__closed_form(table):
    wanted = torch.tensor([[1.5, -2, 3e3], [0, 4, 5]])
    for name, mark in (("a.csv", ","), ("b.csv", ";"), ("c.tsv", "\t"), ("d.txt", " ")):
        text = f"x{mark}y{mark}z\n1.5{mark}-2{mark}3e3\n\n0{mark}4{mark}5\n"
        batch = read_rows([table(text, name)], ROW)
        assert torch.equal(batch.values.reshape(2, 3), wanted) and batch.values.shape[1:] == ROW
        assert batch.columns == ("x", "y", "z")
        assert [row.rsplit(":")[-1] for row in batch.names] == ["2", "4"]
        assert batch.digests[0] == digest_bytes(np.array([1.5, -2, 3e3], dtype="<f4").tobytes())


def test_a_table_without_a_heading_names_no_columns__identity_headless(table):
    batch = read_rows([table("1,2,3\n4,5,6\n")], ROW)
    assert batch.columns is None and len(batch.values) == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,,3", "nothing stands in 'y'"),
        ("1,n/a,3", "'y' holds 'n/a', expected a number"),
        ("1,nan,3", "'y' holds 'nan', expected a number"),
        ("1,2", "2 cells, the model makes 3 columns"),
    ],
)
def test_a_broken_row_is_left_out_and_told__bad_input(table, line, reason):
    path = table(f"x,y,z\n1,2,3\n{line}\n4,5,6\n")
    batch = read_rows([path], ROW)
    assert len(batch.values) == 2
    assert batch.skipped == ((Path(f"{path}:3"), reason),)


def test_a_repeated_row_is_kept_only_where_it_may_be__identity_duplicates(table):
    path = table("1,2,3\n1,2,3\n4,5,6\n")
    assert len(read_rows([path], ROW).values) == 3
    once = read_rows([path], ROW, drop_duplicates=True)
    assert len(once.values) == 2
    assert once.skipped == ((Path(f"{path}:2"), f"the same numbers as {path}:1"),)


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        ("x,y\n1,2\n", "t.csv", "has 2 columns, the model makes 3"),
        ("x,y,z\n", "t.csv", "holds no row of numbers"),
        ("", "t.csv", "holds no row of numbers"),
        (b"\xff\xfe\x00", "t.csv", "is not text in UTF-8"),
        ("1,2,3\n", "t.xlsx", "is not a table (known: .csv .tsv .txt .npy)"),
        (b"not an array", "t.npy", "is not a readable .npy"),
    ],
)
def test_a_broken_file_never_stops_the_others__bad_input(table, content, name, reason):
    good, bad = table("1,2,3\n", "good.csv"), table(content, name)
    batch = read_rows([bad, good], ROW)
    assert len(batch.values) == 1
    ((skipped, why),) = batch.skipped
    assert skipped == bad and why.startswith(reason)
    with pytest.raises(InputError, match="0 usable rows, at least 1 are needed; the first problem"):
        read_rows([bad], ROW)


def test_columns_of_another_name_or_order_are_told__bad_input(table):
    first, swapped = table("x,y,z\n1,2,3\n", "a.csv"), table("y,x,z\n1,2,3\n", "b.csv")
    other = table("x,y,w\n1,2,3\n", "c.csv")
    reasons = dict(read_rows([first, swapped, other], ROW).skipped)
    assert reasons[swapped] == "has its columns in another order; put them as x, y, z"
    assert reasons[other] == "has the column 'w'; the columns are x, y, z"
    assert len(read_rows([swapped], ROW, columns=["y", "x", "z"]).values) == 1


def test_signals_come_from_an_array_without_pickles__roundtrip(tmp_path):
    signals = np.arange(24, dtype=np.float64).reshape(3, 2, 4)
    signals[1, 0, 0] = np.inf
    np.save(tmp_path / "s.npy", signals)
    batch = read_rows([tmp_path / "s.npy"], (2, 1, 4))
    assert np.array_equal(batch.values.numpy().reshape(2, 2, 4), signals[[0, 2]])
    assert batch.skipped == ((Path(f"{tmp_path / 's.npy'}[1]"), "holds NaN or infinity"),)
    np.save(tmp_path / "p.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"is not a readable \.npy"):
        read_rows([tmp_path / "p.npy"], (2, 1, 4))
    with pytest.raises(
        InputError, match=r"float64 of shape \(3, 2, 4\), expected numbers of shape"
    ):
        read_rows([tmp_path / "s.npy"], (2, 1, 5))


def test_a_folder_gives_its_tables_and_a_missing_path_is_refused__bad_input(table, tmp_path):
    table("1,2,3\n", "b.csv"), table("4,5,6\n", "a.csv"), table("x", "notes.md")
    assert read_rows([tmp_path], ROW).values[:, 0, 0, 0].tolist() == [4, 1]
    with pytest.raises(InputError, match="there is no such file or folder"):
        read_rows([tmp_path / "none.csv"], ROW)
