"""A text-to-image model to be fine-tuned: the network of a local pipeline, its prompts embedded.

Stable Diffusion 1 and 2 (Rombach et al., CVPR 2022) and Stable Diffusion XL (Podell et al., ICLR
2024), which also takes a second text encoder, a vector of the whole prompt and the image's size.
Networks with further inputs are refused before anything is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wherefrom.components.folders import (
    CONFIG,
    INDEX,
    Component,
    find_component,
    find_weights,
    read_json,
)
from wherefrom.components.libraries import first_line, silence
from wherefrom.components.loading import load_component, settings_of
from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.core.paths import show_path
from wherefrom.credit.diffusion.model import Diffusion
from wherefrom.credit.diffusion.schedules import find_schedule, read_schedule
from wherefrom.generators.generator import check_finite

KIND = "UNet2DConditionModel"
PURPOSE = "a text-to-image model"
XL = "text_time"  # the name of XL's further inputs in the config of its network
TEXT_KINDS = ("clip_text_model", "clip")
# Settings of networks with further inputs, and what those are.
BEYOND = {
    "class_embed_type": "a class or a noise level",
    "num_class_embeds": "a class",
    "encoder_hid_dim_type": "an embedding of another kind",
}


def load_base(folder: Path, prompts: list[str], *, side: int, device: str = "cpu") -> Diffusion:
    """The network of a Stable Diffusion pipeline's folder, frozen, with its prompts embedded.

    `side`: of the images in px, an input of Stable Diffusion XL.  Safetensors only.  `InputError`
    for a damaged folder, or a model with further inputs.
    """
    unet = _find_network(folder)
    stated = find_schedule(unet.folder)
    if stated is None:
        raise InputError(
            f"{show_path(folder)} is no Stable Diffusion folder: it has no scheduler; give the "
            "folder of the whole pipeline"
        )
    schedule = read_schedule(stated)
    is_xl = _is_xl(unet)
    need("transformers", PURPOSE, extra="diffusers")
    network = load_component(unet, purpose=PURPOSE)
    check_finite(network.state_dict())
    settings = settings_of(network)
    parts = ("", "_2") if is_xl else ("",)
    hidden, pooled = zip(*(_embed(folder, part, prompts, is_xl) for part in parts), strict=True)
    text = torch.cat(hidden, dim=-1)
    _require_width(unet, settings, text)
    added = None
    if is_xl:
        sizes = torch.tensor([[side, side, 0, 0, side, side]]).float()  # original, corner, target
        added = {"text_embeds": pooled[-1].to(device), "time_ids": sizes.repeat(len(text), 1)}
        _require_added(unet, settings, added)
    size = settings["sample_size"] or side  # of a latent; not every config states it
    height, width = (size, size) if isinstance(size, int) else size
    return Diffusion(
        network.requires_grad_(False).to(device),
        (int(settings["in_channels"]), int(height), int(width)),
        prompts=text.to(device),
        added=added,
        schedule=schedule,
    )


def _find_network(folder: Path) -> Component:
    """The network of the pipeline; an `InputError` says what else the folder holds."""
    if folder.is_file():
        raise InputError(
            f"{show_path(folder)} is one file, and diffusers would fetch its settings from the "
            "network; convert it with from_single_file(...).save_pretrained(folder), and give that"
        )
    if (folder / CONFIG).is_file() and not (folder / "unet" / CONFIG).is_file():
        around = f", {show_path(folder.parent)}" if (folder.parent / INDEX).is_file() else ""
        raise InputError(
            f"{show_path(folder)} is no Stable Diffusion folder, but one component; give the "
            f"pipeline around it{around}"
        )
    if not (folder / "unet" / CONFIG).is_file():
        raise InputError(
            f"{show_path(folder)} is no Stable Diffusion folder: it holds {_what(folder)} and no "
            "unet; give the local folder of a pipeline of Stable Diffusion 1, 2 or XL"
        )
    unet = find_component(folder / "unet", (), what=f"a {KIND}")
    if unet.kind != KIND:
        raise InputError(
            f"{unet.shown} holds a {unet.kind}, expected a {KIND}; a model without text is "
            "fine-tuned with kind = 'ddpm' or 'latent'"
        )
    return unet


def _what(folder: Path) -> str:
    try:
        return f"a {read_json(folder / INDEX)['_class_name']}"
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return f"no readable {INDEX}"


def _is_xl(unet: Component) -> bool:
    """Whether it is the network of Stable Diffusion XL; `InputError` if it has further inputs."""
    config, root = unet.config, unet.folder.parent
    more = next((what for name, what in BEYOND.items() if config.get(name)), None)
    added = config.get("addition_embed_type")
    whole = all((root / f"text_encoder{part}").is_dir() for part in ("", "_2"))
    if added == XL and not whole:
        more = "what its refiner or another variant of XL needs"
    elif added not in (None, XL):
        more = f"an embedding of the kind {added!r}"
    if more is not None:
        raise InputError(
            f"{unet.shown} is a {unet.kind} that also takes {more}; expected Stable Diffusion 1, 2 "
            "or XL, which take a text"
        )
    return added == XL


def _embed(folder: Path, part: str, prompts: list[str], is_xl: bool) -> tuple[Tensor, Tensor]:
    """Embeddings of the prompts by one encoder: (P, L, D) per word, and (P, E) of the whole text.

    Stable Diffusion uses the last layer, XL the one before it.
    """
    transformers = need("transformers", PURPOSE, extra="diffusers")
    place = folder / f"text_encoder{part}"
    encoder = _load_text_encoder(place, part, transformers)
    if not (folder / f"tokenizer{part}").is_dir():
        raise InputError(
            f"{show_path(folder)} is no Stable Diffusion folder: it has no tokenizer{part}; give "
            "the folder of the whole pipeline"
        )
    try:
        with silence(), torch.no_grad():
            tokenizer = transformers.CLIPTokenizer.from_pretrained(
                folder / f"tokenizer{part}", local_files_only=True
            )
            words = tokenizer(
                prompts, padding="max_length", truncation=True, return_tensors="pt",
                max_length=tokenizer.model_max_length,
            )  # fmt: skip
            answer = encoder(words.input_ids, output_hidden_states=True)
    except Exception as error:  # transformers raises anything on files that do not fit
        raise InputError(
            f"{show_path(folder)} is no Stable Diffusion folder: {first_line(error)}"
        ) from error
    hidden: Tensor = answer.hidden_states[-2] if is_xl else answer.last_hidden_state
    return hidden.float(), answer[0].float()


def _load_text_encoder(place: Path, part: str, transformers: Any) -> nn.Module:
    """CLIP's text encoder in a folder; XL's second one also projects the whole text."""
    shown = show_path(place)
    try:
        config = read_json(place / CONFIG)
        kind = str(config["model_type"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(
            f"{shown} has no readable {CONFIG}, so {show_path(place.parent)} is no Stable "
            "Diffusion folder; give the folder of the whole pipeline"
        ) from error
    if kind not in TEXT_KINDS:
        raise InputError(f"{shown} holds a text encoder of the kind {kind!r}, expected CLIP's")
    cls = transformers.CLIPTextModelWithProjection if part else transformers.CLIPTextModel
    weights = find_weights(Component(place, {"_class_name": cls.__name__}), stem="model")
    variant = {} if weights.variant is None else {"variant": weights.variant}
    try:
        with silence():
            encoder, report = cls.from_pretrained(
                place, local_files_only=True, use_safetensors=True, output_loading_info=True,
                **variant,
            )  # fmt: skip
    except Exception as error:  # as above
        raise InputError(
            f"{shown} cannot be loaded as {cls.__name__}: {first_line(error)}"
        ) from error
    if report["missing_keys"]:
        raise InputError(f"{shown} lacks weights: {min(report['missing_keys'])} and others")
    module: nn.Module = encoder.float().eval()
    check_finite(module.state_dict())
    return module


def _require_width(unet: Component, settings: Mapping[str, Any], text: Tensor) -> None:
    width = settings["cross_attention_dim"]
    if isinstance(width, int) and width != text.shape[-1]:
        raise InputError(
            f"{unet.shown} takes texts of width {width}, and the text encoders beside it give "
            f"{text.shape[-1]}; give the folder of one whole pipeline"
        )


def _require_added(
    unet: Component, settings: Mapping[str, Any], added: Mapping[str, Tensor]
) -> None:
    given = added["text_embeds"].shape[1] + 6 * int(settings["addition_time_embed_dim"] or 0)
    if given != settings["projection_class_embeddings_input_dim"]:
        raise InputError(
            f"{unet.shown} takes {settings['projection_class_embeddings_input_dim']} numbers "
            f"besides the text, and Stable Diffusion XL has {given}; this variant is not supported"
        )
