"""How long do the loops of working on this project take?

    python benchmarks/loops.py                     all of them: make demo, check and test, too
    python benchmarks/loops.py help inspect        some of them
    python benchmarks/loops.py --save              all, kept in docs/results/loops.json

Wall time of whole processes, with the machine and its load: run it alone.  The short loops run in
turns after one run that does not count, and the others once.  `check` starts without the caches of
mypy and ruff, as in CI.  `inspect` and `attribution` ask about one image of what `make demo` left
in demo/out.  What docs/results/loops.json holds stands beside each time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SAVED = ROOT / "docs" / "results" / "loops.json"
SHORT = ("help", "torch", "attribution", "inspect")
LONG = ("demo", "check", "test")  # the demo first: the short ones need what it leaves


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("loops", nargs="*", metavar="|".join((*SHORT, *LONG)))
    parser.add_argument("--repeats", type=int, default=5, help="of the short loops (default: 5)")
    parser.add_argument("--demo", type=Path, default=ROOT / "demo" / "out")
    parser.add_argument("--save", action="store_true", help="write docs/results/loops.json")
    args = parser.parse_args()
    wanted = set(args.loops or (*SHORT, *LONG))
    if unknown := sorted(wanted - {*SHORT, *LONG}):
        parser.error(f"no such loop: {', '.join(unknown)}; choose from {', '.join(SHORT + LONG)}")
    if args.save and wanted != {*SHORT, *LONG}:
        parser.error("--save keeps all loops; name none")
    saved = json.loads(SAVED.read_text())["seconds"] if SAVED.exists() else {}
    facts = machine()
    before = os.getloadavg()
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print("load before", *(f"{load:.2f}" for load in before))
    if wanted & {*LONG}:
        seconds(["make", f"VENV={sys.prefix}", "dev"])  # what they install does not count
    times = {
        name: [seconds(["make", f"VENV={sys.prefix}", name])] for name in LONG if name in wanted
    }
    times |= in_turns([name for name in SHORT if name in wanted], args.demo, args.repeats)
    after = os.getloadavg()
    print("load after", *(f"{load:.2f}" for load in after))
    for name, values in times.items():
        spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
        old = f", saved {statistics.median(saved[name]):.2f} s" if name in saved else ""
        print(f"{name:12}{statistics.median(values):8.2f} s{spread}{old}")
    if args.save:
        found = {
            "command": "python benchmarks/loops.py --save",
            "machine": facts,
            "load": {"before": before, "after": after},
            "seconds": times,
        }
        SAVED.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")


def machine() -> dict[str, Any]:
    """What the times depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "wherefrom")},
    }


def in_turns(names: list[str], demo: Path, repeats: int) -> dict[str, list[float]]:
    """Seconds of each short loop, one value per round; a busy machine then slows all of them."""
    commands = {name: short_command(name, demo) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for command in commands.values():
        seconds(command)
    for _ in range(repeats):
        for name, command in commands.items():
            times[name].append(seconds(command))
    return times


def short_command(name: str, demo: Path) -> list[str]:
    """The command line of one of `SHORT`."""
    wherefrom = [sys.executable, "-m", "wherefrom.cli.main"]
    if name == "torch":
        return [sys.executable, "-c", "import torch"]
    if name == "help":
        return [*wherefrom, "--help"]
    image = first(demo, "suspects/mine-*.png")
    if name == "attribution":
        return [*wherefrom, "attribution", "check", first(demo, "*.attributor"), image]
    return [*wherefrom, "inspect", image, "--with", first(demo, "case.toml")]


def first(demo: Path, pattern: str) -> str:
    """The first path of that pattern in what the demo left."""
    found = sorted(path for path in demo.glob(pattern) if "broken" not in path.name)
    if not found:
        sys.exit(f"{demo} has no {pattern}; run make demo first")
    return str(found[0])


def seconds(command: list[str]) -> float:
    """Wall time of a process; the program ends with its output if it fails."""
    with tempfile.TemporaryDirectory() as caches:
        environment = {
            **os.environ,
            "MYPY_CACHE_DIR": f"{caches}/mypy",
            "RUFF_CACHE_DIR": f"{caches}/ruff",
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as in the Makefile, which says why
        start = time.perf_counter()
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        spent = time.perf_counter() - start
    if ended.returncode:
        sys.exit(f"{ended.stdout}{ended.stderr}\nfailed: {' '.join(command)}")
    return spent


if __name__ == "__main__":
    main()
