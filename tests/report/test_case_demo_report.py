import pytest

from wherefrom.case.demo import SUSPECTS, Grade, GradedAnswer, GradedSuspect
from wherefrom.case.result import QUESTIONS
from wherefrom.report.case.demo import (
    HEADINGS,
    NAMES,
    WHY,
    count_line,
    demo_lines,
    demo_sections,
    demo_table,
    explanations,
    result_text,
)
from wherefrom.report.pages.html import render_page


def graded(name, unreadable="", **grades):
    """A suspect with answers of these grades; the reason of an answer that is missing follows."""
    answers = {}
    for question, given in grades.items():
        grade, reason = given if isinstance(given, tuple) else (given, "")
        answers[question] = GradedAnswer(question, "text", grade, reason)
    return GradedSuspect(f"folder/{name}", SUSPECTS[name], answers, unreadable=unreadable)


RIGHT, WRONG, NONE = Grade.RIGHT, Grade.WRONG, Grade.NO_ANSWER
SIZE = "x could not judge it: the file is 320 x 240 px"
SOME = (
    graded("mine-1.png", model=RIGHT, origin=WRONG, naturalness=Grade.UNGRADED),
    graded("sibling.png", model=WRONG, origin=WRONG, credit=WRONG),
    graded("meadow-recoloured.png", model=(NONE, SIZE), origin=RIGHT),
    graded("wine-pasted.png", model=(NONE, SIZE), origin=(NONE, "too few")),
    graded("broken.png", unreadable="is damaged"),
)


def test_results_are_counted__closed_form():
    assert [result_text(one) for one in SOME] == [
        "1 right; wrong: made from",
        "0 right; wrong: my model, made from, credit",
        "1 right; no answer: my model",
        "0 right; no answer: my model, made from",
        "not read",
    ]
    assert count_line(SOME) == (
        "Of 9 questions with a known truth, 2 were answered right, 4 wrong, and 3 with "
        "'cannot say'."
    )


def test_like_cases_are_explained_together__closed_form():
    told = [what for what, _ in explanations(SOME)]
    assert told == [
        "mine-1.png, sibling.png: made from wrong",
        "sibling.png: my model wrong",
        "sibling.png: credit wrong",
        "meadow-recoloured.png, wine-pasted.png: my model cannot be said",
        "wine-pasted.png: made from cannot be said",
        "broken.png: not read",
    ]
    reasons = dict(explanations(SOME))
    assert reasons["wine-pasted.png: made from cannot be said"] == "too few."
    assert reasons["broken.png: not read"] == "is damaged."


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_wrong_answer_has_an_explanation__closed_form(question):
    assert WHY[question, ""]
    assert question in HEADINGS and question in NAMES
    assert {asked for asked, _ in WHY} == set(QUESTIONS)
    assert {kind for _, kind in WHY} - {""} <= {one.kind for one in SUSPECTS.values()}


def test_the_table_has_a_row_for_every_suspect__closed_form():
    rows = demo_table(SOME).shown()
    assert rows[0] == [
        "mine-1.png", "made by my model", "text", "text", "text", "-", "-",
        "1 right; wrong: made from",
    ]  # fmt: skip
    assert rows[4][2:] == ["-"] * 5 + ["not read"]


def test_lines_are_short_and_tell_what_was_left_out__closed_form():
    lines = list(demo_lines(SOME, ["a part: a package is missing"]))
    assert max(map(len, lines)) <= 110
    assert "- left out, a part: a package is missing" in lines


def test_the_page_marks_what_is_wrong__closed_form():
    page = render_page("x", demo_sections(SOME))
    assert page.count("✗ text") == 4
    assert "What went wrong, and why" in page
