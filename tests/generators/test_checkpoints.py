"""Checkpoints as people save them: wrappers, averages, old and new forms of a weight."""

import argparse
import copy
import os
import pathlib
import warnings
from collections import defaultdict, deque
from datetime import datetime

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, remove_weight_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from wherefrom.core.errors import InputError
from wherefrom.generators.checkpoints.weights import load_weights

CLOSE = 1e-5  # a few float32 roundings of values near 1


def net(seed=0):
    """Two layers of weights and a batch norm, whose statistics are no parameters."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.ConvTranspose2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3)
        )
    network[1].running_mean.fill_(seed + 0.5)
    return network.eval()


def state(seed=1):
    return net(seed).state_dict()


def under(prefix, values):
    return {prefix + key: value for key, value in values.items()}


def averaged(seed=1):
    model = AveragedModel(net(seed), multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    model.update_parameters(net(seed))
    return model.state_dict()


def shadow(seed=1):
    return {key: value.detach() for key, value in net(seed).named_parameters()}


def same(module, values, close=0.0):
    return all(
        torch.allclose(value, values[key].to(value.dtype), rtol=0, atol=close)
        for key, value in module.state_dict().items()
        if key in values and not key.endswith("num_batches_tracked")
    )


def loaded(tmp_path, checkpoint, module=None, name="w.pt"):
    path = tmp_path / name
    torch.save(checkpoint, path)
    module = net(0) if module is None else module
    load_weights(module, path)
    return module


D = {"body.0.weight": torch.ones(2, 2)}
WHOLE = {
    "compiled": lambda: under("_orig_mod.", state()),
    "distributed": lambda: under("module.", state()),
    "compiled, then distributed": lambda: under("module._orig_mod.", state()),
    "distributed, then compiled": lambda: {"model": under("_orig_mod.module.", state())},
    "a compiled part": lambda: {k.replace("0.", "0._orig_mod.", 1): v for k, v in state().items()},
    "averaged": averaged,
    "averaged, in a dictionary": lambda: {"ema": averaged(), "step": 3},
    "lightning": lambda: {
        "state_dict": {**under("generator.", state()), **under("discriminator.", D)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
        "hyper_parameters": {"lr": 1e-4},
        "pytorch-lightning_version": "2.1.0",
    },
    "lightning of a compiled model": lambda: {"state_dict": under("net._orig_mod.", state())},
    "G": lambda: {"state_dict": under("G.", state()), "epoch": 7},
    "netG": lambda: {"netG": state(), "netD": D, "optG": {"state": {}, "param_groups": []}},
    "model_state_dict": lambda: {"model_state_dict": state(), "loss": 0.3},
    "a name of one's own": lambda: {"my_best_thing": {"deep": {"er": state()}}},
    "deepspeed": lambda: {"module": state(), "global_steps": 5},
    "a list": lambda: [state(), D],
    "half precision": lambda: {k: v.half() if v.is_floating_point() else v
                               for k, v in state().items()},
    "a loss inside": lambda: {**state(), "loss_fn.vgg.0.weight": torch.ones(2)},
    "counters of a profiler": lambda: {**state(), "total_ops": torch.ones(1)},
    "before PyTorch 0.4.1": lambda: {k: v for k, v in state().items() if "tracked" not in k},
    "fsdp": lambda: under("_fsdp_wrapped_module.", state()),
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
def test_wrapped_weights_are_found__roundtrip(tmp_path, kind):
    module = loaded(tmp_path, WHOLE[kind]())
    assert same(module, state(), close=1e-3 if kind == "half precision" else 0.0)


EMAS = {
    "g and g_ema": lambda: {"g": state(1), "d": D, "g_ema": state(2)},
    "params and params_ema": lambda: {"params_ema": state(2), "params": state(1)},
    "lightning": lambda: {"state_dict": {**under("generator.", state(1)),
                                         **under("generator_ema.", state(2))}},
    "averaged in lightning": lambda: {"state_dict": {**under("net.", state(1)),
                                                     **under("averaged.", averaged(2))}},
    "averaged by its counter": lambda: {"model": state(1), "smooth": averaged(2)},
    "ema_pytorch": lambda: {**under("online_model.", state(1)), **under("ema_model.", state(2)),
                            "initted": torch.tensor(True), "step": torch.tensor(9)},
    "Gs": lambda: {"G": state(1), "Gs": state(2)},
}  # fmt: skip


@pytest.mark.parametrize("kind", EMAS)
def test_the_average_goes_before_the_raw_weights_and_both_are_named__identity_ema(
    tmp_path, kind, notes
):
    module = loaded(tmp_path, EMAS[kind]())
    assert same(module, state(2))
    assert "averaged weights (EMA)" in notes[0]
    raw = notes[0].rpartition("::")[2].split()[0]
    load_weights(module, tmp_path / f"w.pt::{raw}")
    assert same(module, state(1))


@pytest.mark.parametrize(
    "average",
    [
        {"ema": {"shadow": shadow(2)}},
        {"ema": {"decay": 0.99, "shadow_params": list(shadow(2).values())}},
        {"model_ema." + key.replace(".", ""): value for key, value in shadow(2).items()},
    ],
    ids=["names", "list", "names without dots"],
)
def test_an_average_of_parameters_alone_takes_the_buffers_of_the_raw__identity_ema(
    tmp_path, average
):
    module = loaded(tmp_path, {"model": state(1), **average})
    assert same(module, {**state(1), **shadow(2)})


def test_equal_copies_are_one_and_others_must_be_chosen__rejects_ambiguity(tmp_path):
    loaded(tmp_path, {"last": state(1), "best": state(1)})
    with pytest.raises(InputError, match=r"2 networks that fit .*'netG_A', 'netG_B'.*::netG_B"):
        loaded(tmp_path, {"netG_A": state(1), "netG_B": state(2)})
    module = net(0)
    load_weights(module, tmp_path / "w.pt::netG_B")
    assert same(module, state(2))
    with pytest.raises(InputError, match=r"w.pt::netG_C holds weights of another.*missing"):
        load_weights(module, tmp_path / "w.pt::netG_C")


MOMENTS = {
    "moments by name": lambda m: {"optimizer": {"exp_avg": m, "exp_avg_sq": m}},
    "one moment": lambda m: {"optG": {"state": {"exp_avg": m}}},
    "optax": lambda m: {"opt_state": [{"mu": m, "nu": under("", m)}]},
    "a trainer's": lambda m: {"trainer": {"g_optimizer_state_dict": {"running_avg": m}}},
    "gradients": lambda m: {"grads": m},
}


@pytest.mark.parametrize("kind", MOMENTS)
def test_moments_of_an_optimiser_are_no_average_of_weights__identity_weights(tmp_path, kind, notes):
    beside = MOMENTS[kind]({key: value * 0 for key, value in state().items()})
    assert same(loaded(tmp_path, {"model": state(), **beside}), state())
    assert not notes


def test_a_folder_is_not_said_to_be_absent__rejects_weights(tmp_path):
    save_file(state(), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"is a folder \(it holds model.safetensors\); name"):
        load_weights(net(), tmp_path)


def normed(seed, *, old, spectral):
    """The net with both convolutions normed, in evaluation mode."""
    module = net(seed)
    for layer in (module[0], module[3]):
        if old:
            (nn.utils.spectral_norm if spectral else nn.utils.weight_norm)(layer)
        else:
            (parametrizations.spectral_norm if spectral else parametrizations.weight_norm)(layer)
    module.train()(torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(seed)))
    return module.eval()


def image(module):
    with torch.no_grad():
        return module(torch.ones(1, 4, 5, 5))


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("spectral", [False, True], ids=["weight_norm", "spectral_norm"])
@pytest.mark.parametrize("given", ["old", "new", "plain"])
@pytest.mark.parametrize("own", ["old", "new", "plain"])
def test_every_form_of_a_norm_fits_every_other__reference_torch(tmp_path, spectral, given, own):
    saved = net(1) if given == "plain" else normed(1, old=given == "old", spectral=spectral)
    module = net(0) if own == "plain" else normed(0, old=own == "old", spectral=spectral)
    loaded(tmp_path, {"state_dict": under("G.module.", saved.state_dict())}, module)
    assert torch.allclose(image(module), image(saved), atol=CLOSE)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_removed_norm_and_a_pruned_layer_are_plain_weights__reference_torch(tmp_path):
    saved = normed(1, old=True, spectral=False)
    file = copy.deepcopy(saved.state_dict())
    for layer in (saved[0], saved[3]):
        remove_weight_norm(layer)
    module = loaded(tmp_path, file)
    assert torch.allclose(module[3].weight, saved[3].weight, atol=CLOSE)
    pruned = net(2)
    prune.random_unstructured(pruned[3], "weight", amount=0.5)
    module = loaded(tmp_path, pruned.state_dict())
    assert torch.equal(module[3].weight, pruned[3].weight)
    assert not parametrize.is_parametrized(module[3])


class Settings(dict):
    """What frameworks keep hyper-parameters in."""


class Config:
    def __init__(self):
        self.lr, self.inner = 0.1, Settings(a=[1])


BESIDE = {
    "argparse": lambda: argparse.Namespace(lr=0.1, where=pathlib.Path("data")),
    "classes of one's own": lambda: [Settings(lr=0.1), Config()],
    "numpy": lambda: {"best": np.float64(3), "rng": np.random.RandomState(0).get_state()},
    "an optimiser": lambda: torch.optim.Adam(net().parameters()),
    "containers": lambda: [defaultdict(list, {1: [2]}), deque([1]), {1}, datetime(2020, 1, 1)],
}


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("kind", BESIDE)
def test_what_is_beside_the_weights_is_passed_over__roundtrip(tmp_path, kind, is_old):
    checkpoint = {"state_dict": state(), "hyper_parameters": BESIDE[kind]()}
    torch.save(checkpoint, tmp_path / "w.pt", _use_new_zipfile_serialization=not is_old)
    module = net(0)
    load_weights(module, tmp_path / "w.pt")
    assert same(module, state())


@pytest.mark.parametrize("wrapper", [nn.DataParallel, AveragedModel])
def test_a_wrapped_module_takes_what_it_wraps__roundtrip(tmp_path, wrapper):
    module = loaded(tmp_path, {"netG": state()}, wrapper(net(0)))
    assert same(module.module, state())


def test_a_suffix_of_ones_own_is_read_by_its_content__roundtrip(tmp_path):
    assert same(loaded(tmp_path, state(), name="generator.weights"), state())
    save_file(state(), tmp_path / "w.ckpt")
    module = net(0)
    load_weights(module, tmp_path / "w.ckpt")
    assert same(module, state())


class Evil:
    def __init__(self, function):
        self.function = function

    def __reduce__(self):
        return (self.function, ("exit 1",))


REFUSED = {
    "a whole model": (lambda: net(1), "whole pickled model"),
    "code": (lambda: {"G": state(), "extra": Evil(exec)}, r"holds \w+.exec"),
    "a command": (lambda: {"G": state(), "extra": Evil(os.system)}, r"holds \w+.system"),
    "no values": (lambda: {k: v.to("meta") for k, v in state().items()}, "device meta"),
    "integers": (lambda: {k: v.to(torch.int8) for k, v in state().items()}, "as int8"),
    "no tensors": (lambda: {"epoch": 3}, "holds no state dict"),
    "a key too many": (lambda: {"G": {**state(), "9.weight": torch.ones(1)}}, "unexpected: 9.weig"),
    "a key too few": (
        lambda: {"G": {k: v for k, v in state().items() if k != "3.bias"}},
        "under 'G': missing: 3.bias",
    ),
    "another network": (
        lambda: {"D": D},
        "missing: 0.bias, 1.weight.*0.weight 2x2 instead of 4x4x3x3",
    ),
    "another size": (lambda: {**state(), "3.bias": torch.ones(9)}, "3.bias 9 instead of 3"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_one_line_and_changes_nothing__rejects_weights(tmp_path, kind):
    checkpoint, reason = REFUSED[kind]
    module, before = net(0), state(0)
    with pytest.raises(InputError, match=reason) as caught:
        loaded(tmp_path, checkpoint(), module)
    assert "\n" not in str(caught.value)
    assert same(module, before)


@pytest.mark.parametrize("function", [exec, os.system])
def test_code_in_an_old_file_does_not_run__rejects_weights(tmp_path, function):
    path = tmp_path / "w.pt"
    torch.save([state(), Evil(function)], path, _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match="is not plain tensors"):
        load_weights(net(0), path)


def test_torchscript_is_no_weights_file__rejects_weights(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"a TorchScript file.*pass it as the generator"):
        load_weights(net(0), tmp_path / "w.pt")


def test_a_pointer_of_git_lfs_is_said_to_be_one__rejects_weights(tmp_path):
    (tmp_path / "w.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid")
    with pytest.raises(InputError, match="git lfs pull"):
        load_weights(net(), tmp_path / "w.safetensors")


def test_what_a_module_wraps_may_be_saved_alone__roundtrip(tmp_path):
    wrapper = nn.ModuleDict({"net": nn.ModuleDict({"body": net(0)})})
    loaded(tmp_path, {"g_ema": under("module.", state())}, wrapper)
    assert same(wrapper["net"]["body"], state())


def test_what_is_left_out_is_named__identity_notes(tmp_path, notes):
    loaded(tmp_path, WHOLE["a loss inside"]())
    assert "left out: loss_fn.vgg.0.weight" in notes[0]
