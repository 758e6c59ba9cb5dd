"""A small fitted attributor, made once by the command line itself."""

import math

import pytest
import torch
from torch.nn import functional as F

from wherefrom.attribution.methods import flipad
from wherefrom.cli.main import run
from wherefrom.data import save_png

MY_PY = """
import torch
from torch import nn

def G():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(8, 16 * 64), nn.ReLU(), nn.Unflatten(1, (16, 8, 8)),
                         nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh())
    with torch.no_grad():
        made[3].weight.mul_(6)
    return made
"""
FIT = [
    *("--train-samples", "50", "--calibration-samples", "60", "--mean-samples", "20"),
    *("--false-negative-rate", "0.05", "--false-positive-rate", "0.1", "--device", "cpu"),
    *("--detector-epochs", "2", "--lasso-iterations", "10", "--classifier-samples", "200"),
    *("--classifier-epochs", "2", "--classifier-width", "8"),
    *("--sibling-samples", "0"),  # so small a fit tells no sibling from its own images
]


@pytest.fixture(autouse=True)
def no_lines_of_progress(monkeypatch):
    """What a command writes to stderr must not depend on how busy the machine is."""
    monkeypatch.setattr("wherefrom.cli.console.progress.LINE_AFTER", math.inf)


@pytest.fixture
def undrawn(monkeypatch):
    """No drawing in a page of which a test looks at words: each takes a tenth of a second."""
    monkeypatch.setattr("wherefrom.report.pages.figures.svg_of", lambda *_: b"<svg/>")


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with `my.py`, `others/` (100 smooth pictures), `own/` (4 PNG) and an attributor."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "my.py").write_text(MY_PY)
    (folder / "others").mkdir()
    rng = torch.Generator().manual_seed(1)
    for index in range(100):
        coarse = torch.rand(1, 3, 5, 5, generator=rng)
        smooth = F.interpolate(coarse, size=16, mode="bicubic").clamp(0, 1)[0]
        save_png((smooth * 255).byte(), folder / "others" / f"{index}.png")
    spec = f"{folder}/my.py:G"
    assert run(["zoo", "sample", spec, "--count", "4", "--out", f"{folder}/own"]) == 0
    fit = ["attribution", "fit", "--generator", spec, "--others", f"{folder}/others"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(flipad, "REFERENCE_SAMPLES", 40)
        assert run([*fit, "--out", f"{folder}/m.attributor", *FIT]) == 0
    return folder
