"""Labels from a CSV file: classes by name, attributes as 0 and 1, and what is refused."""

from pathlib import Path

import pytest

from wherefrom.core.errors import InputError
from wherefrom.data.tables.labels import read_labels

ROOT = Path("photos")
IMAGES = [ROOT / "a.png", ROOT / "deep" / "b.png", ROOT / "c.png"]


def read(tmp_path, text, images=IMAGES):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return read_labels(path, images, ROOT)


def test_classes_are_numbered_by_name__closed_form(tmp_path):
    labels = read(tmp_path, "image,kind\nc.png,zebra\na.png,dog\ndeep/b.png,zebra\n")
    assert labels.values.tolist() == [0, 1, 1]
    assert labels.names == ("dog", "zebra")
    assert labels.unused == 0


def test_attributes_keep_their_columns__closed_form(tmp_path):
    labels = read(tmp_path, "image,smile,hat\nb.png,1,0\na.png,0,0\nc.png,1,1\nx.png,1,1\n")
    assert labels.values.tolist() == [[0, 0], [1, 0], [1, 1]]
    assert labels.names == ("smile", "hat")
    assert labels.unused == 1


def test_a_name_that_two_images_share_needs_its_path__limit(tmp_path):
    images = [ROOT / "x" / "1.png", ROOT / "y" / "1.png"]
    assert read(tmp_path, "i,k\ny/1.png,b\nx/1.png,a\n", images).values.tolist() == [0, 1]
    with pytest.raises(InputError, match="has no row for 2 of 2"):
        read(tmp_path, "i,k\n1.png,b\n", images)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a header"),
        ("image\na.png\n", "needs a header"),
        ("image,k\na.png,x\n", r"has no row for 2 of 3 images, the first photos/deep/b.png"),
        ("image,k\na.png,\n", "line 2 needs 2 filled cells"),
        ("image,k\na.png,x,y\n", "line 2 needs 2 filled cells"),
        ("image,k\na.png,x\na.png,y\n", "names 'a.png' a second time"),
        ("image,k\na.png,x\nb.png,x\nc.png,x\nd.png,y\n", "names the class 'y', but none"),
        ("image,k,l\na.png,1,0\nb.png,0,2\nc.png,1,1\n", "'l' is '2'; attributes are 0 or 1"),
        ('image,k\n"a.png,x\n', "not a readable CSV"),
    ],
)
def test_unusable_files__rejects(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)
