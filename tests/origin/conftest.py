"""Tests of the index do not wait for the disk, but for the one that checks that the index does."""

import os
import sqlite3

import pytest
from making import quick_connect


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """A crash of a process, unlike a power cut, loses nothing that was written."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(sqlite3, "connect", quick_connect)
