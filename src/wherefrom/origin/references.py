"""A folder of reference images that can be searched: index, encoder, edit map, calibration.

Wang et al.: Generalizable Origin Identification for Text-Guided Image-to-Image Diffusion Models,
2025.  Larger score = more likely the origin.

    refs.index/            the exact index (`index`)
    refs.index/setup/      where the encoder was, as a hint
    refs.index/edit_map/   W, if there is one
    refs.index/calibration the null scores behind "no origin in this index"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream
from wherefrom.core.store import digest_file, is_artifact, load_artifact, save_artifact
from wherefrom.data.folders import list_images
from wherefrom.encoders import Encoder, load_encoder
from wherefrom.metrics import retrieval
from wherefrom.origin.accelerator import Accelerator
from wherefrom.origin.answers import (
    AddReport,
    Candidate,
    ModelRow,
    OriginAnswer,
    RetrievalReport,
)
from wherefrom.origin.decision import (
    Answer,
    NullScores,
    decide,
    leave_out,
    make_null,
    z_scores,
)
from wherefrom.origin.edit_map import FittedEditMap, load_edit_map
from wherefrom.origin.embedding import Reader
from wherefrom.origin.index import Index
from wherefrom.origin.result import SearchResult

SETUP, EDIT_MAP, CALIBRATION = "setup", "edit_map", "calibration"
SCHEMA = 1
SHOWN = 10  # candidates of an answer
CURVE = (1, 5, 10, 100)
GROWTH = 1.5  # change of the index's size from which a calibration is called old


@dataclass(frozen=True, eq=False)
class References:
    """An open folder of references; `create` or `open` it, best in a `with` statement."""

    index: Index
    encoder: Encoder
    edit_map: FittedEditMap | None
    null: NullScores | None

    @classmethod
    def create(
        cls,
        path: Path | str,
        encoder: Encoder,
        *,
        edit_map: FittedEditMap | None = None,
        source: str = "",
    ) -> Self:
        """A new, empty folder.  `source` says where the encoder is, for those who open it."""
        if edit_map is not None:
            edit_map.require_encoder(encoder.identity)
        dim = encoder.dimension if edit_map is None else edit_map.rank
        index = Index.create(path, dim=dim, identity=_identity(encoder, edit_map))
        meta = {"encoder": source}
        save_artifact(index.path / SETUP, kind="origin/setup", schema=SCHEMA, meta=meta, tensors={})
        if edit_map is not None:
            edit_map.save(index.path / EDIT_MAP)
        return cls(index, encoder, edit_map, None)

    @classmethod
    def open(
        cls, path: Path | str, *, encoder: Encoder | None = None, writable: bool = False
    ) -> Self:
        """A folder that exists; `encoder` if it is no longer where it was."""
        index = Index.open(path, writable=writable)
        try:
            meta, _ = load_artifact(index.path / SETUP, kind="origin/setup", schema=SCHEMA)
            found = encoder or _remembered(meta["encoder"], index.path)
            place = index.path / EDIT_MAP
            edit_map = load_edit_map(place) if is_artifact(place) else None
            _require_same(index, found, edit_map)
            place = index.path / CALIBRATION
            null = NullScores.load(place) if is_artifact(place) else None
        except BaseException:
            index.close()
            raise
        return cls(index, found, edit_map, null)

    def require_map(self, edit_map: FittedEditMap | None) -> None:
        """An `InputError` if the images were projected by another map."""
        _require_same(self.index, self.encoder, edit_map)

    def describe(self) -> dict[str, Any]:
        """What an answer rests on, as JSON values."""
        null = self.null
        return {
            "index": {"path": str(self.index.path), "images": self.index.count()},
            "encoder": self.encoder.identity.to_dict(),
            "edit_map": None
            if self.edit_map is None
            else {"rank": self.edit_map.rank, "digest": self.edit_map.digest},
            "calibration": None
            if null is None
            else {"edits": len(null.z), "rate": null.rate, "images_then": null.indexed},
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.index.close()

    def add(self, paths: Sequence[Path], *, track: Track = quiet) -> AddReport:
        """Add files and folders; what is there unchanged is not embedded again.

        Kept as it goes: an interrupted `add` continues where it was.
        """
        files = list_images(paths)
        known = dict(zip(files, self._known(files), strict=True))
        reader = Reader(self.encoder)
        unchanged: list[Path] = []

        def wanted(path: Path, digest: str) -> bool:
            same = known[path] == digest
            if same:
                unchanged.append(path)
            return not same

        added = replaced = duplicates = 0
        progress = track(files, "adding images", total=len(files))
        for some, digests, embeddings in reader.chunks(progress, wanted=wanted):
            result = self.index.add(some, digests, self._vectors(embeddings))
            added, replaced = added + result.added, replaced + result.replaced
            duplicates += len(result.duplicates)
        skipped = tuple((str(path), reason) for path, reason in reader.skipped)
        return AddReport(added - replaced, len(unchanged), replaced, duplicates, skipped)

    def search(
        self, paths: Sequence[Path], *, accelerated: bool = False, track: Track = quiet
    ) -> tuple[OriginAnswer, ...]:
        """An answer per image file, in the order in which they are listed.

        `accelerated`: by way of the index's `Accelerator`, which may miss an image.
        """
        files = list_images(paths)
        by = Accelerator.load(self.index) if accelerated else self.index
        reader = Reader(self.encoder)
        answers: dict[Path, OriginAnswer] = {}
        for some, digests, embeddings in reader.chunks(track(files, "searching", total=len(files))):
            result = by.search(self._vectors(embeddings), SHOWN)
            copies = self.index.copies(digests)
            for row, (path, digest) in enumerate(zip(some, digests, strict=True)):
                answers[path] = self._answer(path, digest, result, row, copies.get(digest))
        for path, reason in reader.skipped:
            answers[path] = OriginAnswer(str(path), Answer.UNKNOWN, None, None, (), reason)
        return tuple(answers[path] for path in files)

    def calibrate(
        self,
        edits: Sequence[Path],
        origins: Sequence[Path],
        *,
        rate: float,
        seed: int = 0,
        track: Track = quiet,
    ) -> References:
        """Calibrate "no origin in this index" by edits; `origins[i]` is what `edits[i]` came from.

        Of every origin one edit is drawn, so that the scores are independent.  Where the origin is
        in the index, it is left out of the comparison.  The result is kept in the folder.
        """
        chosen = _one_per_origin(origins, seed)
        reader = Reader(self.encoder)
        names, _, embeddings = reader.embed(
            [edits[i] for i in track(chosen, "reading edits", total=len(chosen))]
        )
        owner = {edits[i]: origins[i] for i in chosen}
        ids = self._ids_of([owner[name] for name in names])
        z = self._null_scores(embeddings, ids)
        provenance = {"edits": len(z), "seed": seed, "skipped": len(reader.skipped)}
        null = make_null(z, rate, indexed=self.index.count(), provenance=provenance)
        null.save(self.index.path / CALIBRATION, overwrite=True)
        return replace(self, null=null)

    def evaluate(
        self,
        edits: Sequence[Path],
        origins: Sequence[Path],
        models: Sequence[str],
        *,
        track: Track = quiet,
    ) -> RetrievalReport:
        """How well the origins of known edits are found; every origin must be in the index."""
        place = {name: i for i, name in enumerate(edits)}
        reader = Reader(self.encoder)
        ranks, right, p_values, named = [], [], [], []
        for some, _, embeddings in reader.chunks(track(edits, "searching", total=len(edits))):
            wanted = self._ids_of([origins[place[name]] for name in some])
            for name, ids in zip(some, wanted, strict=True):
                if not len(ids):
                    raise InputError(
                        f"{origins[place[name]]}, the origin of {name}, is not in the index; add "
                        "it first"
                    )
            result = self.index.search(self._vectors(embeddings), self.index.count())
            ranks += _ranks(result, wanted)
            right += [int(i) in w.tolist() for i, w in zip(result.ids[:, 0], wanted, strict=True)]
            if self.null is not None:
                p_values += self.null.p_values(z_scores(result.statistics)).tolist()
            named += [models[place[name]] for name in some]
        if not ranks:
            raise InputError("none of the edits could be read; see the files named by the pairs")
        rows = _rows(named, ranks, right, p_values, None if self.null is None else self.null.rate)
        skipped = tuple((str(path), reason) for path, reason in reader.skipped)
        return RetrievalReport(rows, self.index.count(), tuple(ranks), skipped)

    def _answer(
        self, path: Path, digest: str, result: SearchResult, row: int, copy: int | None
    ) -> OriginAnswer:
        ids, scores = result.ids[row].tolist(), result.scores[row].tolist()
        if copy is not None:
            # The same file may stand at several scores' places; the copy comes first.
            ids, scores = [copy, *ids], [1.0, *scores]
        found = self.index.get(ids)
        candidates = tuple(
            Candidate(image.path, image.digest, score)
            for image, score in zip(found, scores, strict=True)
        )
        if copy is not None:
            return OriginAnswer(str(path), Answer.COPY, None, None, candidates[:1], "", digest)
        if self.null is None:
            reason = "this index is not calibrated; run calibrate with edits of known origin"
            return OriginAnswer(str(path), Answer.UNKNOWN, None, None, candidates, reason, digest)
        z = float(z_scores(result.statistics)[row])
        p = float(self.null.p_values(torch.tensor([z], dtype=torch.float64)))
        answer, reason = decide(p, self.null)
        ratio = self.index.count() / self.null.indexed
        if not 1 / GROWTH < ratio < GROWTH:
            reason = (
                f"{reason}; " if reason else ""
            ) + f"calibrated when the index held {self.null.indexed} images; calibrate again"
        return OriginAnswer(str(path), answer, p, z, candidates, reason, digest)

    def _null_scores(self, embeddings: Tensor, left_out: Sequence[Tensor]) -> Tensor:
        vectors = self._vectors(embeddings)
        most = max((len(ids) for ids in left_out), default=0)
        result = self.index.search(vectors, most + 1)
        scores = []
        for row, ids in enumerate(left_out):
            stored = F.normalize(vectors[row : row + 1].double()).cpu()
            own = self.index.vectors(ids.tolist()).double() @ stored[0]
            remains = ~torch.isin(result.ids[row], ids)
            best = float(result.scores[row][remains][0])
            scores.append(z_scores(leave_out(result.statistics, row, best, own)))
        return torch.cat(scores)

    def _vectors(self, embeddings: Tensor) -> Tensor:
        return embeddings if self.edit_map is None else self.edit_map.project(embeddings)

    def _known(self, files: Sequence[Path]) -> list[str | None]:
        ids = self.index.find(files)
        images = self.index.get([i for i in ids if i is not None])
        digests = {image.id: image.digest for image in images}
        return [None if i is None else digests[i] for i in ids]

    def _ids_of(self, origins: Sequence[Path]) -> list[Tensor]:
        """Ids of the images of the index that are these files: by content, whatever the path."""
        digests = {path: digest_file(path) for path in dict.fromkeys(origins)}
        known = self.index.copies(list(digests.values()))
        by_path = dict(zip(digests, self.index.find(list(digests)), strict=True))
        rows = []
        for path in origins:
            ids = {known.get(digests[path]), by_path[path]} - {None}
            rows.append(torch.tensor(sorted(i for i in ids if i is not None), dtype=torch.int64))
        return rows


def remove(index: Index, paths: Sequence[Path]) -> int:
    """Forget the images at these paths, as they were added; how many there were."""
    ids = index.find(paths)
    for path, found in zip(paths, ids, strict=True):
        if found is None:
            raise InputError(f"{path} is not in {index.path}; nothing was removed")
    index.delete([found for found in ids if found is not None])
    return len(ids)


def _identity(encoder: Encoder, edit_map: FittedEditMap | None) -> dict[str, object]:
    return {
        "encoder": encoder.identity.to_dict(),
        "edit_map": None if edit_map is None else edit_map.digest,
    }


def _require_same(index: Index, encoder: Encoder, edit_map: FittedEditMap | None) -> None:
    from wherefrom.encoders import EncoderIdentity

    built = EncoderIdentity.from_dict(index.identity["encoder"])
    built.require_same(encoder.identity, what=f"the images of {index.path}")
    if index.identity["edit_map"] != _identity(encoder, edit_map)["edit_map"]:
        raise InputError(f"{index.path} was built with another edit map; build it again")


def _remembered(source: str, path: Path) -> Encoder:
    if not source:
        raise InputError(f"{path} does not say where its encoder is; pass --encoder")
    return load_encoder(source)


def _one_per_origin(origins: Sequence[Path], seed: int) -> list[int]:
    groups: dict[Path, list[int]] = {}
    for i, origin in enumerate(origins):
        groups.setdefault(origin, []).append(i)
    return [
        group[int(torch.randint(len(group), (1,), generator=stream(seed, "one edit", index)))]
        for index, group in enumerate(groups.values())
    ]


def _ranks(result: SearchResult, wanted: Sequence[Tensor]) -> list[int]:
    """Rank of the best placed right image; equal scores of others rank before it."""
    ranks = []
    for ids, scores, right in zip(result.ids, result.scores, wanted, strict=True):
        mine = torch.isin(ids, right)
        ranks.append(int((scores[~mine] >= scores[mine].max()).sum()) + 1)
    return ranks


def _rows(
    models: Sequence[str],
    ranks: Sequence[int],
    right: Sequence[bool],
    p_values: Sequence[float],
    rate: float | None,
) -> tuple[ModelRow, ...]:
    groups = {"all": range(len(ranks))} | {
        model: [i for i, name in enumerate(models) if name == model] for model in sorted({*models})
    }
    rows = []
    for model, chosen in groups.items():
        some = torch.tensor([ranks[i] for i in chosen])
        called = [i for i in chosen if rate is not None and p_values[i] <= rate]
        rows.append(
            ModelRow(
                model,
                len(some),
                retrieval.mean_average_precision(some),
                retrieval.accuracy(some),
                dict(zip(CURVE, retrieval.rank_curve(some, CURVE), strict=True)),
                None if rate is None else sum(right[i] for i in called) / len(some),
                None if rate is None else sum(not right[i] for i in called) / len(some),
            )
        )
    return tuple(rows)
