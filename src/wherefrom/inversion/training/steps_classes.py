"""One training step of every method with classes: given by labels, or discovered.

Cho: PhD thesis, Concordia University, 2025: CAGAN (Eq. 25-30) with mixed batches (3.1.1), ACGAN
(Eq. 1-6), revised ACGAN (7, 8), CGPGAN (Alg. 5), InfoGAN (9-14), Elastic InfoGAN (2.1.2).

Deviation: with `inverts` the loss of DLSGAN's encoder (Eq. 33-35) is added to CAGAN and CGPGAN.
Deviation: mixed batches make the critic's penalties R1 and R2 one, of equal weight.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wherefrom.inversion import equations as eq
from wherefrom.inversion.config import penalties_of
from wherefrom.inversion.networks.heads import HeadOutputs
from wherefrom.inversion.training.steps_latent import Logged
from wherefrom.inversion.training.training_state import StepInput, TrainingState


def mixed(first: Tensor, second: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The first k rows exchanged: (first[:k] + second[k:], second[:k] + first[k:]).

    Done twice it gives (first, second) back.  With real, generated and k = 0 the batches are all
    generated and all real; with k half a batch each is half and half.  Section 3.1.1.
    """
    return torch.cat([first[:k], second[k:]]), torch.cat([second[:k], first[k:]])


def mixed_rows(config_share: float, done: float, count: int) -> int:
    """k = int(min(rate, 1/2) B), rising to half a batch over the first `config_share` of a run."""
    rate = 0.5 if config_share == 0 else min(0.5 * done / config_share, 0.5)
    return int(rate * count)


def labelled_step(p: TrainingState, given: StepInput) -> Logged:
    """CAGAN, Eq. 29 and 30; ACGAN, Eq. 1 and 2; revised ACGAN, Eq. 7 and 8."""
    c, x, count = p.config, given.x, len(given.x)
    c_r = _known(given.c)
    k = mixed_rows(c.mixing_share, given.share, count) if c.mixed_batches else None
    # update D
    z, c_f = p.latents(count, given), _wanted_classes(p, given)
    s = p.scale()
    with torch.no_grad():
        fake = p.generate(z * s, c_f)
    real, fakes = _read_both(p, x, fake, k)
    l_adv = p.critic_loss(p.active(real, c_r), p.active(fakes, c_f))
    l_d = _with_classes(p, l_adv, (real, c_r), (fakes, c_f))
    l_d = eq.weighted_loss(l_d, p.encoder_loss(z, fakes, s), c.encoder_weight)
    p.minimise(l_d + _penalties(p, given, (x, c_r), (fake, c_f), k), "critic")
    v_1 = fakes.code.square()
    # update G
    z, c_f = p.latents(count, given), _wanted_classes(p, given)
    fake = p.generate(z * s, c_f)
    fakes = p.read(fake) if k is None else _read_both(p, x, fake, k)[1]
    l_g = p.generator_loss(p.active(fakes, c_f), given)
    joint = _with_classes(p, l_g, None, (fakes, c_f))
    l_enc = p.encoder_loss(z, fakes, s)
    p.minimise(eq.weighted_loss(joint, l_enc, c.encoder_weight), "generator")
    p.trace(v_1, fakes.code.square())
    logged = {"critic": l_adv, "generator": l_g}
    return logged | ({"encoder": l_enc} if p.inverts else {})


def cgpgan_step(p: TrainingState, given: StepInput) -> Logged:
    """Alg. 5.  The penalty of Q is exact and in every step, because it decides the clusters."""
    c, x, count = p.config, given.x, len(given.x)
    r1, r2 = penalties_of(c)
    # update D and Q; line 1, x, is given
    z = p.latents(count, given)  # 2
    c_f = p.sample_classes(count, given)  # 3
    s = p.scale()
    with torch.no_grad():
        fake = p.generate(z * s, c_f)  # 4
        q_r = p.read(x, p.classifier).logits.softmax(dim=2)  # 6
    real, fakes = p.read_pair(x, fake)  # 5, 7
    l_cls, l_cgp = _classifier_losses(p, fake, c_f)  # 8, 13, 14
    if given.share < c.uniform_share:  # 9: early in training
        q_r = eq.prob_normalise(q_r)  # 10
    c_r = eq.argmax_onehot(q_r)  # 12
    l_adv = p.critic_loss(p.active(real, c_r), p.active(fakes, c_f))  # 15
    l_q = c.class_weight * l_cls + c.class_penalty * l_cgp  # 16
    l_d = eq.weighted_loss(l_adv, p.encoder_loss(z, fakes, s), c.encoder_weight)
    p.minimise(l_d + p.penalty(given, (x, c_r, r1), (fake, c_f, r2)), "critic")  # 17
    p.minimise(l_q, "classifier")  # 18
    v_1 = fakes.code.square()
    # update G
    z = p.latents(count, given)  # 19
    c_f = p.sample_classes(count, given)  # 20
    fakes = p.read(p.generate(z * s, c_f))  # 21, 22
    l_g = p.generator_loss(p.active(fakes, c_f), given)  # 23
    joint = eq.weighted_loss(l_g, p.encoder_loss(z, fakes, s), c.encoder_weight)
    p.minimise(joint, "generator")  # 24
    p.trace(v_1, fakes.code.square())
    p.trace_prior(q_r)  # 25
    return {"critic": l_adv, "generator": l_g, "classes": l_cls, "class_penalty": l_cgp}


def infogan_classes_step(p: TrainingState, given: StepInput) -> Logged:
    """InfoGAN, Eq. 9-14; Elastic InfoGAN learns P(C) by the slope of L_g, after `uniform_share`."""
    c, x, count = p.config, given.x, len(given.x)
    r1, r2 = penalties_of(c)
    # update D and Q
    z, c_f = p.latents(count, given), _softened_classes(p, count, given).detach()
    with torch.no_grad():
        fake = p.generate(z, c_f)
    real, fakes = p.read_pair(x, fake)
    l_adv = p.critic_loss(p.active(real, None), p.active(fakes, None))  # Eq. 10, 13
    p.minimise(l_adv + p.penalty(given, (x, None, r1), (fake, None, r2)), "critic")
    l_cls = eq.classification_loss(p.read(fake, p.classifier).logits, c_f)  # Eq. 12
    p.minimise(c.class_weight * l_cls, "classifier")  # Eq. 9
    # update G
    z, c_f = p.latents(count, given), _softened_classes(p, count, given)
    fake = p.generate(z, c_f)
    l_g = p.generator_loss(p.active(p.read(fake), None), given)  # Eq. 14
    l_cls = eq.classification_loss(p.read(fake, p.classifier).logits, c_f)
    joint = eq.weighted_loss(l_g, l_cls, c.class_weight)  # Eq. 11
    if p.traces.log_prior is None:
        p.minimise(joint, "generator")
        return {"critic": l_adv, "generator": l_g, "classes": l_cls}
    (slope,) = torch.autograd.grad(joint, [p.traces.log_prior], retain_graph=True)
    p.minimise(joint, "generator")
    p.descend("prior", [slope * float(given.share >= c.uniform_share)])
    with torch.no_grad():
        p.traces.prior.copy_(p.traces.log_prior.softmax(dim=1))
    return {"critic": l_adv, "generator": l_g, "classes": l_cls}


def classifier_step(p: TrainingState, given: StepInput) -> Logged:
    """Cross-entropy of real labels: the network behind energy scores, Section 4.3."""
    l_cls = eq.classification_loss(p.read(given.x, p.classifier).logits, _known(given.c))
    p.minimise(l_cls, "classifier")
    return {"classes": l_cls}


def _classifier_losses(p: TrainingState, fake: Tensor, c_f: Tensor) -> tuple[Tensor, Tensor]:
    """L_cls and L_cgp of one pass over the generated images."""
    if not p.config.class_penalty:
        l_cls = eq.classification_loss(p.read(fake, p.classifier).logits, c_f)
        return l_cls, fake.new_zeros(())
    x = fake.detach().requires_grad_(True)
    with torch.autocast(x.device.type, enabled=False):
        logits = p.classifier(x).logits
        return eq.classification_loss(logits, c_f), eq.class_gradient_penalty(logits, c_f, x)


def _wanted_classes(p: TrainingState, given: StepInput) -> Tensor:
    """c_f: from P(C); relativistic: those of the real images, so that pairs are of one class."""
    if p.config.adversarial == "relativistic":
        return _known(given.c)
    return p.sample_classes(len(given.x), given)


def _softened_classes(p: TrainingState, count: int, given: StepInput) -> Tensor:
    if p.traces.log_prior is None:
        return p.sample_classes(count, given)
    uniform = torch.rand(count, *p.classes.shape, generator=given.rng).to(p.device)
    return eq.gumbel_softmax(p.traces.log_prior, uniform, p.config.temperature)


def _read_both(
    p: TrainingState, x: Tensor, fake: Tensor, k: int | None
) -> tuple[HeadOutputs, HeadOutputs]:
    """D of real and generated images, k rows of either in the other's batch."""
    if k is None:
        return p.read_pair(x, fake)
    first, second = (p.read(batch) for batch in mixed(x, fake, k))
    pairs = [mixed(a, b, k) for a, b in zip(first, second, strict=True)]
    return HeadOutputs(*(real for real, _ in pairs)), HeadOutputs(*(fakes for _, fakes in pairs))


def _penalties(
    p: TrainingState,
    given: StepInput,
    real: tuple[Tensor, Tensor],
    fakes: tuple[Tensor, Tensor],
    k: int | None,
) -> Tensor:
    r1, r2 = penalties_of(p.config)
    if k is not None:
        images, classes = mixed(real[0], fakes[0], k), mixed(real[1], fakes[1], k)
        items = [(x, c, r1) for x, c in zip(images, classes, strict=True)]
        return p.penalty(given, *items)
    return p.penalty(given, (*real, r1), (*fakes, r2))


def _with_classes(
    p: TrainingState,
    l_adv: Tensor,
    real: tuple[HeadOutputs, Tensor] | None,
    fakes: tuple[HeadOutputs, Tensor],
) -> Tensor:
    """The adversarial loss and what the method adds of classification; for G `real` is None."""
    kind = p.config.recipe.class_loss
    if not kind:
        return l_adv
    if kind == "revised":  # Eq. 7 and 8
        outputs, c = fakes if real is None else real
        l_cls = eq.classification_loss(outputs.logits, c)
        return eq.weighted_loss(l_adv, l_cls, p.config.class_weight)
    l_fake = eq.classification_loss(fakes[0].logits, fakes[1])
    if real is None:
        return l_adv + l_fake  # Eq. 2
    return l_adv + eq.classification_loss(real[0].logits, real[1]) + l_fake  # Eq. 1


def _known(c: Tensor | None) -> Tensor:
    if c is None:
        raise TypeError("this method was given no labels")
    return c
