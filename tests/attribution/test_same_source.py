"""A folder judged as one source: what counts, what is left out, and what is said of it."""

from dataclasses import replace

import pytest
import torch

from wherefrom.attribution.checking.paths import check
from wherefrom.attribution.checking.same_source import judge_source
from wherefrom.attribution.result import ImageVerdict
from wherefrom.attribution.training.held_out import HeldOutScores
from wherefrom.calibration.combination import combined_p_value
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import InputError
from wherefrom.data.images.writing import save_png, to_uint8
from wherefrom.report.attribution.tables import SHOWN, same_source_lines


def row(name, p_value=0.5, **values):
    given = {"digest": name, "condition": "clean"} | values
    return ImageVerdict(name, Verdict.CANNOT_SAY, p_value, 0.5, 1.0, "", **given)


@pytest.fixture
def two_states(fitted):
    """An attributor that has a calibration for WebP, too, of half as many images."""
    webp = HeldOutScores(fitted.own_scores[::2], fitted.other_scores)
    return replace(fitted, altered={"WebP": webp})


def test_each_state_has_its_own_calibration__identity(two_states):
    rows = [row("a", 0.1), row("b", 0.2), row("c", 0.3, condition="WebP")]
    n = len(two_states.own_scores)
    answer = judge_source("folder", rows, two_states)
    expected = combined_p_value([([0.1, 0.2], n), ([0.3], len(two_states.own_scores[::2]))])
    assert answer.p_value == expected
    assert answer.states == {"WebP": 1, "clean": 2} and answer.images == 3


def test_what_is_no_evidence_is_left_out_and_named__closed_form(fitted):
    broken = replace(row("broken"), p_value=None, reason="cannot be read")
    barred = row("lossy", possible=(Verdict.OURS,))
    unknown = row("odd", condition=None)
    answer = judge_source(
        "folder", [row("a"), broken, row("b", digest="a"), barred, unknown], fitted
    )
    assert answer.images == 1
    assert [name for name, _ in answer.left_out] == ["broken", "b", "lossy", "odd"]
    assert dict(answer.left_out)["b"] == "is a copy of a"
    alone = judge_source("folder", [row("a")], fitted)
    assert answer.p_value == alone.p_value


def test_nothing_to_judge_is_no_answer__limit(fitted):
    answer = judge_source("folder", [replace(row("a"), p_value=None)], fitted)
    assert answer.p_value is None and not answer.rejected
    assert "no image could be judged" in answer.sentence


def test_each_folder_is_a_source_and_single_files_another__identity(fitted, generator, tmp_path):
    for place, images in {
        "own": to_uint8(generator.sample(4, seed=7)),
        "noise": torch.randint(0, 256, (4, *fitted.image_shape), dtype=torch.uint8),
    }.items():
        (tmp_path / place).mkdir()
        for index, image in enumerate(images):
            save_png(image, tmp_path / place / f"{index}.png")
    (tmp_path / "noise" / "5.png").write_bytes(b"no image")
    single = [tmp_path / "own" / "0.png", tmp_path / "own" / "1.png"]
    paths = [tmp_path / "own", tmp_path / "noise", *single]
    result = check(fitted, paths, same_source=True)
    own, noise, files = result.same_source
    assert (own.images, noise.images, files.images) == (4, 4, 2)
    assert noise.rejected and not own.rejected
    assert "it is not this model" in noise.sentence and "do not speak against" in own.sentence
    assert [name for name, _ in noise.left_out] == [str(tmp_path / "noise" / "5.png")]
    assert result.to_dict()["same_source"][1]["sentence"] == noise.sentence
    assert check(fitted, paths).same_source == ()
    tensor = check(fitted, generator.sample(4, seed=7), same_source=True).same_source
    assert [source.p_value for source in tensor] == [own.p_value]


def test_many_left_out_are_counted__limit(fitted):
    rows = [replace(row(str(i)), p_value=None) for i in range(SHOWN + 3)]
    result = replace(fitted.result(rows), same_source=(judge_source("folder", rows, fitted),))
    lines = same_source_lines(result)
    assert len(lines) == SHOWN + 2 and lines[-1] == "  left out: 3 more; --json names all"


def test_rows_of_a_table__rejects_numbers(fitted):
    numbers = replace(fitted, image_shape=(1, 1, 8))
    with pytest.raises(InputError, match="judges rows"):
        check(numbers, torch.zeros(2, 8), same_source=True)
