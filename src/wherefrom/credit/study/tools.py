"""The models, encoders and properties of a study, and the user's own functions that it names."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.diffusion.model import SamplingConfig, sample
from wherefrom.credit.diffusion.properties import (
    Embedder,
    Measure,
    NetworkEmbedder,
    PixelEmbedder,
    Property,
    cluster_entropy_measure,
    diversity_measure,
    frechet_measure,
    frechet_moments_measure,
    inception_measure,
    loss_measure,
    percentile_measure,
    similarity_measure,
)
from wherefrom.credit.study.baselines import Generated, generate
from wherefrom.credit.study.file import BaselinesConfig, PropertyConfig, Study
from wherefrom.credit.study.models import Models
from wherefrom.data.folders import read_images
from wherefrom.data.images.writing import to_uint8
from wherefrom.data.tables.arrays import FeatureMoments, read_moments


@dataclass(frozen=True, eq=False)
class Lab:
    """The models, encoders and properties of a study, on one device; it makes no run."""

    study: Study
    data: Contributors
    models: Models
    device: str
    embedders: dict[str, Embedder] = field(default_factory=dict)  # those loaded so far

    @property
    def latents(self) -> Tensor:
        """Of all contributors' images, (N, C, H, W) float32."""
        return self.models.latents

    @property
    def sampling(self) -> SamplingConfig:
        """The settings of sampling of the study's runs."""
        return self.study.config.sampling

    @property
    def baselines(self) -> BaselinesConfig:
        """The settings of the baselines."""
        return self.study.config.baselines

    @property
    def store(self) -> Path:
        """The folder of projected gradients and of baselines' scores."""
        return self.study.work / "baselines"

    @cached_property
    def properties(self) -> list[Property]:
        """The study's properties in the file's order."""
        return [self._property(config) for config in self.study.properties]

    def measured(self, name: str) -> Property:
        """A property by its name."""
        return next(each for each in self.properties if each.name == name)

    def generated(self, *, track: Track = quiet) -> Generated:
        """Samples of the full model from the noise of the study's runs, for the baselines.

        The game `retrain` trains the full model first, once.
        """
        count = min(self.baselines.images, self.sampling.images)
        sampling = self.sampling.with_values({"images": count})
        return generate(self.models.whole(track), sampling, track=track)

    def other_encoder(self) -> str:
        """The encoder of the embedding baselines; empty if the study names none."""
        named = [each.encoder for each in self.study.properties if each.encoder != "pixels"]
        return self.baselines.encoder or next(iter(named), "")

    def describing_encoder(self) -> Embedder:
        """The encoder by which contributors are compared; pixels if the study names none."""
        return self.embedder(self.other_encoder() or "pixels")

    def embedder(self, source: str) -> Embedder:
        """The encoder `source`: pixels, module:function that returns one, or a name or folder."""
        if source not in self.embedders:
            self.embedders[source] = self._load(source)
        return self.embedders[source]

    def _load(self, source: str) -> Embedder:
        if source == "pixels":
            return PixelEmbedder()
        if ":" in source:
            encoder = _called(source, self.study.path.parent)
        else:
            from wherefrom.encoders import load_feature_encoder

            local = self.study.place(source)
            encoder = load_feature_encoder(local if local.is_dir() else source)
        return NetworkEmbedder(encoder.to(self.device))

    def _property(self, c: PropertyConfig) -> Property:
        if c.kind == "callable":
            function = load_named(c.callable, self.study.path.parent)
            spec = {"kind": "callable", "callable": c.callable, "version": c.version}
            return Measure(c.name, spec, lambda output: float(function(output.images)))
        if c.kind in ("cluster-entropy", "frechet", "loss", "similarity"):
            return self._compared(c)
        embedder = self.embedder(c.encoder)
        if c.kind == "inception-score":
            return inception_measure(c.name, embedder)
        if c.kind == "diversity":
            return diversity_measure(c.name, embedder)
        weight, bias = self._head(c)
        return percentile_measure(c.name, embedder, weight, bias, c.quantile)

    def _compared(self, c: PropertyConfig) -> Property:
        """A property that refers to given images."""
        moments = read_moments(self.study.place(c.reference)) if c.kind == "frechet" else None
        if moments is not None:
            return self._frechet_of(c, moments)
        images, conditions = self._reference(c)
        if c.kind == "loss":
            return loss_measure(c.name, images, conditions, draws=c.draws)
        embedder = self.embedder(c.encoder)
        if c.kind == "cluster-entropy":
            return cluster_entropy_measure(c.name, embedder, images, c.clusters)
        if c.kind == "frechet":
            return frechet_measure(c.name, embedder, images)
        if len(images) != 1:
            raise InputError(f"the property {c.name!r} needs one image file as its reference")
        return similarity_measure(c.name, embedder, images[0])

    def _frechet_of(self, c: PropertyConfig, moments: FeatureMoments) -> Property:
        embedder = self.embedder(c.encoder)
        length = embedder.features(self.data.images[:1]).shape[1]
        if length != len(moments.mean):  # before any run is made
            raise InputError(
                f"{show_path(self.study.place(c.reference))} holds statistics of "
                f"{len(moments.mean)} features, and the encoder {c.encoder!r} gives {length}; name "
                "the encoder that made them"
            )
        given = torch.from_numpy(moments.mean), torch.from_numpy(moments.covariance)
        return frechet_moments_measure(c.name, embedder, *given)

    def _reference(self, c: PropertyConfig) -> tuple[Tensor, Tensor]:
        """The reference images, uint8 (N, C, H, W), and their conditions (N,)."""
        if c.reference == "contributors":
            return self.data.images, self.models.conditions
        if c.reference == "full-model":
            full = self.models.full
            if full is None:
                raise InputError(
                    f"the property {c.name!r} refers to the full model, which the game "
                    f"{self.study.config.game.kind} does not have; name a folder of images"
                )
            images = to_uint8(sample(full, self.sampling))
            return images, torch.arange(len(images)) % full.conditions
        k, place = self.study.config.contributors, self.study.place(c.reference)
        size = (k.size, k.size)
        batch = read_images([place], channels=k.channels, size=size, resize=k.resize)
        return batch.images, torch.zeros(len(batch.images), dtype=torch.int64)

    def _head(self, c: PropertyConfig) -> tuple[Tensor, float]:
        """Weight and bias of a linear head."""
        path = self.study.place(c.head)
        try:
            tensors = load_file(path)
            return tensors["weight"].flatten(), float(tensors["bias"].sum())
        except Exception as error:  # safetensors has its own errors
            raise InputError(
                f"{show_path(path)} is no safetensors file with weight and bias: {error}"
            ) from error


def load_named(name: str, home: Path) -> Any:
    """Import the function `module:function`; modules in the folder `home` are found too."""
    module, separator, attribute = name.partition(":")
    if not (module and separator and attribute):
        raise InputError(f"{name!r} is not of the form module:function")
    folder = str(home.absolute())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever the user's own code raises
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{name} cannot be imported: {problem}; correct the module") from error
    if not callable(function):
        raise InputError(f"{name} is no function; name a function of the module")
    return function


def _called(name: str, home: Path) -> Any:
    """Call the user's function, without arguments."""
    function = load_named(name, home)
    try:
        return function()
    except Exception as error:  # whatever the user's own code raises
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{name}() raises {problem}; correct the module") from error
