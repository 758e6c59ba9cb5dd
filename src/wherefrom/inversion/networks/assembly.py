"""Makes the networks of a method, as `recipes` lists them, initialised from one seed.

Cho: PhD thesis, Concordia University, 2025.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from wherefrom.core.errors import InputError
from wherefrom.core.rng import derive_seed, stream
from wherefrom.inversion.config import InversionConfig, gain_of
from wherefrom.inversion.networks.bodies import Architecture
from wherefrom.inversion.networks.heads import (
    ConditionalGenerator,
    Headed,
    Heads,
    RectifiedCode,
    count_features,
)
from wherefrom.inversion.networks.layers import initialise, set_gain
from wherefrom.inversion.recipes import CAN_INVERT, Head

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Classes:
    """Labels per image L, classes per label K; (1, 1) where there are none."""

    labels: int = 1
    classes: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """(L, K)."""
        return self.labels, self.classes


class Networks(nn.Module):
    """The networks of one method; those that it lacks are None."""

    def __init__(
        self,
        *,
        generator: ConditionalGenerator | None = None,
        critic: Headed | None = None,
        encoder: Headed | None = None,
        classifier: Headed | None = None,
    ) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic
        self.encoder, self.classifier = encoder, classifier

    @property
    def inverter(self) -> Headed | None:
        """The network whose code head inverts the generator."""
        if self.encoder is not None:
            return self.encoder
        return self.critic if self.critic is not None and self.critic.heads.code else None

    @property
    def sorter(self) -> Headed | None:
        """The network with class logits."""
        if self.classifier is not None:
            return self.classifier
        return self.critic if self.critic is not None and self.critic.heads.logits[1] else None


def build_networks(
    config: InversionConfig,
    shape: tuple[int, ...],
    classes: Classes,
    architecture: Architecture,
    *,
    seed: int,
) -> Networks:
    """All networks of `config.method`, untrained.  A user's own bodies keep their own start."""
    recipe, latent, gain = config.recipe, config.latent, gain_of(config, shape)
    if config.inverts and not recipe.may_invert:
        raise InputError(
            f"inverts adds an encoder to {' and '.join(CAN_INVERT)}; {config.method} needs none or "
            "takes none"
        )

    def headed(name: str, heads: tuple[Head, ...]) -> Headed | None:
        if not heads:
            return None
        body = _seeded(architecture.critic, seed, name)
        features = count_features(body, shape)
        if recipe.rectified:
            body, features = RectifiedCode(body, features, latent), latent
        sizes = _head_sizes(heads, classes, latent)
        return _started(Headed(body, features, sizes), gain, seed, name)

    extra = (Head.CODE,) if config.inverts else ()
    return Networks(
        generator=_generator(config, classes, architecture, gain, seed),
        critic=headed("critic", (*recipe.critic, *extra)),
        encoder=headed("encoder", recipe.encoder),
        classifier=headed("classifier", recipe.classifier),
    )


def _head_sizes(heads: tuple[Head, ...], classes: Classes, latent: int) -> Heads:
    single = (1, 1) if Head.SCORE in heads else (0, 0)
    return Heads(
        scores=classes.shape if Head.SCORES in heads else single,
        code=latent if Head.CODE in heads else 0,
        log_variance=latent if Head.LOG_VARIANCE in heads else 0,
        logits=classes.shape if Head.LOGITS in heads else (0, 0),
    )


def _generator(
    config: InversionConfig, classes: Classes, architecture: Architecture, gain: float, seed: int
) -> ConditionalGenerator | None:
    recipe = config.recipe
    labels, count = classes.shape if recipe.generates_classes else (1, 1)
    if not recipe.generates:
        return None
    if config.codebook and not recipe.generates_classes:
        raise InputError(f"a codebook holds pages of classes, and {config.method} gives it none")

    def make(inputs: int) -> nn.Module:
        return _seeded(lambda: architecture.generator(inputs), seed, "generator")

    generator = ConditionalGenerator(
        make, latent=config.latent, labels=labels, classes=count, codebook=config.codebook
    )
    return _started(generator, gain, seed, "generator")


def _seeded(make: Callable[[], nn.Module], seed: int, name: str) -> nn.Module:
    """A user's network draws from the global generator: it is seeded here and then restored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "inversion", "body", name))
        module = make()
    if not isinstance(module, nn.Module):
        raise InputError(f"the architecture made a {type(module).__name__}, expected a Module")
    return module


def _started(module: M, gain: float, seed: int, name: str) -> M:
    set_gain(module, gain)
    initialise(module, stream(seed, "inversion", "start", name))
    return module
