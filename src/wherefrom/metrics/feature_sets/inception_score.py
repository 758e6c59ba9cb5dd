"""The Inception Score: high when each image has a clear class and all classes occur.

Salimans et al.: Improved Techniques for Training GANs, NeurIPS 2016.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.metrics.feature_sets.samples import checked


def inception_score(logits: Tensor) -> float:
    """exp of the mean KL(p(class | image) || p(class)) of logits (N, K); larger = better.

    It lies in [1, K], and is the mutual information of image and class, as a perplexity, by
    whatever classifier gave the logits; scores of different classifiers cannot be compared.

    Deviation: the paper averages over 10 parts of the images; here all images are one part.
    """
    values = checked(logits, at_least=2, what="the Inception Score", whose="generated")
    if values.shape[1] < 2:
        raise InputError("the Inception Score needs at least 2 classes, but the logits have 1")
    log_p = torch.log_softmax(values, dim=1)
    log_mean = torch.logsumexp(log_p, dim=0) - math.log(len(values))
    divergence = (log_p.exp() * (log_p - log_mean)).sum(1).mean()
    return float(divergence.exp())
