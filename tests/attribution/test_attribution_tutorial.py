"""The method that docs/tutorials/researcher.md adds is one, and its patch still fits."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from wherefrom.attribution.protocol import FitMaterial, SavedScorer
from wherefrom.generators.generator import wrap_generator

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tutorials" / "researcher.md").read_text()
HEREDOC = r"```sh\n{} <<'END'\n(.*?)^END\n```"


def typed(command):
    """What the page types into a command."""
    (text,) = re.findall(HEREDOC.format(re.escape(command)), PAGE, re.MULTILINE | re.DOTALL)
    return text


@pytest.fixture
def plain(tmp_path, monkeypatch):
    """The page's module."""
    place = tmp_path / "plain.py"
    place.write_text(typed("cat > src/wherefrom/attribution/methods/plain.py"))
    spec = importlib.util.spec_from_file_location("tutorial_plain", place)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def make_generator():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.Sequential(
            nn.Linear(8, 16 * 64),
            nn.ReLU(),
            nn.Unflatten(1, (16, 8, 8)),
            nn.ConvTranspose2d(16, 3, 4, 2, 1),
            nn.Tanh(),
        )
    return wrap_generator(made)


def test_the_tutorials_method_fits_scores_and_is_read_again__roundtrip(plain):
    method, generator = plain.PLAIN, make_generator()
    assert set(method.presets) >= {"default", "quick"}
    config = method.presets["quick"].with_values({"train_samples": 64})
    material = FitMaterial(generator, torch.empty(0, 3, 16, 16, dtype=torch.uint8), seed=0)
    scorer = method.fit(material, config)
    own = FitMaterial(generator, material.others, seed=1).own(20).float() / 255
    other = torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    scores = scorer.score(own)
    assert (scores.shape, scores.dtype) == ((20,), torch.float64)
    assert scores.mean() < scorer.score(other).mean()
    assert torch.equal(scores[3:4], scorer.score(own[3:4]))
    again = method.read(SavedScorer(config, *scorer.to_saved(), None, "cpu"))
    assert torch.equal(again.score(own), scores)


def test_the_tutorials_patch_fits_the_table_of_methods__identity_files():
    patch = typed("git apply")
    path = re.search(r"^\+\+\+ b/(\S+)$", patch, re.MULTILINE)[1]
    hunks = re.split(r"^@@.*\n", patch, flags=re.MULTILINE)[1:]
    assert len(hunks) == 2
    for hunk in hunks:
        context = [line[1:] for line in hunk.splitlines() if line.startswith(" ")]
        assert "\n".join(context) in (ROOT / path).read_text()
