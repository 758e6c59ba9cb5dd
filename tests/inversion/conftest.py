"""For every test of this folder: passes of few rows, as the pictures are few."""

import pytest

from wherefrom.inversion import model
from wherefrom.inversion.codes import refinement


@pytest.fixture(autouse=True)
def small_passes(monkeypatch):
    """16 rows a pass instead of 64: a pass that is not full costs as much as one that is."""
    for module in (model, refinement):
        monkeypatch.setattr(module, "PASS_ROWS", 16)
