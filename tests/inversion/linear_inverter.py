"""An inverter in closed form: pictures are linear in the code, and the encoder is exact."""

import torch
from torch import nn

from wherefrom.core.rng import stream
from wherefrom.inversion import FittedInverter, InversionConfig
from wherefrom.inversion.equations import latent_scale
from wherefrom.inversion.networks.assembly import Classes, build_networks

SIDE, CODE = 8, 6


class Linear:
    """Pictures of 8x8: grey plus a sum of orthogonal patterns."""

    def generator(self, inputs):
        return nn.Sequential(nn.Linear(inputs, SIDE**2), nn.Unflatten(1, (1, SIDE, SIDE)))

    def critic(self):
        return nn.Sequential(nn.Flatten(), nn.Identity(), nn.Linear(SIDE**2, SIDE**2, bias=False))


def linear_inverter(v, *, method="dlsgan", directions=None, contrast=0.05):
    """G(z o s) = contrast * B (z o s) and E = its inverse, for orthonormal B; trace v."""
    config = InversionConfig(method=method, latent=CODE)
    w = torch.zeros(CODE, 0, 0) if directions is None else directions
    classes = Classes() if directions is None else Classes(*w.shape[1:])
    networks = build_networks(config, (1, SIDE, SIDE), classes, Linear(), seed=0)
    basis = torch.linalg.qr(torch.randn(SIDE**2, CODE, generator=stream(0, "basis"))).Q
    s = latent_scale(v)
    with torch.no_grad():
        layer = networks.generator.synthesis[0]
        layer.weight.copy_(2 * contrast * basis)  # pictures are (x + 1) / 2
        layer.bias.zero_()
        networks.critic.body[2].weight.copy_(torch.eye(SIDE**2))
        head = networks.critic.head
        head.weight.zero_()
        head.bias.zero_()
        first = classes.labels * classes.classes
        inverse = (basis / (2 * contrast) / s).T / head.scale
        head.weight[first : first + CODE].copy_(torch.where(s[:, None] > 0, inverse, 0.0))
    networks.eval().requires_grad_(False)
    prior = torch.full(classes.shape, 1 / classes.classes)
    return FittedInverter(
        config, (1, SIDE, SIDE), networks, v, s, torch.zeros(CODE), prior, w, {"seed": 0}
    )
