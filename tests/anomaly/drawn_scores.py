"""Scores as if images had been measured: drawn points (C, V) and features."""

import torch

from wherefrom.anomaly.config import AnomalyConfig
from wherefrom.anomaly.result import ImageScores
from wherefrom.core.rng import stream
from wherefrom.encoders.encoder import EncoderIdentity

ENCODER = EncoderIdentity("drawn", "sha256:0", "sha256:1")


def drawn_scores(name, count, *, c=0.0, v=0.0, encoder=ENCODER, config=None, width=6):
    """`count` images; c and v move the means of C (spread 0.01) and V (spread 1) in deviations."""
    z = torch.randn(count, 2, generator=stream(0, "drawn", name), dtype=torch.float64)
    rows = torch.randn(count, width, generator=stream(0, "features", name))
    blank = torch.full((count,), 0.01, dtype=torch.float64)
    return ImageScores(
        complexity=0.1 + 0.01 * (z[:, 0] + c),
        complexity_error=blank,
        vulnerability=20 + z[:, 1] + v,
        vulnerability_error=blank,
        features=rows + 0.3 * v,
        names=tuple(f"{name}/{i:04d}.png" for i in range(count)),
        digests=tuple(f"sha256:{name}{i}" for i in range(count)),
        skipped=(),
        directions=torch.full((count,), 8),
        still=torch.zeros(count, dtype=torch.float64),
        clipped=torch.zeros(count, dtype=torch.float64),
        encoder=encoder,
        config=config or AnomalyConfig(),
        seed=0,
    )
