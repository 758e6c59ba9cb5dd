"""The `wherefrom` command: global options and exit codes.

0 the answer was given; 2 the user must correct something; 130 interrupted; 141 the reader of the
output has closed it.  A bug keeps its traceback.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import TextIO

import click
from click.shell_completion import shell_complete

from wherefrom import __version__
from wherefrom.cli.console.lazy import LazyGroup
from wherefrom.core.errors import WherefromError

PROGRAM = "wherefrom"
COMPLETE_VARIABLE = "_WHEREFROM_COMPLETE"
LEVELS = ("debug", "info", "warning", "error")
USER_ERROR = 2
INTERRUPTED = 128 + signal.SIGINT
# Libraries that print bars and advice to stderr unless told not to.
QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
READER_GONE = 141  # what the shell reports for a program that dies of a closed pipe

MEMBERS = {
    "attribution": ("attribution.commands:attribution", "Did my model make this image?"),
    "origin": ("origin.commands:origin", "Which of my images was this edit made from?"),
    "anomaly": ("anomaly.commands:anomaly", "How natural are these generated images?"),
    "credit": ("credit.commands:credit", "Who deserves how much credit for my model?"),
    "inversion": ("inversion.commands:inversion", "Encode, edit, sort my images; find outliers."),
    "case": ("case.commands:case", "Name the fitted values that `inspect` uses, in one file."),
    "inspect": ("case.inspect:inspect", "Ask all five questions about an image or a folder."),
    "serve": ("case.serve:serve", "Inspect images on a page and through a REST interface."),
    "demo": ("case.demo:demo", "All five questions about images in the package."),
    "zoo": ("zoo:zoo", "Small GANs for trying things out: train, sample, list."),
    "doctor": ("installed.doctor:doctor", "Check the installation."),
    "completion": ("installed.completion:completion", "Print the shell completion script."),
}


@click.group(
    cls=LazyGroup,
    members=MEMBERS,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__, prog_name=PROGRAM)
@click.option("--quiet", "-q", is_flag=True, help="Show no progress and no notes.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="warning",
    help="Least severe messages of libraries that reach stderr.",
)
@click.pass_context
def cli(ctx: click.Context, quiet: bool, log_level: str) -> None:
    """Where did this generated image come from, and who deserves the credit?

    The result goes to stdout, progress and notes go to stderr.

    \b
    Example:
      wherefrom attribution check mine.attributor suspect.png
    """
    from wherefrom.cli.console.session import (
        Session,  # after --help, which needs none of it
        listening,
    )

    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    ctx.obj = Session(quiet=quiet)
    ctx.with_resource(listening(ctx.obj, log_level))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    # Torch's threads wait for each other in a loop, which beside one other busy process makes a
    # training several times slower.  Read when torch is loaded, here and in processes started here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    _escape_unknown_characters(sys.stdout)
    _escape_unknown_characters(sys.stderr)
    request = os.environ.get(COMPLETE_VARIABLE)
    if request:
        sys.exit(shell_complete(cli, {}, PROGRAM, COMPLETE_VARIABLE, request))
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code.  Only a bug raises."""
    try:
        with cli.make_context(PROGRAM, list(arguments)) as context:
            cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.ClickException as error:
        error.show()
        return USER_ERROR
    except WherefromError as error:
        _print_error(str(error))
        return USER_ERROR
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        _silence(sys.stdout)
        return READER_GONE
    return 0


def _print_error(message: str) -> None:
    from wherefrom.core.paths import printable

    click.echo(f"error: {printable(' '.join(message.split()))}", err=True)


def _escape_unknown_characters(stream: TextIO) -> None:
    # A file name that the terminal's encoding lacks must not end the program.
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _silence(stream: TextIO) -> None:
    # Python flushes once more at exit, and would complain about the closed pipe then.
    handle = os.open(os.devnull, os.O_WRONLY)
    os.dup2(handle, stream.fileno())
    os.close(handle)


if __name__ == "__main__":
    main()
