"""Commands that take a folder take an archive, and tables inside it."""

import io
import zipfile

import numpy as np
from PIL import Image

from wherefrom.cli.main import run


def write_set(path, *, labels):
    draw = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for place in range(4):
            picture = io.BytesIO()
            pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(picture, "PNG")
            archive.writestr(f"{place}.png", picture.getvalue())
        archive.writestr(labels, "file_name,label,text\n0.png,a,x\n1.png,b,x\n2.png,a,\n3.png,b,\n")


def test_an_index_names_pictures_of_an_archive__smoke(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_set("set.zip", labels="notes.csv")
    assert run(["origin", "build", "set.zip", "--out", "index"]) == 0
    assert "4 added" in capsys.readouterr().out
    assert run(["origin", "search", "index", "set.zip/2.png"]) == 0
    assert "set.zip/2.png: copy of set.zip/2.png" in capsys.readouterr().out


def test_statistics_are_no_folder_of_images__rejects(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("stats.npz", mu=np.zeros(3), sigma=np.eye(3))
    assert run(["origin", "build", "stats.npz", "--out", "index"]) == 2
    said = capsys.readouterr().err
    assert "holds mu and sigma, statistics for a Frechet distance, and no images" in said
