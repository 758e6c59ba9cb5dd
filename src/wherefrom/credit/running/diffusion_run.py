"""v(S) of a diffusion model: train on the images of S, sample, keep, measure.

Retraining starts from weights that the run's seed decides; fine-tuning from the full model, or from
the pruned one that was recovered on all data (sparsified fine-tuning, Section 3.2).

What the empty set is decides the gain, which all shares add up to (`EMPTIES`):

    untrained    a network without training, as in Section 3.1
    start        the model that runs start from; for all games but `retrain` it was trained on
                 everybody's data, so that the gain is about zero
    retrained    as untrained, and the full set is trained from scratch on all data: the gain of
                 retraining, as the authors' code has it

Deviation: by default the full set is a run of the same game, and not the retrained model, whose
property sparsified fine-tuning need not reach: v is then one game with one recipe.  `retrained` is
the authors' choice.

`conditional-proxy` trains nothing: v(S) is what the full model makes under the conditions of S.
"""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.rng import stream
from wherefrom.core.store import digest_tensors, load_artifact, save_artifact
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.diffusion.model import (
    Diffusion,
    DiffusionTask,
    SamplingConfig,
    TrainingConfig,
    sample,
)
from wherefrom.credit.diffusion.unlearning import UnlearningConfig, unlearn
from wherefrom.credit.game import Bools, mask_of
from wherefrom.credit.ledger.records import Outcome, run_key
from wherefrom.credit.properties import Made, Property, measure
from wherefrom.data.writing import to_uint8
from wherefrom.training.loop import Checkpoints, run

KIND, SCHEMA = "credit/run", 1
TRAINED = ("retrain", "fine-tune", "sparsified")
UNLEARNED = ("gradient-ascent", "influence-unlearning")
BEGUN = ("fine-tune", "sparsified", *UNLEARNED)  # games that begin at a model of everybody's data
KINDS = (*TRAINED, "conditional-proxy", *UNLEARNED)
UNTRAINED, START, RETRAINED = "untrained", "start", "retrained"
EMPTIES = (UNTRAINED, START, RETRAINED)


@dataclass(frozen=True, eq=False)
class DiffusionPlay:
    """The game of a diffusion model, loaded on one device.

    `start(seed)` gives the model that a run with this seed starts from, `blank(seed)` an untrained
    one; either may be changed, and is asked for anew by the next run.  `empty` is one of `EMPTIES`;
    under `retrained` the full set is trained from scratch by `whole`.  `latents` and `conditions`,
    int64 (N,), are those of all contributors' images.  What a run made is kept in `outputs`,
    under the run's key; with `keep_weights` its network too.
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
        """Make the run, or take it from where an interrupted worker left it, and measure it."""
        seconds: dict[str, float] = {}
        place = self.outputs / run_key(self.game, mask_of(members), seed)
        if not place.exists():
            self._make(members, seed, place, seconds)
        made, notes = self.load(place)
        with _timed(seconds, "scoring"):
            values, errors = measure(self.properties, made)
        seconds = {**notes.pop("seconds"), **seconds}
        return Outcome(values, errors, {**notes, "seconds": seconds}, kept=True)

    def load(self, place: Path) -> tuple[Made, dict[str, Any]]:
        """What the run in the folder `place` made, and its notes."""
        meta, tensors = load_artifact(place, kind=KIND, schema=SCHEMA)
        weights = {k[8:]: v for k, v in tensors.items() if k.startswith("network.")}
        model = None
        if weights:
            model = self.blank(0) if meta.get("from_blank") else self.start(0)
            model.network.load_state_dict(weights, strict=False)  # LoRA keeps what it trained
        return Made(tensors["images"], model), meta

    def rescore(self, key: str) -> Outcome:
        """The properties of a finished run, without training."""
        made, _ = self.load(self.outputs / key)
        values, errors = measure(self.properties, made)
        return Outcome(values, errors, kept=True)

    def _make(self, members: Bools, seed: int, place: Path, seconds: dict[str, float]) -> None:
        notes: dict[str, Any] = {}
        with _timed(seconds, "training"):
            model = self._trained(members, seed, place, notes)
        with _timed(seconds, "sampling"):
            images = to_uint8(sample(model, self.sampling, conditions=self._conditions(members)))
        tensors = {"images": images}
        if self.keep_weights:
            tensors |= {f"network.{k}": v for k, v in trained_weights(model).items()}
        notes |= {"images": digest_tensors({"images": images}), "seconds": seconds}
        place.parent.mkdir(parents=True, exist_ok=True)
        save_artifact(place, kind=KIND, schema=SCHEMA, meta=notes, tensors=tensors)

    def _trained(self, members: Bools, seed: int, place: Path, notes: dict[str, Any]) -> Diffusion:
        chosen = self.contributors.chosen(members).to(self.latents.device)
        if not len(chosen):
            notes["from_blank"] = self.empty != START
            return self.nobody(seed)
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

    def nobody(self, seed: int) -> Diffusion:
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
        log = run(task, training.steps, label="training", checkpoints=self._saved(place))
        model = task.finish()
        if notes.get("start_weight"):
            notes["start_weight"] = task.start_weight
        if log:
            tail = log[-max(1, len(log) // 10) :]
            notes["loss"] = sum(entry["loss"] for entry in tail) / len(tail)
        self._forget(place)
        return model

    def _conditions(self, members: Bools) -> Tensor | None:
        """Which class or prompt each image is sampled under, int64 (N,).

        In the proxy game the conditions of S, as often as its images have them: image i takes
        those at the share u_i, the same for every S.
        """
        chosen = self.contributors.chosen(members)
        if self.kind != "conditional-proxy" or not len(chosen):
            return None
        known = self.conditions[chosen.cpu()].sort().values
        count = self.sampling.images
        shares = torch.rand(count, generator=stream(self.sampling.seed, "credit", "conditions"))
        return known[(shares * len(known)).long()]

    def _saved(self, place: Path) -> Checkpoints | None:
        if not self.checkpoint_every:
            return None
        place.parent.mkdir(parents=True, exist_ok=True)
        identity = {"run": place.name}
        path = place.with_name(f"{place.name}.checkpoint")
        return Checkpoints(path=path, every=self.checkpoint_every, identity=identity)

    def _forget(self, place: Path) -> None:
        shutil.rmtree(place.with_name(f"{place.name}.checkpoint"), ignore_errors=True)


def trained_weights(model: Diffusion) -> Mapping[str, Tensor]:
    """What training can change of the network: all of it, or the added matrices of LoRA."""
    names = {name for name, p in model.network.named_parameters() if p.requires_grad}
    return {k: v for k, v in model.network.state_dict().items() if k in names}


def copies_of(model: Diffusion) -> Callable[[int], Diffusion]:
    """`start` for games that begin at one model."""

    def start(_seed: int) -> Diffusion:
        return replace(model, network=copy.deepcopy(model.network))

    return start


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began
