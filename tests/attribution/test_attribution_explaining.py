"""What stands behind one verdict: each number against the part of the attributor that made it."""

import dataclasses
import io
import json

import pytest
import torch
from PIL import Image

from wherefrom.attribution import explain
from wherefrom.attribution.checking import explaining
from wherefrom.attribution.checking.explaining import REENCODINGS
from wherefrom.attribution.checking.fitted import HeldOutScores
from wherefrom.attribution.checking.paths import explain_path
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import digest_file, digest_tensors
from wherefrom.data.altering.degradations import jpeg
from wherefrom.data.images.writing import save_png, to_float
from wherefrom.report.attribution.evidence import evidence_dict, heat, write_evidence_report
from wherefrom.report.attribution.tables import explanation_table
from wherefrom.report.pages.html import from_data_uri


@pytest.fixture(scope="module")
def found(fitted, smooth):
    return explain(fitted, smooth(1, 31)[0], name="suspect.png")


def test_the_verdict_is_that_of_check__identity_check(found, fitted, smooth):
    (row,) = fitted.check(smooth(1, 31), names=["suspect.png"]).images
    assert found.image == row
    assert torch.equal(found.calibration["own"], fitted.own_scores)
    assert torch.equal(found.calibration["other"], fitted.other_scores)
    assert found.digests["image"] == row.digest
    assert found.digests["generator"] == fitted.provenance["generator"]["digest"]
    assert found.digests["attributor"] == digest_tensors(fitted.tensors())


def test_channels_are_those_farthest_from_own_images__naive_loop(found, fitted, smooth):
    evidence = fitted.scorer
    z = evidence.features.extract(to_float(smooth(1, 31)))[0].float()
    z = (z - evidence.detector.mean) / evidence.detector.scale
    differences = [float(channel.abs().mean()) for channel in z]
    ranked = sorted(range(len(z)), key=lambda c: -differences[c])[:4]
    assert [channel.index for channel in found.channels] == ranked
    for channel in found.channels:
        assert channel.difference == pytest.approx(differences[channel.index])
        assert torch.equal(channel.places, z[channel.index])
    few = dataclasses.replace(evidence.features, channels=torch.tensor([1, 3]))
    detector = dataclasses.replace(
        evidence.detector,
        mean=evidence.detector.mean[[1, 3]],
        scale=evidence.detector.scale[[1, 3]],
    )
    cut = dataclasses.replace(evidence, features=few)
    object.__setattr__(cut, "detector", _Scored(detector))
    named = explain(dataclasses.replace(fitted, scorer=cut), smooth(1, 31)[0])
    assert {channel.index for channel in named.channels} == {1, 3}


class _Scored:
    """A detector's units for two channels, with the scores of the whole one."""

    def __init__(self, detector):
        self.mean, self.scale = detector.mean, detector.scale

    def score(self, x):
        return torch.zeros(len(x), dtype=torch.float64)

    def to_saved(self):
        return {}, {}


def test_unexplained_pixels_are_what_the_layer_did_not_make__reference_layer(
    found, fitted, smooth, generator, monkeypatch
):
    x = to_float(smooth(1, 31))
    features = fitted.scorer.features
    z = features.invert(x).activations
    made = features.output_map.forward(features.last_layer.apply(z))
    expected = 255 * (made - x).abs().amax(dim=1)[0]
    assert torch.allclose(found.unexplained, expected, atol=1e-3)
    assert found.out_of_reach == float((expected > 0.5).double().mean())
    monkeypatch.setattr(explaining, "REENCODINGS", REENCODINGS[:1])  # each inverts once more
    # G_L of the truth is exactly in reach: with as many steps as wanted, nothing is left over
    exact = dataclasses.replace(
        features, lasso=features.lasso.with_values({"iterations": 300, "chunk": 1})
    )
    evidence = dataclasses.replace(fitted.scorer, features=exact)
    own = explain(dataclasses.replace(fitted, scorer=evidence), generator.sample(1, seed=8)[0])
    other = explain(dataclasses.replace(fitted, scorer=evidence), smooth(1, 31)[0])
    assert own.out_of_reach < 0.1
    assert other.out_of_reach > 0.5


def test_reencodings_are_judged_like_files__reference_check(found, fitted, smooth):
    assert [one.change for one in found.reencodings] == [change for change, *_ in REENCODINGS]
    by_name = {one.change: one for one in found.reencodings}
    assert by_name["saved again without loss"].p_value == found.image.p_value
    altered = jpeg(smooth(1, 31)[0], 85)
    score = fitted.score(altered[None])
    (plain,) = fitted.check(altered[None]).images
    assert by_name["JPEG, quality 85"].p_value == plain.p_value
    for change in ("JPEG, quality 85", "scaled to three quarters"):
        if by_name[change].p_value <= fitted.config.false_negative_rate:
            assert by_name[change].verdict is Verdict.CANNOT_SAY  # neither was calibrated
    assert float(score) == plain.score


def test_a_verdict_that_turns_around_is_counted__closed_form(found):
    def with_verdicts(first, *later):
        rows = tuple(
            dataclasses.replace(one, verdict=v)
            for one, v in zip(found.reencodings, later, strict=False)
        )
        image = dataclasses.replace(found.image, verdict=first)
        return dataclasses.replace(found, image=image, reencodings=rows)

    ours, no, unsure = Verdict.OURS, Verdict.NOT_OURS, Verdict.CANNOT_SAY
    assert with_verdicts(ours, ours, unsure, no, no).stable == 0.5
    assert with_verdicts(unsure, ours, no).stable == 1.0


def test_a_file_and_its_page__roundtrip(fitted, smooth, tmp_path):
    save_png(smooth(1, 31)[0], tmp_path / "s.png")
    found, pixels = explain_path(fitted, tmp_path / "s.png")
    assert torch.equal(pixels, smooth(1, 31)[0])
    assert found.digests["image"] == digest_file(tmp_path / "s.png")
    result = fitted.result([found.image])
    picture = heat(torch.zeros(2, 2), signed=True)
    beside = write_evidence_report(tmp_path / "p.html", found, result, picture=picture)
    assert beside == tmp_path / "p.json"
    written = json.loads(beside.read_text())
    assert written == json.loads(json.dumps(dict(evidence_dict(found, result))))
    assert written["unexplained"][3][5] == pytest.approx(float(found.unexplained[3, 5]))
    page = (tmp_path / "p.html").read_text()
    for text in ("Activations that differ most", "JPEG, quality 85", found.digests["attributor"]):
        assert text in page
    assert page.count("data:image/png") == 4 + 1 + 1  # channels, pixels, the image
    assert "http" not in page.replace("http-equiv", "")
    assert len(explanation_table(found).rows) == len(REENCODINGS)
    with pytest.raises(InputError, match="a folder of 2 images"):
        save_png(smooth(2, 9)[1], tmp_path / "t.png")
        explain_path(fitted, tmp_path)
    with pytest.raises(InputError, match="usable image"):
        save_png(smooth(1, 31)[0, :, :16], tmp_path / "small.png")
        explain_path(fitted, tmp_path / "small.png")


def opened(address):
    return Image.open(io.BytesIO(from_data_uri(address)))


def test_a_map_is_tinted_by_its_values__closed_form():
    import io

    image = Image.open(
        io.BytesIO(from_data_uri(heat(torch.tensor([[-4.0, 0.0, 4.0]]), signed=True)))
    )
    assert image.size == (192, 64)
    left, middle, right = (image.getpixel((x, 32)) for x in (10, 96, 180))
    assert left[2] > left[0] and right[0] > right[2]  # blue below, red above
    assert min(middle) > 240
    dark = opened(heat(torch.tensor([[0.0, 4.0]]), signed=False))
    assert sum(dark.getpixel((0, 0))) < 20 < sum(dark.getpixel((180, 0)))


def test_each_file_state_is_compared_with_its_own__identity_condition(fitted, smooth):
    other = HeldOutScores(torch.full((60,), 7.0).double(), torch.full((16,), 8.0).double())
    conditional = dataclasses.replace(fitted, altered={"JPEG 80-89": other})
    found = explain(conditional, smooth(1, 31)[0])
    by_name = {one.change: one for one in found.reencodings}
    assert by_name["JPEG, quality 85"].condition == "JPEG 80-89"
    assert by_name["JPEG, quality 75"].verdict is Verdict.CANNOT_SAY
    assert "was not calibrated" in by_name["JPEG, quality 75"].reason
