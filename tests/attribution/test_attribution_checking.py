"""Files and folders to rows: one per file, in order, and no stop at a broken one."""

import pytest
from PIL import Image

from wherefrom.attribution import check_paths
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import InputError
from wherefrom.core.store import digest_file
from wherefrom.data.writing import save_png


@pytest.fixture
def folder(tmp_path, smooth):
    """Two pictures, a copy, a JPEG, one of another size, a broken one."""
    images = smooth(2, 8)
    for name, image in (("a.png", images[0]), ("b.png", images[1]), ("c.png", images[0])):
        save_png(image, tmp_path / name)
    Image.open(tmp_path / "a.png").save(tmp_path / "d.jpg", quality=90)
    save_png(images[0, :, :16], tmp_path / "e.png")
    (tmp_path / "f.png").write_bytes(b"no image")
    return tmp_path


def test_a_row_per_file_in_order__closed_form(fitted, folder, smooth):
    rows = check_paths(fitted, [folder]).images
    assert [row.name for row in rows] == [str(path) for path in sorted(folder.iterdir())]
    scores = fitted.score(smooth(2, 8)).tolist()
    assert [row.score for row in rows[:3]] == [scores[0], scores[1], scores[0]]
    assert [row.score is None for row in rows] == [False, False, False, False, True, True]
    for row in rows[4:]:
        assert row.verdict is Verdict.CANNOT_SAY
        assert row.p_value is None and row.p_other is None and row.reason
    assert "32x16 px, expected 32x32" in rows[4].reason
    assert rows[0].digest == digest_file(folder / "a.png")


def test_a_lossy_file_that_does_not_fit_cannot_be_judged__closed_form(fitted, folder):
    (row,) = check_paths(fitted, [folder / "d.jpg"]).images
    assert row.score > fitted.threshold
    assert row.verdict is Verdict.CANNOT_SAY and "lossy" in row.reason


def test_nothing_readable_is_still_an_answer__limit(fitted, folder):
    result = check_paths(fitted, [folder / "f.png", folder / "e.png"])
    assert result.counts()[Verdict.CANNOT_SAY] == 2
    assert all(row.score is None for row in result.images)


def test_a_missing_path_or_an_empty_folder__rejects_paths(fitted, tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        check_paths(fitted, [tmp_path / "gone.png"])
    with pytest.raises(InputError, match="no image in this folder"):
        check_paths(fitted, [tmp_path])
