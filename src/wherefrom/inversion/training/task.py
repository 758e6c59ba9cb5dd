"""One run as a task of the training loop: batches, the method's step, and what it all amounts to.

Cho: PhD thesis, Concordia University, 2025.

Deviation: batches are drawn with replacement, every step from a random stream of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.inversion.config import InversionConfig
from wherefrom.inversion.model import FittedInverter
from wherefrom.inversion.networks.assembly import Classes, Networks
from wherefrom.inversion.training.steps_classes import (
    cgpgan_step,
    classifier_step,
    infogan_classes_step,
    labelled_step,
)
from wherefrom.inversion.training.steps_latent import (
    Logged,
    autoencoder_step,
    inverting_step,
    pvdgan_step,
    separate_step,
    vaegan_step,
)
from wherefrom.inversion.training.training_state import Given, Players, make_directions

STEPS: dict[str, Callable[[Players, Given], Logged]] = {
    "dlsgan": inverting_step,
    "msegan": inverting_step,
    "infogan": inverting_step,
    "aedlsgan": inverting_step,
    "gan": separate_step,
    "pvdgan": pvdgan_step,
    "vaegan": vaegan_step,
    "autoencoder": autoencoder_step,
    "cagan": labelled_step,
    "acgan": labelled_step,
    "revised-acgan": labelled_step,
    "cgpgan": cgpgan_step,
    "infogan-classes": infogan_classes_step,
    "elastic-infogan": infogan_classes_step,
    "classifier": classifier_step,
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images uint8 (N, C, S, S) or vectors float32 (N, D), all in memory, and their labels."""

    data: Tensor
    labels: Tensor | None  # int64 (N, L)
    classes: Classes

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one item."""
        return tuple(self.data.shape[1:])

    def take(self, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Items in the networks' range, [-1, 1] for images, and one-hot classes (B, L, K)."""
        x = self.data[rows].to(device)
        x = x if x.is_floating_point() else x.float().div(127.5).sub(1.0)
        if self.labels is None:
            return x, None
        c = F.one_hot(self.labels[rows], self.classes.classes).float()
        return x, c.to(device)


class InversionTask:
    """`training.loop.Task` of one method."""

    def __init__(
        self,
        dataset: Dataset,
        networks: Networks,
        config: InversionConfig,
        *,
        prior: Tensor | None,
        seed: int,
        device: torch.device,
    ) -> None:
        self.dataset, self.config, self.seed = dataset, config, seed
        directions = make_directions(config, dataset.classes, seed=seed)
        self.players = Players(networks, config, dataset.classes, directions, device)
        if prior is not None:
            self.players.traces.prior.copy_(prior)

    def modules(self) -> dict[str, nn.Module]:
        """Networks, their averages, v and P(C)."""
        p = self.players
        return {"networks": p.networks, "averages": p.averages, "traces": p.traces}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """One per network."""
        return self.players.optimisers

    def step(self, index: int) -> dict[str, float]:
        """One step of the method; an `InputError` if it diverged."""
        rng = stream(self.seed, "inversion", "step", index)
        rows = torch.randint(len(self.dataset.data), (self.config.batch,), generator=rng)
        x, c = self.dataset.take(rows, self.players.device)
        share = index / self.config.steps
        self.players.set_rate(share)
        self.players.networks.train()
        logged = STEPS[self.config.method](self.players, Given(x, c, index, share, rng))
        self.players.average(index)
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
        p = self.players
        p.averages.eval()
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


def refuse_divergence(task: InversionTask, index: int, values: Mapping[str, float]) -> None:
    """An `InputError` if a loss or a weight is no longer a number.  Call it before saving."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if not bad and task.is_finite():
        return
    what = f"the loss {bad[0]!r} is" if bad else "weights are"
    raise InputError(
        f"training diverged at step {index + 1}: {what} no longer finite; the last checkpoint "
        "before it, if there is one, is kept. Lower --learning-rate, raise --r1, or pass "
        "--penalty-every 1, with another --out"
    )
