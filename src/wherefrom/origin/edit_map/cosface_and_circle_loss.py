"""W by metric learning, as in the paper: classes are origins, and W is trained with a class head.

Wang et al., 2025, Eq. 9, Section 5.1; the schedule, the sampling and the average that its text
leaves out are those of the authors' code.

Symbols:
    z    embeddings of origins and edits, centred, (n,) each
    W    (n, m);  C  class head, (K, m): one row per origin that has an edit
    e    epoch, from 0

The averaged W starts with a smaller decay, min(ema, (1 + t) / (10 + t)) at step t, so that a short
run does not return its start.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from wherefrom.core.rng import derive_seed, stream
from wherefrom.origin.edit_map.fitted import EditMapConfig, through_layers
from wherefrom.origin.edit_map.pairs import EmbeddedPairs
from wherefrom.origin.equations import (
    circle_loss,
    class_cosines,
    cosface_loss,
    softmax_loss,
    transform,
)

ORIGIN = torch.tensor([-1])  # in the place of an edit's row


class OriginClasses:
    """Embedded pairs as classes of images, centred by `mean` (n,).

    A class is an origin with at least one edit: its members are the origin itself and the edits.
    """

    def __init__(self, pairs: EmbeddedPairs, mean: Tensor) -> None:
        self.origins, self.edits, self.mean = pairs.origins, pairs.edits, mean
        owner = pairs.owner
        self.ids = (torch.bincount(owner) > 0).nonzero()[:, 0]  # (K,), sorted
        order = owner.argsort(stable=True).cpu()
        counts = torch.bincount(owner.cpu(), minlength=len(self.origins))[self.ids.cpu()]
        of_class = torch.split(order, counts.tolist())
        self.members = [torch.cat([edits_of, ORIGIN]) for edits_of in of_class]

    def centred_origins(self) -> Tensor:
        """The origin of each class, (K, n) float32."""
        return self.origins[self.ids].float() - self.mean

    def draw(self, chosen: Tensor, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` members of each chosen class (P,): embeddings (P * count, n) and classes.

        Without replacement where a class is large enough, else with it.
        """
        members = []
        for index in chosen.tolist():
            size = len(self.members[index])  # the origin comes last
            if size >= count:
                places = torch.randperm(size, generator=rng)[:count]
            else:
                places = torch.randint(size, (count,), generator=rng)
            members.append(self.members[index][places])
        device = self.origins.device
        row, y = torch.cat(members).to(device), chosen.repeat_interleave(count).to(device)
        is_origin = row < 0
        z = self.edits[row.clamp_min(0)].float()
        z[is_origin] = self.origins[self.ids[y[is_origin]]].float()
        return z - self.mean, y


class MapModule(nn.Module):
    """W and, in the ablation, the layers after it; with a head it is what is trained."""

    def __init__(self, dimension: int, rank: int, layers: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dimension, rank))
        # Zero, so that the ablation starts as the linear map.
        extra = [nn.Parameter(torch.zeros(rank, rank)) for _ in range(layers - 1)]
        self.layers = nn.ParameterList(extra)

    def forward(self, z: Tensor) -> Tensor:
        """(N, n) -> (N, m), not normalised."""
        return through_layers(transform(z, self.weight), tuple(self.layers))


class EditMapTask:
    """W in training: PK batches, Adam on the schedule of `learning_rate_factor`, averaged W."""

    def __init__(
        self, classes: OriginClasses, config: EditMapConfig, seed: int, start: Tensor | None = None
    ) -> None:
        self.classes, self.config, self.seed = classes, config, seed
        self.per_batch = min(config.ids_per_batch, len(classes.ids))
        dimension, device = classes.origins.shape[1], classes.origins.device
        self.map = MapModule(dimension, config.rank, config.layers)
        self.averaged = MapModule(dimension, config.rank, config.layers).requires_grad_(False)
        self.head = nn.ParameterList([torch.zeros(len(classes.ids), config.rank)])
        for module in (self.map, self.averaged, self.head):
            module.to(device)
        self._initialise(start)
        parameters = [*self.map.parameters(), *self.head.parameters()]
        self._adam = torch.optim.Adam(parameters, config.learning_rate)

    def modules(self) -> dict[str, nn.Module]:
        return {"map": self.map, "averaged": self.averaged, "head": self.head}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adam": self._adam}

    def step(self, index: int) -> dict[str, float]:
        c = self.config
        rng = stream(self.seed, "edit-map", "images", index)
        z, y = self.classes.draw(self._classes(index), c.images_per_id, rng)
        factor = learning_rate_factor(index // c.steps_per_epoch, c)
        for group in self._adam.param_groups:
            group["lr"] = c.learning_rate * factor
        loss = loss_of(self.map(z), self.head[0], y, c)
        self._adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        self._average(index + 1)
        return {"loss": loss.item()}

    def _classes(self, index: int) -> Tensor:
        """The classes of step `index`, (P,): each class once per pass, in a new order."""
        per_pass = len(self.classes.ids) // self.per_batch
        number, place = divmod(index, per_pass)
        rng = stream(self.seed, "edit-map", "order", number)
        order = torch.randperm(len(self.classes.ids), generator=rng)
        return order[place * self.per_batch : (place + 1) * self.per_batch]

    @torch.no_grad()
    def _average(self, t: int) -> None:
        decay = min(self.config.ema, (1 + t) / (10 + t))
        for slow, fast in zip(self.averaged.parameters(), self.map.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)

    @torch.no_grad()
    def _initialise(self, start: Tensor | None) -> None:
        """A linear layer's default W and Xavier's C; or `start` (n, m) and the origins under it."""
        weight, head = self.map.weight, self.head[0]
        rng = torch.Generator().manual_seed(derive_seed(self.seed, "edit-map", "init"))
        draw = torch.empty(weight.shape).uniform_(-1, 1, generator=rng) * len(weight) ** -0.5
        if start is None:
            weight.copy_(draw)
            bound = math.sqrt(6 / sum(head.shape))
            head.copy_(torch.empty(head.shape).uniform_(-bound, bound, generator=rng))
        else:
            # As long as a random start is, so that a step of Adam turns it as far.
            weight.copy_(start * (draw.norm() / start.norm()))
            head.copy_(transform(self.classes.centred_origins(), weight))
        self.averaged.load_state_dict(self.map.state_dict())


def loss_of(f: Tensor, C: Tensor, y: Tensor, config: EditMapConfig) -> Tensor:  # noqa: N803
    """The loss that the config names, a scalar; f (N, m), C (K, m), y (N,).  Table 6."""
    if config.loss == "softmax":
        return softmax_loss(f, C, y)
    cosines = class_cosines(f, C)
    if config.loss == "circle":
        return circle_loss(cosines, y, config.circle_scale, config.circle_margin)
    return cosface_loss(cosines, y, config.scale, config.margin)


def learning_rate_factor(epoch: int, config: EditMapConfig) -> float:
    """Share of the peak step in an epoch: 0.01 rising to 1, then 1, then a cosine to 0."""
    before = config.warm_up + config.flat
    if epoch < config.warm_up:
        return 0.99 * epoch / config.warm_up + 0.01
    if epoch < before:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (epoch - before) / (config.epochs - before)))
