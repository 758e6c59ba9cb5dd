"""A local captioner: what a photo shows, in words, for prompts that quote it.

BLIP, GIT and encoder-decoder models such as ViT-GPT2, from a folder of transformers' own classes.
A caption is found without sampling, one photo at a time, so it depends on the photo alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from wherefrom.components.folders import refuse_pickles
from wherefrom.components.libraries import (
    digest_files,
    first_line,
    loading,
    readable_files,
    require_libraries,
    silence,
)
from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path

KINDS = ("blip", "git", "vision-encoder-decoder")  # need nothing but the picture
MAX_TOKENS = 40
WORDS = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")  # any of them


@dataclass(frozen=True, eq=False)
class Captioner:
    """A loaded captioner and its identity."""

    name: str
    digest: str
    model: Any
    processor: Any
    tokenizer: Any

    @torch.no_grad()
    def caption(self, image: Image.Image) -> str:
        """One line on what an RGB image shows; empty if the model finds no words.

        A fault of the model is an `InputError`.
        """
        try:
            with silence():
                pixels = self.processor(images=image, return_tensors="pt").pixel_values
                ids = self.model.generate(
                    pixel_values=pixels.to(self.model.device),
                    max_new_tokens=MAX_TOKENS,
                    do_sample=False,
                )
                (text,) = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        except Exception as error:  # transformers raises anything on files that do not fit
            raise InputError(f"the captioner {self.name} failed: {first_line(error)}") from error
        return " ".join(text.split())


def load_captioner(folder: Path, *, device: torch.device | str = "cpu") -> Captioner:
    """The captioner in a local folder, in float32.

    `MissingExtraError` without transformers; `InputError` in one line for any fault of the folder.
    """
    folder = Path(folder)
    kind = _read_kind(folder)
    refuse_pickles(folder)
    # Without one, transformers would make up a tokenizer that knows no words.
    if not any(path for name in WORDS for path in folder.glob(name)):
        raise InputError(
            f"{show_path(folder)} holds no tokenizer; give the captioner's whole folder"
        )
    require_libraries(["transformers"], purpose=f"the captioner {kind}")
    with loading(folder):
        model, processor, tokenizer = _load(folder, kind)
    return Captioner(
        name=folder.resolve().name,
        digest=digest_files(readable_files(folder), folder),
        model=model.eval().requires_grad_(False).to(device),
        processor=processor,
        tokenizer=tokenizer,
    )


def _read_kind(folder: Path) -> str:
    """The `model_type` of the folder's config.json, one of `KINDS`; code beside it is refused."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{show_path(folder)} has no readable config.json; give the local folder of a captioner"
        ) from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in KINDS:
        raise InputError(
            f"{show_path(folder)} holds a {kind!r}, expected one of {', '.join(KINDS)}"
        )
    code = next(folder.glob("*.py"), None)
    if code is not None or "auto_map" in config:
        raise InputError(
            f"{show_path(code or folder)} brings code along, and such code is not run; give a "
            "captioner of transformers' own classes"
        )
    return str(kind)


def _load(folder: Path, kind: str) -> tuple[Any, Any, Any]:
    import transformers

    auto: Any = transformers  # whose loaders are not typed
    own: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = auto.AutoModelForImageTextToText.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, **own
        )
        processor = auto.AutoImageProcessor.from_pretrained(folder, **own)
        tokenizer = auto.AutoTokenizer.from_pretrained(folder, **own)
    except Exception as error:  # transformers raises anything on a damaged folder
        raise InputError(
            f"{show_path(folder)} cannot be loaded as the captioner {kind}: {first_line(error)}"
        ) from error
    return model, processor, tokenizer
