"""Layers, their dense matrices, and a small attributor that is fitted once."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wherefrom.attribution.config import FlipadConfig
from wherefrom.attribution.final_layer.config import LassoConfig
from wherefrom.attribution.method import fit
from wherefrom.attribution.methods.features import FeatureMap
from wherefrom.attribution.training.siblings import SIBLING_KINDS
from wherefrom.core.rng import stream
from wherefrom.data.images.writing import to_uint8
from wherefrom.detectors.deep_sad import DeepSadConfig
from wherefrom.generators.generator import wrap_generator
from wherefrom.generators.last_layer.layer import LastLayer
from wherefrom.generators.zoo.networks import initialise, make_generator


def _kkt_violation(z_shift, gradient, lam):
    """Largest violation of the optimality conditions of Eq. 8, (N,), in units of lam / 2.

    `gradient` is half that of the data term: G^T r, or G^T (w^2 d) for intervals.

    2 G^T r + lam * d||z'||_1 contains 0:  G^T r = -(lam/2) sign(z') on the support,
    |G^T r| <= lam/2 elsewhere.
    """
    half = lam / 2
    on_support = (gradient + half * z_shift.sign()).abs()
    off_support = (gradient.abs() - half).clamp_min(0)
    worst = torch.where(z_shift != 0, on_support, off_support)
    return worst.flatten(1).amax(dim=1) / half


@pytest.fixture(scope="session")
def kkt_violation():
    return _kkt_violation


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
    return wide.linear(units).flatten(1).T.contiguous().numpy()


@pytest.fixture(scope="session")
def layer_of():
    """(torch.nn module, input shape) -> `LastLayer` with the module's own tensors."""
    return _layer_of


@pytest.fixture(scope="session")
def matrix_of():
    """`LastLayer` -> its matrix (D_out, D_in) in float64: the images of the unit vectors."""
    return _matrix_of


SMALL = FlipadConfig(
    classifier_samples=0,
    train_samples=60,
    calibration_samples=40,
    sibling_samples=9,
    sibling_rate=0.1,
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


@pytest.fixture(scope="session")
def recorded(generator):
    """The same fit again: what went into its feature map, as float images, and the attributor."""
    seen = []
    original = FeatureMap.extract

    def spy(self, images, **options):
        seen.append(images.clone())
        return original(self, images, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureMap, "extract", spy)
        fitted = fit(generator, _smooth(80, 0), config=SMALL)
    names = ("own", "others", "impostors", "own held", "others held", *SIBLING_KINDS)
    return dict(zip(names, seen, strict=True)), fitted


@pytest.fixture(scope="session")
def half_generator():
    """An untrained network whose images are half as wide, 16 pixels, with the range of values."""
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Linear(10, 6 * 64), nn.Unflatten(1, (6, 8, 8)), nn.ReLU()),
        *(nn.ConvTranspose2d(6, 3, 4, 2, 1), nn.Tanh()),
    )
    with torch.no_grad():
        module[3].weight.mul_(8)
    return wrap_generator(module)


@pytest.fixture(scope="session")
def half_smooth():
    """(count, seed) -> the middle of smooth pictures, uint8 (N, 3, 16, 16)."""
    return lambda count, seed: _smooth(count, seed)[..., 8:24, 8:24]
