"""What the reader of a study's shares has to know about the study, besides the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from wherefrom.credit.contributors import Contributors
from wherefrom.credit.game import Run
from wherefrom.credit.method import OpenStudy

LEFT = 0.01  # of the full model's weights; beyond it subsets are told from each other too little


class Left(NamedTuple):
    """How much of the model of all data is still in the runs' weights: mean and largest."""

    mean: float
    largest: float


def study_remarks(opened: OpenStudy) -> list[str]:
    """Sentences about who plays, who gave the same images, and what is left of the full model."""
    data, told = opened.data, list[str]()
    if data.origin is not None:
        told.append(f"the game is played between {data.seating}")
    told += shared_lines(data)
    with opened.ledger(readonly=True) as ledger:
        left = full_data_left(ledger.details())
    if left is not None and left.largest > LEFT:
        told.append(
            f"up to {100 * left.largest:.3g} % of the averaged weights of a run are still those "
            "trained on all data, which makes contributors look alike; expected at most "
            f"{100 * LEFT:g} %: more steps or a shorter average in [finetuning]"
        )
    return told


def shared_lines(data: Contributors) -> list[str]:
    """One sentence for each two contributors who gave the same images."""
    return [
        f"{first} and {second} both gave {count} image{'s' * (count != 1)} of the same pixels"
        for first, second, count in data.shared
    ]


def full_data_left(details: Iterable[tuple[str, Run, Mapping[str, Any]]]) -> Left | None:
    """The share of full-data weights that remains in finished runs of somebody's data."""
    shares = [
        float(detail["full_data_share"])
        for _, run, detail in details
        if run.status == "done" and run.mask and "full_data_share" in detail
    ]
    return Left(sum(shares) / len(shares), max(shares)) if shares else None
