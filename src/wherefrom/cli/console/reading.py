"""`--max-pixels` and `--background`, the same for every command that reads images."""

from __future__ import annotations

import click

from wherefrom.core.limits import DEFAULT_LIMITS, parse_colour, reading_with

# Commands that open no image file of the user's; `serve` has a `--max-pixels` of its own.
READ_NO_IMAGES = frozenset(
    {"attribution show", "origin accelerate", "origin remove", "anomaly sort", "credit merge"}
    | {"case init", "case verify", "serve", "demo", "zoo sample", "zoo list", "doctor"}
    | {"completion"}
)
_MILLION = 1_000_000


def take_reading(command: click.Command, path: str) -> None:
    """Give `command`, or every command of the group, the options, unless it reads no images."""
    if isinstance(command, click.Group):
        for name, member in command.commands.items():
            take_reading(member, f"{path} {name}")
    elif path not in READ_NO_IMAGES and not any(p.name == "max_pixels" for p in command.params):
        command.params += [_max_pixels(), _background()]


def _max_pixels() -> click.Option:
    return click.Option(
        ["--max-pixels"],
        type=click.IntRange(min=1),
        expose_value=False,
        callback=_limit,
        help="Largest image that is read, in pixels; default: WHEREFROM_MAX_PIXELS, else "
        f"{DEFAULT_LIMITS.max_pixels // _MILLION} million.  Above 50 million an image is read at "
        "a half, a quarter or an eighth of its size.",
    )


def _background() -> click.Option:
    return click.Option(
        ["--background"],
        metavar="COLOUR",
        expose_value=False,
        callback=_use_background,
        help="Colour behind transparent pixels: a name, or #rrggbb; default: "
        "WHEREFROM_BACKGROUND, else white.",
    )


def _limit(ctx: click.Context, _: click.Parameter, count: int | None) -> None:
    if count is not None and not ctx.resilient_parsing:
        ctx.with_resource(reading_with(max_pixels=count))


def _use_background(ctx: click.Context, _: click.Parameter, colour: str | None) -> None:
    if colour is not None and not ctx.resilient_parsing:
        parse_colour(colour)
        ctx.with_resource(reading_with(background=colour))
