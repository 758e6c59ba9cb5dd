"""Every rate that the product states, held against a simulation of at least 300 replays.

    python experiments/promises.py [--replays 1000] [--only NAME ...] [--out FILE]

Each promise runs the public function that states it, in a world whose truth is known.  With --only,
the other promises keep what the file says of them.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import promises_anomaly
import promises_attribution
import promises_credit
import promises_inversion
import promises_origin
from promise import Promise, realised

from wherefrom import __version__

PROMISES: tuple[Promise, ...] = (
    *promises_attribution.PROMISES,
    *promises_anomaly.PROMISES,
    *promises_inversion.PROMISES,
    *promises_origin.PROMISES,
    *promises_credit.PROMISES,
)
OUT = Path(__file__).parents[1] / "docs" / "results" / "promises.json"
LEAST_REPLAYS = 300


def run(promise: Promise, replays: int, seed: int) -> dict[str, Any]:
    """What is kept of one promise, as JSON values."""
    start = time.perf_counter()
    result = realised(promise.simulate(replays, seed))
    return {
        "name": promise.name,
        "statement": promise.statement,
        "assumption": promise.assumption,
        "code": promise.code,
        "promised": promise.rate,
        "at_least": promise.at_least,
        "realised": result.mean,
        "low": result.low,
        "high": result.high,
        "replays": result.replays,
        "holds": result.holds(promise),
        "seed": seed,
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replays", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="names of promises; default: all")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    if args.replays < LEAST_REPLAYS:
        parser.error(f"--replays {args.replays}: give at least {LEAST_REPLAYS}")
    known = {p.name for p in PROMISES}
    if unknown := set(args.only or ()) - known:
        parser.error(f"no promise {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    earlier = (
        json.loads(args.out.read_text())["promises"] if args.only and args.out.is_file() else []
    )
    rows = {row["name"]: row for row in earlier}
    for promise in PROMISES:
        if args.only and promise.name not in args.only:
            continue
        row = rows[promise.name] = run(promise, args.replays, args.seed)
        sign = "at least" if promise.at_least else "at most"
        print(
            f"{promise.name}: promised {sign} {promise.rate:g}, realised {row['realised']:.4f} "
            f"({row['low']:.4f} to {row['high']:.4f}) {'holds' if row['holds'] else 'BROKEN'}",
            flush=True,
        )
        listed = [rows[p.name] for p in PROMISES if p.name in rows]
        summary = {"version": __version__, "python": platform.python_version(), "promises": listed}
        args.out.write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
