"""Settings of the pairs builder, and what they become for one pipeline and one edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.origin.pairs.manifest import PairRow
from wherefrom.origin.pairs.pipelines import EditPipeline

CLASS_DEFAULT = "diffusers, the default of each pipeline's class"


@dataclass(frozen=True, kw_only=True)
class PairsConfig(Config):
    """Settings of `build_pairs`."""

    strength: str | None = setting(
        None,
        "how far an edit may go, in (0, 1]: a number, a list 0.3,0.5,0.8 or a range 0.3..0.9 from "
        "which each edit draws; a pipeline without a strength does not get it",
        source=CLASS_DEFAULT,
    )
    steps: int | None = setting(None, "denoising steps", source=CLASS_DEFAULT, low=1)
    guidance: float | None = setting(
        None, "weight of the prompt (classifier-free guidance)", source=CLASS_DEFAULT, low=0
    )
    image_guidance: float | None = setting(
        None, "weight of the photo, for InstructPix2Pix alone", source=CLASS_DEFAULT, low=0
    )
    per_origin: int = setting(1, "edits of each photograph", low=1)
    size: int = setting(512, "side of the square that a photo is squashed to, in px", low=8)
    negative: str = setting("", "what an edit should not show")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strength is not None:
            Strengths.parse(self.strength)


@dataclass(frozen=True)
class Strengths:
    """One of several values, or any value of a range."""

    values: tuple[float, ...]
    is_range: bool = False

    @classmethod
    def parse(cls, text: str) -> Strengths:
        """From `0.5`, `0.3,0.5` or `0.3..0.9`; an `InputError` for anything else."""
        is_range = ".." in text
        try:
            values = tuple(float(part) for part in text.split(".." if is_range else ","))
        except ValueError:
            values = ()
        bad = not values or not all(0 < value <= 1 for value in values)
        if bad or (is_range and (len(values) != 2 or values[0] > values[1])):
            raise InputError(
                f"strength is {text!r}, expected numbers in (0, 1]: 0.5, a list 0.3,0.5,0.8 or a "
                "range 0.3..0.9"
            )
        return cls(values, is_range)

    def draw(self, generator: torch.Generator) -> float:
        """One value; of a range to three decimals, so that a manifest shows it whole."""
        if not self.is_range:
            return self.values[int(torch.randint(len(self.values), (), generator=generator))]
        low, high = self.values
        drawn = low + (high - low) * float(torch.rand((), generator=generator))
        return min(max(round(drawn, 3), low), high)


@dataclass(frozen=True)
class Resolved:
    """Settings with the defaults of one pipeline filled in; None is what it does not take."""

    strengths: Strengths | None
    steps: int
    guidance: float | None
    image_guidance: float | None
    negative: str
    size: int


def resolve(config: PairsConfig, pipeline: EditPipeline) -> Resolved:
    """The settings for this pipeline; an `InputError` for one that it cannot follow."""
    defaults = pipeline.defaults
    pipeline.require_size(config.size)
    # Where true guidance is a switch of its own, a negative prompt alone would do nothing.
    if config.negative and ("negative_prompt" not in defaults or "true_cfg_scale" in defaults):
        raise InputError(f"{pipeline.kind} follows no negative prompt; leave 'negative' empty")
    steps = defaults["num_inference_steps"] if config.steps is None else config.steps
    if not isinstance(steps, int):
        raise InputError(f"{pipeline.kind} has no default number of steps; give 'steps'")
    strengths = None
    if "strength" in defaults:
        text = str(defaults["strength"]) if config.strength is None else config.strength
        strengths = Strengths.parse(text)
        _require_a_step(steps, min(strengths.values))
    return Resolved(
        strengths,
        steps,
        _choose("guidance", config.guidance, "guidance_scale", pipeline),
        _choose("image_guidance", config.image_guidance, "image_guidance_scale", pipeline),
        config.negative,
        config.size,
    )


def call_arguments(row: PairRow, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What a pipeline's call is given for this row: what is known and what it takes."""
    known = {
        "prompt": row.prompt,
        "negative_prompt": row.negative or None,
        "strength": row.strength,
        "num_inference_steps": row.steps,
        "guidance_scale": row.guidance,
        "image_guidance_scale": row.image_guidance,
        "height": row.size,
        "width": row.size,
    }
    return {name: v for name, v in known.items() if v is not None and name in defaults}


def _require_a_step(steps: int, strength: float) -> None:
    if int(steps * strength) < 1:
        raise InputError(
            f"{steps} steps at strength {strength} leave no step to do; "
            f"give at least {_least(strength)} steps, or more strength"
        )


def _least(strength: float) -> int:
    steps = max(1, int(1 / strength))
    return steps if int(steps * strength) >= 1 else steps + 1


def _choose(name: str, given: float | None, argument: str, pipeline: EditPipeline) -> float | None:
    if argument not in pipeline.defaults and given is not None:
        raise InputError(f"{pipeline.kind} takes no {argument}; leave {name!r} out")
    value = pipeline.defaults.get(argument) if given is None else given
    return None if value is None else float(value)
