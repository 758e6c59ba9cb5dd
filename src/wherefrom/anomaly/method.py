"""Calibration on real images, and the ranking of other images among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from wherefrom.anomaly.calibration.assumption import AssumptionConfig, check_assumption
from wherefrom.anomaly.calibration.discovery import control_discoveries
from wherefrom.anomaly.calibration.fitted import (
    AnomalyCalibration,
    fit_calibration,
    split_reals,
)
from wherefrom.anomaly.calibration.judgement import Judgements, worst_first
from wherefrom.anomaly.config import DEFAULT, AnomalyConfig
from wherefrom.anomaly.equations import anomaly_vectors
from wherefrom.anomaly.measuring.cache import Cache, MemoryCache
from wherefrom.anomaly.measuring.items import Paths, as_paths, load_image
from wherefrom.anomaly.measuring.numerics import CHECKED, check_numerics
from wherefrom.anomaly.measuring.scoring import score_files
from wherefrom.anomaly.result import COLUMNS, ImageScores
from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.data.images.in_memory import Pictures, as_files, shown_name
from wherefrom.data.splits import sample_indices
from wherefrom.encoders import load_feature_encoder
from wherefrom.encoders.features import FeatureEncoder, FeatureNetwork

DEFAULT_ASSUMPTION = AssumptionConfig()
FIRST_DIRECTIONS, FIRST_RESTARTS = 2, 2


def calibrate(
    real: Paths,
    encoder: FeatureEncoder,
    *,
    config: AnomalyConfig = DEFAULT,
    assumption: AssumptionConfig | None = DEFAULT_ASSUMPTION,
    decides: str = "auto",
    seed: int = 0,
    cache: Cache | None = None,
    track: Track = quiet,
) -> tuple[AnomalyCalibration, ImageScores]:
    """A calibration by real image files, and their scores.

    It checks the numerics on up to 8 images and, unless `assumption` is None, which way AS-i points
    on images that are not held out.  `InputError` for fewer than 15 different usable images.
    """
    store, files = MemoryCache() if cache is None else cache, as_paths(real)
    scores = score_files(files, encoder, config=config, seed=seed, cache=store, track=track)
    few, first = _first(config), scores
    if few != config:  # the first draws of every image are in the cache
        first = score_files(files, encoder, config=few, seed=seed, cache=store, track=quiet)
    cloud, _ = split_reals(scores.digests, seed=seed)
    count = max(CHECKED, assumption.images if assumption else 0)
    rows = sample_indices([scores.digests[row] for row in cloud], count, seed=seed)
    images = torch.stack(
        [load_image(Path(scores.names[cloud[row]]), encoder.resolution) for row in rows]
    )
    numerics = check_numerics(images, encoder, config=config, seed=seed)
    check = None
    if assumption is not None:
        check = check_assumption(
            images,
            encoder,
            reals=scores.select(cloud),
            rows=rows,
            config=config,
            assumption=assumption,
            seed=seed,
            track=track,
        )
    calibration = fit_calibration(
        scores,
        first=first,
        check=check,
        decides=decides,
        provenance={"numerics": numerics.to_dict()},
    )
    return calibration, scores


def score(
    images: Pictures,
    against: AnomalyCalibration | Paths,
    encoder: FeatureEncoder | None = None,
    *,
    false_alarms: float = 0.01,
    confidence: float = 0.0,
    false_discovery_rate: float | None = None,
    cache: Cache | None = None,
    track: Track = quiet,
) -> Judgements:
    """Rank image files, and the files below folders, among real images, worst first.

    `images` may also be arrays, tensors and Pillow images (`data.images.in_memory`).
    `against`: a calibration, or real images from which one is made with default settings.  At most
    the share `false_alarms` of images like the real ones is flagged: on average over calibrations,
    or with a `confidence` in (0, 1) for the calibration at hand.  A rate that the number of real
    images cannot support is an `InputError`.  `false_discovery_rate`: the flags also stand together
    (`control_discoveries`).  `encoder`: the one of the calibration; default EfficientNet-Lite0.
    With a `cache` only images whose content is new are measured.
    """
    encoder = load_feature_encoder() if encoder is None else encoder
    if isinstance(against, AnomalyCalibration):
        calibration = against
    else:
        calibration, _ = calibrate(against, encoder, cache=cache, track=track)
    limit = calibration.highest_p_value(false_alarms, confidence)
    if false_discovery_rate is not None:
        control_discoveries((), false_discovery_rate)  # refuses a rate that is none
    with as_files(images) as paths:
        scores = score_progressively(
            paths,
            encoder,
            calibration,
            false_alarms=limit,
            cache=cache,
            track=track,
        )
    judgements = calibration.judge(scores, false_alarms=limit, progressive=True)
    if false_discovery_rate is not None:
        judgements = control_discoveries(judgements, false_discovery_rate)
    flags = dataclasses.replace(
        calibration.rate(judgements, false_alarms),
        confidence=confidence,
        discovery_rate=false_discovery_rate,
    )
    rows = worst_first(judgements)
    named = (dataclasses.replace(row, name=shown_name(row.name, images)) for row in rows)
    return Judgements(tuple(named), flags, scores.skipped)


def _first(config: AnomalyConfig) -> AnomalyConfig:
    """The draws that `score_progressively` begins with; all of them where there are few."""
    if config.directions <= FIRST_DIRECTIONS:
        return config
    restarts = min(FIRST_RESTARTS, config.restarts)
    return dataclasses.replace(config, directions=FIRST_DIRECTIONS, restarts=restarts)


def remember_encoder(
    calibration: AnomalyCalibration, source: str, resolution: int | None
) -> AnomalyCalibration:
    """The calibration with a note of where its encoder is; `source` as in `load_feature_encoder`.

    A folder is noted by its absolute path.
    """
    place = str(Path(source).resolve()) if Path(source).is_dir() else source
    notes = {"encoder_source": place, "encoder_resolution": resolution}
    return dataclasses.replace(calibration, provenance={**calibration.provenance, **notes})


def remembered_encoder(
    calibration: AnomalyCalibration, path: Path, *, source: str | None = None
) -> FeatureNetwork:
    """The encoder that made a calibration, from `source` if it is no longer where it was.

    An `InputError` if neither says where it is, or if it is another one.
    """
    place = source or calibration.provenance.get("encoder_source")
    if place is None:
        raise InputError(f"{show_path(path)} does not say where its encoder is; pass --encoder")
    resolution = calibration.provenance.get("encoder_resolution")
    network = load_feature_encoder(str(place), resolution=resolution)
    calibration.encoder.require_same(network.identity, what=f"the calibration {show_path(path)}")
    return network


def score_progressively(
    paths: Sequence[Path],
    encoder: FeatureEncoder,
    calibration: AnomalyCalibration,
    *,
    false_alarms: float = 0.01,
    cache: Cache | None = None,
    track: Track = quiet,
) -> ImageScores:
    """Scores of files as `score_files` gives them, with fewer draws for the clear cases.

    Every image gets two directions and two attacks.  Those with a large score by them
    (`AnomalyCalibration.needs_all_draws`) get as many as the calibration's images.  `directions`
    holds each image's number.  If the calibration lacks its images' first draws, every image is
    measured in full.  `AnomalyCalibration.judge` needs to know: `progressive=True`.
    """
    calibration.encoder.require_same(encoder.identity, what="this calibration")
    store = MemoryCache() if cache is None else cache
    full = calibration.config
    few = _first(full) if len(calibration.first_points) else full
    seed = calibration.seed
    first = score_files(paths, encoder, config=few, seed=seed, cache=store, track=track)
    if few == full or not len(first):
        return first
    points = anomaly_vectors(first.complexity, first.vulnerability)
    open_rows = calibration.needs_all_draws(points, false_alarms).nonzero().flatten()
    merged = dataclasses.replace(first, config=full)
    if not len(open_rows):
        return merged
    again = first.select(open_rows)
    files = [Path(name) for name in again.names]
    second = score_files(files, encoder, config=full, seed=seed, cache=store, track=track)
    if second.digests != again.digests:
        raise InputError("image files changed while they were scored; run again")
    columns = {name: getattr(merged, name).clone() for name in COLUMNS}
    for name, column in columns.items():
        column[open_rows] = getattr(second, name)
    return dataclasses.replace(merged, **columns)
