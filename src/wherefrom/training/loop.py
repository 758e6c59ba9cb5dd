"""The loop: steps, a log, and checkpoints that continue exactly where they stopped.

A task draws all its randomness from `stream(seed, ..., step)`, so a checkpoint holds weights and
optimiser moments only, and an interrupted run ends with the same weights as one that was not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.artifact import damage_named
from wherefrom.core.saving.store import load_artifact, save_artifact

CHECKPOINT = "training/checkpoint"
SCHEMA = 1


class Task(Protocol):
    """What can be trained step by step."""

    def modules(self) -> Mapping[str, nn.Module]:
        """The modules whose parameters and buffers a checkpoint holds."""
        ...

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """The optimisers whose moments a checkpoint holds."""
        ...

    def step(self, index: int) -> dict[str, float]:
        """Do step `index` and return what to log.  Same state and index: same result."""
        ...


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Where and how often to save; `identity` must match for a run to continue from it.

    `identity` is JSON values: the settings, seed and data digest that decide every step.
    """

    path: Path
    every: int
    identity: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"checkpoints every {self.every} steps; give at least 1")


def run(
    task: Task,
    steps: int,
    *,
    label: str,
    checkpoints: Checkpoints | None = None,
    after_step: Callable[[int, dict[str, float]], None] | None = None,
    track: Track = quiet,
) -> list[dict[str, float]]:
    """Train from step 0, or from the checkpoint if there is one; the log of the steps done now.

    `InputError` for a checkpoint of other settings or beyond `steps`, `ArtifactError` for a
    damaged one.
    """
    start = 0
    if checkpoints is not None and os.path.lexists(checkpoints.path):
        start = _restore(task, checkpoints, steps)
    log = []
    for index in track(range(start, steps), label, total=steps - start):
        values = task.step(index)
        log.append(values)
        if after_step is not None:
            after_step(index, values)
        if checkpoints is not None and ((index + 1) % checkpoints.every == 0 or index + 1 == steps):
            _save(task, checkpoints, index + 1)
    return log


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of the optimiser down the gradient of `loss`, a scalar."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _named_tensors(task: Task) -> Iterator[tuple[str, Tensor]]:
    for name, module in task.modules().items():
        for key, value in module.state_dict().items():
            yield f"module.{name}.{key}", value
    for name, optimizer in task.optimizers().items():
        for index, entry in optimizer.state_dict()["state"].items():
            for key, value in entry.items():
                yield f"optimizer.{name}.{index}.{key}", torch.as_tensor(value)


def _save(task: Task, checkpoints: Checkpoints, step: int) -> None:
    save_artifact(
        checkpoints.path,
        kind=CHECKPOINT,
        schema=SCHEMA,
        meta={"step": step, "identity": dict(checkpoints.identity)},
        tensors=dict(_named_tensors(task)),
        overwrite=True,
    )


def _restore(task: Task, checkpoints: Checkpoints, steps: int) -> int:
    meta, tensors = load_artifact(checkpoints.path, kind=CHECKPOINT, schema=SCHEMA)
    with damage_named(checkpoints.path, again="remove it"):
        saved, done = dict(meta["identity"]), int(meta["step"])
    _refuse_other_run(checkpoints, saved)
    if done > steps:
        raise InputError(
            f"{checkpoints.path} has done {done} steps, more than the {steps} asked for; "
            "ask for more steps, or choose another --out"
        )
    try:
        _put_back(task, tensors)
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ArtifactError(f"{checkpoints.path} does not fit this network: {first}") from error
    return done


def _refuse_other_run(checkpoints: Checkpoints, saved: dict[str, Any]) -> None:
    # Through JSON, because the saved one went that way and a tuple came back as a list.
    asked = json.loads(json.dumps(dict(checkpoints.identity)))
    absent = object()
    changed = []
    for key in sorted({*saved, *asked}):
        before, now = saved.get(key, absent), asked.get(key, absent)
        if isinstance(before, dict) and isinstance(now, dict):
            inner = sorted({*before, *now})
            changed += [k for k in inner if before.get(k, absent) != now.get(k, absent)]
        elif before != now:
            changed.append(key)
    if changed:
        raise InputError(
            f"{checkpoints.path} belongs to a run with other settings ({', '.join(changed)}); "
            "use the same settings, or another --out"
        )


def _put_back(task: Task, tensors: Mapping[str, Tensor]) -> None:
    for name, module in task.modules().items():
        prefix = f"module.{name}."
        module.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
    for name, optimizer in task.optimizers().items():
        state: dict[int, dict[str, Tensor]] = {}
        prefix = f"optimizer.{name}."
        for key, value in tensors.items():
            if key.startswith(prefix):
                index, field = key.removeprefix(prefix).split(".", 1)
                state.setdefault(int(index), {})[field] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        for weight, entry in optimizer.state.items():
            for field, value in entry.items():
                if value.shape == weight.shape and value.stride() != weight.stride():
                    # A fused optimiser walks memory in order: moments must lie as their weights do.
                    entry[field] = torch.empty_like(weight, dtype=value.dtype).copy_(value)
