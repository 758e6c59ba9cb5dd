"""An index whose writer is killed -9 at any moment has lost nothing that was acknowledged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What killed_changes.py found."""
    script = Path(__file__).with_name("killed_changes.py")
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, script, folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
@pytest.mark.parametrize("change", ["add", "delete", "compact"])
def test_a_change_killed_at_any_step_is_there_whole_or_not_at_all__identity_whole(outcomes, change):
    rows = outcomes["moments"][change]
    # Enough moments, or the kills did not hit the change at all.
    assert len(rows) > 12
    seen = [row[0] for row in rows]
    # Compaction changes nothing that a reader can see, so that new looks like old.
    expected = {"old"} if change == "compact" else {"old", "new"}
    assert set(seen) == expected
    assert seen == sorted(seen, key=["old", "new"].index)  # it happens once, and stays
    assert {row[1] for row in rows} == {seen[-1]}
    assert [row[2] for row in rows if row[2]] == []


@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
def test_what_a_writer_said_is_there_whenever_it_is_killed__identity_acknowledged(outcomes):
    assert outcomes["random"]["troubles"] == []
    assert outcomes["random"]["said"] > 50
