"""Who holds a lease: a process, named so that another process of the same machine sees it died."""

from __future__ import annotations

import functools
import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def new_owner() -> str:
    """`machine|pid|start|token`: this process, and one lease of it."""
    pid = os.getpid()
    return f"{_machine()}|{pid}|{_started(pid)}|{secrets.token_hex(6)}"


def has_died(owner: str) -> bool:
    """Whether the process was one of this machine and is gone.  False where it cannot be told."""
    machine, pid, started, _ = owner.rsplit("|", 3)
    if machine != _machine():
        return False
    return not started or _started(int(pid)) != started


@functools.cache
def _machine() -> str:
    # A container may share its name with another; the boot tells a restart from a living process.
    boot = _BOOT.read_text().strip() if _BOOT.is_file() else ""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()}/{boot}/{space}"


def _started(pid: int) -> str:
    """When the process started, in the system's own count; empty if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _alive(pid) if not _BOOT.is_file() else ""
    state, *rest = text.rsplit(")", 1)[1].split()
    return "" if state in "ZX" else rest[18]


def _alive(pid: int) -> str:
    # Without /proc a pid that is used again looks alive; the lease then ends by its expiry.
    if os.name == "nt":  # where this signal would interrupt the process instead of asking
        return "alive"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive"
