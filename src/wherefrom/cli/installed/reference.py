"""Builds `docs/cli.md` from the commands:

python -m wherefrom.cli.installed.reference > docs/cli.md
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from wherefrom.cli.main import PROGRAM, cli

WIDTH = 96
HEAD = """# Command line

<!-- Generated: python -m wherefrom.cli.installed.reference > docs/cli.md -->

The result goes to stdout, progress and notes go to stderr.  Exit codes: 0 the answer was given,
2 something must be corrected (one line on stderr says what), 130 interrupted.
"""


def render() -> str:
    """The whole page: one section per command, each with the text of its `--help`."""
    return HEAD + "".join(_sections(cli, PROGRAM, None))


def _sections(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    ctx = command.make_context(
        name, [], parent, resilient_parsing=True, terminal_width=WIDTH, max_content_width=WIDTH
    )
    yield f"\n## {ctx.command_path}\n\n```text\n{command.get_help(ctx)}\n```\n"
    if isinstance(command, click.Group):
        for member in command.list_commands(ctx):
            subcommand = command.get_command(ctx, member)
            if subcommand is not None:
                yield from _sections(subcommand, member, ctx)


if __name__ == "__main__":
    click.echo(render(), nl=False)
