"""Options of a search that several commands of `wherefrom origin` share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from wherefrom.origin.searching.config import SearchConfig

views_option = click.option(
    "--views",
    type=click.Choice(["none", "flip", "flip+crops"]),
    help="Views of a query that are searched for; default: those of the calibration.",
)
rerank_option = click.option(
    "--rerank/--no-rerank",
    default=None,
    help="Compare a query place by place with the files of the best 64; default: as in the "
    "calibration.",
)


def search_presets() -> Mapping[str, SearchConfig]:
    """Settings of `calibrate`; its options are made of them."""
    from wherefrom.origin.searching.config import SearchConfig

    return {"default": SearchConfig()}


def asked(views: str | None, rerank: bool | None) -> dict[str, Any]:
    """The settings that were given."""
    given = {"views": views, "rerank": rerank}
    return {name: value for name, value in given.items() if value is not None}
