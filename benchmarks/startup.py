"""How much longer than `import torch` does a check of one image take?

    python benchmarks/startup.py mine.attributor suspect.png

Both are whole processes and take turns, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attributor")
    parser.add_argument("image")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "check one image": [
            *(sys.executable, "-m", "wherefrom.cli.main", "attribution", "check"),
            *(args.attributor, args.image),
        ],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(args.repeats):
        for name, command in commands.items():
            times[name].append(seconds(command))
    base, check = (statistics.median(values) for values in times.values())
    print(f"import torch {base:.2f} s, check {check:.2f} s: {check - base:.2f} s more")


if __name__ == "__main__":
    main()
