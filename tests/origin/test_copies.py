"""Perceptual hashes: what is near, what is a copy, and how the file that holds them fares."""

import contextlib
import io
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import torch
from cells import cells_encoder
from making import digest
from PIL import Image
from torch.nn import functional as F

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.rng import stream
from wherefrom.core.saving.store import digest_file
from wherefrom.data import save_png, to_uint8
from wherefrom.origin import AnswerKind, References, remove
from wherefrom.origin.index.index import Index
from wherefrom.origin.searching import copies
from wherefrom.origin.searching.copies import CopyHashes, PictureHash, difference, hash_picture

COUNT = 21
ENCODER = cells_encoder(8)


def picture(number, side=128):
    """A picture (3, side, side) with shapes and texture."""
    rng = stream(number, "picture")
    parts = [
        F.interpolate(torch.rand(1, 3, n, n, generator=rng), (side, side), mode="bicubic")[0] * w
        for n, w in ((4, 0.6), (12, 0.4))
    ]
    return sum(parts).clamp(0, 1)


def re_encoded(image, *, quality=60, side=None):
    """JPEG bytes, perhaps of another size."""
    pixels = Image.fromarray(to_uint8(image[None])[0].permute(1, 2, 0).numpy())
    if side is not None:
        pixels = pixels.resize((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    pixels.save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def random_hashes(count, seed=0):
    bits = torch.randint(256, (count, 64), dtype=torch.uint8, generator=stream(seed, "bits"))
    return [PictureHash(row[:32].numpy().tobytes(), row[32:].numpy().tobytes(), 90) for row in bits]


def apart(bits, other):
    """In how many of 256 bits two hashes differ."""
    rows = [np.unpackbits(np.frombuffer(each, dtype=np.uint8)) for each in (bits, other)]
    return int((rows[0] != rows[1]).sum())


def flipped(bits, places):
    """The hash with these of its 256 bits turned over."""
    row = np.unpackbits(np.frombuffer(bits, dtype=np.uint8)).copy()
    row[list(places)] ^= 1
    return np.packbits(row).tobytes()


@pytest.fixture
def hashes(tmp_path):
    opened = CopyHashes(tmp_path, writable=True)
    yield opened
    opened.close()


def test_near_hashes__naive_loop(hashes):
    known = random_hashes(300)
    asked = known[7]
    places = torch.randperm(256, generator=stream(1, "places")).tolist()
    near = [PictureHash(flipped(asked.bits, places[:n]), b"", 90) for n in (0, 5, 31, 32, 60)]
    mirrored = PictureHash(flipped(asked.mirrored, places[:9]), b"", 90)
    flat = PictureHash(asked.bits, b"", copies.FLAT)
    everything = dict(enumerate([*known, *near, mirrored, flat]))
    hashes.put({digest(n): found for n, found in everything.items()})
    wanted = []
    for n, found in everything.items():
        rows = [
            np.unpackbits(np.frombuffer(b, np.uint8))
            for b in (found.bits, asked.bits, asked.mirrored)
        ]
        upright, turned = (int((rows[0] != row).sum()) for row in rows[1:])
        if min(upright, turned) <= 31 and found.quality > 49:
            wanted.append((min(upright, turned), turned < upright, digest(n)))
    found = hashes.near(asked)
    assert [(near.distance, near.mirrored, near.digest) for near in found] == sorted(wanted)
    assert [near.distance for near in found] == [0, 0, 5, 9, 31]


def test_a_flat_picture_is_near_nothing__limit(hashes):
    flat = hash_picture(torch.full((3, 64, 64), 0.5))
    assert flat.quality <= copies.FLAT
    hashes.put({digest(0): flat})
    assert hashes.near(flat) == []


def test_a_hash_is_that_of_pdq__reference_pdqhash():
    import pdqhash

    image = picture(1)
    bits, quality = pdqhash.compute(to_uint8(image[None])[0].permute(1, 2, 0).numpy().copy())
    found = hash_picture(image)
    assert found.bits == np.packbits(bits.astype(np.uint8)).tobytes() and found.quality == quality
    assert found.mirrored == hash_picture(image.flip(-1)).bits


def test_hashes_outlive_their_connection__roundtrip(tmp_path):
    known = {digest(n): found for n, found in enumerate(random_hashes(4))}
    first = CopyHashes(tmp_path, writable=True)
    first.put(known)
    first.forget([digest(3)])
    reader = CopyHashes(tmp_path, writable=False)
    assert reader.missing([digest(n) for n in range(5)]) == {digest(3), digest(4)}
    assert [near.digest for near in reader.near(known[digest(2)])] == [digest(2)]
    first.put({digest(9): known[digest(2)]})  # another connection's change is seen
    assert {near.digest for near in reader.near(known[digest(2)])} == {digest(2), digest(9)}
    with pytest.raises(InputError, match="opened for reading"):
        reader.forget([digest(0)])
    first.close()
    reader.close()


def test_a_file_without_hashes_or_of_none__limit(tmp_path):
    (given,) = random_hashes(1)
    assert CopyHashes(tmp_path, writable=False).near(given) == []
    sqlite3.connect(tmp_path / copies.NAME).close()
    (tmp_path / copies.NAME).touch()  # its writer was killed before it had made the table
    assert CopyHashes(tmp_path, writable=False).missing([digest(1)]) == {digest(1)}


def test_a_damaged_file__rejects_damage(tmp_path):
    (tmp_path / copies.NAME).write_bytes(b"no database at all, " * 100)
    with pytest.raises(ArtifactError, match="remove that file, and add the images again"):
        CopyHashes(tmp_path, writable=False)
    (tmp_path / copies.NAME).unlink()
    made = sqlite3.connect(tmp_path / copies.NAME)
    made.execute("PRAGMA user_version = 9")
    made.close()
    with pytest.raises(ArtifactError, match="schema 9"):
        CopyHashes(tmp_path, writable=True)


def test_difference__closed_form():
    image = picture(2, side=256)
    changed = image.clone()
    changed[:, 64:72, 128:136] = 1 - changed[:, 64:72, 128:136]
    cell = (image - changed)[:, 64:72, 128:136].mean((1, 2))
    assert difference(image, image) == 0
    assert difference(image, changed) == pytest.approx(float(cell.square().mean().sqrt()), abs=1e-6)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("copies") / "home"
    (home / "photos").mkdir(parents=True)
    for number in range(COUNT):
        save_png(to_uint8(picture(number)[None])[0], home / "photos" / f"{number:02d}.png")
    with contextlib.chdir(home), References.create("refs.index", ENCODER) as references:
        references.add([Path("photos")])
    return home


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return Path()


@pytest.fixture
def references(home):
    with References.open("refs.index", encoder=ENCODER, writable=True) as opened:
        yield opened


def asked(references, home, data):
    (home / "q.jpg").write_bytes(data)
    (answer,) = references.search([home / "q.jpg"])
    return answer


def test_a_re_encoded_file_is_a_copy__closed_form(references, home):
    answer = asked(references, home, re_encoded(picture(4), side=80))
    assert answer.answer is AnswerKind.COPY and answer.candidates[0].path.endswith("04.png")
    assert 0 <= answer.copy.bits <= 31 and not answer.copy.mirrored
    told = f"(re-encoded; {answer.copy.bits} of 256 bits differ)"
    assert answer.sentence().endswith(told) and answer.p_value is None
    answer = asked(references, home, re_encoded(picture(4).flip(-1)))
    assert answer.answer is AnswerKind.COPY and answer.copy.mirrored
    assert "(re-encoded and mirrored; " in answer.sentence()


def test_an_edit_near_by_hash_is_no_copy__closed_form(references, home):
    edit = picture(4)
    edit[:, 50:58, 50:58] = edit[:, 50:58, 50:58].flip(0) * 0.8
    assert apart(hash_picture(edit).bits, hash_picture(picture(4)).bits) <= copies.MAX_BITS
    answer = asked(references, home, re_encoded(edit, quality=95))
    assert answer.answer is not AnswerKind.COPY and answer.copy is None
    assert len(answer.notes) == 1 and "is no copy: the pictures differ in places" in answer.notes[0]
    assert answer.candidates[0].path.endswith("04.png")


def test_a_copy_of_a_file_that_moved_is_not_called_one__closed_form(references, home):
    (home / "photos" / "04.png").rename(home / "elsewhere.png")
    answer = asked(references, home, re_encoded(picture(4)))
    assert answer.answer is not AnswerKind.COPY
    assert "could not be compared" in answer.notes[0] and "04.png" in answer.notes[0]


def test_a_removed_image_has_no_copies__identity(references, home):
    references.close()
    with Index.open(home / "refs.index", writable=True) as index:
        remove(index, [home / "photos" / "04.png"])
    opened = References.open(home / "refs.index", encoder=ENCODER)
    answer = asked(opened, home, re_encoded(picture(4)))
    assert answer.answer is not AnswerKind.COPY and answer.notes == ()
    assert opened.hashes.missing([digest_of(home, 4), digest_of(home, 5)]) == {digest_of(home, 4)}
    opened.close()


def digest_of(home, number):
    return digest_file(home / "photos" / f"{number:02d}.png")


def test_an_image_deleted_behind_the_hashes_is_not_found__identity(references, home):
    """As after a crash between the deletion and the removal of the hash."""
    (found,) = references.index.find([home / "photos" / "04.png"])
    references.index.delete([found])
    answer = asked(references, home, re_encoded(picture(4)))
    assert answer.answer is not AnswerKind.COPY and answer.notes == ()


def test_an_index_made_before_hashes_gets_them_at_the_next_add__identity(references, home):
    references.close()
    (home / "refs.index" / copies.NAME).unlink()
    opened = References.open(home / "refs.index", encoder=ENCODER)
    assert asked(opened, home, re_encoded(picture(4))).answer is not AnswerKind.COPY
    opened.close()
    opened = References.open(home / "refs.index", encoder=ENCODER, writable=True)
    again = opened.add([home / "photos"])
    assert (again.added, again.unchanged) == (0, COUNT)
    assert asked(opened, home, re_encoded(picture(4))).answer is AnswerKind.COPY
    opened.close()
