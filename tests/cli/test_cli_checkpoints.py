"""Checkpoints and generators as a person names them on the command line."""

import pytest
import torch
from torch import nn

from wherefrom.cli.main import run

MY_PY = """
import torch
from torch import nn

def G(channels=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose2d(4, channels, 4), nn.Tanh())

def rgba():
    return G(4)

def half():
    return G().half()

def meta():
    return G().to("meta")
"""


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "my.py").write_text(MY_PY)
    return f"{tmp_path}/my.py:"


def sample(spec, out, *more):
    return run(
        ["zoo", "sample", spec, "--latent", "4,1,1", "--count", "1", "--out", str(out), *more]
    )


def test_which_weights_are_used_is_said_and_can_be_chosen__identity_notes(spec, tmp_path, capsys):
    state = nn.ConvTranspose2d(4, 3, 4).state_dict()
    raw = {f"module.0.{key}": value for key, value in state.items()}
    ema = {f"0.{key}": value + 1 for key, value in state.items()}
    torch.save({"g": raw, "g_ema": ema, "args": {"lr": 0.1}}, tmp_path / "w.pt")
    for place, notes in (("", 1), ("::g", 0)):
        out = tmp_path / f"out{notes}"
        assert sample(f"{spec}G", out, "--weights", f"{tmp_path}/w.pt{place}") == 0
        said = capsys.readouterr().err
        assert ("the averaged weights (EMA) 'g_ema' are used" in said) == bool(notes)


@pytest.mark.parametrize(
    ("factory", "reason"),
    [("rgba", "images of 4 channels"), ("half", "half precision"), ("meta", "device meta")],
)
@pytest.mark.parametrize("command", ["sample", "fit"])
def test_what_cannot_be_used_is_refused_at_once__rejects_generators(
    spec, tmp_path, capsys, factory, reason, command
):
    out = tmp_path / "out"
    if command == "sample":
        assert sample(spec + factory, out) == 2
    else:
        fit = ["attribution", "fit", "--generator", spec + factory, "--latent", "4,1,1"]
        assert run([*fit, "--self-made", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1
    assert not out.exists()
