"""The steps of methods with classes against the thesis' algorithms, written out line by line."""

import pytest
import torch
from stepping import (
    BATCH,
    Plain,
    adversarial,
    assert_same,
    c_of,
    encoder_term,
    follow,
    givens,
    make_players,
    norm_squared,
    softplus,
    z_of,
)
from torch.nn import functional as F

from wherefrom.inversion.networks.assembly import Classes
from wherefrom.inversion.training import steps_classes
from wherefrom.inversion.training.steps_classes import mixed, mixed_rows

THREE = Classes(1, 3)


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
