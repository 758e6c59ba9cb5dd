"""LoRA in the game: numbers of parameters, pruned ranks, and a study that runs."""

import numpy as np
import pytest
import torch
from studies import write_images, write_study
from tiny_pipelines import write_stable_diffusion

from wherefrom.core.errors import InputError
from wherefrom.credit.lora import (
    add_lora,
    initial_matrices,
    load_base,
    lora_pairs,
    matrices,
    prune_ranks,
    put_matrices,
)
from wherefrom.credit.method import open_study
from wherefrom.credit.worker import work

pytestmark = pytest.mark.needs("diffusers", "peft")

NETWORK = "[model]\nkind = 'lora'\nfolder = 'sd'\nrank = 4\nprompt = 'a painting'\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("lora")
    write_stable_diffusion(home / "sd")
    write_images(home / "data")
    return home


@pytest.fixture
def network(folder):
    model = load_base(folder / "sd", ["a", "b"])
    assert model.prompts.shape[0] == 2
    add_lora(model.network, 4)
    return model.network


def random_matrices(network):
    torch.manual_seed(0)
    return {name: torch.randn_like(value) for name, value in matrices(network).items()}


def test_parameters_of_stable_diffusion__closed_form():
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):  # the config of Stable Diffusion 1
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
        unet.requires_grad_(False)
        add_lora(unet, 4)
    counts = {name: a.weight.numel() + b.weight.numel() for name, a, b in lora_pairs(unet)}
    assert sum(counts.values()) == 797_184  # at rank 256 64 times as many: 51,019,776
    assert sum(p.numel() for p in unet.parameters() if p.requires_grad) == 797_184


def test_new_matrices_change_nothing__limit(network):
    x = torch.randn(1, 4, 4, 4)
    given = {"encoder_hidden_states": torch.randn(1, 3, 16)}
    with torch.no_grad():
        first = network(x, 5, **given).sample
        put_matrices(network, initial_matrices(network, seed=3))
        assert torch.equal(network(x, 5, **given).sample, first)
        put_matrices(network, random_matrices(network))
        assert not torch.allclose(network(x, 5, **given).sample, first, atol=1e-3)


def test_pruned_ranks_are_those_of_least_weight__naive_loop(network):
    put_matrices(network, random_matrices(network))
    before = matrices(network)
    prune_ranks(network, 0.5)
    after = matrices(network)
    sizes = {k: sum(v.numel() for v in m.values()) for k, m in (("b", before), ("a", after))}
    assert 0.45 < sizes["a"] / sizes["b"] < 0.56
    kept, gone = [], []
    for name, a, _ in lora_pairs(network):
        for rank in range(4):
            row, column = before[f"{name}.A"][rank], before[f"{name}.B"][:, rank]
            inside = any(torch.equal(row, other) for other in a.weight)
            others = a.weight.shape[0] > 1
            strength = float(row.square().sum() * column.square().sum())
            if inside and others:
                kept.append(strength)
            elif not inside:
                gone.append(strength)
    assert max(gone) < min(kept)
    x, given = torch.randn(1, 4, 4, 4), {"encoder_hidden_states": torch.randn(1, 3, 16)}
    assert bool(torch.isfinite(network(x, 5, **given).sample).all())


@pytest.mark.parametrize("kind", ["retrain", "sparsified"])
def test_a_study_of_lora__identity_seed(folder, kind):
    text = "[study]\nwork = 'work-" + kind + "'\nledger = '" + kind + ".sqlite'\n"
    network = text + NETWORK
    properties = "[[property]]\nkind = 'diversity'\n[[property]]\nkind = 'loss'\ndraws = 2\n"
    path = write_study(
        folder, kind=kind, network=network, properties=properties, extra="keep = 'weights'\n"
    )
    opened = open_study(path)
    with opened.ledger() as ledger:
        ledger.plan(opened.design().take(3))
        work(ledger, opened.play)
        assert ledger.problems() == []
        first = [dict(run.values) for run in ledger.all_runs()]
        keys = [key for key, _, _ in ledger.details()]
    assert len({values["loss"] for values in first}) == 3
    opened = open_study(path)  # from the work folder
    again = [opened.play.rescore(key).values for key in keys]
    for one, other in zip(first, again, strict=True):
        assert np.allclose([one["loss"], one["diversity"]], [other["loss"], other["diversity"]])


def test_folders_that_are_no_model__rejects_them(folder, tmp_path):
    with pytest.raises(InputError, match="no Stable Diffusion folder"):
        load_base(tmp_path, ["a"])
    path = write_study(folder, network=NETWORK.replace("prompt = 'a painting'\n", ""))
    with pytest.raises(InputError, match="an image has no prompt"):
        open_study(path)
