"""Forecasts of a study: its cost and gain before any run is made, the intervals after a pilot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.credit.diffusion.model import Diffusion, sample
from wherefrom.credit.diffusion.properties import RunOutput, measure
from wherefrom.credit.estimators.paired import LEVEL
from wherefrom.credit.estimators.planning import RunsPlan, plan_runs, usual_budgets
from wherefrom.credit.method import FinishedRuns, OpenStudy
from wherefrom.credit.study.diffusion_run import START, DiffusionPlay
from wherefrom.credit.study.file import Study
from wherefrom.data.images.writing import to_uint8

COST, PILOT, INTERVALS = "cost", "pilot", "intervals"
IMAGES = 256  # sampled of each model, at most those of a run


@dataclass(frozen=True)
class Foreseen:
    """A property of the empty set's model and of the model that runs start from, in its own units.

    The full set's is not known before it is run; the starting model's stands for it.
    """

    name: str
    empty: float
    start: float

    @property
    def gain(self) -> float:
        """About the sum of the shares."""
        return self.start - self.empty

    def line(self, empty: str) -> str:
        """The forecast in one sentence; `empty` is the setting in [game]."""
        text = (
            f"{self.name}, before any run: {self.empty:.4g} of the empty set ({empty}) and "
            f"{self.start:.4g} of the model that runs start from"
        )
        if empty == START:
            return (
                f"{text}; these are one model, so the gain is what more training on all data adds, "
                "and a payout may refuse it; `empty` in [game] has other choices"
            )
        text += f": a gain of about {self.gain:.4g}"
        if self.gain <= 0:
            return f"{text}, which a payout would refuse; choose another property"
        return (
            f"{text}; as far as it comes with the starting model it is divided equally, and runs "
            "tell what contributors differ by"
        )


def foresee_gain(opened: OpenStudy, *, track: Track = quiet) -> tuple[Foreseen, ...]:
    """Sample and measure both models, without training; nothing for games without them.

    At most `IMAGES` images each; a property that cannot be measured is left out.
    """
    play = opened.play
    if not isinstance(play, DiffusionPlay) or play.kind == "retrain":
        return ()

    def sampled(model: Diffusion) -> RunOutput:
        few = min(IMAGES, play.sampling.images)
        images = sample(model, play.sampling.with_values({"images": few}), track=track)
        return RunOutput(to_uint8(images), model)

    # A LoRA game has one network for both, so each is measured before the other is made.
    empty, _ = measure(play.properties, sampled(play.empty_model(0)))
    start, _ = measure(play.properties, sampled(play.start(0)))
    return tuple(
        Foreseen(name, empty[name], start[name])
        for name in opened.specs
        if name in empty and name in start
    )


def plan_steps(study: Study, *, pilot: bool) -> tuple[str, ...]:
    """What a plan of the study consists of, in order: some of `COST`, `PILOT` and `INTERVALS`.

    The cost is measured with a `pilot`, which makes runs, and where no run is there; the steps of a
    callable game cannot be timed.  Intervals are foreseen from runs; the cost alone needs none.
    """
    timed = (pilot or not study.ledger.exists()) and study.config.game.kind != "callable"
    if pilot:
        return (COST, PILOT, INTERVALS) if timed else (PILOT, INTERVALS)
    return (COST,) if timed else (INTERVALS,)


def plan_study(
    runs: FinishedRuns, budgets: Sequence[int] = (), *, level: float = LEVEL
) -> RunsPlan:
    """Expected intervals of a study at `budgets` runs, from the runs of its pilot (`plan_runs`).

    Without budgets, those of `plan_runs` and the number that the study file asks for.
    `InputError` for the design owen, whose intervals are not those of the paired design.
    """
    if runs.opened.data.unions:
        raise InputError(
            "plan foresees the paired design, and this study has the design owen; plan it with the "
            "design paired first"
        )
    n = runs.table.masks.shape[1]
    wanted = budgets or sorted({*usual_budgets(n), runs.opened.study.config.design.runs})
    return plan_runs(runs.table, wanted, level=level, seconds_per_run=runs.seconds)
