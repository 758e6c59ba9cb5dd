"""Cache of measurements by content: only new images are measured, and a stopped run continues.

A key covers the image's bytes, the encoder, the seed and every setting that changes a number, but
not the numbers of directions and attacks: a cached measurement is extended, not repeated.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from wherefrom.anomaly.config import AnomalyConfig
from wherefrom.anomaly.measuring.features import Measurement
from wherefrom.core.errors import InputError
from wherefrom.core.limits import reading_key
from wherefrom.core.saving.store import digest_bytes, digest_tensors, write_file
from wherefrom.encoders.encoder import EncoderIdentity

VERSION = 1  # of the arithmetic: raise it when the same settings give other numbers
COUNTS = ("directions", "restarts")
SUFFIX = ".measurement"


class Cache(Protocol):
    """A store of measurements that outlives a call."""

    def get(self, key: str) -> Measurement | None:
        """The measurement under `key`, None if there is none that can be used."""
        ...

    def put(self, key: str, measurement: Measurement) -> None:
        """Store a measurement under `key`, in place of an earlier one."""
        ...


def key_of(digest: str, encoder: EncoderIdentity, config: AnomalyConfig, seed: int) -> str:
    """The cache key of an image whose content has this digest, 64 hexadecimal digits."""
    settings = {name: value for name, value in config.to_dict().items() if name not in COUNTS}
    parts = [VERSION, reading_key(), digest, encoder.digest, settings, seed]
    return digest_bytes(json.dumps(parts, sort_keys=True).encode()).removeprefix("sha256:")


class MemoryCache:
    """A cache in memory."""

    def __init__(self) -> None:
        self._measurements: dict[str, Measurement] = {}

    def get(self, key: str) -> Measurement | None:
        """As `Cache.get`."""
        return self._measurements.get(key)

    def put(self, key: str, measurement: Measurement) -> None:
        """As `Cache.put`."""
        self._measurements[key] = measurement


class FolderCache:
    """A cache in a folder, one small file per image; several processes may share it.

    A damaged file counts as none and is written anew.
    """

    def __init__(self, folder: Path) -> None:
        """`InputError` if the folder cannot be made."""
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot use {folder} as a cache: {error.strerror}") from error

    def get(self, key: str) -> Measurement | None:
        """As `Cache.get`."""
        path = self._path(key)
        try:
            tensors = load(path.read_bytes())
            with safe_open(path, framework="pt") as file:
                stated = (file.metadata() or {}).get("digest")
            clipped = float(tensors["clipped"])
            rest = {name: x for name, x in tensors.items() if name != "clipped"}
            measurement = Measurement(**rest, clipped=clipped)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None
        return measurement if stated == digest_tensors(tensors) else None

    def put(self, key: str, measurement: Measurement) -> None:
        """As `Cache.put`; `InputError` if the disk does not take it."""
        clipped = torch.tensor(measurement.clipped, dtype=torch.float64)
        tensors = {**vars(measurement), "clipped": clipped}
        path = self._path(key)
        try:
            path.parent.mkdir(exist_ok=True)
            write_file(path, save(tensors, {"digest": digest_tensors(tensors)}))
        except OSError as error:
            raise InputError(
                f"cannot write to the cache {self.folder}: {error.strerror}"
            ) from error

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}{SUFFIX}"
