"""How many threads a command works with."""

import os
import subprocess
import sys

import pytest
import torch

from wherefrom.core.compute import threads
from wherefrom.core.compute.threads import (
    VARIABLE,
    free_threads,
    stated_threads,
    threads_per_process,
    using_threads,
)


@pytest.fixture
def unstated(monkeypatch):
    """Nothing in the environment decides, and torch has its own number again afterwards."""
    before = torch.get_num_threads()
    monkeypatch.delenv(VARIABLE, raising=False)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cores", "running", "free"), [(8, 1, 8), (8, 4, 5), (2, 3, 1), (2, 9, 1), (1, 1, 1)]
)
def test_what_the_load_leaves_free__closed_form(tmp_path, monkeypatch, cores, running, free):
    """This process itself is one of those that run."""
    state = tmp_path / "stat"
    state.write_text(f"cpu 1 2 3\nprocs_running {running}\nprocs_blocked 7\n")
    monkeypatch.setattr(threads, "STATE", state)
    monkeypatch.setattr(threads, "usable_cores", lambda: cores)
    assert free_threads() == free


def test_where_nobody_counts_the_average_load_is_taken__closed_form(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "STATE", tmp_path / "absent")
    monkeypatch.setattr(os, "getloadavg", lambda: (2.6, 9.0, 9.0))
    monkeypatch.setattr(threads, "usable_cores", lambda: 8)
    assert free_threads() == 5


def test_a_choice_holds_inside_and_for_processes_started_there__closed_form(unstated):
    before = torch.get_num_threads()
    with using_threads(3) as chosen:
        assert (chosen, torch.get_num_threads(), os.environ[VARIABLE]) == (3, 3, "3")
        assert threads_per_process(2) == 1 and threads_per_process(1) == 3
    assert torch.get_num_threads() == before and VARIABLE not in os.environ


def test_without_a_choice_the_environment_decides__identity(monkeypatch):
    monkeypatch.setenv(VARIABLE, "5")
    before = torch.get_num_threads()
    with using_threads(None) as chosen:
        assert chosen == 5 and torch.get_num_threads() == before
    with using_threads(2):
        assert os.environ[VARIABLE] == "2"
    assert os.environ[VARIABLE] == "5"


def test_without_either_it_is_what_is_free__closed_form(unstated, monkeypatch):
    monkeypatch.setattr(threads, "free_threads", lambda: 7)
    with using_threads(None) as chosen:
        assert chosen == torch.get_num_threads() == stated_threads() == 7


@pytest.mark.parametrize("stated", ["", "auto", "2,1", "-3"])
def test_another_word_in_the_environment_means_every_core__rejects_word(monkeypatch, stated):
    monkeypatch.setenv(VARIABLE, stated)
    assert stated_threads() == threads.usable_cores()


def test_a_command_takes_it_before_torch_is_loaded__closed_form():
    program = (
        "import sys, click\n"
        "from wherefrom.cli.main import take_threads\n"
        "@click.command()\n"
        "def command():\n"
        "    assert 'torch' not in sys.modules\n"
        "    import os\n"
        "    click.echo(os.environ['OMP_NUM_THREADS'])\n"
        "take_threads(command)\n"
        "command(['--threads', '2'])\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != VARIABLE}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "2\n"


def test_every_command_has_the_option__identity_commands():
    import click

    from wherefrom.cli.main import cli

    def leaves(command):
        if not isinstance(command, click.Group):
            yield command
            return
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            yield from leaves(command.get_command(ctx, name))

    commands = list(leaves(cli))
    assert len(commands) > 40
    for command in commands:
        assert "threads" in {param.name for param in command.params}, command.name
