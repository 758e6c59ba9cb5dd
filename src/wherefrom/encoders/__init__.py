"""Frozen feature extractors: each image becomes one row, and every encoder has an identity.

```python
import torch

from wherefrom.encoders import load_encoder

encoder = load_encoder()  # ships with the package; load_encoder("path/to/vae") reads another one
rows = encoder.embed(torch.rand(2, 3, 64, 64))  # (2, D); images (N, 3, H, W) in [0, 1]
print(rows.shape, encoder.identity.digest)
```

In order of use: `load_encoder` and `Encoder` (embeddings by an autoencoder, for the origin index),
`load_feature_encoder` and `FeatureNetwork` (features with gradients, for the anomaly score),
`make_encoder` and `make_feature_encoder` (any module of your own), `EncoderIdentity`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wherefrom.components.autoencoders import FORMS, WHAT
from wherefrom.components.folders import AUTOENCODERS, find_component
from wherefrom.core.errors import InputError
from wherefrom.encoders.diffusers_vae import cached_folder, load_diffusers
from wherefrom.encoders.efficientnet import (
    KIND as DEFAULT_FEATURES,
)
from wherefrom.encoders.efficientnet import (
    RESOLUTION as EFFICIENTNET_SIDE,
)
from wherefrom.encoders.efficientnet import (
    load_efficientnet,
)
from wherefrom.encoders.encoder import Encoder, EncoderIdentity, make_encoder, prepare
from wherefrom.encoders.features import FeatureEncoder, FeatureNetwork, make_feature_encoder
from wherefrom.encoders.shipped import DEFAULT, default_folder, shipped_encoders
from wherefrom.encoders.tiny_conv import load_tiny_conv
from wherefrom.encoders.vision_transformers import PATTERNS, load_vision_model

__all__ = [  # noqa: RUF022 (in order of use)
    "load_encoder",
    "Encoder",
    "load_feature_encoder",
    "FeatureNetwork",
    "FeatureEncoder",
    "make_encoder",
    "make_feature_encoder",
    "EncoderIdentity",
    "prepare",
    "shipped_encoders",
    "DEFAULT",
    "DEFAULT_FEATURES",
    "FEATURE_MODELS",
    "KINDS",
]

MAX_RESOLUTION = 4096

# `_class_name` in config.json -> loader of the folder.
KINDS: dict[str, Callable[[Path], Encoder]] = {
    **dict.fromkeys(FORMS, load_diffusers),
    "tiny-conv": load_tiny_conv,
}


def load_encoder(source: Path | str = DEFAULT, *, allow_download: bool = False) -> Encoder:
    """The encoder in a local folder, on the CPU; its config.json says of which kind it is.

    `source` may also be the folder of a diffusers pipeline (its autoencoder is taken), or a
    .safetensors file with its config.json beside it.  `default` is the small encoder that comes
    with the package; a folder of that name is `./default`.  `owner/name` or `owner/name/subfolder`
    that is no folder is looked up in the hub's cache, and with `allow_download` on the hub.  Every
    fault is an `InputError`.
    """
    folder = default_folder() if source == DEFAULT else Path(source)
    if not folder.exists():
        _require_hub_name(source, "give an autoencoder's folder")
        folder = cached_folder(str(source), allow_download=allow_download)
    component = find_component(folder, AUTOENCODERS, what=WHAT)
    if component.kind not in KINDS:
        raise InputError(
            f"{component.shown} holds a {component.kind!r}, expected one of {', '.join(KINDS)}"
        )
    return KINDS[component.kind](component.file or component.folder)


# Short names of feature networks that the hub has; the paper names the architectures only.
FEATURE_MODELS: dict[str, str] = {
    "resnet50": "microsoft/resnet-50",
    "vit-s": "WinKawaks/vit-small-patch16-224",
    "convnext-t": "facebook/convnext-tiny-224",
    "clip": "openai/clip-vit-large-patch14",
    "dino": "facebook/dino-vits16",
    "dinov2": "facebook/dinov2-small",
    "inception-v3": "timm/inception_v3.tv_in1k",
}


def load_feature_encoder(
    source: Path | str = DEFAULT_FEATURES,
    *,
    resolution: int | None = None,
    allow_download: bool = False,
) -> FeatureNetwork:
    """A feature network, on the CPU: the one that installs with pip, a folder, or a hub model.

    `source` is `efficientnet-lite0`, a folder that transformers saved, a short name as `dinov2`, or
    `owner/name`; the last two are looked up in the hub's cache, and with `allow_download` on the
    hub.  `resolution` replaces the side in px of the network's input.  Faults are an `InputError`.
    """
    if resolution is not None and not 1 <= resolution <= MAX_RESOLUTION:
        raise InputError(f"the resolution is {resolution}; choose 1 to {MAX_RESOLUTION} px")
    if str(source) == DEFAULT_FEATURES:
        return load_efficientnet(resolution or EFFICIENTNET_SIDE)
    folder = Path(source)
    if not folder.is_dir():
        name = FEATURE_MODELS.get(str(source), source)
        known = ", ".join([DEFAULT_FEATURES, *FEATURE_MODELS])
        _require_hub_name(name, f"give a model's folder, a hub model or one of {known}")
        folder = cached_folder(str(name), allow_download=allow_download, patterns=PATTERNS)
    return load_vision_model(folder, resolution=resolution)


def _require_hub_name(source: Path | str, advice: str) -> None:
    parts = str(source).split("/")
    if isinstance(source, Path) or len(parts) < 2 or not all(part.strip(".") for part in parts):
        raise InputError(f"the encoder {source} is not a folder; {advice}")
