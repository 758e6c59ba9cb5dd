"""The classifier behind the properties of the credit experiments, trained here and frozen.

A study needs a module beside its file that loads the encoder, so `install` copies this one there:

    [[property]]
    kind = "inception-score"
    encoder = "property_classifier:load"
"""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wherefrom.core.rng import derive_seed, stream
from wherefrom.core.saving.store import digest_tensors, load_artifact, save_artifact
from wherefrom.encoders.encoder import identify
from wherefrom.encoders.features import FeatureNetwork
from wherefrom.training.loop import run

KIND, SCHEMA = "experiment/credit-classifier", 1
FEATURES, CLASSES, WIDTH = 32, 10, 16
STEPS, BATCH, RATE = 1200, 128, 2e-3


class GreyNetwork(nn.Module):
    """Grey images, shown in three equal channels (N, 3, S, S) in [0, 1], to features (N, 32)."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(WIDTH, 2 * WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * WIDTH * (side // 4) ** 2, FEATURES),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features, none negative."""
        out: Tensor = self.layers(x[:, :1] * 2 - 1)
        return out


class ClassifierTask:
    """A `training.loop.Task`: cross-entropy on labelled images uint8 (N, 1, S, S)."""

    def __init__(self, images: Tensor, labels: Tensor, seed: int) -> None:
        self.images, self.labels, self.seed = images, labels, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "credit classifier"))
            self.network = GreyNetwork(images.shape[-1])
            self.head = nn.Linear(FEATURES, CLASSES)
        weights = [*self.network.parameters(), *self.head.parameters()]
        self._optimizer = torch.optim.Adam(weights, lr=RATE)

    def modules(self) -> Mapping[str, nn.Module]:
        """Network and head."""
        return {"network": self.network, "head": self.head}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Adam."""
        return {"adam": self._optimizer}

    def step(self, index: int) -> dict[str, float]:
        """One step on images drawn with replacement; the rate falls to zero as a cosine."""
        rng = stream(self.seed, "credit classifier", index)
        chosen = torch.randint(len(self.images), (BATCH,), generator=rng)
        for group in self._optimizer.param_groups:
            group["lr"] = RATE * (1 + torch.cos(torch.tensor(torch.pi * index / STEPS)).item()) / 2
        logits = self.head(self.network(self.images[chosen].float() / 255))
        loss = F.cross_entropy(logits, self.labels[chosen])
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return {"loss": loss.item()}


def install(
    home: Path, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], seed: int = 0
) -> None:
    """Train the classifier of the study folder `home` if it is not there, and copy this module.

    `train` and `test`: images uint8 (N, 1, S, S) and labels int64 (N,).
    """
    shutil.copyfile(__file__, home / "property_classifier.py")
    place = home / "classifier"
    if place.exists():
        return
    task = ClassifierTask(*train, seed)
    run(task, STEPS, label="classifier")
    tensors = {f"network.{k}": v for k, v in task.network.state_dict().items()}
    tensors |= {f"head.{k}": v for k, v in task.head.state_dict().items()}
    with torch.no_grad():
        guess = torch.cat([task.head(task.network(x.float() / 255)) for x in test[0].split(1000)])
    accuracy = float((guess.argmax(1) == test[1]).double().mean())
    meta = {"side": train[0].shape[-1], "accuracy": accuracy, "seed": seed, "steps": STEPS}
    save_artifact(place, kind=KIND, schema=SCHEMA, meta=meta, tensors=tensors)


def accuracy_of(home: Path) -> float:
    """Share of test images that the classifier of a study folder names rightly."""
    return float(load_artifact(home / "classifier", kind=KIND, schema=SCHEMA)[0]["accuracy"])


def load() -> FeatureNetwork:
    """The classifier that lies beside this module."""
    home = Path(__file__).parent / "classifier"
    meta, tensors = load_artifact(home, kind=KIND, schema=SCHEMA)
    parts: dict[str, nn.Module] = OrderedDict(
        network=GreyNetwork(meta["side"]), head=nn.Linear(FEATURES, CLASSES)
    )
    for name, module in parts.items():
        own = {k.split(".", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{name}.")}
        module.load_state_dict(own)
        module.requires_grad_(requires_grad=False).eval()
    config = {"side": meta["side"], "head": digest_tensors(parts["head"].state_dict())}
    identity = identify("GreyNetwork", config, parts["network"].state_dict())
    return FeatureNetwork(identity, parts["network"], FEATURES, True, head=parts["head"])
