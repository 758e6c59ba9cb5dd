"""Settings of the service, and who may listen where."""

from __future__ import annotations

from dataclasses import dataclass

from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost")
SHORTEST_TOKEN = 16


@dataclass(frozen=True, kw_only=True)
class ServiceConfig(Config):
    """What the service takes and keeps."""

    max_upload_mib: int = setting(32, "largest file that is taken, MiB", low=1, high=1024)
    max_pixels: int = setting(50_000_000, "largest image that is decoded, pixels", low=1)
    queue: int = setting(100, "images that may wait; further ones are told to come back", low=1)
    upload_seconds: float = setting(60.0, "an upload that takes longer is given up", low=0.01)
    job_seconds: float = setting(600.0, "an image that takes longer is given up", low=0.01)
    memory_gib: float = setting(8.0, "memory of the process that decodes; 0: no limit", low=0)
    connections: int = setting(256, "connections at once; further ones get 503", low=8)
    history: int = setting(10_000, "finished images that are kept; the oldest go", low=1)
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
