"""Pruning: the paper's numbers of parameters, and networks that still run."""

import pytest
import torch

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.credit.diffusion.channels import channel_groups
from wherefrom.credit.diffusion.pruning import (
    PrunedNetwork,
    WidthPlan,
    apply_plan,
    count_parameters,
    empty_unet,
    plan_widths,
    prune,
)

pytestmark = pytest.mark.needs("diffusers")

# The configs of google/ddpm-cifar10-32 and CompVis/ldm-celebahq-256.
CIFAR = {
    "sample_size": 32,
    "layers_per_block": 2,
    "block_out_channels": (128, 256, 256, 256),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}
CELEBA = {
    "sample_size": 64,
    "layers_per_block": 2,
    "block_out_channels": (224, 448, 672, 896),
    "down_block_types": ("DownBlock2D", *["AttnDownBlock2D"] * 3),
    "up_block_types": (*["AttnUpBlock2D"] * 3, "UpBlock2D"),
    "attention_head_dim": 32,
}
TINY = {
    "sample_size": 8,
    "layers_per_block": 1,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 8,
    "num_class_embeds": 3,
}


def tiny():
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    return UNet2DModel(**TINY).eval()


def predict(unet, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, 8, 8, generator=generator)
    with torch.no_grad():
        return unet(x, torch.tensor([3, 700]), class_labels=torch.tensor([0, 2])).sample


@pytest.mark.parametrize(
    ("config", "ratio", "full", "more", "less"),
    [
        (CIFAR, 0.3, 35_746_307, 19_851_157, 13_949_333),
        (CELEBA, 0.5, 274_056_163, 70_926_419, 66_419_603),
    ],
    ids=["cifar", "celeba"],
)
def test_numbers_of_parameters__reference_torch_pruning(config, ratio, full, more, less):
    # Of torch-pruning 1.3.2 (which the paper used) and 1.6.1, on these configs.
    for rounding, expected in (("keep-more", more), ("keep-less", less)):
        unet = empty_unet(config)
        assert count_parameters(unet) == full
        prune(unet, ratio, rounding=rounding)
        assert count_parameters(unet) == expected


def test_a_ratio_of_nothing_cuts_nothing__limit():
    unet = tiny()
    before = predict(unet)
    prune(unet, 0.0)
    assert torch.equal(predict(unet), before)


def test_channels_without_weight_go_first_and_are_not_missed__identity_silent_channels():
    unet = tiny()
    layers = dict(unet.named_modules())
    # The channels between two convolutions, of which the first half is silent.
    name = "mid_block.resnets.0.conv1"
    group = next(g for g in channel_groups(unet) if (name, "out", 0) in g.members)
    half = group.size // 2
    with torch.no_grad():
        for name, side, offset in group.members:
            if side == "norm":
                continue
            axis = 0 if side == "out" else 1
            layers[name].weight.narrow(axis, offset, half).zero_()
            if side == "out" and layers[name].bias is not None:
                layers[name].bias[:half] = 0
    plan = plan_widths(unet, 0.5)
    assert plan.channels["mid_block.resnets.0.conv1"]["out"] == list(range(half, group.size))
    assert plan.channels["mid_block.resnets.0.conv2"]["in"] == list(range(half, group.size))


def test_every_head_keeps_as_many_channels__identity_heads():
    unet = tiny()
    attention = unet.mid_block.attentions[0]
    assert attention.heads == 2
    with torch.no_grad():
        for layer in (attention.to_q, attention.to_k, attention.to_v):
            layer.weight[:8] *= 100  # all of the first head is larger than all of the second
    channels = plan_widths(unet, 0.5).channels["mid_block.attentions.0.to_q"]["out"]
    assert [sum(c < 8 for c in channels), sum(c >= 8 for c in channels)] == [4, 4]


def test_a_pruned_network_runs_and_learns__smoke():
    unet = tiny()
    full = count_parameters(unet)
    prune(unet, 0.5)
    assert count_parameters(unet) < 0.6 * full
    x = torch.randn(2, 3, 8, 8)
    out = unet(x, torch.tensor([3, 700]), class_labels=torch.tensor([0, 2])).sample
    assert out.shape == x.shape
    out.square().mean().backward()
    assert all(p.grad is not None for p in unet.parameters())


def test_width_plan_and_weights__roundtrip(tmp_path):
    unet = tiny()
    plan = prune(unet, 0.5)
    PrunedNetwork(unet, plan).save(tmp_path / "p")
    assert sorted(p.name for p in (tmp_path / "p").iterdir()) == [
        "artifact.json",
        "tensors.safetensors",
    ]
    again = PrunedNetwork.load(tmp_path / "p")
    assert again.plan.channels == plan.channels
    assert torch.equal(predict(again.network.eval()), predict(unet))


def test_pruning_what_is_not_understood__rejects_it(tmp_path):
    with pytest.raises(InputError, match="ratio is 1"):
        prune(tiny(), 1.0)
    with pytest.raises(InputError, match="rounding"):
        prune(tiny(), 0.5, rounding="up")
    with pytest.raises(InputError, match="resnet_time_scale_shift"):
        prune(empty_unet({**TINY, "resnet_time_scale_shift": "scale_shift"}), 0.5)
    with pytest.raises(InputError, match="names the layer 'nope'"):
        apply_plan(tiny(), WidthPlan(TINY, {"nope": {"out": [0]}}))
    unet = tiny()
    plan = WidthPlan(dict(unet.config), {"conv_in": {"out": [0, 99]}})
    PrunedNetwork(unet, plan).save(tmp_path / "p")
    with pytest.raises(ArtifactError, match="does not fit the layer 'conv_in'"):
        PrunedNetwork.load(tmp_path / "p")
