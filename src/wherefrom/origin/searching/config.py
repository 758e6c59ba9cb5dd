"""Settings of a search.  A calibration holds for searches with the same settings only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.origin.reranking.views import VIEWS
from wherefrom.origin.searching.decision import STATISTICS


@dataclass(frozen=True, kw_only=True)
class SearchConfig(Config):
    """Settings of `References.search`, `calibrate` and `evaluate`."""

    views: str = setting("flip", "views of a query that are searched for", choices=VIEWS)
    rerank: bool = setting(
        True,
        "compare a query place by place with the files of the best 64, which are encoded again",
    )
    statistic: str = setting(
        "gap",
        "what is tested: z of the best match, its gap to the second, or its exponential tail",
        choices=STATISTICS,
    )
    feature_weight: float | None = setting(
        None,
        "weight of the feature network against the latent, in deviations; default: 2.5 for "
        "efficientnet-lite0, 0.8 for others",
        low=0.0,
    )

    def to_dict(self) -> dict[str, Any]:
        """The settings by name, without those that are left to the index."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def require_same(self, asked: SearchConfig, *, where: str) -> None:
        """An `InputError` if `asked` differs from these settings, those of a calibration."""
        mine, other = asdict(self), asdict(asked)
        differing = "; ".join(
            f"{name} {other[name]}, not {mine[name]}" for name in mine if other[name] != mine[name]
        )
        if differing:
            raise InputError(
                f"{where} is calibrated for other settings than asked for ({differing}); "
                "leave them out, or calibrate again with them"
            )
