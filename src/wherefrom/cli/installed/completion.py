"""`wherefrom completion`: the script with which a shell completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Example:
      wherefrom completion bash > ~/.wherefrom-completion.bash
      echo '. ~/.wherefrom-completion.bash' >> ~/.bashrc
    """
    from wherefrom.cli.main import COMPLETE_VARIABLE, PROGRAM, cli

    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"this version of click does not know the shell {shell}")
    click.echo(script(cli, {}, PROGRAM, COMPLETE_VARIABLE).source())
