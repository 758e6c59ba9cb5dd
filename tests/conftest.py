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
