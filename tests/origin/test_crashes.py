"""An index whose writer is killed -9 at any moment has lost nothing that was acknowledged."""

import os

import pytest
from killed_changes import every_moment, random_moments, small_merges

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks and kills")


@pytest.fixture(scope="module")
def moments(tmp_path_factory):
    """What is found after every kill of every kind of change."""
    with pytest.MonkeyPatch.context() as patch:
        small_merges(patch)
        return every_moment(tmp_path_factory.mktemp("killed"))


@pytest.mark.parametrize("change", ["add", "delete", "compact", "relocate"])
def test_a_change_killed_at_any_step_is_there_whole_or_not_at_all__identity_whole(moments, change):
    rows, step, killed = moments[change]
    # Enough moments, or the kills did not hit the change at all.
    assert len(rows) > 12
    seen = [row[0] for row in rows]
    # Compaction changes nothing that a reader can see, so that new looks like old.
    expected = {"old"} if change == "compact" else {"old", "new"}
    assert set(seen) == expected
    assert seen == sorted(seen, key=["old", "new"].index)  # it happens once, and stays
    assert {row[1] for row in rows} == {seen[-1]}
    assert [row[2] for row in rows if row[2]] == []
    assert killed == rows[step]  # a kill leaves what a copy shows


def test_what_a_writer_said_is_there_whenever_it_is_killed__identity_acknowledged(
    tmp_path, monkeypatch
):
    small_merges(monkeypatch)
    outcome = random_moments(tmp_path, 8)
    assert outcome["troubles"] == []
    assert outcome["said"] > 50
