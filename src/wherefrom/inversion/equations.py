"""The equations of the thesis, one function each: draws, losses, and scores of codes.

Cho: Deep Generative Models and Their Inversions For Bidirectional Transformation Between Data and
Latent Distributions, PhD thesis, Concordia University, 2025.

Symbols:
    a_r, a_f   adversarial values of real and generated data, (N,), or (N, L) of the active heads
    c          classes, (N, L, K), one-hot along K; L labels (d_l) of K classes (d_c) each
    q          class probabilities, (N, L, K)
    x          data, (N, *shape)
    z, z'      latents, and their prediction from G(z o s), (N, d_z)
    v, s       variance of z', (d_z,), and the scale it gives, (d_z,)
    l          predicted log-variance, (N, d_z)
    y, y'      features of an image and of its reconstruction, (N, F)
    w          fixed linear classifier, (d_z, L, K)

Where there are several labels, every loss is the mean over them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

INFOGAN_EPSILON = 1e-7  # Section 4.2.2: keeps the division in Eq. 16 finite
MIN_VARIANCE = 1e-12  # a dead code has variance 0, whose logarithm would hide all others
UNIFORM_BOUND = 3**0.5  # of the uniform distribution with variance 1


def draw_latents(count: int, dimensions: int, kind: str, rng: torch.Generator) -> Tensor:
    """z (count, d_z) with mean 0 and variance 1: "normal", or "uniform" on +-sqrt 3."""
    if kind == "uniform":
        return (2 * torch.rand(count, dimensions, generator=rng) - 1) * UNIFORM_BOUND
    return torch.randn(count, dimensions, generator=rng)


def draw_classes(count: int, prior: Tensor, rng: torch.Generator) -> Tensor:
    """One-hot c (count, L, K) from P(C), (L, K) with rows that add up to 1."""
    rows = torch.multinomial(prior.cpu(), count, replacement=True, generator=rng)
    return F.one_hot(rows.T, prior.shape[1]).float()


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


def weighted_loss(adversarial: Tensor, other: Tensor, weight: float) -> Tensor:
    """L_adv + lambda L_other.  Eq. 7, 8 (classes), 11 (InfoGAN), 17, 18, 34, 35, 40 (codes).

    A third term (PVDGAN, Eq. 41) is added by a second call.
    """
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


def latent_scale(v: Tensor) -> Tensor:
    """s = sqrt(d_z v) / || sqrt v ||_2, so that sum s^2 = d_z.  DLSGAN, Eq. 32."""
    return torch.sqrt(v.numel() * v / v.sum())


def encoder_loss(z: Tensor, predicted: Tensor, s: Tensor | float = 1.0) -> Tensor:
    """avg(((z - z') o s)^2).  DLSGAN, Eq. 33; with s = 1 the MSE encoder, Eq. 15."""
    return ((z - predicted) * s).square().mean()


def infogan_encoder_loss(z: Tensor, predicted: Tensor, log_variance: Tensor) -> Tensor:
    """avg(l + (z - z')^2 / e^l).  InfoGAN, Eq. 16."""
    errors = (z - predicted).square() / (log_variance.exp() + INFOGAN_EPSILON)
    return (log_variance + errors).mean()


def latent_entropy(s: Tensor, kind: str = "normal") -> Tensor:
    """h(Z o s) in nats, float64: of independent latents Z with mean 0 and variance 1.

    "normal": sum_i log(s_i sqrt(2 pi e)), the lemma of Section 3.2.  "uniform", on +-sqrt 3:
    sum_i log(s_i 2 sqrt 3), which is not in the thesis.
    """
    width = 2 * UNIFORM_BOUND if kind == "uniform" else (2 * math.pi * math.e) ** 0.5
    return s.double().log().sum() + s.numel() * math.log(width)


def fixed_classes(z: Tensor, s: Tensor, w: Tensor) -> Tensor:
    """c_f = argmax onehot((z o s) w), (N, L, K), without the bias.  AEDLSGAN, Eq. 36.

    A binary attribute has K = 2 and w = (-w, w): class 1 is where (z o s) w > 0.
    """
    return argmax_onehot(torch.einsum("nd,dlk->nlk", z * s, w))


def attribute_direction(w: Tensor, label: int, wanted: int) -> Tensor:
    """w_k minus the mean of the other classes' w, halved if binary: (d_z,).

    For a binary attribute that is w itself.  More classes are not in the thesis.
    """
    own = w[:, label, wanted]
    others = (w[:, label].sum(dim=1) - own) / (w.shape[2] - 1)
    return (own - others) / (2 if w.shape[2] == 2 else 1)


def edited(z: Tensor, s: Tensor, direction: Tensor, t: float) -> Tensor:
    """z' with ((z' o s) . w) / sqrt(d_z) = t, moved along w only: (N, d_z).  Section 4.2.3.

    z' o s <- z' o s - ((z' o s) . w - t sqrt(d_z)) w / || w ||^2.  Where s is 0 nothing can move,
    and nothing needs to: the generator does not look there.
    """
    live = torch.where(s > 0, direction, torch.zeros_like(direction))
    scaled = z * s
    excess = scaled @ live - t * z.shape[1] ** 0.5
    moved = scaled - torch.outer(excess, live / live.square().sum())
    return torch.where(s > 0, moved / torch.where(s > 0, s, torch.ones_like(s)), z)


def log_likelihood_terms(z: Tensor, mean: Tensor, v: Tensor) -> Tensor:
    """log f(z'_i | mu_i, v_i) of the normal distribution, (N, d_z).  AnoDLSGAN, inside Eq. 37."""
    safe = v.clamp_min(MIN_VARIANCE)
    return -0.5 * (math.log(2 * math.pi) + safe.log() + (z - mean).square() / safe)


def posterior_latents(z_r: Tensor, noise: Tensor, v: Tensor) -> Tensor:
    """Z_x = E(X) + N(0, I) o sqrt(max(1 - v, 0)).  PVDGAN, Eq. 38 as in Alg. 4, line 11."""
    return z_r + noise * (1 - v).clamp_min(0).sqrt()


def vae_latents(z_r: Tensor, noise: Tensor, log_variance: Tensor) -> Tensor:
    """Z_x = E_l(X) + N(0, I) o e^(l / 2).  VAEGAN, Eq. 19."""
    return z_r + noise * (0.5 * log_variance).exp()


def reconstruction_loss(y: Tensor, recovered: Tensor) -> Tensor:
    """avg((y - y')^2).  VAEGAN, Eq. 20; PVDGAN, Eq. 39; on pixels: the autoencoder."""
    return (y - recovered).square().mean()


def prior_loss(z_r: Tensor, log_variance: Tensor) -> Tensor:
    """avg(E_l(X)^2 - l + e^l), at least 1.  VAEGAN, Eq. 21: no 1/2 and no -1."""
    return (z_r.square() - log_variance + log_variance.exp()).mean()
