"""Made-up latents for tests: 1/f fields, and edits that keep some bands and redraw others."""

import functools

import torch

from wherefrom.encoders import EncoderIdentity
from wherefrom.origin import EditMapConfig

CHANNELS, SIDE = 2, 8
DIMENSION = CHANNELS * SIDE**2
CLOSED = EditMapConfig(rank=48)
ENCODER = EncoderIdentity("AutoencoderKL", "sha256:config", "sha256:weights")


def frequencies():
    """Distance from the zero frequency, (SIDE, SIDE)."""
    f = torch.fft.fftfreq(SIDE) * SIDE
    return (f[:, None] ** 2 + f[None] ** 2).sqrt()


def fields(count, rng):
    """1/f fields (count, CHANNELS, SIDE, SIDE) in the frequency domain."""
    white = torch.randn(count, CHANNELS, SIDE, SIDE, generator=rng)
    return torch.fft.fft2(white) / (1 + frequencies())


def latents(spectrum):
    """Fields as rows (count, DIMENSION) with a mean that all share."""
    return torch.fft.ifft2(spectrum).real.flatten(1) + 0.3


def make_pairs(ids, per_id, seed, *, kept=(1.5, 3.5)):
    """Origins (ids, D), edits (ids * per_id, D), owner.

    An edit keeps the band of frequencies `kept` of its origin, and draws the rest anew: the
    lowest, where 1/f fields have most of their power (as a new palette does), and the highest.
    """
    rng = torch.Generator().manual_seed(seed)
    source = fields(ids, rng)
    owner = torch.arange(ids).repeat_interleave(per_id)
    f = frequencies()
    share = torch.where((f >= kept[0]) & (f <= kept[1]), 0.8, 0.2)
    fresh = fields(len(owner), rng)
    edited = share * source[owner] + (1 - share**2).sqrt() * fresh
    return latents(source), latents(edited), owner


def mean_average_precision(queries, references, owner):
    """mAP of unit or other rows by cosine: one right answer each, so the mean of 1 / rank."""
    q = torch.nn.functional.normalize(queries)
    r = torch.nn.functional.normalize(references)
    similarities = q @ r.T
    right = similarities.gather(1, owner[:, None])
    ranks = (similarities >= right).sum(dim=1)  # ties go to the worst rank
    return float((1 / ranks).mean())


@functools.cache
def training_pairs():
    """The pairs that most tests fit to; do not change them in place."""
    return make_pairs(500, 4, 0)


@functools.cache
def seen_queries():
    """Held-out pairs of the editor of `training_pairs`."""
    return make_pairs(250, 1, 1)


@functools.cache
def unseen_queries():
    """Pairs of an editor that keeps other frequencies."""
    return make_pairs(250, 1, 2, kept=(1.5, 4.5))


def precision(fitted, pairs):
    """mAP of a map's projections."""
    origins, edits, owner = pairs
    return mean_average_precision(fitted.project(edits), fitted.project(origins), owner)


def raw_precision(pairs):
    """mAP of the embeddings as they are."""
    origins, edits, owner = pairs
    return mean_average_precision(edits, origins, owner)
