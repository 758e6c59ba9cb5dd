"""For every test: no network, no cache of the user's, a fixed global seed, no screen."""

import logging
import os
import socket

# Before any library reads them; child processes of tests inherit them.
os.environ |= {"HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg"}

import pytest
import torch


def pytest_configure(config):
    config.addinivalue_line("markers", "needs(*packages): skipped where one is not installed")
    # pytest visits each logger that does not propagate six times a test, and torch has forty.
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.propagate = True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """The packages of `needs` are imported before the first such test, not to collect tests."""
    for marker in item.iter_markers("needs"):
        for package in marker.args:
            pytest.importorskip(package)


@pytest.fixture(scope="session")
def seed_all():
    """A call that sets the global seed; `torch.manual_seed` costs a millisecond without CUDA."""
    return torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed


@pytest.fixture(autouse=True)
def fixed_global_seed(seed_all):
    """Random order must not change what a test sees that draws without a generator."""
    seed_all(0)


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory):
    """Tests neither read nor fill the user's cache folders."""
    cache = str(tmp_path_factory.getbasetemp() / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", cache)
        patch.setenv("HF_HOME", cache)
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
def world(tmp_path_factory):
    """Everything that a case can name, made once (`case_world`)."""
    from case_world import build

    return build(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def case_file(world):
    """A case of all of it, made by the command line itself."""
    from case_world import FAMILY_ERROR

    from wherefrom.cli.main import run

    path = world.folder / "case.toml"
    rate = ["--family-error", str(FAMILY_ERROR)]
    assert run(["-q", "case", "init", str(path), "--name", "studio", *rate]) == 0
    for part in world.parts():
        false_alarms = ["--false-alarms", "0.1"] if part.name in ("calibration", "model") else []
        assert run(["-q", "case", "add", str(path), str(part), *false_alarms]) == 0
    receipt = ["--model", "mine", "--name", "payout"]
    assert run(["-q", "case", "add", str(path), str(world.folder / "receipt.json"), *receipt]) == 0
    return path
