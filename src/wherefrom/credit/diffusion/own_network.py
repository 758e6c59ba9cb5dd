"""The user's own diffusion model: a UNet2DModel in a diffusers folder, and its schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from wherefrom.components.folders import Component, find_component, find_weights, has_weights
from wherefrom.components.loading import load_component
from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.credit.diffusion.schedules import (
    CONFIG,
    DEFAULT,
    Schedule,
    find_schedule,
    read_schedule,
)
from wherefrom.generators.generator import check_finite

KIND = "UNet2DModel"


@dataclass(frozen=True)
class OwnNetwork:
    """The user's network and its schedule.

    `is_trained`: there are weights, not only a config.json.  `notes`: sentences for the reader of
    the study's results.
    """

    component: Component
    schedule: Schedule
    is_trained: bool
    notes: tuple[str, ...] = ()

    def load(self) -> nn.Module:
        """The network, float32 on the CPU; `InputError` in one line for any fault of its files."""
        network = load_component(self.component, purpose="a diffusion model")
        check_finite(network.state_dict())
        return network

    def require_fitting(self, settings: Mapping[str, Any], latents: Tensor, labels: Tensor) -> None:
        """`InputError` unless a network of these settings can be trained on the study's images.

        `latents`: (N, C, H, W); `labels`: int64 (N,).
        """
        channels, count = latents.shape[1], int(labels.max()) + 1
        classes, problem = settings.get("num_class_embeds"), ""
        if settings["in_channels"] != channels:
            problem = f"takes {settings['in_channels']} channels, and the images have {channels}"
        elif settings["out_channels"] != settings["in_channels"]:
            problem = "also predicts a variance, which is not trained here"
        elif settings.get("class_embed_type") and not classes:
            problem = f"takes conditions of the kind {settings['class_embed_type']!r}"
        elif classes and classes < count:
            problem = f"has {classes} classes, and the images have {count} labels"
        if problem:
            raise InputError(
                f"[model] folder: the {KIND} in {self.component.shown} {problem}; give another "
                "model, or other images"
            )


def find_own(path: Path, *, needs_weights: bool) -> OwnNetwork:
    """The UNet2DModel at `path`: its folder, or that of a pipeline with one.

    With `needs_weights`, an `InputError` for a folder without weights; always one for weights in a
    format that may run code.  Nothing is loaded yet.
    """
    component = find_component(path, ("unet",), what=f"a {KIND}")
    if component.kind != KIND:
        advice = "; a text-to-image model is fine-tuned with kind = 'lora'"
        raise InputError(
            f"[model] folder: {component.shown} holds a {component.kind}, expected a {KIND}"
            f"{advice if component.kind == 'UNet2DConditionModel' else ''}"
        )
    is_trained = component.file is not None or has_weights(component.folder)
    if is_trained:
        find_weights(component)
    elif needs_weights:
        raise InputError(
            f"[model] folder: {component.shown} holds no weights, and this game begins with a "
            "trained model; put them there, or leave the folder out, and one is trained"
        )
    stated = find_schedule(component.folder)
    schedule = DEFAULT if stated is None else read_schedule(stated)
    return OwnNetwork(component, schedule, is_trained, _notes(component, schedule, stated))


def _notes(component: Component, schedule: Schedule, stated: Path | None) -> tuple[str, ...]:
    if stated is None:
        return (
            f"the network in {component.shown} has no {CONFIG}, so it is assumed to predict noise "
            "on the linear noise schedule of DDPM",
        )
    if schedule == DEFAULT:
        return ()
    sentence = f"the network in {component.shown} {schedule.describe()}"
    return (f"{sentence}, as {show_path(stated)} says; it is trained and sampled with it",)
