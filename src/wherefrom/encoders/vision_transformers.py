"""Feature networks of the transformers library, from a local folder or the hub's own cache.

ResNet, ViT and DINO, ConvNeXt, CLIP, DINOv2, and what timm publishes (Inception-V3, ViT-S), the
last with timm installed.  Weights are read from safetensors only, in float32; nothing is unpickled
and no code is loaded.  Attention is computed plainly, so that one result does not depend on which
fused kernel a machine has.

A feature vector is the pooled map of a convolutional network, the
normalised class token of a ViT, DINO or DINOv2, the projected embedding of CLIP.

Deviation: the paper names its six feature models, but neither their layers nor their weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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


def _pooled(output: Any) -> Tensor:
    rows: Tensor = output.pooler_output
    return rows.flatten(1)


def _class_token(output: Any) -> Tensor:
    rows: Tensor = output.last_hidden_state
    return rows[:, 0]


def _embedded(output: Any) -> Tensor:
    rows: Tensor = output.image_embeds
    return rows


@dataclass(frozen=True)
class _Recipe:
    """Which class reads a model, and which of its outputs is the feature vector."""

    cls: str
    take: Callable[[Any], Tensor]
    options: Mapping[str, Any] = field(default_factory=dict)
    attention: bool = True


# `model_type` in config.json -> how it is read.
RECIPES: dict[str, _Recipe] = {
    "resnet": _Recipe("ResNetModel", _pooled, attention=False),
    "convnext": _Recipe("ConvNextModel", _pooled, attention=False),
    "convnextv2": _Recipe("ConvNextV2Model", _pooled, attention=False),
    "vit": _Recipe("ViTModel", _class_token, {"add_pooling_layer": False}),
    "deit": _Recipe("DeiTModel", _class_token, {"add_pooling_layer": False}),
    "clip": _Recipe("CLIPVisionModelWithProjection", _embedded),
    "clip_vision_model": _Recipe("CLIPVisionModelWithProjection", _embedded),
    "dinov2": _Recipe("Dinov2Model", _class_token),
    "dinov2_with_registers": _Recipe("Dinov2WithRegistersModel", _class_token),
    "timm_wrapper": _Recipe("TimmWrapperModel", _pooled, attention=False),
}


class _Taken(nn.Module):
    """A model of the library, and the output that is wanted of it."""

    def __init__(self, model: nn.Module, take: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model, self.take = model, take

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) in the model's range -> (N, D)."""
        return self.take(self.model(pixel_values=x))


@dataclass(frozen=True)
class _Input:
    """What a model expects: square side in px, mean and deviation per channel."""

    resolution: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load_vision_model(folder: Path, *, resolution: int | None = None) -> FeatureNetwork:
    """The feature network in a folder, on the CPU; `resolution` in place of its own input side.

    `MissingExtraError` without transformers; `InputError` in one line for any fault of the folder.
    """
    config = _read_json(folder / "config.json")
    kind = "timm_wrapper" if _is_timm(config) else str(config.get("model_type"))
    if kind not in RECIPES:
        raise InputError(f"{folder} holds a {kind!r}, expected one of {', '.join(RECIPES)}")
    wanted = _read_input(folder, config, resolution)
    transformers = need("transformers", f"the feature network {kind}", extra=EXTRA)
    if not any(folder.glob("model*.safetensors")):
        raise InputError(
            f"{folder} holds no model.safetensors; pickled weights are not opened (they can run "
            "code): save the model as safetensors"
        )
    recipe = RECIPES[kind]
    options = dict(recipe.options)
    if recipe.attention:
        options["attn_implementation"] = "eager"
    if kind == "clip" and "projection_dim" in config:  # its image half defaults to another
        options["projection_dim"] = config["projection_dim"]
    try:
        with _silent(transformers):
            model, report = getattr(transformers, recipe.cls).from_pretrained(
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
        module = Preprocess(wanted.resolution, wanted.mean, wanted.std, _Taken(model, recipe.take))
        settings = {"mean": wanted.mean, "std": wanted.std, "model": model.config.to_diff_dict()}
        return make_feature_encoder(
            module, kind=kind, resolution=wanted.resolution, config=_identifying(settings)
        )
    except InputError:
        raise
    except Exception as error:  # transformers raises anything on a damaged folder
        raise InputError(f"{folder} cannot be loaded as {kind}: {first_line(error)}") from error


def _read_input(folder: Path, config: Mapping[str, Any], resolution: int | None) -> _Input:
    """The model's input by its preprocessor_config.json, or timm's own notes."""
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
    return _Input(side, mean, std)


def _side(size: Any) -> int | None:
    """The side of a square that the library writes as 224, {"shortest_edge": 224} and others."""
    if isinstance(size, Mapping):
        size = size.get("shortest_edge") or size.get("height")
    return size if isinstance(size, int) and size > 0 else None


def _triple(values: Any) -> tuple[float, ...]:
    """Three numbers, () for anything else."""
    if not isinstance(values, (list, tuple)) or len(values) != 3:
        return ()
    return (
        tuple(float(v) for v in values) if all(isinstance(v, float | int) for v in values) else ()
    )


def _is_timm(config: Mapping[str, Any]) -> bool:
    return "model_type" not in config and isinstance(config.get("architecture"), str)


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
    model = {
        k: v for k, v in settings["model"].items() if k not in ("transformers_version", "dtype")
    }
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
