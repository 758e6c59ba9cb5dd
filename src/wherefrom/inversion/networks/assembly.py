"""Which networks a method has, made and initialised from one seed.

Cho: PhD thesis, Concordia University, 2025.  In DLSGAN and its kin the encoder is a head of the
critic; VAEGAN, the autoencoder and the baseline's GAN have one of their own, CGPGAN and InfoGAN a
classifier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from wherefrom.core.errors import InputError
from wherefrom.core.rng import derive_seed, stream
from wherefrom.inversion.config import (
    CLASS_METHODS,
    DISCOVERY_METHODS,
    InversionConfig,
    gain_of,
)
from wherefrom.inversion.networks.bodies import Architecture
from wherefrom.inversion.networks.heads import (
    Generator,
    Headed,
    Heads,
    RectifiedCode,
    count_features,
)
from wherefrom.inversion.networks.layers import initialise, set_gain

CAN_INVERT = ("cagan", "cgpgan")

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
        generator: Generator | None = None,
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
    if config.inverts and config.method not in CAN_INVERT:
        raise InputError(
            f"inverts adds an encoder to {' and '.join(CAN_INVERT)}; {config.method} needs none or "
            "takes none"
        )

    gain = gain_of(config, shape)

    def headed(name: str, heads: Heads) -> Headed:
        body = _seeded(architecture.critic, seed, name)
        return _started(Headed(body, count_features(body, shape), heads), gain, seed, name)

    method, latent = config.method, config.latent
    if method == "classifier":
        body = _seeded(architecture.critic, seed, "classifier")
        code = RectifiedCode(body, count_features(body, shape), latent)
        sorter = Headed(code, latent, Heads(logits=classes.shape))
        return Networks(classifier=_started(sorter, gain, seed, "classifier"))
    generator = _generator(config, classes, architecture, gain, seed)
    if method == "autoencoder":
        return Networks(generator=generator, encoder=headed("encoder", Heads(code=latent)))
    critic = headed("critic", _critic_heads(config, classes))
    encoder = classifier = None
    if method == "gan":
        encoder = headed("encoder", Heads(code=latent))
    if method == "vaegan":
        encoder = headed("encoder", Heads(code=latent, log_variance=latent))
    if method in DISCOVERY_METHODS:
        classifier = headed("classifier", Heads(logits=classes.shape))
    return Networks(generator=generator, critic=critic, encoder=encoder, classifier=classifier)


def _critic_heads(config: InversionConfig, classes: Classes) -> Heads:
    method, latent = config.method, config.latent
    if method in ("acgan", "revised-acgan"):
        return Heads(scores=(1, 1), logits=classes.shape)
    if method in ("cagan", "cgpgan"):
        return Heads(scores=classes.shape, code=latent if config.inverts else 0)
    if method in ("infogan-classes", "elastic-infogan", "vaegan", "gan"):
        return Heads(scores=(1, 1))
    return Heads(
        scores=classes.shape, code=latent, log_variance=latent if method == "infogan" else 0
    )


def _generator(
    config: InversionConfig, classes: Classes, architecture: Architecture, gain: float, seed: int
) -> Generator:
    given = config.method in (*CLASS_METHODS, *DISCOVERY_METHODS)  # AEDLSGAN's class is in its z
    labels, count = classes.shape if given else (1, 1)
    if config.codebook and not given:
        raise InputError(f"a codebook holds pages of classes, and {config.method} gives it none")

    def make(inputs: int) -> nn.Module:
        return _seeded(lambda: architecture.generator(inputs), seed, "generator")

    generator = Generator(
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
