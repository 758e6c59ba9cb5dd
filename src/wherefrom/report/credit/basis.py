"""Facts of a study that the reader of its shares has to know, as JSON values."""

from __future__ import annotations

from typing import Any

from wherefrom.credit.evaluation.finished import FinishedRuns
from wherefrom.credit.evaluation.remarks import start_weight_of

START_WEIGHT = "weight of the starting weights in the average of a run"


def basis_of(runs: FinishedRuns) -> dict[str, Any]:
    """Study, game, property and data that the shares rest on, without the recipe's length."""
    opened = runs.opened
    return {
        "study": str(opened.study.path),
        "game": opened.identity.name,
        "game digest": opened.identity.digest,
        "property": dict(opened.specs[runs.name]),
        "runs with a value": len(runs.table.values),
        **facts_of(runs),
        "data": dict(opened.identity.spec.get("data", {})),
    }


def facts_of(runs: FinishedRuns) -> dict[str, Any]:
    """Who the players are, who gave the same images, and how much runs average their start in."""
    data = runs.opened.data
    with runs.opened.ledger(readonly=True) as ledger:
        start = start_weight_of(ledger.details())
    facts: dict[str, Any] = {START_WEIGHT: None if start is None else start._asdict()}
    facts["same images"] = [list(pair) for pair in data.shared]
    if data.origin is None:
        return facts
    members = {name: list(given) for name, given in data.members().items()}
    return facts | {"players": {"are": data.seating, "members": members}}
