"""Tests of the index do not wait for the disk, but for the one that checks that the index does."""

import os
import sqlite3

import pytest
from latent_model import CLOSED, ENCODER, training_pairs
from making import quick_connect

from wherefrom.origin import fit_edit_map


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """A crash of a process, unlike a power cut, loses nothing that was written."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(sqlite3, "connect", quick_connect)


@pytest.fixture(scope="session")
def closed():
    """The map of `training_pairs` in closed form."""
    return fit_edit_map(*training_pairs(), encoder=ENCODER, config=CLOSED)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folders of a text-to-image and an InstructPix2Pix pipeline, and of another random one."""
    from tiny_pipelines import write_instruct, write_stable_diffusion

    home = tmp_path_factory.mktemp("models")
    write_stable_diffusion(home / "sd")
    write_instruct(home / "instruct")
    return home


@pytest.fixture(scope="session")
def sd(models):
    from wherefrom.origin.pipelines import load_pipeline

    return load_pipeline(models / "sd")


@pytest.fixture(scope="session")
def instruct(models):
    from wherefrom.origin.pipelines import load_pipeline

    return load_pipeline(models / "instruct")


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    from tiny_pipelines import write_photos

    return write_photos(tmp_path_factory.mktemp("here") / "photos", 3)
