"""`wherefrom origin`, from files to answers."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from wherefrom.cli.main import run
from wherefrom.core.rng import stream
from wherefrom.core.saving.store import digest_file
from wherefrom.data import save_png, to_uint8
from wherefrom.encoders import shipped
from wherefrom.encoders.tiny_conv import TinyConvConfig, make_autoencoder, save_autoencoder
from wherefrom.origin import read_pairs
from wherefrom.origin.pairs.manifest import PairRow, PairsManifest, write_pairs

SMALL = TinyConvConfig(latent_channels=2, width_half=4, width_quarter=4, width_eighth=4, blocks=0)


def write(folder, numbers, *, edited=False):
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        coarse = torch.rand(1, 3, 5, 6, generator=stream(number, "picture"))
        image = F.interpolate(coarse, (40, 48), mode="bicubic", align_corners=False).clamp(0, 1)
        if edited:
            noise = torch.randn(image.shape, generator=stream(number, "edit"))
            image = (0.8 * image + 0.02 * noise).clamp(0, 1)
        save_png(to_uint8(image)[0], Path(folder) / f"{number:03d}.png")


def pair_up(folder, numbers, photos, **more):
    write(f"{folder}/edits", numbers, edited=True)
    rows = [
        PairRow(
            id=f"{n}",
            origin=str(Path(photos, f"{n:03d}.png").resolve()),
            origin_digest=digest_file(Path(photos, f"{n:03d}.png")),
            edit=f"edits/{n:03d}.png",
            edit_digest=digest_file(Path(folder, "edits", f"{n:03d}.png")),
            model="darker",
            **more,
        )
        for n in numbers
    ]
    write_pairs(PairsManifest(Path(folder), tuple(rows)))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder of photographs, an encoder, pairs, and an index of the photographs."""
    folder = tmp_path_factory.mktemp("origin")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        save_autoencoder(make_autoencoder(SMALL, seed=1), folder / "vae")
        write("photos", range(22))  # 20 others are the fewest that a search compares with
        write("more", range(30, 34))
        write("elsewhere", range(50, 60))
        pair_up("pairs", range(10), "photos")
        pair_up("null", range(50, 60), "elsewhere")
        index = ["build", "photos", "--encoder", "vae", "--features", "none"]
        assert run(["--quiet", "origin", *index, "--out", "built.index"]) == 0
    return folder


@pytest.fixture(scope="module")
def with_calibration(prepared):
    """The index of the photographs, calibrated on the pairs whose origins are not in it."""
    folder = shutil.copytree(prepared / "built.index", prepared / "calibrated.index")
    calibrate = ["calibrate", str(folder), "--pairs", str(prepared / "null"), "--fpr", "0.1"]
    assert run(["--quiet", "origin", *calibrate]) == 0
    return folder


@pytest.fixture
def here(prepared, tmp_path, monkeypatch):
    """The test's own folder: a copy of all but the index."""
    indices = shutil.ignore_patterns("*.index")
    shutil.copytree(prepared, tmp_path, ignore=indices, dirs_exist_ok=True)
    for manifest in tmp_path.glob("*/pairs.jsonl"):  # it names the photographs where they lie
        manifest.write_text(manifest.read_text().replace(str(prepared), str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def built(prepared, here):
    """The test's own folder, with an index of its photographs: `refs.index`."""
    shutil.copytree(prepared / "built.index", here / "refs.index")
    return here


@pytest.fixture
def calibrated(with_calibration, here):
    """The test's own folder, with a calibrated index of its photographs: `refs.index`."""
    shutil.copytree(with_calibration, here / "refs.index")
    return here


def answers_of(capsys, *arguments):
    assert run(["--quiet", "origin", *arguments]) == 0
    return capsys.readouterr().out


def test_the_whole_way_from_photographs_to_an_answer__closed_form(here, capsys):
    told = answers_of(capsys, "train", "pairs", "--encoder", "vae", "--rank", "8", "--out", "map")
    assert told == "W of rank 8 from 10 edits of 10 origins\n"
    build = ("build", "photos", "--encoder", "vae", "--edit-map", "map", "--out", "refs.index")
    assert answers_of(capsys, *build).startswith("22 added, 0 replaced, 0 unchanged")
    assert answers_of(capsys, *build).startswith("0 added, 0 replaced, 22 unchanged")
    assert answers_of(capsys, "add", "refs.index", "more").startswith("4 added")
    told = answers_of(capsys, "remove", "refs.index", "more/031.png", "more/032.png")
    assert told == "2 removed, 24 left\n"
    told = answers_of(capsys, "calibrate", "refs.index", "--pairs", "null", "--fpr", "0.1")
    assert told == "calibrated on 10 origins for 0.1 false alarms\n"
    found = json.loads(answers_of(capsys, "search", "refs.index", "pairs/edits", "--json"))
    sentences = [answer["sentence"] for answer in found["answers"]]
    right = [f"made from photos/{n:03d}.png (p = " in s for n, s in enumerate(sentences)]
    assert sum(right) >= 7
    for answer in found["answers"]:
        assert {*answer["candidates"][0]["evidence"]} == {"latent", "features"}
    told = answers_of(capsys, "search", "refs.index", "photos/004.png")
    assert told == "photos/004.png: copy of photos/004.png (the same file)\n"
    table = answers_of(capsys, "evaluate", "pairs", "--index", "refs.index").splitlines()
    assert table[0].split() == [
        *("edited", "by", "queries", "mAP", "accuracy"),
        *("first", "5", "first", "10", "first", "100", "found", "wrong", "origin"),
    ]
    assert table[1].split()[:2] == ["all", "10"] and table[2].split()[0] == "darker"
    assert table[-1] == "24 images in the index"


def test_without_a_named_encoder_the_shipped_one_is_used__identity(here, capsys, monkeypatch):
    Path("packed").mkdir()
    save_autoencoder(make_autoencoder(SMALL, seed=3), Path("packed/default"))
    monkeypatch.setattr(shipped, "FOLDER", here / "packed")
    for name, encoder in (("named", ("--encoder", "packed/default")), ("shipped", ())):
        answers_of(capsys, "train", "pairs", *encoder, "--rank", "8", "--out", f"{name}.map")
        build = ("build", "photos", *encoder, "--edit-map", f"{name}.map", "--features", "none")
        build += ("--out", f"{name}.index")
        assert answers_of(capsys, *build).startswith("22 added")
        answers_of(capsys, "calibrate", f"{name}.index", "--pairs", "null", "--fpr", "0.1")
    found = [
        answers_of(capsys, "search", f"{name}.index", "pairs/edits/003.png", "pairs/edits/004.png")
        for name in ("named", "shipped")
    ]
    assert found[0] == found[1] and "made from" in found[0]
    shutil.rmtree("packed")
    assert run(["origin", "search", "shipped.index", "pairs/edits"]) == 2
    assert "ships no encoder" in capsys.readouterr().err


def test_a_page_shows_each_image_beside_its_origin__closed_form(calibrated, capsys):
    asked = ("photos/004.png", "pairs/edits", "--report", "r.html", "--json")
    answers = json.loads(answers_of(capsys, "search", "refs.index", *asked))["answers"]
    page = Path("r.html").read_text()
    assert "http" not in re.sub(r"data:image/(png|jpeg);base64,[^\"]*", "", page).replace(
        "http-equiv", ""
    )
    for answer in answers:
        assert answer["name"] in page and answer["digest"] in page
        if answer["answer"] == "made from":
            assert f"{answer['p_value']:.3g}" in page
            assert (
                str(Path(answer["candidates"][0]["path"]).relative_to(calibrated.resolve())) in page
            )
    assert page.count("<h2>Most similar: ") == len(answers) - 1 and page.count("<h2>A copy: ") == 1
    # Each: the image, its origin, and the map of differences with its scale.
    assert page.count('<div class="strip">') == len(answers)
    assert page.count('<div class="scale">') == len(answers)
    # And small ones of the first three candidates, where there are several.
    listed = [len(answer["candidates"]) for answer in answers if len(answer["candidates"]) > 1]
    assert page.count("data:image/jpeg") == 3 * len(answers) + sum(min(n, 3) for n in listed)
    assert "IP-Adapter" in page and "search: views" in page
    assert "set on 10 edits whose origins were left out" in page and "10%" in page


def test_a_calibration_sets_how_an_index_is_asked__rejects_settings(built, capsys):
    fpr = ("--pairs", "null", "--fpr", "0.1")
    answers_of(
        capsys,
        "calibrate",
        "refs.index",
        *fpr,
        "--views",
        "none",
        "--no-rerank",
        "--statistic",
        "gap",
    )
    meta = json.loads(Path("refs.index/calibration/artifact.json").read_text())["meta"]
    assert meta["settings"] == {"views": "none", "rerank": False, "statistic": "gap"}
    assert answers_of(capsys, "search", "refs.index", "pairs/edits/000.png", "--views", "none")
    for asked in (("--views", "flip"), ("--rerank",)):
        assert run(["origin", "search", "refs.index", "pairs/edits", *asked]) == 2
        assert "is calibrated for other settings than asked for" in capsys.readouterr().err
    assert run(["origin", "evaluate", "pairs", "--index", "refs.index", "--rerank"]) == 2
    assert "rerank True, not False" in capsys.readouterr().err


def test_a_re_encoded_photograph_is_called_a_copy__closed_form(built, capsys):
    Image.open("photos/004.png").resize((96, 80)).save("again.jpg", quality=70)
    told = answers_of(capsys, "search", "refs.index", "again.jpg")
    assert re.fullmatch(
        r"again\.jpg: copy of photos/004\.png \(re-encoded; \d+ of 256 bits differ\)\n", told
    )


def test_re_ranking_says_what_it_could_not_read__closed_form(built, capsys):
    Path("photos/007.png").unlink()
    assert run(["origin", "search", "refs.index", "pairs/edits/000.png"]) == 0
    assert "photos/007.png could not be compared again" in capsys.readouterr().err


def test_an_accelerated_search_finds_the_same__identity_exact(built, capsys, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr("wherefrom.origin.other_indexes.accelerator.MIN_IMAGES", 20)
    monkeypatch.setattr("wherefrom.origin.other_indexes.accelerator.PROBES", 6)
    assert run(["origin", "search", "refs.index", "pairs/edits", "--accelerated"]) == 2
    assert "has no accelerator; make one" in capsys.readouterr().err
    assert answers_of(capsys, "accelerate", "refs.index") == (
        "finds 100.00 % of the ten nearest that the exact scan finds\n"
    )
    # FAISS proposes fewer of this tiny index than re-ranking looks at.
    search = ("search", "refs.index", "pairs/edits", "--no-rerank", "--json")
    exact = json.loads(answers_of(capsys, *search))
    fast = json.loads(answers_of(capsys, *search, "--accelerated"))
    found = [
        [(c["path"], c["score"]) for a in told["answers"] for c in a["candidates"][:5]]
        for told in (fast, exact)
    ]
    assert found[0] == found[1]  # scores in deviations differ in the last digits
    fpr = ("--pairs", "null", "--fpr", "0.1", "--no-rerank", "--statistic", "gap")
    answers_of(capsys, "calibrate", "refs.index", *fpr)
    assert run(["origin", *search, "--accelerated"]) == 2
    assert "calibrate with `--statistic z`" in capsys.readouterr().err
    answers_of(capsys, "calibrate", "refs.index", *fpr[:-1], "z")
    answers_of(capsys, "remove", "refs.index", "photos/003.png")
    assert run(["origin", *search, "--accelerated"]) == 2
    assert "has changed since its accelerator was made" in capsys.readouterr().err


def test_search_goes_on_past_a_broken_file_and_fails_if_all_are__rejects_all_broken(built, capsys):
    Path("torn.png").write_bytes(b"\x89PNG nothing")
    told = answers_of(capsys, "search", "refs.index", "torn.png", "pairs/edits/000.png")
    assert told.startswith("torn.png: cannot say: ") and "not calibrated" in told.splitlines()[1]
    assert run(["origin", "search", "refs.index", "torn.png"]) == 2
    assert "no image could be read; the first: torn.png" in capsys.readouterr().err


def test_edits_of_an_ip_adapter_are_named_out_of_scope__closed_form(built, capsys):
    pair_up("adapted", range(10), "photos", paradigm="ip-adapter")
    commands = {
        "train": ["train", "{}", "--encoder", "vae", "--rank", "8", "--out", "{}.map"],
        "calibrate": ["calibrate", "refs.index", "--pairs", "{}", "--fpr", "0.2", "--no-rerank"],
        "evaluate": ["evaluate", "{}", "--index", "refs.index"],
    }
    for name, command in commands.items():
        for pairs in ("adapted", "pairs"):
            assert run(["origin", *(part.format(pairs) for part in command)]) == 0
            out, err = capsys.readouterr()
            assert ("note: 10 edits of 10 out of scope: an IP-Adapter" in err) == (pairs[0] == "a")
            if name == "evaluate":
                assert ("darker (ip-adapter: out of scope)" in out) == (pairs == "adapted")


def test_edits_made_elsewhere_become_pairs__closed_form(here, capsys):
    Path("mine").mkdir()
    for number in (3, 4):
        Path(f"pairs/edits/{number:03d}.png").rename(f"mine/{number:03d}__darker.png")
    assert answers_of(capsys, "pairs", "photos", "--edits", "mine") == "2 edits of 2 origins\n"
    assert read_pairs(Path("mine")).origins[0] == Path("photos/003.png").resolve()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "nowhere", "--encoder", "vae", "--out", "x"], "no such file or folder"),
        (["build", "photos", "--encoder", "none", "--out", "x"], "none is not a folder"),
        (["search", "photos", "photos/000.png"], "photos"),
        (["pairs", "photos", "--out", "x"], "give --pipeline, --prompts and --out"),
        (["pairs", "photos", "--edits", "pairs", "--out", "x"], "neither --pipeline nor --out"),
        (["pairs", "photos", "--pipeline", "vae", "--prompts", "a", "--out", "x"], "model_index"),
        (["train", "photos", "--encoder", "vae", "--out", "x"], "no pairs folder"),
        (["train", "pairs", "--encoder", "vae", "--no-stationary", "--out", "x"], "rank"),
    ],
)
def test_wrong_arguments_end_with_one_line_and_2__rejects_arguments(
    here, capsys, arguments, message
):
    assert run(["origin", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err
    assert not Path("x").exists()


def test_too_few_pairs_for_the_rate_leave_the_calibration_alone__rejects_rate(built, capsys):
    assert run(["origin", "calibrate", "refs.index", "--pairs", "null", "--fpr", "0.001"]) == 2
    assert "cannot be supported by 10 held-out samples" in capsys.readouterr().err
    assert not Path("refs.index/calibration").exists()


def test_an_index_of_another_map_is_not_built_on__rejects_map(built, capsys):
    answers_of(capsys, "train", "pairs", "--encoder", "vae", "--rank", "8", "--out", "map")
    arguments = ["build", "photos", "--encoder", "vae", "--edit-map", "map", "--out", "refs.index"]
    assert run(["origin", *arguments]) == 2
    assert "built with another edit map" in capsys.readouterr().err


def test_a_calibration_shows_its_largest_values__closed_form(built, capsys):
    arguments = ["calibrate", "refs.index", "--pairs", "null", "--fpr", "0.1", "--no-rerank"]
    assert run(["origin", *arguments, "--report", "null.html"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "calibrated on 10 origins for 0.1 false alarms\n"
    told = [line for line in shown.err.splitlines() if line.startswith("largest without its")]
    assert len(told) == 3
    saved = json.loads(Path("refs.index/calibration/artifact.json").read_text())["meta"]
    largest = saved["provenance"]["largest"]
    assert [row["value"] for row in largest] == sorted((r["value"] for r in largest), reverse=True)
    first = largest[0]
    beside = Path(first["match"]).relative_to(Path.cwd().resolve())
    values = f"{first['value']:.1f} of {first['edit']}, beside {beside}"
    assert told[0] == f"largest without its origin: {values}"
    page = Path("null.html").read_text()
    assert "Largest values without the origin" in page and page.count("data:image") >= 20
    assert run(["origin", *arguments, "--report", "null.txt"]) == 2
    assert "null.txt" in capsys.readouterr().err


def test_a_folder_is_judged_as_a_whole__closed_form(calibrated, prepared, capsys):
    """10 edits calibrate, so that p is 1/11 at least: no such answer stands at a rate of 0.05."""
    asked = ("search", "refs.index", "pairs/edits", "photos/004.png")
    rate = ("--false-discovery-rate", "0.05")
    shutil.copytree(prepared / "built.index", "bare.index")
    assert run(["origin", "search", "bare.index", *asked[2:], *rate]) == 2
    assert "a false-discovery rate of 0.05 is asked for, but bare.index is not calibrated" in (
        capsys.readouterr().err
    )
    alone = json.loads(answers_of(capsys, *asked, "--json"))
    assert alone["false_discovery_rate"] is None
    named = [one for one in alone["answers"] if one["answer"] == "made from"]
    assert len(named) >= 5
    options = ("--json", "--report", "r.html")
    together = json.loads(answers_of(capsys, *asked, *rate, *options))
    assert together["false_discovery_rate"] == 0.05
    by_name = {one["name"]: one for one in together["answers"]}
    assert by_name["photos/004.png"]["answer"] == "copy of"
    for one in named:
        now = by_name[one["name"]]
        assert now["answer"] != "made from" and "among 10 images judged together" in now["reason"]
        assert now["p_value"] == one["p_value"]
    page = Path("r.html").read_text()
    assert "on average over folders at most 5% of the answers" in page
    assert run(["origin", *asked, "--false-discovery-rate", "1.5"]) == 2
    assert "the false-discovery rate is 1.5" in capsys.readouterr().err


def test_training_pairs_are_refused_by_a_calibration_and_told_by_an_evaluation__rejects_them(
    here, capsys
):
    answers_of(capsys, "train", "null", "--encoder", "vae", "--rank", "8", "--out", "map")
    build = ("build", "photos", "elsewhere", "--encoder", "vae", "--edit-map", "map")
    answers_of(capsys, *build, "--features", "none", "--out", "refs.index")
    assert run(["origin", "calibrate", "refs.index", "--pairs", "null", "--fpr", "0.1"]) == 2
    assert "10 of the 10 pairs have an edit or an origin that the edit map was trained on" in (
        capsys.readouterr().err
    )
    evaluate = ["evaluate", "null", "--index", "refs.index", "--no-rerank", "--json"]
    assert run(["origin", *evaluate]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["trained_on"] == 10
    assert "warning: the edit map was trained on images of 10 of the pairs" in shown.err
    answers_of(capsys, "evaluate", "pairs", "--index", "refs.index", "--no-rerank")


def test_the_table_of_a_folder_is_written__roundtrip(built, capsys):
    """One row per suspect in the order given; a name cannot become a formula of a spreadsheet."""
    suspects = built / "=suspects"
    suspects.mkdir()
    edits = sorted((built / "pairs" / "edits").iterdir())
    for number in (1, 0):
        shutil.copy(edits[number], suspects / f"{number}, one.png")
    (suspects / "2.png").write_bytes(b"no picture")
    answers = json.loads(
        answers_of(capsys, "search", "refs.index", "=suspects", "--csv", "t.csv", "--json")
    )["answers"]
    with (built / "t.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [
        "'=suspects/0, one.png",
        "'=suspects/1, one.png",
        "'=suspects/2.png",
    ]
    for row, answer in zip(rows, answers, strict=True):
        assert (row["answer"], row["reason"]) == (answer["answer"], answer["reason"])
        best = answer["candidates"][0] if answer["candidates"] else None
        assert row["best candidate"] == ("" if best is None else best["path"])
        assert row["deviations"] == ("" if best is None else str(best["deviations"]))
    assert rows[2]["answer"] == "cannot say" and rows[2]["series"] == ""
    assert run(["origin", "search", "refs.index", "=suspects", "--csv", "folder/"]) == 2
