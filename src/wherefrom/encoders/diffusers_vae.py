"""The encoding halves of diffusers' autoencoders, from a local folder or the hub's own cache.

AutoencoderKL (Stable Diffusion, SDXL, SD3, Flux), AutoencoderTiny (TAESD and its like) and VQModel
(Kandinsky's MoVQ).  Weights are read from safetensors only; nothing is unpickled.  The decoder is
dropped, so that autoencoders which differ in the decoder alone are one encoder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.encoders.encoder import Encoder, make_encoder

WEIGHTS_STEM = "diffusion_pytorch_model"
WEIGHTS = f"{WEIGHTS_STEM}.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
DECODING = ("decoder", "post_quant_conv", "quantize")


class DiffusersEncoder(nn.Module):
    """Images in [0, 1] to latents in the scale of the model's config, without any randomness."""

    shift: Tensor
    scale: Tensor

    def __init__(self, vae: nn.Module, config: Mapping[str, Any]) -> None:
        super().__init__()
        for name in DECODING:
            if hasattr(vae, name):
                delattr(vae, name)
        self.vae = vae
        shift, scale = affine_of(config)
        # Settings, not weights: the identity sees them in the config.
        self.register_buffer("shift", shift.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("scale", scale.view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, c, h, w): (z - shift) * scale of the posterior's mode z."""
        found: Any = self.vae.encode(2 * x - 1)  # type: ignore[operator]
        z: Tensor = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents
        return (z - self.shift) * self.scale


def affine_of(config: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Shift and scale, each (c,) or (1,) float32: latents are (z - shift) * scale.

    `latents_mean` and `latents_std` where the config has both, else `shift_factor` (0 if absent)
    and `scaling_factor` (1 if absent).
    """
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        shift, scale = torch.tensor(mean).float(), 1 / torch.tensor(std).float()
    else:
        shift = torch.tensor([float(config.get("shift_factor") or 0.0)])
        scale = torch.tensor([float(config.get("scaling_factor") or 1.0)])
    if not (bool(torch.isfinite(shift).all()) and bool(torch.isfinite(scale).all())):
        raise InputError("the config's shift or scale of the latents is zero, NaN or infinite")
    return shift, scale


def load_diffusers(folder: Path) -> Encoder:
    """The encoder in a diffusers folder whose config.json names one of the three classes.

    `MissingExtraError` without diffusers; `InputError` in one line for any fault of the folder.
    """
    config = read_config(folder)
    kind = str(config["_class_name"])
    variant = _variant(folder)
    try:
        import diffusers  # an extra, and slow to import
    except ImportError as error:
        raise MissingExtraError("diffusers", "diffusers", f"the encoder {kind}") from error
    try:
        vae, report = getattr(diffusers, kind).from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            variant=variant,
            torch_dtype=torch.float32,
            output_loading_info=True,
        )
        absent = [*report["missing_keys"], *report["mismatched_keys"]]
        if absent:
            raise InputError(f"{folder} lacks weights of its own {kind}: {absent[0]} and others")
        # `vae.config` for the scale, because a file may leave defaults out.
        return make_encoder(DiffusersEncoder(vae, vae.config), kind=kind, config=config)
    except InputError:
        raise
    except Exception as error:  # diffusers raises anything on a damaged folder
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder} cannot be loaded as {kind}: {first}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a model's folder; it must be an object with a `_class_name`."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError, RecursionError) as error:
        inside = next((n for n in ("vae", "movq") if (folder / n / "config.json").is_file()), "")
        hint = f"; name {folder / inside}" if inside else "; give the folder of one autoencoder"
        raise InputError(f"{folder} has no readable config.json{hint}") from error
    if not isinstance(config, dict) or not isinstance(config.get("_class_name"), str):
        raise InputError(f"{folder}/config.json names no _class_name; give an autoencoder's folder")
    return config


def cached_folder(
    source: str,
    *,
    allow_download: bool,
    patterns: Sequence[str] = ("config.json", f"{WEIGHTS_STEM}*.safetensors"),
) -> Path:
    """The local copy of a hub model, `owner/name` or `owner/name/subfolder`: its `patterns`.

    Only `allow_download` may reach the network; otherwise the hub's cache on this machine is read.
    """
    try:
        from huggingface_hub import snapshot_download  # comes with diffusers
    except ImportError as error:
        if not allow_download:
            raise InputError(
                f"the encoder {source} is not a folder; give a local folder"
            ) from error
        raise MissingExtraError("diffusers", "diffusers", f"the hub model {source}") from error
    owner, name, *rest = source.split("/")
    head = "".join(f"{part}/" for part in rest)
    try:
        copy = snapshot_download(
            f"{owner}/{name}",
            allow_patterns=[f"{head}{pattern}" for pattern in patterns],
            local_files_only=not allow_download,
        )
    except Exception as error:  # the hub's client raises its own and its transport's errors
        first = (str(error).splitlines() or [type(error).__name__])[0]
        what = "is no folder here, nor in the hub's cache; give a folder, or allow the download"
        if allow_download:
            what = f"cannot be fetched from the hub: {first}"
        raise InputError(f"the encoder {source} {what}") from error
    return Path(copy, *rest)


def _variant(folder: Path) -> str | None:
    """None for the plain weights file, else the `fp16` of `...fp16.safetensors`."""
    if (folder / WEIGHTS).is_file():
        return None
    found = sorted(folder.glob(f"{WEIGHTS_STEM}.*.safetensors"))
    if len(found) == 1:
        return found[0].name.removeprefix(f"{WEIGHTS_STEM}.").removesuffix(".safetensors")
    if any(path.suffix in PICKLES for path in folder.iterdir()):
        raise InputError(
            f"{folder} holds pickled weights only, and those are not opened (they can run code); "
            f"save the model as {WEIGHTS}"
        )
    raise InputError(f"{folder} holds no {WEIGHTS}; give the whole folder of the autoencoder")
