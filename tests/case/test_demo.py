import itertools
import json
from pathlib import Path

import pytest
import torch

from wherefrom.attribution import describe_saved
from wherefrom.case import demo
from wherefrom.cli.main import run
from wherefrom.core.store import digest_tensors
from wherefrom.generators.loading import load_generator


def test_no_image_serves_two_purposes__closed_form():
    names = ("OTHERS", "REFERENCES", "EDITED", "REAL", "TRAINED", "OWN", "CREDITED", "SUSPECTS")
    ranges = [getattr(demo, name) for name in names]
    images = demo.shipped_photographs()
    assert images.shape == (2600, 1, demo.SIDE, demo.SIDE)
    for start, stop in ranges:
        assert 0 <= start < stop <= len(images)
    for (_, stop), (start, _) in itertools.pairwise(ranges):
        assert stop <= start


def test_an_edit_is_another_picture_of_the_same_thing__identity():
    images = demo.shipped_photographs()[:3]
    changed = demo.edited(images, 0)
    assert torch.equal(changed, demo.edited(images, 0))
    assert not torch.equal(changed, demo.edited(images, 1))
    pairs = torch.stack([images.flatten(1).float(), changed.flatten(1).float()], dim=1)
    assert all(float(torch.corrcoef(pair)[0, 1]) > 0.95 for pair in pairs)
    assert not torch.equal(images, changed)


@pytest.mark.parametrize("name", demo.MODELS)
def test_the_shipped_attributors_are_of_the_shipped_models_and_images__identity_digests(name):
    described, _ = describe_saved(Path(str(demo.shipped_attributor(name))))
    generator = load_generator(f"zoo:{demo.MODELS[name]}")
    others = demo.shipped_photographs()[slice(*demo.OTHERS)]
    assert described["generator"]["digest"] == generator.digest
    assert described["others"]["digest"] == digest_tensors({"images": others})
    assert described["kind"] == "attribution/flipad"


@pytest.mark.slow
def test_the_demo_answers_all_five_questions__closed_form(tmp_path, capsys):
    out = tmp_path / "demo"
    assert run(["-q", "demo", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "Open" in told
    assert "1 file could not be read" in told  # broken.png stops nothing
    assert run(["-q", "case", "check", str(out / "case.toml")]) == 0
    assert (out / "report" / "report.html").stat().st_size < 2 * 2**20
    assert (out / "report-of-all" / "inspections.csv").is_file()
    found = json.loads((out / "report" / "inspection.json").read_text())
    answers = {answer["question"]: answer["state"] for answer in found["answers"]}
    assert answers["model"] == "found" and answers["credit"] == "found"  # made by the DCGAN
    assert run(["-q", "demo", "--out", str(out)]) == 2
    assert "cannot make the folder" in capsys.readouterr().err
