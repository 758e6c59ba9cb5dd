"""Put the numbers of docs/results/*.json into the pages of docs/ and the README.

    python experiments/render_docs.py

A page marks the place of a table with `<!-- table NAME -->` and `<!-- end -->`; what stands between
is replaced.  No number in such a table is typed by hand, and a test fails when one is stale.
"""

from __future__ import annotations

import csv
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anomaly_pages
import attribution_pages
import credit_pages
import inputs_pages
import inversion_pages
import origin_pages
import promise_pages
import service_pages
from markdown_tables import RESULTS, load, table

from wherefrom.calibration.verdict import Verdict

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def loops_table() -> str:
    found = load("inversion")["loops"]
    rows = [
        [solver, *_median([r for r in found if r["solver"] == solver])]
        for solver in dict.fromkeys(r["solver"] for r in found)
    ]
    base = float(rows[0][-1])
    for row in rows:
        row.append(f"{base / float(row[-1]):.1f}x")
    head = ["solver", "iterations", "certified gap", "from the optimum, at most", "s per image"]
    return table([*head, "faster than official"], rows)


def continuation_table() -> str:
    """Iterations and seconds, cold over warm, per weight and gap, over the layers."""
    found = load("continuation")["rows"]
    rows = []
    for lam, gap in dict.fromkeys((r["lam"], r["gap"]) for r in found):
        mine = [r for r in found if (r["lam"], r["gap"]) == (lam, gap)]
        steps = [statistics.fmean(r[f"{way} iterations"]) for r in mine for way in ("cold", "warm")]
        ratios = [cold / warm for cold, warm in zip(steps[::2], steps[1::2], strict=True)]
        times = [r["cold seconds"] / r["warm seconds"] for r in mine]
        rows.append(
            [
                f"{lam:g}",
                f"{gap:g}",
                f"{statistics.fmean(steps[::2]):.0f}",
                f"{statistics.fmean(steps[1::2]):.0f}",
                f"{min(ratios):.1f} to {max(ratios):.1f}",
                f"{min(times):.1f} to {max(times):.1f}",
            ]
        )
    titles = ["λ", "gap", "iterations, cold", "by continuation", "fewer by", "faster by"]
    return table(titles, rows)


def _median(rows: list[dict[str, Any]]) -> list[str]:
    keys = (
        ("iterations", ".0f"),
        ("certified_gap", ".1e"),
        ("distance", ".1e"),
        ("seconds_per_image", ".3g"),
    )
    return [format(statistics.median(r[k] for r in rows), spec) for k, spec in keys]


def libraries_table() -> str:
    found = load("inversion")["libraries"]

    def median(solver: str, key: str) -> float:
        return statistics.median(r[key] for r in found if r["solver"] == solver)

    rows = []
    for solver in ("celer", "scikit-learn"):
        ours = f"ours, as close as {solver}"
        ratio = median(solver, "seconds_per_image") / median(ours, "seconds_per_image")
        for name, faster in ((solver, ""), (ours, f"{ratio:.0f}x")):
            gap, seconds = median(name, "distance"), median(name, "seconds_per_image")
            rows.append([name, f"{gap:.1e}", f"{seconds:.3g}", faster])
    return table(["solver", "from the optimum, at most", "s per image", "ours is faster by"], rows)


def cost_table() -> str:
    cost = load("inversion")["cost"]
    rows = []
    for count in sorted({r["images"] for r in cost["batch"]}):
        speeds = [r["images_per_second"] for r in cost["batch"] if r["images"] == count]
        rows.append([f"{count} images of 64 px", f"{statistics.median(speeds):.0f} images/s"])
    rows += [
        [f"16 images of {r['pixels']} px", f"{r['milliseconds_per_image']:.1f} ms each"]
        for r in cost["size"]
    ]
    rows += [
        [f"one iteration: {r['part']}", f"{r['milliseconds_per_image']:.3f} ms per image"]
        for r in cost["parts"]
    ]
    return table(["fast effort", "cost"], rows)


def attribution_quick_table() -> str:
    """What the commands beside the table in docs/attribution.md wrote."""
    with (RESULTS / "attribution_quick.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shares = ("rejected", "accuracy")
    verdicts = [name for name in rows[0] if name in map(str, Verdict)]
    return table(
        ["source", "images", *(f"{name}, %" for name in shares), "AUROC", *verdicts],
        [
            [
                row["source"],
                row["images"],
                *(f"{100 * float(row[name]):.1f}" for name in shares),
                f"{float(row['AUROC']):.3f}" if row["AUROC"] else "",
                *(row[name] for name in verdicts),
            ]
            for row in rows
        ],
    )


def search_table() -> str:
    found = load("origin_search")
    rows = []
    for row in found["batches"]:
        took = {engine: _clock(row, engine) for engine in row["runs"]}
        ours = took["index"]
        rows.append(
            [
                str(row["batch"]),
                *(f"{row['batch'] / took[engine]:,.0f}" for engine in took),
                f"{took['faiss, default'] / ours:.2f}x",
                f"{took['faiss, lowered'] / ours:.2f}x",
                f"{row['same_up_to_ties']} of {row['batch']}",
            ]
        )
    engines = ["queries/s: index", "FAISS, lowered", "FAISS, default"]
    return table(["batch", *engines, "default / index", "lowered / index", "same top 10"], rows)


def search_memory_table() -> str:
    rows = [
        [
            str(r["batch"]),
            f"{r['ratio']:.2f}x",
            f"{r['whole_process']:.2f}x",
            f"{r['open']:.2f}",
            f"{r['open_and_first_search']:.2f}",
        ]
        for r in load("origin_search")["memory"]
    ]
    head = ["batch", "beyond imports", "whole process", "open, s", "and first search, s"]
    return table(head, rows)


def search_growth_table() -> str:
    rows = [
        [
            f"{r['rows']:,}",
            str(r["batch"]),
            *(f"{1e3 * _clock(r, engine) / r['batch']:.2f}" for engine in r["runs"]),
        ]
        for r in load("origin_search")["growth"]
    ]
    head = ["vectors", "batch", "ms per query: index", "FAISS, lowered", "FAISS, default"]
    return table(head, rows)


def search_setting_table() -> str:
    found = load("origin_search")
    machine, build = found["machine"], found["build"]
    share = "not measured in this run"
    if build is not None:
        per_second = {
            name: statistics.median(runs) for name, runs in build["images_per_second"].items()
        }
        share = (
            f"{100 * build['share']:.0f} % ({per_second['build']:.1f} of "
            f"{per_second['encoder']:.1f} images/s, {build['files']} files)"
        )
    rows = [
        ["command", f"`{found['command']}`"],
        ["vectors", f"{found['rows']:,} of {found['dim']} numbers"],
        ["effective dimensions", f"{found['effective_dimensions']:.0f}"],
        ["processor", f"{machine['processor']}, {machine['threads']} threads"],
        ["multiplies bfloat16", "yes" if machine["bfloat16"] else "no"],
        ["torch, FAISS", f"{machine['torch']}, {machine['faiss']}"],
        ["vectors added per second", f"{found['add_vectors_per_second']:,.0f}"],
        ["a build, of the encoder's own throughput", share],
    ]
    return table(["this run", ""], rows)


def _clock(row: dict[str, Any], engine: str) -> float:
    return statistics.median(run["wall"] for run in row["runs"][engine])


def gan_step_table() -> str:
    found = load("gan_step")
    rows = [
        [name, f"{1000 * seconds:.0f}", f"{found['times_faster'][name]:.2f}x"]
        for name, seconds in found["seconds_per_step"].items()
    ]
    return table(["step", "ms", "faster by"], rows)


def ks2d_table() -> str:
    rows = [
        [
            f"{r['points']:,}",
            f"{r['plain_seconds']:.3g}",
            f"{r['seconds']:.3g}",
            f"{r['times_faster']:.0f}x",
            f"{r['difference']:.0e}",
        ]
        for r in load("ks2d")["sizes"]
    ]
    return table(["points in all", "plain, s", "ours, s", "faster by", "difference"], rows)


def threads_table() -> str:
    """Milliseconds per image by way of working, idle and beside a busy process."""
    timings = load("threads")["rows"]
    rows = []
    for way in dict.fromkeys(row["way"] for row in timings):
        cells = []
        for busy in (0, 1):
            (values,) = (r["milliseconds"] for r in timings if (r["way"], r["busy"]) == (way, busy))
            cells.append(
                f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
            )
        rows.append([way, *cells])
    return table(["ms per image", "idle", "beside one busy process"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "threads": threads_table,
    "continuation": continuation_table,
    "attribution_quick": attribution_quick_table,
    "loops": loops_table,
    "libraries": libraries_table,
    "cost": cost_table,
    "gan_step": gan_step_table,
    "ks2d": ks2d_table,
    "search": search_table,
    "search_memory": search_memory_table,
    "search_growth": search_growth_table,
    "search_setting": search_setting_table,
    **anomaly_pages.TABLES,
    **attribution_pages.TABLES,
    **origin_pages.TABLES,
    **credit_pages.TABLES,
    **inputs_pages.TABLES,
    **inversion_pages.TABLES,
    **service_pages.TABLES,
    **promise_pages.TABLES,
}


def render_all() -> dict[Path, str]:
    """Every page that has a table, with its tables made anew."""
    pages = {}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text()
        new = MARK.sub(lambda m: f"{m[1]}{TABLES[m[2]]()}{m[3]}", text)
        if MARK.search(text):
            pages[path] = new
    return pages


def main() -> None:
    for path, text in render_all().items():
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")
    for name, draw in anomaly_pages.PLOTS.items():
        (RESULTS / name).write_text(draw())
        print(f"wrote docs/results/{name}")


if __name__ == "__main__":
    main()
