"""The part of a run's variance that comes from which images were sampled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from wherefrom.core.progress import Track, quiet
from wherefrom.credit.properties import Property, RunOutput
from wherefrom.credit.running.diffusion_run import DiffusionPlay

GROUPS = 10  # of images that are left out in turn
RUNS = 8  # that are looked at


def image_variance(measured: Property, output: RunOutput, groups: int = GROUPS) -> float | None:
    """Variance of the property over other images of the same model, by the grouped jackknife.

        (g - 1) / g  sum_j (F without group j - their mean)^2

    None with fewer images than two per group.
    """
    count = len(output.images)
    if count < 2 * groups:
        return None
    group = torch.arange(count) % groups
    values = [measured(RunOutput(output.images[group != g], output.model)) for g in range(groups)]
    return float((groups - 1) * np.var(values))


def sampling_variance(
    play: DiffusionPlay, keys: Sequence[str], measured: Property, *, track: Track = quiet
) -> float | None:
    """Mean of `image_variance` over at most `RUNS` runs whose images are there, spread evenly.

    All runs of a study share their noise, so most of it cancels between them: it says what other
    images would have given.  None where no run's images are there.
    """
    there = [key for key in keys if (play.outputs / key).is_dir()]
    chosen = there[:: max(1, -(-len(there) // RUNS))]
    variances = []
    for key in track(chosen, "measuring the noise of images", total=len(chosen)):
        variance = image_variance(measured, play.load(play.outputs / key)[0])
        if variance is not None:
            variances.append(variance)
    return float(np.mean(variances)) if variances else None
