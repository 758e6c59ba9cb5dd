"""For every test: no network, no cache of the user's, a fixed global seed, no screen."""

import gc
import logging
import os
import shutil
import socket
import sqlite3
from functools import cache

# Before any library reads them; child processes of tests inherit them.
os.environ |= {"HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg"}

import pytest
from disk import quick_connect
from filelock import FileLock


def pytest_configure(config):
    config.addinivalue_line("markers", "needs(*packages): skipped where one is not installed")
    # Else the first call of `logging.warning` would log to that test's screen from then on.
    logging.root.addHandler(logging.NullHandler())


@pytest.hookimpl(optionalhook=True)
def pytest_parallex_setup(config):
    """The test processes to come share the folder that `made_once` fills."""
    config._tmp_path_factory.getbasetemp()


def pytest_collection_finish():
    """What torch and the collected tests hold is never garbage: it is not looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """The packages of `needs` are imported before the first such test, not to collect tests."""
    for marker in item.iter_markers("needs"):
        for package in marker.args:
            pytest.importorskip(package)


@pytest.fixture(scope="session")
def seed_all():
    """A call that sets the global seed; `torch.manual_seed` costs a millisecond without CUDA."""
    import torch

    return torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed


@pytest.fixture(autouse=True)
def fixed_global_seed(seed_all):
    """Random order must not change what a test sees that draws without a generator."""
    seed_all(0)


@pytest.fixture
def logged():
    """Everything that is logged, a line each, tracebacks included."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(handler.format(record))
    named = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
    loggers = [logging.root, *(each for each in named if not each.propagate)]
    level = logging.root.level
    logging.root.setLevel(logging.DEBUG)
    for each in loggers:
        each.addHandler(handler)
    yield lines
    for each in loggers:
        each.removeHandler(handler)
    logging.root.setLevel(level)


@pytest.fixture
def notes():
    """What the library remarks (`core.progress`) during a test, as texts."""
    heard = []
    listener, logger = logging.Handler(), logging.getLogger("wherefrom.notes")
    listener.emit = lambda record: heard.append(record.getMessage())
    level = logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    yield heard
    logger.removeHandler(listener)
    logger.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory):
    """Tests neither read nor fill the user's cache folders."""
    cache = str(tmp_path_factory.getbasetemp() / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", cache)
        patch.setenv("HF_HOME", cache)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """A crash of a process, unlike a power cut, loses nothing that was written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr(sqlite3, "connect", quick_connect)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_feature_network():
    """The default network of a search is loaded once by each test process: nothing changes it."""
    from wherefrom.origin.joint import rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "load_scene_features", cache(rows.load_scene_features))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_network():
    """A test that reaches out of this machine fails."""
    connect = socket.socket.connect

    def connect_here(self, address):
        host = address[0] if isinstance(address, tuple) else "localhost"
        assert host in ("localhost", "127.0.0.1", "::1"), f"a test connects to {host}"
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_here)
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """`made_once(name, make)` -> a folder filled by `make(folder)`, once for all test processes.

    Nobody changes what is in it.
    """
    home = tmp_path_factory.getbasetemp()

    def folder_of(name, make):
        folder, ready = home / f"shared-{name}", home / f"shared-{name}.ready"
        with FileLock(home / f"shared-{name}.lock"):
            if not ready.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a test process that failed to
                folder.mkdir()
                make(folder)
                ready.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def world(made_once):
    """Everything that a case can name, made once (`case_world`)."""
    from case_world import World, build

    return World(made_once("world", build))


@pytest.fixture(scope="session")
def case_file(world):
    """A case of all of it, made by the command line itself."""
    return world.folder / "case.toml"
