"""Digests, and artifact folders of `artifact.json` and `tensors.safetensors`, written whole.

Nothing is ever unpickled.  A new artifact is written to a scratch folder beside the target, flushed
to disk and renamed into place.  An artifact is replaced inside its folder: the new tensors go
beside the old ones, and renaming the new `artifact.json` into place is the moment of change.  So a
process killed at any time leaves the old artifact or the new one; what it may leave besides is a
hidden file or folder that is never read.  Reading refuses another kind, schema or digest.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from wherefrom import __version__
from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.paths import open_descriptor
from wherefrom.core.progress import add_note

BYTES = 8


def content_of(image: Tensor) -> int:
    """The first 64 bits, as a signed number, of the SHA-256 of an image's pixels as stored."""
    data = image.contiguous().numpy().tobytes()
    return int.from_bytes(hashlib.sha256(data).digest()[:BYTES], "big", signed=True)


def contents_of(images: Iterable[Tensor]) -> Tensor:
    """`content_of` each image, in their order, (N,) int64."""
    return torch.tensor([content_of(image) for image in images], dtype=torch.int64)


def content_set(contents: Tensor) -> Tensor:
    """The contents (N,) of a fit in the form in which they are stored: sorted, each once, int64."""
    return torch.tensor(sorted(set(contents.tolist())), dtype=torch.int64)


def are_known(contents: Tensor, known: Tensor) -> Tensor:
    """Which of the contents (N,) are in a `content_set`, (N,) bool."""
    return torch.isin(contents, known)


META_NAME = "artifact.json"
TENSORS_NAME = "tensors.safetensors"
NEXT_TENSORS_NAME = "tensors.next.safetensors"  # present only while an artifact is being replaced
# Errors that mean lost data, and not a feature that the file system lacks.
DISK_ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOENT, errno.ENOTDIR)
NOT_FLUSHED = (
    "the file system that is written to cannot say when a file is on the disk, so a power cut "
    "might undo what was just written"
)
MAX_META_BYTES = 64 * 2**20
MAX_TENSORS_BYTES = 64 * 2**30


def digest_bytes(data: bytes) -> str:
    """SHA-256 of the bytes, as `sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content, as `sha256:<hex>`."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def digest_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes, dtypes and values, whatever the order of the mapping."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}|{tuple(value.shape)}|{value.dtype}|".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)  # no copy: it may be mapped
    return "sha256:" + total.hexdigest()


def is_artifact(path: Path) -> bool:
    """Whether `path` is a folder that `save_artifact` wrote, of any kind and version."""
    try:
        body = _read_body(path)
    except ArtifactError:
        return False
    return {"kind", "schema", "wherefrom", "tensors"} <= body.keys()


def refuse_existing(target: Path, *, overwrite: bool) -> None:
    """An `InputError` if `target` may not be written.  Call it before the long work.

    With `overwrite` an artifact may be replaced; any other file or folder never is.
    """
    if os.path.lexists(target):
        if not is_artifact(target):
            raise InputError(
                f"{target} already exists and is not an intact wherefrom artifact, so it is left "
                "alone; choose another --out"
            )
        if not overwrite:
            raise InputError(f"{target} already exists; pass --overwrite, or choose another --out")
    elif not target.parent.is_dir():
        raise InputError(f"{target.parent} is not a folder; create it, or choose another --out")


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """A scratch folder that becomes the new folder `target` when the block ends well.

    It vanishes if the block fails.  A `target` that exists is an `InputError`.
    """
    refuse_existing(target, overwrite=False)
    scratch = _hidden_name(target)
    scratch.mkdir()
    try:
        yield scratch
        refuse_existing(target, overwrite=False)
        scratch.replace(target)
        flush_folder(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_file(path: Path, data: bytes) -> None:
    """Write one file whole: scratch, flush to disk, rename.  `OSError` where that fails."""
    scratch = _hidden_name(path)
    try:
        with scratch.open("xb") as file:
            file.write(data)
            file.flush()
            flush_file(file.fileno())
        scratch.replace(path)
    except BaseException:
        with suppress(OSError):
            scratch.unlink()
        raise
    flush_folder(path.parent)


def save_artifact(
    target: Path,
    *,
    kind: str,
    schema: int,
    meta: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    overwrite: bool = False,
) -> None:
    """Write the artifact folder `target`.  `meta` must be JSON values (no NaN)."""
    refuse_existing(target, overwrite=overwrite)
    # A copy of each tensor, because safetensors refuses tensors that share memory (tied weights).
    fresh = torch.contiguous_format
    copies = {k: v.detach().cpu().clone(memory_format=fresh) for k, v in tensors.items()}
    blob = save_tensors(copies)
    head = {"kind": kind, "schema": schema, "wherefrom": __version__}
    # Through JSON and back, so that the digest sees what a reader will see (string keys, lists).
    body = json.loads(_as_text({**head, "tensors": digest_bytes(blob), "meta": dict(meta)}))
    body["digest"] = _digest_body(body)
    text = _as_text(body).encode()
    try:
        if os.path.lexists(target):
            _replace(target, text, blob)
            return
        with scratch_beside(target) as scratch:
            write_file(scratch / TENSORS_NAME, blob)
            write_file(scratch / META_NAME, text)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error


def artifact_kind(source: Path) -> str:
    """The kind stated in an artifact folder; an `ArtifactError` if `source` is no artifact."""
    return str(_read_body(source).get("kind"))


def artifact_digest(source: Path) -> str:
    """The digest stated in an artifact's `artifact.json`, which covers the digest of its tensors.

    An `ArtifactError` if the file is missing or was changed; the tensors are not read.
    """
    body = _read_body(source)
    if body.get("digest") != _digest_body(body):
        raise ArtifactError(f"{source}/{META_NAME} was changed after it was saved; fit it again")
    return str(body["digest"])


def load_artifact(
    source: Path, *, kind: str, schema: int
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The `meta` and the tensors of an artifact folder.

    An `ArtifactError` if it is damaged, or of another kind or schema.
    """
    body = _read_body(source)
    if body.get("kind") != kind:
        raise ArtifactError(f"{source} is a {body.get('kind')!r} artifact, expected {kind!r}")
    if body.get("schema") != schema:
        raise ArtifactError(
            f"{source} was written by wherefrom {body.get('wherefrom')} with format "
            f"{body.get('schema')}, this is {__version__} with format {schema}; fit it again"
        )
    if body.get("digest") != _digest_body(body) or not isinstance(body.get("meta"), dict):
        raise ArtifactError(f"{source}/{META_NAME} was changed after it was saved; fit it again")
    blob = _read_tensors(source, body)
    try:
        return body["meta"], load_tensors(blob)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ArtifactError(f"{source} is damaged ({error}); fit it again") from error


def _replace(target: Path, text: bytes, blob: bytes) -> None:
    _finish_replacing(target)
    write_file(target / NEXT_TENSORS_NAME, blob)
    write_file(target / META_NAME, text)
    (target / NEXT_TENSORS_NAME).replace(target / TENSORS_NAME)
    flush_folder(target)


def _finish_replacing(target: Path) -> None:
    """Do the last rename of a replacement that was killed just before it."""
    try:
        blob = _read_regular(target / NEXT_TENSORS_NAME, MAX_TENSORS_BYTES)
    except FileNotFoundError:
        return
    if digest_bytes(blob) == _read_body(target).get("tensors"):
        (target / NEXT_TENSORS_NAME).replace(target / TENSORS_NAME)


def _read_tensors(source: Path, body: Mapping[str, Any]) -> bytes:
    problem = f"cannot read {source}/{TENSORS_NAME}: no such file"
    for name in (TENSORS_NAME, NEXT_TENSORS_NAME):
        try:
            blob = _read_regular(source / name, MAX_TENSORS_BYTES)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ArtifactError(f"cannot read {source}/{name}: {error.strerror}") from error
        if digest_bytes(blob) == body.get("tensors"):
            return blob
        problem = f"{source}/{TENSORS_NAME} was changed or cut short"
    raise ArtifactError(f"{problem}; fit it again")


def _read_body(source: Path) -> dict[str, Any]:
    path = source / META_NAME
    try:
        text = _read_regular(path, MAX_META_BYTES).decode()
        body = json.loads(text)
        damage = None if isinstance(body, dict) else "not a JSON object"
        # Byte for byte what was written: a digest of values would let `1e5` pass for `1E5`.
        if damage is None and _as_text(body) != text:
            damage = "changed after it was saved"
    except OSError as error:
        raise ArtifactError(
            f"{source} is not a wherefrom artifact: cannot read {META_NAME} ({error.strerror})"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged (not JSON: {error}); fit it again") from error
    if damage is not None:
        raise ArtifactError(f"{path} is damaged ({damage}); fit it again")
    return dict(body)


def _read_regular(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes, `OSError` for anything else."""
    with os.fdopen(open_descriptor(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"it is larger than {limit} bytes")
        return file.read(size)


def _as_text(body: Mapping[str, Any]) -> str:
    return json.dumps(body, indent=1, allow_nan=False)


def _digest_body(body: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in body.items() if key != "digest"}
    return digest_bytes(json.dumps(rest, sort_keys=True, allow_nan=False).encode())


def _hidden_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def flush_file(handle: int) -> None:
    """Wait until an open file is on the disk, as far as its file system can."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        add_note(f"{NOT_FLUSHED} ({error.strerror})")


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, as far as system and file system can.

    Windows opens no folders, and network, FUSE and FAT file systems may refuse to flush one.  Then
    a note says that a loss of power could still undo the change.  An error of the disk is raised.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        add_note(f"{NOT_FLUSHED} ({error.strerror})")
        return
    try:
        flush_file(handle)
    finally:
        os.close(handle)
