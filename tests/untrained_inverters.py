"""Inverters with random weights, whose statistics fit the codes of given images."""

import torch
from torch.nn import functional as F

from wherefrom.inversion.config import InversionConfig
from wherefrom.inversion.model import FittedInverter
from wherefrom.inversion.networks.assembly import Classes, build_networks
from wherefrom.inversion.networks.bodies import StandardArchitecture

SHAPE = (1, 8, 8)


def untrained(method="dlsgan", *, classes=(1, 1), latent=6, seed=0, shape=SHAPE, **settings):
    """A `FittedInverter` as it would be before its first step, v = s = 1 and mean = 0."""
    config = InversionConfig(method=method, latent=latent, width=4, **settings)
    architecture = StandardArchitecture(config, shape)
    networks = build_networks(config, shape, Classes(*classes), architecture, seed=seed)
    networks.eval().requires_grad_(False)
    prior = torch.full(classes, 1 / classes[1])
    ones, none = torch.ones(latent), torch.zeros(latent, 0, 0)
    return FittedInverter(config, shape, networks, ones, ones, 0 * ones, prior, none, {})


def fitted_to(images, **settings):
    """An untrained inverter whose v and mean are those of the codes of `images`."""
    import dataclasses

    found = untrained(**settings)
    codes = found.encode(images)
    return dataclasses.replace(found, trace=codes.var(dim=0), mean=codes.mean(dim=0))


def blobs(count, seed=0, shape=SHAPE):
    """Smooth random pictures, (count, *shape) float in [0, 1] on 8-bit levels."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, shape[0], 3, 3, generator=rng)
    smooth = F.interpolate(coarse, shape[1:], mode="bilinear", align_corners=True)
    return (smooth * 255).round() / 255
