"""The `wherefrom` command: groups that import a command when it runs, and exit codes.

0 the answer was given; 2 the user must correct something; 130 interrupted; 141 the reader of the
output has closed it.  A bug keeps its traceback.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TextIO

import click
from click.shell_completion import shell_complete

from wherefrom import __version__
from wherefrom.core.compute.threads import using_threads
from wherefrom.core.errors import WherefromError
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
    from wherefrom.cli.console.session import Session, listening  # --help needs none of it

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
