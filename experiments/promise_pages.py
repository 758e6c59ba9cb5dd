"""The tables of docs/promises.md, made from docs/results/promises.json."""

from __future__ import annotations

from typing import Any

from markdown_tables import load, table


def _rate(row: dict[str, Any]) -> str:
    return f"{'at least' if row['at_least'] else 'at most'} {row['promised']:g}"


def promises_table() -> str:
    """What was promised and what was realised, a row per promise."""
    rows = [
        [
            row["name"],
            _rate(row),
            f"{row['realised']:.3f}",
            f"{row['low']:.3f} to {row['high']:.3f}",
            str(row["replays"]),
            "holds" if row["holds"] else "**BROKEN**",
        ]
        for row in load("promises")["promises"]
    ]
    return table(["promise", "promised", "realised", "95 % interval", "replays", ""], rows)


def promises_list() -> str:
    """Each promise in words, with its assumption and the code that holds it."""
    return "".join(
        f"- **{row['name']}** ({_rate(row)}): {row['statement']}.\n"
        f"  Assumption: {row['assumption']}. Code: `{row['code']}`.\n"
        for row in load("promises")["promises"]
    )


TABLES = {"promises": promises_table, "promises_list": promises_list}
