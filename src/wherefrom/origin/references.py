"""A folder of reference images that can be searched: index, encoder, edit map, calibration.

Wang et al.: Generalizable Origin Identification for Text-Guided Image-to-Image Diffusion Models,
2025.  Larger score = more likely the origin.

    refs.index/            the exact index (`index`)
    refs.index/setup/      where the encoder was, as a hint
    refs.index/edit_map/   W, if there is one
    refs.index/calibration the null scores behind "no origin in this index"
    refs.index/copies.sqlite   perceptual hashes, for copies that are other files
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.store import is_artifact, load_artifact, save_artifact
from wherefrom.data.folders import list_images
from wherefrom.encoders import Encoder, load_encoder
from wherefrom.encoders.bulk import BulkEmbedding, embed_here
from wherefrom.origin.accelerator import Accelerator
from wherefrom.origin.answers import AddReport, OriginAnswer, RetrievalReport
from wherefrom.origin.calibrating import (
    one_edit_per_origin,
    refuse_training_pairs,
    search_without_origins,
    trained_on,
)
from wherefrom.origin.cascade import answer_of, cannot_say, copy_of, find_copy
from wherefrom.origin.copies import CopyHashes, PictureHash, hash_picture
from wherefrom.origin.decision import NullScores, make_null
from wherefrom.origin.discovery import control_discoveries
from wherefrom.origin.edit_map import FittedEditMap, load_edit_map
from wherefrom.origin.embedding import Reader
from wherefrom.origin.evaluation import evaluate_edits
from wherefrom.origin.evidence import Evidence, gather_evidence
from wherefrom.origin.index import Index
from wherefrom.origin.matching import Matcher
from wherefrom.origin.reranking import Originals
from wherefrom.origin.settings import SearchConfig

SETUP, EDIT_MAP, CALIBRATION = "setup", "edit_map", "calibration"
SCHEMA = 1


@dataclass(frozen=True, eq=False)
class References:
    """An open folder of references; `create` or `open` it, best in a `with` statement."""

    index: Index
    encoder: Encoder
    edit_map: FittedEditMap | None
    null: NullScores | None
    hashes: CopyHashes

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
        return cls(index, encoder, edit_map, None, CopyHashes(index.path, writable=True))

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
            hashes = CopyHashes(index.path, writable=writable)
        except BaseException:
            index.close()
            raise
        return cls(index, found, edit_map, null, hashes)

    def require_map(self, edit_map: FittedEditMap | None) -> None:
        """An `InputError` if the images were projected by another map."""
        _require_same(self.index, self.encoder, edit_map)

    def evidence(
        self, answers: Sequence[OriginAnswer], *, track: Track = quiet
    ) -> dict[tuple[str, str], Evidence]:
        """Where the first candidates differ from their query, by names of query and candidate."""
        return gather_evidence(answers, self.encoder, track=track)

    def describe(self, config: SearchConfig | None = None) -> dict[str, Any]:
        """What an answer rests on, as JSON values; `config` is that of the search."""
        null = self.null
        return {
            "index": {"path": str(self.index.path), "images": self.index.count()},
            "encoder": self.encoder.identity.to_dict(),
            "edit_map": None
            if self.edit_map is None
            else {"rank": self.edit_map.rank, "digest": self.edit_map.digest},
            "calibration": None
            if null is None
            else {"edits": len(null.values), "rate": null.rate, "images_then": null.indexed},
            "search": (config or self.configured({})).to_dict(),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files, and of the writer's lock."""
        self.hashes.close()
        self.index.close()

    def configured(self, asked: Mapping[str, Any]) -> SearchConfig:
        """The settings of a search: those asked for, then the calibration's, then the defaults.

        An `InputError` if the calibration was made with other settings than asked for.
        """
        if self.null is None:
            return SearchConfig().with_values(asked)
        config = SearchConfig.from_dict(self.null.settings)
        config.require_same(config.with_values(asked), where=str(self.index.path))
        return config

    def add(
        self, paths: Sequence[Path], *, by: BulkEmbedding = embed_here, track: Track = quiet
    ) -> AddReport:
        """Add files and folders; what is there unchanged is not embedded again.

        Kept as it goes: an interrupted `add` continues where it was.  An image that is there but
        has no perceptual hash, in an index made before there were any, gets one.  `by` says who
        embeds, as `encoders.bulk.RayEmbedding`.  A file that cannot be read, or whose embedding is
        not finite or all zeros, is left out and named with the reason in `skipped`.
        """
        files = list_images(paths)
        known = dict(zip(files, self._known(files), strict=True))
        hashed = {d for d in known.values() if d is not None}
        hashed -= self.hashes.missing(sorted(hashed))
        reader = Reader(self.encoder)
        unchanged = 0

        def wanted(path: Path, digest: str) -> bool:
            nonlocal unchanged
            unchanged += known[path] == digest
            return known[path] != digest or digest not in hashed

        def batches() -> Iterator[tuple[tuple[dict[Path, str], dict[str, PictureHash]], Tensor]]:
            progress = track(files, "adding images to the index", total=len(files))
            for some, digests, pictures in reader.images(progress, wanted=wanted):
                hashes = {d: hash_picture(p) for d, p in zip(digests, pictures, strict=True)}
                new = [i for i, path in enumerate(some) if known[path] != digests[i]]
                if new:
                    yield ({some[i]: digests[i] for i in new}, hashes), pictures[new]
                else:
                    self.hashes.put(hashes)

        added = replaced = duplicates = 0
        project = self.matcher().project
        for (fresh, hashes), rows in by(self.encoder, batches()):
            self.hashes.put(hashes)
            names, digests = [*fresh], [*fresh.values()]
            finite = reader.usable(names, rows)
            if not finite:
                continue
            names, digests = [names[i] for i in finite], [digests[i] for i in finite]
            vectors = project(rows[finite])
            kept = reader.usable(names, vectors)
            result = self.index.add(
                [names[i] for i in kept], [digests[i] for i in kept], vectors[kept]
            )
            added, replaced = added + result.added, replaced + result.replaced
            duplicates += len(result.duplicates)
        skipped = tuple((str(path), reason) for path, reason in reader.skipped)
        return AddReport(added - replaced, unchanged, replaced, duplicates, skipped)

    def search(
        self,
        paths: Sequence[Path],
        *,
        config: SearchConfig | None = None,
        accelerated: bool = False,
        false_discovery_rate: float | None = None,
        track: Track = quiet,
    ) -> tuple[OriginAnswer, ...]:
        """An answer per image file, in the order in which they are listed.

        A cascade: the same file, then a copy of it by its perceptual hash and its picture, then the
        search by W.  `config`: by default that of the calibration; another one is an `InputError`.
        `accelerated`: by way of the index's `Accelerator`, which may miss an image.
        A file that cannot be read, or whose embedding is not finite, is answered "cannot say".
        `false_discovery_rate`: judge all files together (`discovery.control_discoveries`); an
        `InputError` without a calibration.
        """
        if false_discovery_rate is not None:
            self._require_control(false_discovery_rate)
        files = list_images(paths)
        matcher = self.matcher(config)
        if accelerated and matcher.config.statistic != "z":
            raise InputError(
                f"an accelerated search may miss the second best match, so that the statistic "
                f"{matcher.config.statistic} is not valid; calibrate with the statistic z"
            )
        if accelerated:
            matcher = replace(matcher, by=Accelerator.load(self.index))
        reader = Reader(self.encoder)
        answers: dict[Path, OriginAnswer] = {}
        for some, digests, pictures in reader.images(
            track(files, "searching the index", total=len(files))
        ):
            same = self.index.copies(digests)
            left, notes = [], {}
            for row, (path, digest) in enumerate(zip(some, digests, strict=True)):
                if digest in same:
                    (image,) = self.index.get([same[digest]])
                    answers[path] = copy_of(path, digest, image, None)
                    continue
                copy, notes[row] = find_copy(pictures[row], self.index, self.hashes)
                if copy is None:
                    left.append(row)
                else:
                    answers[path] = copy_of(path, digest, *copy)
            for row, standing in zip(
                left, matcher.ask(pictures[left]) if left else [], strict=True
            ):
                if isinstance(standing, str):
                    answers[some[row]] = cannot_say(some[row], standing, digests[row], notes[row])
                    continue
                answers[some[row]] = answer_of(
                    some[row],
                    digests[row],
                    standing,
                    index=self.index,
                    null=self.null,
                    config=matcher.config,
                    notes=notes[row],
                )
        for path, reason in reader.skipped:
            answers[path] = cannot_say(path, reason)
        listed = tuple(answers[path] for path in files)
        if false_discovery_rate is None:
            return listed
        return control_discoveries(listed, false_discovery_rate)

    def calibrate(
        self,
        edits: Sequence[Path],
        origins: Sequence[Path],
        *,
        rate: float,
        config: SearchConfig | None = None,
        seed: int = 0,
        track: Track = quiet,
    ) -> References:
        """Calibrate "no origin in this index" by edits; `origins[i]` is what `edits[i]` came from.

        Of every origin one edit is drawn, so that the values are independent.  Where the origin is
        in the index, it is left out of the comparison.  The result is kept in the folder with the
        `config`, and holds for searches with that config only.

        An `InputError` if an edit or origin is an image that the edit map was trained on, or if the
        edits are too few for `rate`.  Edits that cannot be read or compared are left out and named
        in `null.provenance["left_out"]`; `null.provenance["note"]` says what was not checked.
        """
        settings = config or SearchConfig()
        pairs = one_edit_per_origin(edits, origins, seed)
        note = refuse_training_pairs(pairs, self.edit_map, track=track)
        found = search_without_origins(pairs, self._new_matcher(settings), track=track)
        null = make_null(
            torch.tensor(found.values, dtype=torch.float64),
            rate,
            indexed=self.index.count(),
            settings=settings.to_dict(),
            provenance={
                "edits": len(found.values),
                "seed": seed,
                "skipped": len(found.skipped),
                "left_out": [list(pair) for pair in found.skipped],
                "note": note,
            },
        )
        null.save(self.index.path / CALIBRATION, overwrite=True)
        return replace(self, null=null)

    def evaluate(
        self,
        edits: Sequence[Path],
        origins: Sequence[Path],
        models: Sequence[str],
        *,
        config: SearchConfig | None = None,
        track: Track = quiet,
    ) -> RetrievalReport:
        """How well the origins of known edits are found; every origin must be in the index.

        `models`: what made each edit.  An edit that cannot be read or compared is left out and
        named in `skipped`; pairs that the edit map was trained on are counted in `trained_on`.
        """
        known = trained_on(dict(zip(edits, origins, strict=True)), self.edit_map, track=track)
        matcher = self.matcher(config)
        return evaluate_edits(
            matcher, edits, origins, models, null=self.null, known=known, track=track
        )

    def matcher(self, config: SearchConfig | None = None) -> Matcher:
        """As asked for, if the calibration allows it."""
        return self._new_matcher(self.configured({} if config is None else config.to_dict()))

    def _new_matcher(self, config: SearchConfig) -> Matcher:
        originals = Originals(self.encoder)
        return Matcher(self.index, self.index, self.encoder, self.edit_map, config, originals)

    def _require_control(self, rate: float) -> None:
        if self.null is None:
            raise InputError(
                f"a false-discovery rate of {rate:g} is asked for, but {self.index.path} is not "
                "calibrated; run calibrate with edits of known origin first"
            )
        control_discoveries((), rate)  # refuses a rate that is none

    def _known(self, files: Sequence[Path]) -> list[str | None]:
        ids = self.index.find(files)
        images = self.index.get([i for i in ids if i is not None])
        digests = {image.id: image.digest for image in images}
        return [None if i is None else digests[i] for i in ids]


def search(
    index: Path | str,
    paths: Sequence[Path],
    *,
    encoder: Encoder | None = None,
    config: SearchConfig | None = None,
    false_discovery_rate: float | None = None,
    track: Track = quiet,
) -> tuple[OriginAnswer, ...]:
    """Which images of a folder of references were these files made from?  One answer per file.

    `encoder` if it is no longer where it was; the rest as in `References.search`.
    """
    with References.open(index, encoder=encoder) as references:
        return references.search(
            paths, config=config, false_discovery_rate=false_discovery_rate, track=track
        )


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
