"""What the ledger adds to a run: planning, leasing and recording 10,000 of them.

    python benchmarks/credit_ledger.py --out docs/results/credit_ledger.json

The game answers at once, so that what is left is the ledger's.  One worker in this process, then
two worker processes of the local executor that share one file; the milliseconds of the latter are
those between two recorded runs.  Every recorded run is flushed to the disk, so the disk's own
time for that is measured beside it.  `the last tenth` shows what a full ledger costs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wherefrom import __version__
from wherefrom.credit.estimators.design import PairedDesign
from wherefrom.credit.ledger.executors import run_local
from wherefrom.credit.ledger.game import Bools, GameIdentity, Outcome, Planned
from wherefrom.credit.ledger.ledger import Ledger
from wherefrom.credit.ledger.worker import Play, work

PLAYERS = 20
GAME = GameIdentity("benchmark", PLAYERS, {"kind": "answers at once"})
NAMES = ("inception score", "minus FD")
FLUSHES = 200


def answer(members: Bools, seed: int) -> Outcome:
    """A run that costs nothing, with as much to record as a real one."""
    value = float(members.sum()) + seed % 7
    seconds = {"training": 1.5, "sampling": 2.5, "scoring": 0.1}
    detail = {"images": "sha256:" + 64 * "0", "start_weight": 0.125, "loss": 0.0625}
    return Outcome(dict.fromkeys(NAMES, value), {}, {**detail, "seconds": seconds}, rescorable=True)


def make_play(_device: str) -> Play:
    """The game in a worker."""
    return answer


def new_ledger(path: Path, planned: Sequence[Planned]) -> tuple[Ledger, float]:
    """A ledger with these runs planned, and the seconds of planning."""
    ledger = Ledger(path, GAME)
    for name in NAMES:
        ledger.define(name, {"name": name})
    began = time.perf_counter()
    ledger.plan(planned)
    return ledger, time.perf_counter() - began


def row(what: str, runs: int, seconds: float, last: float | None = None) -> dict[str, Any]:
    """A line of the table; seconds of all runs, and of the last tenth of them."""
    found = {"what": what, "runs": runs, "milliseconds": 1e3 * seconds / runs}
    found["last"] = None if last is None else 1e3 * last / (runs // 10)
    print(f"{what}: {found['milliseconds']:.2f} ms each, last tenth {found['last']}", flush=True)
    return found


def one_worker(scratch: Path, planned: Sequence[Planned]) -> list[dict[str, Any]]:
    """Plan, make and read runs in this process."""
    ledger, planning = new_ledger(scratch / "one.sqlite", planned)
    runs, times = len(planned), [time.perf_counter()]

    def timed(members: Bools, seed: int) -> Outcome:
        times.append(time.perf_counter())
        return answer(members, seed)

    with ledger:
        work(ledger, timed)
        end = time.perf_counter()
        found = [
            row("plan", runs, planning),
            row("lease and record, one worker", runs, end - times[0], end - times[-(runs // 10)]),
        ]
        began = time.perf_counter()
        count = len(ledger.runs(NAMES[0]).values)
        found.append(row("read a property of all", runs, time.perf_counter() - began))
        if count != runs:
            raise SystemExit(f"{count} of {runs} runs have a value")
    return found


def two_workers(scratch: Path, planned: Sequence[Planned]) -> dict[str, Any]:
    """The local executor; the clock is that of the records, so that starting does not count."""
    path = scratch / "two.sqlite"
    ledger, _ = new_ledger(path, planned)
    with ledger:
        run_local(ledger, make_play, devices=("cpu", "cpu"))
    base = sqlite3.connect(path)
    finished = sorted(at for (at,) in base.execute("SELECT finished FROM runs"))
    base.close()
    tenth = len(planned) // 10
    return row(
        "lease and record, two processes",
        len(planned),
        finished[-1] - finished[0],
        finished[-1] - finished[-tenth],
    )


def flush_time(scratch: Path) -> float:
    """Median milliseconds to append 4 KB to a file and flush it to the disk."""
    times = []
    with (scratch / "flush").open("wb", buffering=0) as file:
        for _ in range(FLUSHES):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            times.append(1e3 * (time.perf_counter() - began))
    return float(np.median(times))


def main() -> None:
    """Print the table and save the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--scratch", type=Path, help="folder on the disk to measure")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    planned = PairedDesign(PLAYERS, 0).take(args.runs)
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        scratch = Path(folder)
        rows = [*one_worker(scratch, planned), two_workers(scratch, planned)]
        flush = flush_time(scratch)
        size = (scratch / "one.sqlite").stat().st_size
    print(f"the disk alone: {flush:.2f} ms; {size / args.runs:.0f} bytes a run")
    if args.out:
        result = {
            "command": f"python benchmarks/credit_ledger.py --runs {args.runs}",
            "versions": {
                "wherefrom": __version__,
                "sqlite": sqlite3.sqlite_version,
                "python": platform.python_version(),
            },
            "rows": rows,
            "flush": flush,
            "bytes_per_run": size / args.runs,
        }
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
