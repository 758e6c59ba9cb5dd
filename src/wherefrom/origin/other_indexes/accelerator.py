"""Approximate search for large indexes: FAISS proposes, the stored vectors decide.

FAISS stores one bit per number of each vector (RaBitQ) in inverted lists.  What it proposes is
scored exactly from the index's own segments, so every score returned is exact; only an image that
FAISS does not propose can be missing.  How often that happens is measured when the accelerator is
built, against the exact scan, and a build that finds less than `floor` of it is refused.

The queries of that measurement are stored vectors, each with the difference of two others added, at
its own length: about as far from their origins (cosine 0.7) as edits are, in directions in which
images differ.

The statistics are exact too: mean m and covariance C of all stored vectors are stored beside the
lists, and a query q scores q.m on average, with the variance q'Cq.  A missed image can only lower
the best score, and with it the z-score: false alarms do not become more frequent, and of the
origins as many more are missed as the recall says.

The accelerator stands inside the index's folder, holds no data of its own, and is refused once the
index has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream
from wherefrom.core.saving.artifact import Artifact, Saved, damage_named
from wherefrom.origin.index.index import Index
from wherefrom.origin.index.result import SearchResult
from wherefrom.origin.index.scanning.exact import digits_of, exact_scores, rank
from wherefrom.origin.index.scanning.rough import Rows, Tile, tiles
from wherefrom.origin.index.scanning.scan import ScanStatistics

FOLDER = "accelerator"
FLOOR = 0.99
MIN_IMAGES = 1000  # the exact scan of fewer takes milliseconds
MAX_DIMENSION = 6144  # of a vector: the covariance has the square of it
PROBES, NEIGHBOURS = 256, 10  # of the measurement
DEPTHS = (200, 800, 3200)  # proposals per query, tried in this order
CHUNK = 32_768
TRAINING = 64  # vectors per list, to place the lists


@dataclass(frozen=True, eq=False)
class Accelerator:
    """FAISS's lists for one state of an index: `build` or `load` it."""

    index: Index
    lists: Any  # faiss.IndexIVF whose labels are places among all rows
    mean: Tensor  # (D,) float64
    covariance: Tensor  # (D, D) float64
    recall: float  # share of the exact ten best that was found
    depth: int  # proposals per query
    state: str  # of the index, when it was built

    @classmethod
    def build(
        cls, index: Index, *, floor: float = FLOOR, seed: int = 0, track: Track = quiet
    ) -> Self:
        """Make the accelerator of an index and save it in the index's folder.

        An `InputError` if the recall stays below `floor`, and nothing is saved then.
        """
        faiss = _faiss()
        if not 0 < floor <= 1:
            raise InputError(f"the floor is {floor:g}, but it must be above 0 and at most 1")
        rows = index.rows_on(torch.device("cpu"))
        if rows.count < MIN_IMAGES:
            raise InputError(
                f"{show_path(index.path)} holds {rows.count} images; an accelerator needs "
                f"{MIN_IMAGES} and would gain nothing below"
            )
        if index.dim > MAX_DIMENSION:
            raise InputError(
                f"the vectors have {index.dim} numbers, but at most {MAX_DIMENSION} can be "
                "accelerated; build the index with an edit map"
            )
        lists, covariance = _filled(faiss, rows, seed, track)
        depth, recall = _tune(lists, index, floor, seed)
        accelerator = cls(index, lists, rows.mean, covariance, recall, depth, _state(rows))
        accelerator._save()
        return accelerator

    @classmethod
    def load(cls, index: Index) -> Self:
        """The accelerator of an index; an `InputError` if it has none, or changed since."""
        faiss = _faiss()
        place = index.path / FOLDER
        if not place.is_dir():
            raise InputError(
                f"{show_path(index.path)} has no accelerator; make one with accelerate, or search "
                "without it"
            )
        saved = SavedLists.load(place)
        with damage_named(place, again=saved.again):
            lists = faiss.deserialize_index(saved.lists.numpy())
        lists.nprobe = saved.nprobe
        moments = saved.mean, saved.covariance
        accelerator = cls(index, lists, *moments, saved.recall, saved.depth, saved.state)
        accelerator._refuse_changed()
        return accelerator

    def search(self, queries: Tensor, k: int = 10) -> SearchResult:
        """As `Index.search`, but that an image may be missing; statistics as of the whole index."""
        self._refuse_changed()
        unit = self.index.unit_queries(queries)
        if k < 1:
            raise InputError(f"k is {k}, but at least one image must be asked for")
        rows = self.index.rows_on(torch.device("cpu"))
        ids, scores = _nearest(self.lists, self.depth, rows, unit, min(k, rows.count))
        mean = unit @ self.mean
        std = ((unit @ self.covariance) * unit).sum(1).clamp(min=0).sqrt()
        return SearchResult(ids, scores, ScanStatistics(mean, std, rows.count))

    def _save(self) -> None:
        SavedLists(
            lists=torch.from_numpy(np.asarray(_faiss().serialize_index(self.lists))),
            mean=self.mean,
            covariance=self.covariance,
            state=self.state,
            recall=self.recall,
            depth=self.depth,
            nprobe=int(self.lists.nprobe),
        ).save(self.index.path / FOLDER, overwrite=True)

    def _refuse_changed(self) -> None:
        if _state(self.index.rows_on(torch.device("cpu"))) != self.state:
            raise InputError(
                f"{show_path(self.index.path)} has changed since its accelerator was made; "
                "accelerate again, or search without it"
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class SavedLists(Artifact):
    """What stands in the accelerator's folder."""

    kind = "origin/accelerator"
    schema = 1
    again = "accelerate again"

    lists: Tensor  # uint8, FAISS's own format
    mean: Tensor
    covariance: Tensor
    state: str
    recall: float
    depth: int
    nprobe: int  # lists that are searched per query

    def to_saved(self) -> Saved:
        meta = {name: getattr(self, name) for name in ("state", "recall", "depth", "nprobe")}
        tensors = {"lists": self.lists, "mean": self.mean, "covariance": self.covariance}
        return Saved(meta, tensors)

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        values: dict[str, Any] = {**saved.meta, **saved.tensors}
        return cls(**values)


def _nearest(lists: Any, depth: int, rows: Rows, unit: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Ids and exact scores (Q, k) of the `depth` images per query that FAISS proposes."""
    _, proposed = lists.search(unit.float().numpy(), min(max(depth, k), rows.count))
    places = torch.from_numpy(proposed)
    missing = places < 0  # FAISS proposed fewer
    scores, ids = exact_scores(rows.parts, places.clamp(min=0), digits_of(unit))
    scores[missing] = -torch.inf
    return rank(scores, ids, k)


def _tune(lists: Any, index: Index, floor: float, seed: int) -> tuple[int, float]:
    """Depth and recall with the fewest lists searched that reach the floor; sets `lists.nprobe`."""
    rows = index.rows_on(torch.device("cpu"))
    unit = index.unit_queries(_probes(rows, seed))
    exact = index.search(unit.float(), NEIGHBOURS).ids
    best = 0.0
    for depth in DEPTHS:
        probed = 1
        while True:
            lists.nprobe = min(probed, lists.nlist)
            ids, _ = _nearest(lists, depth, rows, unit, NEIGHBOURS)
            hits = (ids.unsqueeze(2) == exact.unsqueeze(1)).any(1)
            recall = float(hits.double().mean())
            best = max(best, recall)
            if recall >= floor:
                return depth, recall
            if probed >= lists.nlist:
                break
            probed *= 2
    raise InputError(
        f"the accelerator finds {best:.4f} of what the exact scan finds, less than the floor "
        f"of {floor:g}, so it was not saved; search without it, or lower the floor"
    )


def _filled(faiss: Any, rows: Rows, seed: int, track: Track) -> tuple[Any, Tensor]:
    """FAISS's lists with all rows that are alive, and the covariance of these rows."""
    dim = rows.parts[0].rows.shape[1]
    count = max(1, round(4 * rows.count**0.5))
    lists = faiss.index_factory(dim, f"IVF{count},RaBitQ", faiss.METRIC_INNER_PRODUCT)
    lists.cp.min_points_per_centroid = 1  # it warns of fewer than 39, and works
    sample = _some(rows, min(rows.count, TRAINING * count), stream(seed, "accelerator", "train"))
    lists.train(sample.float().numpy())
    square = torch.zeros(dim, dim, dtype=torch.float64)
    every = list(tiles(rows.parts, CHUNK))
    for tile in track(every, "building the accelerator", total=len(every)):
        alive = _alive(tile)
        vectors = tile.rows[alive].float()
        lists.add_with_ids(vectors.numpy(), (alive + tile.place).numpy())
        less = vectors.double() - rows.mean
        square.addmm_(less.T, less)
    return lists, square / rows.count


def _alive(tile: Tile) -> Tensor:
    """Places of the rows of a tile that are not dead."""
    here = torch.ones(len(tile.rows), dtype=torch.bool)
    here[tile.gone[tile.gone < len(here)]] = False
    return here.nonzero().squeeze(1)


def _some(rows: Rows, count: int, generator: torch.Generator) -> Tensor:
    """(count, D) float16: rows that are alive, drawn without replacement."""
    chosen = torch.randperm(rows.count, generator=generator)[:count].sort().values
    return torch.cat(list(_picked(rows, chosen)))


def _picked(rows: Rows, chosen: Tensor) -> Iterator[Tensor]:
    seen = 0
    for tile in tiles(rows.parts, CHUNK):
        alive = _alive(tile)
        low, high = torch.searchsorted(chosen, torch.tensor([seen, seen + len(alive)])).tolist()
        yield tile.rows[alive[chosen[low:high] - seen]]
        seen += len(alive)


def _probes(rows: Rows, seed: int) -> Tensor:
    """(PROBES, D) float32: rows, each with the difference of two others at its own length."""
    generator = stream(seed, "accelerator", "probes")
    drawn = _some(rows, 3 * PROBES, generator).float()
    drawn = drawn[torch.randperm(len(drawn), generator=generator)]
    origin, minuend, subtrahend = torch.split(drawn, PROBES)
    length: Tensor = torch.linalg.vector_norm(origin, dim=1, keepdim=True)
    return origin + torch.nn.functional.normalize(minuend - subtrahend) * length


def _state(rows: Rows) -> str:
    """A digest of which image stands where."""
    digest = hashlib.sha256()
    for part in rows.parts:
        for tensor in (part.ids, part.dead, part.total):
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _faiss() -> Any:
    faiss = need("faiss", "an accelerator", extra="faiss")
    # One pool of threads' worth for both; torch knows what the user wants.
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss
