"""How well shares and every baseline predict the property of held-out subsets.  Section 4.4.

The held-out runs are of the study of full retraining (`truth`), or of the study itself; no share
rests on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed
from wherefrom.core.saving.json_text import finite
from wherefrom.credit.diffusion.properties import Property, RunOutput
from wherefrom.credit.estimators.choose import METHODS, estimate
from wherefrom.credit.estimators.tables import checked, pairs_of
from wherefrom.credit.evaluation.fidelity import require_same_contributors
from wherefrom.credit.evaluation.lds import (
    FRACTIONS,
    CounterfactualRow,
    LdsRow,
    SubsetsDesign,
    VarianceSplit,
    counterfactual_rows,
    counterfactual_runs,
    lds_difference,
    lds_rows,
    left_out,
    only_runs,
    variance_split,
)
from wherefrom.credit.evaluation.table_one import (
    APPLICATION,
    GIVEN,
    INFLUENCE,
    LEAVE_ONE_OUT,
    SHARES,
    SIMILARITY,
    Baselines,
    family_of,
    study_baselines,
)
from wherefrom.credit.ledger.game import Floats, Planned, RunTable, mask_of
from wherefrom.credit.method import COUNTERFACTUAL_SEEDS, OpenStudy, run_study, without_evaluation
from wherefrom.credit.study.diffusion_run import DiffusionPlay
from wherefrom.data.images.notebook import AsTable, Rows

CHOICES = ("best", "all", "none")
FAMILIES = (SHARES, LEAVE_ONE_OUT, SIMILARITY, INFLUENCE, APPLICATION, GIVEN)
GROUPS = 10  # of images that are left out in turn
RUNS = 8  # that are looked at


@dataclass(frozen=True)
class EvaluationConfig:
    """Settings of `evaluate_shares`.

    `subsets` of each size, each with `seeds` training seeds; sizes are `alphas`, as parts of all
    contributors.  `counterfactual`: whose top contributors are removed and kept: those of the best
    method of each family by LDS (as in the paper), of all methods, or of none.
    """

    subsets: int = 100
    seeds: int = 3
    alphas: tuple[float, ...] = (0.25, 0.5, 0.75)
    level: float = 0.95
    counterfactual: str = "best"
    baselines: bool = True

    def held_out(self, players: int, seed: int) -> list[Planned]:
        """The runs that LDS is measured on; no share rests on them."""
        if self.counterfactual not in CHOICES:
            raise InputError(f"counterfactual is {self.counterfactual!r}; choose one of {CHOICES}")
        designs = [
            SubsetsDesign(players, alpha, self.subsets, self.seeds, seed) for alpha in self.alphas
        ]
        return [run for design in designs for run in design.take(self.subsets * self.seeds)]


@dataclass(frozen=True)
class MakeRuns:
    """Make the runs that an evaluation lacks, on `device`; `announce` is told first how many."""

    device: str = "cpu"
    announce: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class LdsGap:
    """LDS of the `reference` less that of a method, on the same subsets, with its interval."""

    method: str
    reference: str
    size: int
    gap: float
    low: float
    high: float


@dataclass(frozen=True)
class ShareEvaluation(AsTable):
    """How well shares and baselines predict the property of held-out subsets.

    `missing`: why a baseline has no scores.  `known`: how many of the `held_out` subsets were also
    run, with other seeds, for the shares; `dropped`: these are left out of LDS.  `variance`: None
    where no subset was run twice; `images`: variance of a run over other images, None where a run
    has no images.
    """

    lds: tuple[LdsRow, ...]
    missing: Mapping[str, str]
    gaps: tuple[LdsGap, ...]
    changes: tuple[CounterfactualRow, ...]
    known: int
    dropped: bool
    held_out: int
    variance: VarianceSplit | None
    images: float | None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values; None for what is not finite."""
        return {
            "lds": [row.to_dict() for row in self.lds],
            "missing": dict(self.missing),
            "differences": [finite(vars(row)) for row in self.gaps],
            "counterfactual": [asdict(row) for row in self.changes],
            "held_out": self.held_out,
            "known_to_shares": self.known,
            "known_left_out": self.dropped,
            "variance": None if self.variance is None else self.variance.to_dict(),
            "variance_of_images": self.images,
        }

    def as_table(self) -> tuple[Rows, str]:
        return [row.to_dict() for row in self.lds], "LDS by method and size"


def evaluate_shares(
    study: OpenStudy,
    name: str,
    config: EvaluationConfig,
    *,
    truth: OpenStudy | None = None,
    given: Mapping[str, Floats] | None = None,
    make: MakeRuns | None = None,
    track: Track = quiet,
) -> ShareEvaluation:
    """Compare the shares of the property `name` with every baseline and with `given` scores.

    The runs that they are compared on are those of `truth`, the study of full retraining, or of
    the study itself; with `make`, runs that are missing are made.  Leave-one-out is of the study's
    own game, as the shares are, at n + 2 runs.  `InputError` where held-out runs are missing, or
    `truth` has other contributors.
    """
    if truth is not None:
        require_same_contributors(study.data.names, truth.data.names)
    compared = study if truth is None else truth
    seed = compared.study.config.study.seed
    held_out = config.held_out(study.data.players, seed)
    if make is not None:
        _plan(study, leave_one_out_runs(study))
        _plan(compared, held_out)
        more = 0 if config.counterfactual == "none" else 2 * len(FRACTIONS) + 2
        both = [study] if truth is None else [study, truth]
        make.announce(announcement(both, more))
        for opened in both:
            run_study(opened, runs=0, devices=(make.device,), track=track)
    runs, table = all_runs(study, name), all_runs(compared, name)
    lds_rows(table, {}, only=held_out)  # what is missing is said before the long work
    own_seed = study.study.config.study.seed
    scores = shares_by_method(runs, held_out, own_seed, unions=study.data.unions)
    baselines = Baselines({}, {})
    if config.baselines:
        baselines = study_baselines(study.lab, name, track=track)
    missing = dict(baselines.missing)
    if "loo" not in scores:
        missing["loo"] = "the runs without one contributor are not made; --run makes them"
    scores = {**scores, **baselines.scores, **(given or {})}
    fitted = without_evaluation(runs, own_seed)
    seen = left_out(held_out, fitted)
    rows = lds_rows(table, scores, only=held_out, seen=seen, level=config.level)
    followed = _followed(rows, scores, config.counterfactual)
    if make is not None and followed:
        _plan(compared, counterfactual_runs(followed, study.data.players, seed))
        run_study(compared, runs=0, devices=(make.device,), track=track)
        table = all_runs(compared, name)
    masks = {run.mask for run in held_out}
    images = image_noise(compared, name, track=track)
    return ShareEvaluation(
        lds=tuple(rows),
        missing=missing,
        gaps=_gaps(only_runs(table, held_out), scores, seed, config.level, seen),
        changes=tuple(counterfactual_rows(table, followed)) if followed else (),
        known=len(masks & {mask_of(row) for row in fitted.masks}),
        dropped=bool(seen),
        held_out=len(masks),
        variance=_variance(table, images),
        images=images,
    )


def announcement(studies: Sequence[OpenStudy], more: int) -> str:
    """How many runs wait in the ledgers, and the hours that they take, one after the other.

    `more`: runs that may follow for each method that is followed counterfactually.
    """
    waiting, hours, timed = 0, 0.0, True
    for opened in studies:
        with opened.ledger(readonly=True) as ledger:
            open_runs = ledger.open_runs()
            spent = [detail.get("seconds") for _, _, detail in ledger.details()]
        seconds = [sum(each.values()) for each in spent if each]
        waiting += open_runs
        timed &= bool(seconds) or not open_runs
        hours += open_runs * float(np.mean(seconds)) / 3600 if seconds else 0.0
    took = f"about {hours:.2g} hours" if timed else "hours not known: no run was timed yet"
    then = f"; then up to {more} runs for each method whose top contributors are removed" * bool(
        more
    )
    return f"{waiting} runs to make, {took}{then}"


def all_runs(opened: OpenStudy, name: str) -> RunTable:
    """Every finished run of a study, those of evaluations too."""
    with opened.ledger(readonly=True) as ledger:
        return ledger.runs(name)


def leave_one_out_runs(opened: OpenStudy) -> list[Planned]:
    """Everybody, all but one each, and nobody, with the seed of the counterfactual runs."""
    n, full = opened.data.players, (1 << opened.data.players) - 1
    seed = derive_seed(opened.study.config.study.seed, COUNTERFACTUAL_SEEDS, 0)
    masks = [full, *(full ^ 1 << i for i in range(n)), 0]
    return [Planned(mask, seed) for mask in masks]


def shares_by_method(
    runs: RunTable, held_out: list[Planned], seed: int, *, unions: Sequence[str] = ()
) -> dict[str, Floats]:
    """Shares by every estimator that the design's runs carry, and leave-one-out.

    None but leave-one-out sees a run of the evaluation.
    """
    fitted, scores = only_runs(without_evaluation(runs, seed), held_out, rest=True), {}
    drawn_in_pairs = len(pairs_of(checked(fitted)).halves) > 0
    for method in METHODS[1:]:
        if method == "kernelshap" and drawn_in_pairs:
            continue  # it is right only for subsets drawn alone from the law of Eq. 5
        with suppress(InputError):  # these runs do not carry that method
            scores[method] = estimate(fitted, method, accept_shrinkage=True, unions=unions).values
    if not scores:
        raise InputError("the study has no runs that carry any shares; run it first")
    scores.pop("loo", None)
    with suppress(InputError):  # the caller says so
        scores["loo"] = estimate(only_runs(runs, held_out, rest=True), "loo").values
    return scores


def image_noise(opened: OpenStudy, name: str, *, track: Track = quiet) -> float | None:
    """Variance of a run over other images, None where no images are there."""
    if opened.lab is None or not isinstance(opened.play, DiffusionPlay):
        return None
    with opened.ledger(readonly=True) as ledger:
        keys = [key for key, run, _ in ledger.details() if name in run.values]
    return sampling_variance(opened.play, keys, opened.lab.measured(name), track=track)


def image_variance(measured: Property, output: RunOutput, groups: int = GROUPS) -> float | None:
    """Variance of the property over other images of the same model, by the grouped jackknife.

        (g - 1) / g  sum_j (F without group j - their mean)^2

    None with fewer images than two per group.
    """
    count = len(output.images)
    if count < 2 * groups:
        return None
    group = torch.arange(count) % groups
    values = [measured(RunOutput(output.images[group != g], output.model)) for g in range(groups)]
    return float((groups - 1) * np.var(values))


def sampling_variance(
    play: DiffusionPlay, keys: Sequence[str], measured: Property, *, track: Track = quiet
) -> float | None:
    """Mean of `image_variance` over at most `RUNS` runs whose images are there, spread evenly.

    All runs of a study share their noise, so most of it cancels between them: it says what other
    images would have given.  None where no run's images are there.
    """
    there = [key for key in keys if (play.outputs / key).is_dir()]
    chosen = there[:: max(1, -(-len(there) // RUNS))]
    variances = []
    for key in track(chosen, "measuring the noise of images", total=len(chosen)):
        variance = image_variance(measured, play.load(play.outputs / key)[0])
        if variance is not None:
            variances.append(variance)
    return float(np.mean(variances)) if variances else None


def reference_method(scores: Mapping[str, Floats]) -> str | None:
    """The estimator that a report uses by default: exact where it can be, else paired."""
    known = [name for name in ("exact", "paired", *METHODS[1:]) if name in scores]
    return next((name for name in known if family_of(name) == SHARES), None)


def _plan(opened: OpenStudy, planned: list[Planned]) -> None:
    with opened.ledger() as ledger:
        ledger.plan(planned)


def _followed(rows: list[LdsRow], scores: Mapping[str, Floats], choice: str) -> dict[str, Floats]:
    """The methods whose top contributors are removed and kept."""
    if choice == "none":
        return {}
    if choice == "all":
        return dict(scores)
    means = {
        method: float(np.nan_to_num([row.lds for row in rows if row.method == method]).mean())
        for method in scores
    }
    chosen = []
    for family in FAMILIES:
        members = [method for method in scores if family_of(method) == family]
        if family == GIVEN:
            chosen += members
        elif family == SHARES:
            # Not the best by LDS: the default is the one that people get.
            chosen += [method for method in [reference_method(scores)] if method is not None]
        elif members:
            chosen.append(max(members, key=lambda method: means[method]))
    return {method: scores[method] for method in chosen}


def _gaps(
    table: RunTable, scores: Mapping[str, Floats], seed: int, level: float, seen: Sequence[int]
) -> tuple[LdsGap, ...]:
    reference = reference_method(scores)
    if reference is None:
        return ()
    return tuple(
        LdsGap(method, reference, size, *interval)
        for method, values in scores.items()
        if method != reference
        for size, interval in lds_difference(
            table, scores[reference], values, seed=seed, level=level, seen=seen
        ).items()
    )


def _variance(table: RunTable, images: float | None) -> VarianceSplit | None:
    try:
        return variance_split(table, images)
    except InputError:
        return None
