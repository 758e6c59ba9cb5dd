"""Modules that cannot be used as they are: refused at once, with what to do."""

import pytest
import torch
from torch import nn

from wherefrom.core.errors import InputError
from wherefrom.generators.checkpoints.weights import load_weights
from wherefrom.generators.generator import wrap_generator
from wherefrom.generators.loading import load_generator


def net(channels=3):
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, channels * 4),
                         nn.Unflatten(1, (channels, 2, 2)), nn.Tanh())  # fmt: skip


def partly(device):
    module = net()
    module[2].to(device)
    return module


class Compiled(nn.Module):
    """What `torch.compile` wraps a module in, without loading the compiler."""

    def __init__(self, module):
        super().__init__()
        self._orig_mod = module

    def forward(self, z):
        raise AssertionError("a compiled module must not be run while it is traced")


def with_compiled_part():
    module = net()
    module[0] = Compiled(module[0])
    return module


class AsksForCuda(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, z):
        return self.net(z.cuda())


REFUSED = {
    "colour and alpha": (lambda: net(4), "4 channels .colour and alpha"),
    "grey and alpha": (lambda: net(2), "2 channels .grey and alpha"),
    "six channels": (lambda: net(6), "images of 6 channels"),
    "float16": (lambda: net().half(), r"half precision \(float16\).*model.float"),
    "bfloat16": (lambda: net().bfloat16(), "half precision"),
    "both": (
        lambda: nn.Sequential(nn.Linear(4, 4).half(), net().bfloat16()),
        "bfloat16 and float16",
    ),
    "meta": (lambda: net().to("meta"), "'0.weight' is on the device meta"),
    "partly on meta": (lambda: partly("meta"), "'2.weight' is on the device meta"),
    "frozen": (
        lambda: torch.jit.freeze(torch.jit.script(net().eval())),
        r"frozen \(torch.jit.freeze\).*save it before",
    ),
    "a lazy layer": (lambda: nn.Sequential(nn.LazyLinear(4), net()), "no size yet"),
}


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_unready_models_are_refused_with_the_reason__rejects_modules(kind):
    make, reason = REFUSED[kind]
    with pytest.raises(InputError, match=reason) as caught:
        wrap_generator(make(), latent=(4,))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_models_that_ask_for_cuda_say_what_to_do__rejects_modules(tmp_path):
    with pytest.raises(InputError, match="there is no CUDA here, so build the model on the CPU"):
        wrap_generator(AsksForCuda(), latent=(4,))
    (tmp_path / "my.py").write_text("import torch\nG = lambda: torch.nn.Linear(1, 1).cuda()\n")
    with pytest.raises(InputError, match="there is no CUDA here, so build the model on the CPU"):
        load_generator(f"{tmp_path}/my.py:G")


@pytest.mark.parametrize("make", [lambda: Compiled(net()), with_compiled_part])
def test_compiled_models_run_as_what_was_compiled__identity_images(make):
    torch.manual_seed(0)
    generator = wrap_generator(make(), latent=(4,))
    assert generator.sample(2).shape == (2, 3, 2, 2)


def test_weights_are_not_put_into_a_model_on_meta__rejects_modules(tmp_path):
    torch.save(net().state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match="device meta"):
        load_weights(net().to("meta"), tmp_path / "w.pt")


class Answers(nn.Module):
    """A generator that puts its images into something else."""

    latent_dim = 4

    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = net(), wrap

    def forward(self, z):
        return self.wrap(self.net(z))


class AsksForLabels(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, z, labels):
        return self.net(z)


def partly_half():
    module = net()
    module[0].half()
    return module


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Answers(lambda images: (images, None)), "returned tuple, expected one tensor"),
        (lambda: Answers(lambda images: {"sample": images}), "returned dict, expected one tensor"),
        (AsksForLabels, r"latent shape of AsksForLabels .*\(4,\) failed: .* argument: 'labels'"),
        (partly_half, r"latent shape of Sequential .*\(4,\) failed: .*dtype"),
    ],
)
def test_a_model_that_fails_at_every_latent_says_why__rejects_modules(make, reason):
    with pytest.raises(InputError, match=reason) as caught:
        wrap_generator(make())
    assert "\n" not in str(caught.value)
