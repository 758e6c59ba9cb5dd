"""The tables of docs/origin-results.md, from docs/results/origin*.json."""

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


def choice() -> str:
    rows = _found()["choice"]
    lines: dict[str, list[float]] = {}
    for row in rows:
        if row["solver"] == "sgd":
            name = f"cosface, start {row['start']}"
        elif row["stationary"]:
            name = f"closed form, power {row['power']:g}"
        else:
            name = f"closed form, not stationary, ridge {row['ridge']:g}"
        lines.setdefault(name, []).append(row["mAP"])
    body = [[name, *(f"{100 * value:.1f}" for value in values)] for name, values in lines.items()]
    return table(["training pairs only, mAP, %", "first half", "second half"], body)


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


def decision() -> str:
    lines = [
        [
            f"{row['statistic']}, {'re-ranked' if row['rerank'] else 'W alone'}",
            row["editor"],
            f"{100 * row['rate']:g} %",
            *(_share(row[key]) for key in ("found", "wrong", "false_alarms")),
        ]
        for row in load("origin_decision")["rows"]
    ]
    head = ["statistic", "editor", "false alarms asked", "found, %", "wrong, %", "false alarms, %"]
    return table(head, lines)


def _share(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{100 * found['share']:.1f} [{100 * low:.0f}, {100 * high:.0f}]"


def views() -> str:
    rows = [{**row, "editor": row["attack"]} for row in load("origin_decision")["attacked"]]
    return _pivot(
        rows, ("views",), ["editor a: origin comes first, %"], lambda r: _share(r["first"])
    )


REAL = "origin_real_edits"


def _first(row: dict[str, Any]) -> list[str]:
    low, high = row["interval"]
    return [f"{row['first']:.3f} [{low:.2f}, {high:.2f}]", f"{row['mAP']:.3f}"]


def _best_first(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: -row["all"]["first"])


def real_edits() -> str:
    found = load(REAL)
    lines = [
        [row["method"], *_first(row["all"]), *_first(row["proper"]), *_first(row["apart"])[:1]]
        for row in _best_first(found["ranks"])
    ]
    head = ["method", "first place, all edits", "mAP", "first place, proper edits", "mAP", "apart"]
    return table(head, lines)


def real_editors(kind: str = "ranks") -> str:
    rows = _best_first(load(REAL)[kind])
    editors = {e: v["edits"] for e, v in rows[0]["editors"].items() if v["edits"] >= 10}
    lines = [
        [f"{editor} ({count})", *(f"{row['editors'][editor]['first']:.2f}" for row in rows)]
        for editor, count in sorted(editors.items(), key=lambda item: -item[1])
    ]
    lines.append(
        [f"all ({rows[0]['all']['edits']})", *(f"{row['all']['first']:.3f}" for row in rows)]
    )
    return table(["first place, by editor", *(row["method"] for row in rows)], lines)


def real_decisions() -> str:
    keys = ("called", "called_strictly", "wrong", "false_alarms")
    lines = [
        [row["method"], row["statistic"], *(_share(row[key]) for key in keys), f"{row['null']:.0f}"]
        for row in sorted(load(REAL)["decisions"], key=lambda row: -row["called"]["share"])
    ]
    shares = ["called, %", "called by itself, %", "wrong, %", "false alarms, %"]
    return table(["method", "statistic", *shares, "origins of the calibration"], lines)


def real_attacks() -> str:
    rows = [{**row, "column": row["views"]} for row in load(REAL)["attacked"]]
    return _pivot(
        rows,
        ("attack",),
        ["origin comes first, %, by views"],
        lambda r: _share(r["first"]),
        column="column",
    )


def real_largest() -> str:
    lines = [
        [f"{row['value']:.1f}", row["edit"], row["editor"], row["origin"], row["match"]]
        for row in load(REAL)["largest"][:6]
    ]
    return table(["value", "edit", "editor", "its origin", "best match without it"], lines)


TABLES: dict[str, Callable[[], str]] = {
    "origin_methods": methods,
    "origin_choice": choice,
    "origin_spread": spread,
    "origin_ranks": ranks,
    "origin_attacks": attacks,
    "origin_strengths": strengths,
    "origin_theory": theory,
    "origin_encoders": encoders,
    "origin_decision": decision,
    "origin_views": views,
    "origin_real_edits": real_edits,
    "origin_real_editors": real_editors,
    "origin_real_maps": lambda: real_editors("maps"),
    "origin_real_decisions": real_decisions,
    "origin_real_attacks": real_attacks,
    "origin_real_largest": real_largest,
}
