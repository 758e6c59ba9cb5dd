"""The tables of docs/origin.md, from docs/results/origin.json."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any

from markdown_tables import load, percent, table


def _found() -> dict[str, Any]:
    return load("origin")


def _both(row: dict[str, Any]) -> str:
    low, high = row["mAP_interval"]
    return f"{100 * row['mAP']:.1f} [{100 * low:.0f}, {100 * high:.0f}] / {100 * row['Acc']:.1f}"


def _short(row: dict[str, Any]) -> str:
    return f"{100 * row['mAP']:.1f}"


def _pivot(
    rows: Iterable[dict[str, Any]],
    keys: tuple[str, ...],
    head: list[str],
    cell: Callable[[dict[str, Any]], str] = _short,
    column: str = "editor",
) -> str:
    """One line per value of `keys`, one column per value of `column`."""
    found = list(rows)
    columns = list(dict.fromkeys(row[column] for row in found))
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for row in found:
        lines.setdefault(tuple(str(row[k]) for k in keys), {})[row[column]] = cell(row)
    body = [[*line, *(cells.get(c, "") for c in columns)] for line, cells in lines.items()]
    names = {"a": "a (seen)", "b": "b (unseen)", "c": "c (unseen)"}
    return table([*head, *(names.get(c, c) for c in columns)], body)


def methods() -> str:
    return _pivot(_found()["methods"], ("method",), ["mAP [95 %] / Acc, %"], _both)


def spread() -> str:
    rows = _found()["spread"]
    lines = []
    for solver, name in (("closed", "W, closed form"), ("sgd", "W, cosface")):
        cells = [
            percent([r["mAP"] for r in rows if r["solver"] == solver and r["editor"] == editor])
            for editor in dict.fromkeys(r["editor"] for r in rows)
        ]
        lines.append([name, *cells])
    return table(["mAP, %", *dict.fromkeys(r["editor"] for r in rows)], lines)


def ranks() -> str:
    rows = [{**row, "rank": str(row["rank"])} for row in _found()["rank_ablation"]]
    return _pivot(rows, ("editor",), ["mAP, %: editor, by rank of W"], column="rank")


def attacks() -> str:
    rows = _found()["attacks"]
    lines = []
    for attack in dict.fromkeys(r["attack"] for r in rows):
        line = [attack]
        for method in dict.fromkeys(r["method"] for r in rows):
            mine = [r for r in rows if r["attack"] == attack and r["method"] == method]
            line.append(f"{100 * statistics.fmean(r['mAP'] for r in mine):.1f}")
        lines.append(line)
    return table(["mAP, %, mean of the editors", *dict.fromkeys(r["method"] for r in rows)], lines)


def strengths() -> str:
    rows = [
        {**row, "strength": f"{row['from']:.1f} to {row['from'] + 0.1:.1f}"}
        for row in _found()["strengths"]
    ]
    return _pivot(rows, ("method", "editor"), ["mAP, %", "editor"], column="strength")


def theory() -> str:
    found = _found()["theory"]
    lines = [
        [
            row["editor"],
            *(f"{row[k]:.3f}" for k in ("cosine_raw", "cosine")),
            *(f"{row[k]:.2f}" for k in ("distance_ratio_raw", "distance_ratio")),
            f"{found['singular_values'].get(row['editor'], 1.0):.3f}",
        ]
        for row in found["pairs"]
    ]
    head = ["editor", "cosine, raw", "cosine, W", "distance ratio, raw", "distance ratio, W"]
    return table([*head, "cos of singular values with W of a"], lines)


def encoders() -> str:
    return _pivot(_found()["encoders"], ("encoder", "method"), ["encoder", "mAP / Acc, %"], _both)


def cascade() -> str:
    rows = [{**row, "mAP, %": f"{100 * row['mAP']:.1f}"} for row in load("origin_cascade")["rows"]]
    changes = list(dict.fromkeys(row["change"] for row in rows))
    lines = []
    for name in dict.fromkeys(row["settings"] for row in rows):
        mine = {row["change"]: row for row in rows if row["settings"] == name}
        seconds = statistics.fmean(row["seconds"] for row in mine.values())
        lines.append([name, *(mine[c]["mAP, %"] for c in changes), f"{seconds:.2f}"])
    return table(["mAP, %, edits after", *changes, "CPU-seconds a query"], lines)


def cascade_decisions() -> str:
    rows = load("origin_cascade")["rows"]
    lines = []
    for row in [row for row in rows if row["change"] in ("none", "flip", "crop to 80 %")]:
        for statistic in dict.fromkeys(d["statistic"] for d in row["decisions"]):
            mine = [d for d in row["decisions"] if d["statistic"] == statistic]
            figures = [f"{100 * d['found']:.1f} / {100 * d['false']:.1f}" for d in mine]
            lines.append([row["settings"], row["change"], statistic, *figures])
    rates = [f"{d['rate']:.0%}" for d in rows[0]["decisions"][:3]]
    return table(["found / false alarms, %, at a rate of", "edits after", "", *rates], lines)


TABLES: dict[str, Callable[[], str]] = {
    "origin_cascade": cascade,
    "origin_cascade_decisions": cascade_decisions,
    "origin_methods": methods,
    "origin_spread": spread,
    "origin_ranks": ranks,
    "origin_attacks": attacks,
    "origin_strengths": strengths,
    "origin_theory": theory,
    "origin_encoders": encoders,
}
