"""The noise schedule of a diffusion model, and what its network predicts.

Ho et al., NeurIPS 2020 (noise); Salimans and Ho: Progressive Distillation, ICLR 2022 (v); Lin et
al.: Common Diffusion Noise Schedules and Sample Steps are Flawed, WACV 2024 (zero terminal SNR).

For the user's own model both are read from scheduler_config.json, which diffusers writes beside the
network.  Only settings of the model are taken from there; the study sets how samples are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wherefrom.components.folders import read_json
from wherefrom.components.libraries import first_line, silence
from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.core.paths import show_path

STEPS = 1000  # T
CONFIG = "scheduler_config.json"
PREDICTIONS = ("epsilon", "v_prediction", "sample")
WORDS = dict(zip(PREDICTIONS, ("noise", "v", "the clean image"), strict=True))
BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace")
NO_IMAGE = "predicts noise at a signal-to-noise ratio of zero, which determines no image"
# Classes of diffusers for models with betas over T steps.
FAMILY = (
    "DDPMScheduler",
    "DDPMParallelScheduler",
    "DDIMScheduler",
    "DDIMParallelScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)


@dataclass(frozen=True)
class Schedule:
    """The betas of T steps, from `first` to `last`, and what the network predicts.

    `kind`: one of `BETAS`.  `betas`: the values themselves, used instead of the first three.
    `zero_snr`: the betas are rescaled so that the last step is pure noise.
    """

    first: float = 1e-4
    last: float = 0.02
    kind: str = "linear"
    prediction: str = "epsilon"
    zero_snr: bool = False
    betas: tuple[float, ...] = ()

    def alpha_bars(self) -> Tensor:
        """abar of every time step, float32 (T,)."""
        return _alpha_bars(self)

    def sampler(self, *, pixels: bool) -> Any:
        """DDIM of diffusers; for models on `pixels` it clamps to [-1, 1].

        With zero terminal SNR its steps start from T - 1: Lin et al., Section 3.3.
        """
        return need("diffusers", "sampling", extra="diffusers").DDIMScheduler(
            num_train_timesteps=STEPS,
            prediction_type=self.prediction,
            clip_sample=pixels,
            set_alpha_to_one=True,
            timestep_spacing="trailing" if self.zero_snr else "leading",
            **_beta_settings(self),
        )

    def describe(self) -> str:
        """The schedule in words, to follow the name of a model."""
        kind = "of betas of its own" if self.betas else self.kind
        zero = " with zero terminal SNR" if self.zero_snr else ""
        return f"predicts {WORDS[self.prediction]} on the noise schedule {kind}{zero}"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "betas": list(self.betas)}


DEFAULT = Schedule()


def find_schedule(folder: Path) -> Path | None:
    """The scheduler_config.json in or beside the folder of a network or a pipeline, or None."""
    places = (folder, folder / "scheduler", folder.parent / "scheduler", folder.parent)
    return next((place / CONFIG for place in places if (place / CONFIG).is_file()), None)


def read_schedule(path: Path) -> Schedule:
    """The schedule in a scheduler_config.json.

    `InputError` for a class, a prediction or betas that are not supported.
    """
    shown = show_path(path)
    try:
        config = read_json(path)
        kind = str(config["_class_name"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(
            f"{shown} is no readable scheduler_config.json of diffusers; save the scheduler again"
        ) from error
    if kind not in FAMILY:
        raise InputError(
            f"{shown} is a {kind}, and models of that schedule cannot be trained here; only those "
            f"that predict {', '.join(PREDICTIONS)} over {STEPS} steps of a DDPM can"
        )
    diffusers = need("diffusers", "a diffusion model's schedule", extra="diffusers")
    try:
        with silence():
            settings = dict(getattr(diffusers, kind).from_config(config).config)
    except Exception as error:  # diffusers raises anything on settings that do not fit
        raise InputError(f"{shown} makes no {kind}: {first_line(error)}") from error
    refused = _refusal(settings)
    if refused:
        raise InputError(
            f"{shown} {refused}; expected a model that predicts {' or '.join(PREDICTIONS)} over "
            f"{STEPS} steps of a DDPM"
        )
    schedule = _schedule_of(settings)
    betas, bars = _betas(schedule), schedule.alpha_bars()
    if not bool(((betas >= 0) & (betas <= 1) & (bars < 1)).all()):
        raise InputError(
            f"{shown} states betas that are no noise schedule; save the scheduler again"
        )
    if schedule.prediction == "epsilon" and not float(bars[-1]):
        raise InputError(f"{shown} {NO_IMAGE}; save it with the prediction that was trained")
    return schedule


def _schedule_of(settings: Mapping[str, Any]) -> Schedule:
    betas = settings.get("trained_betas")
    return Schedule(
        first=float(settings["beta_start"]),
        last=float(settings["beta_end"]),
        kind=str(settings["beta_schedule"]),
        prediction=str(settings.get("prediction_type") or "epsilon"),
        zero_snr=bool(settings.get("rescale_betas_zero_snr")),
        betas=() if betas is None else tuple(float(beta) for beta in betas),
    )


def _refusal(settings: Mapping[str, Any]) -> str:
    """Why a model of these settings is not supported; empty if it is."""
    prediction, betas = settings.get("prediction_type") or "epsilon", settings.get("trained_betas")
    kind, steps = settings.get("beta_schedule"), settings.get("num_train_timesteps")
    continuous = (
        settings.get("use_flow_sigmas") or settings.get("timestep_type", "discrete") != "discrete"
    )
    problems = {
        f"predicts {prediction!r}": prediction not in PREDICTIONS,
        f"has {steps} time steps": steps != STEPS,
        f"has the beta schedule {kind!r}": betas is None and kind not in BETAS,
        "does not state as many betas as steps": betas is not None and len(betas) != STEPS,
        "has continuous time steps": continuous,
        NO_IMAGE: (settings.get("rescale_betas_zero_snr") and prediction == "epsilon"),
    }
    return next((problem for problem, holds in problems.items() if holds), "")


def _beta_settings(schedule: Schedule) -> dict[str, Any]:
    """The betas as settings of DDIMScheduler, which has fewer kinds than DDPMScheduler."""
    settings: dict[str, Any] = {"rescale_betas_zero_snr": schedule.zero_snr}
    if schedule.betas or schedule.kind in BETAS[3:]:
        return {**settings, "trained_betas": _betas(schedule).tolist()}
    ends = {"beta_start": schedule.first, "beta_end": schedule.last}
    return {**settings, **ends, "beta_schedule": schedule.kind}


def _betas(schedule: Schedule) -> Tensor:
    """The betas before any rescaling, float64 (T,)."""
    if schedule.betas:
        return torch.tensor(schedule.betas, dtype=torch.float64)
    if schedule.kind in ("linear", "scaled_linear"):
        power = {"linear": 1.0, "scaled_linear": 0.5}[schedule.kind]
        ends = schedule.first**power, schedule.last**power
        return torch.linspace(*ends, STEPS, dtype=torch.float64).pow(1 / power)
    theirs: Tensor = (
        need("diffusers", "a diffusion model's schedule", extra="diffusers")
        .DDPMScheduler(
            num_train_timesteps=STEPS,
            beta_start=schedule.first,
            beta_end=schedule.last,
            beta_schedule=schedule.kind,
        )
        .betas
    )
    return theirs.double()


@cache
def _alpha_bars(schedule: Schedule) -> Tensor:
    bars = (1 - _betas(schedule)).cumprod(0)
    if schedule.zero_snr:  # Lin et al., Alg. 1: shift the roots to end at 0, keep the first
        roots = bars.sqrt()
        bars = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    return bars.float()
