"""The audit as a whole, its folder, sorting, and the paper's tables."""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from anomaly_pictures import SMALL, tiny_encoder, write_images
from drawn_scores import drawn_scores

from wherefrom.anomaly import auditing
from wherefrom.anomaly.auditing import audit
from wherefrom.anomaly.calibration.sorting import sort_images
from wherefrom.anomaly.comparison.generators import anomaly_score
from wherefrom.anomaly.config import PRESETS
from wherefrom.anomaly.measuring import features, scoring
from wherefrom.anomaly.measuring.cache import MemoryCache
from wherefrom.anomaly.measuring.scoring import score_files
from wherefrom.anomaly.paper.human import read_human_table
from wherefrom.anomaly.paper.reproduce import GRID, distances_to_real, reproduce
from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.data.splits import sample_indices
from wherefrom.metrics.feature_sets.frechet import frechet_distance
from wherefrom.metrics.feature_sets.inception_score import inception_score
from wherefrom.metrics.feature_sets.kernel_distance import kernel_distance
from wherefrom.metrics.ks2d import ks2d_distance
from wherefrom.report.anomaly import galleries as galleries_module
from wherefrom.report.anomaly.galleries import (
    dotted_rows,
    galleries,
    gallery_rows,
    ladders,
    score_dots,
    small_pictures,
)
from wherefrom.report.anomaly.page import write_audit
from wherefrom.report.anomaly.tables import mean_test_table
from wherefrom.report.anomaly.wording import early
from wherefrom.report.pages.figures import HEAVY_TAIL


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folders of 24 real images, 12 alike and 12 broken, and one file that is no image."""
    folder = tmp_path_factory.mktemp("audit")
    write_images(folder / "real", 24)
    write_images(folder / "good", 12)
    write_images(folder / "bad", 12, noise=0.4)
    (folder / "bad" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder


@pytest.fixture(scope="module")
def result(place):
    return audit(sets(place), place / "real", tiny_encoder(classes=3), config=SMALL)


def sets(place):
    return {"bad": [place / "bad"], "good": [place / "good"]}


def test_audit_is_made_of_its_parts__identity_parts(place, result):
    encoder = tiny_encoder(classes=3)
    scored = {
        name: score_files([place / name], encoder, config=SMALL.scores)
        for name in ("real", "good", "bad")
    }
    points = {n: torch.stack([s.complexity, s.vulnerability], 1) for n, s in scored.items()}
    assert [row.name for row in result.comparison.generators] == ["good", "bad"]
    for row in result.comparison.generators:
        assert row.anomaly_score == ks2d_distance(points["real"].numpy(), points[row.name].numpy())
        with torch.no_grad():
            logits = encoder.head(scored[row.name].features)
        assert row.metrics.inception_score == pytest.approx(inception_score(logits))
    by_name = {image.judgement.name: image for image in result.images}
    assert len(by_name) == 24
    for row in result.calibration.judge(scored["bad"], false_alarms=0.1):
        assert by_name[row.name].judgement == row


def test_worst_images_come_first_and_are_explained__identity_order(result):
    p_values = [image.judgement.p_value for image in result.images]
    assert p_values == sorted(p_values)
    assert [image.rank for image in result.images] == list(range(1, 25))
    worst = [image.judgement.name for image in result.images[:2]]
    assert [item.name for item in result.heat_maps] == worst
    assert result.images[0].generator == "bad"
    flagged = {name: flags.flagged for name, flags in result.flags.items()}
    assert flagged["bad"] > flagged["good"]


def test_broken_files_are_named__closed_form(result):
    ((name, reason),) = result.skipped["bad"]
    assert name.name == "torn.png"
    assert reason
    assert result.skipped["real"] == ()


def test_the_order_by_frechet_distance_comes_before_c_and_v__identity_order(place, monkeypatch):
    seen = []

    class Stop(Exception):  # noqa: N818
        """Ends the audit where C and V would begin."""

    def stop(*args, **kwargs):
        raise Stop

    monkeypatch.setattr(auditing, "calibrate", stop)
    with pytest.raises(Stop):
        audit(sets(place), place / "real", tiny_encoder(), config=SMALL, first=seen.append)
    (order,) = seen
    scored = {
        name: score_files([place / name], tiny_encoder(), config=SMALL.scores)
        for name in ("real", "good", "bad")
    }
    real = scored.pop("real")
    for name, scores in scored.items():
        alone = frechet_distance(real.features, scores.features)
        assert order.distances[name] == pytest.approx(alone, rel=1e-9)  # another order of sums
    assert early(order).startswith("FD: good ")


def test_features_alone_do_not_take_an_image_out_of_its_group__identity_groups(place, monkeypatch):
    """An image whose features alone are known is measured beside others, as an unknown one is."""
    cache, groups = MemoryCache(), []
    features_only = replace(SMALL.scores, directions=0, restarts=0)
    score_files([place / "good"], tiny_encoder(), config=features_only, cache=cache)
    monkeypatch.setattr(scoring, "group_size", lambda encoder: 4)
    monkeypatch.setattr(features, "group_size", lambda encoder: 4)
    whole = features.measure
    monkeypatch.setattr(
        scoring,
        "measure",
        lambda images, *a, **k: groups.append(len(images)) or whole(images, *a, **k),
    )
    score_files([place / "good"], tiny_encoder(), config=SMALL.scores, cache=cache)
    assert groups == [4, 4, 4]


def test_a_second_run_measures_nothing__identity_cache(place, monkeypatch):
    cache, config = MemoryCache(), replace(SMALL, heat_maps=0)
    generators = {"good": [place / "good"]}
    first = audit(generators, place / "real", tiny_encoder(), config=config, cache=cache)
    assert first.comparison.generators[0].metrics.inception_score is None
    monkeypatch.setattr(cache, "put", lambda key, result: pytest.fail("measured again"))
    again = audit(generators, place / "real", tiny_encoder(), config=config, cache=cache)
    assert again.to_dict() == first.to_dict()


def test_folder_of_an_audit_holds_everything__roundtrip(result, tmp_path):
    write_audit(tmp_path, result)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"report.html", "generators.csv", "images.csv", "audit.json", "heat"}
    whole = json.loads((tmp_path / "audit.json").read_text())
    assert whole == json.loads(json.dumps(result.to_dict()))
    with (tmp_path / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [image.judgement.name for image in result.images]
    assert [float(row["AS-i"]) for row in rows] == [i.judgement.as_i for i in result.images]
    with (tmp_path / "generators.csv").open(newline="") as file:
        table = {row["generator"]: row for row in csv.DictReader(file)}
    assert float(table["bad"]["AS"]) == result.comparison.generators[1].anomaly_score
    assert sorted(path.name for path in (tmp_path / "heat").iterdir()) == ["001.png", "002.png"]
    page = (tmp_path / "report.html").read_text()
    # 24 images, 2 heat maps, a ladder of 5 x 4, 24 images in galleries and 24 above dots, and a
    # figure in two schemes; nothing from outside.
    assert page.count("data:image/png") == 46
    assert page.count("data:image/jpeg") == 48
    assert page.count("data:image/svg+xml") == 2
    assert "http" not in page.replace("http-equiv", "")
    assert all(warning.split("(")[0] in page for warning in result.warnings)
    write_audit(tmp_path, result)


def test_galleries_hold_the_worst_and_the_best_of_each_generator__naive_loop(result):
    small = small_pictures(result)
    for name, (worst, best) in gallery_rows(result).items():
        ranks = sorted(image.rank for image in result.images if image.generator == name)
        assert [image.rank for image in worst] == ranks[:6]
        assert [image.rank for image in best] == ranks[::-1][:6]
    few = replace(result, images=tuple(i for i in result.images if i.generator == "bad")[:3])
    assert [len(part) for part in gallery_rows(few)["bad"]] == [2, 1]
    shown = galleries(result, small).rows
    assert [row[:2] for row in shown] == [
        ("bad", "worst"), ("", "best"), ("good", "worst"), ("", "best"),
    ]  # fmt: skip
    assert all(cell.image for row in shown for cell in row[2:])
    assert [cell.image for cell in galleries(few, small).rows[1][2:] if cell] == [
        small[few.images[2].judgement.name]
    ]


def test_dots_lie_where_the_two_scores_are__closed_form(result, monkeypatch):
    dots = score_dots(result, small_pictures(result)).dots
    for place, of in (("x", lambda row: row.distance), ("y", lambda row: row.judgement.as_i)):
        values = np.array([of(row) for row in result.images])
        if values.max() > HEAVY_TAIL * np.median(values):
            values = np.log(values)
        expected = (values - values.min()) / (values.max() - values.min())
        assert [getattr(dot, place) for dot in dots] == pytest.approx(expected)
    assert [dot.tone == "unsure" for dot in dots] == [i.judgement.flagged for i in result.images]
    monkeypatch.setattr(galleries_module, "MAX_DOTS", 4)
    assert [row.rank for row in dotted_rows(result)] == [1, 7, 13, 19]


def test_a_ladder_shows_each_damage_with_its_auc__identity_check(result):
    check, decides = result.calibration.check, result.calibration.decides
    (grades, *_), rows = {row.grade for row in check.rows}, ladders(result).rows
    assert [row[0] for row in rows] == [row.corruption for row in check.rows]
    for row, measured in zip(rows, check.rows, strict=True):
        assert row[1 + grades].text == f"AUC {measured.auc[decides]:.2f}"
    noise = {cell.image for cell in rows[2][1:]}  # others leave 12 px as they are
    assert rows[2][0] == "noise" and len(noise) == 4
    gone = replace(result, real=replace(result.real, names=("gone.png",) * len(result.real)))
    assert ladders(gone) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"false_alarms": 0.01}, r"24 real images, but a false-alarm rate of 0.01 needs .* 149"),
        ({"comparison": replace(SMALL.comparison, neighbours=14)}, "bad: 13 images, .* 15"),
        ({"scores": replace(SMALL.scores, restarts=0)}, "needs complexity and vulnerability"),
    ],
)
def test_too_little_is_refused_before_the_work__rejects_counts(place, change, message, monkeypatch):
    monkeypatch.setattr(auditing, "calibrate", lambda *a, **k: pytest.fail("went to work"))
    with pytest.raises(InputError, match=message):
        audit(sets(place), place / "real", tiny_encoder(), config=replace(SMALL, **change))
    with pytest.raises(InputError, match="at least one folder"):
        audit({}, place / "real", tiny_encoder(), config=SMALL)


def test_heat_maps_without_their_library_are_refused_early__rejects(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    slic = replace(SMALL, localisation=replace(SMALL.localisation, segmentation="slic"))
    with pytest.raises(MissingExtraError, match="anomaly"):
        audit(sets(place), place / "real", tiny_encoder(), config=slic)


def test_images_are_linked_into_two_folders__closed_form(place, result, tmp_path):
    judgements = [image.judgement for image in result.images]
    counts = sort_images(judgements, tmp_path / "sorted", reasons="why")
    broken = [row for row in judgements if row.flagged]
    assert counts == {"keep": 24 - len(broken), "broken": len(broken)}
    links = list((tmp_path / "sorted" / "broken").iterdir())
    assert {str(link.resolve()) for link in links} == {row.name for row in broken}
    assert (tmp_path / "sorted" / "reasons.csv").read_text() == "why"
    # good/003.png and bad/003.png do not overwrite each other.
    assert len({link.name for link in links}) == len(broken)
    with pytest.raises(InputError, match="already exists"):
        sort_images(judgements, tmp_path / "sorted")
    sort_images(judgements[:1], tmp_path / "copied", copy=True)
    (copied,) = (tmp_path / "copied" / "broken").iterdir()
    assert not copied.is_symlink()


def test_grid_of_the_paper_is_measured__identity_scores(tmp_path):
    bad = write_images(tmp_path / "bad", 7, noise=0.4)
    human = tmp_path / "human.csv"
    human.write_text(
        ",model,generated,image_path,number_guesses,number_guesses_generated\n"
        + "".join(f"{i},bad,1,{i:03d}.png,3,{i % 4}\n" for i in range(5))
    )
    config = replace(PRESETS["paper"], directions=2)
    result = reproduce(
        {"bad": bad},
        write_images(tmp_path / "real", 5),
        tiny_encoder(),
        config=config,
        human=read_human_table(human),
    )
    assert [(row.step, row.count) for row in result.grid] == [(s.step, s.count) for s in GRID]
    assert [row.published for row in result.tests] == [(0.099, 0.098, 14.57, 15.24)]
    at = replace(config, epsilon=0.005, alpha=0.005)
    scores = score_files([bad], tiny_encoder(), config=at)
    row = result.grid[2]
    assert row.complexity.generated == float(scores.complexity.numpy().mean())
    assert row.vulnerability.generated == float(scores.vulnerability.numpy().mean())
    assert [c.what.split(" against")[0] for c in result.agreement] == [
        *("AS-i", "vulnerability", "minus complexity")
    ]
    shown = mean_test_table(result).shown()
    assert shown[0][:4] == ["measured", "yours", "bad", tiny_encoder().identity.kind]
    assert shown[0][4] == f"{result.tests[0].complexity.real:.4g}"
    assert shown[2] == [
        *("Tab. C.1", "FFHQ", "InsGen", "ConvNeXt-tiny"),
        *("0.0627", "0.0525", "", "< 0.0001", "14.57", "17.21", "", "< 0.0001"),
    ]
    assert result.agreement[0].count == 5
    assert result.unmatched == 2
    json.dumps(result.to_dict(), allow_nan=False)


def test_distances_are_those_of_equally_many_images__identity_parts():
    real = drawn_scores("real", 20)
    generated = {"few": drawn_scores("few", 12, c=1), "many": drawn_scores("many", 30, v=2)}
    result = distances_to_real(real, generated)
    part = generated["many"].select(sample_indices(generated["many"].digests, 12, seed=0))
    assert result["FD"] == {
        "few": frechet_distance(real.features, generated["few"].features),
        "many": frechet_distance(real.features, part.features),
    }
    assert result["KD"]["many"] == kernel_distance(real.features, part.features)
    assert result["mean AS-i"]["many"] == float(part.as_i.mean())
    row = anomaly_score(real, generated["many"], equal_size=12)
    assert result["AS"]["many"] == row.as_at_equal_size


def test_every_distance_is_compared_with_people__closed_form(tmp_path, monkeypatch):
    human = tmp_path / "human.csv"
    head = "model,generated,image_path,number_guesses,number_guesses_generated\n"
    rows = (f"g{i},1,000{j}.png,4,{1 + i + j}\n" for i in range(3) for j in (0, 1))
    human.write_text(head + "".join(rows))
    monkeypatch.setattr("wherefrom.anomaly.paper.reproduce.GRID", GRID[:2])
    scored = {f"g{i}": drawn_scores(f"g{i}", 12, v=i) for i in range(3)}
    scored["real"] = drawn_scores("real", 20)
    monkeypatch.setattr(
        "wherefrom.anomaly.paper.reproduce.score_files", lambda paths, **_: scored[paths[0].name]
    )
    folders = {name: [Path(name)] for name in ("g0", "g1", "g2")}
    people = read_human_table(human)
    result = reproduce(folders, [Path("real")], tiny_encoder(), human=people)
    distances = distances_to_real(scored.pop("real"), scored)
    rates = [people.error_rate(name)[0] for name in scored]
    for row, (what, values) in zip(result.agreement, distances.items(), strict=False):
        assert row.what == f"{what} against human error rate"
        assert row.pearson == pytest.approx(np.corrcoef([*values.values()], rates)[0, 1])
