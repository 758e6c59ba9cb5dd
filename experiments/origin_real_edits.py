"""How well origins are found and called among edits by published editors.

    python experiments/origin_real_edits.py --data DATA

DATA holds `edits/` (edits.csv, edits/, origins/), `photos/` and `free-photos/`.  The index holds
the origins, the photographs, and crops of the free photographs (1,000 pictures beside the origins).

Every edit is searched for twice: with its origin in the index, and with the origin and its series
left out, which is a null value and a false alarm.  The decision at 1 % leaves out editors: edits of
one editor and of a tenth of the origins are called by a calibration on one edit per origin of all
other editors and origins; so all are called in turn, in 20 random divisions.  With fewer than 99
such origins the smallest rate that they support is used.  Intervals are 95 % Clopper-Pearson.

`--page FILE` writes a page of the edits that are not found, beside what was found instead.  With
`--parts`, the other parts keep what the file says of them.
"""

from __future__ import annotations

import argparse
import base64
import csv
import io
import itertools
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.rng import derive_seed, stream
from wherefrom.core.saving.store import write_file
from wherefrom.data.images.items import read_image, to_pixels
from wherefrom.data.images.writing import to_float
from wherefrom.encoders import FeatureNetwork, load_encoder, load_feature_encoder, prepare
from wherefrom.encoders.onnx_features import load_onnx_features
from wherefrom.metrics.detection import exact_interval
from wherefrom.origin import References, SearchConfig
from wherefrom.origin.edit_map.fitting import fit_edit_map
from wherefrom.origin.edit_map.pairs import EmbeddedPairs
from wherefrom.origin.joint.rows import RowEncoder, load_features, split_parts
from wherefrom.origin.searching.matching import Matcher
from wherefrom.report.pages.html import Cell, Grid, Section, write_report

RATE, FOLDS, REPEATS = 0.01, 10, 20
OTHERS = 1000  # pictures beside the origins
SIDE = 448  # px of a crop of a free photograph
MAP_ROWS = (
    "latent, not re-ranked",
    "latent and features, not re-ranked",
    "latent by W of other editors, not re-ranked",
    "latent by that W and features, not re-ranked",
)


@dataclass(frozen=True)
class Edit:
    """One published edit.  `apart`: little of the origin is left, or no diffusion model made it."""

    path: Path
    origin: Path
    editor: str
    apart: bool


def read_edits(folder: Path) -> list[Edit]:
    """The edits of `edits.csv`; an editor is named without its version and setting."""
    with (folder / "edits.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [
        Edit(
            folder / "edits" / row["edit"],
            folder / "origins" / row["origin"],
            re.split(r" \(|,| strength", row["model"])[0],
            row["weak"] == "1" or "NOT" in row["model"],
        )
        for row in rows
    ]


def write_crops(folder: Path, photographs: Sequence[Path], count: int) -> None:
    """Square crops of photographs: pictures of one scene, some of which overlap."""
    folder.mkdir()
    for number in range(count):
        path = photographs[number % len(photographs)]
        rng = np.random.default_rng(derive_seed(0, "crop", number))
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        side = int(rng.uniform(0.35, 0.7) * min(image.size))
        left, top = (int(rng.integers(0, length - side + 1)) for length in image.size)
        crop = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
        crop.save(folder / f"{path.stem}-{number}.jpg", quality=92)


def open_picture(path: Path, attack: Callable[[Image.Image], Image.Image] | None = None) -> Tensor:
    """A picture (1, 3, 256, 256) as a search reads it, attacked before."""
    if attack is None:
        return prepare(to_float(read_image(path, channels=3).pixels[None]))
    with Image.open(path) as opened:
        return prepare(to_float(to_pixels(attack(opened.convert("RGB")))[None]))


class Searches:
    """An index, and what it says of all edits."""

    def __init__(
        self, folder: Path, pictures: Sequence[Path], network: FeatureNetwork | None
    ) -> None:
        self.references = References.create(folder, load_encoder(), features=network)
        self.references.add(pictures)
        self.index = self.references.index

    def matcher(self, config: SearchConfig | None = None) -> Matcher:
        return self.references.matcher(config)

    def asked(self, edits: Sequence[Edit]) -> list[dict[str, Any]]:
        """Per edit: rank of the origin, is the first in its series, value with and without it."""
        matcher = self.matcher()
        finder = matcher.finder(self.references.hashes)
        found = []
        for edit in edits:
            picture = open_picture(edit.path)
            (origin,) = self.index.find([edit.origin])
            if origin is None:
                raise ValueError(f"{edit.origin} is not in the index")
            series = finder.around([origin])
            (here,) = matcher.rank(picture, self.index.count())
            (gone,) = matcher.rank(picture, left_out=[torch.tensor(series)])
            if isinstance(here, str) or isinstance(gone, str):
                raise TypeError(f"{edit.path} cannot be compared: {here or gone}")
            best, false = self.index.get([int(here.ids[0]), int(gone.ids[0])])
            found.append(
                {
                    "rank": here.ids.tolist().index(origin) + 1,
                    "grouped": best.id in series,
                    "here": {name: here.prominence(name) for name in ("z", "gap")},
                    "gone": {name: gone.prominence(name) for name in ("z", "gap")},
                    "best": best.path,
                    "false": false.path,
                }
            )
        return found

    def by_cosine(self, edits: Sequence[Edit]) -> list[list[int]]:
        """Ranks of the origins by the cosine of each part of the rows alone."""
        rows = self.matcher().rows
        ids = self.index.live_ids()
        stored = split_parts(self.index.vectors(ids.tolist()), rows.widths)
        ranks: list[list[int]] = [[] for _ in stored]
        for edit in edits:
            query = rows.project(rows.embed(open_picture(edit.path)))
            (origin,) = self.index.find([edit.origin])
            parts = zip(split_parts(query, rows.widths), stored, ranks, strict=True)
            for mine, others, ranks_of_part in parts:
                scores = (mine @ others.T)[0]
                ranks_of_part.append(int((scores >= scores[ids == origin]).sum()))
        return ranks


def by_map(searches: Searches, edits: Sequence[Edit]) -> dict[str, list[int]]:
    """Ranks of the origins before re-ranking: without W, and by a W learned from published pairs.

    W for the edits of one editor of one half of the origins is learned from the edits by all other
    editors of the other half.  The pictures that were not edited are origins without edits.
    """
    matcher = searches.matcher()
    ids = searches.index.live_ids().tolist()
    latents = [matcher.originals.latent(image) for image in searches.index.get(ids)]
    stored = torch.stack([x for x in latents if isinstance(x, Tensor)])
    shape = stored.shape[1], stored.shape[2], stored.shape[3]
    stored = stored.flatten(1)
    features = split_parts(searches.index.vectors(ids), matcher.rows.widths)[1]
    pictures = [open_picture(edit.path) for edit in edits]
    queries = torch.cat([matcher.frames(picture) for picture in pictures]).flatten(2)
    both = [matcher.rows.embed(torch.cat([x, x.flip(-1)])) for x in pictures]
    asked = [split_parts(matcher.rows.project(x), matcher.rows.widths)[1] for x in both]
    place = {image: row for row, image in enumerate(ids)}
    owner = torch.tensor([place[i] for i in searches.index.find([e.origin for e in edits]) if i])
    side = torch.rand(len(ids), generator=stream(0, "halves")) < 0.5
    editor = np.array([edit.editor for edit in edits])
    ranks = {name: [0] * len(edits) for name in MAP_ROWS}

    def rank(edit: int, rows: Tensor, views: Tensor, names: Sequence[str]) -> None:
        mine, scene = views @ rows.T, asked[edit] @ features.T
        for name, weight in zip(names, (0.0, matcher.rows.weight), strict=True):
            joint = mine / (rows[::5] @ rows[::5].T).std()
            joint += weight * scene / (features[::5] @ features[::5].T).std()
            best = ((joint - joint.mean(1, keepdim=True)) / joint.std(1, keepdim=True)).amax(0)
            ranks[name][edit] = int((best >= best[owner[edit]]).sum())

    plain = F.normalize(stored.double())
    for edit, views in enumerate(F.normalize(queries.double(), dim=-1)):
        rank(edit, plain, views, MAP_ROWS[:2])
    for e, other in itertools.product(sorted(set(editor)), (False, True)):
        asks = np.flatnonzero((editor == e) & (side[owner] != other).numpy())
        known = np.flatnonzero((editor != e) & (side[owner] == other).numpy())
        unseen = torch.unique(owner[side[owner] != other])
        seen = torch.tensor([row for row in range(len(ids)) if row not in unseen])
        number = torch.zeros(len(ids), dtype=torch.int64)
        number[seen] = torch.arange(len(seen))
        fitted = fit_edit_map(
            EmbeddedPairs(
                stored[seen],
                queries[known, 0],
                number[owner[known]],
                searches.references.encoder.identity,
                shape,
            )
        )
        rows = fitted.project(stored).double()
        for edit in asks.tolist():
            rank(edit, rows, fitted.project(queries[edit]).double(), MAP_ROWS[2:])
        print("W without", e, len(asks), flush=True)
    return ranks


def ranked(name: str, ranks: Sequence[int], edits: Sequence[Edit]) -> dict[str, Any]:
    """First place and mean average precision: of all, without those apart, and per editor."""
    values = np.array(ranks)

    def some(chosen: Sequence[bool]) -> dict[str, Any]:
        mine = values[np.array(chosen)]
        first = int((mine == 1).sum())
        return {
            "edits": len(mine),
            "first": first / len(mine),
            "interval": list(exact_interval(first, len(mine))),
            "mAP": float((1 / mine).mean()),
        }

    editors = sorted({edit.editor for edit in edits})
    return {
        "method": name,
        "all": some([True] * len(edits)),
        "proper": some([not edit.apart for edit in edits]),
        "apart": some([edit.apart for edit in edits]),
        "editors": {e: some([edit.editor == e for edit in edits]) for e in editors},
    }


def decided(
    name: str, found: Sequence[dict[str, Any]], edits: Sequence[Edit], statistic: str
) -> dict[str, Any]:
    """Shares called rightly, wrongly and falsely, with each editor left out of the calibration."""
    here = np.array([row["here"][statistic] for row in found])
    gone = np.array([row["gone"][statistic] for row in found])
    grouped = np.array([row["grouped"] for row in found])
    strict = np.array([row["rank"] == 1 for row in found])
    origins = {path: i for i, path in enumerate(dict.fromkeys(edit.origin for edit in edits))}
    owner = np.array([origins[edit.origin] for edit in edits])
    editor = np.array([edit.editor for edit in edits])
    called, false, sizes = np.zeros(len(edits)), np.zeros(len(edits)), []
    for repeat in range(REPEATS):
        rng = stream(0, "folds", repeat)
        fold = torch.randint(FOLDS, (len(origins),), generator=rng).numpy()[owner]
        order = torch.randperm(len(edits), generator=rng).numpy()
        for e in sorted(set(editor)):
            for f in range(FOLDS):
                asked = (editor == e) & (fold == f)
                known = order[((editor != e) & (fold != f))[order]]
                _, one_each = np.unique(owner[known], return_index=True)
                null = np.sort(gone[known[one_each]])
                if not asked.any():
                    continue
                sizes.append(len(null))
                rate = max(RATE, 1 / (len(null) + 1)) + 1e-12
                for values, total in ((here, called), (gone, false)):
                    larger = len(null) - np.searchsorted(null, values[asked], "left")
                    total[asked] += (1 + larger) / (len(null) + 1) <= rate
    called, false = called / REPEATS, false / REPEATS
    per_origin = 1 / np.bincount(owner)[owner]
    return {
        "method": name,
        "statistic": statistic,
        "rate": RATE,
        "null": float(np.mean(sizes)),
        "called": share(called * grouped),
        "called_proper": share((called * grouped)[[not edit.apart for edit in edits]]),
        "called_strictly": share(called * strict),
        "wrong": share(called * ~grouped),
        "false_alarms": share(false),
        "false_alarms_per_origin": float(np.average(false, weights=per_origin)),
        "editors": {
            e: float((called * grouped)[editor == e].mean())
            for e in sorted(set(editor))
            if (editor == e).sum() >= 10
        },
    }


def share(shares: Any) -> dict[str, Any]:
    low, high = exact_interval(round(float(shares.sum())), len(shares))
    return {"share": float(shares.mean()), "interval": [low, high]}


def largest(found: Sequence[dict[str, Any]], edits: Sequence[Edit]) -> list[Any]:
    """The largest null values with their pictures."""
    order = sorted(range(len(edits)), key=lambda i: -found[i]["gone"]["gap"])[:12]
    return [
        {
            "value": found[i]["gone"]["gap"],
            "edit": edits[i].path.name,
            "editor": edits[i].editor,
            "origin": edits[i].origin.name,
            "match": Path(found[i]["false"]).name,
        }
        for i in order
    ]


def _recoded(quality: int) -> Callable[[Image.Image], Image.Image]:
    def attack(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return attack


def _cut(width: float, height: float) -> Callable[[Image.Image], Image.Image]:
    def attack(image: Image.Image) -> Image.Image:
        size = round(image.width * width), round(image.height * height)
        left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
        return image.crop((left, top, left + size[0], top + size[1]))

    return attack


def _captioned(image: Image.Image) -> Image.Image:
    out = image.copy()
    box = (0, out.height * 3 // 4, out.width, out.height * 9 // 10)
    ImageDraw.Draw(out).rectangle(box, fill="white")
    ImageDraw.Draw(out).text((8, box[1] + 4), "IT LOOKED BETTER BEFORE", fill="black", font_size=28)
    return out


def _framed(image: Image.Image) -> Image.Image:
    """A screenshot: the picture in a window."""
    framed = ImageOps.expand(image, border=image.width // 12, fill=(245, 245, 245))
    ImageDraw.Draw(framed).rectangle((0, 0, framed.width, image.width // 16), fill=(60, 60, 70))
    return framed


ATTACKS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 90": _recoded(90),
    "JPEG 30": _recoded(30),
    "crop to 80 %": _cut(0.8, 0.8),
    "4:5 cut": _cut(0.8, 1.0),
    "mirrored": ImageOps.mirror,
    "border of a tenth": lambda image: ImageOps.expand(image, border=image.width // 10),
    "screenshot with a frame": _framed,
    "text over it": _captioned,
    "rotated by 90 degrees": lambda image: image.rotate(90, expand=True),
}


def attacked(searches: Searches, edits: Sequence[Edit], views: Sequence[str]) -> list[Any]:
    """How often the origin comes first after an attack on the edit; a collage of two at the end."""
    rows = []
    for way in views:
        matcher = searches.matcher(SearchConfig(views=way))
        for name, attack in {"none": None, **ATTACKS}.items():
            pictures = [open_picture(edit.path, attack) for edit in edits]
            rows.append(_attacked(name, way, matcher, pictures, edits))
        pairs = [
            torch.cat([a, b], dim=-1)
            for a, b in zip(
                [open_picture(edit.path) for edit in edits],
                [open_picture(edit.path) for edit in [*edits[1:], edits[0]]],
                strict=True,
            )
        ]
        collages = [prepare(pair) for pair in pairs]
        rows.append(_attacked("left half of a collage", way, matcher, collages, edits))
    return rows


def _attacked(
    name: str, views: str, matcher: Matcher, pictures: Sequence[Tensor], edits: Sequence[Edit]
) -> dict[str, Any]:
    first = []
    for picture, edit in zip(pictures, edits, strict=True):
        (ranking,) = matcher.rank(picture)
        (origin,) = matcher.index.find([edit.origin])
        first.append(not isinstance(ranking, str) and int(ranking.ids[0]) == origin)
    print(name, views, np.mean(first), flush=True)
    return {"attack": name, "views": views, "first": share(np.array(first, dtype=float))}


def write_page(path: Path, found: Sequence[dict[str, Any]], edits: Sequence[Edit]) -> None:
    """The edits whose origin does not come first, beside the origin and what came first."""

    def cell(picture: str | Path) -> Cell:
        file = io.BytesIO()
        with Image.open(picture) as opened:
            opened.convert("RGB").resize((160, 160)).save(file, "JPEG", quality=80)
        data = base64.b64encode(file.getvalue()).decode()
        return Cell("", image=f"data:image/jpeg;base64,{data}", large=True)

    rows = tuple(
        (
            cell(edit.path),
            cell(edit.origin),
            cell(row["best"]),
            Cell(edit.editor),
            Cell(str(row["rank"])),
            Cell(f"{row['here']['gap']:.1f}"),
        )
        for row, edit in zip(found, edits, strict=True)
        if row["rank"] > 1
    )
    head = ("edit", "origin", "came first", "editor", "rank of the origin", "gap, deviations")
    write_report(path, "Origins that do not come first", [Section("Edits", Grid(head, rows))])


def by_network(
    pictures: Sequence[Path], edits: Sequence[Edit], network: FeatureNetwork
) -> list[int]:
    """Ranks of the origins among the pictures by the cosine of a network's features."""
    rows = RowEncoder(load_encoder(), None, network)
    stored = F.normalize(torch.cat([rows.describe(open_picture(p)) for p in pictures]).double())
    place = {path: i for i, path in enumerate(pictures)}
    ranks = []
    for edit in edits:
        scores = F.normalize(rows.describe(open_picture(edit.path)).double())[0] @ stored.T
        ranks.append(int((scores >= scores[place[edit.origin]]).sum()))
    return ranks


PARTS = ("joint", "latents", "maps", "networks", "attacks")


class Result:
    """The file of the results; what a run does not make again stays."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}

    def put(self, **values: Any) -> None:
        """Store values; lists of methods replace the rows of the same methods only."""
        for name, value in values.items():
            if name in ("ranks", "decisions"):
                methods = {row["method"] for row in value}
                others = [row for row in self.values.get(name, []) if row["method"] not in methods]
                self.values[name] = [*others, *value]
            else:
                self.values[name] = value
        write_file(self.path, json.dumps(self.values, indent=1).encode())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder with edits/")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--attacked", type=int, default=40, help="edits that are attacked")
    parser.add_argument("--onnx", type=Path, nargs="*", default=[], help="networks to compare with")
    parser.add_argument("--page", type=Path, help="write the failures there, as HTML")
    parser.add_argument("--out", type=Path, default=Path("docs/results/origin_real_edits.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    edits = read_edits(args.data / "edits")
    origins = list(dict.fromkeys(edit.origin for edit in edits))
    photographs = sorted((args.data / "photos").rglob("*.jpg"))[:OTHERS]
    free = sorted((args.data / "free-photos").glob("*.jpg"))
    result = Result(args.out)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_crops(folder / "crops", free, OTHERS - len(photographs))
        pictures = [*origins, *photographs, *sorted((folder / "crops").iterdir())]
        result.put(edits=len(edits), origins=len(origins), indexed=len(pictures))

        def asked(name: str, searches: Searches) -> list[dict[str, Any]]:
            found = searches.asked(edits)
            decisions = [decided(name, found, edits, statistic) for statistic in ("z", "gap")]
            result.put(
                ranks=[ranked(name, [row["rank"] for row in found], edits)], decisions=decisions
            )
            return found

        if {"joint", "maps", "attacks"} & {*args.parts}:
            joint = Searches(folder / "joint", pictures, load_features("efficientnet-lite0"))
        if "joint" in args.parts:
            alone = zip(("raw VAE", "scene features"), joint.by_cosine(edits), strict=True)
            result.put(ranks=[ranked(name, some, edits) for name, some in alone])
            found = asked("search, with features (default)", joint)
            result.put(largest=largest(found, edits))
            if args.page is not None:
                write_page(args.page, found, edits)
        if "latents" in args.parts:
            asked("search, --features none", Searches(folder / "latents", pictures, None))
        if "maps" in args.parts:
            rows = [ranked(name, some, edits) for name, some in by_map(joint, edits).items()]
            result.put(maps=rows)
        if "networks" in args.parts:
            networks = {"EfficientNet-Lite0": load_feature_encoder()}
            networks |= {path.stem: load_onnx_features(path) for path in args.onnx}
            for name, network in networks.items():
                ranks = by_network(pictures, edits, network)
                result.put(ranks=[ranked(f"{name} alone", ranks, edits)])
        if "attacks" in args.parts:
            drawn = torch.randperm(len(edits), generator=stream(0, "attacked"))[: args.attacked]
            some = [edits[i] for i in drawn.tolist()]
            result.put(attacked=attacked(joint, some, ("flip", "flip+crops")))
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
