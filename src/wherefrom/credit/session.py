"""Runs, shares and a payout of a study from Python."""

from __future__ import annotations

from pathlib import Path

from wherefrom.credit.estimators.choose import Credit
from wherefrom.credit.estimators.paired import LEVEL
from wherefrom.credit.finished import finished_runs
from wherefrom.credit.method import OpenStudy, run_study
from wherefrom.credit.payout.division import PayoutConfig
from wherefrom.credit.payout.of_study import StudyPayout, Terms, divide
from wherefrom.credit.payout.receipt import balances_of, read_receipt

run = run_study


def shares(
    study: OpenStudy,
    *,
    property: str | None = None,  # noqa: A002 (the word of the study file)
    method: str = "auto",
    level: float = LEVEL,
    accept_shrinkage: bool = False,
) -> Credit:
    """Each contributor's share of a property, by default the study's first, from finished runs.

    `level`: probability that the intervals hold for all contributors at once.  `accept_shrinkage`:
    allow fewer than 2 (n - 1) runs; shares are then drawn toward the equal split.
    """
    finished = finished_runs(study, property)
    return finished.credit(method, level=level, accept_shrinkage=accept_shrinkage)


def pay(
    study: OpenStudy,
    pool: str,
    *,
    property: str | None = None,  # noqa: A002 (the word of the study file)
    currency: str = "EUR",
    method: str = "auto",
    level: float = LEVEL,
    policy: PayoutConfig | None = None,
    last: Path | str | None = None,
) -> StudyPayout:
    """Divide `pool`, an amount as "1000.00", by the shares; the amounts add up to it exactly.

    `last`: the receipt.json of the last round, for held amounts and debts.  `InputError` if the
    runs do not show that there is a gain to divide.
    """
    terms = Terms(
        pool=pool,
        currency=currency,
        method=method,
        level=level,
        policy=policy or PayoutConfig(),
        balances={} if last is None else balances_of(read_receipt(Path(last))),
    )
    return divide(finished_runs(study, property), terms)
