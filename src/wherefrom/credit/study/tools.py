"""The models, encoders and properties of an opened study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from wherefrom.core.progress import Track, quiet
from wherefrom.credit.baselines.of_study import Generated, generate
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.diffusion.model import SamplingConfig
from wherefrom.credit.properties import Embedder, PixelEmbedder, Property
from wherefrom.credit.study.file import BaselinesConfig, Study
from wherefrom.credit.study.models import Models


@dataclass(frozen=True, eq=False)
class Lab:
    """The models, encoders and properties of a study; it reads and writes no run.

    `embedder(source)`: the encoder that a study file names `source`.
    """

    study: Study
    data: Contributors
    models: Models
    properties: tuple[Property, ...]
    embedder: Callable[[str], Embedder]

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
        source = self.other_encoder()
        return self.embedder(source) if source else PixelEmbedder()
