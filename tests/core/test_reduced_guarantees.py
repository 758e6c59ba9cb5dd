"""Systems and file systems that lack what we use: less is promised, and that is said."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from threading import Thread

import pytest
import torch

from wherefrom.core.errors import InputError
from wherefrom.core.paths import read_at
from wherefrom.core.saving.store import load_artifact, save_artifact, scratch_beside, write_file
from wherefrom.credit.ledger import lease_owner as owner
from wherefrom.origin.index.index import Index
from wherefrom.origin.pairs.writer import opened


def refuse(number: int, *, folders_only: bool = False) -> object:
    """An `os.fsync` of a file system that does not have it."""
    real = os.fsync

    def fsync(handle: int) -> None:
        if folders_only and not stat.S_ISDIR(os.fstat(handle).st_mode):
            return real(handle)
        raise OSError(number, os.strerror(number))

    return fsync


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF])
def test_a_file_system_without_fsync_is_written_to_and_said__roundtrip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str], number: int
) -> None:
    monkeypatch.setattr(os, "fsync", refuse(number))
    write_file(tmp_path / "a", b"1")
    save_artifact(tmp_path / "b", kind="k", schema=1, meta={"x": 1}, tensors={})
    assert (tmp_path / "a").read_bytes() == b"1"
    assert load_artifact(tmp_path / "b", kind="k", schema=1)[0] == {"x": 1}
    assert len(set(notes)) == 1  # one line, however much is written
    assert "cannot say when a file is on the disk" in notes[0]


def test_a_system_that_opens_no_folders__roundtrip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]
) -> None:
    real = os.open

    def opened(path: str | Path, *args: int, **kwargs: int) -> int:
        if Path(path).is_dir():  # as on Windows
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", opened)
    with scratch_beside(tmp_path / "new") as scratch:
        write_file(scratch / "a", b"1")
    assert (tmp_path / "new" / "a").read_bytes() == b"1"
    assert notes


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_an_error_of_the_disk_is_none_of_the_system__rejects_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", refuse(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        write_file(tmp_path / "a", b"1")
    assert list(tmp_path.iterdir()) == []


def test_only_folders_cannot_be_flushed__roundtrip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]
) -> None:
    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL, folders_only=True))
    write_file(tmp_path / "a", b"1")
    assert len(notes) == 1


@pytest.mark.parametrize("without", [False, True])
def test_parts_of_a_file_with_and_without_pread__naive_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: bool
) -> None:
    if without:
        monkeypatch.delattr(os, "pread")
    data = bytes(range(256)) * 40
    (tmp_path / "a").write_bytes(data)
    handle = os.open(tmp_path / "a", os.O_RDONLY)
    wrong: list[int] = []

    def read(start: int) -> None:
        parts = {length: read_at(handle, length, start) for length in (1, 7, 300)}
        wrong.extend(n for n, part in parts.items() if part != data[start : start + n])

    threads = [Thread(target=read, args=(start,)) for start in range(0, 10_240, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert read_at(handle, 99, len(data)) == b""
    os.close(handle)


def test_an_index_on_a_system_without_pread_and_fsync__roundtrip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]
) -> None:
    monkeypatch.delattr(os, "pread")
    monkeypatch.setattr(os, "fsync", refuse(errno.ENOTSUP))
    rows = torch.eye(3)
    with Index.create(tmp_path / "i", dim=3, identity={}) as index:
        index.add(["a.png", "b.png"], [f"sha256:{n:064x}" for n in range(2)], rows[:2])
    with Index.open(tmp_path / "i") as index:
        assert index.search(rows[:1], 1).ids.tolist() == [[1]]
        index.verify()
    assert notes


def test_a_folder_that_cannot_be_locked_is_written_to_and_said__roundtrip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(handle: int, how: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    with opened(tmp_path / "pairs"):
        pass
    assert "locks no folder" in notes[0]


def test_a_service_whose_history_cannot_be_locked__rejects_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sqlalchemy")
    from wherefrom.web.jobs.databases import _take_lock

    fcntl = pytest.importorskip("fcntl")

    def flock(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(InputError, match=r"locks no files \(No locks available\); name another"):
        _take_lock(tmp_path / "lock")
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    with pytest.raises(InputError, match="--history in Postgres"):
        _take_lock(tmp_path / "lock")


def test_no_process_is_interrupted_to_ask_whether_it_lives__limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owner.os, "name", "nt")
    monkeypatch.setattr(owner.os, "kill", lambda *_: pytest.fail("it was signalled"))
    assert owner._alive(1) == "alive"
