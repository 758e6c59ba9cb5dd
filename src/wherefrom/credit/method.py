"""A study from its file to finished runs.

from wherefrom.credit.method import open_study, run_study

opened = open_study(Path("study.toml"))
run_study(opened)
opened.ledger().runs("diversity")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.estimators.design import design_of, require_playable
from wherefrom.credit.estimators.owen import numbered
from wherefrom.credit.game import Bools, Design
from wherefrom.credit.ledger.file import refuse_other_data
from wherefrom.credit.ledger.ledger import Ledger
from wherefrom.credit.ledger.records import GameIdentity, Outcome, digest_json
from wherefrom.credit.properties import Property
from wherefrom.credit.running.diffusion_run import (
    BEGUN,
    RETRAINED,
    START,
    TRAINED,
    UNLEARNED,
    UNTRAINED,
    DiffusionPlay,
)
from wherefrom.credit.running.local import EXECUTORS
from wherefrom.credit.running.worker import Play
from wherefrom.credit.study.file import Study, load_study
from wherefrom.credit.study.models import Models, make_models
from wherefrom.credit.study.named import load_named
from wherefrom.credit.study.properties import Measures
from wherefrom.credit.study.tools import Lab

REVISION = 1  # of the games; it changes when the same study gives other results


@dataclass(frozen=True, eq=False)
class OpenStudy:
    """A study with its data, its models and its properties."""

    study: Study
    data: Contributors
    identity: GameIdentity
    specs: Mapping[str, Mapping[str, Any]]  # of the properties, by name
    play: Play
    lab: Lab | None = None  # a callable game has no models

    @property
    def digest(self) -> str:
        """Of everything that decides what a run makes and what is measured."""
        return digest_json({"game": self.identity.digest, "properties": dict(self.specs)})

    def ledger(self, *, readonly: bool = False) -> Ledger:
        """The study's ledger, its properties defined; the caller closes it.

        To read, they must be those of the study: values of another meaning are refused.
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
        """Which subsets are run."""
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
    path: Path, *, device: str = "cpu", train: bool = True, track: Track = quiet
) -> OpenStudy:
    """Read a study and make ready to play: its full and its pruned model are trained if need be.

    `InputError` for whatever the user has to mend, and without `train` if a model is not trained.
    """
    study = load_study(path)
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
    measures = Measures(study, data, models.full, models.conditions, device)
    properties = measures.properties()
    identity = _identity(study.config.game.kind, data, _spec(study, data, models))
    play = _play(study, data, models, properties, identity)
    lab = Lab(study, data, models, tuple(properties), measures.embedder)
    return OpenStudy(study, data, identity, {p.name: p.spec for p in properties}, play, lab)


def run_study(
    opened: OpenStudy,
    *,
    runs: int | None = None,
    executor: str = "local",
    devices: tuple[str, ...] = ("cpu",),
    retry_failed: bool = False,
    track: Track = quiet,
) -> dict[str, int]:
    """Plan the first `runs` runs of the design, make those that are not done; counts by state.

    Runs that are done and lack a property (because it is new) are measured again from what was
    kept.  Killed at any time, it continues where it was.
    """
    if executor not in EXECUTORS:
        raise InputError(f"the executor is {executor!r}; choose {' or '.join(EXECUTORS)}")
    count = opened.study.config.design.runs if runs is None else runs
    with opened.ledger() as ledger:
        ledger.plan(opened.design().take(count))
        if retry_failed:
            ledger.retry_failed()
        ledger.forget_deaths()
        rescore(opened, ledger, track=track)
        make_play = partial(play_of, opened.study.path.absolute(), opened.digest)
        EXECUTORS[executor](ledger, make_play, devices=devices, track=track)
        return ledger.counts()


def rescore(opened: OpenStudy, ledger: Ledger, *, track: Track = quiet) -> int:
    """Measure finished runs under properties they have no value of; how many runs."""
    missing = {key for name in opened.specs for key in ledger.unscored(name)}
    ordered = [key for key, _, _ in ledger.details() if key in missing]
    if ordered and not isinstance(opened.play, DiffusionPlay):
        raise InputError(
            "the game callable keeps nothing that could be measured again; a new property needs "
            "another ledger"
        )
    for key in track(ordered, "measuring finished runs", total=len(ordered)):
        assert isinstance(opened.play, DiffusionPlay)  # noqa: S101 (said above)
        ledger.score(key, opened.play.rescore(key))
    return len(ordered)


def play_of(path: Path, digest: str, device: str) -> Play:
    """The game of a study in a worker; `InputError` if it is no longer the `OpenStudy` of `digest`.

    The file may have been edited while the models were trained.
    """
    opened = open_study(path, device=device)
    if opened.digest != digest:
        raise InputError(
            f"{show_path(path)} or what it names was changed while its runs are made; every "
            "finished run is kept; undo the change, or start `wherefrom credit run` again"
        )
    return opened.play


def _play(
    study: Study,
    data: Contributors,
    models: Models,
    properties: list[Property],
    identity: GameIdentity,
) -> DiffusionPlay:
    c = study.config
    return DiffusionPlay(
        kind=c.game.kind,
        game=identity.digest,
        contributors=data,
        latents=models.latents,
        conditions=models.conditions,
        start=models.start,
        blank=models.blank,
        training=c.training if c.game.kind == "retrain" else c.finetuning,
        sampling=c.sampling,
        properties=properties,
        outputs=study.work / "runs",
        unlearning=c.unlearning,
        keep_weights=c.game.keep == "weights",
        checkpoint_every=c.game.checkpoint_every,
        empty=c.game.empty,
        whole=c.training,
    )


def _identity(kind: str, data: Contributors, spec: Mapping[str, Any]) -> GameIdentity:
    """The game; a ledger can hold one for each way of seating the players."""
    if data.origin is None:
        return GameIdentity(kind, data.players, spec)
    return GameIdentity(f"{kind}, {data.seating}", data.players, {**spec, "seats": data.seats()})


def _spec(study: Study, data: Contributors, models: Models) -> dict[str, Any]:
    """Everything that decides what a run makes."""
    c, kind = study.config, study.config.game.kind
    spec: dict[str, Any] = {
        "revision": REVISION,
        "kind": kind,
        "data": data.digests(),
        "model": dict(models.spec),
        "sampling": c.sampling.to_dict(),
    }
    del spec["sampling"]["batch"]  # it decides nothing
    if kind in TRAINED:
        spec["training"] = (c.training if kind == "retrain" else c.finetuning).to_dict()
    if kind in UNLEARNED:
        spec["unlearning"] = c.unlearning.to_dict()
    # What earlier ledgers mean is not named, so that they can be read.  To `retrain` all are one.
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

    def play(members: Bools, seed: int) -> Outcome:
        chosen = [name for name, inside in zip(data.names, members, strict=True) if inside]
        if data.origin is not None and not data.unions:  # groups are called by their members
            chosen = [each for name in chosen for each in data.members()[name]]
        answer = function(chosen, seed)
        values = answer if isinstance(answer, Mapping) else {names[0]: answer}
        absent = {name: "the callable gave no value" for name in names if name not in values}
        given = {name: float(np.asarray(values[name])) for name in names if name in values}
        return Outcome(given, absent)

    identity = _identity("callable", data, spec)
    specs = {each.name: each.to_dict() for each in study.properties}
    return OpenStudy(study, data, identity, specs, play)
