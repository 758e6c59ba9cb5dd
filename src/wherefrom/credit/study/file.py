"""The study file: all settings of a study in one TOML file; unknown keys are errors.

    [study]         name, seed
    [contributors]  folder = "data" or table = "map.csv", channels, size, resize
    [game]          kind = retrain, fine-tune, sparsified, conditional-proxy, gradient-ascent,
                    influence-unlearning or callable
    [model]         the network, or a folder of one
    [training]      of the full model, and of each subset when it is retrained
    [finetuning]    of each subset in the other games;  [recovery] of the pruned network
    [pruning], [unlearning], [sampling], [design]
    [baselines]     of `evaluate`; no run depends on it
    [[property]]    one table per measured property

Paths are relative to the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, add_note, quiet
from wherefrom.credit.contributors.grouping import join_unions, play_in_groups, split_into_parts
from wherefrom.credit.contributors.reading import (
    Contributors,
    contributors_from_csv,
    contributors_from_folders,
)
from wherefrom.credit.diffusion.gradients import GradientConfig
from wherefrom.credit.diffusion.model import SamplingConfig, TrainingConfig
from wherefrom.credit.diffusion.pruning import ROUNDINGS
from wherefrom.credit.diffusion.unlearning import UnlearningConfig
from wherefrom.credit.estimators.design import DESIGNS
from wherefrom.credit.ledger.game import MAX_PLAYERS
from wherefrom.credit.result import MAX_ANCHORS
from wherefrom.credit.study.baselines import DAMPING
from wherefrom.credit.study.diffusion_run import EMPTIES, KINDS, UNTRAINED

PROPERTY_KINDS = (
    "inception-score",
    "cluster-entropy",
    "percentile",
    "diversity",
    "frechet",
    "loss",
    "similarity",
    "callable",
)
MANY_GROUPS = 20  # of more contributors than shares are computed for
OWEN = "owen"  # the design with unions of players
MODEL_KINDS = ("ddpm", "latent", "lora")


@dataclass(frozen=True, kw_only=True)
class NameConfig(Config):
    """The table [study]."""

    name: str = setting("study", "shown in reports")
    seed: int = setting(0, "seed of the design and of the full model")
    ledger: str = setting("", "the ledger's file; empty: beside the study file")
    work: str = setting("", "folder of models and samples; empty: beside the study file")


@dataclass(frozen=True, kw_only=True)
class ContributorsConfig(Config):
    """The table [contributors]."""

    folder: str = setting("", "a folder with one folder of images per contributor")
    table: str = setting("", "a CSV file with the columns path and contributor")
    channels: int = setting(3, "3 colour, 1 grey", low=1, high=3)
    groups: str = setting(
        "",
        "shares of groups: a CSV file with the columns contributor and group, or a number of "
        "groups, formed by similar images; empty: 20 of more than 4,096 contributors, else none",
    )
    unions: str = setting(
        "", "unions of the design owen: a CSV file with the columns contributor and group"
    )
    size: int = setting(32, "side in px", low=4)
    resize: bool = setting(True, "crop and scale images of other sizes; without it, leave them out")


@dataclass(frozen=True, kw_only=True)
class GameConfig(Config):
    """The table [game]."""

    kind: str = setting("sparsified", "how v(S) is made", choices=(*KINDS, "callable"))
    empty: str = setting(
        UNTRAINED,
        "model of the empty set: untrained (a network without training), start (the model that "
        "runs start from, trained on all data), or retrained (as untrained, and the full set is "
        "trained from scratch)",
        source="Section 3.1: without training",
        choices=EMPTIES,
    )
    callable: str = setting("", "the function of the game callable, as module:function")
    version: str = setting("1", "of the callable; change it when its results change")
    keep: str = setting(
        "images", "what is saved of a run, to be measured again", choices=("images", "weights")
    )
    checkpoint_every: int = setting(0, "steps between checkpoints within a run; 0: none", low=0)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Config):
    """The table [model]."""

    kind: str = setting("ddpm", "on pixels, on latents, or a text-to-image model's LoRA",
                        choices=MODEL_KINDS)  # fmt: skip
    folder: str = setting(
        "", "a diffusers folder: a UNet2DModel or a pipeline with one; for lora the pipeline"
    )
    paper: bool = setting(
        False, "the DDPM of Section 4.1, 35.7 million weights, instead of width to groups"
    )
    autoencoder: str = setting("", "a diffusers folder of a VAE or VQ autoencoder, for latent")
    width: int = setting(64, "channels at full resolution", low=4)
    levels: int = setting(3, "resolutions; each doubles the channels, up to 4 times", low=1, high=6)
    blocks: int = setting(2, "residual blocks per resolution", low=1)
    attention: bool = setting(True, "attention at the second lowest resolution")
    groups: int = setting(32, "groups of the normalisation", source="DDPM: 32", low=1)
    conditional: bool = setting(
        False, "condition the network on the label (by default the contributor)"
    )
    rank: int = setting(256, "rank of LoRA", source="Section 4.1: 256", low=1)
    prompt: str = setting("", "prompt of images without one of their own, for lora")


@dataclass(frozen=True, kw_only=True)
class PruningConfig(Config):
    """The table [pruning]."""

    ratio: float = setting(
        0.3, "share of channels that is cut", source="Section 4.2", low=0, high=0.95
    )
    rounding: str = setting(
        "keep-more", "rounding to multiples of the groups of the normalisation", choices=ROUNDINGS
    )


@dataclass(frozen=True, kw_only=True)
class DesignConfig(Config):
    """The table [design]."""

    kind: str = setting("paired", "which subsets are run", choices=(*DESIGNS, OWEN))
    runs: int = setting(100, "number of runs; anchors beyond the third are added to it", low=1)
    anchors: int | None = setting(
        None,
        "how often the empty and the full set are run, which determine the gain; default: 3 times, "
        "once under exact, 8 times with payout; it may be increased later",
        low=1,
        high=MAX_ANCHORS,
    )
    payout: bool = setting(
        False, "money will be divided, which needs a precise gain: more anchors, unless given"
    )
    parts: int = setting(
        0, "unions of the design owen: each contributor's images in that many random parts", low=0
    )


@dataclass(frozen=True, kw_only=True)
class PropertyConfig(Config):
    """A table [[property]]."""

    kind: str = setting("diversity", "what is measured", choices=PROPERTY_KINDS)
    name: str = setting("", "its name in the ledger; empty: the kind")
    encoder: str = setting(
        "pixels", "pixels, a feature encoder of wherefrom.encoders, or module:function"
    )
    reference: str = setting(
        "contributors",
        "contributors, full-model, or a folder, archive or image file; of frechet also an .npz of "
        "mu and sigma",
    )
    clusters: int = setting(20, "of cluster-entropy", source="Section 4.2: 20", low=2)
    head: str = setting("", "of percentile: a safetensors file with weight and bias")
    quantile: float = setting(0.9, "of percentile", source="Section 4.2: 0.9", low=0, high=1)
    draws: int = setting(8, "of loss: time steps per image", low=1)
    callable: str = setting(
        "", "of callable: a function of uint8 images (N, C, H, W), as module:function"
    )
    version: str = setting("1", "of the callable; change it when its results change")


@dataclass(frozen=True, kw_only=True)
class BaselinesConfig(Config):
    """The table [baselines]."""

    encoder: str = setting(
        "", "space of the embedding baselines; empty: that of the first property which has one"
    )
    clip: str = setting("", "an image encoder of CLIP's kind, for CLIP similarity")
    images: int = setting(256, "generated images they look at, at most those of a run", low=1)
    damping: float = setting(
        DAMPING, "of the influence baselines, in mean diagonals of Phi^T Phi", low=0
    )
    gradients: GradientConfig = setting(GradientConfig(), "")


@dataclass(frozen=True, kw_only=True)
class StudyConfig(Config):
    """A study file without its properties."""

    study: NameConfig = setting(NameConfig(), "")
    contributors: ContributorsConfig = setting(ContributorsConfig(), "")
    game: GameConfig = setting(GameConfig(), "")
    model: ModelConfig = setting(ModelConfig(), "")
    training: TrainingConfig = setting(TrainingConfig(), "")
    finetuning: TrainingConfig = setting(TrainingConfig(steps=1000), "")
    recovery: TrainingConfig = setting(TrainingConfig(steps=10_000), "")
    pruning: PruningConfig = setting(PruningConfig(), "")
    unlearning: UnlearningConfig = setting(UnlearningConfig(), "")
    sampling: SamplingConfig = setting(SamplingConfig(), "")
    design: DesignConfig = setting(DesignConfig(), "")
    baselines: BaselinesConfig = setting(BaselinesConfig(), "")


@dataclass(frozen=True)
class Study:
    """The settings of a study, and the file that they were read from."""

    path: Path
    config: StudyConfig
    properties: tuple[PropertyConfig, ...]

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        given = self.config.study.ledger
        return self.place(given) if given else self.path.with_suffix(".ledger.sqlite")

    @property
    def work(self) -> Path:
        """The folder of the full and the pruned model, and of the samples of each run."""
        given = self.config.study.work
        return self.place(given) if given else self.path.with_suffix(".work")

    def place(self, path: str) -> Path:
        """A path that the study file gives, which is relative to the file."""
        return self.path.parent / path

    def contributors(self, *, track: Track = quiet) -> Contributors:
        """Read all images, and form the players of the game.

        Above `MAX_PLAYERS` contributors these are groups, unless the file says otherwise.
        """
        c, design = self.config.contributors, self.config.design
        owen = design.kind == OWEN
        if (bool(c.unions) + bool(design.parts)) != owen:
            given = "both" if c.unions and design.parts else "neither" if owen else "one of them"
            raise InputError(
                f"{show_path(self.path)}: the design is {design.kind!r} with {given} of [design] "
                "parts and [contributors] unions; the design owen needs one, other designs none"
            )
        if owen and c.groups:
            raise InputError(
                f"{show_path(self.path)}: the design owen takes unions or parts, not groups; "
                "remove groups, or choose another design"
            )
        data = self.given(track=track)
        if c.groups:
            return play_in_groups(data, c.groups, home=self.path.parent)
        if data.players > MAX_PLAYERS and not owen:
            add_note(
                f"{data.players:,} contributors are played as {MANY_GROUPS} groups of like pixels; "
                "`groups` in [contributors] forms others"
            )
            return play_in_groups(data, str(MANY_GROUPS), home=self.path.parent)
        if design.parts:
            return split_into_parts(data, design.parts, seed=self.config.study.seed)
        return join_unions(data, self.place(c.unions)) if c.unions else data

    def given(self, *, track: Track = quiet) -> Contributors:
        """Read all images, with the contributors as the players."""
        c = self.config.contributors
        if bool(c.folder) == bool(c.table):
            raise InputError(
                f"{show_path(self.path)}: [contributors] needs a folder or a table, and not both"
            )
        if c.folder:
            return contributors_from_folders(
                self.place(c.folder), channels=c.channels, size=c.size, resize=c.resize, track=track
            )
        return contributors_from_csv(
            self.place(c.table), channels=c.channels, size=c.size, resize=c.resize, track=track
        )


def load_study(path: Path) -> Study:
    """Read a study file.  An `InputError` for an unknown key names the nearest known one."""
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise InputError(f"cannot read {show_path(path)}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{show_path(path)} is not TOML: {error}") from error
    listed = tables.pop("property", [])
    if not isinstance(listed, list) or not all(isinstance(entry, Mapping) for entry in listed):
        raise InputError(f"{show_path(path)}: write each property as a table [[property]]")
    try:
        config = StudyConfig.from_dict(tables)
        properties = tuple(_property(entry) for entry in listed)
    except InputError as error:
        raise InputError(f"{show_path(path)}: {error}") from error
    names = [each.name for each in properties]
    if not properties or len(set(names)) < len(names):
        what = (
            f"two properties are named {_twice(names)!r}" if names else "no [[property]] is there"
        )
        raise InputError(f"{show_path(path)}: {what}; give at least one, each with its own name")
    return Study(path, config, properties)


def _property(entry: Mapping[str, Any]) -> PropertyConfig:
    config = PropertyConfig.from_dict(entry)
    return config if config.name else config.with_values({"name": config.kind})


def _twice(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)
