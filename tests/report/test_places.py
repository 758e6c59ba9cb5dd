"""A report for strangers names files without saying where they lie."""

import json
from html import escape
from types import SimpleNamespace

import pytest

from wherefrom.report.case.places import Places


@pytest.fixture
def places(tmp_path):
    """Those of a case with an index, and an inspection of an upload that rests on two pictures."""
    home = tmp_path / "o'hara & co"
    case = SimpleNamespace(path=home / "case.toml", parts=(SimpleNamespace(path="a/refs.index"),))
    made = Places(case)
    consulted = (str(home / "a" / "photos" / "1.png"), "/elsewhere/deep/down/2.png")
    inspection = SimpleNamespace(
        consulted=consulted, exhibits={}, image=SimpleNamespace(name="x.png")
    )
    made.add(inspection, tmp_path / "jobs" / "upload")
    return made, home, tmp_path


def test_paths_are_named_from_their_index__closed_form(places):
    made, home, folder = places
    for path, name in (
        (home / "a" / "photos" / "1.png", "photos/1.png"),
        (home / "b" / "3.png", "b/3.png"),
        (home / "a" / "refs.index", "refs.index"),
        ("/elsewhere/deep/down/2.png", "down/2.png"),
        (folder / "jobs" / "upload", "x.png"),
        (home, home.name),
    ):
        shown = f"it is “{path}”: no"
        assert made.hide(shown) == f"it is “{name}”: no"
        in_page, in_json = escape(shown, quote=True), json.dumps([shown], ensure_ascii=False)
        page = made.hide(in_page.replace("&#x27;", "&#39;"))
        assert page == escape(f"it is “{name}”: no").replace("&#x27;", "&#39;")
        assert json.loads(made.hide(in_json)) == [f"it is “{name}”: no"]


def test_what_is_no_path_stays__limit(places):
    made, home, _ = places
    for text in ("/usr/bin/x", f"data:image/png;base64,AB{home}/x", "a/refs.index", ""):
        assert made.hide(text) == text
