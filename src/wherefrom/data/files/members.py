"""Names and bytes of the members of an open archive: .zip and .tar.

Nothing is extracted and no link is followed.  Only an index of names is held in memory; the bytes
of a member are read when they are asked for, up to a bound.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast

from wherefrom.core.errors import InputError
from wherefrom.core.paths import is_passed_over, read_at
from wherefrom.data.files.opening import SkippedFile, UnusableFile, show_bytes

MAX_MEMBERS = 2_000_000
MAX_READ = 128 * 2**20  # of headers at once, as of a directory of members
MAX_UNPACKED_BYTES = 64 * 2**30
KEPT_FREE_BYTES = 2**30  # of the disk that takes what is unpacked
_CHUNK = 2**20
_SMALL_CHUNK = 4096  # bzip2 and LZMA unpack all that they are fed
_TAR_MARK, _TAR_MARK_AT = b"ustar", 257
_UNPACKERS: Mapping[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}


class Members(Protocol):
    """An open archive: the `names` of its files, and those `left_out`, each with the reason."""

    names: tuple[str, ...]
    left_out: tuple[SkippedFile, ...]

    def read(self, name: str, shown: Path, max_bytes: int) -> bytes:
        """The bytes of one file; an `UnusableFile` named `shown` if it is too large or damaged."""
        ...

    def start(self, name: str, size: int) -> bytes:
        """The first `size` bytes of one file."""
        ...


class ReadAt(io.RawIOBase):
    """A file read at places, so that threads may share it; its descriptor is closed with it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor, self._at = descriptor, 0
        self.length = os.fstat(descriptor).st_size
        self._close = weakref.finalize(self, os.close, descriptor)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, counted from the start, from here or from the end; returns it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.length}[whence]
        if start + offset < 0:
            raise OSError("a place before the start of the file")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """At most `MAX_READ` bytes: headers of a damaged archive ask for any number."""
        wanted = self.length - self._at if size is None or size < 0 else size
        if wanted > MAX_READ:
            raise OSError(f"it declares headers of {show_bytes(wanted)}")
        data = self.read_at(self._at, wanted)
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        """Bytes from the present place into a buffer, as many as it holds."""
        data = self.read_at(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def read_at(self, start: int, size: int) -> bytes:
        """`size` bytes from `start`, fewer at the end; any thread may ask."""
        return read_at(self._descriptor, size, start)


class ZipMembers:
    """A .zip; encrypted files, links, and names that lead outside are left out."""

    def __init__(self, path: Path, file: ReadAt) -> None:
        self._zip = zipfile.ZipFile(cast(IO[bytes], file))
        by_name: dict[str, zipfile.ZipInfo] = {}
        left_out: list[SkippedFile] = []
        for info in self._zip.infolist():
            if info.is_dir() or _is_system_file(info.filename):
                continue
            kind = info.external_attr >> 28  # of a file made under Unix: 8 regular, 10 a link
            reason = _name_problem(info.filename)
            if info.flag_bits & 1:
                reason = "is encrypted; unpack the archive with its password"
            if kind not in (0, 8):
                reason = "is a link or special file, and these are not followed in archives"
            if reason:
                left_out.append(SkippedFile(Path(info.filename), reason))
                continue
            _enter(by_name, _plain_name(_zip_name(info)), info, left_out)
        _check_count(path, len(by_name))
        self._by_name = by_name
        self.names, self.left_out = tuple(by_name), tuple(left_out)

    def read(self, name: str, shown: Path, max_bytes: int) -> bytes:
        """The bytes of one file, its checksum verified."""
        info = self._by_name[name]
        _check_size(shown, info.file_size, max_bytes)
        quick = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        data = bytearray()
        try:
            with self._zip.open(info) as file:
                while piece := file.read(_CHUNK if quick else _SMALL_CHUNK):
                    data += piece
                    _check_size(shown, len(data), max_bytes)
        except InputError:
            raise
        except NotImplementedError as error:
            raise UnusableFile(
                shown,
                "is packed by a method that is not read (Explorer packs large files so); unpack "
                "the archive",
            ) from error
        except Exception as error:  # zipfile raises whatever hostile bytes provoke
            raise UnusableFile(shown, f"is damaged inside its archive: {error}") from error
        return bytes(data)

    def stored_at(self, name: str, file: ReadAt) -> int | None:
        """Where the bytes of an uncompressed member begin; None for a compressed one."""
        info = self._by_name[name]
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        head = file.read_at(info.header_offset, 30)
        lengths = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        start = info.header_offset + 30 + lengths
        return start if len(head) == 30 and start + info.file_size <= file.length else None

    def start(self, name: str, size: int) -> bytes:
        """The first `size` bytes of one file."""
        with self._zip.open(self._by_name[name]) as file:
            return file.read(size)

    def unpack(self, name: str) -> BinaryIO:
        """A temporary file with one member's bytes; it is gone once it is closed."""
        with self._zip.open(self._by_name[name]) as packed:
            return _unpack(packed)

    def size_of(self, name: str) -> int:
        """How many bytes a member declares."""
        return self._by_name[name].file_size


class TarMembers:
    """A .tar, packed or not; links, devices and names that lead outside are left out."""

    def __init__(self, path: Path, file: ReadAt) -> None:
        self._file = _unpacked_tar(file)
        by_name: dict[str, tuple[int, int]] = {}
        left_out: list[SkippedFile] = []
        last = -1
        with tarfile.open(fileobj=cast(IO[bytes], self._file), mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps all headers
                if member.offset <= last:
                    raise UnusableFile(path, "is damaged: its entries point backwards")
                last = member.offset
                if member.isdir() or _is_system_file(member.name):
                    continue
                reason = _name_problem(member.name)
                if not member.isreg() or member.issparse():
                    reason = "is a link or special file, and these are not followed in archives"
                if reason:
                    left_out.append(SkippedFile(Path(member.name), reason))
                    continue
                place = (member.offset_data, member.size)
                _enter(by_name, _plain_name(member.name), place, left_out)
                _check_count(path, len(by_name))
            end = archive.offset
            if any(self._file.read_at(end, tarfile.BLOCKSIZE)):
                left_out.append(
                    SkippedFile(Path(path.name), "is damaged, and the rest of it is not read")
                )
            elif self._file.read_at(end, _CHUNK).strip(b"\0"):
                more = "has more behind its end, which is not read, as of archives that were joined"
                left_out.append(SkippedFile(Path(path.name), more))
        self._by_name = by_name
        self.names, self.left_out = tuple(by_name), tuple(left_out)

    def read(self, name: str, shown: Path, max_bytes: int) -> bytes:
        """The bytes of one file."""
        start, length = self._by_name[name]
        _check_size(shown, length, max_bytes)
        data = self._file.read_at(start, length)
        if len(data) != length:
            raise UnusableFile(shown, "lies behind the end of the archive, which is cut short")
        return data

    def start(self, name: str, size: int) -> bytes:
        """The first `size` bytes of one file."""
        place, length = self._by_name[name]
        return self._file.read_at(place, min(size, length))


def looks_like_tar(start: bytes, name: str) -> bool:
    """Whether a file with this start and this name is a .tar, packed or not."""
    lower = name.lower()
    packed = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tb2", ".tar.xz", ".txz", ".tar")
    if start.startswith(tuple(_UNPACKERS)):
        return lower.endswith(packed) or _unpacked_start(start)[_TAR_MARK_AT:].startswith(_TAR_MARK)
    return start[_TAR_MARK_AT:].startswith(_TAR_MARK) or lower.endswith(".tar")


def _unpacked_start(start: bytes) -> bytes:
    """The first 512 unpacked bytes, or as many as can be unpacked from a short `start`."""
    try:
        if start.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(31).decompress(start, tarfile.BLOCKSIZE)
        if start.startswith(b"\xfd7zXZ"):
            unpacker = lzma.LZMADecompressor(memlimit=MAX_READ)
            return unpacker.decompress(start, max_length=tarfile.BLOCKSIZE)
    except (zlib.error, lzma.LZMAError, EOFError):
        pass
    return b""  # bzip2 needs all of its first block


def _unpacked_tar(file: ReadAt) -> ReadAt:
    start = file.read_at(0, 8)
    for mark, unpacker in _UNPACKERS.items():
        if start.startswith(mark):
            with unpacker(io.BufferedReader(file), "rb") as packed, _unpack(packed) as scratch:
                return ReadAt(os.dup(scratch.fileno()))
    return file


def _unpack(packed: IO[bytes]) -> BinaryIO:
    """All that `packed` holds in a file without a name; an `OSError` if it is too much."""
    scratch = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (the caller closes it)
    free = shutil.disk_usage(tempfile.gettempdir()).free - KEPT_FREE_BYTES
    allowed, size = min(MAX_UNPACKED_BYTES, free), 0
    try:
        while piece := packed.read(_CHUNK):
            size += len(piece)
            if size > allowed:
                raise OSError(f"it unpacks to more than {show_bytes(max(0, allowed))}")
            scratch.write(piece)
        scratch.flush()
    except BaseException:
        scratch.close()
        raise
    return scratch


def _enter(by_name: dict[str, Any], name: str, place: Any, left_out: list[SkippedFile]) -> None:
    if name in by_name:
        left_out.append(SkippedFile(Path(name), "is in the archive twice; the last one is taken"))
    by_name[name] = place


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name of a file: Finder's archives hold UTF-8 without saying so."""
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _plain_name(name: str) -> str:
    return "/".join(_parts(name))


def _parts(name: str) -> list[str]:
    slashed = name if "/" in name else name.replace("\\", "/")
    return [part for part in slashed.split("/") if part not in ("", ".")]


def _name_problem(name: str) -> str:
    parts = _parts(name)
    if not parts or ".." in parts or name[0] in "/\\" or parts[0][1:2] == ":":
        return "has a name that leads out of the archive"
    return ""


def _is_system_file(name: str) -> bool:
    *folders, file = _parts(name) or [""]
    return is_passed_over(file) or any(map(_is_passed_over_folder, folders))


_is_passed_over_folder = lru_cache(4096)(is_passed_over)


def _check_count(path: Path, count: int) -> None:
    if count > MAX_MEMBERS:
        raise UnusableFile(path, f"holds more than {MAX_MEMBERS} files; split it")


def _check_size(shown: Path, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise UnusableFile(
            shown, f"is too large: {show_bytes(size)}, at most {show_bytes(max_bytes)} are read"
        )
