"""IP-Adapters: the origin enters as a CLIP embedding, and its latent is never seen.

Wang et al., 2025, Section 13, Table 9: the paradigm that the method does not cover, because what
such an editor makes carries no trace of the origin's latent.  It is here so that this is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherefrom.components.folders import refuse_pickles
from wherefrom.components.libraries import digest_files, readable_files
from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path

ENCODER = "image_encoder"
WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class IpAdapter:
    """The files of one adapter.  `encoder` is None where the pipeline is to bring its own."""

    weights: Path
    encoder: Path | None

    @property
    def name(self) -> str:
        """What manifests add to the pipeline's name."""
        return self.weights.stem

    @property
    def digest(self) -> str:
        """One digest over all that loading may read."""
        files = [] if self.encoder is None else readable_files(self.encoder)
        return digest_files([self.weights, *files], self.weights.parent)

    def attach(self, pipe: Any, *, scale: float) -> None:
        """Load the adapter into a text-to-image pipeline.  Whatever diffusers raises passes."""
        if self.encoder is not None:
            from transformers import CLIPVisionModelWithProjection

            encoder = CLIPVisionModelWithProjection.from_pretrained(
                self.encoder, local_files_only=True, use_safetensors=True
            )
            pipe.register_modules(image_encoder=encoder.to(pipe.device, pipe.dtype))
        elif getattr(pipe, ENCODER, None) is None:
            raise InputError(
                f"neither {show_path(self.weights.parent)} nor the pipeline holds an {ENCODER}; "
                "put the adapter's own beside it"
            )
        pipe.load_ip_adapter(
            str(self.weights.parent),
            subfolder="",
            weight_name=self.weights.name,
            image_encoder_folder=None,  # loaded above, where a pickle would be refused
            local_files_only=True,
        )
        pipe.set_ip_adapter_scale(scale)


def find_adapter(path: Path) -> IpAdapter:
    """The adapter in a folder with one .safetensors file, or in the file that is named.

    The folder `image_encoder` beside the file belongs to it.
    """
    files = (
        [path] if path.is_file() else sorted(path.glob(f"[!.]*{WEIGHTS}")) if path.is_dir() else []
    )
    if len(files) != 1 or files[0].suffix != WEIGHTS:
        several = f"{len(files)} files that end in" if len(files) > 1 else "no"
        raise InputError(
            f"{show_path(path)} holds {several} {WEIGHTS}; give the file of one IP-Adapter, or a "
            "folder with one"
        )
    encoder = files[0].parent / ENCODER
    if not encoder.is_dir():
        return IpAdapter(files[0], None)
    refuse_pickles(encoder)
    return IpAdapter(files[0], encoder)
