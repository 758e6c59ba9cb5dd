"""How much cheaper C and V can be measured while images keep their order.

    python experiments/anomaly_fast.py --data PHOTOGRAPHS

The rank correlation of C and of V over photographs with those of a long run from other draws (16
directions and 4 attacks at 224 px), and what each setting costs: seconds of one thread's own time,
the best of three turns.  The long run's own reliability is not 1, so neither can a correlation be.

What was measured is kept in `--work`: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

from wherefrom import __version__
from wherefrom.anomaly.config import PRESETS, AnomalyConfig
from wherefrom.anomaly.measuring.cache import FolderCache
from wherefrom.anomaly.measuring.items import load_image
from wherefrom.anomaly.measuring.scoring import score_files, score_images
from wherefrom.anomaly.result import ImageScores
from wherefrom.data.folders import list_images
from wherefrom.data.splits import spread_indices
from wherefrom.encoders import load_feature_encoder

RESULT = Path("docs/results/anomaly_fast.json")
LONG = AnomalyConfig(directions=16, restarts=4)
DRAWS, OTHER_DRAWS = 0, 1  # seeds
ROWS = (("default", 224), ("paper", 224), ("fast", 224), ("default", 112), ("fast", 112))


class Scorer:
    """Scores of files by preset, resolution and seed, from the cache where they are known."""

    def __init__(self, work: Path) -> None:
        self.cache = FolderCache(work / "cache")

    def __call__(
        self, files: Sequence[Path], config: AnomalyConfig, side: int, seed: int
    ) -> ImageScores:
        encoder = load_feature_encoder(resolution=side)
        return score_files(files, encoder, config=config, seed=seed, cache=self.cache)


def seconds(images: dict[int, Tensor], rows: Sequence[tuple[str, int]]) -> list[float]:
    """Seconds of the thread's own time per image of each row, taking turns."""
    best = [float("inf")] * len(rows)
    for _ in range(3):
        for place, (preset, side) in enumerate(rows):
            encoder = load_feature_encoder(resolution=side)
            start = time.process_time()
            score_images(images[side], encoder, config=PRESETS[preset])
            best[place] = min(best[place], (time.process_time() - start) / len(images[side]))
    return best


def photographs(folder: Path, count: int, score: Scorer) -> list[dict[str, Any]]:
    files = list_images([folder])
    files = [files[i] for i in spread_indices(len(files), count)]
    sides = {side for _, side in ROWS}
    few = {side: torch.stack([load_image(f, side) for f in files[:3]]) for side in sides}
    each = seconds(few, ROWS)
    long = score(files, LONG, 224, OTHER_DRAWS)
    rows = []
    for (preset, side), cost in zip(ROWS, each, strict=True):
        scores = score(files, PRESETS[preset], side, DRAWS)
        rows.append(
            {
                "preset": preset,
                "resolution": side,
                "seconds": cost,
                "times_faster": each[0] / cost,
                "spearman_c": spearmanr(scores.complexity, long.complexity).statistic,
                "spearman_v": spearmanr(scores.vulnerability, long.vulnerability).statistic,
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/anomaly-fast"))
    parser.add_argument("--photographs", type=int, default=30)
    args = parser.parse_args()
    torch.set_num_threads(1)
    score = Scorer(args.work)
    outcome = {
        "version": __version__,
        "command": "python experiments/anomaly_fast.py --data PHOTOGRAPHS",
        "images": args.photographs,
        "rows": photographs(args.data, args.photographs, score),
    }
    RESULT.write_text(json.dumps(outcome, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
