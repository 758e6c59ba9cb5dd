"""Rivals of the owner's own content: models that somebody made out of the owner's DCGAN of faces.

    student         the owner's architecture, trained from scratch as a GAN on the owner's images
    distilled       half as wide, trained to make the owner's image out of the owner's latent
    further trained the owner's weights after more steps as a GAN on the owner's own images
    fine-tuned      the owner's weights after the same steps on photographs

The first two are other models and the right verdict is "not made by this model".  The last two
began as the owner's: "did these weights make it?" no; "was it made with what I own?" the owner may
say yes.  The student is rough after so few steps, so it is the easier rival; the two that began as
the owner's are the harder ones.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from wherefrom.attribution.protocol import stored_samples
from wherefrom.core.rng import derive_seed, stream
from wherefrom.core.saving.store import digest_tensors
from wherefrom.generators.generator import Generator
from wherefrom.generators.loading import load_generator
from wherefrom.generators.zoo.files import export
from wherefrom.generators.zoo.networks import initialise, make_generator
from wherefrom.generators.zoo.training import GanTask, ZooTrainingConfig
from wherefrom.training.loop import Checkpoints, run

IMAGES = 6000  # of the owner's, that a thief has
STUDENT = ZooTrainingConfig(width=64, steps=600, batch=64, generator_every=1, seed=1)
CONTINUED = ZooTrainingConfig(width=64, steps=60, batch=64, generator_every=1, seed=2)
DISTILLED_STEPS = 700  # of the schedule's 1,500
DISTILLED = ZooTrainingConfig(width=32, steps=1500, batch=64, learning_rate=1e-3, seed=3)


class Distillation:
    """The mean squared difference from the owner's image of the same latent."""

    def __init__(self, owner: nn.Module, config: ZooTrainingConfig) -> None:
        self.owner, self.config = owner, config
        self.generator = make_generator(
            "dcgan", size=64, channels=3, width=config.width, latent=100
        )
        initialise(self.generator, stream(config.seed, "distilled"))
        self._adam = torch.optim.Adam(self.generator.parameters(), config.learning_rate)

    def modules(self) -> Mapping[str, nn.Module]:
        """The network in training."""
        return {"generator": self.generator}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Its Adam."""
        return {"generator": self._adam}

    def step(self, index: int) -> dict[str, float]:
        """One batch of fresh latents."""
        rate = self.config.learning_rate * (1 - index / self.config.steps)
        self._adam.param_groups[0]["lr"] = rate
        self.generator.train()
        z = torch.randn(self.config.batch, 100, generator=stream(3, "distilled", index))
        with torch.no_grad():
            wanted = self.owner(z.reshape(*z.shape, 1, 1))
        loss = (self.generator(z) - wanted).square().mean()
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        self._adam.step()
        return {"loss": loss.item()}


def make_rivals(owner: Generator, photographs: Tensor, work: Path) -> dict[str, Generator]:
    """The four rivals by name, trained into `work` or read from there; a stopped run continues."""
    stolen = stored_samples(owner, IMAGES, derive_seed(0, "thief"))

    def gan(
        name: str, images: Tensor, config: ZooTrainingConfig, begins_as_owner: bool
    ) -> Generator:
        task = GanTask(images, config)
        if begins_as_owner:
            weights = copy.deepcopy(owner.module.get_submodule("main").state_dict())
            task.generator.get_submodule("layers").load_state_dict(weights)
        return _trained(name, task, config, digest_tensors({"images": images}), work)

    return {
        "student": gan("student", stolen, STUDENT, begins_as_owner=False),
        "distilled": _trained(
            "distilled", Distillation(owner.module, DISTILLED), DISTILLED, "", work
        ),
        "further trained": gan("further-trained", stolen, CONTINUED, begins_as_owner=True),
        "fine-tuned": gan("fine-tuned", photographs, CONTINUED, begins_as_owner=True),
    }


def _trained(
    name: str, task: GanTask | Distillation, config: ZooTrainingConfig, digest: str, work: Path
) -> Generator:
    path = work / f"{name}.safetensors"
    identity = {"config": config.to_dict(), "images": digest}
    if not path.exists():
        kept = Checkpoints(path=work / f"{name}.checkpoint", every=100, identity=identity)
        steps = DISTILLED_STEPS if config is DISTILLED else config.steps
        run(task, steps, label=f"training {name}", checkpoints=kept)
        export(task.generator, path, identity)
    return load_generator("zoo:", weights=path)
