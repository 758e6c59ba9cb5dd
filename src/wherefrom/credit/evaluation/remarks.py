"""Sentences about a study that the reader of its shares has to know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.ledger.game import Run
from wherefrom.credit.method import OpenStudy
from wherefrom.credit.result import Shares
from wherefrom.credit.study.diffusion_run import BEGUN

MAX_START = 0.01  # coefficient of the starting weights above which a remark is made


class StartWeight(NamedTuple):
    """Coefficient of the starting weights in the runs' averages of weights: mean and largest.

    It does not measure how much fine-tuned weights still depend on all data.
    """

    mean: float
    largest: float


def study_remarks(opened: OpenStudy) -> list[str]:
    """Sentences about the players, images given twice, the model and the averages of weights."""
    data, remarks = opened.data, list[str]()
    if data.origin is not None:
        remarks.append(f"the players are {data.seating}")
    remarks += shared_lines(data)
    remarks += model_lines(opened)
    with opened.ledger(readonly=True) as ledger:
        start = start_weight_of(ledger.details())
    if start is not None and start.largest > MAX_START:
        remarks.append(
            f"the average of weights of a run gives up to {100 * start.largest:.3g} % to the "
            "weights it started from, which were trained on all data; this makes the shares more "
            f"alike; expected at most {100 * MAX_START:g} %; set more steps or a smaller average "
            "in [finetuning]"
        )
    return remarks


def division_lines(opened: OpenStudy, shares: Shares) -> list[str]:
    """How far a division depends on the model of the empty set, in games that start from all data.

    The part of the gain that is not divided equally, in [0, 1]:

        sum_i |phi_i - g / n| / (2 g)

    The differences from the equal split do not depend on the empty set; the split and g do.
    """
    game, gain = opened.study.config.game, shares.anchors.gain
    if game.kind not in BEGUN or gain <= 0:
        return []
    apart = float(np.abs(shares.values - gain / shares.players).sum()) / (2 * gain)
    return [
        f"{100 * apart:.3g} % of the gain is not divided equally; the size of the equal part "
        f"follows from the model of the empty set ({game.empty}; `empty` in [game]), not from the "
        "images of the contributors"
    ]


def shared_lines(data: Contributors) -> list[str]:
    """One sentence for each two contributors who gave the same images."""
    return [
        f"{first} and {second} both gave {count} image{'s' * (count != 1)} of the same pixels"
        for first, second, count in data.shared
    ]


def model_lines(opened: OpenStudy) -> list[str]:
    """Sentences about the prediction and schedule of the user's own model, if unlike DDPM's."""
    return [] if opened.lab is None else list(opened.lab.models.notes)


def start_weight_of(details: Iterable[tuple[str, Run, Mapping[str, Any]]]) -> StartWeight | None:
    """The coefficient of the starting weights in finished runs; None if no run has recorded it."""
    weights = [
        float(detail["start_weight"])
        for _, run, detail in details
        if run.status == "done" and run.mask and "start_weight" in detail
    ]
    return StartWeight(sum(weights) / len(weights), max(weights)) if weights else None
