"""Long jobs of the command line take a device."""

import click
import pytest
import torch

from wherefrom import attribution
from wherefrom.cli.main import cli, run
from wherefrom.cli.origin.inputs import ExecutorOptions
from wherefrom.core.errors import InputError
from wherefrom.encoders import bulk

LONG = (
    *("attribution check", "attribution explain", "attribution evaluate"),
    *("attribution fit", "attribution compare", "inversion train", "inversion outliers"),
    *("origin pairs", "origin train", "origin build", "origin add", "origin sync"),
    *("origin calibrate", "origin search", "origin evaluate"),
    *("anomaly audit", "anomaly score", "credit run", "credit evaluate", "zoo train", "zoo sample"),
)


@pytest.mark.parametrize("name", LONG)
def test_long_jobs_take_a_device__identity_options(name):
    command = cli
    for part in name.split():
        command = command.get_command(click.Context(command), part)
    options = {option for parameter in command.params for option in parameter.opts}
    assert options & {"--device", "--devices"}


def test_the_encoder_is_moved_to_the_device_that_is_named__identity_device(monkeypatch):
    class Encoder:
        def to(self, device):
            return f"on {device}"

    monkeypatch.setattr(bulk, "embed_here", lambda encoder, batches: (encoder, batches))
    assert ExecutorOptions(executor="local", devices="cpu").embedding()(Encoder(), ()) == (
        "on cpu",
        (),
    )
    with pytest.raises(InputError, match="names 2 devices"):
        ExecutorOptions(executor="local", devices="cpu,cpu").embedding()


@pytest.mark.parametrize("name", ["check", "explain", "evaluate"])
def test_an_attributor_is_loaded_to_the_device_that_is_named__identity_device(
    name, monkeypatch, tmp_path
):
    class LoadedError(Exception):
        pass

    def load(path, *, generator, device):
        raise LoadedError(device)

    monkeypatch.setattr(attribution, "load", load)
    more = ["--own", "own", "--other", "a=b"] if name == "evaluate" else ["a.png"]
    with pytest.raises(LoadedError, match="cpu"):
        run(["attribution", name, f"{tmp_path}/m.attributor", *more, "--device", "cpu"])


def test_a_fit_moves_the_generator__identity_device():
    class MovedError(Exception):
        pass

    class Fixed:
        def to(self, device):
            raise MovedError(device)

    with pytest.raises(MovedError, match="there"):
        attribution.fit(Fixed(), None, device="there")


def test_processes_and_another_device__rejects_both(tmp_path, capsys):
    arguments = ["attribution", "check", f"{tmp_path}/m.attributor", "a.png", "--processes", "2"]
    assert run([*arguments, "--device", "cuda"]) == 2
    assert "--processes share the CPU" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_here_is_refused_before_any_work__rejects_device(tmp_path, capsys):
    spec = f"{tmp_path}/none.py:G"
    command = ["zoo", "sample", spec, "--count", "1", "--out", f"{tmp_path}/out"]
    assert run([*command, "--device", "cuda"]) == 2
    assert "cannot be used here" in capsys.readouterr().err
    assert run(["attribution", "check", f"{tmp_path}/m", "a.png", "--device", "cuda"]) == 2
    assert "cannot be used here" in capsys.readouterr().err
