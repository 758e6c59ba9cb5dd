"""One loader of diffusers components: what lies on disk, and the scale of latents."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from wherefrom.components.autoencoders import (
    FORMS,
    LatentScale,
    find_autoencoder,
    load_autoencoder,
)
from wherefrom.core.errors import InputError

pytestmark = pytest.mark.needs("diffusers")

STEM = "diffusion_pytorch_model"
ROUNDING = 1e-5  # float32 through a few small layers
KL = {"block_out_channels": (8,), "norm_num_groups": 4, "latent_channels": 2, "sample_size": 8}
ONE = {"base_dim": 4, "z_dim": 2, "dim_mult": [1, 1], "num_res_blocks": 1}
VIDEO = {**ONE, "temperal_downsample": [False], "latents_mean": [0.5, -1], "latents_std": [2.0, 4]}
PAIR = {"block_out_channels": (4, 4), "norm_num_groups": 2, "latent_channels": 2}
DEEP = {
    f"{half}_{name}": value
    for half in ("encoder", "decoder")
    for name, value in {
        "block_types": ("ResBlock",) * 2,
        "block_out_channels": (4, 4),
        "layers_per_block": (1, 1),
        "qkv_multiscales": ((), ()),
    }.items()
}
CLASSES = {
    "AsymmetricAutoencoderKL": {
        "down_block_out_channels": (8,),
        "up_block_out_channels": (8,),
        "norm_num_groups": 4,
        "latent_channels": 2,
    },
    "AutoencoderDC": {"latent_channels": 2, "scaling_factor": 0.4, **DEEP},
    "AutoencoderKLFlux2": {
        **PAIR,
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
    },
    "AutoencoderKLWan": VIDEO,
    "AutoencoderKLQwenImage": VIDEO,
}


@pytest.fixture(scope="module")
def vae():
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    return AutoencoderKL(**KL, scaling_factor=0.5).eval()


@pytest.fixture
def folder(vae, tmp_path):
    vae.save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


def half(state):
    return {name: value.half() for name, value in state.items()}


def as_variant(folder, vae):
    shutil.rmtree(folder)
    vae.save_pretrained(folder, variant="fp16")
    save_file(half(vae.state_dict()), folder / f"{STEM}.fp16.safetensors")
    return folder


def as_shards(folder, vae, **saving):
    shutil.rmtree(folder)
    vae.save_pretrained(folder, max_shard_size="4KB", **saving)
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


def as_pipeline(folder, _vae):
    (folder.parent / "model_index.json").write_text(json.dumps({"_class_name": "AnyPipeline"}))
    return folder.parent


def as_pipeline_with_config(folder, vae):
    """Trainers and hubs leave a config.json of their own beside model_index.json."""
    (folder.parent / "config.json").write_text(json.dumps({"_class_name": "AnyPipeline"}))
    return as_pipeline(folder, vae)


def as_earlier_shards(folder, vae):
    """The variant behind the number of the shard, as diffusers 0.28 wrote it."""
    as_shards(folder, vae, variant="ema")
    (index,) = folder.glob(f"{STEM}.safetensors.index.ema.json")
    text = index.read_text()
    for path in folder.glob(f"{STEM}.ema-*"):
        number = path.stem.partition(".ema")[2]
        text = text.replace(path.name, f"{STEM}{number}.ema.safetensors")
        path.rename(folder / f"{STEM}{number}.ema.safetensors")
    index.write_text(text)
    return folder


def as_other_name(folder, _vae):
    (folder / f"{STEM}.safetensors").rename(folder / "kl-f8.safetensors")
    return folder


def as_original(folder, vae):
    """The layout of Rombach et al.'s own files, for an autoencoder of one resolution."""
    names = {
        "down_blocks.0.resnets": "down.0.block",
        "up_blocks.0.resnets": "up.0.block",
        "mid_block.resnets.0": "mid.block_1",
        "mid_block.resnets.1": "mid.block_2",
        "mid_block.attentions.0": "mid.attn_1",
        "group_norm": "norm",
        "to_q": "q",
        "to_k": "k",
        "to_v": "v",
        "to_out.0": "proj_out",
        "conv_norm_out": "norm_out",
    }
    state = {}
    for name, value in vae.state_dict().items():
        renamed = name
        for ours, theirs in names.items():
            renamed = renamed.replace(ours, theirs)
        is_matrix = ".attn_1." in renamed and value.ndim == 2
        state[f"first_stage_model.{renamed}"] = value[:, :, None, None] if is_matrix else value
    (folder / f"{STEM}.safetensors").unlink()
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "model-ema.safetensors")
    return folder / "model-ema.safetensors"


FORMS_ON_DISK = {
    "plain": lambda folder, _vae: folder,
    "one file of it": lambda folder, _vae: folder / f"{STEM}.safetensors",
    "variant": as_variant,
    "shards": as_shards,
    "shards of a variant": lambda folder, vae: as_shards(folder, vae, variant="bf16"),
    "pipeline": as_pipeline,
    "pipeline with a stray config": as_pipeline_with_config,
    "shards of a variant of earlier diffusers": as_earlier_shards,
    "another name": as_other_name,
    "original layout": as_original,
}


@pytest.mark.parametrize("form", FORMS_ON_DISK)
def test_every_form_on_disk_gives_the_same_weights__roundtrip(folder, vae, form):
    autoencoder = load_autoencoder(FORMS_ON_DISK[form](folder, vae))
    tolerance = 1e-3 if form == "variant" else 0
    for name, value in vae.state_dict().items():
        given = autoencoder.vae.state_dict()[name]
        assert given.dtype == torch.float32
        assert torch.allclose(given, value, atol=tolerance, rtol=tolerance)
    assert not autoencoder.vae.training


def test_plain_weights_come_before_variants__identity_order(folder, vae):
    save_file(
        half({k: v * 2 for k, v in vae.state_dict().items()}), folder / f"{STEM}.x.safetensors"
    )
    state = load_autoencoder(folder).vae.state_dict()
    assert torch.equal(state["quant_conv.bias"], vae.state_dict()["quant_conv.bias"])


def keep_pickle(folder, state):
    (folder / f"{STEM}.safetensors").unlink()
    torch.save(state, folder / f"{STEM}.bin")


def shard_map(folder, name):
    (folder / f"{STEM}.safetensors").rename(folder.parent / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"quant_conv.bias": name}}
    (folder / f"{STEM}.safetensors.index.json").write_text(json.dumps(index))


def two_variants(folder, state):
    for name in ("ema", "non_ema"):
        save_file(state, folder / f"{STEM}.{name}.safetensors")
    (folder / f"{STEM}.safetensors").unlink()


BROKEN = {
    "pickle": (keep_pickle, r"pickled weights only \(diffusion_pytorch_model.bin\).*can run code"),
    "shard gone": (lambda f, _: shard_map(f, "a.safetensors"), "'a.safetensors', which is not in"),
    "shard outside": (lambda f, _: shard_map(f, "../outside.safetensors"), "not in the folder"),
    "index cut": (
        lambda f, s: (
            shard_map(f, "a.safetensors"),
            (f / f"{STEM}.safetensors.index.json").write_text("{"),
        ),
        "no index of shards",
    ),
    "pointer": (
        lambda f, _: (f / f"{STEM}.safetensors").write_text("version https://git-lfs.github.com/x"),
        "run: git lfs pull",
    ),
    "two variants": (two_variants, "variants ema, non_ema and no plain weights"),
    "a weight of another name gone": (
        lambda f, s: (
            (f / f"{STEM}.safetensors").unlink(),
            save_file({k: v for k, v in s.items() if k != "quant_conv.bias"}, f / "a.safetensors"),
        ),
        "a.safetensors lacks weights of its own AutoencoderKL: quant_conv.bias",
    ),
    "another size": (
        lambda f, s: save_file(
            s | {"quant_conv.bias": torch.ones(9)}, f / f"{STEM}.safetensors", {"format": "pt"}
        ),
        r"quant_conv.bias expected shape .*\[9\]\)\.$",
    ),
    "prefixed names": (
        lambda f, s: (
            (f / f"{STEM}.safetensors").unlink(),
            save_file({f"module.{k}": v for k, v in s.items()}, f / "a.safetensors"),
        ),
        "a.safetensors does not hold the weights of this AutoencoderKL in a layout that",
    ),
    "a weight gone": (
        lambda f, s: save_file(
            {k: v for k, v in s.items() if k != "quant_conv.bias"}, f / f"{STEM}.safetensors"
        ),
        "lacks weights of its own AutoencoderKL: quant_conv.bias",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_weights_that_cannot_be_read__rejects_in_one_line(folder, vae, case):
    damage, problem = BROKEN[case]
    damage(folder, {k: v.clone() for k, v in vae.state_dict().items()})
    with pytest.raises(InputError, match=problem) as caught:
        load_autoencoder(folder)
    assert "\n" not in str(caught.value)


def test_one_file_needs_its_settings_beside_it__rejects(folder, tmp_path):
    alone = shutil.copy(folder / f"{STEM}.safetensors", tmp_path / "alone.safetensors")
    assert find_autoencoder(alone).folder == folder  # the folder vae of a pipeline
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"fetch from the network; put the config.json"):
        find_autoencoder(alone)
    torch.save({}, tmp_path / "model.ckpt")
    with pytest.raises(InputError, match=r"model.ckpt is a pickle.*can run code"):
        find_autoencoder(tmp_path / "model.ckpt")


def test_a_folder_of_the_hubs_cache_names_what_is_in_it__rejects(folder, tmp_path):
    (tmp_path / "models--me--vae" / "snapshots").mkdir(parents=True)
    folder.rename(tmp_path / "models--me--vae" / "snapshots" / "abc")
    with pytest.raises(InputError, match=r"hub's cache.*give .*models--me--vae/snapshots/abc"):
        find_autoencoder(tmp_path / "models--me--vae")


@pytest.mark.parametrize(
    "kind", ["AutoencoderKLCogVideoX", "AutoencoderOobleck", "UNet2DModel", "os.system"]
)
def test_other_classes_are_named__rejects(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": kind}))
    with pytest.raises(InputError, match=f"holds '{kind}', expected one of AutoencoderKL, "):
        load_autoencoder(tmp_path)


def test_a_decoder_with_noise_is_no_decoder__rejects(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "ConsistencyDecoderVAE"}))
    with pytest.raises(InputError, match="'ConsistencyDecoderVAE', whose decoder draws noise"):
        find_autoencoder(tmp_path)
    assert find_autoencoder(tmp_path, decodes=False).kind == "ConsistencyDecoderVAE"


def test_a_class_of_a_later_diffusers__rejects(folder, monkeypatch):
    import diffusers

    monkeypatch.setattr(diffusers, "AutoencoderKL", None)
    with pytest.raises(InputError, match=r"AutoencoderKL, which diffusers .* update diffusers"):
        load_autoencoder(folder)


def test_the_scale_of_latents__closed_form():
    z = torch.randn(2, 2, 3, 3)
    mean, std = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 0.5])
    config = {"latents_mean": [1, 2], "latents_std": [4, 0.5], "scaling_factor": 0.5}
    scale = LatentScale(config)
    wanted = (z - mean.view(1, 2, 1, 1)) * 0.5 / std.view(1, 2, 1, 1)
    assert torch.allclose(scale.normalised(z), wanted)
    assert torch.allclose(scale.restored(wanted), z, atol=1e-6)
    assert set(scale.state_dict()) == {"mean", "std", "factor"}  # so the digest knows of them
    plain = LatentScale({"scaling_factor": 0.25, "shift_factor": 3.0, "latents_mean": None})
    assert torch.equal(plain.restored(z), z / 0.25 + 3)
    assert not plain.state_dict()
    assert torch.equal(LatentScale({"scaling_factor": None}).restored(z), z)


@pytest.mark.parametrize(
    "wrong",
    [
        {"latents_mean": [0.0], "latents_std": [0.0]},
        {"scaling_factor": float("nan")},
        {"scaling_factor": 0},
        {"scaling_factor": "large"},
        {"shift_factor": "none"},
        {"latents_mean": ["a", "b"], "latents_std": [1, 1]},
        {"latents_mean": [0, 0, 0], "latents_std": [1, 1, 1]},
        {"latents_mean": [0, 0], "latents_std": [1, None]},
    ],
)
def test_a_scale_that_is_none__rejects_in_one_line(folder, wrong):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    with pytest.raises(InputError, match="of the latents is") as caught:
        load_autoencoder(folder)
    assert "\n" not in str(caught.value)


def by_hand(model, latents):
    """What the pipelines of each class do with the latents of their network."""
    config, kind = model.config, type(model).__name__
    if kind == "AutoencoderKLFlux2":
        std = (model.bn.running_var + config.batch_norm_eps).sqrt().view(1, -1, 1, 1)
        squares = pixel_unshuffle(latents, 2) * std + model.bn.running_mean.view(1, -1, 1, 1)
        return model.decode(pixel_shuffle(squares, 2)).sample
    if kind in ("AutoencoderKLWan", "AutoencoderKLQwenImage"):
        mean, std = (torch.tensor(config[f"latents_{k}"]).view(1, 2, 1, 1) for k in ("mean", "std"))
        return model.decode((latents * std + mean)[:, :, None]).sample[:, :, 0]
    return model.decode(latents / config.scaling_factor).sample


@pytest.mark.parametrize("kind", CLASSES)
@torch.no_grad()
def test_each_class_decodes_as_its_pipelines_do__reference_diffusers(tmp_path, kind):
    import diffusers

    torch.manual_seed(0)
    model = getattr(diffusers, kind)(**CLASSES[kind]).eval()
    if kind == "AutoencoderKLFlux2":
        model.bn.running_mean.normal_()
        model.bn.running_var.uniform_(0.5, 2)
    model.save_pretrained(tmp_path)
    autoencoder = load_autoencoder(tmp_path)
    latents = torch.randn(2, autoencoder.channels, 4, 4)
    images = autoencoder.decode(latents)
    assert images.shape == (2, 3, 4 * autoencoder.enlargement(), 4 * autoencoder.enlargement())
    assert torch.allclose(images, (by_hand(model, latents) / 2 + 0.5).clamp(0, 1), atol=ROUNDING)
    again = autoencoder.encode(images)
    assert again.shape == latents.shape
    assert torch.equal(again, autoencoder.encode(images))
    assert kind in FORMS
