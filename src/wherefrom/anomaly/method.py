"""From folders to judgements: calibrate on real images, then score others against them.

calibration = calibrate([Path("real")], encoder, cache=FolderCache("cache"))
scores = score_progressively([Path("gen")], encoder, calibration, false_alarms=0.01)
calibration.judge(scores, false_alarms=0.01)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from wherefrom.anomaly.calibration.assumption import AssumptionConfig, check_assumption
from wherefrom.anomaly.calibration.fitted import Calibration, counting, fit_calibration, split_reals
from wherefrom.anomaly.config import DEFAULT, AnomalyConfig
from wherefrom.anomaly.measuring.cache import Cache, MemoryCache
from wherefrom.anomaly.measuring.items import load_image
from wherefrom.anomaly.measuring.numerics import CHECKED, check_numerics
from wherefrom.anomaly.measuring.scoring import require_gradients, score_files
from wherefrom.anomaly.result import COLUMNS, ImageScores
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.splits import sample_indices
from wherefrom.encoders import load_feature_encoder
from wherefrom.encoders.features import FeatureEncoder, FeatureNetwork

DEFAULT_ASSUMPTION = AssumptionConfig()
FIRST_DIRECTIONS, FIRST_RESTARTS = 2, 2


def calibrate(
    reals: Sequence[Path],
    encoder: FeatureEncoder,
    *,
    config: AnomalyConfig = DEFAULT,
    assumption: AssumptionConfig | None = DEFAULT_ASSUMPTION,
    decides: str = "auto",
    seed: int = 0,
    cache: Cache | None = None,
    track: Track = quiet,
) -> tuple[Calibration, ImageScores]:
    """A calibration by real image files, and their scores.

    It checks the numerics on up to 8 images and, unless `assumption` is None, which way AS-i points
    on images that are not held out.  `InputError` for fewer than 15 different usable images.
    """
    require_gradients(encoder, config)
    store = MemoryCache() if cache is None else cache
    scores = score_files(reals, encoder, config=config, seed=seed, cache=store, track=track)
    few, first = _first(config), scores
    if few != config:  # the first draws of every image are in the cache
        first = score_files(reals, encoder, config=few, seed=seed, cache=store, track=quiet)
    cloud, _ = split_reals(scores.digests, seed=seed)
    most = max(CHECKED, assumption.images if assumption else 0)
    rows = sample_indices([scores.digests[row] for row in cloud], most, seed=seed)
    images = torch.stack(
        [load_image(Path(scores.names[cloud[row]]), encoder.resolution) for row in rows]
    )
    provenance: dict[str, Any] = {
        "numerics": check_numerics(images, encoder, config=config, seed=seed).to_dict()
    }
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
        scores, first=first, check=check, decides=decides, provenance=provenance
    )
    return calibration, scores


def _first(config: AnomalyConfig) -> AnomalyConfig:
    """The draws that `score_progressively` begins with; all of them where there are few."""
    if config.directions <= FIRST_DIRECTIONS:
        return config
    return counting(config, directions=FIRST_DIRECTIONS, restarts=FIRST_RESTARTS)


def remembered_encoder(
    calibration: Calibration, path: Path, *, source: str | None = None
) -> FeatureNetwork:
    """The encoder that made a calibration, from `source` if it is no longer where it was.

    An `InputError` if neither says where it is, or if it is another one.
    """
    place = source or calibration.provenance.get("encoder_source")
    if place is None:
        raise InputError(f"{path} does not say where its encoder is; pass --encoder")
    resolution = calibration.provenance.get("encoder_resolution")
    network = load_feature_encoder(str(place), resolution=resolution)
    calibration.encoder.require_same(network.identity, what=f"the calibration {path}")
    return network


def score_progressively(
    paths: Sequence[Path],
    encoder: FeatureEncoder,
    calibration: Calibration,
    *,
    false_alarms: float = 0.01,
    cache: Cache | None = None,
    track: Track = quiet,
) -> ImageScores:
    """Scores of files as `score_files` gives them, with fewer draws for the clear cases.

    Every image gets two directions and two attacks.  Those that are flagged by them at
    `false_alarms`, and those whose flag may still change, get all that the calibration had:
    whatever is flagged was measured as the calibration was.  `directions` says which image got how
    many.  A calibration that does not know its images' first draws has every image measured in
    full.
    """
    calibration.encoder.require_same(encoder.identity, what="this calibration")
    kept = MemoryCache() if cache is None else cache
    full = calibration.config
    few = _first(full) if len(calibration.first_points) else full
    seed = calibration.seed
    first = score_files(paths, encoder, config=few, seed=seed, cache=kept, track=track)
    if few == full or not len(first):
        return first
    unclear = calibration.borderline(first, false_alarms=false_alarms)
    open_rows = (unclear | calibration.flagged_early(first, false_alarms)).nonzero().flatten()
    merged = dataclasses.replace(first, config=full)
    if not len(open_rows):
        return merged
    files = [Path(first.names[row]) for row in open_rows.tolist()]
    second = score_files(files, encoder, config=full, seed=seed, cache=kept, track=track)
    if second.digests != tuple(first.digests[row] for row in open_rows.tolist()):
        raise InputError("image files changed while they were scored; run again")
    columns = {name: getattr(merged, name).clone() for name in COLUMNS}
    for name, column in columns.items():
        column[open_rows] = getattr(second, name)
    return dataclasses.replace(merged, **columns)
