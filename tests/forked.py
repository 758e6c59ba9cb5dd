"""Children of the test process: they start at once, with all that is imported, and can be killed.

What a process leaves on the disk when it is killed -9 is what is there at that moment.  So a
change that may be killed at any step runs once, and its folder is copied before each step
(`before_steps`); `killed_before_step` kills for real.
"""

import contextlib
import hashlib
import itertools
import logging
import os
import shutil
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import torch

WATCHED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "sqlite3.connect"}


def speak_into(said):
    """Whatever this process says from now on stands in the file `said`."""
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(handle, stream)
    sys.stdout = sys.stderr = os.fdopen(handle, "w", buffering=1)
    for logger in (logging.root, *map(logging.getLogger, logging.root.manager.loggerDict)):
        for handler in list(logger.handlers):
            if isinstance(handler, logging.StreamHandler):
                handler.stream = sys.stderr  # without a flush: the earlier one may be closed


class Child:
    """`work()` in a process of its own, which has ended when the `with` block has."""

    def __init__(self, work, said):
        with warnings.catch_warnings():
            # Python 3.12 warns of threads beside a fork; the child needs none of theirs.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid, self.status = os.fork(), None
        if self.pid == 0:
            status = 1
            try:
                speak_into(said)
                torch.set_num_threads(1)
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)

    def poll(self):
        """The exit status, minus the signal that ended it, or None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def wait(self, seconds=60):
        """The exit status, once there is one."""
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            assert time.monotonic() < deadline, "the child does not end"
            time.sleep(0.002)
        return self.status

    def kill(self):
        """As `kill -9`, and the exit status."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        return self.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def call_before_steps(act, connect):
    """`act()` before every file call and SQL statement of this process."""
    busy = False

    def step(*_):
        nonlocal busy
        if not busy:
            busy = True
            act()
            busy = False

    def watched(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.set_trace_callback(step)
        return connection

    sys.addaudithook(lambda event, _: step() if event in WATCHED else None)
    return watched


def before_steps(work, folder, copies, *, connect=None):
    """Copies of `folder`, one before each step of `work()`, and one when it is done."""
    import sqlite3

    copies.mkdir()
    numbers = itertools.count()

    def copy():
        shutil.copytree(folder, copies / f"{next(numbers):04}", symlinks=True)

    def stepwise():
        sqlite3.connect = call_before_steps(copy, connect or sqlite3.connect)
        work()

    said = copies.with_name(f"{copies.name}.said")
    with Child(stepwise, said) as child:
        assert child.wait() == 0, said.read_text()
    shutil.copytree(folder, copies / "9999", symlinks=True)
    return sorted(copies.iterdir())


def killed_before_step(number, work, said, *, connect=None):
    """Whether `work()` in a child came to its step `number`, and was killed there."""
    import sqlite3

    remaining = number

    def count():
        nonlocal remaining
        remaining -= 1
        if remaining < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def deadly():
        sqlite3.connect = call_before_steps(count, connect or sqlite3.connect)
        work()

    with Child(deadly, said) as child:
        return child.wait() == -signal.SIGKILL


def content(folder):
    """A digest of the names and the bytes of everything in a folder."""
    seen = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        seen.update(os.fsencode(path.relative_to(folder)) + b"\0")
        with contextlib.suppress(IsADirectoryError):
            seen.update(path.read_bytes() + b"\0")
    return seen.digest()
