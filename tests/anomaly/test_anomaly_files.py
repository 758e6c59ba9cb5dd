"""Files and folders: cached by content, continued, and never stopped by one bad file."""

import dataclasses
from pathlib import Path

import pytest
import torch
from known_fields import ConvNet, encoder, pictures

from wherefrom.anomaly import AnomalyConfig, calibrate, method, score_images
from wherefrom.anomaly.calibration.assumption import AssumptionConfig
from wherefrom.anomaly.calibration.fitted import fit_calibration, split_reals
from wherefrom.anomaly.measuring import scoring as scoring_module
from wherefrom.anomaly.measuring.cache import FolderCache, MemoryCache, key_of
from wherefrom.anomaly.measuring.items import load_image
from wherefrom.anomaly.measuring.scoring import score_files
from wherefrom.anomaly.method import score_progressively
from wherefrom.core.errors import InputError
from wherefrom.data.images.writing import save_png, to_uint8

SHORT = AnomalyConfig(steps=4, attack_steps=3)
CONFIG = dataclasses.replace(SHORT, directions=2, restarts=1)
COLUMNS = ("complexity", "vulnerability", "features")


@pytest.fixture
def net():
    return encoder(ConvNet(), resolution=16)


def save_all(folder, images, prefix="x"):
    folder.mkdir(exist_ok=True)
    for i, image in enumerate(images):
        save_png(to_uint8(image), folder / f"{prefix}{i:02d}.png")
    return folder


@pytest.fixture
def counted(monkeypatch):
    """How many images were measured so far."""
    seen = []
    measure = scoring_module.measure

    def counting(images, *args, **kwargs):
        seen.append(len(images))
        return measure(images, *args, **kwargs)

    monkeypatch.setattr(scoring_module, "measure", counting)
    return lambda: sum(seen)


def test_files_score_as_their_pixels__identity_tensor(tmp_path, net):
    folder = save_all(tmp_path / "a", pictures(3, side=20))
    result = score_files([folder], net, config=CONFIG)
    loaded = torch.stack([load_image(path, 16) for path in sorted(folder.iterdir())])
    direct = score_images(loaded, net, config=CONFIG)
    for column in COLUMNS:
        assert torch.equal(getattr(result, column), getattr(direct, column))
    assert [name.rsplit("/", 1)[1] for name in result.names] == ["x00.png", "x01.png", "x02.png"]


def test_a_broken_file_does_not_stop_the_folder__rejects_file(tmp_path, net):
    folder = save_all(tmp_path / "a", pictures(2, side=16))
    (folder / "broken.png").write_bytes(b"\x89PNG no")
    (folder / "empty.jpg").write_bytes(b"")
    result = score_files([folder], net, config=CONFIG)
    assert len(result) == 2 and [path.name for path, _ in result.skipped] == [
        "broken.png",
        "empty.jpg",
    ]
    assert all(reason for _, reason in result.skipped)


@pytest.mark.parametrize("sides", [(1, 1), (1, 900), (900, 2)])
def test_a_dot_or_a_line_is_too_little_to_judge__rejects_file(tmp_path, sides):
    save_png(torch.full((3, *sides), 99, dtype=torch.uint8), tmp_path / "a.png")
    with pytest.raises(InputError, match="too little to judge"):
        load_image(tmp_path / "a.png", 16)


def test_a_second_run_measures_only_what_is_new__identity_cache(tmp_path, net, counted):
    folder = save_all(tmp_path / "a", pictures(3, side=16))
    cache = FolderCache(tmp_path / "cache")
    first = score_files([folder], net, config=CONFIG, cache=cache)
    save_all(folder, pictures(1, seed=5, side=16), prefix="y")
    second = score_files([folder], net, config=CONFIG, cache=FolderCache(tmp_path / "cache"))
    assert counted() == 4
    for column in COLUMNS:
        assert torch.equal(getattr(second, column)[:3], getattr(first, column))
    other = dataclasses.replace(CONFIG, epsilon=0.02)
    score_files([folder], net, config=other, cache=cache)
    assert counted() == 8


def test_a_stored_measurement_is_continued__identity_all_at_once(tmp_path, net, counted):
    folder, cache = save_all(tmp_path / "a", pictures(2, side=16)), MemoryCache()
    more = dataclasses.replace(SHORT, directions=4, restarts=2)
    score_files([folder], net, config=CONFIG, cache=cache)
    continued = score_files([folder], net, config=more, cache=cache)
    at_once = score_files([folder], net, config=more)
    assert counted() == 6
    again = score_files([folder], net, config=CONFIG, cache=cache)
    assert counted() == 6 and (again.directions == 2).all()
    for column in (*COLUMNS, "complexity_error", "vulnerability_error", "still"):
        assert torch.equal(getattr(continued, column), getattr(at_once, column))


def test_a_damaged_entry_is_measured_again__rejects_damage(tmp_path, net, counted):
    folder, cache = save_all(tmp_path / "a", pictures(1, side=16)), FolderCache(tmp_path / "c")
    first = score_files([folder], net, config=CONFIG, cache=cache)
    (entry,) = (tmp_path / "c").rglob("*.measurement")
    whole = entry.read_bytes()
    for damaged in (whole[:-9], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        entry.write_bytes(damaged)
        again = score_files([folder], net, config=CONFIG, cache=cache)
        assert torch.equal(again.complexity, first.complexity)
    assert counted() == 4 and entry.read_bytes() == whole


def test_cache_keys_see_everything_but_the_counts__identity_key(net):
    base = key_of("d", net.identity, CONFIG, 0)
    counts = dataclasses.replace(CONFIG, directions=5, restarts=3)
    assert key_of("d", net.identity, counts, 0) == base
    others = [
        key_of("e", net.identity, CONFIG, 0),
        key_of("d", encoder(ConvNet(seed=1), resolution=16).identity, CONFIG, 0),
        key_of("d", net.identity, CONFIG, 1),
        *(
            key_of("d", net.identity, dataclasses.replace(CONFIG, **change), 0)
            for change in (
                {"epsilon": 0.02},
                {"steps": 5},
                {"alpha": 0.02},
                {"attack_steps": 5},
                {"bound": 0.1},
                {"start_radius": 1e-4},
                {"clamp": False},
            )
        ),
    ]
    assert len({base, *others}) == len(others) + 1


def test_a_cache_that_cannot_be_a_folder__rejects(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(InputError, match="as a cache"):
        FolderCache(tmp_path / "file")


def test_progressive_scoring_measures_in_full_what_scores_high__identity_full(tmp_path, net):
    reals = save_all(tmp_path / "real", pictures(24, side=16))
    rough = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    new = save_all(tmp_path / "new", torch.cat([pictures(8, seed=7, side=16), rough]))
    config = dataclasses.replace(SHORT, directions=4, restarts=2)
    calibration, scores = calibrate(
        [reals], net, config=config, assumption=None, decides="vulnerability"
    )
    assert len(scores) == 24 and calibration.provenance["numerics"]["is_noise"] is False
    few = score_files([reals], net, config=dataclasses.replace(config, directions=2))
    cloud, held = split_reals(scores.digests, seed=0)
    points = torch.stack([few.complexity, few.vulnerability], dim=1)
    assert torch.equal(calibration.first_points, points[held])
    assert torch.equal(calibration.first_cloud, points[cloud])
    full, some = (
        score_files([new], net, config=dataclasses.replace(config, directions=count))
        for count in (4, 2)
    )
    quick = score_progressively([new], net, calibration, false_alarms=0.2)
    opened = quick.directions == 4
    high = torch.stack([some.complexity, some.vulnerability], dim=1)
    assert torch.equal(opened, calibration.needs_all_draws(high, 0.2))
    assert 0 < int(opened.sum()) < 16
    assert torch.equal(quick.complexity, torch.where(opened, full.complexity, some.complexity))
    assert torch.equal(quick.vulnerability[opened], full.vulnerability[opened])
    judged = calibration.judge(quick, false_alarms=0.2, progressive=True)
    assert all(bool(opened[i]) for i, row in enumerate(judged) if row.flagged)


def test_a_calibration_without_first_draws_has_everything_measured__identity_full(tmp_path, net):
    reals = save_all(tmp_path / "real", pictures(18, side=16))
    config = dataclasses.replace(SHORT, directions=3, restarts=1)
    calibration = fit_calibration(score_files([reals], net, config=config))
    new = save_all(tmp_path / "new", pictures(3, seed=7, side=16))
    scores = score_progressively([new], net, calibration, false_alarms=0.1)
    assert scores.directions.tolist() == [3, 3, 3]


def test_calibrating_checks_the_assumption_on_images_not_held_out__identity_split(
    tmp_path, net, monkeypatch
):
    reals = save_all(tmp_path / "real", pictures(16, side=16))
    config = dataclasses.replace(SHORT, directions=1, restarts=1)
    light = AssumptionConfig(images=5, grades=1, directions=1)
    with monkeypatch.context() as patch:
        seen = []
        patch.setattr(method, "check_assumption", lambda images, *a, **k: seen.append(images))
        calibration, scores = calibrate([reals], net, config=config, assumption=light)
    _, held = split_reals(scores.digests, seed=0)
    apart = [load_image(Path(scores.names[row]), 16) for row in held]
    assert len(held) == 11 and len(seen[0]) == 5
    assert not any(torch.equal(image, other) for image in seen[0] for other in apart)
    calibration, _ = calibrate([reals], net, config=config, assumption=light)
    assert calibration.check is not None and calibration.check.images == 5
    assert len(calibration.check.rows) == 5
    assert calibration.decides == calibration.check.advised
