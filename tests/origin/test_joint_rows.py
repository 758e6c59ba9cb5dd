"""Rows of two kinds of evidence: what they hold, how they are weighed, and what is remembered."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from cells import cells_encoder
from torch import nn
from torch.nn import functional as F

from wherefrom import origin
from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.data import save_png, to_uint8
from wherefrom.encoders import make_feature_encoder, prepare
from wherefrom.origin import AnswerKind, References, SearchConfig
from wherefrom.origin.index.index import Index
from wherefrom.origin.joint.rows import MIN_WIDTH, RowEncoder, load_features, split_parts
from wherefrom.origin.joint.scale import measure_scale

ENCODER = cells_encoder(8)
PLAIN = SearchConfig(views="none", rerank=False)


class Colours(nn.Module):
    """The mean and the deviation of each colour in each half, (N, 12)."""

    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x):
        halves = torch.stack([x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]], dim=1)
        values = torch.cat([halves.mean((-2, -1)) - 0.5, halves.std((-2, -1))], dim=1)
        return self.weight * values.flatten(1)


def colours(weight=1.0):
    return make_feature_encoder(Colours(weight), kind="colours", resolution=32)


NETWORK = colours()


def picture(number, noise=0.0):
    """A smooth picture of its own, with noise another one of it."""
    coarse = torch.rand(1, 3, 5, 6, generator=stream(number, "picture"))
    image = F.interpolate(coarse, (32, 40), mode="bicubic", align_corners=False)[0]
    return (image + noise * torch.randn(image.shape, generator=stream(number, "n"))).clamp(0, 1)


def write(folder, numbers, noise=0.0):
    folder.mkdir(exist_ok=True)
    for number in numbers:
        save_png(to_uint8(picture(number, noise)), folder / f"{number:03d}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """30 photographs, edits of the first 12, and an index with features."""
    folder = tmp_path_factory.mktemp("joint")
    photos = write(folder / "photos", range(30))
    write(folder / "edits", range(12), noise=0.2)
    with References.create(folder / "refs.index", ENCODER, features=NETWORK) as made:
        made.add(photos)
    return folder


def opened(home, **kwargs):
    encoders = {"encoder": ENCODER, "features": NETWORK} | kwargs
    return References.open(home / "refs.index", **encoders)


def test_a_search_ranks_by_both_kinds__naive_loop(home):
    config = replace(PLAIN, feature_weight=2.0)
    with opened(home) as references:
        answers = references.search([home / "edits"], config=config)
        rows = references.index.vectors(range(1, 31)).double()
        pixels = torch.stack([picture(n, 0.2).mul(255).round() / 255 for n in range(12)])
        queries = references.rows.project(references.rows.embed(pixels)).double()
    latents, features = (part.double() for part in rows.split([192, 12], dim=1))
    pairs = ~torch.eye(30, dtype=torch.bool)
    joint = torch.zeros(12, 30, dtype=torch.float64)
    for weight, stored, query in zip(
        (1.0, 2.0), (latents, features), queries.split([192, 12], dim=1), strict=True
    ):
        own = F.normalize(stored) @ F.normalize(stored).T
        low, high = torch.quantile(own[pairs], torch.tensor([0.5, 0.9]).double())
        joint += weight * 1.2816 / (high - low) * (F.normalize(query) @ F.normalize(stored).T)
    z = (joint - joint.mean(1, keepdim=True)) / joint.std(1, keepdim=True, correction=0)
    for row, answer in enumerate(answers):
        order = z[row].argsort(descending=True)[:3].tolist()
        assert [c.path for c in answer.candidates[:3]] == [
            str(home / "photos" / f"{n:03d}.png") for n in order
        ]
        assert answer.z == pytest.approx(float(z[row].max()), rel=0.01)
        best = order[0]
        for kind, part, query in zip(
            ("latent", "features"), (latents, features), queries.split([192, 12], 1), strict=True
        ):
            cosine = float(F.cosine_similarity(part[best], query[row], dim=0))
            assert answer.candidates[0].evidence[kind] == pytest.approx(cosine, abs=2e-3)
        values = answer.candidates[0].evidence.values()
        assert min(values) - 1e-6 <= answer.candidates[0].score <= max(values) + 1e-6


def test_without_features_an_index_is_what_it_was__identity(home, tmp_path):
    photos = sorted((home / "photos").iterdir())
    with References.create(tmp_path / "a.index", ENCODER) as made:
        made.add(photos)
        assert made.index.dim == ENCODER.dimension and "features" not in made.index.identity
        (answer,) = made.search([home / "edits" / "003.png"], config=PLAIN)
        assert answer.candidates[0].evidence is None
        rows = ENCODER.embed(torch.stack([picture(n).mul(255).round() / 255 for n in range(30)]))
        with Index.create(tmp_path / "b.index", dim=192, identity=made.index.identity) as plain:
            plain.add(photos, [f"sha256:{n:064x}" for n in range(30)], rows)
            assert torch.equal(plain.vectors([1, 30]), made.index.vectors([1, 30]))


def test_a_row_does_not_depend_on_its_batch__identity_batch():
    pictures = torch.stack([picture(n) for n in range(7)])
    rows = RowEncoder(ENCODER, None, NETWORK)
    embedded = rows.embed(pictures)
    each = torch.cat([rows.embed(pictures[n : n + 1]) for n in range(7)])
    assert torch.equal(embedded, each)
    assert torch.equal(rows.project(embedded), torch.cat([rows.project(e[None]) for e in each]))


def test_long_features_are_shortened__limit():
    """Products with random signs keep cosines but for about 1 / sqrt(width)."""
    long = make_feature_encoder(lambda x: x.flatten(1), kind="pixels", resolution=32)
    rows = RowEncoder(ENCODER, None, long)
    assert rows.widths == (192, MIN_WIDTH)
    pictures = torch.rand(6, 3, 32, 32, generator=stream(0, "long")) - torch.rand(6, 1, 1, 1)
    embedded = torch.cat([ENCODER.embed(pictures.clamp(0, 1)), long.features(pictures)], dim=1)
    own, short = split_parts(rows.project(embedded), rows.widths)
    assert own.shape[1] == 192
    exact = F.normalize(long.features(pictures).double())
    assert (short @ short.T - exact @ exact.T).abs().max() < 5 / MIN_WIDTH**0.5


def test_a_part_without_direction_spoils_the_row__limit():
    rows = RowEncoder(ENCODER, None, NETWORK)
    embedded = torch.rand(3, 204)
    embedded[0, 192:] = 0
    embedded[1, :192] = 0
    projected = rows.project(embedded)
    assert (projected == 0).all(1).tolist() == [True, True, False]


def test_rows_survive_additions_and_compaction__identity(home, tmp_path):
    copy = shutil.copytree(home / "refs.index", tmp_path / "refs.index")
    with References.open(copy, encoder=ENCODER, features=NETWORK, writable=True) as opened:
        before = opened.index.vectors(range(2, 31))
        for number in range(40, 49):
            opened.add(write(tmp_path / f"more{number}", [number]))
        origin.remove(opened.index, [home / "photos" / "000.png"])
        opened.index.compact()
        assert torch.equal(opened.index.vectors(range(2, 31)), before)
        opened.index.verify()
        fresh = opened.rows.project(opened.rows.embed(picture(45)[None].mul(255).round() / 255))
        stored = opened.index.vectors([int(opened.index.live_ids()[-4])])
        assert F.cosine_similarity(fresh, stored)[0] > 1 - 1e-5


def test_the_scale_ignores_series__limit(tmp_path):
    """Ten bursts of four change the deviation of single pictures by little."""
    single = torch.randn(40, 64, generator=stream(1, "single"))
    burst = torch.randn(10, 64, generator=stream(2, "burst")).repeat_interleave(4, 0)
    burst = burst + 0.1 * torch.randn(40, 64, generator=stream(3, "burst"))
    spreads = []
    for name, rows in (("a", single), ("b", burst)):
        with Index.create(tmp_path / name, dim=64, identity={}) as index:
            index.add([f"/{n}" for n in range(40)], [f"sha256:{n:064x}" for n in range(40)], rows)
            scale = measure_scale(index, (64,), 0.0)
            spreads.append(scale.spread / scale.weights[0] ** 0)
            assert 0.08 < 1 / scale.weights[0] < 0.2
    assert spreads[1] == pytest.approx(spreads[0], rel=0.1)


def test_another_network_is_refused__rejects_features(home, tmp_path):
    with pytest.raises(InputError, match=r"the features of .* weights"):
        opened(home, features=colours(2.0))
    with pytest.raises(InputError, match="does not say where its feature network is"):
        opened(home, features=None)
    with References.create(tmp_path / "plain.index", ENCODER):
        pass
    with pytest.raises(InputError, match="was built without a feature network"):
        References.open(tmp_path / "plain.index", encoder=ENCODER, features=NETWORK)
    for name, reason in (("no.onnx", "is not a file"), ("no/such", "is not a folder|cache")):
        with pytest.raises(InputError, match=reason):
            load_features(name)
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be loaded as ONNX"):
        load_features(tmp_path / "broken.onnx")


def test_the_default_network_is_remembered__roundtrip(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = sorted((home / "photos").iterdir())[:21]
    origin.build("refs.index", photos)
    with References.open("refs.index") as references:
        assert references.features.identity.kind == "efficientnet-lite0-scene"
        assert references.index.dim == 4096 + 2048
        described = json.loads(json.dumps(references.describe()))
        assert described["features"]["kind"] == "efficientnet-lite0-scene"
    (answer,) = origin.search("refs.index", [home / "edits" / "003.png"], config=PLAIN)
    assert answer.candidates[0].path.endswith("003.png")
    assert set(answer.candidates[0].evidence) == {"latent", "features"}
    assert answer.answer is AnswerKind.UNKNOWN


def write_pixels(path, *, floats):
    """An ONNX file that gives the numbers of images back, as floats or bytes."""
    from onnx import TensorProto, helper, save

    shape, kind = (["n", 3, 16, 16], "FLOAT") if floats else (["n", 16, 16, 3], "UINT8")
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["wide"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "pixels",
        [helper.make_tensor_value_info("x", getattr(TensorProto, kind), shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 768])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_an_onnx_file_gives_features__closed_form(tmp_path):
    x = torch.stack([picture(0), picture(1)])
    small = F.interpolate(x, (16, 16), mode="bicubic", antialias=True).clamp(0, 1)
    floats = load_features(write_pixels(tmp_path / "f.onnx", floats=True))
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    assert torch.allclose(floats.features(x), ((small - mean) / std).flatten(1), atol=1e-5)
    whole = load_features(write_pixels(tmp_path / "b.onnx", floats=False))
    expected = small.mul(255).round().permute(0, 2, 3, 1).flatten(1)
    assert torch.equal(whole.features(x), expected)
    assert floats.identity.digest != whole.identity.digest


def test_a_mirrored_query_has_mirrored_features__closed_form(home):
    with opened(home) as references:
        matcher = references.matcher(replace(PLAIN, views="flip"))
        mirrored = (picture(7).mul(255).round() / 255).flip(-1)[None]
        (ranking,) = matcher.rank(prepare(mirrored))
        assert ranking.ids[0] == 8 and ranking.views[0] == 1
        assert ranking.parts[0] == pytest.approx((1, 1), abs=2e-3)


def test_a_weight_belongs_to_the_calibration__roundtrip(home, tmp_path):
    """It is part of the settings where it is given, and of none where it is left to the network."""
    copy = shutil.copytree(home / "refs.index", tmp_path / "refs.index")
    edits, photos = (sorted((home / name).iterdir())[:12] for name in ("edits", "photos"))
    assert "feature_weight" not in PLAIN.to_dict()
    weighed = replace(PLAIN, feature_weight=2.0)
    with References.open(copy, encoder=ENCODER, features=NETWORK, writable=True) as opened:
        calibrated = opened.calibrate(edits, photos, rate=0.1, config=weighed)
        assert calibrated.null.settings == weighed.to_dict()
        assert calibrated.configured({}) == weighed
        assert calibrated.matcher().scale.weights[1] == pytest.approx(
            2 * opened.matcher(PLAIN).scale.weights[1] / opened.rows.weight
        )
        with pytest.raises(InputError, match=r"feature_weight 3\.0, not 2\.0"):
            calibrated.matcher(replace(PLAIN, feature_weight=3.0))
