"""Prompts: what a template stands for, how prompts are dealt, and what is refused."""

from collections import Counter

import pytest
import torch

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.origin.pairs.prompts import load_prompts

SPREAD = 6.0  # standard deviations of a binomial count; one false alarm in 5e8


def drawn(source, count, seed=0):
    return load_prompts(source).draw(count, stream(seed, "prompts"))


def test_a_template_stands_for_each_of_its_choices__closed_form():
    prompts = load_prompts("a {photo|painting} of a dog in {spring|winter|}")
    expected = {
        f"a {kind} of a dog in {season}"
        for kind in ("photo", "painting")
        for season in ("spring", "winter", "")
    }
    assert sum(each.count for each in prompts.templates) == len(expected)
    assert set(prompts.draw(60, stream(0, "x"))) == expected


def test_named_lists_comments_and_literal_braces__closed_form(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text(
        "\ufeff# a comment\n\n@subject = a dog | a # cat\n  of {subject} \nset {{x|y}} on\n",
        "utf-8",
    )
    prompts = load_prompts(path)
    assert sum(each.count for each in prompts.templates) == 3
    assert set(prompts.draw(30, stream(0))) == {"of a dog", "of a # cat", "set {x|y} on"}
    assert load_prompts(str(path)) == prompts


def test_prompts_are_dealt_before_they_repeat__identity_deck(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(f"prompt {index}" for index in range(9)))
    got = drawn(path, 27)
    for start in (0, 9, 18):
        assert len(set(got[start : start + 9])) == 9
    one = drawn("{a|b|c|d|e|f|g|h} and {1|2|3|4}", 16)
    assert len(set(one)) == 16


def test_choices_are_equally_likely__closed_form():
    counts = Counter(drawn("x {a|b}", 1, seed)[0] for seed in range(400))
    assert abs(counts["x a"] - 200) < SPREAD * 10


def test_the_first_prompts_do_not_depend_on_how_many__identity_prefix():
    source = "a {photo|painting|sketch} of {one|two}\nplain words\nother {x|y} words"
    assert drawn(source, 12)[:5] == drawn(source, 5)
    assert drawn(source, 12) != drawn(source, 12, seed=1)


def test_drawing_leaves_the_global_generator_alone__identity_stream():
    before = torch.get_rng_state()
    drawn("{a|b} {c|d}", 5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a {photo|painting of", "without its partner"),
        ("a {photo|{x|y}}", "do not nest"),
        ("a {subject} here", "line 1: {subject} is not listed"),
        ("fine words\na {} here", "line 2: {} is not listed"),
        ("@subject one | two\na b", "line 1: .* is no list"),
        ("@subject =\na b", "is no list"),
        ("# only\n@a = b | c", "holds no prompt"),
        ("missing.txt", "no such file.*one prompt per line"),
    ],
)
def test_broken_prompts__rejects_with_the_line(text, said):
    with pytest.raises(InputError, match=said):
        load_prompts(text)


def test_a_file_that_is_no_text__rejects(tmp_path):
    (tmp_path / "p.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    with pytest.raises(InputError, match="text"):
        load_prompts(tmp_path / "p.txt")
    (tmp_path / "empty.txt").write_bytes(b"\n")
    with pytest.raises(InputError, match="holds no prompt"):
        load_prompts(tmp_path / "empty.txt")
