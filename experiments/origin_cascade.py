"""What views, re-ranking and the statistic change, on edits that a few lines can make.

    python experiments/origin_cascade.py --data PHOTOS

No editor is needed: a surrogate edit blends parts of another photograph in, blurs, recolours, adds
noise and saves as JPEG; before it, the photograph may be mirrored, cropped or given a border.  It
shows the order of the settings on one footing, and says nothing of any real editor's difficulty.
Photographs are split (`--sizes`): some to learn W from two edits each, some whose edits calibrate
(their origins are left out), some to be searched for; the index holds all there are.  "made from"
is counted over 50 draws of half the calibration's edits; the other half measures false alarms.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torch.nn import functional as F

from wherefrom import __version__
from wherefrom.calibration.conformal import upper_p_values
from wherefrom.core.rng import stream
from wherefrom.core.store import write_file
from wherefrom.data.folders import list_images
from wherefrom.data.images import read_image
from wherefrom.data.shaping import to_image, to_pixels
from wherefrom.data.writing import to_float
from wherefrom.encoders import load_encoder, prepare
from wherefrom.metrics.retrieval import accuracy, mean_average_precision
from wherefrom.origin import References, SearchConfig, fit_edit_map
from wherefrom.origin.decision import STATISTICS, standing_out
from wherefrom.origin.edit_map import EditMapConfig
from wherefrom.origin.evaluation import rank_of
from wherefrom.origin.matching import Matcher, Standing

DRAWS, RATES = 50, (0.01, 0.02, 0.05)
SETTINGS = {
    "as it is": SearchConfig(views="none", rerank=False),
    "flip": SearchConfig(views="flip", rerank=False),
    "flip+crops": SearchConfig(views="flip+crops", rerank=False),
    "flip, re-ranked": SearchConfig(views="flip"),
    "flip+crops, re-ranked": SearchConfig(views="flip+crops"),
}


def cut(image: Image.Image, across: float, down: float, rng: torch.Generator) -> Image.Image:
    """These shares of an image's sides, from a place of chance."""
    w, h = round(image.width * across), round(image.height * down)
    x, y = torch.rand(2, generator=rng).tolist()
    left, top = round((image.width - w) * x), round((image.height - h) * y)
    return image.crop((left, top, left + w, top + h))


CHANGES: dict[str, Callable[[Image.Image, torch.Generator], Image.Image]] = {
    "none": lambda image, rng: image,
    "flip": lambda image, rng: ImageOps.mirror(image),
    "crop to 80 %": lambda image, rng: cut(image, 0.8, 0.8, rng),
    "width cut to 75 %": lambda image, rng: cut(image, 0.75, 1.0, rng),
    "flip and crop": lambda image, rng: cut(ImageOps.mirror(image), 0.8, 0.8, rng),
    "border of 10 %": lambda image, rng: ImageOps.expand(image, image.width // 10, "white"),
}


def edit(image: Image.Image, other: Image.Image, rng: torch.Generator) -> Tensor:
    """A surrogate edit (3, 256, 256), as read back from its file."""
    x, foreign = (prepare(to_float(to_pixels(each)[None]))[0] for each in (image, other))
    grid = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, 256)] * 2, indexing="ij"))
    middles, sizes = torch.rand(3, 2, generator=rng), 0.1 + 0.1 * torch.rand(3, generator=rng)
    apart = (grid[None] - middles[:, :, None, None]).square().sum(1)
    share = 0.85 * torch.exp(-apart / (2 * sizes.square()[:, None, None])).amax(0)
    x = x * (1 - share) + foreign * share
    blurred = to_image(x.mul(255).round().byte()).filter(
        ImageFilter.GaussianBlur(1.5 + 1.5 * float(torch.rand(1, generator=rng)))
    )
    x = to_float(to_pixels(blurred)[None])[0]
    contrast = 0.5 + 0.4 * float(torch.rand(1, generator=rng))
    mixing = contrast * torch.eye(3) + 0.22 * torch.randn(3, 3, generator=rng)
    x = torch.einsum("ij,jhw->ihw", mixing, x - 0.5) + 0.5
    x = x + 0.1 * torch.randn(3, 1, 1, generator=rng)
    light = torch.randn(1, 3, 8, 8, generator=rng)
    x = x + 0.07 * F.interpolate(light, (256, 256), mode="bicubic")[0]
    x = (x + 0.04 * torch.randn(x.shape, generator=rng)).clamp(0, 1)
    held = io.BytesIO()
    quality = 30 + int(torch.randint(40, (1,), generator=rng))
    to_image(x.mul(255).round().byte()).save(held, "JPEG", quality=quality)
    return to_float(to_pixels(Image.open(held))[None])[0]


class Photos:
    """The photographs, split by chance, and edits of them."""

    def __init__(self, folder: Path, sizes: list[int]) -> None:
        self.paths = list_images([folder])
        order = torch.randperm(len(self.paths), generator=stream(0, "split")).tolist()
        ends = [sum(sizes[:n]) for n in range(4)]
        self.train, self.null, self.test = (order[a:b] for a, b in pairwise(ends))

    def image(self, number: int) -> Image.Image:
        return to_image(read_image(self.paths[number], channels=3).pixels)

    def edits(self, numbers: list[int], change: str, draw: str) -> Tensor:
        rows = []
        for number in numbers:
            rng = stream(number, draw, change)
            other = int(torch.randint(len(self.paths), (1,), generator=rng))
            image = CHANGES[change](self.image(number), rng)
            rows.append(edit(image, self.image(other), rng))
        return torch.stack(rows)


def decisions(
    null: list[Standing], found: list[Standing], right: list[bool]
) -> list[dict[str, Any]]:
    """Per statistic and rate: share found and right, share of false alarms on held-out edits."""
    rows = []
    for statistic in STATISTICS:
        empty, values = (
            torch.tensor([standing_out(each.scores, statistic) for each in some])
            for some in (null, found)
        )
        for rate in RATES:
            hits, alarms = [], []
            for draw in range(DRAWS):
                order = torch.randperm(len(empty), generator=stream(draw, "halves"))
                known, held = empty[order].chunk(2)
                called = upper_p_values(values, known) <= rate
                hits.append(float((called & torch.tensor(right)).double().mean()))
                alarms.append(float((upper_p_values(held, known) <= rate).double().mean()))
            rows.append(
                {
                    "statistic": statistic,
                    "rate": rate,
                    "found": sum(hits) / DRAWS,
                    "false": sum(alarms) / DRAWS,
                }
            )
    return rows


def measure(matcher: Matcher, photos: Photos, ids: list[int], name: str) -> list[dict[str, Any]]:
    """One row per change, with what is decided by each statistic."""
    gone = [torch.tensor([ids[n]]) for n in photos.null]
    null = matcher.ask(photos.edits(photos.null, "none", "null"), left_out=gone)
    rows = []
    for change in CHANGES:
        queries, began = photos.edits(photos.test, change, "test"), time.process_time()
        found = matcher.ask(queries, len(ids))
        seconds = (time.process_time() - began) / len(queries)
        ranks = torch.tensor(
            [
                rank_of(each, torch.tensor([ids[n]]))
                for each, n in zip(found, photos.test, strict=True)
            ]
        )
        row = {
            "settings": name,
            "change": change,
            "mAP": mean_average_precision(ranks),
            "accuracy": accuracy(ranks),
            "seconds": seconds,
            "decisions": decisions(null, found, (ranks == 1).tolist()),
        }
        print(f"{name}, {change}: mAP {row['mAP']:.3f}, {seconds:.2f} s a query", flush=True)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--out", type=Path, default=Path("docs/results/origin_cascade.json"))
    parser.add_argument("--sizes", type=int, nargs=3, default=[200, 300, 150])
    args = parser.parse_args()
    torch.set_num_threads(1)
    photos, encoder = Photos(args.data, args.sizes), load_encoder()
    twice = torch.cat([photos.edits(photos.train, "none", f"train {n}") for n in range(2)])
    originals = torch.cat(
        [prepare(to_float(to_pixels(photos.image(n))[None])) for n in photos.train]
    )
    fitted = fit_edit_map(
        encoder.embed(originals),
        encoder.embed(twice),
        torch.arange(len(photos.train)).repeat(2),
        encoder=encoder.identity,
        config=EditMapConfig(rank=min(128, 2 * len(photos.train) // 3)),
    )
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "refs.index"
        with References.create(folder, encoder, edit_map=fitted) as references:
            references.add(photos.paths)
            ids = [int(found or 0) for found in references.index.find(photos.paths)]
            matcher = references.matcher()
            for name, config in SETTINGS.items():
                rows += measure(replace(matcher, config=config), photos, ids, name)
                found = {"version": __version__, "photos": len(ids), "sizes": args.sizes}
                found |= {"encoder": encoder.identity.to_dict(), "rows": rows}
                write_file(args.out, json.dumps(found, indent=1).encode())
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
