"""The test of damage: its evidence, its rate, what it finds, and what it refuses."""

import dataclasses
import json
import math
import shutil

import pytest
import torch
from scipy.fft import dctn

from wherefrom.anomaly import DamageConfig, DamageTest, find_damage, fit_damage_test
from wherefrom.anomaly.damage import fitted, maps
from wherefrom.anomaly.damage.measuring import MeasuredImages, measure, read_all
from wherefrom.anomaly.damage.practice import MIXTURE, PRACTICE, mix, practise
from wherefrom.anomaly.damage.spectrum import CHROMA, FLOOR, VALUES, spectrum
from wherefrom.calibration.conformal import guaranteed_rate
from wherefrom.calibration.discovery import discoveries
from wherefrom.cli.main import run
from wherefrom.core.errors import InputError
from wherefrom.core.progress import quiet
from wherefrom.core.rng import stream
from wherefrom.data import save_png, to_uint8
from wherefrom.data.altering.corruptions import CORRUPTIONS
from wherefrom.generators.loading import load_generator


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A folder of 46 images of clothes, and one of 12 others, half of them spoilt by noise."""
    folder = tmp_path_factory.mktemp("damage")
    images = load_generator("zoo:fashion-dcgan-0").sample(58, seed=3)
    noise = 0.35 * torch.randn(images[52:].shape, generator=torch.Generator().manual_seed(0))
    pixels = to_uint8(torch.cat([images[:52], images[52:] + noise]).clamp(0, 1))
    for row, image in enumerate(pixels):
        part = folder / ("real" if row < 46 else "new")
        part.mkdir(exist_ok=True)
        save_png(image, part / f"{row:02d}{'-noise' if row >= 52 else ''}.png")
    return folder


@pytest.fixture(scope="module")
def saved(real, tmp_path_factory):
    """The test of damage, as the command makes it."""
    out = tmp_path_factory.mktemp("saved") / "real.damage"
    fit = ["-q", "anomaly", "fit", str(real / "real"), "--out", str(out), "--practised", "12"]
    assert run(fit) == 0
    return out


@pytest.fixture(scope="module")
def damage_test(saved):
    return DamageTest.load(saved)


def photograph(seed, size=(40, 48)):
    """uint8 (3, H, W) of smooth colour and some noise."""
    rng = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, 5, 5, generator=rng)
    smooth = torch.nn.functional.interpolate(small, size, mode="bicubic")[0]
    noise = 0.05 * torch.randn(3, *size, generator=rng)
    return ((smooth + noise).clamp(0, 1) * 255).round().to(torch.uint8)


def test_the_spectrum_is_that_of_the_cosine_transform__reference_scipy():
    pixels = photograph(1)
    red, green, blue = pixels.double()
    planes = [0.299 * red + 0.587 * green + 0.114 * blue, blue - green, red - green]
    expected = []
    for number, plane in enumerate(planes):
        blocks = plane.unfold(0, 8, 8).unfold(1, 8, 8).reshape(-1, 8, 8).numpy()
        energy = torch.from_numpy(abs(dctn(blocks, axes=(1, 2), norm="ortho"))).mean(0)
        wanted = (energy + FLOOR).log()
        expected.append(wanted.flatten()[1:] if number == 0 else wanted[*zip(*CHROMA, strict=True)])
    assert torch.allclose(spectrum(pixels), torch.cat(expected), atol=1e-10)
    assert len(spectrum(pixels)) == VALUES


def test_only_the_middle_of_a_large_image_is_looked_at__identity():
    small = photograph(2, (512, 512))
    large = torch.zeros(3, 528, 544, dtype=torch.uint8)
    large[:, 8:520, 16:528] = small
    assert torch.equal(spectrum(large), spectrum(small))


def test_practice_is_the_same_in_any_company__identity_seed():
    x, partner = (photograph(seed).float() / 255 for seed in (3, 4))
    altered = practise(x, partner, "key")
    assert set(altered) == {*PRACTICE, MIXTURE}
    again = practise(x, partner, "key")
    assert all(torch.equal(again[kind], image) for kind, image in altered.items())
    other = practise(x, partner, "another key")
    for kind, image in altered.items():
        assert image.shape == x.shape
        assert torch.equal(image, (image * 255).round() / 255)
        assert not torch.equal(image, x), kind
        assert not torch.equal(image, other[kind]), kind
    assert torch.allclose(mix(x, x, stream(0, "same")), x, atol=1e-6)


def test_the_test_is_measured_by_damage_that_it_did_not_practise__identity_disjoint():
    assert not set(PRACTICE) & set(CORRUPTIONS)


def test_no_image_is_in_two_parts__identity_disjoint(damage_test, real):
    parts = damage_test.provenance["images"]
    assert parts == {"shape": 23, "scale": 8, "held": 15}
    assert len(damage_test.held_scores) == parts["held"]
    assert damage_test.provenance["practice"] == list(PRACTICE)


def test_surprise_is_the_logarithm_of_the_share_that_scores_as_high__closed_form():
    reference = torch.arange(100).double()
    scores = torch.tensor([0.0, 49.0, 50.0, 200.0]).double()
    found = fitted.surprise(scores, reference)
    high, excess = 89.1, (torch.arange(90, 100) - 89.1).mean()
    tail = math.log(10) + (200 - high) / excess
    expected = [-math.log(0.995), -math.log(0.505), -math.log(0.495), tail]
    assert torch.allclose(found, torch.tensor(expected).double(), atol=1e-4)
    rising = fitted.surprise(torch.linspace(-50, 300, 700).double(), reference)
    assert (rising.diff() > 0).all()
    assert fitted.surprise(scores, torch.ones(8).double()).isfinite().all()


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_real_images_are_flagged_at_most_at_the_rate__limit(
    damage_test, tmp_path, monkeypatch, rate
):
    count, held, draws = 8, 59, 40
    save_png(photograph(0), tmp_path / "00.png")
    for row in range(1, count):
        shutil.copy(tmp_path / "00.png", tmp_path / f"{row:02d}.png")
        with (tmp_path / f"{row:02d}.png").open("ab") as file:
            file.write(bytes([row]))  # another file
    rng = torch.Generator().manual_seed(0)
    heavy = torch.tensor([1.0, 2.0, 0.3, 5.0]).double()  # the kinds' tails differ

    def draw(number):
        shared = torch.randn(number, 1, generator=rng).double()
        return (shared + torch.randn(number, 4, generator=rng).double()).sinh() * heavy

    monkeypatch.setattr(
        fitted,
        "measure",
        lambda seen, network: MeasuredImages(torch.zeros(len(seen), 1), torch.zeros(1)),
    )
    monkeypatch.setattr(
        DamageTest,
        "network",
        lambda self: dataclasses.make_dataclass("N", [("resolution", int)])(96),
    )
    monkeypatch.setattr(DamageTest, "scores", lambda self, measured: draw(len(measured.values)))
    flagged = []
    for _ in range(draws):
        calibrated = dataclasses.replace(damage_test, held_scores=draw(held))
        rows = find_damage(tmp_path, calibrated, false_alarms=rate).images
        flagged.append(sum(row.flagged for row in rows) / len(rows))
    mean = torch.tensor(flagged).mean()
    error = torch.tensor(flagged).std() / draws**0.5
    assert mean <= rate + 3 * error
    assert mean >= rate / 2  # and it is not merely cautious


def test_noise_is_found_and_named__closed_form(damage_test, real):
    report = find_damage([real / "new"], damage_test, false_alarms=0.15)
    worst, rest = report.images[:6], report.images[6:]
    assert all("-noise" in row.name and row.flagged and row.discovery for row in worst)
    assert sum(row.flagged for row in rest) <= 2
    assert all(row.p_by_evidence[row.evidence] <= 0.15 for row in worst)
    assert f"{sum(r.flagged for r in report.images)} of 12 images flagged" in report.message
    alone = find_damage([real / "new" / "52-noise.png"], damage_test, false_alarms=0.15).images
    assert alone == tuple(row for row in worst if "52" in row.name)  # its company does not matter


def test_confidence_and_false_discoveries_lower_the_number_of_flags__closed_form(damage_test, real):
    held = dataclasses.replace(damage_test, held_scores=damage_test.held_scores.repeat(4, 1))
    plain = find_damage(real / "new", held, false_alarms=0.15)
    sure = find_damage(real / "new", held, false_alarms=0.15, confidence=0.9)
    limit = guaranteed_rate(0.15, 60, 0.9, what="rate")
    assert [row.flagged for row in sure.images] == [r.p_value <= limit for r in plain.images]
    together = find_damage(real / "new", held, false_alarms=0.15, false_discovery_rate=0.3)
    expected = discoveries([row.p_value for row in plain.images], 0.3).tolist()
    assert [row.flagged for row in together.images] == expected
    assert "at most 30 % are like the real ones" in together.message
    with pytest.raises(InputError, match="cannot be supported by 15 held-out samples"):
        find_damage(real / "new", damage_test, false_alarms=0.1, confidence=0.99)


def test_a_saved_test_says_the_same__roundtrip(damage_test, real, tmp_path):
    damage_test.save(tmp_path / "again.damage")
    again = DamageTest.load(tmp_path / "again.damage")
    assert again.config == damage_test.config == DamageConfig(practised=12)
    wanted = find_damage(real / "new", damage_test, false_alarms=0.15)
    assert find_damage(real / "new", again, false_alarms=0.15) == wanted


@pytest.mark.parametrize("evidence", ["damage", "mixture", "features"])
def test_a_map_sums_to_the_score__identity_sum(damage_test, real, evidence):
    path = real / "new" / "46.png"
    (seen,) = read_all([path], 96, [], quiet)
    values = measure([seen], damage_test.network()).values
    z = (values - damage_test.centre) / damage_test.spread
    part = maps.explain_damage(path, damage_test, evidence=evidence).contributions
    if evidence == "features":
        cut = damage_test.standardised(values)[0, fitted.INNER]
        expected = z[0, fitted.INNER] @ damage_test.inner_precision @ cut
    else:
        weights = damage_test.weights[list(fitted.PENALTY).index(evidence)]
        expected = z[0, :-VALUES] @ weights[:-VALUES]  # frequencies have no place
    assert torch.isclose(part.sum(), expected, rtol=1e-3)


def test_the_commands_go_from_a_test_to_a_sorted_folder__closed_form(real, saved, tmp_path, capsys):
    test, new = str(saved), str(real / "new")
    against = ["--against", test, "--false-alarms", "0.15"]
    assert run(["-q", "anomaly", "score", new, *against, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["flagged"] for row in told["images"][:6]] == [True] * 6
    assert run(["-q", "anomaly", "sort", new, *against, "--out", str(tmp_path / "sorted")]) == 0
    assert len(list((tmp_path / "sorted" / "broken").iterdir())) >= 6
    assert "p of spectrum" in (tmp_path / "sorted" / "reasons.csv").read_text()
    picture = tmp_path / "heat.png"
    asked = [f"{new}/52-noise.png", "--against", test, "--out", str(picture)]
    assert run(["-q", "anomaly", "explain", *asked]) == 0
    assert "red shows where it lies" in capsys.readouterr().out
    assert picture.is_file()


def test_a_case_asks_a_test_of_damage__closed_form(damage_test, real, saved, tmp_path, capsys):
    case, out = str(tmp_path / "case.toml"), tmp_path / "report"
    assert run(["-q", "case", "init", case]) == 0
    assert run(["-q", "case", "add", case, str(saved), "--false-alarms", "0.15"]) == 0
    capsys.readouterr()
    image = real / "new" / "52-noise.png"
    asked = ["inspect", str(image), "--with", case, "--out", str(out), "--heat-map", "--json"]
    assert run(["-q", *asked]) == 0
    (answer,) = [
        a for a in json.loads(capsys.readouterr().out)["answers"] if a["question"] == "naturalness"
    ]
    row = find_damage(image, damage_test, false_alarms=0.15).images[0]
    assert (answer["state"], answer["parts"][0]["p_value"]) == ("found", row.p_value)
    assert answer["parts"][0]["details"]["decided_by"] == row.evidence
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"where the evidence of {row.evidence} lies" in page
    assert (
        run(["-q", "case", "add", case, str(saved), "--false-alarms", "0.01", "--name", "b"]) == 2
    )
    assert "0.01 cannot be supported by 15" in capsys.readouterr().err


def test_impossible_input_ends_with_one_line__bad_input(damage_test, saved, real, tmp_path, capsys):
    with pytest.raises(InputError, match="got 12 different real images; at least 40 are needed"):
        fit_damage_test([real / "new"])
    with pytest.raises(InputError, match=r"false-alarm rate of 0.01 cannot be supported by 15"):
        find_damage(real / "new", damage_test)
    save_png(photograph(5, (6, 20)), tmp_path / "flat.png")
    report = find_damage(tmp_path, damage_test, false_alarms=0.15)
    assert [str(f.reason) for f in report.skipped] == ["has a side of 6 px; at least 8 are needed"]
    assert not report.images
    asked = ["anomaly", "score", str(real / "new"), "--against", str(saved)]
    assert run(["-q", *asked, "--encoder", "dino"]) == 2
    assert "a test of damage has its own" in capsys.readouterr().err
    assert run(["-q", "anomaly", "fit", str(real / "real"), "--out", str(saved)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
