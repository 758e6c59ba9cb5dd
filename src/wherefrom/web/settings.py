"""Settings of the service, and who may listen where."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.limits import DEFAULT_LIMITS
from wherefrom.data.files.opening import read_regular

TOKEN, HISTORY = "WHEREFROM_TOKEN", "WHEREFROM_HISTORY"
LOOPBACK = ("127.0.0.1", "localhost")
SHORTEST_TOKEN = 16


@dataclass(frozen=True, kw_only=True)
class ServiceConfig(Config):
    """What the service takes and keeps."""

    max_upload_mib: int = setting(32, "largest file that is taken, MiB", low=1, high=1024)
    max_pixels: int = setting(
        DEFAULT_LIMITS.max_pixels, "largest image that is decoded, pixels", low=1
    )
    queue: int = setting(100, "images that may wait; further ones are told to come back", low=1)
    upload_seconds: float = setting(60.0, "an upload that takes longer is given up", low=0.01)
    job_seconds: float = setting(600.0, "an image that takes longer is given up", low=0.01)
    memory_gib: float = setting(8.0, "memory of the process that decodes; 0: no limit", low=0)
    connections: int = setting(256, "connections at once; further ones get 503", low=8)
    keep: int = setting(10_000, "finished images that are kept; the oldest go", low=1)
    workers: int = setting(1, "images looked at at once, a process each", low=1, high=64)
    lease_seconds: float = setting(
        60.0, "a service that is silent for so long has died; others do its images", low=1
    )
    heat_map: bool = setting(False, "show which parts look unnatural; takes longest")


def check_token(host: str, token: str | None) -> None:
    """An `InputError` unless a host that others can reach is guarded by a token."""
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii()):
        raise InputError(
            f"the token has {len(token)} characters; use at least {SHORTEST_TOKEN} ASCII ones, "
            "as of: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    if host not in LOOPBACK and token is None:
        raise InputError(
            f"on {host} others can reach the service; give --token-file or WHEREFROM_TOKEN, or "
            "listen on 127.0.0.1"
        )


def find_secret(variable: str, path: Path | None = None) -> str | None:
    """What the file holds; else the variable; else the file that `<variable>_FILE` names.

    None if there is none.  An `InputError`, which repeats nothing, for more than a line of ASCII.
    """
    if path is None and variable in os.environ:
        return os.environ[variable]
    named = os.environ.get(f"{variable}_FILE")
    if path is None and named is not None:
        path = Path(named)
    if path is None:
        return None
    text = read_regular(path, max_bytes=4096).decode("ascii", "replace").strip()
    if not text.isascii() or len(text.splitlines()) != 1:
        raise InputError(f"{path} does not hold one line of ASCII; write the secret into it")
    return text


def kept_beside(case: Path) -> Path:
    """The folder of uploads, reports and history where no other is named."""
    return case.with_name(f"{case.name}.service")
