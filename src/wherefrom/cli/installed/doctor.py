"""`wherefrom doctor`: is everything here, and does it work?"""

from __future__ import annotations

import click

from wherefrom import __version__
from wherefrom.cli.console.session import print_json, print_table


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Say what is installed, which devices there are, and whether the shipped models are whole.

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
        found = [finding.to_dict() for finding in findings]
        print_json({"wherefrom": __version__, "healthy": healthy, "findings": found})
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
        click.echo("everything that is needed is here" if healthy else "something is missing")
    if not healthy:
        ctx.exit(2)
