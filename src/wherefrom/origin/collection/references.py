"""An index of images with its encoder, edit map and calibration: `References`.

Wang et al.: Generalizable Origin Identification for Text-Guided Image-to-Image Diffusion Models,
2025.  Larger score = more likely the origin.

    refs.index/            the exact index (`index`)
    refs.index/setup/      where the encoder and the feature network are (`build_record`)
    refs.index/edit_map/   W, if there is one
    refs.index/calibration the null scores behind "no origin in this index"
    refs.index/copies.sqlite   perceptual hashes, for copies that are other files
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.database import Closing
from wherefrom.core.saving.store import is_artifact
from wherefrom.data.folders import list_images
from wherefrom.encoders import Encoder, FeatureNetwork
from wherefrom.encoders.bulk import BulkEmbedding, embed_here
from wherefrom.origin.calibration.calibrating import (
    largest_values,
    one_edit_per_origin,
    refuse_training_pairs,
    search_without_origins,
    trained_on,
)
from wherefrom.origin.calibration.discovery import control_discoveries
from wherefrom.origin.calibration.evaluation import evaluate_edits
from wherefrom.origin.collection.adding import add_images
from wherefrom.origin.collection.build_record import (
    SETUP,
    BuildRecord,
    identity_of,
    remembered_encoder,
    remembered_features,
    require_same,
)
from wherefrom.origin.edit_map.fitted import FittedEditMap
from wherefrom.origin.index.index import Index
from wherefrom.origin.joint.rows import NO_FEATURES, RowEncoder
from wherefrom.origin.other_indexes.accelerator import Accelerator
from wherefrom.origin.reranking.scores import Originals
from wherefrom.origin.searching.cascade import Basis, answer_files
from wherefrom.origin.searching.config import SearchConfig
from wherefrom.origin.searching.copies import CopyHashes
from wherefrom.origin.searching.decision import NullScores, make_null
from wherefrom.origin.searching.evidence import CandidateOverlay, gather_evidence
from wherefrom.origin.searching.matching import Matcher
from wherefrom.origin.searching.result import (
    AddReport,
    OriginAnswer,
    OriginAnswers,
    RetrievalReport,
)

EDIT_MAP, CALIBRATION = "edit_map", "calibration"


@dataclass(frozen=True, eq=False)
class References(Closing):
    """An open index with all that a search needs; `create` or `open` it in a `with` statement."""

    index: Index
    encoder: Encoder
    edit_map: FittedEditMap | None
    null: NullScores | None
    hashes: CopyHashes
    features: FeatureNetwork | None = None
    base: Path | None = None  # where paths in the texts of answers begin; None: current folder

    @classmethod
    def create(
        cls,
        path: Path | str,
        encoder: Encoder,
        *,
        edit_map: FittedEditMap | None = None,
        source: str = "",
        features: FeatureNetwork | None = None,
        features_source: str = NO_FEATURES,
    ) -> Self:
        """Make a new, empty index, of `features` beside the latents where a network is given.

        `source` and `features_source`: names or folders of encoder and network, for `open`.
        """
        if edit_map is not None:
            edit_map.require_encoder(encoder.identity)
        rows = RowEncoder(encoder, edit_map, features)
        index = Index.create(path, dim=sum(rows.widths), identity=identity_of(rows))
        BuildRecord.of(source, features_source, index.path).save(index.path / SETUP)
        if edit_map is not None:
            edit_map.save(index.path / EDIT_MAP)
        hashes = CopyHashes(index.path, writable=True)
        return cls(index, encoder, edit_map, None, hashes, features)

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        encoder: Encoder | None = None,
        features: FeatureNetwork | None = None,
        writable: bool = False,
        roots: Sequence[Path] = (),
        base: Path | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Open an index; `encoder` and `features` if one is no longer where it was.

        Both are moved to the `device`.
        `roots`: folders in which the pictures lie now, with the folders inside as they were.
        """
        index = Index.open(path, writable=writable)
        try:
            index.pictures.follow(roots, writable=writable)
            place = index.path / EDIT_MAP
            edit_map = FittedEditMap.load(place) if is_artifact(place) else None
            rows = RowEncoder(
                encoder or remembered_encoder(index),
                edit_map,
                features or remembered_features(index),
            )
            rows = rows if device is None else rows.to(device)
            require_same(index, rows)
            place = index.path / CALIBRATION
            null = NullScores.load(place) if is_artifact(place) else None
            hashes = CopyHashes(index.path, writable=writable)
        except BaseException:
            index.close()
            raise
        return cls(index, rows.encoder, edit_map, null, hashes, rows.features, base)

    @property
    def rows(self) -> RowEncoder:
        """What makes the rows of the index."""
        return RowEncoder(self.encoder, self.edit_map, self.features)

    def evidence(
        self, answers: Sequence[OriginAnswer], *, track: Track = quiet
    ) -> dict[tuple[str, str], CandidateOverlay]:
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
            "features": None if self.features is None else self.features.identity.to_dict(),
            "calibration": None
            if null is None
            else {"edits": len(null.values), "rate": null.rate, "images_then": null.indexed},
            "search": (config or self.configured({})).to_dict(),
        }

    def close(self) -> None:
        """Close the files and release the writer's lock."""
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

        Images are stored as they are embedded: an interrupted `add` continues where it was.  An
        image without a perceptual hash, in an index made before there were any, gets one.  `by`
        says where images are embedded, as `encoders.bulk.RayEmbedding`.  A file that cannot be
        read, or whose embedding is not finite or all zeros, is in `skipped`, with the reason.
        Folders are remembered for `synchronise`.
        """
        return add_images(self.matcher(), self.hashes, paths, by=by, track=track)

    def search(
        self,
        paths: Sequence[Path],
        *,
        config: SearchConfig | None = None,
        accelerated: bool = False,
        false_discovery_rate: float | None = None,
        track: Track = quiet,
    ) -> OriginAnswers:
        """An answer per image file, in the order in which they are listed.

        A cascade: the same file, then a copy of it by its perceptual hash and its picture, then the
        search by W.  `config`: by default that of the calibration; another one is an `InputError`.
        `accelerated`: with the index's `Accelerator`, which may miss an image.
        A file that cannot be read, or whose embedding is not finite, is answered "cannot say".
        `false_discovery_rate`: judge all files together (`discovery.control_discoveries`); an
        `InputError` without a calibration.
        """
        if false_discovery_rate is not None:
            if self.null is None:
                raise InputError(
                    f"a false-discovery rate of {false_discovery_rate:g} is asked for, but "
                    f"{self.index.path} is not calibrated; run calibrate with edits of known "
                    "origin first"
                )
            control_discoveries((), false_discovery_rate)  # refuses a rate that is none
        files = list_images(paths)
        matcher = self.matcher(config)
        if accelerated and self.null is not None and matcher.config.statistic != "z":
            raise InputError(
                f"an accelerated search may miss the second best match, so that the statistic "
                f"{matcher.config.statistic} is not valid; calibrate with `--statistic z`"
            )
        if accelerated:
            matcher = replace(matcher, searcher=Accelerator.load(self.index))
        basis = Basis(self.index, self.null, matcher.config, self.base)
        answers = answer_files(files, matcher, basis, self.hashes, track=track)
        if false_discovery_rate is None:
            return answers
        return OriginAnswers(control_discoveries(answers, false_discovery_rate))

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

        Of every origin one edit is drawn, and of a series of origins in the index one edit is used,
        so that the values are independent.  Where the origin is in the index, it and its series of
        near-duplicates are left out of the comparison.  The result is kept in the folder with the
        `config`, and holds for searches with that config only.  `null.provenance["largest"]` lists
        the largest values with their pictures.

        An `InputError` if an edit or origin is an image that the edit map was trained on, or if the
        edits are too few for `rate`.  Edits that cannot be read or compared are left out and named
        in `null.provenance["left_out"]`; `null.provenance["note"]` says what was not checked.
        """
        settings = config or SearchConfig()
        pairs = one_edit_per_origin(edits, origins, seed)
        note = refuse_training_pairs(pairs, self.edit_map, track=track)
        matcher = self._new_matcher(settings)
        result = search_without_origins(pairs, matcher, self.hashes, track=track)
        null = make_null(
            torch.tensor(result.values, dtype=torch.float64),
            rate,
            indexed=self.index.count(),
            settings=settings.to_dict(),
            provenance={
                "edits": len(result.values),
                "seed": seed,
                "skipped": len(result.skipped),
                "left_out": [file.to_dict() for file in result.skipped],
                "note": note,
                "same_series": [str(path) for path in result.same_series],
                "largest": largest_values(result, pairs),
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
            matcher,
            edits,
            origins,
            models,
            null=self.null,
            known=known,
            hashes=self.hashes,
            track=track,
        )

    def matcher(self, config: SearchConfig | None = None) -> Matcher:
        """A matcher with this config; an `InputError` if the calibration has another one."""
        return self._new_matcher(self.configured({} if config is None else config.to_dict()))

    def _new_matcher(self, config: SearchConfig) -> Matcher:
        originals = Originals(self.encoder)
        return Matcher(
            self.index,
            self.index,
            self.encoder,
            self.edit_map,
            config,
            originals,
            features=self.features,
        )
