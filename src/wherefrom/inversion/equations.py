"""Adversarial and classification losses of the thesis, one function per equation.

Cho: Deep Generative Models and Their Inversions For Bidirectional Transformation Between Data and
Latent Distributions, PhD thesis, Concordia University, 2025.  Those of codes: `equations_latent`.

Symbols:
    a_r, a_f   adversarial values of real and generated data, (N,), or (N, L) of the active heads
    c          classes, (N, L, K), one-hot along K; L labels (d_l) of K classes (d_c) each
    q          class probabilities, (N, L, K)
    x          data, (N, *shape)

Where there are several labels, every loss is the mean over them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def nsgan_critic_loss(a_r: Tensor, a_f: Tensor) -> Tensor:
    """A_d = log(1 + e^-a_r) + log(1 + e^a_f), mean over the batch.  Eq. 49 (Eq. 5, 13)."""
    return F.softplus(-a_r).mean() + F.softplus(a_f).mean()


def nsgan_generator_loss(a_f: Tensor) -> Tensor:
    """A_g = log(1 + e^-a_f), mean over the batch.  Eq. 50 (Eq. 6, 14)."""
    return F.softplus(-a_f).mean()


def relativistic_critic_loss(a_r: Tensor, a_f: Tensor) -> Tensor:
    """log(1 + e^-(a_r - a_f)) over pairs, mean.  Jolicoeur-Martineau 2018; R3GAN, Eq. 2.

    With classes, the images of a pair must be of one class: every head has an offset of its own.
    """
    return F.softplus(a_f - a_r).mean()


def relativistic_generator_loss(a_r: Tensor, a_f: Tensor) -> Tensor:
    """log(1 + e^-(a_f - a_r)) over pairs, mean: the critic's loss with the roles exchanged."""
    return F.softplus(a_r - a_f).mean()


def active_scores(scores: Tensor, c: Tensor) -> Tensor:
    """D(x) . c per label: (N, L, K) -> (N, L).  CAGAN, Eq. 29, 30, 46, 47.

    With Eq. 49 and 50 on the result, the losses of the classes (Eq. 25-28) are added up.
    """
    return (scores * c).sum(dim=2)


def classification_loss(logits: Tensor, c: Tensor) -> Tensor:
    """-c . log Q(x), mean over batch and labels; Q = softmax of the logits.  Eq. 3, 4, 12."""
    return -(c * logits.log_softmax(dim=2)).sum(dim=2).mean()


def acgan_critic_loss(adversarial: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    """L_adv + L_cls^r + L_cls^f.  ACGAN, Eq. 1."""
    return adversarial + real + fake


def acgan_generator_loss(adversarial: Tensor, fake: Tensor) -> Tensor:
    """L_adv + L_cls^f.  ACGAN, Eq. 2."""
    return adversarial + fake


def weighted_loss(adversarial: Tensor, other: Tensor, weight: float) -> Tensor:
    """L_adv + lambda L_other.  Eq. 7, 8 (classes), 11 (InfoGAN), 17, 18, 34, 35, 40 (codes)."""
    return adversarial + weight * other


def squared_gradient(scores: Tensor, x: Tensor) -> Tensor:
    """|| d scores_n / d x_n ||_2^2 per item, (N,), differentiable.  Inside Eq. 45 and 51."""
    (slope,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    return slope.flatten(1).square().sum(dim=1)


def gradient_penalty(scores: Tensor, x: Tensor) -> Tensor:
    """L_r1 = || grad_x D(x) ||_2^2, mean over the batch; R2 on generated x.  Eq. 51.

    `scores` (N,) or (N, L) of the active heads, of which the mean is differentiated.  There is no
    1/2: a weight of 10 is gamma = 20 in StyleGAN's writing.
    """
    values = scores if scores.ndim == 1 else scores.mean(dim=1)
    return squared_gradient(values, x).mean()


def difference_penalty(scores: Tensor, noisy: Tensor, noise: float) -> Tensor:
    """(D(x + noise n) - D(x))^2 / noise^2, mean, n normal: about Eq. 51 for small noise.

    Deviation: not in the thesis.  As in Seaweed-APT (2025), but divided by the variance, so that
    the weights of Eq. 51 hold.  It needs no second derivative.
    """
    values, moved = (s if s.ndim == 1 else s.mean(dim=1) for s in (scores, noisy))
    return ((moved - values) / noise).square().mean()


def class_gradient_penalty(logits: Tensor, c: Tensor, x: Tensor) -> Tensor:
    """L_cgp = || grad_x (1 - Q(x) . c)^2 ||_2^2, mean over the batch.  CGPGAN, Eq. 45.

    With several labels the mean of the squares is differentiated.
    """
    missed = 1 - (logits.softmax(dim=2) * c).sum(dim=2)
    return squared_gradient(missed.square().mean(dim=1), x).mean()


def prob_normalise(q: Tensor) -> Tensor:
    """q - batch average(q) + 1 / d_c, (N, L, K).  CGPGAN, Eq. 48."""
    return q - q.mean(dim=0, keepdim=True) + 1 / q.shape[2]


def argmax_onehot(q: Tensor) -> Tensor:
    """1 at the largest value along K, 0 elsewhere, (N, L, K).  Inside Eq. 36 and 46."""
    return F.one_hot(q.argmax(dim=2), q.shape[2]).to(q.dtype)


def gumbel_softmax(log_prior: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """softmax((log P(C) + g) / tau), g = -log(-log u): (L, K) and u (N, L, K) -> (N, L, K).

    Elastic InfoGAN (Ojha et al. 2020) draws its classes so, and learns P(C) through them.
    """
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
    return ((log_prior.log_softmax(dim=1) + gumbel) / temperature).softmax(dim=2)


def updated(average: Tensor, rows: Tensor, decay: float) -> Tensor:
    """decay * average + (1 - decay) * mean(rows): the `update` of Alg. 2 to 5, for v and P(C)."""
    return decay * average + (1 - decay) * rows.mean(dim=0)
