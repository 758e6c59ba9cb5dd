"""Encoders: what they compute, that a batch has no say in it, and what they refuse."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from wherefrom import encoders
from wherefrom.components.autoencoders import FORMS
from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.encoders import Encoder, EncoderIdentity, load_encoder, make_encoder, prepare
from wherefrom.encoders import encoder as encoder_file

ROUNDING = 1e-5  # float32 through a few small layers, two orders of the same sums
WEIGHTS = "diffusion_pytorch_model.safetensors"
STAGES = 4
KL = {
    "block_out_channels": (8,) * STAGES,
    "down_block_types": ("DownEncoderBlock2D",) * STAGES,
    "up_block_types": ("UpDecoderBlock2D",) * STAGES,
    "norm_num_groups": 4,
}
MODELS = {
    "sd": ("AutoencoderKL", {**KL, "latent_channels": 4, "scaling_factor": 0.18215}),
    "sd3": (
        "AutoencoderKL",
        {
            **KL,
            "latent_channels": 16,
            "scaling_factor": 1.5,
            "shift_factor": 0.06,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
        },
    ),
    "statistics": (
        "AutoencoderKL",
        {**KL, "latent_channels": 2, "latents_mean": (0.5, -1.0), "latents_std": (2.0, 0.25)},
    ),
    "taesd": (
        "AutoencoderTiny",
        {
            "encoder_block_out_channels": (8,) * STAGES,
            "decoder_block_out_channels": (8,) * STAGES,
            "num_encoder_blocks": (1,) * STAGES,
            "num_decoder_blocks": (1,) * STAGES,
        },
    ),
    "movq": (
        "VQModel",
        {**KL, "latent_channels": 4, "num_vq_embeddings": 16, "vq_embed_dim": 4},
    ),
}


def write_model(folder, name, seed=0, **saving):
    """A tiny random diffusers model in `folder`, and the model itself."""
    diffusers = pytest.importorskip("diffusers")
    kind, settings = MODELS[name]
    torch.manual_seed(seed)
    model = getattr(diffusers, kind)(**settings).eval()
    model.save_pretrained(folder, **saving)
    return model


@pytest.fixture(scope="module", params=MODELS)
def pair(request, tmp_path_factory):
    """An encoder loaded from a folder, and the model that was saved there, for each kind."""
    folder = tmp_path_factory.mktemp(request.param)
    model = write_model(folder, request.param)
    return load_encoder(folder), model, MODELS[request.param][1]


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    """The folder of a small Stable Diffusion autoencoder."""
    folder = tmp_path_factory.mktemp("sd")
    write_model(folder, "sd")
    return folder


@torch.no_grad()
def by_hand(model, settings, x):
    """The embedding from the model's own layers, without its posterior object or `encode`."""
    z = model.encoder(x * 2 - 1)
    if getattr(model, "quant_conv", None) is not None:
        z = model.quant_conv(z)
    if type(model).__name__ == "AutoencoderKL":
        z = z[:, : settings["latent_channels"]]  # means first, log-variances after
    # The defaults of the three classes, written out.
    scale = 1.0 if type(model).__name__ == "AutoencoderTiny" else 0.18215
    if "latents_mean" in settings:  # as the pipelines of Stable Diffusion XL do
        mean, std = (torch.tensor(settings[k])[:, None, None] for k in LATENT_STATISTICS)
        return ((z - mean) * scale / std).reshape(len(x), -1)
    z = (z - settings.get("shift_factor", 0.0)) * settings.get("scaling_factor", scale)
    return z.reshape(len(x), -1)


LATENT_STATISTICS = ("latents_mean", "latents_std")


def test_embedding_is_the_shifted_scaled_mode__reference_diffusers(pair):
    encoder, model, settings = pair
    x = torch.rand(2, 3, 256, 256)
    expected = by_hand(model, settings, x)
    result = encoder.embed(x)
    assert result.dtype == torch.float32
    assert result.shape == (2, encoder.dimension) == (2, settings.get("latent_channels", 4) * 32**2)
    assert encoder.identity.kind == type(model).__name__
    assert torch.allclose(result, expected, atol=ROUNDING * float(expected.abs().max()))


def test_embedding_is_not_a_sample__identity_deviation(sd):
    """Deviation: the mode of the posterior, although its standard deviation is far from zero."""
    encoder = load_encoder(sd)
    x = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        spread = encoder.module.vae.encode(2 * x - 1).latent_dist.std
    assert float(spread.min()) > 0.1
    assert torch.equal(encoder.embed(x), encoder.embed(x))


def test_rows_are_channel_after_channel__naive_loop(sd):
    encoder = load_encoder(sd)
    x = torch.rand(1, 3, 256, 256)
    z, row = encoder.latents(x)[0], encoder.embed(x)[0]
    assert encoder.latent_shape == (4, 32, 32)
    for c, i, j in ((0, 0, 1), (1, 5, 7), (3, 31, 30)):
        assert row[c * 1024 + i * 32 + j] == z[c, i, j]


def test_no_embedding_depends_on_its_batch__identity_batch(pair):
    encoder = pair[0]
    x = torch.rand(3, 3, 120, 90)
    whole = encoder.embed(x)
    assert torch.equal(torch.cat([encoder.embed(x[i : i + 1]) for i in (0, 2)]), whole[[0, 2]])
    order = torch.tensor([2, 0])
    assert torch.equal(encoder.embed(x[order]), whole[order])
    assert torch.equal(encoder.embed(x.contiguous(memory_format=torch.channels_last)), whole)


def test_a_chunk_always_has_the_same_size__identity_batch(monkeypatch):
    """What makes the batch irrelevant: the network never sees another batch size."""
    seen = []

    class Spy(torch.nn.Conv2d):
        def forward(self, x):
            seen.append(tuple(x.shape))
            return super().forward(x)

    monkeypatch.setattr(encoder_file, "CPU_CHUNK", 8)
    encoder = make_encoder(Spy(3, 1, 8, 8), kind="spy", config={})
    encoder.embed(torch.rand(9, 3, 20, 30))
    assert seen[1:] == [(8, 3, 256, 256)] * 2


def test_squash_is_an_antialiased_bilinear_resize__reference_pillow():
    rng = np.random.default_rng(0)
    for height, width in ((300, 700), (90, 512), (1000, 256)):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        resized = Image.fromarray(pixels).resize((256, 256), Image.Resampling.BILINEAR)
        expected = torch.from_numpy(np.array(resized)).permute(2, 0, 1) / 255
        result = prepare(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)[0]
        # Pillow rounds to 8 bits after each of its two passes.
        assert float((result - expected).abs().max()) <= 1.01 / 255


def test_prepared_images_embed_alike__identity_resize(sd):
    encoder = load_encoder(sd)
    x = torch.rand(2, 3, 300, 200)
    assert torch.equal(prepare(prepare(x)), prepare(x))
    assert torch.equal(encoder.embed(prepare(x)), encoder.embed(x))
    for side in range(100, 1000, 37):
        white = prepare(torch.ones(1, 3, side, 300))
        assert float(white.max()) <= 1
        assert torch.allclose(white, torch.ones(()))


def test_images_that_do_not_fit__rejects_in_one_line(sd):
    encoder = load_encoder(sd)
    good = torch.rand(1, 3, 8, 8)
    for images, problem in (
        (good[0], r"shape \(3, 8, 8\)"),
        (good[:, :1], "repeat a grey channel"),
        (good[..., :0], "expected"),
        ((good * 255).to(torch.uint8), "divide by 255"),
        (good * 2 - 1, r"expected \[0, 1\]"),
        (good / 0, "expected"),
        (good * float("nan"), "nan"),
    ):
        with pytest.raises(InputError, match=problem) as error:
            encoder.embed(images)
        assert "\n" not in str(error.value)
    assert encoder.embed(good[:0]).shape == (0, 4096)


def test_half_precision_files_are_computed_in_float32__roundtrip(tmp_path):
    model = write_model(tmp_path, "sd", variant="fp16")
    (path,) = tmp_path.glob("*.safetensors")
    assert path.name == "diffusion_pytorch_model.fp16.safetensors"
    save_file({k: v.half() for k, v in load_file(path).items()}, path)
    model.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
    x = torch.rand(1, 3, 256, 256)
    result = load_encoder(tmp_path).embed(x)
    assert result.dtype == torch.float32
    expected = by_hand(model, MODELS["sd"][1], x)
    assert torch.allclose(result, expected, atol=ROUNDING * float(expected.abs().max()))


def test_identity_sees_weights_and_config_and_no_notes__identity_digest(tmp_path, sd):
    first = load_encoder(sd).identity
    assert load_encoder(sd).identity == first
    write_model(tmp_path / "other", "sd", seed=1)
    config = json.loads((sd / "config.json").read_text())
    noted = Path(shutil.copytree(sd, tmp_path / "noted"))
    (noted / "config.json").write_text(json.dumps({**config, "_name_or_path": "elsewhere"}))
    assert load_encoder(noted).identity == first
    (noted / "config.json").write_text(json.dumps({**config, "scaling_factor": 0.5}))
    scaled = load_encoder(noted).identity
    assert (scaled.weights, scaled.config == first.config) == (first.weights, False)
    other = load_encoder(tmp_path / "other").identity
    assert (other.config, other.weights == first.weights) == (first.config, False)
    with pytest.raises(InputError, match=r"made this index: weights sha256:\w+\.\.\. instead of"):
        first.require_same(other, what="this index")
    with pytest.raises(InputError, match="config sha256"):
        first.require_same(scaled)
    first.require_same(load_encoder(sd).identity)


def test_another_decoder_is_the_same_encoder__identity_digest(tmp_path, sd):
    state = load_file(sd / WEIGHTS)
    shutil.copy(sd / "config.json", tmp_path)
    changed = {k: v + 1 if k.startswith("decoder.") else v for k, v in state.items()}
    save_file(changed, tmp_path / WEIGHTS)
    assert load_encoder(tmp_path).identity == load_encoder(sd).identity


def test_identities_come_back_and_faults_are_named__roundtrip():
    identity = EncoderIdentity("AutoencoderKL", "sha256:a", "sha256:b")
    values = identity.to_dict()
    assert EncoderIdentity.from_dict(json.loads(json.dumps(values))) == identity
    for bad in (
        {**values, "extra": 1},
        {k: v for k, v in values.items() if k != "weights"},
        {**values, "resolution": "256"},
        {**values, "kind": None},
        [],
    ):
        with pytest.raises(InputError):
            EncoderIdentity.from_dict(bad)
    changed = EncoderIdentity.from_dict({**values, "resolution": 512, "resize": "crop"})
    with pytest.raises(InputError, match="resolution 512 instead of 256, resize 'crop'"):
        identity.require_same(changed)
    assert changed.digest != identity.digest


def damage(folder, kind):
    """Make a good model's folder bad in one way."""
    weights, config = folder / WEIGHTS, folder / "config.json"
    state = load_file(weights)
    if kind == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif kind == "noise":
        weights.write_bytes(b"\xff" * 100)
    elif kind == "absent":
        weights.unlink()
    elif kind == "pickle":
        weights.unlink()
        torch.save(state, folder / "diffusion_pytorch_model.bin")
    elif kind == "partial":
        save_file({k: v for k, v in state.items() if k != "encoder.conv_in.bias"}, weights)
    elif kind == "nan":
        save_file({k: v * float("nan") for k, v in state.items()}, weights)
    elif kind == "not json":
        config.write_text("{")
    elif kind == "list":
        config.write_text("[]")
    elif kind == "class":
        config.write_text(json.dumps({"_class_name": "UNet2DModel"}))
    elif kind == "settings":
        values = json.loads(config.read_text())
        config.write_text(json.dumps({**values, "norm_num_groups": 0}))


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("cut", "cannot be loaded as AutoencoderKL"),
        ("noise", "cannot be loaded as AutoencoderKL"),
        ("absent", "holds no diffusion_pytorch_model.safetensors"),
        ("pickle", "pickled weights only"),
        ("partial", "lacks weights of its own AutoencoderKL: encoder.conv_in.bias"),
        ("nan", "NaN or infinite latents"),
        ("not json", "no readable config.json"),
        ("list", "names no _class_name"),
        ("class", "'UNet2DModel', expected one of AutoencoderKL"),
        ("settings", "cannot be loaded as AutoencoderKL"),
    ],
)
def test_faulty_folders_are_one_line__rejects_folders(tmp_path, sd, kind, problem):
    shutil.copytree(sd, tmp_path, dirs_exist_ok=True)
    damage(tmp_path, kind)
    with pytest.raises(InputError, match=problem) as error:
        load_encoder(tmp_path)
    assert "\n" not in str(error.value)


def test_a_pipeline_folder_stands_for_its_autoencoder__identity_digest(tmp_path, sd):
    write_model(tmp_path / "movq", "movq")
    assert load_encoder(tmp_path).identity == load_encoder(tmp_path / "movq").identity
    with pytest.raises(InputError, match=r"is no \.safetensors file; give the folder of an"):
        load_encoder(sd / "config.json")
    for name in ("missing", "../missing/vae", "./a/b", str(tmp_path / "missing")):
        with pytest.raises(InputError, match="is not a folder"):
            load_encoder(name)


def test_hub_models_come_from_the_cache_unless_allowed__identity_offline(sd, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    with pytest.raises(InputError, match="allow the download") as error:
        load_encoder("nobody/no-such-model")
    assert "\n" not in str(error.value)
    asked = []

    def fetch(name, *, allow_patterns, local_files_only):
        asked.append((name, allow_patterns, local_files_only))
        return str(sd.parent)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    for allowed in (False, True):
        result = load_encoder(f"owner/name/{sd.name}", allow_download=allowed)
        assert isinstance(result, Encoder)
    wanted = (
        "config.json",
        "diffusion_pytorch_model*.safetensors",
        "diffusion_pytorch_model*.json",
    )
    patterns = [f"{sd.name}/{name}" for name in wanted]
    assert asked == [("owner/name", patterns, True), ("owner/name", patterns, False)]


def test_without_diffusers_the_extra_is_named__rejects_missing_extra(sd, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'wherefrom\[diffusers\]'"):
        load_encoder(sd)
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="is not a folder"):
        load_encoder("owner/name")
    with pytest.raises(MissingExtraError, match=r"pip install 'wherefrom\[diffusers\]'"):
        load_encoder("owner/name", allow_download=True)


def test_modules_without_latents__rejects():
    with pytest.raises(InputError, match="no latents of shape"):
        make_encoder(torch.nn.Flatten(), kind="flat", config={})
    plain = make_encoder(torch.nn.AvgPool2d(8), kind="pool", config={})
    assert plain.latent_shape == (3, 32, 32)


def test_every_kind_has_a_loader__identity_kinds():
    assert set(encoders.KINDS) == {*FORMS, "tiny-conv"}
