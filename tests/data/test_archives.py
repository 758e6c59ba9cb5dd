"""Archives where a folder is taken: the same images as the folder, and hostile ones refused."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from wherefrom.core.errors import InputError
from wherefrom.data import batches, list_images, load_training_images, read_images
from wherefrom.data.files import archives, members
from wherefrom.data.files.archives import read_file
from wherefrom.data.files.listing import holds_many
from wherefrom.data.files.opening import UnusableFile
from wherefrom.data.images.writing import save_png
from wherefrom.data.sorting import part_files
from wherefrom.data.tables.arrays import read_moments
from wherefrom.data.tables.labels import read_labels

RNG = np.random.default_rng(7)
COLOUR = RNG.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
STRANGE = "cat/größe 1.png"
STYLEGAN_NAMES = [f"0000{i // 3}/img0000{i // 3}00{i % 3}.png" for i in range(6)]


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def files() -> dict[str, bytes]:
    names = ["cat/0.png", STRANGE, "cat/2.png", "dog/0.png", "dog/1.png", "dog/2.png"]
    return {name: png(image) for name, image in zip(names, COLOUR, strict=True)}


def write_folder(root: Path, held: dict[str, bytes]) -> Path:
    for name, data in held.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_zip(path: Path, held: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in held.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, held: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in held.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def notes(notes: list[str]) -> Callable[[], str]:
    return lambda: "\n".join(notes)


WRITERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "a.zip": write_zip,
    "packed.ZIP": lambda path, held: write_zip(path, held, zipfile.ZIP_DEFLATED),
    "lzma.zip": lambda path, held: write_zip(path, held, zipfile.ZIP_LZMA),
    "a.tar": write_tar,
    "a.tar.gz": lambda path, held: write_tar(path, held, "w:gz"),
    "a.tgz": lambda path, held: write_tar(path, held, "w:gz"),
    "a.tar.bz2": lambda path, held: write_tar(path, held, "w:bz2"),
    "a.tar.xz": lambda path, held: write_tar(path, held, "w:xz"),
    "no suffix": write_zip,
    "tar without suffix": write_tar,
}


@pytest.mark.parametrize("name", WRITERS)
def test_an_archive_equals_its_folder__identity_source(tmp_path: Path, name: str) -> None:
    folder = write_folder(tmp_path / "f", files())
    archive = WRITERS[name](tmp_path / name, files())
    listed = list_images([archive])
    assert [str(path.relative_to(archive)) for path in listed] == [
        str(path.relative_to(folder)) for path in list_images([folder])
    ]
    from_folder = read_images([folder], channels=3, size=(8, 8))
    two = read_images([archive], channels=3, size=(8, 8))
    assert torch.equal(from_folder.images, two.images) and from_folder.digests == two.digests
    first, second = (load_training_images(p, size=8, channels=3) for p in (folder, archive))
    assert first.labels is not None and second.labels is not None
    assert first.labels.tolist() == second.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_path_that_was_shown_can_be_given_again__roundtrip(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", files())
    file, folder = archive / STRANGE, archive / "dog"
    assert list_images([file]) == [file]
    assert list_images([folder]) == [folder / f"{i}.png" for i in range(3)]
    assert read_file(file, max_bytes=10_000) == files()[STRANGE]
    with pytest.raises(UnusableFile, match="no such file in the archive"):
        read_file(archive / "none.png", max_bytes=10)
    with pytest.raises(InputError, match="no such file or folder"):
        list_images([archive / "none"])


def test_a_changed_archive_is_opened_anew__limit(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", files())
    assert len(list_images([archive])) == 6
    archive.unlink()
    write_zip(archive, dict(list(files().items())[:2]))
    assert len(list_images([archive])) == 2


def test_many_archives_keep_few_files_open__limit(tmp_path: Path) -> None:
    for shard in range(archives.MAX_OPEN + 4):
        write_tar(tmp_path / f"s-{shard:03d}.tar", {f"{shard}.png": png(COLOUR[0] + shard)})
    batch = read_images([tmp_path], channels=3, size=(8, 8))
    assert len(batch.paths) == archives.MAX_OPEN + 4
    assert len(archives._opened) <= archives.MAX_OPEN


def stylegan(labels: object) -> dict[str, bytes]:
    held = {name: png(image) for name, image in zip(STYLEGAN_NAMES, COLOUR, strict=True)}
    return held | {"dataset.json": json.dumps({"labels": labels}).encode()}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([[name, 9 - i] for i, name in enumerate(STYLEGAN_NAMES)], list(range(9, 3, -1))),
        (None, None),
        ([[name, [0.5, 0.25]] for name in STYLEGAN_NAMES], None),
        ([["00000/img00000000.png", 1]], None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["zip", "folder"])
def test_a_stylegan_set_has_the_classes_of_its_table__closed_form(
    tmp_path: Path, labels: object, classes: object, where: str
) -> None:
    make = write_zip if where == "zip" else write_folder
    loaded = load_training_images(make(tmp_path / "set.zip", stylegan(labels)), size=8, channels=3)
    assert len(loaded.images) == 6
    assert (None if loaded.labels is None else loaded.labels.tolist()) == classes


def test_a_stylegan_set_without_a_table_has_no_classes__closed_form(tmp_path: Path) -> None:
    held = {name: data for name, data in stylegan(None).items() if "img" in name}
    loaded = load_training_images(write_zip(tmp_path / "a.zip", held), size=8, channels=3)
    assert loaded.labels is None


def shards(folder: Path, beside: Callable[[int], dict[str, bytes]]) -> Path:
    folder.mkdir()
    for shard in range(2):
        held: dict[str, bytes] = {}
        for i in range(3):
            key = f"{3 * shard + i:06d}"
            held[f"{key}.png"] = png(COLOUR[3 * shard + i])
            held |= {f"{key}.{suffix}": data for suffix, data in beside(3 * shard + i).items()}
        write_tar(folder / f"train-{shard:06d}.tar", held)
    return folder


@pytest.mark.parametrize(
    ("beside", "classes"),
    [
        (lambda i: {"cls": str(i % 3).encode()}, [0, 1, 2, 0, 1, 2]),
        (lambda i: {"json": json.dumps({"label": 7 - i}).encode()}, [7, 6, 5, 4, 3, 2]),
        (lambda i: {"txt": b"a caption"}, None),
        (lambda i: {"cls": b"1"} if i else {}, None),
    ],
)
def test_shards_are_one_set__closed_form(
    tmp_path: Path,
    beside: Callable[[int], dict[str, bytes]],
    classes: object,
    notes: Callable[[], str],
) -> None:
    folder = shards(tmp_path / "shards", beside)
    loaded = load_training_images(folder, size=8, channels=3)
    assert torch.equal(loaded.images, torch.from_numpy(COLOUR).permute(0, 3, 1, 2))
    assert (None if loaded.labels is None else loaded.labels.tolist()) == classes
    assert ".tar" not in notes()


def test_a_damaged_shard_stops_no_other__closed_form(
    tmp_path: Path, notes: Callable[[], str]
) -> None:
    folder = shards(tmp_path / "shards", lambda _: {})
    (folder / "train-000002.tar").write_bytes(b"no tar at all" * 100)
    batch = read_images([folder], channels=3, size=(8, 8))
    assert len(batch.paths) == 6
    ((path, _),) = batch.skipped
    assert path.name == "train-000002.tar" and "not a readable .tar" in notes()


def test_what_is_not_an_image_is_noted__closed_form(
    tmp_path: Path, notes: Callable[[], str]
) -> None:
    held = files() | {
        "cat/readme.pdf": b"%PDF", "inner.zip": b"PK", "__MACOSX/._0.png": b"x", ".DS_Store": b"x",
        "cat/0.txt": b"a caption", "Thumbs.db": b"x", "cat/picture": files()[STRANGE],
    }  # fmt: skip
    listed = list_images([write_zip(tmp_path / "a.zip", held)])
    assert len(listed) == 7 and listed[3].name == "picture"
    assert notes().endswith("a.zip: not read as images: 1 .pdf, 1 archive inside")


def test_names_that_lead_out_and_links__rejects_members(
    tmp_path: Path, notes: Callable[[], str]
) -> None:
    good = {"a.png": png(COLOUR[0])}
    bad = ["../b.png", "/etc/c.png", "x/../../d.png", "..\\e.png", "C:\\f.png", "C:/g.png"]
    archive = write_zip(tmp_path / "a.zip", good | dict.fromkeys(bad, good["a.png"]))
    assert list_images([archive]) == [archive / "a.png"]
    assert "../b.png has a name that leads out of the archive (and 5 more)" in notes()
    path = write_tar(tmp_path / "a.tar", good | dict.fromkeys(bad, good["a.png"]))
    with tarfile.open(path, "a") as tar:
        for name, kind in (("l.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    assert list_images([path]) == [path / "a.png"]
    link = zipfile.ZipInfo("l.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.png", good["a.png"])
        packed.writestr(link, "/etc/passwd")
    assert list_images([archive]) == [archive / "a.png"]
    assert "l.png is a link or special file" in notes()


def test_a_bomb_is_one_skipped_file__rejects_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {"a.png": png(COLOUR[0]), "bomb.png": bytes(3 * 2**20)}
    monkeypatch.setenv("WHEREFROM_MAX_PIXELS", "")
    for kind in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        archive = write_zip(tmp_path / f"{kind}.zip", held, kind)
        with pytest.raises(UnusableFile, match=r"bomb.png: is too large: 3 MiB, at most 1 MiB"):
            read_file(archive / "bomb.png", max_bytes=2**20)
        # A directory that understates the size does not help it.
        data = archive.read_bytes().replace(struct.pack("<I", 3 * 2**20), struct.pack("<I", 9))
        archive.write_bytes(data)
        with pytest.raises(UnusableFile, match=r"bomb.png: is (too large|damaged)"):
            read_file(archive / "bomb.png", max_bytes=2**20)
        batch = read_images([archive], channels=3, size=(8, 8))
        assert [path.name for path, _ in batch.skipped] == ["bomb.png"]
    monkeypatch.setattr(members, "MAX_UNPACKED_BYTES", 2**20)
    with pytest.raises(InputError, match="unpacks to more than 1 MiB"):
        list_images([write_tar(tmp_path / "a.tar.gz", held, "w:gz")])
    monkeypatch.setattr(members, "MAX_MEMBERS", 1)
    with pytest.raises(InputError, match="holds more than 1 files"):
        list_images([write_tar(tmp_path / "b.tar", held)])


def test_other_archives__rejects_with_what_to_do(tmp_path: Path) -> None:
    for start, says in [
        (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive, which is not read; unpack it"),
        (b"Rar!\x1a\x07", "is a RAR archive"),
        (b"\x28\xb5\x2f\xfd", "is packed with Zstandard"),
    ]:
        (tmp_path / "a.bin").write_bytes(start + bytes(100))
        with pytest.raises(InputError, match=says):
            list_images([tmp_path / "a.bin"])
    with pytest.raises(InputError, match=r"holds no image; .*not read as images: 1 .pdf"):
        list_images([write_zip(tmp_path / "a.zip", {"a.pdf": b"x"})])


def test_a_tar_that_breaks_off_says_so__limit(tmp_path: Path, notes: Callable[[], str]) -> None:
    path = write_tar(tmp_path / "a.tar", files())
    whole = path.read_bytes()
    path.write_bytes(whole[:1024] + b"\xff" * 512 + whole[1536:])
    assert [p.name for p in list_images([path])] == ["0.png"]
    assert "is damaged, and the rest of it is not read" in notes()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("key", ["arr_0", "images", "samples"])
def test_an_npz_of_samples_is_a_folder__identity_source(
    tmp_path: Path, save: Callable[..., None], key: str
) -> None:
    save(tmp_path / "s.npz", **{key: COLOUR})
    listed = list_images([tmp_path / "s.npz"])
    assert listed[1] == tmp_path / "s.npz" / key / "000001.ppm"
    batch = read_images([tmp_path / "s.npz"], channels=3, size=(8, 8))
    assert torch.equal(batch.images, torch.from_numpy(COLOUR).permute(0, 3, 1, 2))
    assert all(batch.lossless)
    loaded = load_training_images(tmp_path / "s.npz", size=8, channels=3, limit=2)
    assert torch.equal(loaded.images, batch.images[[0, 3]])


@pytest.mark.parametrize(
    "array",
    [COLOUR[..., 0], COLOUR[..., :1], COLOUR.transpose(0, 3, 1, 2),
     np.concatenate([COLOUR, np.full((6, 8, 8, 1), 255, np.uint8)], 3)],
    ids=["grey", "one channel", "channels first", "with alpha"],
)  # fmt: skip
def test_arrays_of_other_layouts__closed_form(tmp_path: Path, array: np.ndarray) -> None:
    np.savez(tmp_path / "s.npz", arr_0=array, arr_1=np.arange(6))
    batch = read_images([tmp_path / "s.npz"], channels=3, size=(8, 8))
    shown = COLOUR if array.shape[-1] in (4, 8) and array.ndim == 4 else COLOUR[..., :1]
    wanted = torch.from_numpy(np.broadcast_to(shown, COLOUR.shape).copy()).permute(0, 3, 1, 2)
    assert torch.equal(batch.images, wanted)
    loaded = load_training_images(tmp_path / "s.npz", size=8, channels=3)
    assert loaded.labels is not None and loaded.labels.tolist() == list(range(6))


def test_archives_never_raise_anything_else__rejects_random_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    np.savez_compressed(tmp_path / "a.npz", arr_0=COLOUR)
    for path in (
        write_zip(tmp_path / "a.zip", files(), zipfile.ZIP_DEFLATED),
        write_tar(tmp_path / "a.tar.gz", files(), "w:gz"),
        tmp_path / "a.npz",
    ):
        whole = path.read_bytes()
        for _ in range(40):
            data = bytearray(whole)
            for at in rng.integers(0, len(data), 4):
                data[at] = rng.integers(256)
            path.write_bytes(data[: rng.integers(len(data) // 2, len(data) + 1)])
            try:
                read_images([path], channels=3, size=(8, 8))
            except InputError as error:
                assert "\n" not in str(error)


def test_files_beside_archives_stay_files__closed_form(
    tmp_path: Path, notes: Callable[[], str]
) -> None:
    save_png(torch.from_numpy(COLOUR[0]).permute(2, 0, 1), tmp_path / "a.png")
    write_zip(tmp_path / "copy.zip", files())
    assert list_images([tmp_path]) == [tmp_path / "a.png"]
    assert "1 .zip" in notes()


def test_moments_are_read_and_checked__roundtrip(tmp_path: Path) -> None:
    path = tmp_path / "stats.npz"
    np.savez(path, mu=np.arange(3.0), sigma=np.eye(3), n=np.array(10))
    moments = read_moments(path)
    assert moments is not None and moments.mean.tolist() == [0, 1, 2]
    np.savez(path, arr_0=COLOUR)
    assert read_moments(path) is None
    assert read_moments(tmp_path) is None
    for mu, sigma, says in [
        (np.zeros(3), np.eye(2), "expected"),
        (np.zeros(3), np.full((3, 3), np.nan), "NaN"),
        (np.array([{}], dtype=object), np.eye(1), "not a readable .npz"),
    ]:
        np.savez(path, mu=mu, sigma=sigma)
        with pytest.raises(InputError, match=says):
            read_moments(path)
    np.savez(path, mu=np.zeros(2), sigma=np.eye(2))
    with pytest.raises(InputError, match="mu and sigma, statistics for a Frechet distance, and no"):
        list_images([path])


def test_many_images_lie_in_a_file__identity_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "f", files() | {"bad.png": b"x", "same.png": png(COLOUR[0])})
    in_memory = read_images([folder], channels=3, size=(8, 8))
    loaded = load_training_images(folder, size=8, channels=3)
    monkeypatch.setattr(batches, "MAX_IN_MEMORY", 100)
    two = read_images([folder], channels=3, size=(8, 8))
    assert len(two.images) == 6 and torch.equal(in_memory.images, two.images)
    assert load_training_images(folder, size=8, channels=3).digest == loaded.digest
    two.images[0] = 0  # the tensor's own, not the file's
    assert int(two.images[0].sum()) == 0
    none = read_images([folder / "bad.png"], channels=3, size=(8, 8), at_least=0)
    assert none.images.shape == (0, 3, 8, 8)
    monkeypatch.setattr(batches, "KEPT_FREE_BYTES", 2**60)
    with pytest.raises(InputError, match=r"need 1.5 KiB in the temporary folder .* set TMPDIR"):
        read_images([folder], channels=3, size=(8, 8))


def test_few_images_are_decoded_ahead__limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "f", {f"{i:03d}.png": png(COLOUR[0] + i) for i in range(60)})
    monkeypatch.setattr(batches, "_THREADS", 2)
    begun: list[int] = []
    prepare = batches._prepare
    monkeypatch.setattr(
        batches, "_prepare", lambda wanted, source: (begun.append(1), prepare(wanted, source))[1]
    )

    def slowly(items: Any, *_: object, **__: object) -> Any:
        for taken, item in enumerate(items):
            assert len(begun) <= taken + 1 + 2 * batches.AHEAD
            yield item

    assert len(read_images([folder], channels=3, size=(8, 8), track=slowly).paths) == 60


def test_files_of_archives_are_sorted_as_copies__roundtrip(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", files())
    listed = list_images([archive])
    part_files({"keep": listed[:2], "broken": listed[2:]}, tmp_path / "out")
    assert (tmp_path / "out" / "keep" / "0.png").read_bytes() == files()["cat/0.png"]
    assert not (tmp_path / "out" / "keep" / "0.png").is_symlink()
    assert len(list_images([tmp_path / "out"])) == 6


def test_one_file_of_an_archive_is_not_many__closed_form(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", files())
    write_folder(tmp_path, {"plain.png": png(COLOUR[0])})
    many = [archive, archive / "cat", tmp_path]
    single = [archive / "cat" / "0.png", tmp_path / "plain.png", tmp_path / "none.png"]
    assert [holds_many(path) for path in (*many, *single)] == [True] * 3 + [False] * 3
    assert archives.digest_anywhere(single[0]) == archives.digest_anywhere(single[1])


def test_a_metadata_table_gives_classes__closed_form(tmp_path: Path) -> None:
    table = "file_name;text;label\n" + "".join(f"cat/{i}.png;x;{i % 2}\n" for i in range(4))
    held = {f"in/cat/{i}.png": png(COLOUR[i]) for i in range(4)}
    for name in ("metadata.csv", "in/metadata.csv"):
        text = table if "/" in name else table.replace("cat/", "in/cat/")
        archive = write_zip(tmp_path / f"{len(name)}.zip", held | {name: text.encode()})
        loaded = load_training_images(archive, size=8, channels=3)
        assert loaded.labels is not None and loaded.labels.tolist() == [0, 1, 0, 1]
        assert loaded.description.endswith("(labels from metadata.csv)")


def test_a_table_may_lie_in_the_archive__closed_form(tmp_path: Path) -> None:
    table = b"file;kind\ncat\\0.png;b\ncat/2.png;a\n"
    held = {name: data for name, data in files().items() if name in ("cat/0.png", "cat/2.png")}
    archive = write_zip(tmp_path / "a.zip", held | {"labels.csv": table})
    labels = read_labels(archive / "labels.csv", list_images([archive]), archive)
    assert labels.values.tolist() == [1, 0] and labels.names == ("a", "b")
