"""Segment files: what is written is mapped again, and any other byte is noticed and named."""

import hashlib
import os

import numpy as np
import pytest
import torch
from making import stored, vectors

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.origin.index import segments
from wherefrom.origin.index.segments import SegmentFile, SegmentInfo, unit_rows, write_segment

DIM = 6


def write(folder, table):
    """A segment of a float16 table, written in two chunks."""
    return write_segment(folder, [table[:2], table[2:]], dim=table.shape[1], rows=len(table))


def read(folder, info, *, dim=DIM):
    """The segment, every byte of it checked."""
    segment = SegmentFile(folder / info.name, dim=dim, info=info)
    segment.verify()
    return segment


def test_rows_and_their_sum_come_back__roundtrip(tmp_path):
    table = stored(vectors(7, DIM))
    segment = read(tmp_path, write(tmp_path, table))
    assert segment.rows.dtype == torch.float16
    assert (segment.rows.numpy() == table).all()
    np.testing.assert_allclose(segment.total, table.astype(np.float64).sum(0), atol=1e-15)
    assert [path.name for path in tmp_path.iterdir()] == [segment.info.name]


def test_the_digest_covers_all_but_itself__reference_hashlib(tmp_path):
    info = write(tmp_path, stored(vectors(3, DIM)))
    content = (tmp_path / info.name).read_bytes()
    blank = content[:24] + bytes(32) + content[56:]
    assert info.digest == "sha256:" + hashlib.sha256(blank).hexdigest()
    assert content[24:56].hex() == info.digest.removeprefix("sha256:")


def test_rows_are_at_unit_norm_and_then_rounded__reference_numpy():
    scales = torch.tensor([1e-30, 1e-3, 1.0, 1e3, 3e38]).unsqueeze(1)
    given = torch.nn.functional.normalize(vectors(5, DIM)) * scales
    assert (unit_rows(given, str) == stored(given)).all()
    assert (unit_rows(given.double(), str) == stored(given)).all()


@pytest.mark.parametrize(
    ("value", "what"), [(0.0, "all zeros"), (torch.nan, "NaN"), (torch.inf, "infinite")]
)
def test_a_vector_without_a_direction__rejects_and_names_it(monkeypatch, value, what):
    monkeypatch.setattr(segments, "SLICE_ROWS", 3)
    given = vectors(9, DIM)
    given[7] = value
    with pytest.raises(InputError, match=rf"^picture 7: .*{what}"):
        unit_rows(given, lambda n: f"picture {n}")


def test_a_flipped_bit_anywhere__rejects_and_names_the_file(tmp_path):
    info = write(tmp_path, stored(vectors(4, DIM)))
    path = tmp_path / info.name
    good = path.read_bytes()
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        path.write_bytes(bad)
        with pytest.raises(ArtifactError, match=rf"{info.name} is damaged"):
            read(tmp_path, info)
    path.write_bytes(good)
    read(tmp_path, info)


def test_a_file_cut_short_or_grown__rejects_at_opening(tmp_path):
    info = write(tmp_path, stored(vectors(4, DIM)))
    path = tmp_path / info.name
    good = path.read_bytes()
    for bad in [*(good[:n] for n in range(len(good))), good + b"\0", b""]:
        path.write_bytes(bad)
        with pytest.raises(ArtifactError, match=rf"{info.name} is damaged"):
            SegmentFile(path, dim=DIM, info=info)


def test_another_segment_of_the_same_shape__rejects(tmp_path):
    mine, other = (write(tmp_path, stored(vectors(4, DIM, seed=n))) for n in (0, 1))
    (tmp_path / other.name).replace(tmp_path / mine.name)
    with pytest.raises(ArtifactError, match="not the one that the manifest names"):
        SegmentFile(tmp_path / mine.name, dim=DIM, info=mine)


def test_a_segment_of_a_later_format__rejects(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(segments, "VERSION", 2)
        info = write(tmp_path, stored(vectors(4, DIM)))
    with pytest.raises(ArtifactError, match="format 2, this version reads 1"):
        SegmentFile(tmp_path / info.name, dim=DIM, info=info)


def test_what_is_removed_stays_readable_to_who_has_it__identity_content(tmp_path):
    table = stored(vectors(4, DIM))
    segment = read(tmp_path, write(tmp_path, table))
    segment.path.unlink()
    segment.verify()
    assert (segment.rows.numpy() == table).all()


def test_opening_reads_no_rows__identity_mapped(tmp_path):
    table = stored(vectors(4, DIM))
    info = write(tmp_path, table)
    segment = SegmentFile(tmp_path / info.name, dim=DIM, info=info)
    with (tmp_path / info.name).open("r+b") as file:
        file.seek(segments.HEADER.size)
        file.write(b"\0\0")
    assert segment.rows[0, 0] == 0
    segment.rows[1, 1] = 5  # into private memory, never into the file
    assert np.fromfile(tmp_path / info.name, "<f2", offset=64)[DIM + 1] == table[1, 1]


def test_a_failing_disk__rejects_in_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def fail(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match=r"cannot write to .*No space left on device"):
        write(tmp_path, stored(vectors(4, DIM)))
    assert list(tmp_path.iterdir()) == []


def test_fewer_rows_than_announced__rejects_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="5 rows were announced, 4 came"):
        write_segment(tmp_path, [stored(vectors(4, DIM))], dim=DIM, rows=5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(path)])
def test_what_is_no_file__rejects_at_once(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(ArtifactError, match=r"x (is damaged|cannot be read)"):
        SegmentFile(tmp_path / "x", dim=DIM, info=SegmentInfo("x", 1, "sha256:"))


def test_a_missing_segment__rejects_with_its_own_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        SegmentFile(tmp_path / "x", dim=DIM, info=SegmentInfo("x", 1, "sha256:"))
