"""Feature networks of the transformers library, from a local folder or the hub's own cache.

ResNet, ViT and DINO, ConvNeXt, CLIP, DINOv2, and what timm publishes (Inception-V3, ViT-S), the
last with timm installed.  Weights are read from safetensors only, in float32; nothing is unpickled
and no code is loaded.  Attention is computed plainly (`EAGER`), so that one result does not depend
on which fused kernel a machine has.

A feature vector is the pooled map of a convolutional network, the normalised class token of a ViT,
DINO or DINOv2, the projected embedding of CLIP.

Deviation: the paper names its six feature models, but neither their layers nor their weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wherefrom.components.libraries import first_line
from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.encoders.features import FeatureNetwork, Preprocess, make_feature_encoder

EXTRA = "diffusers"
PREPROCESSING = "preprocessor_config.json"
PATTERNS = ("config.json", PREPROCESSING, "model*.safetensors", "model.safetensors.index.json")
UNIMPORTANT = ("transformers_version", "dtype")  # settings that change no feature
POOLED, TOKENS, EMBEDDED = "pooler_output", "last_hidden_state", "image_embeds"
EAGER = {"attn_implementation": "eager"}
EAGER_WITHOUT_POOLING = {**EAGER, "add_pooling_layer": False}

# `model_type` in config.json -> the class that reads it, the output with the features, options.
RECIPES: dict[str, tuple[str, str, Mapping[str, Any]]] = {
    "resnet": ("ResNetModel", POOLED, {}),
    "convnext": ("ConvNextModel", POOLED, {}),
    "convnextv2": ("ConvNextV2Model", POOLED, {}),
    "vit": ("ViTModel", TOKENS, EAGER_WITHOUT_POOLING),
    "deit": ("DeiTModel", TOKENS, EAGER_WITHOUT_POOLING),
    "clip": ("CLIPVisionModelWithProjection", EMBEDDED, EAGER),
    "clip_vision_model": ("CLIPVisionModelWithProjection", EMBEDDED, EAGER),
    "dinov2": ("Dinov2Model", TOKENS, EAGER),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", TOKENS, EAGER),
    "timm_wrapper": ("TimmWrapperModel", POOLED, {}),
}


class _Features(nn.Module):
    """The feature vectors of a model of transformers, from one of its outputs."""

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) in the model's range -> (N, D)."""
        values: Tensor = getattr(self.model(pixel_values=x), self.output)
        return values[:, 0] if self.output == TOKENS else values.flatten(1)  # class token first


def load_vision_model(folder: Path, *, resolution: int | None = None) -> FeatureNetwork:
    """The feature network in a folder, on the CPU; `resolution` in place of its own input side.

    `MissingExtraError` without transformers; `InputError` in one line for any fault of the folder.
    """
    config = _read_json(folder / "config.json")
    is_timm = "model_type" not in config and isinstance(config.get("architecture"), str)
    kind = "timm_wrapper" if is_timm else str(config.get("model_type"))
    if kind not in RECIPES:
        raise InputError(f"{folder} holds a {kind!r}, expected one of {', '.join(RECIPES)}")
    side, mean, std = _read_input(folder, config, resolution)
    transformers = need("transformers", f"the feature network {kind}", extra=EXTRA)
    if not any(folder.glob("model*.safetensors")):
        raise InputError(
            f"{folder} holds no model.safetensors; pickled weights are not opened (they can run "
            "code): save the model as safetensors"
        )
    name, output, options = RECIPES[kind]
    if kind == "clip" and "projection_dim" in config:  # its image half defaults to another
        options = {**options, "projection_dim": config["projection_dim"]}
    try:
        with _silent(transformers):
            model, report = getattr(transformers, name).from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
        absent = [*sorted(report["missing_keys"]), *sorted(report["mismatched_keys"])]
        if absent:
            raise InputError(f"{folder} lacks weights of its own {kind}: {absent[0]} and others")
        module = Preprocess(side, mean, std, _Features(model, output))
        settings = {"mean": mean, "std": std, "model": model.config.to_diff_dict()}
        return make_feature_encoder(
            module, kind=kind, resolution=side, config=_identifying(settings)
        )
    except InputError:
        raise
    except Exception as error:  # transformers raises anything on a damaged folder
        raise InputError(f"{folder} cannot be loaded as {kind}: {first_line(error)}") from error


def _read_input(
    folder: Path, config: Mapping[str, Any], resolution: int | None
) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """Side in px of the model's input, mean and deviation per channel.

    By its preprocessor_config.json, or timm's own notes.
    """
    if "pretrained_cfg" in config and not (folder / PREPROCESSING).is_file():
        notes = config["pretrained_cfg"]
        preprocessing = {
            "image_mean": notes.get("mean"),
            "image_std": notes.get("std"),
            "size": (notes.get("input_size") or [None])[-1],
        }
    else:
        preprocessing = _read_json(folder / PREPROCESSING)
    side = resolution or _side(preprocessing.get("crop_size")) or _side(preprocessing.get("size"))
    mean, std = _triple(preprocessing.get("image_mean")), _triple(preprocessing.get("image_std"))
    if preprocessing.get("do_normalize") is False:
        mean, std = (0.0,) * 3, (1.0,) * 3
    if not side or not mean or not std:
        raise InputError(
            f"{folder}/{PREPROCESSING} does not say size, image_mean and image_std; add them"
        )
    return side, mean, std


def _side(size: Any) -> int | None:
    """The side of a square that the library writes as 224, {"shortest_edge": 224} and others."""
    if isinstance(size, Mapping):
        size = size.get("shortest_edge") or size.get("height")
    return size if isinstance(size, int) and size > 0 else None


def _triple(values: Any) -> tuple[float, ...]:
    """Three numbers, () for anything else."""
    is_triple = isinstance(values, list | tuple) and len(values) == 3
    numbers = is_triple and all(isinstance(value, float | int) for value in values)
    return tuple(map(float, values)) if numbers else ()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path.parent} has no readable {path.name}; give the whole folder of one model"
        ) from error
    if not isinstance(values, dict):
        raise InputError(f"{path} is not a JSON object; give the whole folder of one model")
    return values


def _identifying(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON values, without those that do not change a feature."""
    model = {k: v for k, v in settings["model"].items() if k not in UNIMPORTANT}
    values: dict[str, Any] = json.loads(json.dumps({**settings, "model": model}, default=str))
    return values


@contextmanager
def _silent(transformers: Any) -> Iterator[None]:
    """No report about weights that another head of the model would use, no bar."""
    log = transformers.utils.logging
    level, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()
