"""Loading generators from files, and one line for everything that can be wrong with them."""

import json
import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.core.rng import stream
from wherefrom.generators.loading import LOADERS, LoadedModule, load_generator

MY_PY = """
import torch
from torch import nn
from neighbour import WIDTH

def G():
    return nn.Sequential(nn.Linear(4, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 12),
                         nn.Unflatten(1, (3, 2, 2)), nn.Tanh())

class Plain(nn.Sequential):
    def __init__(self):
        super().__init__(*G())

made = G()
pair = lambda: (made, lambda n, seed: made(torch.ones(n, 4) * seed % 7))
nothing = lambda: None
number = lambda: 3
def broken():
    return 1 / 0
def asks(width):
    return width
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "my.py").write_text(MY_PY)
    (tmp_path / "neighbour.py").write_text("WIDTH = 8\n")
    return tmp_path


def my_state(seed=0):
    rng = torch.Generator().manual_seed(seed)
    shapes = {"0.weight": (8, 4), "0.bias": (8,), "2.weight": (12, 8), "2.bias": (12,)}
    return {key: torch.randn(shape, generator=rng) for key, shape in shapes.items()}


def upscaling():
    return nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False), nn.Tanh()


@pytest.mark.parametrize("name", ["G", "Plain", "made"])
def test_a_python_file_gives_function_class_or_module__identity_kinds(folder, name):
    generator = load_generator(f"{folder}/my.py:{name}")
    assert generator.last_layer.name == "Linear(8, 12)"
    assert generator.sample(2).shape == (2, 3, 2, 2)


def test_a_factory_may_return_its_own_sample__identity_sample(folder):
    generator = load_generator(f"{folder}/my.py:pair")
    assert generator.latent_shape is None
    assert torch.equal(generator.sample(2, 1)[0], generator.sample(2, 1)[1])


@pytest.mark.parametrize(
    ("file", "wrap"),
    [
        ("g.safetensors", lambda state: state),
        ("g.pt", lambda state: state),
        ("g.tar", lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}}),
        ("g.pth", lambda state: {"params_ema": {f"module.{k}": v for k, v in state.items()}}),
        ("g.ckpt", lambda state: {"model": {"generator": state}}),
    ],
)
def test_weights_come_from_every_common_file__roundtrip(folder, file, wrap):
    state = my_state()
    save = save_file if file.endswith("safetensors") else torch.save
    save(wrap(state), folder / file)
    generator = load_generator(f"{folder}/my.py:G", weights=folder / file)
    assert torch.equal(generator.last_layer.weight, state["2.weight"])
    assert torch.equal(generator.last_layer.bias, state["2.bias"])


def test_weights_of_another_architecture_name_the_first_keys__rejects_weights(folder):
    state = my_state()
    cases = {
        "missing: 2.bias": {k: v for k, v in state.items() if k != "2.bias"},
        "unexpected: 3.bias": {**state, "3.bias": torch.zeros(1)},
        "wrong shape: 2.weight 12x9 instead of 12x8": {**state, "2.weight": torch.zeros(12, 9)},
    }
    for reason, wrong in cases.items():
        save_file(wrong, folder / "w.safetensors")
        with pytest.raises(InputError, match=f"another architecture than Sequential: {reason}$"):
            load_generator(f"{folder}/my.py:G", weights=folder / "w.safetensors")


def test_unreadable_weights_are_one_line__rejects_weights(folder):
    (folder / "cut.safetensors").write_bytes(b"\x10\x00")
    (folder / "cut.pt").write_bytes(b"PK\x03\x04 not a zip")
    (folder / "w.txt").write_text("")
    torch.save(nn.Linear(2, 2), folder / "pickled.pt")
    torch.save([1, 2], folder / "list.pt")
    save_file({**my_state(), "0.bias": torch.full((8,), torch.nan)}, folder / "nan.safetensors")
    cases = {
        "absent.pt": "does not exist",
        "cut.safetensors": "not a readable safetensors file",
        "cut.pt": "not a readable torch file|is not plain tensors",
        "w.txt": "no weights file known here",
        "pickled.pt": "is not plain tensors .*save the model's state dict as .safetensors",
        "list.pt": "holds no state dict",
        "nan.safetensors": "weight '0.bias' contains NaN",
    }
    for file, reason in cases.items():
        with pytest.raises(InputError, match=reason) as caught:
            load_generator(f"{folder}/my.py:G", weights=folder / file)
        assert "\n" not in str(caught.value)


def test_faulty_python_is_one_line__rejects_python(folder):
    (folder / "syntax.py").write_text("def G(:\n")
    (folder / "imports.py").write_text("import no_such_package\n")
    (folder / "exits.py").write_text("raise SystemExit(3)\n")
    cases = {
        "absent.py:G": "absent.py does not exist",
        "my.py": "names no factory; write .*my.py:factory",
        "my.py:H": "has no 'H'",
        "my.py:nothing": "returned None",
        "my.py:number": "gave int, expected a torch.nn.Module",
        "my.py:broken": "my.py, line 19 failed: ZeroDivisionError: division by zero",
        "my.py:asks": "failed: TypeError: .*missing 1 required positional argument",
        "syntax.py:G": "not valid Python: .*line 1",
        "imports.py:G": "line 1 failed: ModuleNotFoundError",
        "exits.py:G": "failed: SystemExit: 3",
        "photo.png": "is not known; expected file.py:factory",
        "absent.ts": "absent.ts does not exist",
    }
    for spec, reason in cases.items():
        with pytest.raises(InputError, match=reason) as caught:
            load_generator(f"{folder}/{spec}")
        assert "\n" not in str(caught.value)


def test_torchscript_gives_the_same_images__reference_eager(tmp_path):
    module = nn.Sequential(
        nn.ConvTranspose2d(6, 8, 4), nn.BatchNorm2d(8), nn.ReLU(True), *upscaling()
    ).eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
        torch.jit.trace(module, torch.randn(2, 6, 1, 1)).save(tmp_path / "traced.pt")
        torch.jit.script(small_net()).save(tmp_path / "scripted.ts")
    traced = load_generator(f"{tmp_path}/traced.pt")
    assert traced.latent_shape == (6, 1, 1)
    z = torch.randn(6, 1, 1, generator=stream(5, "latent", 0))[None]
    with torch.no_grad():
        assert torch.allclose(traced.sample(1, 5), module(z) / 2 + 0.5, atol=1e-5)
    assert torch.equal(traced.last_layer.weight, module[-2].weight)
    assert load_generator(f"{tmp_path}/scripted.ts").latent_shape == (5,)


def small_net():
    return nn.Sequential(nn.Linear(5, 12), nn.Unflatten(1, (3, 2, 2)), nn.Sigmoid()).eval()


def test_exported_programs_give_the_same_images__reference_eager(tmp_path):
    module = small_net()
    dynamic = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(module, (torch.randn(2, 5),), dynamic_shapes=dynamic)
    torch.export.save(program, tmp_path / "g.pt2")
    torch.export.save(torch.export.export(module, (torch.randn(4, 5),)), tmp_path / "fixed.pt2")
    generator = load_generator(f"{tmp_path}/g.pt2")
    assert (generator.latent_shape, generator.was_training) == ((5,), False)
    z = torch.randn(5, generator=stream(5, "latent", 0))[None]
    with torch.no_grad():
        assert torch.allclose(generator.sample(1, 5), module(z), atol=1e-5)
    with pytest.raises(InputError, match="exported for exactly 4 images at once"):
        load_generator(f"{tmp_path}/fixed.pt2")


def test_files_that_carry_weights_take_no_others__rejects_files(tmp_path):
    torch.save(my_state(), tmp_path / "state.pt")
    (tmp_path / "cut.pt2").write_bytes(b"PK")
    with pytest.raises(InputError, match="is not a TorchScript file; if it holds a state dict"):
        load_generator(f"{tmp_path}/state.pt")
    with pytest.raises(InputError, match=r"not a readable torch\.export file"):
        load_generator(f"{tmp_path}/cut.pt2")
    for name in ("state.pt", "cut.pt2", ""):
        with pytest.raises(InputError, match="carries its own weights"):
            load_generator(f"{tmp_path}/{name}", weights=tmp_path / "state.pt")


def tiny_vaes():
    diffusers = pytest.importorskip("diffusers")
    shape = {"latent_channels": 4, "norm_num_groups": 4, "sample_size": 8}
    return {
        "AutoencoderKL": diffusers.AutoencoderKL(block_out_channels=(8,), **shape),
        "VQModel": diffusers.VQModel(block_out_channels=(8,), num_vq_embeddings=16, **shape),
        "AutoencoderTiny": diffusers.AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        ),
    }


def test_diffusers_decoders_are_generators__reference_diffusers(tmp_path):
    torch.manual_seed(0)
    for name, vae in tiny_vaes().items():
        vae.save_pretrained(tmp_path / name)
        latent = (4, 4, 4) if name == "AutoencoderTiny" else (4, 8, 8)
        given = latent if name == "AutoencoderTiny" else None
        generator = load_generator(f"{tmp_path}/{name}", latent=given)
        assert generator.latent_shape == latent
        assert generator.image_shape == (3, 8, 8)
        assert generator.last_layer.name == "Conv2d(8, 3)"
        z = torch.stack([torch.randn(latent, generator=stream(5, "latent", i)) for i in range(2)])
        with torch.no_grad():
            expected = vae.eval().decode(z / vae.config.scaling_factor).sample / 2 + 0.5
        assert torch.allclose(generator.sample(2, 5), expected.clamp(0, 1), atol=1e-4)
        x = torch.rand(2, 3, 8, 8)
        with torch.no_grad():
            again = vae(x * 2 - 1).sample / 2 + 0.5
        assert generator.has_encoder
        rounded = 5e-3 if name == "AutoencoderTiny" else 1e-4  # it rounds the latents between
        assert torch.allclose(generator.reconstruct(x), again.clamp(0, 1), atol=rounded)


def test_latents_are_decoded_with_their_statistics__reference_diffusers(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    statistics = {"latents_mean": [-1.6, 1.1], "latents_std": [8.4, 0.5], "scaling_factor": 0.5}
    shape = {"block_out_channels": (8,), "norm_num_groups": 4, "sample_size": 8}
    vae = diffusers.AutoencoderKL(latent_channels=2, **shape, **statistics)
    vae.save_pretrained(tmp_path / "vae", variant="fp16")
    generator = load_generator(f"{tmp_path}/vae")
    z = torch.randn(2, 2, 8, 8)
    mean, std = (torch.tensor(statistics[f"latents_{k}"]).view(1, 2, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        expected = (vae.decode(z * std / 0.5 + mean).sample / 2 + 0.5).clamp(0, 1)
    assert torch.equal(generator.decode(z), expected)  # of a model in training, to the last digit
    (tmp_path / "model_index.json").write_text("{}")
    assert load_generator(str(tmp_path)).digest == generator.digest  # the pipeline around it
    config = tmp_path / "vae" / "config.json"
    config.write_text(config.read_text().replace("8.4", "8.5"))
    assert load_generator(f"{tmp_path}/vae").digest != generator.digest


def test_a_video_autoencoder_makes_single_images__identity_frames(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    small = {"base_dim": 4, "z_dim": 2, "dim_mult": [1, 1], "num_res_blocks": 1}
    statistics = {"latents_mean": [0.0, 1.0], "latents_std": [2.0, 1.0]}
    wan = diffusers.AutoencoderKLWan(temperal_downsample=[False], **small, **statistics)
    wan.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"--latent 2,256,256 for images of 512 pixels"):
        load_generator(str(tmp_path))
    generator = load_generator(str(tmp_path), latent=(2, 4, 4))
    assert generator.image_shape == (3, 8, 8)
    assert generator.last_layer.name == "Conv3d(4, 3)"
    images = generator.sample(2)
    assert generator.reconstruct(images).shape == images.shape


def test_faulty_diffusers_folders_are_one_line__rejects_folders(tmp_path):
    vae = tiny_vaes()["AutoencoderTiny"]
    vae.save_pretrained(tmp_path / "tiny")
    with pytest.raises(InputError, match="does not state its sample_size; pass latent"):
        load_generator(f"{tmp_path}/tiny")
    (tmp_path / "tiny" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no diffusion_pytorch_model\.safetensors"):
        load_generator(f"{tmp_path}/tiny")
    with pytest.raises(InputError, match=r"no readable config\.json"):
        load_generator(str(tmp_path))
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match=r"whole pipeline .* of an autoencoder"):
        load_generator(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    with pytest.raises(InputError, match="holds 'UNet2DModel', expected one of AutoencoderKL"):
        load_generator(str(tmp_path))


def test_without_diffusers_the_extra_is_named__rejects_missing_extra(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "VQModel"}))
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'wherefrom\[diffusers\]'"):
        load_generator(str(tmp_path))


def test_another_scheme_is_one_line__identity_extension(monkeypatch):
    asked = []

    def load_toy(request):
        asked.append(request.name)
        return LoadedModule(small_net())

    monkeypatch.setitem(LOADERS, "toy", load_toy)
    assert load_generator("toy:square").image_shape == (3, 2, 2)
    assert asked == ["square"]
