"""Where the evidence against an image lies: its score, taken apart by place.

The moments of a layer are means over its places, and the learned scores are linear in them:

    w' (m - centre) / spread  =  mean over places p of  w' (f_p - centre) / spread

with f_p the values of a place and their squares.  For a distance z' P z the place p gets z_p' P z.
The layers' maps are enlarged to the image and added; each sums to its layer's part of the score.
Frequencies are no means over places: their part of a learned score is not drawn, and the spectrum
is measured again in windows, each compared with the real images alone.

Deviation: a standardised moment is cut at 8 deviations in the score, and is not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.anomaly.damage.fitted import EVIDENCE, INNER, LIMIT, PENALTY, DamageTest
from wherefrom.anomaly.damage.measuring import measure, read_all
from wherefrom.anomaly.damage.spectrum import SIDE, VALUES, spectrum
from wherefrom.calibration.conformal import upper_p_values
from wherefrom.core.progress import quiet
from wherefrom.data.files.opening import SkippedFile, UnusableFile
from wherefrom.data.images.items import read_image
from wherefrom.data.images.writing import to_float, to_uint8
from wherefrom.encoders.efficientnet import moments
from wherefrom.encoders.features import FeatureNetwork

WINDOWS = 8  # windows per side in which the spectrum is measured again
HEAT = (255, 40, 0)


@dataclass(frozen=True, eq=False)
class DamageMap:
    """What each place adds to one kind of evidence.  Larger = more against the image."""

    evidence: str
    p_by_evidence: dict[str, float]
    contributions: Tensor  # (S, S) float64, of the central square part
    picture: Tensor  # uint8 (3, S, S): the part, red where contributions are largest

    def to_dict(self) -> dict[str, Any]:
        return {
            "evidence": self.evidence,
            "p_by_evidence": self.p_by_evidence,
            "contributions": self.contributions.tolist(),
        }


def explain_damage(
    path: Path, against: DamageTest, *, evidence: str = "", network: FeatureNetwork | None = None
) -> DamageMap:
    """The map of one kind of evidence against an image file; default: the strongest kind.

    `InputError` for a file that cannot be used.  `network`: the test's own, where it is loaded.
    """
    network = network or against.network()
    skipped: list[SkippedFile] = []
    seen = next(read_all([path], network.resolution, skipped, quiet), None)
    if seen is None:
        raise UnusableFile(path, skipped[0].reason)
    scores = against.scores(measure([seen], network))[0]
    strongest = evidence or EVIDENCE[int(scores.argmax())]
    size = [network.resolution] * 2
    x = F.interpolate(seen.image[None], size, mode="bicubic", antialias=True)
    if strongest == "spectrum":
        places = _spectrum_places(read_image(path, channels=3, losses=False).pixels, against)
        part = F.interpolate(places[None, None], size, mode="bilinear")[0, 0]
    else:
        part = _layer_places(x, network, against, strongest)
    held = against.held_scores
    single = {
        kind: float(upper_p_values(scores[k : k + 1], held[:, k])[0])
        for k, kind in enumerate(EVIDENCE)
    }
    return DamageMap(strongest, single, part, _overlay(x[0].clamp(0, 1), part))


def _layer_places(x: Tensor, network: FeatureNetwork, against: DamageTest, evidence: str) -> Tensor:
    module: Any = network.module
    with torch.no_grad():
        *inner, last = module.network.maps(module.prepared(x))
    maps = [moments(layer)[0].double() for layer in inner] + [last[0].double()]
    if evidence == "features":
        z = ((_pooled(maps) - against.centre[:-VALUES]) / against.spread[:-VALUES])[INNER]
        z = z.clamp(-LIMIT, LIMIT)
        weights = torch.zeros_like(against.centre)
        weights[INNER] = against.inner_precision @ z
    else:
        weights = against.weights[list(PENALTY).index(evidence)]
    total, start = torch.zeros(x.shape[-2:], dtype=torch.float64), 0
    for layer in maps:
        rows = slice(start, start := start + len(layer))
        centre, spread = (v[rows].view(-1, 1, 1) for v in (against.centre, against.spread))
        places = (weights[rows].view(-1, 1, 1) * (layer - centre) / spread).sum(dim=0)
        wide = F.interpolate(places[None, None], total.shape, mode="bilinear")[0, 0]
        total += (wide - wide.mean() + places.mean()) / wide.numel()
    return total


def _pooled(maps: list[Tensor]) -> Tensor:
    return torch.cat([layer.mean(dim=(1, 2)) for layer in maps])


def _spectrum_places(pixels: Tensor, against: DamageTest) -> Tensor:
    """Distances of the frequencies in windows of the central square part, (windows, windows)."""
    side = min(pixels.shape[1:])
    top, first_column = ((length - side) // 2 for length in pixels.shape[1:])
    count = max(1, min(WINDOWS, side // (2 * SIDE)))
    step = side // count
    rows = [
        spectrum(
            pixels[:, top + r * step : top + (r + 1) * step, first_column + c * step :][..., :step]
        )
        for r in range(count)
        for c in range(count)
    ]
    z = (torch.stack(rows) - against.spectrum_centre) / against.spectrum_spread
    return ((z @ against.spectrum_precision) * z).sum(dim=1).sqrt().view(count, count)


def _overlay(image: Tensor, part: Tensor) -> Tensor:
    """The image in grey, red where the contributions (H, W) are large; uint8 (3, H, W)."""
    low, high = torch.quantile(part, torch.tensor([0.5, 0.99], dtype=torch.float64))
    heat = ((part - low) / (high - low).clamp_min(1e-300)).clamp(0, 1).float() * 0.6
    grey = image.mean(dim=0, keepdim=True).expand(3, -1, -1)
    red = to_float(torch.tensor(HEAT, dtype=torch.uint8)).view(3, 1, 1)
    return to_uint8(grey * (1 - heat) + red * heat)
