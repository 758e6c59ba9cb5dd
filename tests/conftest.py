"""For every test: no network, no cache of the user's, a fixed global seed, no screen."""

import os
import socket

# Before any library reads them; child processes of tests inherit them.
os.environ |= {"HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg"}

import pytest
import torch


@pytest.fixture(autouse=True)
def fixed_global_seed():
    """Random order must not change what a test sees that draws without a generator."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path_factory, monkeypatch):
    """Tests neither read nor fill the user's cache folders."""
    cache = str(tmp_path_factory.getbasetemp() / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    monkeypatch.setenv("HF_HOME", cache)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A test that reaches out of this machine fails."""
    connect = socket.socket.connect

    def connect_here(self, address):
        host = address[0] if isinstance(address, tuple) else "localhost"
        assert host in ("localhost", "127.0.0.1", "::1"), f"a test connects to {host}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)


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
