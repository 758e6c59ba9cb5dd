"""Results as tables of a notebook and as data frames."""

import builtins

import pytest
from PIL import Image

from wherefrom.core.errors import MissingExtraError
from wherefrom.data import read_images
from wherefrom.data.images.notebook import MAX_ROWS, rows_as_frame, rows_as_html

ROWS = [{"image": "a.png", "p": 0.25, "verdict": "<b>own</b>"}, {"image": "b.png", "p": None}]


def test_every_text_is_escaped__rejects_injection():
    text = rows_as_html(ROWS, caption="<i>checked</i>")
    assert "<b>" not in text
    assert "<i>" not in text
    assert "&lt;b&gt;own&lt;/b&gt;" in text


def test_rows_and_columns_are_those_given__closed_form():
    text = rows_as_html(ROWS, caption="checked")
    assert text.count("<tr>") == 3
    assert "<th>image</th><th>p</th><th>verdict</th>" in text
    assert "<td>b.png</td><td></td><td></td>" in text


def test_a_readable_file_has_a_thumbnail__closed_form(tmp_path):
    Image.new("RGB", (200, 100), (255, 0, 0)).save(tmp_path / "a.png")
    rows = [{"image": str(tmp_path / "a.png")}, {"image": str(tmp_path / "missing.png")}]
    text = rows_as_html(rows, caption="checked", image="image")
    assert text.count('<img alt="" src="data:image/png;base64,') == 1


def test_what_is_left_out_is_said__closed_form():
    rows = [{"n": n} for n in range(MAX_ROWS + 3)]
    text = rows_as_html(rows, caption="checked")
    assert f"(the first {MAX_ROWS} of {MAX_ROWS + 3})" in text
    assert text.count("<tr>") == MAX_ROWS + 1


def test_a_frame_has_a_line_per_row__reference_pandas():
    pandas = pytest.importorskip("pandas")
    frame = rows_as_frame(ROWS)
    assert isinstance(frame, pandas.DataFrame)
    assert frame["p"].tolist()[0] == 0.25
    assert list(frame.columns) == ["image", "p", "verdict"]


def test_without_pandas_the_extra_is_named__rejects_missing(monkeypatch):
    real = builtins.__import__
    monkeypatch.setattr(
        "importlib.import_module",
        lambda name: real("no_such_package") if name == "pandas" else real(name),
    )
    with pytest.raises(MissingExtraError, match=r"wherefrom\[dataframe\]"):
        rows_as_frame(ROWS)


def test_a_batch_shows_its_files_and_the_skipped_ones__closed_form(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    batch = read_images([tmp_path], channels=3, size=None)
    files = batch.to_dict()
    assert [row["path"] for row in files["images"]] == [str(tmp_path / "a.png")]
    assert files["skipped"] == [{"path": str(tmp_path / "b.png"), "reason": "is empty (0 bytes)"}]
    assert str(batch.skipped[0]) == f"{tmp_path / 'b.png'}: is empty (0 bytes)"
    assert "images of 8x6 px: 1 read, 1 skipped" in batch._repr_html_()
