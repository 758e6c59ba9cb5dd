"""Finding the last linear operation of all kinds of generators, and refusing the rest."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional

from wherefrom.core.errors import InputError
from wherefrom.generators.last_layer.introspection import introspect, run_split
from wherefrom.generators.last_layer.tracing import LinearObserver, watch

# The same float32 operations again, on one image instead of several.
TOLERANCE = 1e-5


class Net(nn.Module):
    """A tiny generator: a dense layer, then whatever `tail` makes of (N, 4, 3, 3)."""

    def __init__(self, tail, *modules):
        super().__init__()
        self.dense = nn.Linear(5, 36)
        self.tail = tail
        self.parts = nn.ModuleList(modules)

    def forward(self, z):
        return self.tail(torch.relu(self.dense(z)).reshape(-1, 4, 3, 3), *self.parts)


def draw_from(module):
    module.eval()

    def draw(n, seed):
        return module(torch.randn(n, 5, generator=torch.Generator().manual_seed(seed)))

    return draw


def conv(out=3):
    return nn.Conv2d(4, out, 3, padding=1)


def grow():
    return nn.ConvTranspose2d(4, 3, 4, 2, 1)


def plain(activation, layer):
    return Net(lambda h, last: activation(last(h)), layer)


def patches(h, last):
    """A dense layer on each of 9 positions, then channels to the front."""
    rows = last(h.flatten(2).transpose(1, 2))
    return torch.tanh(rows.transpose(1, 2).reshape(-1, 3, 3, 3))


def spectral(h, last):
    weight = last.weight / torch.linalg.matrix_norm(last.weight.flatten(1), ord=2)
    return torch.tanh(functional.conv2d(h, weight, last.bias, padding=1))


def skip_overwritten_later(h, last):
    s = h[:, :3].clone()
    out = last(h) + s
    s.zero_()
    return out.tanh()


def in_inference_mode(h, last):
    with torch.inference_mode():
        return torch.sigmoid(last(h))


GOOD = {
    "tanh": (plain(torch.tanh, grow()), "conv_transpose", (-1, 1)),
    "tanh in place": (plain(torch.tanh_, grow()), "conv_transpose", (-1, 1)),
    "sigmoid": (plain(torch.sigmoid, conv()), "conv", (0, 1)),
    "clamp": (plain(lambda o: o.clamp(-1, 1), conv()), "conv", (-1, 1)),
    "hardtanh": (plain(nn.Hardtanh(-2, 2), conv()), "conv", (-2, 2)),
    "scaled tanh": (plain(lambda o: 1 - (torch.tanh(o / 2) + 1) / 4, conv()), "conv", (0.5, 1)),
    "negative": (plain(lambda o: 3.0 - 2 * torch.sigmoid(-o), conv()), "conv", (1, 3)),
    "scalar buffer": (plain(lambda o: torch.tanh(o) * torch.tensor(2.0), conv()), "conv", (-2, 2)),
    "grouped": (plain(torch.tanh, nn.Conv2d(4, 2, 2, groups=2, bias=False)), "conv", (-1, 1)),
    "reflection": (
        plain(torch.tanh, nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect")),
        "conv",
        (-1, 1),
    ),
    "pixel shuffle": (
        plain(lambda o: functional.pixel_shuffle(o, 2).tanh(), conv(12)),
        "conv",
        (-1, 1),
    ),
    "flipped": (plain(lambda o: torch.tanh(o).flip(1), conv()), "conv", (-1, 1)),
    "dense": (
        Net(lambda h, last: last(h.flatten(1)).view(-1, 3, 2, 2).tanh(), nn.Linear(36, 12)),
        "dense",
        (-1, 1),
    ),
    "dense without bias": (
        Net(
            lambda h, last: last(h.flatten(1)).unflatten(1, (3, 2, 2)).sigmoid(),
            nn.Linear(36, 12, bias=False),
        ),
        "dense",
        (0, 1),
    ),
    "dense on rows": (Net(patches, nn.Linear(4, 3)), "dense", (-1, 1)),
    "einsum": (
        Net(
            lambda h, last: torch.einsum("nchw,oc->nohw", h, last.weight).tanh(),
            nn.Linear(4, 3, bias=False),
        ),
        "dense",
        (-1, 1),
    ),
    "bias of its own": (
        Net(lambda h, last, b: torch.tanh(last(h) + b.bias.view(1, -1, 1, 1)), conv(), conv()),
        "conv",
        (-1, 1),
    ),
    "bias of its own on rows": (
        Net(
            lambda h, last, b: (
                (last(h.flatten(2).mT.reshape(-1, 4)).reshape(-1, 9, 3) + b.bias)
                .mT.reshape(-1, 3, 3, 3)
                .tanh()
            ),
            nn.Linear(4, 3, bias=False),
            conv(),
        ),
        "dense",
        (-1, 1),
    ),
    "skip": (Net(lambda h, last: (last(h) + h[:, :3]).tanh(), conv()), "conv", (-1, 1)),
    "skip in place": (Net(lambda h, last: last(h).add_(h[:, :3]).tanh(), conv()), "conv", (-1, 1)),
    "skip overwritten later": (Net(skip_overwritten_later, conv()), "conv", (-1, 1)),
    "skip on the left": (
        Net(lambda h, a, b: (a(h) + b(h.relu())).sigmoid(), conv(), conv()),
        "conv",
        (0, 1),
    ),
    "dense skip": (
        Net(
            lambda h, last: (last(h.flatten(1)) + h.flatten(1)[:, :12]).view(-1, 3, 2, 2).tanh(),
            nn.Linear(36, 12, bias=False),
        ),
        "dense",
        (-1, 1),
    ),
    "functional weight": (Net(spectral, conv()), "conv", (-1, 1)),
    "inference mode": (Net(in_inference_mode, conv()), "conv", (0, 1)),
}


@pytest.mark.parametrize("name", GOOD)
def test_applying_the_found_layer_gives_the_generators_output__identity_reapply(name):
    module, kind, value_range = GOOD[name]
    draw = draw_from(module)
    split = introspect(draw)
    with torch.no_grad():
        output = draw(4, 7)
    images, z = run_split(lambda: draw(4, 7), split)
    low, high = split.output_map.value_range
    assert (split.last_layer.kind, (low, high)) == (kind, pytest.approx(value_range))
    assert z.shape == (4, *split.last_layer.input_shape)
    assert split.image_shape == tuple(output.shape[1:])
    assert split.max_deviation < TOLERANCE
    assert torch.allclose(images, (output - low) / (high - low), atol=TOLERANCE)
    for i in range(4):
        again = split.output_map.forward(split.last_layer.apply(z[i : i + 1]))
        assert torch.allclose(again, images[i : i + 1], atol=TOLERANCE)


def test_the_found_tensors_are_the_layers_own__identity_weights():
    module = GOOD["tanh"][0]
    split = introspect(draw_from(module))
    assert torch.equal(split.last_layer.weight, module.parts[0].weight)
    assert torch.equal(split.last_layer.bias, module.parts[0].bias)
    assert split.last_layer.stride == (2, 2)
    assert split.last_layer.name == "ConvTranspose2d(4, 3)"


def test_of_two_layers_that_are_added_the_later_is_the_last__identity_weights():
    module = GOOD["skip on the left"][0]
    split = introspect(draw_from(module))
    assert torch.equal(split.last_layer.weight[:, :4], module.parts[1].weight)


def test_a_bias_added_later_joins_the_layers_bias__closed_form():
    module = GOOD["bias of its own"][0]
    split = introspect(draw_from(module))
    last, other = module.parts
    assert torch.equal(split.last_layer.bias, last.bias + other.bias)


def test_captured_activation_is_what_a_hook_sees__reference_hook():
    module = GOOD["tanh in place"][0]
    draw = draw_from(module)
    split = introspect(draw)
    seen = []
    handle = module.parts[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    _, z = run_split(lambda: draw(3, 1), split)
    handle.remove()
    assert torch.equal(z, seen[0])


def test_an_input_overwritten_after_use_is_captured_before__identity_copy():
    def tail(h, last):
        out = torch.tanh(last(h))
        h.zero_()
        return out

    draw = draw_from(Net(tail, conv()))
    split = introspect(draw)
    _, z = run_split(lambda: draw(3, 1), split)
    assert float(z.abs().sum()) > 0


def test_observing_keeps_no_other_tensor_alive__identity_lifetime():
    alive = []

    def tail(h, last):
        alive.append(weakref.ref(h))
        return torch.tanh(last(h))

    draw = draw_from(Net(tail, conv()))
    split = introspect(draw)
    observer = LinearObserver(split.linear_index)
    out = watch(observer, lambda: draw(2, 0))
    gc.collect()
    assert out is not None and observer.captured is not None
    assert [ref() for ref in alive] == [None] * len(alive)


def modulated(h, last):
    """StyleGAN2's fused form: one weight per image, images as groups."""
    style = h.mean((2, 3)).reshape(-1, 1, 4, 1, 1)
    weight = (last.weight * style).reshape(-1, 4, 3, 3)
    out = functional.conv2d(h.reshape(1, -1, 3, 3), weight, padding=1, groups=len(h))
    return out.reshape(-1, 3, 3, 3).tanh()


def modulated_dense(h, last):
    weight = last.weight * h.mean()
    return functional.linear(h.flatten(1), weight).reshape(-1, 3, 2, 2).tanh()


def through_a_view(h, last):
    out = last(h)
    out.view(-1).tanh_()
    return out


def assembled(h, last):
    return torch.cat([last(h), last(h)], dim=1).tanh()


def no_layer(h):
    return h.tanh()


CONV, TCONV = r"Conv2d\(4, 3\)", r"ConvTranspose2d\(4, 3\)"
BAD = {
    "relu": (
        plain(torch.relu, grow()),
        f"passes through relu after the last linear layer {TCONV}: its inverse does not exist",
    ),
    "relu in place": (plain(torch.relu_, conv()), f"through relu after .*{CONV}"),
    "clamp below": (plain(lambda o: o.clamp(min=0), conv()), "through clamp .*does not exist"),
    "softmax": (plain(lambda o: o.softmax(1), conv()), "through softmax .*does not exist"),
    "leaky relu": (plain(functional.leaky_relu, conv()), "through leaky_relu .*supported are tanh"),
    "upsample": (plain(nn.Upsample(scale_factor=2), conv()), "upsample_nearest2d .*supported"),
    "skip of a layer that grows": (
        Net(lambda h, last: (last(h) + functional.interpolate(h[:, :3], (6, 6))).tanh(), grow()),
        f"skip connection is added to {TCONV}, which is neither a dense layer",
    ),
    "two skips": (
        Net(lambda h, last: (last(h) + h[:, :3] + h[:, 1:]).tanh(), conv()),
        f"two branches are added after the last linear layer {CONV} .skip connection",
    ),
    "gate": (Net(lambda h, last: last(h) * h[:, :3], conv()), "two branches are multiplied after"),
    "noise": (plain(lambda o: o + torch.randn_like(o), conv()), "two branches are added .*noise"),
    "twice": (plain(lambda o: (o + o).tanh(), conv()), "two branches are added"),
    "of itself": (plain(lambda o: o + torch.sigmoid(o), conv()), "two branches are added"),
    "seeded noise": (
        plain(lambda o: o + torch.randn(o.shape, generator=torch.manual_seed(0)), conv()),
        "two branches are added .*noise",
    ),
    "mean and std": (
        Net(lambda h, last, norm: last(h).tanh() + norm.bias[:, None, None], conv(), conv()),
        f"constant tensor of shape 3x1x1 is added after the last linear layer {CONV}; fold",
    ),
    "batch norm": (
        Net(lambda h, last, norm: norm(last(h)).tanh(), conv(), nn.BatchNorm2d(3)),
        f"batch_norm follows the last linear layer {CONV}; fold it into the layer first",
    ),
    "batch statistics": (
        Net(
            lambda h, last, norm: last(norm(h)).tanh(),
            conv(),
            nn.BatchNorm2d(4, track_running_stats=False),
        ),
        "depends on its neighbours",
    ),
    "modulated": (Net(modulated, conv()), "computed per sample"),
    "modulated dense": (Net(modulated_dense, nn.Linear(36, 12)), "computed per sample"),
    "dropout before": (
        Net(lambda h, last: last(functional.dropout(h)).tanh(), conv()),
        "another image for the same latent",
    ),
    "view": (Net(through_a_view, conv()), "overwritten in place through another view"),
    "cat": (Net(assembled, grow()), r"put together from several parts \(cat\)"),
    "sliced": (plain(lambda o: o[:, :1].tanh(), conv()), "drops or repeats part of the output"),
    "times zero": (plain(lambda o: o * 0, conv()), "mul by 0 after .*cannot be undone"),
    "rounded": (plain(lambda o: (o * 9).round().tanh(), conv()), "through round .*does not exist"),
    "no layer": (
        type(
            "Bare", (nn.Module,), {"forward": lambda _, z: z[:, :4].reshape(-1, 1, 2, 2).tanh()}
        )(),
        "no linear layer found",
    ),
    "unbounded": (plain(lambda o: o, conv()), "pass value_range"),
    "tuple": (plain(lambda o: (o, o), conv()), r"returned tuple, expected one tensor"),
    "flat": (
        plain(lambda o: o.flatten(1).tanh(), conv()),
        r"expected floats of shape \(2, C, H, W",
    ),
    "bytes": (plain(lambda o: (o * 9).byte(), conv()), "returned torch.uint8 .* expected floats"),
    "channels last": (
        plain(lambda o: o.permute(0, 2, 3, 1).tanh(), nn.ConvTranspose2d(4, 3, 4, 2, 1)),
        "channels last; permute it",
    ),
    "half": (
        Net(lambda h, last: last.bfloat16()(h.bfloat16()).tanh(), conv()),
        "does not give the generator's output .*torch.bfloat16",
    ),
    "crash": (plain(lambda o: o[:, 7], conv()), "the generator failed: IndexError"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_inverted_is_refused_with_the_reason__rejects_generators(name):
    module, reason = BAD[name]
    with pytest.raises(InputError, match=reason) as caught:
        introspect(draw_from(module))
    assert "\n" not in str(caught.value)


def test_nan_in_the_output_is_refused__rejects_nan():
    module = plain(torch.tanh, conv())
    with torch.no_grad():
        module.dense.weight[0, 0] = torch.nan
    with pytest.raises(InputError, match="output contains NaN or infinity; check its weights"):
        introspect(draw_from(module))


def test_another_image_size_later_is_refused__rejects_size():
    module = plain(torch.tanh, conv())
    draw = draw_from(module)
    split = introspect(draw)
    with pytest.raises(InputError, match="wrap it again"):
        run_split(lambda: functional.pad(draw(2, 0), (1, 1)), split)
