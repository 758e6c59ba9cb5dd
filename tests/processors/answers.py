"""Answers of frozen artifacts, as a program: what this processor and these settings make of them.

`python answers.py [FOLDER]` prints JSON: per artifact the scores, p-values and verdicts of the
images in `images.npz`, and whether each score has the same bits alone, in another order and in the
whole batch.  With MKL_FIRST set in the environment, MKL is used before wherefrom is imported, as a
library user's process may do.
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


def answers(folder: Path = HERE) -> dict:
    """The answers of every artifact in `folder`."""
    return {**attributions(folder), **outliers(folder)}


def products_depend_on_place() -> bool:
    """Whether a row of this shape has other bits in another place of its product."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(64, 48, generator=rng, dtype=torch.float64)
    weight = torch.randn(48, 5, generator=rng, dtype=torch.float64)
    return not torch.equal((x.flip(0) @ weight).flip(0), x @ weight)


def attributions(folder: Path) -> dict:
    from wherefrom.attribution.fitted import load

    # The first images are those behind the stored calibration scores: every score is a tie.
    images = torch.cat([frozen("own", folder), frozen("others", folder)])
    found = {}
    for name in ATTRIBUTORS:
        fitted = load(folder / name)
        result = fitted.check(images)
        found[name] = {
            "scores": [row.score for row in result.images],
            "p_values": [row.p_value for row in result.images],
            "verdicts": [str(row.verdict) for row in result.images],
            "alike": same_in_any_batch(fitted.score, images),
        }
    return found


def outliers(folder: Path) -> dict:
    from wherefrom.calibration.conformal import upper_p_values
    from wherefrom.inversion.detecting import make_detector
    from wherefrom.inversion.model import load

    fitted = load(folder / "inverter")
    images = torch.cat([frozen("own", folder), frozen("others", folder)])
    images = images[:, :1, ::2, ::2].float() / 255
    stored = json.loads((folder / "own_scores.json").read_text())
    found = {}
    for name in INVERTERS:
        score = make_detector(fitted, name, 0.0).score
        scores = score(images)
        p_values = upper_p_values(scores, torch.tensor(stored[name], dtype=torch.float64))
        found[name] = {
            "scores": scores.tolist(),
            "p_values": p_values.tolist(),
            "verdicts": ["outlier" if p <= RATE else "no outlier" for p in p_values.tolist()],
            "alike": same_in_any_batch(score, images),
        }
    return found


def same_in_any_batch(score, images) -> bool:
    """Whether each image's score has the same bits whatever comes with it, and in what order."""
    whole = score(images)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    alone = torch.cat([score(images[i : i + 1]) for i in order[:3]])
    return bool(
        torch.equal(score(images[order]), whole[order]) and torch.equal(alone, whole[order[:3]])
    )


def frozen(name: str, folder: Path = HERE) -> torch.Tensor:
    """`own` or `others`, uint8 (N, 3, 32, 32)."""
    import numpy as np

    with np.load(folder / "images.npz", allow_pickle=False) as archive:
        return torch.from_numpy(archive[name])


if __name__ == "__main__":
    if os.environ.get("MKL_FIRST"):
        torch.randn(64, 64) @ torch.randn(64, 64)
    found = answers(*map(Path, sys.argv[1:]))
    from wherefrom.core.passes import rows_depend_on_place

    # A process whose products depend on the place must know it.
    assert rows_depend_on_place() or not products_depend_on_place()
    json.dump(found, sys.stdout)
