"""Losses and scores of codes in the thesis, one function per equation.

Cho: PhD thesis, Concordia University, 2025.  Adversarial losses and classes: `equations`.

Symbols:
    z, z'    latents, and their prediction from G(z o s), (N, d_z)
    v, s     variance of z', (d_z,), and the scale it gives, (d_z,)
    l        predicted log-variance, (N, d_z)
    y, y'    features of an image and of its reconstruction, (N, F)
    w        fixed linear classifier, (d_z, L, K)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wherefrom.inversion.equations import argmax_onehot

INFOGAN_EPSILON = 1e-7  # Section 4.2.2: keeps the division in Eq. 16 finite
MIN_VARIANCE = 1e-12  # a dead code has variance 0, whose logarithm would hide all others


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
    width = 2 * 3**0.5 if kind == "uniform" else (2 * math.pi * math.e) ** 0.5
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


def pvdgan_generator_loss(
    adversarial: Tensor,
    encoder: Tensor,
    reconstruction: Tensor,
    *,
    encoder_weight: float,
    reconstruction_weight: float,
) -> Tensor:
    """L_adv + lambda_enc L_enc + lambda_rec L_rec.  PVDGAN, Eq. 41; VAEGAN, Eq. 23 (no encoder)."""
    return adversarial + encoder_weight * encoder + reconstruction_weight * reconstruction
