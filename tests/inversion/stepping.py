"""Tiny players, and the same networks with plain optimisers to follow the thesis line by line."""

import copy

import torch
from torch.nn import functional as F

from wherefrom.core.rng import stream
from wherefrom.inversion.config import InversionConfig
from wherefrom.inversion.networks.assembly import Classes, build_networks
from wherefrom.inversion.networks.bodies import StandardArchitecture
from wherefrom.inversion.training.training_state import StepInput, TrainingState, make_directions

BATCH, LATENT, STEPS = 6, 4, 3
B2 = BATCH // 2
RATE = 0.01
# Sums in another order, through a few updates that divide by a root of squared gradients.
CLOSE = {"rtol": 2e-4, "atol": 2e-5}


def make_players(method, *, classes=Classes(), **settings):  # noqa: B008 (frozen)
    """The training state of a method on 2-D points, exact penalties in every step, float32."""
    defaults = {
        "latent": LATENT, "width": 8, "batch": BATCH, "steps": STEPS, "learning_rate": RATE,
        "penalty_every": 1, "precision": "fp32", "trace_start": 0.5, "weight_decay": 1e-2,
    }  # fmt: skip
    config = InversionConfig(method=method, **(defaults | settings))
    networks = build_networks(config, (2,), classes, StandardArchitecture(config, (2,)), seed=3)
    directions = make_directions(config, classes, seed=3)
    return TrainingState(networks, config, classes, directions, torch.device("cpu"))


def givens(classes=None):
    """What three steps are given."""
    for index in range(STEPS):
        draw = stream(5, "given", index)
        x = torch.randn(BATCH, 2, generator=draw)
        c = None
        if classes is not None:
            rows = torch.randint(classes.classes, (BATCH, classes.labels), generator=draw)
            c = F.one_hot(rows, classes.classes).float()
        yield StepInput(x, c, index, index / STEPS, stream(6, "step", index))


class Plain:
    """Copies of the networks with optimisers of their own, and nothing of `TrainingState`."""

    def __init__(self, players):
        c = players.config
        self.config = c
        self.net = copy.deepcopy(players.networks)
        self.v = players.traces.v.clone()
        self.prior = players.traces.prior.clone()
        self.w = players.directions
        self.adam = {
            name: torch.optim.AdamW(
                module.parameters(), c.learning_rate, betas=(0.0, c.beta2), eps=c.epsilon,
                weight_decay=c.weight_decay, foreach=False,
            )
            for name, module in self.net.named_children()
        }  # fmt: skip

    def d(self, x):
        return self.net.critic(x)

    def g(self, z, c=None):
        return self.net.generator(z, c)

    def s(self):
        """Eq. 32 as printed."""
        return torch.sqrt(LATENT * self.v) / torch.linalg.vector_norm(torch.sqrt(self.v))

    def minimise(self, loss, *names):
        """All gradients are computed, then only these players step."""
        for adam in self.adam.values():
            adam.zero_grad()
        loss.backward(retain_graph=True)
        for name in names:
            self.adam[name].step()

    def update_v(self, *rows):
        joint = torch.cat([r.detach() for r in rows])
        d = self.config.trace_decay
        self.v = d * self.v + (1 - d) * joint.mean(dim=0)


def z_of(given, count=BATCH):
    return torch.randn(count, LATENT, generator=given.rng)


def c_of(given, prior, count=BATCH):
    """c_f <- sample(C), label by label."""
    rows = torch.multinomial(prior, count, replacement=True, generator=given.rng)
    return torch.stack([F.one_hot(label, prior.shape[1]).float() for label in rows], dim=1)


def norm_squared(values, x):
    """mean_n || d value_n / d x_n ||^2."""
    (slope,) = torch.autograd.grad(values.sum(), x, create_graph=True)
    return sum(row.square().sum() for row in slope) / len(x)


def assert_same(players, plain):
    """Weights of every network, v and P(C)."""
    ours, theirs = players.networks.state_dict(), plain.net.state_dict()
    for name, value in theirs.items():
        if name.endswith((".usual", ".seen")):
            continue  # they count passes, of which the reference makes one fewer
        torch.testing.assert_close(ours[name], value, **CLOSE, msg=lambda m, n=name: f"{n}: {m}")
    torch.testing.assert_close(players.traces.v, plain.v, **CLOSE)
    torch.testing.assert_close(players.traces.prior, plain.prior, **CLOSE)


def softplus(x):
    return torch.log(1 + torch.exp(x))


def adversarial(a_r, a_f):
    """Eq. 49 of one-dimensional values."""
    return (softplus(-a_r) + softplus(a_f)).mean()


def follow(step, players, reference, classes=None):
    """Three steps of ours and of the reference from the same start and the same draws."""
    plain = Plain(players)
    for given in givens(classes):
        players.set_rate(given.share)
        step(players, given)
    for given in givens(classes):
        reference(plain, given)
    if players.config.adversarial == "relativistic":
        # An offset of all scores cancels: its gradient is rounding, which the optimiser enlarges.
        for networks in (players.networks, plain.net):
            networks.critic.head.bias.data[0] = 0.0
    assert_same(players, plain)


def encoder_term(p, z, out, s):
    """L_enc per method: Eq. 33, Eq. 15, Eq. 16."""
    if p.config.method == "infogan":
        error = (z - out.code) ** 2 / (torch.exp(out.log_variance) + 1e-7)
        return (out.log_variance + error).mean()
    if p.config.method == "msegan":
        return ((z - out.code) ** 2).mean()
    return ((((z - out.code) * s) ** 2).sum(dim=1) / z.shape[1]).mean()
