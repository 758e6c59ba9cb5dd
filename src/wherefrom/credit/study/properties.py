"""The properties of a study file, as functions of a run's output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.diffusion.model import Diffusion, SamplingConfig, sample
from wherefrom.credit.properties import (
    Embedder,
    Measure,
    NetworkEmbedder,
    PixelEmbedder,
    Property,
    RunOutput,
    cluster_entropy_measure,
    diversity_measure,
    frechet_measure,
    frechet_moments_measure,
    inception_measure,
    loss_measure,
    percentile_measure,
    similarity_measure,
)
from wherefrom.credit.study.file import PropertyConfig, Study
from wherefrom.credit.study.named import load_named
from wherefrom.data.folders import read_images
from wherefrom.data.tables.arrays import FeatureMoments, read_moments
from wherefrom.data.writing import to_uint8


class Measures:
    """Makes the properties of a study, and the encoders of properties and baselines.

    `full`: the full model, for properties that refer to it.  `conditions`: of all images, int64.
    """

    def __init__(
        self,
        study: Study,
        contributors: Contributors,
        full: Diffusion | None,
        conditions: Tensor,
        device: str,
    ) -> None:
        self.study, self.contributors, self.full = study, contributors, full
        self.conditions, self.device = conditions, device
        self.embedders: dict[str, Embedder] = {}

    def properties(self) -> list[Property]:
        """The study's properties in the file's order."""
        return [self.make(config) for config in self.study.properties]

    def make(self, c: PropertyConfig) -> Property:
        """One property."""
        if c.kind == "callable":
            return self.named(c)
        if c.kind in ("cluster-entropy", "frechet", "loss", "similarity"):
            return self.compared(c)
        embedder = self.embedder(c.encoder)
        if c.kind == "inception-score":
            return inception_measure(c.name, embedder)
        if c.kind == "diversity":
            return diversity_measure(c.name, embedder)
        weight, bias = self.head(c)
        return percentile_measure(c.name, embedder, weight, bias, c.quantile)

    def compared(self, c: PropertyConfig) -> Property:
        """A property that refers to given images."""
        moments = read_moments(self.study.place(c.reference)) if c.kind == "frechet" else None
        if moments is not None:
            return self._frechet_of(c, moments)
        images, conditions = self.reference(c)
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
        length = embedder.features(self.contributors.images[:1]).shape[1]
        if length != len(moments.mean):  # before any run is made
            raise InputError(
                f"{show_path(self.study.place(c.reference))} holds statistics of "
                f"{len(moments.mean)} features, and the encoder {c.encoder!r} gives {length}; name "
                "the encoder that made them"
            )
        given = torch.from_numpy(moments.mean), torch.from_numpy(moments.covariance)
        return frechet_moments_measure(c.name, embedder, *given)

    def named(self, c: PropertyConfig) -> Property:
        """A property from the user's own function."""
        function = load_named(c.callable, self.study.path.parent)
        spec = {"kind": "callable", "callable": c.callable, "version": c.version}

        def value(output: RunOutput) -> float:
            return float(function(output.images))

        return Measure(c.name, spec, value)

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

    def reference(self, c: PropertyConfig) -> tuple[Tensor, Tensor]:
        """The reference images, uint8 (N, C, H, W), and their conditions (N,)."""
        if c.reference == "contributors":
            return self.contributors.images, self.conditions
        if c.reference == "full-model":
            if self.full is None:
                raise InputError(
                    f"the property {c.name!r} refers to the full model, which the game "
                    f"{self.study.config.game.kind} does not have; name a folder of images"
                )
            config: SamplingConfig = self.study.config.sampling
            images = to_uint8(sample(self.full, config))
            return images, torch.arange(len(images)) % self.full.conditions
        k = self.study.config.contributors
        batch = read_images(
            [self.study.place(c.reference)],
            channels=k.channels,
            size=(k.size, k.size),
            resize=k.resize,
        )
        return batch.images, torch.zeros(len(batch.images), dtype=torch.int64)

    def head(self, c: PropertyConfig) -> tuple[Tensor, float]:
        """Weight and bias of a linear head."""
        path: Path = self.study.place(c.head)
        try:
            tensors = load_file(path)
            return tensors["weight"].flatten(), float(tensors["bias"].sum())
        except Exception as error:  # safetensors has its own errors
            raise InputError(
                f"{show_path(path)} is no safetensors file with weight and bias: {error}"
            ) from error


def _called(name: str, home: Path) -> Any:
    """Call the user's function, without arguments."""
    function = load_named(name, home)
    try:
        return function()
    except Exception as error:  # whatever the user's own code raises
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{name}() raises {problem}; correct the module") from error
