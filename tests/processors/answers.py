"""Answers of frozen artifacts, as a program: what this processor and these settings make of them.

`python answers.py [EVERY]` prints JSON: per artifact the scores, p-values and verdicts of every
EVERY-th image in `images.npz`, and whether each score has the same bits alone, in another order and
in the whole batch.  With MKL_FIRST set in the environment, MKL is used before wherefrom is
imported, as a library user's process may do.
"""

import json
import os
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent / "frozen"
ATTRIBUTORS = ("flipad", "fingerprint")
INVERTERS = ("nll", "reconstruction")
RATE = 0.1


def answers(every: int = 1) -> dict:
    """The answers of every artifact in `frozen` for every `every`-th image."""
    images = torch.cat([frozen("own"), frozen("others")])[::every]
    return {**attributions(images), **outliers(images)}


def products_depend_on_place() -> bool:
    """Whether a row of this shape has other bits in another place of its product."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(64, 48, generator=rng, dtype=torch.float64)
    weight = torch.randn(48, 5, generator=rng, dtype=torch.float64)
    return not torch.equal((x.flip(0) @ weight).flip(0), x @ weight)


def attributions(images: torch.Tensor) -> dict:
    """Half of the images are those behind the stored calibration scores: each of these is a tie."""
    from wherefrom.attribution.checking.fitted import load

    found = {}
    for name in ATTRIBUTORS:
        fitted = load(HERE / name)
        result = fitted.check(images)
        scores = [row.score for row in result.images]
        found[name] = {
            "scores": scores,
            "p_values": [row.p_value for row in result.images],
            "verdicts": [str(row.verdict) for row in result.images],
            "alike": same_in_any_batch(fitted.score, images, scores),
        }
    return found


def outliers(images: torch.Tensor) -> dict:
    from wherefrom.calibration.conformal import upper_p_values
    from wherefrom.inversion.model import load
    from wherefrom.inversion.outliers.detecting import make_detector

    fitted = load(HERE / "inverter")
    images = images[:, :1, ::2, ::2].float() / 255
    stored = json.loads((HERE / "own_scores.json").read_text())
    found = {}
    for name in INVERTERS:
        score = make_detector(fitted, name, 0.0).score
        scores = score(images)
        p_values = upper_p_values(scores, torch.tensor(stored[name], dtype=torch.float64))
        found[name] = {
            "scores": scores.tolist(),
            "p_values": p_values.tolist(),
            "verdicts": ["outlier" if p <= RATE else "no outlier" for p in p_values.tolist()],
            "alike": same_in_any_batch(score, images, scores.tolist()),
        }
    return found


def same_in_any_batch(score, images, scores) -> bool:
    """Whether each image's score has the same bits whatever comes with it, and in what order."""
    whole = torch.tensor(scores, dtype=torch.float64)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    alone = torch.cat([score(images[i : i + 1]) for i in order[:3]])
    return bool(
        torch.equal(score(images[order]), whole[order]) and torch.equal(alone, whole[order[:3]])
    )


def frozen(name: str) -> torch.Tensor:
    """`own` or `others`, uint8 (N, 3, 32, 32)."""
    import numpy as np

    with np.load(HERE / "images.npz", allow_pickle=False) as archive:
        return torch.from_numpy(archive[name])


if __name__ == "__main__":
    if os.environ.get("MKL_FIRST"):
        torch.randn(64, 64) @ torch.randn(64, 64)
    found = answers(*map(int, sys.argv[1:]))
    from wherefrom.core.compute.passes import rows_depend_on_place

    # A process whose products depend on the place must know it.
    assert rows_depend_on_place() or not products_depend_on_place()
    json.dump(found, sys.stdout)
