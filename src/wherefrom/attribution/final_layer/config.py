"""Settings of final-layer inversion."""

from __future__ import annotations

from dataclasses import dataclass

from wherefrom.core.config import Config, setting


@dataclass(frozen=True, kw_only=True)
class LassoConfig(Config):
    """Settings of final-layer inversion: the lasso of Eq. 5 and how it is solved."""

    lam: float = setting(5e-4, "weight of the l1 term in Eq. 5", source="App. G.7", low=0.0)
    effort: str = setting(
        "fast",
        "fast: a fixed number of iterations; exact: until the duality gap is met",
        choices=("fast", "exact"),
    )
    data: str = setting(
        "square",
        "data term; square: distance to o; interval: distance to the interval of each 8-bit pixel",
        source="Eq. 5: square",
        choices=("square", "interval"),
        images_only=True,
    )
    slack: str = setting(
        "fixed",
        "fixed: lam is the weight; noise: with intervals, an image's noise sets it, from lam up",
        source="Eq. 5: fixed, Eq. 4: noise",
        choices=("fixed", "noise"),
    )
    iterations: int = setting(50, "iterations of the fast effort", source="docs/speed.md", low=1)
    solver: str = setting(
        "auto",
        "solver of the exact effort; auto: ADMM where its factor is cheap, else FISTA",
        choices=("auto", "fista", "admm"),
    )
    gap: float = setting(1e-3, "relative duality gap that ends the exact effort", low=0.0)
    max_iterations: int = setting(
        10_000, "the exact effort stops here even without the gap", source="App. G.7's code", low=1
    )
    continuation: int = setting(
        2,
        "exact effort by FISTA: so many larger weights, ten times and a hundred times lam and on, "
        "are solved roughly first, each from the one before",
        source="docs/speed.md",
        low=0,
        high=6,
    )
    chunk: int = setting(
        0,
        "images solved together; 0: 64 on a GPU, on a CPU 8 of a small layer and 1 of a large one",
        source="docs/speed.md",
        low=0,
    )
