"""The steps of every method against the thesis' algorithms, written out line by line."""

import pytest
import torch
from stepping import BATCH, RATE, Plain, assert_same, c_of, givens, make_players, norm_squared, z_of
from torch.nn import functional as F

from wherefrom.inversion import steps_classes, steps_latent
from wherefrom.inversion.assembly import Classes
from wherefrom.inversion.steps_classes import mixed, mixed_rows

THREE = Classes(1, 3)
B2 = BATCH // 2


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
    if given.index % c.penalty_every:
        penalty = 0.0
    elif c.penalty == "difference":
        noise = torch.randn(x.shape, generator=given.rng)
        moved = p.d(x.detach() + c.penalty_noise * noise).scores[:, 0, 0]
        penalty = (((moved - a_r) / c.penalty_noise) ** 2).mean()
    else:
        penalty = norm_squared(a_r, x)
    l_d = l_adv + 0.7 * l_enc + 0.3 * c.penalty_every * penalty  # 8
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
        {"penalty": "difference"},
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


def head(scores, c):
    """The active head, item by item."""
    return torch.stack([scores[n, 0, int(c[n, 0].argmax())] for n in range(len(c))])


def cross_entropy(out, c):
    return F.cross_entropy(out.logits[:, 0], c[:, 0].argmax(dim=1))


def cagan(p, given):
    """Eq. 29 and 30 with R1 + R2 on the active heads; with `inverts` also Eq. 33-35."""
    inverts = p.config.inverts
    x = given.x.clone().requires_grad_(True)
    z, c_f = z_of(given), c_of(given, p.prior)
    s = p.s() if inverts else 1.0
    fake = p.g(z * s, c_f).detach().requires_grad_(True)
    made = p.d(fake)
    a_r, a_f = head(p.d(x).scores, given.c), head(made.scores, c_f)
    penalty = norm_squared(a_r, x) + norm_squared(a_f, fake)
    l_enc = 0.7 * encoder_term(p, z, made, s) if inverts else 0.0
    v_1 = made.code.detach() ** 2
    p.minimise(adversarial(a_r, a_f) + 0.5 * penalty + l_enc, "critic")
    z, c_f = z_of(given), c_of(given, p.prior)
    made = p.d(p.g(z * s, c_f))
    l_enc = 0.7 * encoder_term(p, z, made, s) if inverts else 0.0
    p.minimise(softplus(-head(made.scores, c_f)).mean() + l_enc, "generator")
    if inverts:
        p.update_v(v_1, made.code**2)


@pytest.mark.parametrize("inverts", [False, True])
def test_cagan__naive_loop(inverts):
    players = make_players(
        "cagan", classes=THREE, r1=0.5, r2=0.5, inverts=inverts, encoder_weight=0.7,
        trace_decay=0.9,
    )  # fmt: skip
    follow(steps_classes.labelled_step, players, cagan, THREE)


def acgan(p, given):
    """Eq. 1 and 2; revised: Eq. 7 and 8."""
    revised, weight = p.config.method == "revised-acgan", p.config.class_weight
    x = given.x.clone().requires_grad_(True)
    z, c_f = z_of(given), c_of(given, p.prior)
    real, made = p.d(x), p.d(p.g(z, c_f).detach())
    l_adv = adversarial(real.scores[:, 0, 0], made.scores[:, 0, 0])
    l_cls = cross_entropy(real, given.c)
    l_d = l_adv + (weight * l_cls if revised else l_cls + cross_entropy(made, c_f))
    p.minimise(l_d + 0.5 * norm_squared(real.scores[:, 0, 0], x), "critic")
    z, c_f = z_of(given), c_of(given, p.prior)
    made = p.d(p.g(z, c_f))
    l_g = softplus(-made.scores[:, 0, 0]).mean()
    l_g = l_g + (weight if revised else 1.0) * cross_entropy(made, c_f)
    p.minimise(l_g, "generator")


@pytest.mark.parametrize("method", ["acgan", "revised-acgan"])
def test_acgan_and_its_revision__naive_loop(method):
    players = make_players(method, classes=THREE, r1=0.5, r2=0.0, class_weight=0.4)
    follow(steps_classes.labelled_step, players, acgan, THREE)


def mixed_cagan(p, given):
    """CAGAN whose critic sees its batch, which is k real and the rest generated, or reversed."""
    k = int(min(0.5 * given.share / 0.5, 0.5) * BATCH)
    z, c_f = z_of(given), c_of(given, p.prior)
    fake = p.g(z, c_f).detach()

    def losses(made, classes, *, penalise):
        first = torch.cat([given.x[:k], made[k:]])
        second = torch.cat([made[:k], given.x[k:]])
        if penalise:
            first, second = first.requires_grad_(True), second.requires_grad_(True)
        c_1 = torch.cat([given.c[:k], classes[k:]])
        c_2 = torch.cat([classes[:k], given.c[k:]])
        a_1, a_2 = head(p.d(first).scores, c_1), head(p.d(second).scores, c_2)
        a_r, a_f = torch.cat([a_1[:k], a_2[k:]]), torch.cat([a_2[:k], a_1[k:]])
        penalty = norm_squared(a_1, first) + norm_squared(a_2, second) if penalise else 0.0
        return a_r, a_f, penalty

    a_r, a_f, penalty = losses(fake, c_f, penalise=True)
    p.minimise(adversarial(a_r, a_f) + 0.5 * penalty, "critic")
    z, c_f = z_of(given), c_of(given, p.prior)
    a_f = losses(p.g(z, c_f), c_f, penalise=False)[1]
    p.minimise(softplus(-a_f).mean(), "generator")


def test_mixed_batches__naive_loop():
    players = make_players(
        "cagan", classes=THREE, r1=0.5, r2=0.5, mixed_batches=True, batch_deviation=True
    )
    follow(steps_classes.labelled_step, players, mixed_cagan, THREE)


def test_mixing_twice_gives_the_batches_back__identity_involution():
    a, b = torch.arange(6), torch.arange(10, 16)
    assert torch.equal(torch.cat(mixed(*mixed(a, b, 2), 2)), torch.cat([a, b]))
    assert [row.tolist() for row in mixed(a, b, 2)] == [
        [0, 1, 12, 13, 14, 15],
        [10, 11, 2, 3, 4, 5],
    ]


def test_mixed_rows_rise_to_half_a_batch__closed_form():
    """The thesis: 100:0 at the start, 90:10 after a fifth of the ramp, 50:50 from its end."""
    rows = [mixed_rows(0.5, done, 100) for done in (0.0, 0.1, 0.25, 0.5, 0.9)]
    assert rows == [0, 10, 25, 50, 50]
    assert mixed_rows(0.0, 0.0, 100) == 50


def algorithm_5(p, given):
    """CGPGAN; early in training the labels of real data are normalised.  `inverts`: Eq. 33-35."""
    x, c = given.x, p.config
    s = p.s() if c.inverts else 1.0
    z = z_of(given)  # 1, 2
    c_f = c_of(given, p.prior)  # 3
    fake = p.g(z * s, c_f).detach().requires_grad_(True)  # 4
    a_r, q_r = p.d(x).scores, p.net.classifier(x).logits.softmax(dim=2)  # 5, 6
    made, out_f = p.d(fake), p.net.classifier(fake)  # 7, 8
    a_f, v_1 = made.scores, made.code.detach() ** 2
    q_f = out_f.logits.softmax(dim=2)
    if given.share < 0.5:  # 9
        q_r = q_r - q_r.mean(dim=0) + 1 / 3  # 10
    c_r = F.one_hot(q_r.argmax(dim=2), 3).float()  # 12
    l_cls = -(c_f * torch.log(q_f)).sum(dim=2).mean()  # 13
    l_cgp = norm_squared((1 - (q_f * c_f).sum(dim=2)[:, 0]) ** 2, fake)  # 14
    l_d = adversarial(head(a_r, c_r), head(a_f, c_f))  # 15
    l_d = l_d + 0.5 * norm_squared(head(a_f, c_f), fake)
    l_d = l_d + (encoder_term(p, z, made, s) if c.inverts else 0.0)
    p.minimise(l_d, "critic")  # 17
    p.minimise(c.class_weight * l_cls + c.class_penalty * l_cgp, "classifier")  # 16, 18
    z, c_f = z_of(given), c_of(given, p.prior)  # 19, 20
    made = p.d(p.g(z * s, c_f))  # 21, 22
    l_g = softplus(-head(made.scores, c_f)).mean()  # 23
    p.minimise(l_g + (encoder_term(p, z, made, s) if c.inverts else 0.0), "generator")  # 24
    if c.inverts:
        p.update_v(v_1, made.code**2)
    p.prior = 0.9 * p.prior + 0.1 * q_r.mean(dim=0).detach()  # 25


@pytest.mark.parametrize(("codebook", "inverts"), [(False, False), (True, False), (False, True)])
def test_cgpgan_and_its_codebook__naive_loop(codebook, inverts):
    players = make_players(
        "cgpgan", classes=THREE, r2=0.5, uniform_share=0.5, class_weight=0.8,
        class_penalty=0.4, trace_decay=0.9, codebook=codebook, inverts=inverts,
    )  # fmt: skip
    follow(steps_classes.cgpgan_step, players, algorithm_5)


def test_the_prior_of_cgpgan_is_uniform_while_early__limit():
    players = make_players("cgpgan", classes=THREE, uniform_share=1.0, trace_decay=0.5)
    for given in givens():
        steps_classes.cgpgan_step(players, given)
    torch.testing.assert_close(players.traces.prior, torch.full((1, 3), 1 / 3))


def infogan_classes(p, given):
    """Eq. 9-14."""
    z, c_f = z_of(given), c_of(given, p.prior)
    fake = p.g(z, c_f).detach().requires_grad_(True)
    a_r, a_f = p.d(given.x).scores[:, 0, 0], p.d(fake).scores[:, 0, 0]
    p.minimise(adversarial(a_r, a_f) + 0.5 * norm_squared(a_f, fake), "critic")
    p.minimise(0.8 * cross_entropy(p.net.classifier(fake.detach()), c_f), "classifier")
    z, c_f = z_of(given), c_of(given, p.prior)
    fake = p.g(z, c_f)
    l_g = softplus(-p.d(fake).scores[:, 0, 0]).mean()
    p.minimise(l_g + 0.8 * cross_entropy(p.net.classifier(fake), c_f), "generator")


def test_infogan_with_classes__naive_loop():
    players = make_players("infogan-classes", classes=THREE, r2=0.5, class_weight=0.8)
    follow(steps_classes.infogan_classes_step, players, infogan_classes)


class ElasticPlain(Plain):
    def __init__(self, players):
        super().__init__(players)
        c = players.config
        self.logits = torch.nn.Parameter(torch.full((1, 3), 1 / 3))
        self.adam["logits"] = torch.optim.AdamW(
            [self.logits], c.learning_rate, betas=(0.0, c.beta2), eps=c.epsilon,
            weight_decay=c.weight_decay, foreach=False,
        )  # fmt: skip


def elastic(p, given):
    """Elastic InfoGAN: classes by Gumbel softmax; P(C) down the slope of L_g once it may."""

    def soft():
        u = torch.rand(BATCH, 1, 3, generator=given.rng)
        gumbel = -torch.log(-torch.log(u))
        return torch.softmax((torch.log_softmax(p.logits, dim=1) + gumbel) / 0.7, dim=2)

    def entropy(x, c):
        return -(c * torch.log_softmax(p.net.classifier(x).logits, dim=2)).sum(dim=2).mean()

    z, c_f = z_of(given), soft().detach()
    fake = p.g(z, c_f).detach().requires_grad_(True)
    a_r, a_f = p.d(given.x).scores[:, 0, 0], p.d(fake).scores[:, 0, 0]
    p.minimise(adversarial(a_r, a_f) + 0.5 * norm_squared(a_f, fake), "critic")
    p.minimise(entropy(fake.detach(), c_f), "classifier")
    z, c_f = z_of(given), soft()
    fake = p.g(z, c_f)
    l_g = softplus(-p.d(fake).scores[:, 0, 0]).mean() + entropy(fake, c_f)
    p.adam["logits"].zero_grad()
    p.minimise(l_g * 1.0, "generator")
    if given.share < 0.5:
        p.logits.grad.zero_()  # the weight decay still acts
    p.adam["logits"].step()
    p.prior = torch.softmax(p.logits.detach(), dim=1)


def test_elastic_infogan__naive_loop():
    players = make_players(
        "elastic-infogan", classes=THREE, r2=0.5, uniform_share=0.5, temperature=0.7
    )
    plain = ElasticPlain(players)
    for given in givens():
        steps_classes.infogan_classes_step(players, given)
    for given in givens():
        elastic(plain, given)
    assert_same(players, plain)
    assert float((players.traces.prior - 1 / 3).abs().max()) > 1e-4


def test_classifier__naive_loop():
    def reference(p, given):
        p.minimise(cross_entropy(p.net.classifier(given.x), given.c), "classifier")

    players = make_players("classifier", classes=THREE)
    follow(steps_classes.classifier_step, players, reference, THREE)


def test_relativistic_pairs_of_cagan_are_of_one_class__closed_form():
    players = make_players("cagan", classes=THREE, adversarial="relativistic")
    given = next(iter(givens(THREE)))
    assert torch.equal(steps_classes._wanted_classes(players, given), given.c)


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


def test_the_rate_falls_to_its_share__closed_form():
    players = make_players("dlsgan", final_rate=0.04)
    rates = []
    for share in (0.0, 0.5, 1.0):
        players.set_rate(share)
        rates.append(players.optimisers["critic"].param_groups[0]["lr"])
    assert rates == pytest.approx([RATE, 0.2 * RATE, 0.04 * RATE])
