"""The hours that a study takes, from a few timed steps of its networks; nothing is trained."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.diffusion.model import Diffusion, DiffusionTask, TrainingConfig
from wherefrom.credit.diffusion.pruning import count_parameters, prune
from wherefrom.credit.estimators.design import require_playable
from wherefrom.credit.study.diffusion_run import TRAINED, copies_of
from wherefrom.credit.study.file import Study
from wherefrom.credit.study.models import untrained_model

LIMIT = 20.0  # seconds of timed steps, about
HOUR = 3600.0
FULL, SAMPLING = "training of the full model", "sampling, each run"  # stages


@dataclass(frozen=True)
class Stage:
    """A stage of the work: its steps, their batch, its seconds, and if it is done only `once`."""

    name: str
    steps: int
    batch: int
    seconds: float
    once: bool


@dataclass(frozen=True)
class Cost:
    """The cost of a study.

    `parameters`, `pruned`: trained numbers without and with pruning (None: no pruning).  `largest`:
    images in the largest batch that was timed; the time of larger ones is taken in proportion,
    which is rather too long.  `spent`: seconds that the timing took.  `bytes_per_run`: on the disk,
    of its images and, where they are kept, its weights.
    """

    parameters: int
    pruned: int | None
    stages: tuple[Stage, ...]
    largest: int
    spent: float
    device: str
    bytes_per_run: int

    @property
    def retraining(self) -> float | None:
        """Hours of a retrained subset, about; None where no full model is trained."""
        whole = [stage.seconds for stage in self.stages if stage.name == FULL]
        rest = [stage.seconds for stage in self.stages if stage.name == SAMPLING]
        return sum(whole + rest) / HOUR if whole else None

    @property
    def before(self) -> float:
        """Hours before the first run."""
        return sum(stage.seconds for stage in self.stages if stage.once) / HOUR

    @property
    def per_run(self) -> float:
        """Hours of a run."""
        return sum(stage.seconds for stage in self.stages if not stage.once) / HOUR

    def hours(self, runs: int) -> float:
        """Hours until that many runs are made, one after the other."""
        return self.before + runs * self.per_run

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"hours_before": self.before, "hours_per_run": self.per_run}


def measure_cost(
    study: Study,
    data: Contributors,
    *,
    device: str = "cpu",
    limit: float = LIMIT,
    track: Track = quiet,
) -> Cost:
    """Time a few steps of the study's networks, in about `limit` seconds and at least three steps.

    Scoring is not timed; neither are the steps of the unlearning games, which count as training.
    """
    require_playable(study.config.design.kind, data.players)
    c, kind, began = study.config, study.config.game.kind, time.perf_counter()
    model = _untrained(study, data, device)
    total, pruned = sum(p.numel() for p in model.trained()), None
    smaller = model
    if kind == "sparsified" and c.model.kind != "lora":
        smaller = copies_of(model)(0)
        prune(smaller.network, c.pruning.ratio, rounding=c.pruning.rounding)
        pruned = count_parameters(smaller.network)
    plan: list[tuple[str, Diffusion, TrainingConfig | None, bool]] = []
    if kind != "retrain":
        plan.append((FULL, model, c.training, True))
    if kind == "sparsified":
        plan.append(("recovery of the pruned model", smaller, c.recovery, True))
    if kind in TRAINED:
        each = c.training if kind == "retrain" else c.finetuning
        plan.append(("training, each run", smaller, each, False))
    elif kind != "conditional-proxy":
        steps, batch = c.unlearning.steps, c.unlearning.batch
        as_training = TrainingConfig(steps=steps, batch=batch)
        plan.append(("unlearning, each run", smaller, as_training, False))
    plan.append((SAMPLING, smaller, None, False))
    stages, largest, timed = [], 0, dict[tuple[int, bool], tuple[float, int]]()
    for name, network, training, once in track(plan, "timing training steps", total=len(plan)):
        key = id(network), training is None
        steps, batch = (c.sampling.steps, c.sampling.images) if training is None else (
            training.steps, min(training.batch, len(data.images)))  # fmt: skip
        if key not in timed:
            step = _sampling(network) if training is None else _training(network, training)
            at_once = c.sampling.batch if training is None else batch
            timed[key] = _per_image(step, min(batch, at_once), limit / len(plan))
        seconds, measured = timed[key]
        largest = max(largest, measured)
        stages.append(Stage(name, steps, batch, steps * batch * seconds, once))
    saved = c.sampling.images * c.contributors.channels * c.contributors.size**2
    if c.game.keep == "weights":
        saved += sum(p.numel() * p.element_size() for p in smaller.trained())
    spent = time.perf_counter() - began
    return Cost(total, pruned, tuple(stages), largest, spent, device, saved)


def _untrained(study: Study, data: Contributors, device: str) -> Diffusion:
    if study.config.model.kind != "lora":
        return untrained_model(study, data, device=device)
    from wherefrom.credit.study.lora import untrained_lora

    return untrained_lora(study, data, device=device)[0]


def _per_image(step: Callable[[int], None], batch: int, limit: float) -> tuple[float, int]:
    """Seconds of a step per image, and the batch at which it was measured.

    The batch grows twofold while the next one should end within `limit`.  The first step of a size
    also prepares its kernels, so a second one counts where there is time for it.
    """
    began, size = time.perf_counter(), 1
    while True:
        seconds = _timed(step, size)
        if time.perf_counter() - began + seconds < limit:
            seconds = min(seconds, _timed(step, size))
        spent = time.perf_counter() - began
        if size >= batch or spent + 2 * seconds > limit:
            return seconds / size, size
        size = min(2 * size, batch)


def _timed(step: Callable[[int], None], size: int) -> float:
    start = time.perf_counter()
    step(size)
    return time.perf_counter() - start


def _training(model: Diffusion, config: TrainingConfig) -> Callable[[int], None]:
    def step(size: int) -> None:
        latents = torch.zeros(size, *model.shape, device=model.device)
        conditions = torch.zeros(size, dtype=torch.int64, device=model.device)
        few = config.with_values({"batch": size})
        DiffusionTask(model, latents, conditions, few, seed=0).step(0)
        _wait(model)

    return step


def _sampling(model: Diffusion) -> Callable[[int], None]:
    @torch.no_grad()
    def step(size: int) -> None:
        x = torch.randn(size, *model.shape, generator=stream(0, "credit", "cost"))
        times = torch.zeros(size, dtype=torch.int64, device=model.device)
        model.network.eval()
        model.predict(x.to(model.device), times, torch.zeros_like(times))
        _wait(model)

    return step


def _wait(model: Diffusion) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
