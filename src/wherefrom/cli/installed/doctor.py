"""`wherefrom doctor`: check the installation."""

from __future__ import annotations

from dataclasses import asdict

import click

from wherefrom import __version__
from wherefrom.cli.console.options import json_option
from wherefrom.cli.console.session import print_json, print_table


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """List installed packages and devices, and check the shipped models.

    Exits with 2 if something that is needed is missing or damaged.

    \b
    Example:
      wherefrom doctor
    """
    from wherefrom.cli.installed.health import MISSING, examine
    from wherefrom.report.pages.tables import Column, Table

    findings = examine()
    healthy = all(finding.state != MISSING for finding in findings)
    if as_json:
        listed = [asdict(finding) for finding in findings]
        print_json({"wherefrom": __version__, "healthy": healthy, "findings": listed})
    else:
        columns = (
            Column("part"),
            Column("name"),
            Column("state"),
            Column("found", folds=True),
            Column("advice", folds=True),
        )
        rows = tuple((f.part, f.name, f.state, f.value, f.advice) for f in findings)
        print_table(Table(columns, rows))
        click.echo("everything that is needed is installed" if healthy else "something is missing")
    if not healthy:
        ctx.exit(2)
