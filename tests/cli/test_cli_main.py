"""The frame: help, endings, derived options, doctor, completion, the reference page."""

import dataclasses
import inspect
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from wherefrom import __version__
from wherefrom.cli.console import options
from wherefrom.cli.console.session import print_json
from wherefrom.cli.installed import doctor, reference
from wherefrom.cli.main import COMPLETE_VARIABLE, MEMBERS, _escape_unknown_characters, cli, run
from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError

START = "import sys; from wherefrom.cli.main import main, run; "


def child(code, **kwargs):
    return subprocess.run([sys.executable, "-c", code], text=True, check=False, **kwargs)


def test_help_imports_no_library__closed_form():
    code = START + (
        "told = (['--help'], ['attribution', 'check', '--help'], ['credit', 'run', '--help'], "
        "['doctor', '-h']); codes = [run(arguments) for arguments in told]; "
        "found = [m for m in ('torch', 'numpy', 'matplotlib', 'jinja2') if m in sys.modules];"
        "sys.exit(f'{codes} {found}' if any(codes) or found else 0)"
    )
    ended = child(code, capture_output=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_group_help_repeats_each_command__identity_same_line():
    context = click.Context(cli)
    for name, (_, line) in MEMBERS.items():
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert line
    assert cli.get_command(context, "nonsense") is None


def test_version_is_the_packages__closed_form(capsys):
    assert run(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nonsense"], ["doctor", "--nonsense"], ["completion", "x"]])
def test_usage_errors_end_with_2__rejects_usage(arguments, capsys):
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage: wherefrom" in err


def ending(monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(doctor, "examine", fail)
    return run(["doctor"])


def test_user_errors_become_one_printable_line__closed_form(monkeypatch, capsys):
    assert ending(monkeypatch, InputError("bad\nfile \x1b[31m")) == 2
    assert capsys.readouterr() == ("", "error: bad file \\x1b[31m\n")


def test_ctrl_c_says_interrupted__closed_form(monkeypatch, capsys):
    assert ending(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("bug", [ZeroDivisionError("a bug"), EOFError(), OSError(5, "a bug")])
def test_bugs_keep_their_traceback__identity_same_error(monkeypatch, bug):
    with pytest.raises(type(bug)) as raised:
        ending(monkeypatch, bug)
    assert raised.value is bug


def test_a_reader_that_goes_away_is_no_error__closed_form():
    reading, writing = os.pipe()
    os.close(reading)
    # Unbuffered output would have nothing left to flush at exit.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    code = START + "main(['doctor', '--help'])"
    ended = child(code, stdout=writing, stderr=subprocess.PIPE, env=environment)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_text_that_the_terminal_lacks_is_escaped__closed_form():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    _escape_unknown_characters(stream)
    stream.write("é写")
    stream.flush()
    assert raw.getvalue() == b"\\xe9\\u5199"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner(Config):
    gap: float = setting(0.5, "a gap", low=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer(Config):
    count: int = setting(3, "how many", source="Table 1")
    mode: str = setting("a", "which", choices=("a", "b"))
    fast: bool = setting(False, "hurry")
    rate: float | None = setting(0.1, "a rate")
    inner: Inner = setting(Inner(), "the inner part")


def resolved(arguments, presets=None):
    """What a command with `Outer`'s options receives; the exit code if it did not run."""
    seen = []

    def callback(config):
        seen.append(config)

    table = presets or {"default": Outer()}
    command = options.ConfigCommand("x", presets=lambda: table, callback=callback)
    command.main(arguments, standalone_mode=False)
    return seen[0]


def test_no_options_give_the_default__identity_same_config():
    assert resolved([]) == Outer()


def test_every_setting_has_an_option__closed_form():
    given = ["--count", "7", "--mode", "b", "--fast", "--rate", "none", "--inner-gap", "0.25"]
    assert resolved(given) == Outer(count=7, mode="b", fast=True, rate=None, inner=Inner(gap=0.25))


def test_only_given_options_override_a_preset__closed_form():
    presets = {"default": Outer(), "paper": Outer(count=9, fast=True, inner=Inner(gap=2.0))}
    assert resolved(["--preset", "paper"], presets) == presets["paper"]
    assert resolved(["--preset", "paper", "--mode", "b", "--count", "3"], presets) == Outer(
        count=3, mode="b", fast=True, inner=Inner(gap=2.0)
    )


def test_help_of_derived_options_states_default_and_source__closed_form():
    command = options.ConfigCommand("x", presets=lambda: {"default": Outer()})
    text = " ".join(command.get_help(click.Context(command, terminal_width=200)).split())
    assert "--count INTEGER how many (Table 1) [default: 3]" in text
    assert "--inner-gap FLOAT a gap [default: 0.5]" in text


def test_settings_out_of_range_are_refused__rejects_value():
    with pytest.raises(InputError, match=r"Inner\.gap is -1\.0"):
        resolved(["--inner-gap", "-1"])
    with pytest.raises(click.UsageError, match="'c' is not one of"):
        resolved(["--mode", "c"])


def test_auto_device_is_one_that_works__closed_form():
    import torch

    name = options.resolve_device("auto")
    assert torch.empty(1, device=name).device.type == name


@pytest.mark.parametrize("name", ["abacus", "cuda:99", "meta"])
def test_devices_that_are_not_there_are_refused__rejects_device(name):
    with pytest.raises(InputError, match="pass --device auto"):
        options.resolve_device(name)


def test_doctor_finds_what_is_needed__closed_form(capsys):
    code = run(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    names = {finding["name"]: finding for finding in told["findings"]}
    assert names["wherefrom"]["value"]
    assert names["cpu"]["state"] == "ok"
    assert code == (0 if told["healthy"] else 2)


def test_doctor_says_of_each_extra_what_needs_it__identity_project():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    developers = {"bench", "site", "test", "dist", "dev", "pyod"}
    assert set(doctor.USER_EXTRAS) == set(extras) - developers
    help_text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    for purpose in doctor.USER_EXTRAS.values():
        assert all(option in help_text for option in re.findall(r"--[a-z-]+", purpose)), purpose


def test_doctor_names_missing_and_old_packages__closed_form(monkeypatch, capsys):
    needed = ["click>=8", "numpy>=99.1", "no-such-thing>=1", 'none-such>=2; extra == "diffusers"']
    needed += ['pytest>=8; extra == "test"']
    monkeypatch.setattr("importlib.metadata.requires", lambda _: needed)
    assert run(["doctor"]) == 2
    lines = {
        line.split()[-1]: " ".join(line.split()) for line in capsys.readouterr().out.splitlines()
    }
    assert "at least 99.1 is needed run: pip install --upgrade 'numpy'" in lines["'numpy'"]
    assert "missing" in lines["'no-such-thing'"]
    assert "note" in lines["'wherefrom[diffusers]'"]
    assert "for diffusion models as generators" in lines["'wherefrom[diffusers]'"]
    assert not any("pytest" in line for line in lines.values())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_the_program__closed_form(shell, capsys):
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"{COMPLETE_VARIABLE}={shell}_complete" in script


def test_the_shell_is_told_commands__closed_form():
    environment = {**os.environ, COMPLETE_VARIABLE: "bash_complete"}
    environment |= {"COMP_WORDS": "wherefrom attribution ev", "COMP_CWORD": "2"}
    ended = child(START + "main([])", capture_output=True, env=environment)
    assert ended.stdout == "plain,evaluate\n"


def test_reference_page_holds_every_commands_help_with_an_example__closed_form():
    page = reference.render()

    def walk(command, path):
        yield command, path
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                yield from walk(command.get_command(context, name), f"{path} {name}")

    for command, path in walk(cli, "wherefrom"):
        assert f"\n## {path}\n" in page
        assert "\b\nExample:\n" in inspect.cleandoc(command.help)


def test_json_has_null_for_a_number_that_is_not_finite__closed_form(capsys):
    nan, inf = float("nan"), float("inf")
    print_json({"images": [{"name": "a", "score": nan, "reason": "no score"}], "mean": -inf})
    shown = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert shown == {"images": [{"name": "a", "score": None, "reason": "no score"}], "mean": None}
