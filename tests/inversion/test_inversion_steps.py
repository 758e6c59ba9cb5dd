"""The steps of methods without classes against the thesis' algorithms, written out line by line."""

import dataclasses
import math

import pytest
import torch
from stepping import (
    B2,
    BATCH,
    LATENT,
    RATE,
    adversarial,
    encoder_term,
    follow,
    givens,
    make_players,
    norm_squared,
    softplus,
    z_of,
)
from torch import nn

from wherefrom.core.rng import stream
from wherefrom.inversion.config import InversionConfig, penalty_every_of
from wherefrom.inversion.networks.assembly import Classes, build_networks
from wherefrom.inversion.training import steps_latent
from wherefrom.inversion.training.training_state import StepInput, TrainingState, penalised_rows


def algorithm_2(p, given):
    """DLSGAN; MSEGAN and InfoGAN with s = 1; with rare, finite and relativistic variants."""
    c, paired = p.config, p.config.adversarial == "relativistic"
    x = given.x.clone().requires_grad_(True)
    z = z_of(given)  # 1, 2
    s = p.s() if c.method == "dlsgan" else torch.ones_like(p.v)  # 3
    made = p.d(p.g(z * s).detach())  # 4
    real = p.d(x)  # 5
    l_enc = encoder_term(p, z, made, s)  # 6
    a_r, a_f = real.scores[:, 0, 0], made.scores[:, 0, 0]
    l_adv = softplus(-(a_r - a_f)).mean() if paired else adversarial(a_r, a_f)  # 7
    size = BATCH // c.penalty_every
    rows = [(size * given.index + row) % BATCH for row in range(size)]
    if c.penalty == "difference":
        noise = torch.randn(size, 2, generator=given.rng)
        moved = p.d(x.detach()[rows] + c.penalty_noise * noise).scores[:, 0, 0]
        penalty = (((moved - a_r[rows]) / c.penalty_noise) ** 2).mean()
    else:
        penalty = norm_squared(a_r[rows], x) * BATCH / size
    l_d = l_adv + 0.7 * l_enc + 0.3 * penalty  # 8
    v_1 = made.code.detach() ** 2  # 10
    p.minimise(l_d, "critic")  # 9
    z = z_of(given)  # 11
    made = p.d(p.g(z * s))  # 12
    l_enc = encoder_term(p, z, made, s)  # 13
    a_f = made.scores[:, 0, 0]
    against = p.d(given.x).scores[:, 0, 0].detach() if paired else 0.0
    l_g = softplus(-(a_f - against)).mean() + 0.7 * l_enc  # 14, 15
    p.minimise(l_g, "generator")  # 16
    p.update_v(v_1, made.code**2)  # 17, 18


@pytest.mark.parametrize("method", ["dlsgan", "msegan", "infogan"])
def test_dlsgan_and_its_rivals__naive_loop(method):
    players = make_players(method, encoder_weight=0.7, r1=0.3, trace_decay=0.9)
    follow(steps_latent.inverting_step, players, algorithm_2)


def separate_encoder(p, given):
    """A GAN, and E by Eq. 15 on the images that D was shown; G has no term of E."""
    x = given.x.clone().requires_grad_(True)
    z = z_of(given)
    fake = p.g(z).detach()
    a_r, a_f = p.d(x).scores[:, 0, 0], p.d(fake).scores[:, 0, 0]
    p.minimise(adversarial(a_r, a_f) + 0.3 * norm_squared(a_r, x), "critic")
    code = p.net.encoder(fake).code
    p.minimise(((z - code) ** 2).mean(), "encoder")
    p.minimise(softplus(-p.d(p.g(z_of(given))).scores[:, 0, 0]).mean(), "generator")
    p.v = 0.9 * p.v + 0.1 * (code.detach() ** 2).mean(dim=0)


def test_a_gan_with_an_encoder_beside_it__naive_loop():
    players = make_players("gan", r1=0.3, trace_decay=0.9)
    start = players.traces.v.clone()
    follow(steps_latent.separate_step, players, separate_encoder)
    assert not torch.equal(players.traces.v, start)


def test_a_separate_encoder_changes_nothing_for_its_gan__identity_weights():
    """The thesis trains it afterwards, ours beside: the generator must not know the difference."""
    ends = []
    for rate in (RATE, 0.0):
        players = make_players("gan")
        for group in players.optimisers["encoder"].param_groups:
            group["lr"] = rate
        for given in givens():
            steps_latent.separate_step(players, given)
        ends.append(list(players.generator.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        {"fused": False},
        {"penalty_every": 2},
        {"penalty_every": 3, "penalty": "difference"},
        {"adversarial": "relativistic"},
        {"batch_deviation": True},
    ],
    ids=str,
)
def test_variants_of_dlsgan__naive_loop(change):
    players = make_players("dlsgan", encoder_weight=0.7, r1=0.3, trace_decay=0.9, **change)
    follow(steps_latent.inverting_step, players, algorithm_2)


def algorithm_3(p, given):
    """AEDLSGAN with two binary attributes: c = [u <= 0, u > 0], losses divided by their number."""
    w = p.w[:, :, 1]

    def classes_of(z, s):
        u = (z * s) @ w
        return torch.stack([(u <= 0).float(), (u > 0).float()], dim=2)

    def heads(scores, c):
        """The active head of each attribute."""
        return [(scores[:, a] * c[:, a]).sum(dim=1) for a in range(2)]

    x = given.x.clone().requires_grad_(True)
    z = z_of(given)  # 1
    s = p.s()  # 4
    c_f = classes_of(z, s)  # 2
    real, made = p.d(x), p.d(p.g(z * s).detach())  # 5, 6
    pairs = zip(heads(real.scores, given.c), heads(made.scores, c_f), strict=True)
    l_adv = sum(adversarial(a_r, a_f) for a_r, a_f in pairs) / 2  # 7
    l_enc = encoder_term(p, z, made, s)  # 8
    l_r1 = norm_squared(sum(heads(real.scores, given.c)) / 2, x)
    v_1 = made.code.detach() ** 2  # 11
    p.minimise(l_adv + l_enc + 0.3 * l_r1, "critic")  # 9, 10
    z = z_of(given)  # 12
    c_f = classes_of(z, s)  # 13
    made = p.d(p.g(z * s))  # 14
    l_g = sum(softplus(-a).mean() for a in heads(made.scores, c_f)) / 2  # 15
    p.minimise(l_g + encoder_term(p, z, made, s), "generator")  # 16-18
    p.update_v(v_1, made.code**2)  # 19, 20


def test_aedlsgan__naive_loop():
    two = Classes(2, 2)
    players = make_players("aedlsgan", classes=two, r1=0.3, trace_decay=0.9)
    follow(steps_latent.inverting_step, players, algorithm_3, two)


def algorithm_4(p, given):
    """PVDGAN."""
    x = given.x.clone().requires_grad_(True)
    z = z_of(given)  # 1, 2
    s = p.s()  # 3
    real = p.d(x)  # 4
    made = p.d(p.g(z * s).detach())  # 5
    l_adv = adversarial(real.scores[:, 0, 0], made.scores[:, 0, 0])  # 6
    l_enc = encoder_term(p, z, made, s)  # 7
    z_r, y_r = real.code.detach().clone(), real.features.detach().clone()
    v_1 = made.code.detach() ** 2  # 10
    l_d = l_adv + l_enc + 0.3 * norm_squared(real.scores[:, 0, 0], x)  # 8
    p.minimise(l_d, "critic")  # 9
    z_x = z_r[:B2] + z_of(given, B2) * torch.sqrt(torch.clamp(1 - p.v, min=0))  # 11
    z = torch.cat([z_x, z_of(given, BATCH - B2)])  # 12
    made = p.d(p.g(z * s))  # 13
    l_g = softplus(-made.scores[:, 0, 0]).mean()  # 14
    l_enc = (((z[B2:] - made.code[B2:]) * s) ** 2).mean()  # 15
    l_rec = ((y_r[:B2] - made.features[:B2]) ** 2).mean()  # 16
    p.minimise(l_g + l_enc + 0.6 * l_rec, "generator")  # 17, 18
    p.update_v(v_1, made.code[B2:] ** 2)  # 19, 20


def test_pvdgan__naive_loop():
    players = make_players("pvdgan", r1=0.3, trace_decay=0.9, reconstruction_weight=0.6)
    follow(steps_latent.pvdgan_step, players, algorithm_4)


def vaegan(p, given):
    """Eq. 19-24."""
    x = given.x.clone().requires_grad_(True)

    def posterior():
        out = p.net.encoder(given.x[:B2])
        noise = z_of(given, B2)
        return out, out.code + noise * torch.exp(out.log_variance / 2)

    z = torch.cat([posterior()[1], z_of(given, BATCH - B2)])
    real, made = p.d(x), p.d(p.g(z).detach())
    l_adv = adversarial(real.scores[:, 0, 0], made.scores[:, 0, 0])
    y = real.features[:B2].detach().clone()
    p.minimise(l_adv + 0.3 * norm_squared(real.scores[:, 0, 0], x), "critic")
    out, z_x = posterior()
    made = p.d(p.g(torch.cat([z_x, z_of(given, BATCH - B2)])))
    l_rec = ((made.features[:B2] - y) ** 2).mean()
    l_prr = (out.code**2 - out.log_variance + torch.exp(out.log_variance)).mean()
    l_g = softplus(-made.scores[:, 0, 0]).mean() + 0.6 * l_rec
    g, e = list(p.net.generator.parameters()), list(p.net.encoder.parameters())
    slopes_g = torch.autograd.grad(l_g, g, retain_graph=True)
    slopes_e = torch.autograd.grad(0.6 * l_rec + 0.2 * l_prr, e)
    for weight, slope in zip([*g, *e], [*slopes_g, *slopes_e], strict=True):
        weight.grad = slope
    p.adam["generator"].step()
    p.adam["encoder"].step()


def test_vaegan__naive_loop():
    players = make_players("vaegan", r1=0.3, reconstruction_weight=0.6, prior_weight=0.2)
    follow(steps_latent.vaegan_step, players, vaegan)


def test_autoencoder__naive_loop():
    def reference(p, given):
        loss = ((given.x - p.g(p.net.encoder(given.x).code)) ** 2).mean()
        p.minimise(loss, "encoder", "generator")

    follow(steps_latent.autoencoder_step, make_players("autoencoder"), reference)


def test_averages_follow_fast_at_first_then_at_their_rate__naive_loop():
    players = make_players("dlsgan", ema=0.9)
    mean = next(players.averages.parameters()).clone()
    for index in (0, 1, 200):
        with torch.no_grad():
            next(players.networks.parameters()).add_(index + 1.0)
        players.average(index)
        decay = min(0.9, (1 + index) / (10 + index))
        mean = decay * mean + (1 - decay) * next(players.networks.parameters()).detach()
    torch.testing.assert_close(next(players.averages.parameters()), mean)


def pulled(every, *, lazy=""):
    """By what factor 24 steps of the penalty alone lower it; its slopes are all Adam sees.

    `lazy`: the whole batch in every so many steps, so many times as strong: "added" to the step
    that is due, or in a step "apart" with StyleGAN2's factor k / (k + 1) on rate and decay.
    """
    players = make_players("dlsgan", r1=1.0, penalty_every=every, batch=64, learning_rate=1e-3)
    if lazy:
        players.config = dataclasses.replace(players.config, penalty_every=1)
    if lazy == "apart":
        c = every / (every + 1)
        (group,) = players.optimisers["critic"].param_groups
        group["lr"], group["betas"] = c * group["lr"], (0.0, group["betas"][1] ** c)
    x = torch.randn(64, 2, generator=stream(0, "x"))

    def steepness():
        given = x.clone().requires_grad_(True)
        return float(norm_squared(players.critic(given).scores[:, 0, 0], given).detach())

    before = steepness()
    for index in range(24):
        penalty = players.penalty(
            StepInput(x, None, index, 0.0, stream(0, "step", index)), (x, None, 1.0)
        )
        due = index % every == 0
        if lazy == "apart":
            players.minimise(0 * penalty, "critic")
            if not due:
                continue
            given = StepInput(x, None, index, 0.0, stream(0, "step", index))
            penalty = players.penalty(given, (x, None, 1.0))
        players.minimise(((every if due else 0) if lazy else 1) * penalty, "critic")
    return math.log(before / steepness())


def test_a_penalty_of_a_part_pulls_as_that_of_the_whole__limit():
    """Under Adam a rare and strong penalty does not, nor does it with StyleGAN2's factor."""
    whole = pulled(1)
    assert pulled(8) == pytest.approx(whole, rel=0.1)
    assert pulled(8, lazy="added") < 0.5 * whole
    assert pulled(8, lazy="apart") < 0.5 * whole


def test_what_is_penalised_walks_through_the_batch__closed_form():
    steps = [penalised_rows(6, 2, index).tolist() for index in range(3)]
    assert steps == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]
    assert [penalised_rows(6, 4, index).tolist() for index in (0, 5, 6)] == [[0], [5], [0]]
    assert penalised_rows(6, 1, 9).sort().values.tolist() == list(range(6))
    assert penalised_rows(3, 8, 4).tolist() == [1]


@pytest.mark.parametrize(
    ("settings", "shape", "expected"),
    [({}, (2,), 1), ({}, (1, 8, 8), 1), ({}, (1, 16, 16), 1), ({}, (3, 28, 28), 8),
     ({"penalty_every": 4}, (2,), 4)],
)  # fmt: skip
def test_every_image_is_penalised_where_that_is_cheap__closed_form(settings, shape, expected):
    assert penalty_every_of(InversionConfig(**settings), shape) == expected


def test_a_users_batch_normalisation_is_not_fused__identity_separate():
    """Real and generated points have statistics of their own, and the batch stays whole."""

    class Own:
        def generator(self, inputs):
            return nn.Linear(inputs, 2)

        def critic(self):
            return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.2))

    config = InversionConfig(latent=LATENT, precision="fp32", penalty_every=3, r1=1.0)
    networks = build_networks(config, (2,), Classes(), Own(), seed=0)
    players = TrainingState(
        networks, config, Classes(), torch.zeros(LATENT, 0, 0), torch.device("cpu")
    )
    real = torch.randn(6, 2, generator=stream(0, "real"))
    fake = 5 + torch.randn(6, 2, generator=stream(0, "fake"))
    first, second = players.read_pair(real, fake)
    assert torch.equal(first.scores, players.read(real).scores)
    assert torch.equal(second.scores, players.read(fake).scores)
    given = StepInput(real, None, 0, 0.0, stream(0, "step"))
    x = real.clone().requires_grad_(True)
    whole = norm_squared(players.critic(x).scores[:, 0, 0], x)
    torch.testing.assert_close(players.penalty(given, (real, None, 1.0)), whole)


def test_the_rate_falls_to_its_share__closed_form():
    players = make_players("dlsgan", final_rate=0.04)
    rates = []
    for share in (0.0, 0.5, 1.0):
        players.set_rate(share)
        rates.append(players.optimisers["critic"].param_groups[0]["lr"])
    assert rates == pytest.approx([RATE, 0.2 * RATE, 0.04 * RATE])
