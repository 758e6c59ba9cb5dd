"""The gallery of an inspected folder: pages that a browser can show, however many images."""

import re

from PIL import Image

from wherefrom.case.folder import FolderInspection, InspectedFile
from wherefrom.core.saving.store import digest_file
from wherefrom.report.case import folder as pages
from wherefrom.report.case.page import is_of_report


def row(path, sentence="Mine & <b>."):
    """An inspected file whose first question found something."""
    if not path.exists():
        Image.new("L", (2, 2)).save(path)
    answers = [
        {"question": q, "state": s, "sentence": sentence, "error_rate": 0.1, "error_of": "it errs"}
        | {"certainty": 0.01}
        for q, s in zip(
            ("model", "origin", "naturalness", "outlier", "credit"),
            ("found", "not found", "not flagged", "cannot say", "not asked"),
            strict=True,
        )
    ]
    return InspectedFile(str(path), {"image": {"digest": digest_file(path)}, "answers": answers})


def test_every_image_is_on_one_page_with_its_picture__closed_form(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "LISTED", 3)
    out = tmp_path / "out"
    out.mkdir()
    (out / "report-9.html").touch()  # of an earlier run with more images
    rows = tuple(row(tmp_path / f"{n}.png") for n in range(8))
    rows[4].inspection["image"]["digest"] = "sha256:0"  # changed since
    first = pages.write_folder(out, FolderInspection(rows, 0), "case")
    written = sorted(out.glob("*.html"))
    assert [page.name for page in written] == ["report-2.html", "report-3.html", "report.html"]
    texts = [first.read_text(), *(page.read_text() for page in written[:2])]
    shown = [re.findall(r"(\d)\.png", text) for text in texts]
    assert shown == [["0", "1", "2"], ["3", "4", "5"], ["6", "7"]]
    assert [text.count('src="data:image/jpeg') for text in texts] == [3, 2, 2]
    assert all(text.count("<img") == text.count('loading="lazy"') for text in texts)
    assert re.findall(r'<a href="([^"]+)">', texts[1])[:2] == ["report.html", "report-3.html"]
    assert "<summary" in texts[0] and "Mine &amp; &lt;b&gt;. At most 10%" in texts[0]
    assert [text.count("What these answers do not prove") for text in texts] == [1, 0, 0]
    assert all(is_of_report(file.name) for file in out.iterdir())


def test_a_few_images_are_one_page_without_links__limit(tmp_path):
    (tmp_path / "out").mkdir()
    inspected = FolderInspection((row(tmp_path / "0.png"),), 0)
    text = pages.write_folder(tmp_path / "out", inspected, "case").read_text()
    assert 'class="pager"' not in text
    assert not is_of_report("report-x.html")
