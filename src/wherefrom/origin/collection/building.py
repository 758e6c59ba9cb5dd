"""An index from images, and answers from an index, in one call each."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wherefrom.core.progress import Track, quiet
from wherefrom.data.folders import list_images
from wherefrom.data.images.in_memory import Pictures, as_files, shown_name
from wherefrom.encoders import DEFAULT, DEFAULT_FEATURES, Encoder, FeatureNetwork, load_encoder
from wherefrom.encoders.bulk import BulkEmbedding, embed_here
from wherefrom.origin.collection.build_record import require_same
from wherefrom.origin.collection.references import References
from wherefrom.origin.edit_map.fitted import FittedEditMap
from wherefrom.origin.joint.rows import load_features
from wherefrom.origin.searching.config import SearchConfig
from wherefrom.origin.searching.result import AddReport, OriginAnswers


def build(
    folder: Path | str,
    images: Sequence[Path | str],
    *,
    encoder: Encoder | Path | str = DEFAULT,
    edit_map: FittedEditMap | None = None,
    features: FeatureNetwork | Path | str = DEFAULT_FEATURES,
    by: BulkEmbedding = embed_here,
    track: Track = quiet,
) -> AddReport:
    """Make a searchable index in `folder` of image files, folders and archives.

    In a folder that is an index already it continues: what is there unchanged is not embedded
    again.  `encoder`: one that `load_encoder` finds by this name or folder and the index remembers,
    or a loaded one, which `search` must then be given again.  `features`: the same of a network
    whose features stand beside the latents (`joint.rows.load_features`); `none` for latents alone.
    An index that exists keeps what it was built with.  `by` says where images are embedded.  If no
    image can be used, no new folder is left, and the report says why.
    """
    target, paths = Path(folder), [Path(image) for image in images]
    list_images(paths)  # refuse impossible paths before the folder is made
    source = "" if isinstance(encoder, Encoder) else str(encoder)
    loaded = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
    is_new = not target.is_dir()
    if is_new:
        network = features if isinstance(features, FeatureNetwork) else load_features(features)
        references = References.create(
            target,
            loaded,
            edit_map=edit_map,
            source=source,
            features=network,
            features_source="" if isinstance(features, FeatureNetwork) else str(features),
        )
    else:
        network = features if isinstance(features, FeatureNetwork) else None
        references = References.open(target, encoder=loaded, features=network, writable=True)
    with references:
        require_same(references.index, replace(references.rows, edit_map=edit_map))
        report = references.add(paths, by=by, track=track)
    if is_new and not report.usable:
        shutil.rmtree(target)  # an index of nothing would only mislead
    return report


def search(
    index: Path | str,
    images: Pictures,
    *,
    encoder: Encoder | None = None,
    features: FeatureNetwork | None = None,
    config: SearchConfig | None = None,
    false_discovery_rate: float | None = None,
    track: Track = quiet,
) -> OriginAnswers:
    """Which images of an index were these made from?  One answer per image.

    `images`: files, or arrays, tensors and Pillow images (`data.images.in_memory`).
    `encoder` and `features` if one is no longer where it was; the rest as in `References.search`.
    """
    with (
        as_files(images) as paths,
        References.open(index, encoder=encoder, features=features) as references,
    ):
        answers = references.search(
            paths,
            config=config,
            false_discovery_rate=false_discovery_rate,
            track=track,
        )
    return OriginAnswers(replace(a, name=shown_name(a.name, images)) for a in answers)
