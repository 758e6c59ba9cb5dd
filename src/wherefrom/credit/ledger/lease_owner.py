"""The owner of a lease: a process, named so that others on its machine can see that it ended."""

from __future__ import annotations

import functools
import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def new_owner() -> str:
    """The name of this process and of one lease: `machine|pid|start|token`."""
    pid = os.getpid()
    return f"{_machine()}|{pid}|{_started(pid)}|{secrets.token_hex(6)}"


def has_died(owner: str) -> bool:
    """Whether the process ran on this machine and has ended; False where that is unknown."""
    machine, pid, started, _ = owner.rsplit("|", 3)
    if machine != _machine():
        return False
    return not started or _started(int(pid)) != started


@functools.cache
def _machine() -> str:
    # Containers may share a host name; the boot's number distinguishes a restarted machine.
    boot = _BOOT.read_text().strip() if _BOOT.is_file() else ""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()}/{boot}/{space}"


def _started(pid: int) -> str:
    """When the process started, in the system's clock ticks; empty if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _alive(pid) if not _BOOT.is_file() else ""
    state, *rest = text.rsplit(")", 1)[1].split()
    return "" if state in "ZX" else rest[18]


def _alive(pid: int) -> str:
    # Without /proc a reused pid looks alive; the lease then ends when its time is over.
    if os.name == "nt":  # signal 0 would interrupt the process there
        return "alive"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive"
