"""The ledger: what is recorded stays, and nothing is mixed up."""

import sqlite3

import numpy as np
import pytest
from playing import GAME, PLAYERS, RUNS, open_game, value_of

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.credit.ledger.game import GameIdentity, Outcome, Planned, members_of, run_key
from wherefrom.credit.ledger.ledger import MAX_ATTEMPTS, Ledger
from wherefrom.credit.ledger.merging import merge_ledger


def play_all(ledger, count=None):
    """Make `count` runs, all by default."""
    for _ in range(len(RUNS) if count is None else count):
        lease = ledger.claim_next()
        members = members_of(lease.mask, PLAYERS)
        ledger.finish(lease, Outcome({"sum": value_of(members, lease.seed)}))


def test_runs_come_back_as_planned__roundtrip(tmp_path):
    with open_game(tmp_path / "l.sqlite") as ledger:
        play_all(ledger)
    with Ledger(tmp_path / "l.sqlite", GAME, readonly=True) as ledger:
        table = ledger.runs("sum")
    assert table.masks.dtype == bool
    assert table.values.dtype == np.float64
    assert table.seeds.dtype == np.int64
    assert table.masks.tolist() == [members_of(r.mask, PLAYERS).tolist() for r in RUNS]
    assert table.seeds.tolist() == [r.seed for r in RUNS]
    expected = [value_of(members_of(r.mask, PLAYERS), r.seed) for r in RUNS]
    assert table.values.tolist() == expected  # bit for bit


def test_a_ledger_at_rest_is_one_file__identity_rest(tmp_path):
    with open_game(tmp_path / "l.sqlite") as ledger:
        assert (tmp_path / "l.sqlite-wal").exists()
        play_all(ledger, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["l.sqlite"]
    # SQLite's header: 1 is the journal that a read-only medium can do without, 2 the log.
    assert (tmp_path / "l.sqlite").read_bytes()[18] == 1


def test_planning_twice_changes_nothing__identity_idempotent(tmp_path):
    with open_game(tmp_path / "l.sqlite") as ledger:
        play_all(ledger, 3)
        before = ledger.all_runs()
        assert ledger.plan(RUNS) == 0
        assert ledger.plan([*RUNS, Planned(1, 99)]) == 1
        assert ledger.all_runs()[:-1] == before


def test_a_run_is_leased_once_and_in_order__identity_lease(tmp_path):
    with open_game(tmp_path / "l.sqlite") as ledger:
        leases = [ledger.claim_next() for _ in range(len(RUNS) + 1)]
    assert leases.pop() is None
    assert [lease.mask for lease in leases] == [run.mask for run in RUNS]
    assert len({lease.owner for lease in leases}) == len(RUNS)


def test_the_first_result_stands__identity_idempotent(tmp_path):
    with open_game(tmp_path / "l.sqlite") as ledger:
        lease = ledger.claim_next()
        assert ledger.finish(lease, Outcome({"sum": 1.5}))
        assert not ledger.finish(lease, Outcome({"sum": 2.5}))
        assert not ledger.fail(lease, "too late")
        assert ledger.runs("sum").values.tolist() == [1.5]


def test_a_lease_that_ended_waits_again_and_may_still_be_won__closed_form(tmp_path):
    with open_game(tmp_path / "l.sqlite") as ledger:
        slow = ledger.claim_next(seconds=10, now=100.0)
        again = ledger.claim_next(seconds=1e12, now=111.0)
        assert (again.mask, again.seed) == (slow.mask, slow.seed)
        assert not ledger.renew(slow)
        assert ledger.renew(again)
        assert not ledger.fail(slow, "no longer mine")
        assert ledger.finish(slow, Outcome({"sum": 4.0}))  # computed, so not thrown away
        assert not ledger.finish(again, Outcome({"sum": 5.0}))
        assert ledger.runs("sum").values.tolist() == [4.0]


def test_a_run_that_kills_its_workers_fails__limit(tmp_path):
    with open_game(tmp_path / "l.sqlite") as ledger:
        for attempt in range(MAX_ATTEMPTS):
            assert ledger.claim_next(seconds=1, now=10.0 * attempt).mask == RUNS[0].mask
        assert ledger.claim_next(seconds=1e12, now=1000.0).mask == RUNS[1].mask
        (problem,) = ledger.problems()
        assert "died 3 times" in problem.error
        assert ledger.retry_failed() == 1
        assert ledger.counts() == {"planned": 31, "leased": 1, "done": 0, "failed": 0}


def test_a_released_run_has_not_been_tried__identity_release(tmp_path):
    with open_game(tmp_path / "l.sqlite") as ledger:
        for _ in range(2 * MAX_ATTEMPTS):
            ledger.release(ledger.claim_next())
        assert ledger.claim_next(seconds=1, now=0.0).mask == RUNS[0].mask
        assert ledger.claim_next(seconds=1e12, now=9.0).mask == RUNS[0].mask  # the second time
        assert not ledger.problems()


def test_values_that_are_no_numbers_are_recorded__rejects_nan(tmp_path):
    with open_game(tmp_path / "l.sqlite") as ledger:
        ledger.define("other", {})
        ledger.finish(ledger.claim_next(), Outcome({"sum": float("inf"), "other": 2.0}))
        ledger.finish(ledger.claim_next(), Outcome({}, {"sum": "it broke"}, rescorable=True))
        ledger.finish(ledger.claim_next(), Outcome({}, {"sum": "it broke"}))
        ledger.finish(ledger.claim_next(), Outcome({"sum": float("nan")}))
        states = [run.status for run in ledger.all_runs()]
        assert states[:4] == ["done", "done", "failed", "failed"]
        assert ledger.runs("other").values.tolist() == [2.0]
        assert len(ledger.runs("sum").values) == 0
        found = {(p.run.mask, p.what): p.error for p in ledger.problems()}
        assert "inf" in found[0, "sum"]
        assert found[1, "sum"] == "it broke"
        assert found[2, "run"] == "sum: it broke"


def test_the_same_runs_under_a_new_property__identity_rescore(tmp_path):
    with open_game(tmp_path / "l.sqlite") as ledger:
        play_all(ledger, 4)
        ledger.define("size", {"unit": 1})
        keys = ledger.unscored("size")
        assert keys == [run_key(GAME.digest, r.mask, r.seed) for r in RUNS[:4]]
        for number, key in enumerate(keys):
            ledger.score(key, Outcome({"size": float(number)}))
        assert ledger.unscored("size") == []
        ledger.score(keys[0], Outcome({"size": 99.0}))
        assert ledger.runs("size").values.tolist() == [0.0, 1.0, 2.0, 3.0]
        ledger.define("size", {"unit": 2})  # another meaning: no value carries over
        assert ledger.unscored("size") == keys
        ledger.define("size", {"unit": 1})
        assert ledger.runs("size").values.tolist() == [0.0, 1.0, 2.0, 3.0]
        with pytest.raises(InputError, match="has no property 'sise'; it has size, sum"):
            ledger.runs("sise")


def test_changed_data_under_an_old_ledger__rejects_other_game(tmp_path):
    open_game(tmp_path / "l.sqlite").close()
    changed = GameIdentity("toy", PLAYERS, {"data": {"a": "1", "b": "9"}, "steps": 3})
    with pytest.raises(InputError, match=r"changed: data\.b\)"):
        Ledger(tmp_path / "l.sqlite", changed)
    with pytest.raises(InputError, match="5 contributors there, 6 now"):
        Ledger(tmp_path / "l.sqlite", GameIdentity("toy", 6, GAME.spec))
    with pytest.raises(InputError, match="under the name 'toy'"):
        Ledger(tmp_path / "l.sqlite", GameIdentity("toy2", PLAYERS, GAME.spec))
    other = GameIdentity("retrain", PLAYERS, {"steps": 9})
    with Ledger(tmp_path / "l.sqlite", other) as ledger:  # a second game has its own runs
        assert ledger.all_runs() == []


def test_files_that_are_no_ledger__rejects_them(tmp_path):
    (tmp_path / "text").write_text("no database, but long enough to be read as one" * 40)
    with pytest.raises(ArtifactError, match="damaged"):
        Ledger(tmp_path / "text", GAME)
    base = sqlite3.connect(tmp_path / "other")
    base.execute("CREATE TABLE t (x)")
    base.close()
    with pytest.raises(ArtifactError, match="not a ledger"):
        Ledger(tmp_path / "other", GAME)
    with pytest.raises(InputError, match="no such ledger"):
        Ledger(tmp_path / "absent", GAME, readonly=True)
    with pytest.raises(InputError, match="cannot use the ledger"):
        Ledger(tmp_path / "no" / "folder", GAME)
    with open_game(tmp_path / "l") as ledger, pytest.raises(InputError, match="no subset of 5"):
        ledger.plan([Planned(32, 0)])


def test_a_full_disk_keeps_what_is_recorded__rejects_full(tmp_path):
    with open_game(tmp_path / "l.sqlite") as ledger:
        play_all(ledger, 5)
        (pages,) = ledger._base.execute("PRAGMA page_count").fetchone()
        ledger._base.execute(f"PRAGMA max_page_count = {pages}")
        lease = ledger.claim_next()
        with pytest.raises(InputError, match="disk is full"):
            ledger.finish(lease, Outcome({"sum": 1.0}, detail={"much": "x" * 100_000}))
        assert len(ledger.runs("sum").values) == 5
        ledger._base.execute("PRAGMA max_page_count = 1000000")
        assert ledger.finish(lease, Outcome({"sum": 1.0}))


def test_two_sites_make_one_ledger__identity_merge(tmp_path):
    def site(name, chosen):
        with open_game(tmp_path / name) as ledger:
            while (lease := ledger.claim_next()) is not None:
                if chosen(lease.mask):
                    value = value_of(members_of(lease.mask, PLAYERS), lease.seed)
                    value += 1e-9 * (name == "b" and lease.mask == 4)
                    ledger.finish(lease, Outcome({"sum": value}, detail={"site": name}))
                elif name == "a":
                    ledger.fail(lease, "this site cannot")

    site("a", lambda mask: mask < 20)
    site("b", lambda mask: mask >= 3)
    tables = []
    for first, second in (("a", "b"), ("b", "a")):
        path = tmp_path / f"{first}{second}"
        open_game(path).close()
        with Ledger(path, GAME) as ledger:
            merge_ledger(ledger, tmp_path / first)
            told = merge_ledger(ledger, tmp_path / second)
            assert told.disagreements == 1
            assert told.largest == pytest.approx(1e-9)
            before = ledger.details()
            assert merge_ledger(ledger, tmp_path / second).scores == 0
            assert ledger.details() == before
            tables.append(ledger.runs("sum"))
            sites = [detail["site"] for _, _, detail in before]
            assert sites == ["a"] * 20 + ["b"] * 12  # the first result of each run stands
            assert ledger.counts()["done"] == len(RUNS)
    expected = [value_of(members_of(r.mask, PLAYERS), r.seed) for r in RUNS]
    for table in tables:
        assert table.values.tolist() == expected  # site a was first, in either order


def test_merging_another_game__rejects_it(tmp_path):
    other = GameIdentity("toy", PLAYERS, {"data": {}})
    Ledger(tmp_path / "b", other).close()
    with open_game(tmp_path / "a") as ledger, pytest.raises(InputError, match="another game"):
        merge_ledger(ledger, tmp_path / "b")
