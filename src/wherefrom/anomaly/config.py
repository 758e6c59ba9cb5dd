"""Settings of complexity and vulnerability, and the presets."""

from __future__ import annotations

from dataclasses import dataclass

from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class AnomalyConfig(Config):
    """Settings of `score_images`."""

    epsilon: float = setting(
        0.01, "length of one noise step, L2 over the image", source="Tab. B.1: 0.01", low=1e-9
    )
    steps: int = setting(10, "noise steps K along a direction", source="Tab. B.1: 10", low=2)
    directions: int = setting(
        8,
        "noise directions that C averages; 0: no complexity",
        source="the code: 1",
        low=0,
    )
    alpha: float = setting(
        0.01, "change of every value in one attack step", source="Tab. B.1: 0.01", low=1e-9
    )
    attack_steps: int = setting(10, "attack steps J", source="Tab. B.1: 10", low=1)
    bound: float = setting(
        0.0,
        "largest change of a value; 0: no bound",
        source="the code: 8/255",
        low=0.0,
    )
    start_radius: float = setting(
        1e-3,
        "largest change of a value at the attack's start",
        source="the code: 1e-6",
        low=1e-12,
    )
    restarts: int = setting(2, "attacks over which V is averaged; 0: no vulnerability", low=0)
    clamp: bool = setting(True, "perturbed images stay in [0, 1]", source="the code")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bound and self.bound < self.start_radius:
            raise InputError(
                f"the bound is {self.bound}, smaller than the start radius {self.start_radius}"
            )


PRESETS: dict[str, AnomalyConfig] = {
    "default": AnomalyConfig(),
    "fast": AnomalyConfig(directions=4, steps=5, attack_steps=5),
    "paper": AnomalyConfig(directions=1, restarts=1, start_radius=1e-6),
    "public-code-fixed": AnomalyConfig(
        directions=1, restarts=1, start_radius=1e-6, alpha=2 / 255, bound=8 / 255
    ),
}
DEFAULT = PRESETS["default"]
