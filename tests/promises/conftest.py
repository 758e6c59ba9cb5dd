"""The simulations lie beside the experiments; each question's are a test file of their own."""

import sys
from pathlib import Path

import pytest

EXPERIMENTS = str(Path(__file__).parents[2] / "experiments")
if EXPERIMENTS not in sys.path:
    sys.path.insert(0, EXPERIMENTS)


@pytest.fixture
def require_kept():
    """A call that runs a promise's few replays, and fails if they are very unlikely."""
    from promise import broken, realised

    def require(promise):
        values = promise.simulate(promise.suite, 0)
        assert len(values) >= promise.suite and bool(((values >= 0) & (values <= 1)).all())
        assert not broken(promise, values), realised(values)

    return require
