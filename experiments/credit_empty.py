"""What the empty set is worth: the committed sparsified games under both meanings of it.

    python experiments/credit_empty.py [--out FILE]

The ledgers of experiments/credit_exact.py and experiments/credit_table_1.py were made under
`empty = "start"`.  The untrained networks of their games of retraining stand for the empty set
under `untrained`; every other run is the same under both.  Nothing is trained; it takes seconds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from credit_studies import LEDGERS, PROPERTIES, games_in, open_game

from wherefrom import __version__
from wherefrom.core.saving.store import write_file
from wherefrom.credit.estimators.choose import estimate
from wherefrom.credit.ledger.game import RunTable

STUDIES = {
    "six contributors": ("credit_exact.sqlite", "credit_exact.sqlite"),
    "twenty contributors": ("credit_table_1_sparsified.sqlite", "credit_table_1_retrain.sqlite"),
}
OUT = Path(__file__).parents[1] / "docs" / "results" / "credit_empty.json"


def runs_of(ledger: str, kind: str, name: str) -> RunTable:
    """The finished runs of one game and property."""
    if kind not in games_in(LEDGERS / ledger):
        raise SystemExit(f"{ledger} has no game {kind}")
    with open_game(LEDGERS / ledger, kind) as game:
        return game.runs(name)


def ends(table: RunTable) -> tuple[float, float]:
    """Mean values of the empty and the full set."""
    sizes = table.masks.sum(axis=1)
    empty, full = (table.values[sizes == size].mean() for size in (0, table.masks.shape[1]))
    return float(empty), float(full)


def compare(sparsified: RunTable, retrained: RunTable) -> dict[str, Any]:
    """Gains under both meanings, and how a division under `untrained` differs from the equal one.

    `start_step`: what of that gain the starting model brings, before any run; `apart`: what of it
    goes another way than the equal split sends it; `most`, `least`: the largest and smallest part.
    """
    start, full = ends(sparsified)
    untrained, whole = ends(retrained)
    values = sparsified.values.copy()
    values[~sparsified.masks.any(axis=1)] = untrained
    shares = estimate(sparsified._replace(values=values), accept_shrinkage=True)
    parts = shares.values / shares.anchors.gain
    return {
        "gain": {"start": full - start, "untrained": full - untrained},
        "gain_of_retraining": whole - untrained,
        "start_step": (start - untrained) / (full - untrained),
        "apart": float(np.abs(parts - 1 / len(parts)).sum()) / 2,
        "most": float(parts.max()),
        "least": float(parts.min()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    rows = [
        {"study": study, "property": name}
        | compare(runs_of(ours, "sparsified", name), runs_of(truth, "retrain", name))
        for study, (ours, truth) in STUDIES.items()
        for name in PROPERTIES
    ]
    result = {"command": "python experiments/credit_empty.py", "version": __version__, "rows": rows}
    write_file(args.out, (json.dumps(result, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
