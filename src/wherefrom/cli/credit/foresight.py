"""Notes before the first run of a study: its cost, and the expected gain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherefrom.cli.console.session import Session, print_table

if TYPE_CHECKING:
    from wherefrom.credit.contributors.reading import Contributors
    from wherefrom.credit.method import OpenStudy
    from wherefrom.credit.study.cost import Cost
    from wherefrom.credit.study.file import Study


def tell_gain(session: Session, opened: OpenStudy) -> None:
    """Note the expected gain of each property, unless runs are finished."""
    from wherefrom.credit.evaluation.foresight import foresee_gain

    with opened.ledger() as ledger:
        if ledger.counts()["done"]:
            return
    for forecast in foresee_gain(opened, track=session.track):
        session.note(forecast.line(opened.study.config.game.empty))


def tell_cost(
    session: Session, study: Study, data: Contributors, device: str, *, quiet_table: bool
) -> Cost:
    """Measure the cost of a study, and note it."""
    from wherefrom.credit.estimators.design import anchor_rounds
    from wherefrom.credit.estimators.planning import pilot_size
    from wherefrom.credit.study.cost import LIMIT, measure_cost
    from wherefrom.report.credit.tables import cost_table

    session.note(f"timing a few steps on {device}, for about {LIMIT:g} s; nothing is trained")
    cost = measure_cost(study, data, device=device, track=session.track)
    design = study.config.design
    own, rounds = anchor_rounds(design.kind, design.anchors, payout=design.payout)
    more = 2 * (rounds - own)  # anchors that come on top
    runs = pilot_size(data.players) + more
    pruned = "" if cost.pruned is None else f", {cost.pruned:,} after pruning"
    session.note(
        f"{data.players} contributors, {len(data.images)} images; {cost.parameters:,} trained "
        f"numbers{pruned}; timed in {cost.spent:.0f} s with batches of up to "
        f"{cost.largest}, larger ones in proportion, scoring left out"
    )
    session.note(
        f"until the pilot's {runs} runs are made: about {cost.hours(runs):.2g} hours; "
        "--pilot makes them, and then says how wide the intervals would be"
    )
    session.note(f"the empty and the full set are run {rounds} times each (`anchors` in [design])")
    if not quiet_table:
        print_table(cost_table(cost, {runs, design.runs + more}))
    return cost
