"""Command groups that import a command's module only when that command runs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

from wherefrom.core.compute.threads import using_threads
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


class LazyGroup(click.Group):
    """A group whose members are (`module:attribute`, line of help) until one is called.

    A module is named as it stands in `wherefrom.cli`.
    """

    def __init__(self, *args: object, members: Mapping[str, tuple[str, str]], **kwargs: object):
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.members = members

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of declaration."""
        return list(self.members)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one member, None if there is none of that name."""
        if cmd_name not in self.members:
            return None
        module, _, attribute = self.members[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"wherefrom.cli.{module}"), attribute)
        take_threads(command)
        take_reading(command, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list below the help, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.members.items()])


def take_threads(command: click.Command) -> None:
    """Give `command`, or every command of the group, the option `--threads`."""
    if isinstance(command, click.Group):
        for member in command.commands.values():
            take_threads(member)
    elif not any(param.name == "threads" for param in command.params):
        command.params.append(
            click.Option(
                ["--threads"],
                type=click.IntRange(min=1),
                expose_value=False,
                callback=_use,
                help="Number of threads; default: OMP_NUM_THREADS, else the free cores.  Verdicts, "
                "p-values and ranks do not depend on it; the last digits of a training or of an "
                "index's deviations may.",
            )
        )


def _use(ctx: click.Context, _: click.Parameter, count: int | None) -> None:
    if not ctx.resilient_parsing:
        ctx.with_resource(using_threads(count))
