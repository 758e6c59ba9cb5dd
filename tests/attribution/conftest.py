"""Layers, their dense matrices, and a small attributor that is fitted once."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wherefrom.attribution.config import FlipadConfig
from wherefrom.attribution.lasso import LassoConfig
from wherefrom.attribution.method import fit
from wherefrom.core.rng import stream
from wherefrom.data.writing import to_uint8
from wherefrom.detectors.deep_sad import DeepSadConfig
from wherefrom.generators.generator import wrap_generator
from wherefrom.generators.last_layer import LastLayer
from wherefrom.generators.zoo import initialise, make_generator


def _layer_of(module, input_shape):
    out = module(torch.zeros(1, *input_shape, dtype=module.weight.dtype))
    shapes = {"input_shape": input_shape, "output_shape": tuple(out.shape[1:])}
    bias = None if module.bias is None else module.bias.detach()
    if isinstance(module, nn.Linear):
        return LastLayer(kind="dense", weight=module.weight.detach(), bias=bias, **shapes)
    return LastLayer(
        kind="conv_transpose" if module.transposed else "conv",
        weight=module.weight.detach(),
        bias=bias,
        stride=module.stride,
        padding=module.padding,
        dilation=module.dilation,
        output_padding=module.output_padding,
        groups=module.groups,
        **shapes,
    )


def _matrix_of(layer):
    size = int(np.prod(layer.input_shape))
    units = torch.eye(size, dtype=torch.float64).reshape(size, *layer.input_shape)
    wide = layer.to(dtype=torch.float64)
    columns = [wide.linear(unit[None]).flatten() for unit in units]
    return torch.stack(columns, dim=1).numpy()


@pytest.fixture(scope="session")
def layer_of():
    """(torch.nn module, input shape) -> `LastLayer` with the module's own tensors."""
    return _layer_of


@pytest.fixture(scope="session")
def matrix_of():
    """`LastLayer` -> its matrix (D_out, D_in) in float64, built column by column."""
    return _matrix_of


SMALL = FlipadConfig(
    classifier_samples=0,
    train_samples=60,
    calibration_samples=60,
    mean_samples=64,
    false_negative_rate=0.05,
    false_positive_rate=0.2,
    lasso=LassoConfig(iterations=4),
    detector=DeepSadConfig(epochs=3, batch=32, representation=16),
)


def _smooth(count, seed):
    coarse = torch.rand(count, 3, 7, 7, generator=stream(seed, "smooth"))
    smooth = F.interpolate(coarse, size=32, mode="bicubic", align_corners=False)
    return to_uint8(smooth.clamp(0, 1))


@pytest.fixture(scope="session")
def small():
    """The settings of the small attributor."""
    return SMALL


@pytest.fixture(scope="session")
def smooth():
    """(count, seed) -> distinct smooth pictures that no generator made, uint8 (N, 3, 32, 32)."""
    return _smooth


@pytest.fixture(scope="session")
def generator():
    """An untrained DCGAN at 32 pixels, its weights large enough to use the range of values."""
    module = make_generator("dcgan", size=32, channels=3, width=6, latent=10)
    initialise(module, stream(0, "test", "generator"))
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.ConvTranspose2d):
                part.weight.mul_(8)
    return wrap_generator(module)


@pytest.fixture(scope="session")
def fitted(generator):
    """The small attributor, fitted once."""
    return fit(generator, _smooth(80, 0), config=SMALL)
