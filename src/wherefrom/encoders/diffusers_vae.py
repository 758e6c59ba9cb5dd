"""The encoding halves of diffusers' autoencoders, from a local folder or the hub's own cache.

Every class of `components.autoencoders.FORMS`, read by the loader of `components`.  The decoder is
dropped, so that autoencoders which differ in the decoder alone are one encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from wherefrom.components.autoencoders import ImageAutoencoder, encoded, load_autoencoder
from wherefrom.components.folders import STEM
from wherefrom.components.libraries import first_line
from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.core.optional import need
from wherefrom.encoders.encoder import Encoder, make_encoder

DECODING = ("decoder", "post_quant_conv", "quantize", "decoder_unet")


class DiffusersEncoder(nn.Module):
    """Images in [0, 1] to latents in the scale of the model's config, without any randomness."""

    def __init__(self, autoencoder: ImageAutoencoder) -> None:
        super().__init__()
        self.vae, self.scale, self.form = autoencoder.vae, autoencoder.scale, autoencoder.form
        for name in DECODING:
            if isinstance(getattr(self.vae, name, None), nn.Module):
                setattr(self.vae, name, nn.Identity())  # some classes look at it even to encode

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, c, h, w): the posterior's mode, shifted and scaled."""
        return self.scale.normalised(encoded(self.vae, x, self.form))


def load_diffusers(path: Path) -> Encoder:
    """The encoder at `path`: an autoencoder's folder, a pipeline with one, or one weights file.

    `MissingExtraError` without diffusers; `InputError` in one line for any fault of the files.
    """
    autoencoder = load_autoencoder(path, decodes=False, purpose="an encoder of diffusers")
    component = autoencoder.component
    try:
        return make_encoder(
            DiffusersEncoder(autoencoder), kind=component.kind, config=component.config
        )
    except InputError:
        raise
    except Exception as error:  # diffusers raises anything on settings that do not fit
        raise InputError(
            f"{component.shown} cannot be used as {component.kind}: {first_line(error)}"
        ) from error


def cached_folder(
    source: str,
    *,
    allow_download: bool,
    patterns: Sequence[str] = ("config.json", f"{STEM}*.safetensors", f"{STEM}*.json"),
) -> Path:
    """The local copy of a hub model, `owner/name` or `owner/name/subfolder`: its `patterns`.

    Only `allow_download` may reach the network; otherwise the hub's cache on this machine is read.
    """
    try:  # huggingface_hub comes with diffusers
        hub = need("huggingface_hub", f"the hub model {source}", extra="diffusers")
    except MissingExtraError as error:
        if allow_download:
            raise
        raise InputError(f"the encoder {source} is not a folder; give a local folder") from error
    owner, name, *rest = source.split("/")
    head = "".join(f"{part}/" for part in rest)
    try:
        copy = hub.snapshot_download(
            f"{owner}/{name}",
            allow_patterns=[f"{head}{pattern}" for pattern in patterns],
            local_files_only=not allow_download,
        )
    except Exception as error:  # the hub's client raises its own and its transport's errors
        what = "is no folder here, nor in the hub's cache; give a folder, or allow the download"
        if allow_download:
            what = f"cannot be fetched from the hub: {first_line(error)}"
        raise InputError(f"the encoder {source} {what}") from error
    return Path(copy, *rest)
