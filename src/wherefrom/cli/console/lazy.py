"""Command groups that import a command's module only when that command runs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

from wherefrom.cli.console.reading import take_reading
from wherefrom.core.compute.threads import using_threads


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
