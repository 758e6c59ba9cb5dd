"""One run as a task of the training loop: batches, the method's step, and the fitted value.

Cho: PhD thesis, Concordia University, 2025.

Deviation: batches are drawn with replacement, every step from a random stream of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.inversion.config import InversionConfig
from wherefrom.inversion.model import FittedInverter
from wherefrom.inversion.networks.assembly import Networks
from wherefrom.inversion.training import steps_classes, steps_latent
from wherefrom.inversion.training.dataset import Dataset
from wherefrom.inversion.training.steps_latent import Logged
from wherefrom.inversion.training.training_state import StepInput, TrainingState, make_directions

Step = Callable[[TrainingState, StepInput], Logged]
STEPS: dict[str, Step] = {
    name: value
    for module in (steps_latent, steps_classes)
    for name, value in vars(module).items()
    if name.endswith("_step")
}


class InversionTask:
    """`training.loop.Task` of one method."""

    def __init__(
        self,
        dataset: Dataset,
        networks: Networks,
        config: InversionConfig,
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        self.dataset, self.config, self.seed = dataset, config, seed
        directions = make_directions(config, dataset.classes, seed=seed)
        self.state = TrainingState(networks, config, dataset.classes, directions, device)
        if dataset.prior is not None:
            self.state.traces.prior.copy_(dataset.prior)

    def modules(self) -> dict[str, nn.Module]:
        """Networks, their averages, v and P(C)."""
        p = self.state
        return {"networks": p.networks, "averages": p.averages, "traces": p.traces}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """One per network."""
        return self.state.optimisers

    def step(self, index: int) -> dict[str, float]:
        """One step of the method; an `InputError` if it diverged."""
        rng = stream(self.seed, "inversion", "step", index)
        rows = torch.randint(len(self.dataset.data), (self.config.batch,), generator=rng)
        x, c = self.dataset.take(rows, self.state.device)
        share = index / self.config.steps
        self.state.set_rate(share)
        self.state.networks.train()
        logged = STEPS[self.config.recipe.step](self.state, StepInput(x, c, index, share, rng))
        self.state.average(index)
        names = list(logged)
        values = torch.stack([logged[name].detach().double() for name in names]).tolist()
        return dict(zip(names, values, strict=True))

    def is_finite(self) -> bool:
        """Whether every weight, average and trace is a number."""
        return all(
            bool(torch.isfinite(tensor).all())
            for module in self.modules().values()
            for tensor in module.state_dict().values()
            if tensor.is_floating_point()
        )

    def snapshot(self, provenance: Mapping[str, Any]) -> FittedInverter:
        """The averaged networks as they are now, with the traced v and no mean."""
        p = self.state
        p.averages.eval()
        # As a reader's weights lie: on some processors another order of strides gives other bits.
        # (`to` leaves a weight of 1 x 1 with the strides of channels last, as both are contiguous.)
        for tensor in (*p.averages.parameters(), *p.averages.buffers()):
            tensor.data = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device).copy_(
                tensor.data
            )
        v = p.traces.v.detach().clone()
        return FittedInverter(
            config=self.config,
            shape=self.dataset.shape,
            networks=p.averages,
            trace=v if p.traces_codes else torch.ones_like(v),
            scale=p.scale().detach().clone(),
            mean=torch.zeros_like(v),
            prior=p.traces.prior.detach().clone(),
            directions=p.directions,
            provenance=provenance,
        )


def refuse_divergence(
    task: InversionTask, index: int, values: Mapping[str, float], *, weights: bool
) -> None:
    """An `InputError` if a loss is no longer a number, or with `weights` one of them.

    Losses are looked at after every step, weights before they are saved.
    """
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if not bad and (not weights or task.is_finite()):
        return
    what = f"the loss {bad[0]!r} is" if bad else "weights are"
    raise InputError(
        f"training diverged at step {index + 1}: {what} no longer finite; the last checkpoint "
        "before it, if there is one, is kept. Lower --learning-rate, raise --r1, or pass "
        "--penalty-every 1, with another --out"
    )
