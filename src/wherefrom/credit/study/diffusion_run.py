"""v(S) of a diffusion model: train on the images of S, sample, save, measure.

Retraining starts from random weights of the run's seed; fine-tuning from the full model, or from
the pruned one that was recovered on all data (sparsified fine-tuning, Section 3.2).

The gain, which all shares add up to, depends on the model of the empty set (`EMPTIES`):

    untrained    a network without training, as in Section 3.1
    start        the model that runs start from; for all games but `retrain` it was trained on
                 all data, so that the gain is about zero
    retrained    as untrained, and the full set is trained from scratch on all data: the gain of
                 retraining, as the authors' code has it

Deviation: by default the full set is a run of the same game and not the retrained model, whose
property sparsified fine-tuning need not reach, so that all of v has one recipe.  `retrained` is the
authors' choice.

`conditional-proxy` trains nothing: v(S) is of samples of the full model under the conditions of S.
"""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from wherefrom.core.rng import stream
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.core.saving.store import digest_tensors
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.diffusion.model import (
    Diffusion,
    DiffusionTask,
    SamplingConfig,
    TrainingConfig,
    sample,
)
from wherefrom.credit.diffusion.properties import Property, RunOutput, measure
from wherefrom.credit.diffusion.unlearning import UnlearningConfig, unlearn
from wherefrom.credit.ledger.game import Bools, Outcome, mask_of, run_key
from wherefrom.data.images.writing import to_uint8
from wherefrom.training.loop import Checkpoints, run

TRAINED = ("retrain", "fine-tune", "sparsified")
UNLEARNED = ("gradient-ascent", "influence-unlearning")
BEGUN = ("fine-tune", "sparsified", *UNLEARNED)  # games that start from a model of all data
KINDS = (*TRAINED, "conditional-proxy", *UNLEARNED)
UNTRAINED, START, RETRAINED = "untrained", "start", "retrained"
EMPTIES = (UNTRAINED, START, RETRAINED)


@dataclass(frozen=True, eq=False)
class SavedRun(Artifact):
    """The output of a run in its folder.

    `images`: uint8 (N, C, H, W).  `notes`: JSON values.  `weights`: those of the network that
    training can change, or empty.
    """

    kind: ClassVar[str] = "credit/run"
    schema: ClassVar[int] = 1
    again: ClassVar[str] = "restore it from a copy, or make the study anew in another work folder"

    images: Tensor
    notes: Mapping[str, Any]
    weights: Mapping[str, Tensor]

    def to_saved(self) -> Saved:
        weights = {f"network.{name}": value for name, value in self.weights.items()}
        return Saved(self.notes, {"images": self.images, **weights})

    @classmethod
    def from_saved(cls, saved: Saved) -> SavedRun:
        weights = {k[8:]: v for k, v in saved.tensors.items() if k.startswith("network.")}
        return cls(saved.tensors["images"], saved.meta, weights)


@dataclass(frozen=True, eq=False)
class DiffusionPlay:
    """The game of a diffusion model, loaded on one device.

    `start(seed)` returns the model that a run of this seed starts from, `blank(seed)` an untrained
    one; a run may change either, and the next run calls the function again.  `empty` is one of
    `EMPTIES`; under `retrained` the full set is trained from scratch by `whole`.  `latents` and
    `conditions`, int64 (N,), are those of all images.  The output of a run is saved in the folder
    `outputs` under the run's key, with `keep_weights` its network too.
    """

    kind: str
    game: str  # digest
    contributors: Contributors
    latents: Tensor
    conditions: Tensor
    start: Callable[[int], Diffusion]
    blank: Callable[[int], Diffusion]
    training: TrainingConfig
    sampling: SamplingConfig
    properties: list[Property]
    outputs: Path
    unlearning: UnlearningConfig = field(default_factory=UnlearningConfig)
    keep_weights: bool = False
    checkpoint_every: int = 0
    empty: str = UNTRAINED
    whole: TrainingConfig = field(default_factory=TrainingConfig)

    def __call__(self, members: Bools, seed: int) -> Outcome:
        """Make the run, or continue an interrupted one, and measure its output."""
        seconds: dict[str, float] = {}
        place = self.outputs / run_key(self.game, mask_of(members), seed)
        if not place.exists():
            self._make(members, seed, place, seconds)
        output, notes = self.load(place)
        with _timed(seconds, "scoring"):
            values, errors = measure(self.properties, output)
        seconds = {**notes.pop("seconds"), **seconds}
        return Outcome(values, errors, {**notes, "seconds": seconds}, rescorable=True)

    def load(self, place: Path) -> tuple[RunOutput, dict[str, Any]]:
        """The output of the run in the folder `place`, and its notes."""
        saved = SavedRun.load(place)
        model = None
        if saved.weights:
            model = self.blank(0) if saved.notes.get("from_blank") else self.start(0)
            model.network.load_state_dict(saved.weights, strict=False)  # LoRA saves its matrices
        return RunOutput(saved.images, model), dict(saved.notes)

    def rescore(self, key: str) -> Outcome:
        """Measure the properties of a finished run, without training."""
        output, _ = self.load(self.outputs / key)
        values, errors = measure(self.properties, output)
        return Outcome(values, errors, rescorable=True)

    def _make(self, members: Bools, seed: int, place: Path, seconds: dict[str, float]) -> None:
        notes: dict[str, Any] = {}
        with _timed(seconds, "training"):
            model = self._trained(members, seed, place, notes)
        with _timed(seconds, "sampling"):
            images = to_uint8(sample(model, self.sampling, conditions=self._conditions(members)))
        notes |= {"images": digest_tensors({"images": images}), "seconds": seconds}
        place.parent.mkdir(parents=True, exist_ok=True)
        SavedRun(images, notes, trained_weights(model) if self.keep_weights else {}).save(place)

    def _trained(self, members: Bools, seed: int, place: Path, notes: dict[str, Any]) -> Diffusion:
        chosen = self.contributors.chosen(members).to(self.latents.device)
        if not len(chosen):
            notes["from_blank"] = self.empty != START
            return self.empty_model(seed)
        if self.empty == RETRAINED and bool(members.all()):
            notes["from_blank"] = True
            return self._fit(self.blank(seed), chosen, self.whole, seed, place, notes)
        model = self.start(seed)
        if self.kind == "conditional-proxy":
            return model
        if self.kind in UNLEARNED:
            gone = torch.from_numpy(~members[self.contributors.owner.numpy()]).to(chosen.device)
            labels = self.conditions.to(chosen.device)
            return unlearn(
                model, self.latents, labels, gone, self.unlearning, kind=self.kind, seed=seed
            )
        notes["start_weight"] = float(self.kind != "retrain")
        return self._fit(model, chosen, self.training, seed, place, notes)

    def empty_model(self, seed: int) -> Diffusion:
        """The model of the empty set."""
        return self.start(seed) if self.empty == START else self.blank(seed)

    def _fit(
        self,
        model: Diffusion,
        chosen: Tensor,
        training: TrainingConfig,
        seed: int,
        place: Path,
        notes: dict[str, Any],
    ) -> Diffusion:
        """Train on the chosen images, and note the loss and the weight of the starting weights."""
        if not training.steps:
            return model
        labels = self.conditions.to(chosen.device)[chosen]
        task = DiffusionTask(model, self.latents[chosen], labels, training, seed=seed)
        every = self.checkpoint_every
        with checkpoints_beside(place, {"run": place.name}, every=every) as checkpoints:
            log = run(task, training.steps, label="training", checkpoints=checkpoints)
        model = task.finish()
        if notes.get("start_weight"):
            notes["start_weight"] = task.start_weight
        if log:
            tail = log[-max(1, len(log) // 10) :]
            notes["loss"] = sum(entry["loss"] for entry in tail) / len(tail)
        return model

    def _conditions(self, members: Bools) -> Tensor | None:
        """The class or prompt that each image is sampled under, int64 (N,); None for the default.

        In the proxy game these are drawn from the conditions of the images of S, by random numbers
        u_i that are the same for every S.
        """
        chosen = self.contributors.chosen(members)
        if self.kind != "conditional-proxy" or not len(chosen):
            return None
        known = self.conditions[chosen.cpu()].sort().values
        count = self.sampling.images
        shares = torch.rand(count, generator=stream(self.sampling.seed, "credit", "conditions"))
        return known[(shares * len(known)).long()]


@contextmanager
def checkpoints_beside(
    place: Path, identity: Mapping[str, Any], *, every: int
) -> Iterator[Checkpoints | None]:
    """Checkpoints of a training whose result is saved at `place`, deleted after the block.

    `every`: steps between them; 0 for none.  They stay if the block fails.
    """
    if not every:
        yield None
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    path = place.with_name(f"{place.name}.checkpoint")
    yield Checkpoints(path=path, every=every, identity=identity)
    shutil.rmtree(path, ignore_errors=True)


def trained_weights(model: Diffusion) -> Mapping[str, Tensor]:
    """The weights that training can change: all of them, or the added matrices of LoRA."""
    names = {name for name, p in model.network.named_parameters() if p.requires_grad}
    return {k: v for k, v in model.network.state_dict().items() if k in names}


def copies_of(model: Diffusion) -> Callable[[int], Diffusion]:
    """`DiffusionPlay.start` for games whose runs start from copies of one model."""

    def start(_seed: int) -> Diffusion:
        return replace(model, network=copy.deepcopy(model.network))

    return start


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began
