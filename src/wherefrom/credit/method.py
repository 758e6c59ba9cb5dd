"""Opening a study, making its runs, and the shares that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed
from wherefrom.core.saving.json_text import digest_json
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.estimators.choose import Credit, estimate_credit
from wherefrom.credit.estimators.design import design_of, require_playable
from wherefrom.credit.estimators.owen import numbered
from wherefrom.credit.estimators.paired import LEVEL
from wherefrom.credit.ledger.executors import EXECUTORS
from wherefrom.credit.ledger.file import refuse_other_data
from wherefrom.credit.ledger.game import Bools, Design, GameIdentity, Outcome, RunTable
from wherefrom.credit.ledger.ledger import Ledger
from wherefrom.credit.ledger.worker import Play, run_here
from wherefrom.credit.study.diffusion_run import (
    BEGUN,
    RETRAINED,
    START,
    TRAINED,
    UNLEARNED,
    UNTRAINED,
    DiffusionPlay,
)
from wherefrom.credit.study.file import Study, load_study
from wherefrom.credit.study.models import Models, make_models
from wherefrom.credit.study.tools import Lab, load_named

REVISION = 1  # of the games; to be increased when the same study file gives other results


@dataclass(frozen=True, eq=False)
class OpenStudy:
    """A study with its data, models and properties, ready to make runs."""

    study: Study
    data: Contributors
    identity: GameIdentity
    specs: Mapping[str, Mapping[str, Any]]  # of the properties, by name
    play: Play
    lab: Lab | None = None  # a callable game has no models

    @property
    def digest(self) -> str:
        """A digest of everything that determines the result of a run."""
        return digest_json({"game": self.identity.digest, "properties": dict(self.specs)})

    def ledger(self, *, readonly: bool = False) -> Ledger:
        """Open the study's ledger with its properties; the caller closes it.

        With `readonly`, an `InputError` if the ledger has another definition of a property.
        """
        ledger = Ledger(self.study.ledger, self.identity, readonly=readonly)
        try:
            for name, spec in self.specs.items():
                if readonly:
                    ledger.require(name, spec)
                else:
                    ledger.define(name, spec)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def design(self) -> Design:
        """The design: the subsets to run."""
        c, unions = self.study.config, self.data.unions
        return design_of(
            c.design.kind,
            self.data.players,
            c.study.seed,
            c.design.anchors,
            unions=numbered(unions) if unions else None,
            payout=c.design.payout,
        )


def open_study(
    path: Path | str, *, device: str = "cpu", train: bool = True, track: Track = quiet
) -> OpenStudy:
    """Read a study file and its images; train its full and its pruned model where they are absent.

    `device`: of the models, as in cuda:0.  `InputError` for any fault of the file or the images,
    and without `train` for a model that is not trained yet.
    """
    study = load_study(Path(path))
    data = study.contributors(track=track)
    require_playable(study.config.design.kind, data.players)
    refuse_other_data(study.ledger, study.config.game.kind, data.digests())
    if study.config.game.kind == "callable":
        return _open_callable(study, data)
    if study.config.model.kind == "lora":
        from wherefrom.credit.study.lora import make_lora_models

        models = make_lora_models(study, data, device=device, train=train, track=track)
    else:
        models = make_models(study, data, device=device, train=train, track=track)
    lab = Lab(study, data, models, device)
    identity = _identity(study.config.game.kind, data, _spec(study, data, models))
    specs = {p.name: p.spec for p in lab.properties}
    return OpenStudy(study, data, identity, specs, _play(lab, identity), lab)


def run_study(
    study: OpenStudy,
    runs: int | None = None,
    *,
    devices: Sequence[str] | None = None,
    executor: str = "local",
    retry_failed: bool = False,
    track: Track = quiet,
) -> dict[str, int]:
    """Make the first `runs` runs of a study, by default as many as its file says; counts by state.

    Runs that are done are not made again, but measured if a property is new.  Without `devices`
    they are made in this process, on the study's device.  With `devices`, `executor` starts a
    worker for each: local (processes of this machine) or ray (a Ray cluster).
    """
    if executor not in EXECUTORS:
        raise InputError(f"the executor is {executor!r}; choose {' or '.join(EXECUTORS)}")
    count = study.study.config.design.runs if runs is None else runs
    with study.ledger() as ledger:
        ledger.plan(study.design().take(count))
        if retry_failed:
            ledger.retry_failed()
        ledger.forget_deaths()
        rescore(study, ledger, track=track)
        if devices is None:
            run_here(ledger, study.play, track=track)
        else:
            make_play = partial(play_of, study.study.path.absolute(), study.digest)
            EXECUTORS[executor](ledger, make_play, devices=tuple(devices), track=track)
        return ledger.counts()


run = run_study  # its name in `wherefrom.credit`


def rescore(opened: OpenStudy, ledger: Ledger, *, track: Track = quiet) -> int:
    """Measure the properties of which finished runs have no value; how many runs."""
    missing = {key for name in opened.specs for key in ledger.unscored(name)}
    ordered = [key for key, _, _ in ledger.details() if key in missing]
    if ordered and not isinstance(opened.play, DiffusionPlay):
        raise InputError(
            "the game callable saves no output that could be measured again; name another ledger "
            "in [study] for the new property"
        )
    for key in track(ordered, "measuring finished runs", total=len(ordered)):
        assert isinstance(opened.play, DiffusionPlay)  # noqa: S101 (said above)
        ledger.score(key, opened.play.rescore(key))
    return len(ordered)


def play_of(path: Path, digest: str, device: str) -> Play:
    """Load the game of a study in a worker; `InputError` if its digest is not `digest`.

    The study file may have been edited since the study was opened.
    """
    opened = open_study(path, device=device)
    if opened.digest != digest:
        raise InputError(
            f"{show_path(path)} or a file that it names was changed while runs were made; every "
            "finished run is kept; undo the change, or start `wherefrom credit run` again"
        )
    return opened.play


def _play(lab: Lab, identity: GameIdentity) -> DiffusionPlay:
    c, models = lab.study.config, lab.models
    return DiffusionPlay(
        kind=c.game.kind,
        game=identity.digest,
        contributors=lab.data,
        latents=models.latents,
        conditions=models.conditions,
        start=models.start,
        blank=models.blank,
        training=c.training if c.game.kind == "retrain" else c.finetuning,
        sampling=c.sampling,
        properties=lab.properties,
        outputs=lab.study.work / "runs",
        unlearning=c.unlearning,
        keep_weights=c.game.keep == "weights",
        checkpoint_every=c.game.checkpoint_every,
        empty=c.game.empty,
        whole=c.training,
    )


def _identity(kind: str, data: Contributors, spec: Mapping[str, Any]) -> GameIdentity:
    """The identity of the game; a ledger can hold one for each way of forming the players."""
    if data.origin is None:
        return GameIdentity(kind, data.players, spec)
    return GameIdentity(f"{kind}, {data.seating}", data.players, {**spec, "seats": data.seats()})


def _spec(study: Study, data: Contributors, models: Models) -> dict[str, Any]:
    """Everything that determines the output of a run, as JSON values."""
    c, kind = study.config, study.config.game.kind
    spec: dict[str, Any] = {
        "revision": REVISION,
        "kind": kind,
        "data": data.digests(),
        "model": dict(models.spec),
        "sampling": c.sampling.to_dict(),
    }
    del spec["sampling"]["batch"]  # results do not depend on it
    if kind in TRAINED:
        spec["training"] = (c.training if kind == "retrain" else c.finetuning).to_dict()
    if kind in UNLEARNED:
        spec["unlearning"] = c.unlearning.to_dict()
    # Earlier ledgers do not state the default; the game `retrain` does not depend on it.
    if kind != "retrain" and c.game.empty != (START if kind in BEGUN else UNTRAINED):
        spec["empty"] = c.game.empty
        if c.game.empty == RETRAINED:
            spec["whole"] = c.training.to_dict()
    return spec


def _open_callable(study: Study, data: Contributors) -> OpenStudy:
    c = study.config.game
    spec = {
        "revision": REVISION,
        "kind": "callable",
        "data": data.digests(),
        "callable": c.callable,
        "version": c.version,
    }
    function = load_named(c.callable, study.path.parent)
    names = [each.name for each in study.properties]
    # Groups are called by their members.
    seated = data.members() if data.origin is not None and not data.unions else {}

    def play(members: Bools, seed: int) -> Outcome:
        chosen = [name for name, inside in zip(data.names, members, strict=True) if inside]
        if seated:
            chosen = [each for name in chosen for each in seated[name]]
        answer = function(chosen, seed)
        values = answer if isinstance(answer, Mapping) else {names[0]: answer}
        absent = {name: "the callable gave no value" for name in names if name not in values}
        given = {name: float(np.asarray(values[name])) for name in names if name in values}
        return Outcome(given, absent)

    identity = _identity("callable", data, spec)
    specs = {each.name: each.to_dict() for each in study.properties}
    return OpenStudy(study, data, identity, specs, play)


MAX_REPLICATES = 100  # training seeds of a subset in an evaluation
LDS_SEEDS, COUNTERFACTUAL_SEEDS = "credit lds run", "credit counterfactual"


@dataclass(frozen=True, eq=False)
class FinishedRuns:
    """The runs that shares of the property `name` rest on.

    `seconds`: mean seconds of a run, None if runs were not timed.
    """

    opened: OpenStudy
    name: str
    table: RunTable
    seconds: float | None

    @property
    def names(self) -> tuple[str, ...]:
        """The players, in order."""
        return self.opened.data.names

    def credit(
        self, method: str = "auto", *, level: float = 0.95, accept_shrinkage: bool = False
    ) -> Credit:
        """Shares by a method; in the design owen those of the unions, with the players inside."""
        return estimate_credit(
            self.table,
            self.names,
            method,
            unions=self.opened.data.unions,
            level=level,
            accept_shrinkage=accept_shrinkage,
        )


def finished_runs(opened: OpenStudy, name: str | None = None) -> FinishedRuns:
    """Read the finished runs of a property, by default the study's first, from the ledger.

    `InputError` for an unknown property, or if every run has failed.
    """
    chosen = next(iter(opened.specs)) if name is None else name
    if chosen not in opened.specs:
        raise InputError(
            f"the study measures no property {chosen!r}; it has {', '.join(opened.specs)}"
        )
    with opened.ledger(readonly=True) as ledger:
        table = ledger.runs(chosen)
        spent = [detail.get("seconds") for _, run, detail in ledger.details() if run.values]
        failed = [each.error for each in ledger.problems() if each.what in (chosen, "run")]
    if failed and not len(table.values):
        raise InputError(f"no run has a value of {chosen!r}; the first problem was: {failed[0]}")
    timed = [sum(each.values()) for each in spent if each]
    seconds = sum(timed) / len(timed) if timed else None
    table = without_evaluation(table, opened.study.config.study.seed)
    return FinishedRuns(opened, chosen, table, seconds)


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


def without_evaluation(table: RunTable, seed: int) -> RunTable:
    """The runs of the design alone, without those that were made to evaluate shares.

    The evaluation's subsets are chosen by size, or by who seemed to matter, and not by the law of
    the design; and shares that were paid out must not move because they were evaluated.  Its runs
    are known by their seeds, which no design uses.
    """
    seeds = [
        derive_seed(seed, name, replicate)
        for name in (LDS_SEEDS, COUNTERFACTUAL_SEEDS)
        for replicate in range(MAX_REPLICATES)
    ]
    return table.at(~np.isin(table.seeds, np.array(seeds, dtype=np.int64)))
