"""The noise schedule of a diffusion model, and what its network predicts.

Ho et al., NeurIPS 2020 (noise); Salimans and Ho: Progressive Distillation, ICLR 2022 (v); Lin et
al.: Common Diffusion Noise Schedules and Sample Steps are Flawed, WACV 2024 (zero terminal SNR).

A model of one's own says this in scheduler_config.json, which diffusers writes beside the network.
Only what belongs to the model is taken from there; how samples are drawn is the study's.
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
from wherefrom.components.libraries import first_line, need, silence
from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path

STEPS = 1000  # T
CONFIG = "scheduler_config.json"
PREDICTIONS = ("epsilon", "v_prediction", "sample")
WORDS = dict(zip(PREDICTIONS, ("noise", "v", "the clean image"), strict=True))
BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace")
NO_IMAGE = "predicts noise at a signal-to-noise ratio of zero, from which no image follows"
# Classes of diffusers that sample models of one family: betas over T steps, and a prediction.
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
    """beta from `first` to `last` over T steps, and what the network predicts.

    `kind`: one of `BETAS`; `betas`: the values themselves, which then count alone.  `zero_snr`: the
    betas rescaled so that the last step is pure noise.
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
        """DDIM of diffusers, for models on `pixels`, which are cut off at -1 and 1, or on latents.

        With zero terminal SNR its steps end at T - 1, where such a model begins: Lin et al.,
        Section 3.3.
        """
        return need("diffusers", "sampling").DDIMScheduler(
            num_train_timesteps=STEPS,
            prediction_type=self.prediction,
            clip_sample=pixels,
            set_alpha_to_one=True,
            timestep_spacing="trailing" if self.zero_snr else "leading",
            **_beta_settings(self),
        )

    def describe(self) -> str:
        """What it is in words, to follow the name of a model."""
        kind = "of betas of its own" if self.betas else self.kind
        zero = " with zero terminal SNR" if self.zero_snr else ""
        return f"predicts {WORDS[self.prediction]} on the noise schedule {kind}{zero}"

    def to_dict(self) -> dict[str, Any]:
        """JSON values that decide it."""
        return {**asdict(self), "betas": list(self.betas)}


DEFAULT = Schedule()


def find_schedule(folder: Path) -> Path | None:
    """The scheduler_config.json of a network's or pipeline's folder: in it or beside it."""
    places = (folder, folder / "scheduler", folder.parent / "scheduler", folder.parent)
    return next((place / CONFIG for place in places if (place / CONFIG).is_file()), None)


def read_schedule(path: Path) -> Schedule:
    """The schedule in a scheduler_config.json.

    `InputError` in one line for a class, a prediction or betas that are not known.
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
    diffusers = need("diffusers", "a diffusion model's schedule")
    try:
        with silence():
            settings = dict(getattr(diffusers, kind).from_config(config).config)
    except Exception as error:  # diffusers raises anything on settings that do not fit
        raise InputError(f"{shown} makes no {kind}: {first_line(error)}") from error
    refused = _refusal(settings)
    if refused:
        raise InputError(
            f"{shown} {refused}; known are models that predict {', '.join(PREDICTIONS)} over "
            f"{STEPS} steps of a DDPM"
        )
    schedule = _of(settings)
    betas, bars = _betas(schedule), schedule.alpha_bars()
    if not bool(((betas >= 0) & (betas <= 1) & (bars < 1)).all()):
        raise InputError(
            f"{shown} states betas that are no noise schedule; save the scheduler anew"
        )
    if schedule.prediction == "epsilon" and not float(bars[-1]):
        raise InputError(f"{shown} {NO_IMAGE}; save it with the prediction that was trained")
    return schedule


def _of(told: Mapping[str, Any]) -> Schedule:
    betas = told.get("trained_betas")
    return Schedule(
        first=float(told["beta_start"]),
        last=float(told["beta_end"]),
        kind=str(told["beta_schedule"]),
        prediction=str(told.get("prediction_type") or "epsilon"),
        zero_snr=bool(told.get("rescale_betas_zero_snr")),
        betas=() if betas is None else tuple(float(beta) for beta in betas),
    )


def _refusal(told: Mapping[str, Any]) -> str:
    """Why a model of these settings cannot be trained here, empty if it can."""
    prediction, betas = told.get("prediction_type") or "epsilon", told.get("trained_betas")
    kind, steps = told.get("beta_schedule"), told.get("num_train_timesteps")
    continuous = told.get("use_flow_sigmas") or told.get("timestep_type", "discrete") != "discrete"
    problems = {
        f"predicts {prediction!r}": prediction not in PREDICTIONS,
        f"has {steps} time steps": steps != STEPS,
        f"has the beta schedule {kind!r}": betas is None and kind not in BETAS,
        "does not state as many betas as steps": betas is not None and len(betas) != STEPS,
        "has continuous time steps": continuous,
        NO_IMAGE: (told.get("rescale_betas_zero_snr") and prediction == "epsilon"),
    }
    return next((problem for problem, holds in problems.items() if holds), "")


def _beta_settings(schedule: Schedule) -> dict[str, Any]:
    """The betas as DDIMScheduler takes them; it knows fewer names than DDPMScheduler."""
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
        need("diffusers", "a diffusion model's schedule")
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
    if (
        schedule.zero_snr
    ):  # Lin et al., Alg. 1: roots shifted to end at 0, scaled to begin as before
        roots = bars.sqrt()
        bars = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    return bars.float()
