"""Settings of the service, its secrets, and the rule for its token."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.limits import DEFAULT_LIMITS
from wherefrom.data.files.archives import read_file

TOKEN, HISTORY = "WHEREFROM_TOKEN", "WHEREFROM_HISTORY"
LOOPBACK = ("127.0.0.1", "localhost")
MIN_TOKEN_LENGTH = 16


@dataclass(frozen=True, kw_only=True)
class ServiceConfig(Config):
    """Settings of the service."""

    max_upload_mib: int = setting(32, "largest upload, MiB", low=1, high=1024)
    max_pixels: int = setting(
        DEFAULT_LIMITS.max_pixels, "largest image that is decoded, pixels", low=1
    )
    queue: int = setting(100, "images that may wait; more are refused with 503", low=1)
    upload_seconds: float = setting(60.0, "longest upload, s", low=0.01)
    job_seconds: float = setting(600.0, "longest inspection of one image, s", low=0.01)
    memory_gib: float = setting(8.0, "memory of each worker process, GiB; 0: no limit", low=0)
    connections: int = setting(256, "connections at once; more are refused with 503", low=8)
    keep: int = setting(10_000, "finished images that are stored; the oldest are removed", low=1)
    workers: int = setting(
        1, "images inspected at once, each in a process of its own", low=1, high=64
    )
    lease_seconds: float = setting(
        60.0, "seconds until other services take over the images of a silent one", low=1
    )
    heat_map: bool = setting(False, "show which parts look unnatural; takes longest")

    @property
    def max_upload_bytes(self) -> int:
        """The size of the largest upload."""
        return self.max_upload_mib * 2**20


def check_token(host: str, token: str | None) -> None:
    """An `InputError` unless a host that others can reach is guarded by a token."""
    if token is not None and (len(token) < MIN_TOKEN_LENGTH or not token.isascii()):
        raise InputError(
            f"the token has {len(token)} characters; use at least {MIN_TOKEN_LENGTH} ASCII ones, "
            "as of: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    if host not in LOOPBACK and token is None:
        raise InputError(
            f"on {host} others can reach the service; give --token-file or WHEREFROM_TOKEN, or "
            "listen on 127.0.0.1"
        )


def find_secret(variable: str, path: Path | None = None) -> str | None:
    """The secret in the file `path`, in the variable, or in the file that `<variable>_FILE` names.

    None if there is none.  An `InputError`, which does not repeat it, for more than one ASCII line.
    """
    if path is None and variable in os.environ:
        return os.environ[variable]
    named = os.environ.get(f"{variable}_FILE")
    if path is None and named is not None:
        path = Path(named)
    if path is None:
        return None
    text = read_file(path, max_bytes=4096).decode("ascii", "replace").strip()
    if not text.isascii() or len(text.splitlines()) != 1:
        raise InputError(f"{path} must hold one line of ASCII; write the secret into it")
    return text


def data_beside(case: Path) -> Path:
    """The folder of uploads, reports and history where no other is named."""
    return case.with_name(f"{case.name}.service")
