"""Reads the tensors of a weights file: safetensors, or torch files of tensors.  No code runs.

A torch file is opened by PyTorch's restricted reader alone (`weights_only=True`), and no name in it
is ever imported.  What training scripts save beside the weights (settings, numpy's numbers,
optimisers, classes of their own) becomes an inert placeholder.  A file that names a function of
Python itself, or a whole pickled model, is refused.
"""

from __future__ import annotations

import pickle
import re
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from wherefrom.core.errors import InputError

SUFFIXES = (".safetensors", ".pt", ".pth", ".tar", ".ckpt", ".bin", ".th")
MAX_CLASSES = 64  # foreign classes in a file that was written before PyTorch 1.6
MAX_DEPTH = 8  # of dictionaries and lists inside each other
LFS_POINTER = b"version https://git-lfs"
_START_BYTES = 64
# Plain data of Python's own modules and of torch, which checkpoints hold beside the weights.
_DATA = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|typing\.\w+|(pathlib|pathlib\._local)\.\w*Path"
    r"|collections\.(defaultdict|deque)|datetime\.\w+|decimal\.Decimal|fractions\.Fraction|uuid\.UUID"
    r"|(__builtin__|builtins)\.(set|frozenset|complex|bytearray|slice|range|object"
    r"|list|dict|tuple|str|int|float|bool)"
    r"|_codecs\.encode|copyreg\._reconstructor|copy_reg\._reconstructor"
    r"|torch\.(optim|utils\.data|amp|cuda\.amp)\.[\w.]+"
)
_REFUSED_ROOTS = sys.stdlib_module_names | {"__builtin__", "copy_reg", "torch"}
_UNSUPPORTED = re.compile(r"(?i)unsupported global:? (?:GLOBAL )?(\S+) (?:was not|whose)")


class _Ignored:
    """Placeholder of an object beside the weights in a torch file; it drops all arguments."""

    def __init__(self, *_args: object, **_named: object) -> None:
        pass

    def __new__(cls, *_args: object, **_named: object) -> Any:
        """An object without anything in it."""
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        pass


class _Mapping(_Ignored):
    """Placeholder of settings and dictionaries: an `OrderedDict`, as PyTorch's reader fills it."""

    def __new__(cls, *_args: object, **_named: object) -> Any:
        """An empty dictionary, which the reader fills."""
        return OrderedDict[str, object]()


class _List(_Ignored):
    """Placeholder of an object that the reader appends to."""

    def __new__(cls, *_args: object, **_named: object) -> Any:
        """An empty list, which the reader fills."""
        return list[object]()


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """One tensor of a file: `name` inside the dictionary at `place` ("" is the outermost one)."""

    place: tuple[str, ...]
    name: str
    value: Tensor
    in_list: bool = False  # `place` is a list of tensors, `name` the position


def read_entries(path: Path) -> list[StoredTensor]:
    """Every tensor of a weights file, in the order of the file.

    `InputError` for a file that is absent, damaged, of another format, or holds no named tensor.
    """
    entries = list(_entries(_read(path), (), in_list=False))
    if not entries:
        raise InputError(
            f"{path} holds no state dict (names with tensors); save one from the model"
        )
    return entries


def _read(path: Path) -> Any:
    start = _start_of(path)
    if start.startswith(LFS_POINTER):
        raise InputError(f"{path} is a Git LFS pointer, not the weights; run `git lfs pull`")
    if path.suffix == ".safetensors" or _is_safetensors(start):
        return _read_safetensors(path)
    if path.suffix not in SUFFIXES and not start.startswith((b"PK\x03\x04", b"\x80")):
        raise InputError(f"{path} is no weights file known here; use {', '.join(SUFFIXES)}")
    return _read_torch(path)


def _start_of(path: Path) -> bytes:
    if path.is_dir():
        inside = [each.name for each in sorted(path.iterdir()) if each.suffix in SUFFIXES]
        names = f" (it holds {', '.join(inside[:3])})" if inside else ""
        raise InputError(f"the weights {path} is a folder{names}; name the file with the weights")
    if not path.is_file():
        raise InputError(f"the weights file {path} does not exist")
    try:
        with path.open("rb") as file:
            return file.read(_START_BYTES)
    except OSError as error:
        raise InputError(f"cannot read the weights file {path}: {error.strerror}") from error


def _is_safetensors(start: bytes) -> bool:
    # Eight bytes with the length of the JSON header that follows.
    return start[8:9] == b"{" and not start.startswith(b"\x80")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {_line(error)}") from error


def _read_torch(path: Path) -> Any:
    is_zip = zipfile.is_zipfile(path)
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path) if is_zip else []
        return _loaded(path, list(names), is_zip=is_zip)
    except InputError:
        raise
    except Exception as error:  # the reader raises anything on a damaged file
        if _is_torchscript(path):
            raise InputError(
                f"{path} is a TorchScript file, which carries its own code; pass it as the "
                "generator instead of its weights"
            ) from error
        raise InputError(f"{path} is not a readable torch file: {_line(error)}") from error


def _loaded(path: Path, names: list[str], *, is_zip: bool) -> Any:
    """The content of a torch file that names the foreign classes `names`."""
    refused = sorted(name for name in names if not _is_data(name))
    if refused:
        raise InputError(_not_plain(path, refused))
    try:
        with torch.serialization.safe_globals([(_placeholder(name), name) for name in names]):
            # Mapped into memory, so that the optimiser's state beside the weights is never read.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        name = _named_in(error)
        # Files written before PyTorch 1.6 name one class at a time.
        if name is not None and name not in names and len(names) < MAX_CLASSES:
            return _loaded(path, [*names, name], is_zip=is_zip)
        raise InputError(_not_plain(path, [] if name is None else [name])) from error


def _named_in(error: pickle.UnpicklingError) -> str | None:
    """The class or function that PyTorch's reader refused."""
    match = _UNSUPPORTED.search(str(error))
    if match is None:
        return None
    return match[1] if "." in match[1] else f"builtins.{match[1]}"


def _placeholder(name: str) -> type[_Ignored]:
    if name == "collections.deque":
        return _List
    return _Ignored if name.partition(".")[0] == "numpy" else _Mapping


def _is_data(name: str) -> bool:
    """Whether a placeholder may stand for what a file calls `module.name`."""
    return bool(_DATA.fullmatch(name)) or name.partition(".")[0] not in _REFUSED_ROOTS


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _not_plain(path: Path, classes: list[str]) -> str:
    what = "it is damaged, or holds code that opening it would run"
    if any(name.startswith("torch.nn.modules.") for name in classes):
        what = "it holds a whole pickled model, and opening that would run code"
    elif classes:
        more = f" and {len(classes) - 3} more" if len(classes) > 3 else ""
        what = f"it holds {', '.join(classes[:3])}{more}, and opening these would run code"
    return (
        f"{path} is not plain tensors ({what}), so it is not opened; save the model's state dict "
        "as .safetensors"
    )


def _entries(value: Any, place: tuple[str, ...], *, in_list: bool) -> Iterator[StoredTensor]:
    if len(place) > MAX_DEPTH:
        return
    is_list = isinstance(value, list | tuple)
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif is_list:
        items = [(str(number), item) for number, item in enumerate(value)]
    else:
        return
    for name, item in items:
        if isinstance(item, Tensor):
            yield StoredTensor(place, name, item.detach(), in_list=is_list)
        else:
            yield from _entries(item, (*place, name), in_list=is_list)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
