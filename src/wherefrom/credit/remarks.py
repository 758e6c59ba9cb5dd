"""What the reader of a study's shares has to know about the study, besides the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.game import Run
from wherefrom.credit.method import OpenStudy
from wherefrom.credit.result import Shares
from wherefrom.credit.running.diffusion_run import BEGUN

MAX_START = 0.01  # coefficient of the starting weights; above it the average hides what was learned


class StartWeight(NamedTuple):
    """Coefficient of the starting weights in the runs' averages of weights: mean and largest.

    It is no measure of what fine-tuned weights still know of all data, which nobody has measured.
    """

    mean: float
    largest: float


def study_remarks(opened: OpenStudy) -> list[str]:
    """Sentences about who plays, who gave the same images, and the averages of weights."""
    data, told = opened.data, list[str]()
    if data.origin is not None:
        told.append(f"the game is played between {data.seating}")
    told += shared_lines(data)
    told += model_lines(opened)
    with opened.ledger(readonly=True) as ledger:
        start = start_weight_of(ledger.details())
    if start is not None and start.largest > MAX_START:
        told.append(
            f"the average of weights of a run gives up to {100 * start.largest:.3g} % to the "
            "weights it started from, which were trained on all data; contributors look alike by "
            f"that much; expected at most {100 * MAX_START:g} %: more steps or a shorter average "
            "in [finetuning]"
        )
    return told


def division_lines(opened: OpenStudy, shares: Shares) -> list[str]:
    """How much of a division is owed to what the empty set is, where games begin at all data.

    The part of the gain that goes another way than the equal split sends it, in [0, 1]:

        sum_i |phi_i - g / n| / (2 g)

    The differences in it do not depend on the empty set; the equal split and g do.
    """
    game, gain = opened.study.config.game, shares.anchors.gain
    if game.kind not in BEGUN or gain <= 0:
        return []
    apart = float(np.abs(shares.values - gain / shares.players).sum()) / (2 * gain)
    return [
        f"{100 * apart:.3g} % of the gain is divided otherwise than equally; how large the equal "
        f"part is follows from what the empty set is ({game.empty}; `empty` in [game]), not from "
        "what contributors gave"
    ]


def shared_lines(data: Contributors) -> list[str]:
    """One sentence for each two contributors who gave the same images."""
    return [
        f"{first} and {second} both gave {count} image{'s' * (count != 1)} of the same pixels"
        for first, second, count in data.shared
    ]


def model_lines(opened: OpenStudy) -> list[str]:
    """What a user's own model predicts and on which schedule, where it is not DDPM's."""
    return [] if opened.lab is None else list(opened.lab.models.notes)


def start_weight_of(details: Iterable[tuple[str, Run, Mapping[str, Any]]]) -> StartWeight | None:
    """The coefficient of the starting weights in finished runs of somebody's data.

    Ledgers of version 0.1 and before name it full_data_share.
    """
    weights = [
        float(detail.get("start_weight", detail.get("full_data_share")))
        for _, run, detail in details
        if run.status == "done" and run.mask and {"start_weight", "full_data_share"} & set(detail)
    ]
    return StartWeight(sum(weights) / len(weights), max(weights)) if weights else None
