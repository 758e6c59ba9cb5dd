"""The rates that anomaly states, by few replays; experiments/promises.py makes many."""

import pytest
from promises_anomaly import PROMISES


@pytest.mark.parametrize("promise", PROMISES, ids=[p.name.replace(" ", "-") for p in PROMISES])
def test_a_stated_rate_holds__limit(promise, require_kept):
    require_kept(promise)
