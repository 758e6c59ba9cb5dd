"""Names: as they are shown, which no receipt can carry, and which look the same."""

from __future__ import annotations

from pathlib import Path

from wherefrom.core.paths import looks, show_path, unwritable


def test_any_name_is_shown_as_one_line__closed_form() -> None:
    assert show_path(Path("a\nb/\u202ec/M\udcfcller")) == "a\\nb/\\u202ec/M\\udcfcller"


def test_names_that_a_receipt_can_carry__closed_form() -> None:
    for name in (
        "anna",
        "Müller",
        "Mu\u0308ller",
        "日本語",
        "a\u200eb",
        "עברית",
        "back\\slash",
        " x ",
    ):
        assert unwritable(name) == ""
    for name, says in [
        ("M\udcfcller", "no UTF-8"), ("a\nb", "line break"), ("a\u2028b", "line break"),
        ("a\x00", "control"), ("\x1b[31m", "control"), ("", "blank"), ("\u3000", "blank"),
    ]:  # fmt: skip
        assert says in unwritable(name)


def test_names_that_look_the_same__closed_form() -> None:
    assert looks("Mu\u0308ller") == looks("Müller") == looks("Mü\u200bller") == looks("Müller ")
    assert len({looks(name) for name in ("anna", "Anna", "anna b", "annab", "日本", "日木")}) == 6
