"""An exact vector index in a folder: one manifest and immutable segment files.

    refs.index/manifest.sqlite     what there is: ids, paths, digests, where each vector stands
    refs.index/segments/*.segment  the vectors
    refs.index/writer.lock         held while somebody writes

Every `add`, `delete` and `compact` is durable when it returns.  If the process is killed, the
change is there whole or not at all.  There is one writer at a time and any number of readers, in
other processes too; a reader sees a change at its next call.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.database import Closing
from wherefrom.core.saving.store import scratch_beside
from wherefrom.origin.index import compaction
from wherefrom.origin.index.additions import (
    addition_result,
    checked_names,
    plan_addition,
    refuse_shape,
    require_built_with,
)
from wherefrom.origin.index.manifest import Manifest, Place, as_json
from wherefrom.origin.index.pictures import Pictures
from wherefrom.origin.index.places import absolute_folder
from wherefrom.origin.index.result import AddResult, IndexCheck, IndexedImage, SearchResult
from wherefrom.origin.index.scanning import scan
from wherefrom.origin.index.scanning.exact import RowBlock, gather
from wherefrom.origin.index.scanning.rough import TILE_ROWS, Rows
from wherefrom.origin.index.segments import SegmentFile, refuse_unusable, unit_rows, write_segment

SEGMENTS = "segments"
REFRESH_ATTEMPTS = 10


class Index(Closing):
    """An open index: `Index.create` or `Index.open`.  Use it from the thread that opened it."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        """`Index.open` without its checks of dimension and identity."""
        self.path = path
        self._manifest = Manifest(path, writable=writable)
        self.dim: int = self._manifest.dim
        self.identity: Mapping[str, Any] = self._manifest.identity
        self.pictures = Pictures(self._manifest)
        self._seen: int | None = None
        self._held: list[tuple[Place, SegmentFile]] = []
        self._rows: dict[torch.device, Rows] = {}
        try:
            self._refresh()
            if writable:
                # What a killed writer left: files that no manifest row names.
                compaction.sweep(path / SEGMENTS, {place.info.name for place, _ in self._held})
        except BaseException:
            self._manifest.close()
            raise

    @classmethod
    def create(cls, path: str | os.PathLike[str], *, dim: int, identity: Mapping[str, Any]) -> Self:
        """A new, empty index of vectors with `dim` numbers, open for writing.

        `identity`: JSON values that say what made the vectors (encoder, weights, edit map).
        An `InputError` if `path` exists.
        """
        target = Path(path)
        if dim < 1:
            raise InputError(f"the dimension of an index is {dim}, but it must be at least 1")
        as_json(identity)
        if os.path.lexists(target):
            raise InputError(
                f"{show_path(target)} already exists; add to it if it is an index, or choose "
                "another name"
            )
        try:
            with scratch_beside(target) as scratch:
                (scratch / SEGMENTS).mkdir()
                home = absolute_folder(target)
                Manifest.create(scratch, dim=dim, identity=identity, home=home)
        except OSError as error:
            raise InputError(f"cannot write {show_path(target)}: {error.strerror}") from error
        return cls(target, writable=True)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        writable: bool = False,
        dim: int | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> Self:
        """An index that exists.

        An `ArtifactError` if it is none, damaged, or of a later version.  An `InputError` if its
        vectors are not of `dim` and `identity`, where given, or if `writable` and another writes.
        """
        index = cls(Path(path), writable=writable)
        try:
            require_built_with((index.dim, index.identity), dim, identity, show_path(index.path))
        except BaseException:
            index.close()
            raise
        return index

    def add(
        self, paths: Sequence[str | os.PathLike[str]], digests: Sequence[str], vectors: Tensor
    ) -> AddResult:
        """Add images: paths, digests of their files (`sha256:<hex>`) and vectors (N, dim).

        Paths are stored as `places.absolute_names` makes them.  A path that is there with the same
        digest is left as it is; with another digest it is replaced.  Images with one digest under
        several paths are all stored, and reported.  Each call writes a file and waits for the
        disk, so give it hundreds of images rather than one.

        An `InputError` naming the image, before anything is written, for a vector that is NaN,
        infinite or all zeros, or a path given twice with different digests.
        """
        self._manifest.refuse_reader()
        names = checked_names(paths, digests)
        refuse_shape(vectors, (len(names), self.dim), show_path(self.path))
        unit = unit_rows(vectors, lambda i: show_path(Path(paths[i])))
        plan = plan_addition(names, digests, self._manifest)
        fresh: list[int] = []
        if plan.images:
            info = write_segment(
                self.path / SEGMENTS, [unit[plan.given]], dim=self.dim, rows=len(plan.images)
            )
            fresh = self._manifest.insert(info, plan.images, replaced=plan.replaced)
            self._changed()
            # What was added is safe.  A damaged old segment is the search's to report, a full disk
            # the next add's.
            with suppress(InputError, ArtifactError):
                while like_sized := compaction.like_sized(self._held):
                    self._merge(like_sized)
        return addition_result(plan, fresh)

    def delete(self, ids: Sequence[int], *, by_hand: bool = False) -> None:
        """Delete images.  An id that is not there is an `InputError`, and nothing is deleted.

        A synchronisation does not add again what was deleted `by_hand`.
        """
        self.get(ids)
        self._manifest.delete([int(image) for image in ids], by_hand=by_hand)
        self._changed()

    def relocate(self, paths: Mapping[int, bytes], gone: Sequence[int]) -> None:
        """Store new absolute paths of images by id, and delete those `gone`, in one transaction.

        Whatever `pictures.follow` found is stored too.
        """
        self.pictures.relocate(paths, gone)
        self._changed()

    def search(
        self, queries: Tensor, k: int = 10, *, device: torch.device | str | None = None
    ) -> SearchResult:
        """The k most similar images of each query (Q, dim), and statistics over all images.

        Exact: the same ids and scores as a comparison with every stored vector, whatever the batch,
        the segments and the device.  The work is done on `device`, by default where the queries
        are; on a GPU the index is copied there once.
        An `InputError` for an empty index and for a query that is NaN, infinite or all zeros; an
        `ArtifactError` naming the file if a segment is not as it was written.
        """
        unit = self.unit_queries(queries)
        if k < 1:
            raise InputError(f"k is {k}, but at least one image must be asked for")
        rows = self.rows_on(torch.device(device) if device is not None else queries.device)
        return SearchResult(*scan.scan(rows, unit, min(k, rows.count)))

    def unit_queries(self, queries: Tensor) -> Tensor:
        """Queries (Q, dim) at unit norm, float64 on the CPU; `InputError` for unusable ones."""
        refuse_shape(queries, (None, self.dim), show_path(self.path))
        exact: Tensor = queries.detach().cpu().double()
        norms: Tensor = torch.linalg.vector_norm(exact, dim=1, keepdim=True)
        refuse_unusable(norms.squeeze(1), lambda i: f"query {i}")
        return exact / norms

    def content_digest(self) -> str:
        """One digest for the images that are there: it changes when one is added or removed."""
        return self._manifest.content_digest()

    def get(self, ids: Sequence[int]) -> tuple[IndexedImage, ...]:
        """The images of these ids, in this order; an id that is not there is an `InputError`."""
        wanted = [int(image) for image in ids]
        records = self._manifest.records(wanted)
        for image in wanted:
            if image not in records:
                raise InputError(f"{show_path(self.path)} has no image with the id {image}")
        rows = ((image, *records[image]) for image in wanted)
        return tuple(
            IndexedImage(image, self.pictures.current(path), digest, added)
            for image, path, digest, added in rows
        )

    def images(self) -> tuple[IndexedImage, ...]:
        """All images, in order of id."""
        return self.get([image for image, _, _ in self._manifest.live_images()])

    def find(self, paths: Sequence[str | os.PathLike[str]]) -> tuple[int | None, ...]:
        """The id of the image at each path, None where there is none."""
        return self.pictures.find(paths)

    def copies(self, digests: Sequence[str]) -> dict[str, int]:
        """The smallest id of an image with each digest; digests without an image are left out."""
        return self._manifest.live_digests(digests)

    def twins(self, digest: str) -> tuple[IndexedImage, ...]:
        """All images with one digest, in order of id."""
        return self.get(self._manifest.with_digest(digest))

    def vectors(self, ids: Sequence[int]) -> Tensor:
        """The stored vectors (N, dim) float32 of these ids."""
        if not len(ids):
            return torch.empty(0, self.dim)
        rows = self.rows_on(torch.device("cpu"))
        values, places = rows.by_id
        wanted = torch.tensor([int(image) for image in ids], dtype=torch.int64)
        at = torch.searchsorted(values, wanted).clamp(max=len(values) - 1)
        if not bool(((values[at] == wanted) & (wanted >= 0)).all()):
            self.get(ids)  # names the one that is not there
        return gather(rows.parts, places[at])[0].float()

    def live_ids(self) -> Tensor:
        """The ids of all images, ascending."""
        self._refresh()
        ids = np.concatenate([place.ids for place, _ in self._held] or [np.empty(0, np.int64)])
        return torch.from_numpy(np.sort(ids))

    def count(self) -> int:
        """How many images there are."""
        return self._manifest.count()

    def compact(self) -> None:
        """Merge the segments into as few as may be, in order of id, without deleted vectors.

        Readers that hold the old files go on with them.
        """
        self._manifest.refuse_reader()
        self._refresh()
        self._merge([held for held in self._held if compaction.is_worthwhile(*held)])

    def verify(self) -> IndexCheck:
        """Read every byte of every segment; an `ArtifactError` names what is damaged."""
        self._refresh()
        self._manifest.verify()
        damage = []
        for _, segment in self._held:
            try:
                segment.verify()
            except ArtifactError as error:
                damage.append(str(error))
        if damage:
            raise ArtifactError("; ".join(damage))
        rows = sum(place.info.rows for place, _ in self._held)
        return IndexCheck(images=self.count(), segments=len(self._held), rows=rows)

    def close(self) -> None:
        """Close the files and release the writer's lock."""
        self._manifest.close()
        self._held, self._rows = [], {}

    def _changed(self) -> None:
        self._seen = None
        self._refresh()

    def _refresh(self) -> None:
        """Open the segments that the manifest now names."""
        version = self._manifest.version()
        if version == self._seen:
            return
        for _ in range(REFRESH_ATTEMPTS):
            try:
                self._held = self._hold(self._manifest.places())
                break
            except FileNotFoundError as error:
                # A compaction has removed it since the manifest was read: read the manifest again.
                missing = Path(error.filename)
        else:
            raise ArtifactError(
                f"{show_path(missing)} is missing; restore it from a copy, or build the index again"
            )
        self._seen, self._rows = version, {}

    def _hold(self, places: Sequence[Place]) -> list[tuple[Place, SegmentFile]]:
        known = {segment.info.name: segment for _, segment in self._held}
        folder = self.path / SEGMENTS
        for info in (place.info for place in places):
            if info.name not in known:
                known[info.name] = SegmentFile(folder / info.name, dim=self.dim, info=info)
        return [(place, known[place.info.name]) for place in places]

    def rows_on(self, device: torch.device) -> Rows:
        """The rows to scan, on `device`; an `InputError` if there are none."""
        self._refresh()
        if not any(len(place.ids) for place, _ in self._held):
            raise InputError(
                f"{show_path(self.path)} is empty, so there is nothing to search; add images first"
            )
        if device not in self._rows:
            for _, segment in self._held:
                segment.verify(again=False)
            parts = [_part(place, segment, device) for place, segment in self._held]
            self._rows[device] = Rows(parts)
        return self._rows[device]

    def _merge(self, chosen: Sequence[tuple[Place, SegmentFile]]) -> None:
        if not chosen or not compaction.would_change(chosen):
            return
        written = compaction.write_merged(self.path / SEGMENTS, chosen, dim=self.dim)
        self._manifest.switch([place.key for place, _ in chosen], written)
        self._changed()
        for _, segment in chosen:
            with suppress(OSError):
                segment.path.unlink()


def _part(place: Place, segment: SegmentFile, device: torch.device) -> RowBlock:
    ids = np.full(place.info.rows, -1, dtype=np.int64)
    ids[place.rows] = place.ids
    dead = torch.from_numpy(np.flatnonzero(ids < 0))
    total = segment.total.clone()
    for some in torch.split(dead, TILE_ROWS):
        total -= segment.rows[some].double().sum(0)
    rows = segment.rows_on(device)
    return RowBlock(rows, torch.from_numpy(ids).to(device), dead.to(device), total)
