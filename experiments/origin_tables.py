"""Tables 4, 6 and 8 and Figures 7 and 8 of the paper in small, and what the paper leaves out.

    for e in a b c; do python experiments/train_editors.py --data PHOTOS --editor $e; done
    for e in a b c; do python experiments/origin_edits.py --data PHOTOS --editor $e; done
    python experiments/origin_tables.py --data PHOTOS --cifar CIFAR.tar
    python experiments/origin_tables.py ... --taef2 TAEF2 --parts encoders

Photographs are split by content: editors (the diffusion models' own), train (W), calibration, test.
Queries are three edits of each of 200 test photographs by each editor.  The index holds all 801
photographs, crops of those that are neither calibration nor test, and pictures of CIFAR-10.
Intervals are 95 % of 1,000 bootstrap samples over test photographs; "±" is the deviation over maps
fitted to three draws of 150 of the 200 training photographs.  The covariance of origins is that of
the photographs for editors and training and their crops.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageFilter, ImageOps
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from train_editors import EDITORS, split_photos

from wherefrom import __version__
from wherefrom.core.rng import stream
from wherefrom.core.saving.store import write_file
from wherefrom.data.datasets import load_training_images
from wherefrom.data.images.items import read_image, to_image, to_pixels
from wherefrom.data.images.writing import to_float
from wherefrom.encoders import Encoder, load_encoder
from wherefrom.metrics.retrieval import accuracy, mean_average_precision, worst_ranks
from wherefrom.origin.edit_map.fitted import EditMapConfig, FittedEditMap
from wherefrom.origin.edit_map.fitting import fit_edit_map
from wherefrom.origin.edit_map.pairs import EmbeddedPairs
from wherefrom.origin.edit_map.theory import compare_maps, report_pairs
from wherefrom.origin.pairs.manifest import read_pairs

SEEN = "a"
RANKS = (16, 64, 128, 256, 512, 1024)
DENSE = EditMapConfig(stationary=False)
CHOSEN = ("solver", "stationary", "power", "ridge", "start")
CROPS = 4  # of each photograph that is neither calibration nor test
DRAWS, DRAWN = 3, 150
BOOTSTRAP = 1_000
SGD = EditMapConfig(solver="sgd", epochs=25, steps_per_epoch=40, ema=0.99)


def jpeg(image: Image.Image) -> Image.Image:
    held = io.BytesIO()
    image.save(held, "JPEG", quality=30)
    return Image.open(held).convert("RGB")


def cut(image: Image.Image, width: float, height: float) -> Image.Image:
    """The middle of an image: these shares of its sides."""
    w, h = image.size
    dx, dy = round(w * (1 - width) / 2), round(h * (1 - height) / 2)
    return image.crop((dx, dy, w - dx, h - dy))


# What is done to a query of 128 px before it is searched; blur is 3 px at the encoder's 256.
ATTACKS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda x: x,
    "blur": lambda x: x.filter(ImageFilter.GaussianBlur(1.5)),
    "JPEG 30": jpeg,
    "flip": ImageOps.mirror,
    "crop to 80 %": lambda x: cut(x, 0.8, 0.8),
    "squash to 4:3": lambda x: x.resize((x.size[0], x.size[1] * 3 // 4), Image.Resampling.LANCZOS),
    "cut to 4:5": lambda x: cut(x, 0.8, 1.0),
    "border of 10 %": lambda x: ImageOps.expand(x, x.size[0] // 10, "white"),
}


class Store:
    """Embeddings by name, computed once and kept beside the edits."""

    def __init__(self, encoder: Encoder, folder: Path) -> None:
        self.encoder, self.folder = encoder, folder / encoder.identity.digest[7:19]
        self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, images: Callable[[], Iterable[Image.Image]]) -> Tensor:
        """(N, D) float32."""
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            start = time.monotonic()
            rows = [self.encoder.embed(to_float(to_pixels(image)[None])) for image in images()]
            save_file({"rows": torch.cat(rows)}, path)
            print(f"{name}: {len(rows)} images, {time.monotonic() - start:.0f} s", flush=True)
        return load_file(path)["rows"]


def opened(paths: Iterable[Path]) -> Iterable[Image.Image]:
    return (to_image(read_image(path, channels=3).pixels) for path in paths)


def crops(paths: Iterable[Path]) -> Iterable[Image.Image]:
    """`CROPS` random crops of each photograph, half to nine tenths of its sides."""
    for number, image in enumerate(opened(paths)):
        rng = stream(0, "crops", number)
        for _ in range(CROPS):
            u = torch.rand(4, generator=rng).tolist()
            w, h = (
                max(16, round(n * (0.5 + 0.4 * x))) for n, x in zip(image.size, u, strict=False)
            )
            left, top = round((image.width - w) * u[2]), round((image.height - h) * u[3])
            yield image.crop((left, top, left + w, top + h))


class Data:
    """All embeddings by one encoder, and which row is whose."""

    def __init__(self, args: argparse.Namespace, encoder: Encoder, *, small: bool = False) -> None:
        self.photos, self.args, self.encoder = split_photos(args.data), args, encoder
        self.store = Store(encoder, args.work)
        self.thin = {"train": 2, "test": 3} if small else {}  # every so many-th edit
        self.place: dict[Path, int] = {}
        parts = []
        for split, paths in self.photos.items():
            self.place |= {path.resolve(): len(self.place) + i for i, path in enumerate(paths)}
            parts.append(self.store.get(f"photos-{split}", lambda p=paths: opened(p)))
        self.photo_rows = torch.cat(parts)
        others = [*self.photos["editors"], *self.photos["train"]]
        self.known = self.photo_rows[: len(others)]  # origins that W may learn from
        if not small:
            parts.append(self.store.get("crops", lambda: crops(others)))
            self.known = torch.cat([self.known, parts[-1]])
            parts.append(self.store.get("cifar", self._cifar))
        self.references = torch.cat(parts)

    def _cifar(self) -> Iterable[Image.Image]:
        found = load_training_images(self.args.cifar, size=32, channels=3, limit=5_000)
        return (to_image(pixels) for pixels in found.images)

    def edits(self, editor: str, split: str, attack: str = "none") -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings (M, D), the row of each one's origin (M,), and strengths (M,)."""
        pairs = read_pairs(self.args.work / f"{editor}-{split}")
        name = f"{editor}-{split}-{attack.replace(' ', '_').replace(':', '_')}"
        step = self.thin.get(split, 1)
        name += f"-{step}" if step > 1 else ""
        paths = pairs.edits[::step]
        rows = self.store.get(name, lambda: (ATTACKS[attack](x) for x in opened(paths)))
        origins = [self.place[pairs.origins[i].resolve()] for i in pairs.owner[::step]]
        strengths = [row.strength for row in pairs.rows[::step]]
        return rows, torch.tensor(origins), torch.tensor(strengths)

    def train(self, editors: str, chosen: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Origins, edits and owners for `fit_edit_map`; origins without an edit are welcome."""
        parts = [self.edits(editor, "train") for editor in editors]
        rows, origins = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
        if chosen is not None:
            kept = torch.isin(origins, chosen)
            rows, origins = rows[kept], origins[kept]
        return self.known, rows, origins


def ranks_of(queries: Tensor, references: Tensor, right: Tensor) -> Tensor:
    """Rank of the right reference by the cosine, equal ones before it."""
    return worst_ranks(F.normalize(queries) @ F.normalize(references).T, right)


def figures(ranks: Tensor, origins: Tensor) -> dict[str, Any]:
    """mAP and Acc with intervals: origins, not queries, are drawn again."""
    ids, inverse = torch.unique(origins, return_inverse=True)
    counts = torch.zeros(len(ids), dtype=torch.float64).index_add_(
        0, inverse, torch.ones(len(ranks)).double()
    )
    rng = stream(0, "bootstrap")
    drawn = torch.randint(len(ids), (BOOTSTRAP, len(ids)), generator=rng)
    found: dict[str, Any] = {"mAP": mean_average_precision(ranks), "Acc": accuracy(ranks)}
    for name, values in (("mAP", 1 / ranks.double()), ("Acc", (ranks == 1).double())):
        sums = torch.zeros(len(ids), dtype=torch.float64).index_add_(0, inverse, values)
        means = sums[drawn].sum(1) / counts[drawn].sum(1)
        found[f"{name}_interval"] = torch.quantile(
            means, torch.tensor([0.025, 0.975]).double()
        ).tolist()
    return found


PARTS = ("choice", "methods", "spread", "rank_ablation", "attacks", "strengths", "theory")


class Tables:
    """The rows of every table; each is one way to compare, one editor, one attack."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.mean = data.train(SEEN)[0].mean(0)
        self.maps: dict[str, FittedEditMap] = {}

    def fit(
        self, editors: str, config: EditMapConfig, chosen: Tensor | None = None
    ) -> FittedEditMap:
        """A map from the training pairs of these editors; fitted once."""
        key = json.dumps([editors, config.to_dict(), None if chosen is None else chosen.tolist()])
        if key not in self.maps:
            self.maps[key] = self._fit(editors, config, chosen)
        return self.maps[key]

    def _fit(self, editors: str, config: EditMapConfig, chosen: Tensor | None) -> FittedEditMap:
        start = time.monotonic()
        origins, edits, owner = self.data.train(editors, chosen)
        encoder = self.data.encoder
        fitted = fit_edit_map(
            EmbeddedPairs(
                origins, edits, owner, encoder=encoder.identity, latent_shape=encoder.latent_shape
            ),
            config=config,
        )
        print(
            f"fitted {config.solver} {config.loss} to {editors}: {time.monotonic() - start:.0f} s",
            flush=True,
        )
        return fitted

    def score(
        self, way: Callable[[Tensor], Tensor], editor: str, attack: str = "none"
    ) -> dict[str, Any]:
        """Figures of one way on the test edits of one editor."""
        queries, origins, _ = self.data.edits(editor, "test", attack)
        ranks = ranks_of(way(queries), way(self.data.references), origins)
        return {"editor": editor, "attack": attack, **figures(ranks, origins)}

    def methods(self) -> list[dict[str, Any]]:
        """Raw, W by each loss, the map for the tested editor, and W from two editors."""
        raw: Callable[[Tensor], Tensor] = lambda x: x  # noqa: E731
        ways: list[tuple[str, Callable[[Tensor], Tensor]]] = [
            ("raw embedding", raw),
            ("raw, centred", lambda x: x - self.mean),
            ("W, closed form", self.fit(SEEN, EditMapConfig()).project),
            ("W, closed form, not stationary", self.fit(SEEN, DENSE).project),
        ]
        ways += [
            (f"W, {loss}", self.fit(SEEN, replace(SGD, loss=loss)).project)
            for loss in ("cosface", "softmax", "circle")
        ]
        ways.append(("two layers, cosface", self.fit(SEEN, replace(SGD, layers=2)).project))
        both = self.fit(SEEN + "b", EditMapConfig())
        ways.append(("W, closed form, from a and b", both.project))
        rows = [{"method": n, **self.score(way, e)} for n, way in ways for e in EDITORS]
        for editor in EDITORS:
            upper = self.fit(editor, EditMapConfig())
            row = self.score(upper.project, editor)
            rows.append({"method": "upper bound: W of the tested editor", **row})
        return rows

    def choice(self) -> list[dict[str, Any]]:
        """Settings compared on training pairs alone: fitted to half of them, tried on the rest."""
        origins, edits, owner = self.data.train(SEEN)
        ids = torch.unique(owner)
        half = ids[torch.randperm(len(ids), generator=stream(0, "half"))[: len(ids) // 2]]
        configs = [EditMapConfig(power=power) for power in (0.5, 0.75, 1.0, 1.5)]
        configs += [replace(DENSE, ridge=ridge) for ridge in (0.01, 0.1, 1.0, 10.0)]
        configs += [SGD, replace(SGD, start="closed")]
        rows = []
        for config in configs:
            for chosen in (half, ids[~torch.isin(ids, half)]):
                way = self.fit(SEEN, config, chosen).project
                rest = ~torch.isin(owner, chosen)
                ranks = ranks_of(way(edits[rest]), way(origins), owner[rest])
                changed = {k: v for k, v in config.to_dict().items() if k in CHOSEN}
                rows.append(changed | {"mAP": mean_average_precision(ranks)})
        return rows

    def spread(self) -> list[dict[str, Any]]:
        """Closed form and CosFace from draws of the training photographs."""
        ids = torch.unique(self.data.edits(SEEN, "train")[1])
        rows = []
        for number in range(DRAWS):
            drawn = ids[torch.randperm(len(ids), generator=stream(number, "draw"))[:DRAWN]]
            for config in (EditMapConfig(), SGD):
                fitted = self.fit(SEEN, config, drawn)
                for editor in EDITORS:
                    row = self.score(fitted.project, editor)
                    rows.append({"solver": config.solver, "draw": number, **row})
        return rows

    def rank_ablation(self) -> list[dict[str, Any]]:
        """Fig. 8."""
        whole = self.fit(SEEN, EditMapConfig(rank=max(RANKS)))
        rows = []
        for rank in RANKS:
            fitted = replace(whole, weight=whole.weight[:, :rank])
            rows += [{"rank": rank, **self.score(fitted.project, editor)} for editor in EDITORS]
        return rows

    def attacks(self) -> list[dict[str, Any]]:
        """Raw and W on queries that were changed after the edit."""
        fitted = self.fit(SEEN, EditMapConfig())
        ways = {"raw embedding": lambda x: x, "W, closed form": fitted.project}
        return [
            {"method": name, **self.score(way, editor, attack)}
            for attack in ATTACKS
            for name, way in ways.items()
            for editor in EDITORS
        ]

    def strengths(self) -> list[dict[str, Any]]:
        """Raw and W by how far the edit was allowed to go."""
        fitted = self.fit(SEEN, EditMapConfig())
        rows = []
        for name, way in {"raw embedding": lambda x: x, "W, closed form": fitted.project}.items():
            for editor in EDITORS:
                queries, origins, strength = self.data.edits(editor, "test")
                ranks = ranks_of(way(queries), way(self.data.references), origins)
                for low in (0.4, 0.5, 0.6, 0.7, 0.8):
                    inside = (strength >= low) & (strength < low + 0.1 + (low == 0.8))
                    row = {
                        "method": name,
                        "editor": editor,
                        "from": low,
                        "queries": int(inside.sum()),
                    }
                    rows.append(row | figures(ranks[inside], origins[inside]))
        return rows

    def theory(self) -> dict[str, Any]:
        """Theorem 1 and 2: cosines of pairs seen and unseen, of two maps' singular values."""
        maps = {editor: self.fit(editor, EditMapConfig()) for editor in EDITORS}
        rows = []
        for editor in EDITORS:
            edits, origins, _ = self.data.edits(editor, "test")
            report = report_pairs(maps[SEEN], edits, self.data.photo_rows[origins])
            rows.append({"editor": editor, **asdict(report)})
        between = {e: compare_maps(maps[SEEN], maps[e]) for e in EDITORS if e != SEEN}
        return {"pairs": rows, "singular_values": between}


def other_encoder(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The shipped encoder against a real one (TAEF2), on the photographs alone."""
    sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
    from taef2 import load_taef2

    rows = []
    for name, encoder in (("default", load_encoder()), ("TAEF2", load_taef2(args.taef2))):
        tables = Tables(Data(args, encoder, small=True))
        ways = {
            "raw embedding": lambda x: x,
            "W, closed form": tables.fit(SEEN, EditMapConfig(rank=256)).project,
        }
        for method, way in ways.items():
            rows += [
                {"encoder": name, "method": method, **tables.score(way, e)} for e in (SEEN, "c")
            ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--cifar", type=Path, required=True, help="tar of CIFAR-10's pictures")
    parser.add_argument("--taef2", type=Path, help="folder of TAEF2, to compare encoders")
    parser.add_argument("--work", type=Path, default=Path("build/origin"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/origin.json"))
    parser.add_argument("--parts", nargs="*", choices=[*PARTS, "encoders"], default=PARTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = Data(args, load_encoder())
    tables = Tables(data)
    found: dict[str, Any] = json.loads(args.out.read_text()) if args.out.is_file() else {}
    found |= {
        "version": __version__,
        "references": len(data.references),
        "queries": {e: len(data.edits(e, "test")[0]) for e in EDITORS},
        "train": {e: len(data.edits(e, "train")[0]) for e in EDITORS},
        "encoder": data.encoder.identity.to_dict(),
    }
    for part in args.parts:
        found[part] = other_encoder(args) if part == "encoders" else getattr(tables, part)()
        write_file(args.out, json.dumps(found, indent=1).encode())
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
