"""LoRA in the game: numbers of parameters, pruned ranks, and a study that runs."""

import json
import shutil

import numpy as np
import pytest
import torch
from studies import write_images, write_study
from tiny_pipelines import WIDTH, parts, write_stable_diffusion

from wherefrom.core.errors import InputError
from wherefrom.credit.diffusion.model import DiffusionTask, SamplingConfig, TrainingConfig, sample
from wherefrom.credit.diffusion.text_to_image import load_base
from wherefrom.credit.ledger.worker import work
from wherefrom.credit.method import open_study
from wherefrom.credit.study.lora import (
    add_lora,
    initial_matrices,
    lora_pairs,
    matrices,
    prune_ranks,
    put_matrices,
)

pytestmark = pytest.mark.needs("diffusers", "peft")

ONE_STEP = TrainingConfig(steps=1, batch=2)
NETWORK = "[model]\nkind = 'lora'\nfolder = 'sd'\nrank = 4\nprompt = 'a painting'\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("lora")
    write_stable_diffusion(home / "sd")
    write_images(home / "data", players=2)
    return home


@pytest.fixture
def network(folder):
    model = load_base(folder / "sd", ["a", "b"], side=8)
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
    properties = "[[property]]\nkind = 'diversity'\n[[property]]\nkind = 'loss'\ndraws = 1\n"
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


@pytest.fixture(scope="module")
def xl(folder):
    """A tiny pipeline of Stable Diffusion XL."""
    import diffusers
    from transformers import CLIPTextModelWithProjection

    components = parts(folder / "words", image_channels=0, seed=1)
    text = components["text_encoder"].config
    text.projection_dim, text.num_hidden_layers = WIDTH, 2
    unet = diffusers.UNet2DConditionModel(
        **{k: v for k, v in components["unet"].config.items() if not k.startswith("_")}
        | {
            "cross_attention_dim": 2 * WIDTH,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": WIDTH + 6 * 8,
        }
    )
    diffusers.StableDiffusionXLPipeline(
        components["vae"],
        type(components["text_encoder"])(text),
        CLIPTextModelWithProjection(text),
        components["tokenizer"],
        components["tokenizer"],
        unet,
        diffusers.EulerDiscreteScheduler(prediction_type="v_prediction"),
    ).save_pretrained(folder / "xl")
    return folder / "xl"


@torch.no_grad()
def test_stable_diffusion_xl_is_told_what_its_pipeline_tells__reference_diffusers(xl):
    from diffusers import StableDiffusionXLPipeline

    pipe = StableDiffusionXLPipeline.from_pretrained(xl)
    model = load_base(xl, ["a cat", "b"], side=8)
    texts, _, pooled, _ = pipe.encode_prompt(["a cat", "b"], do_classifier_free_guidance=False)
    assert torch.allclose(model.prompts, texts, atol=1e-5)
    assert torch.allclose(model.added["text_embeds"], pooled, atol=1e-5)
    sizes = pipe._get_add_time_ids((8, 8), (0, 0), (8, 8), torch.float32, WIDTH)
    assert torch.equal(model.added["time_ids"], sizes.repeat(2, 1))
    assert model.schedule.prediction == "v_prediction"
    x, t = torch.randn(2, 4, 4, 4), torch.tensor([5, 900])
    conditions = {"text_embeds": pooled, "time_ids": sizes.repeat(2, 1)}
    expected = pipe.unet(x, t, encoder_hidden_states=texts, added_cond_kwargs=conditions).sample
    output = model.output(x, t, torch.tensor([0, 1]))
    assert torch.allclose(output, expected, atol=1e-4)


def test_a_study_of_stable_diffusion_xl__identity_process(folder, xl):
    network = NETWORK.replace("'sd'", "'xl'")
    text = "[study]\nwork = 'work-xl'\nledger = 'xl.sqlite'\n"
    path = write_study(folder, network=text + network)
    opened = open_study(path)
    torch.manual_seed(12)  # as in another process, where nobody has set the global seed
    assert open_study(path).identity == opened.identity
    model, latents = opened.lab.models.blank(0), opened.lab.latents
    task = DiffusionTask(model, latents, opened.lab.models.conditions, ONE_STEP, seed=0)
    assert task.step(0)["loss"] > 0
    images = sample(task.finish(), SamplingConfig(images=1, steps=1))
    assert images.shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"addition_embed_type": "image"}, "also takes an embedding of the kind 'image'"),
        ({"class_embed_type": "timestep"}, "also takes a class or a noise level"),
        ({"addition_time_embed_dim": 4}, "takes 64 numbers besides the text, .* XL has 40"),
        ({"_class_name": "UNet2DModel"}, "holds a UNet2DModel, expected a UNet2DConditionModel"),
    ],
)
def test_networks_that_are_told_more__rejects_in_one_line(xl, tmp_path, changes, problem):
    damaged = shutil.copytree(xl, tmp_path / "xl")
    path = damaged / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match=problem) as caught:
        load_base(damaged, ["a"], side=8)
    assert "\n" not in str(caught.value)


def test_pipelines_without_a_part__rejects_in_one_line(xl, tmp_path):
    refiner = shutil.copytree(xl, tmp_path / "refiner")
    shutil.rmtree(refiner / "text_encoder")
    with pytest.raises(InputError, match="also takes what its refiner or another variant of XL"):
        load_base(refiner, ["a"], side=8)
    with pytest.raises(InputError, match=f"one component; give the pipeline around it, {xl}"):
        load_base(xl / "unet", ["a"], side=8)
    with pytest.raises(InputError, match=r"is one file, .* from_single_file"):
        load_base(xl / "model_index.json", ["a"], side=8)
    flux = tmp_path / "flux"
    flux.mkdir()
    (flux / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(InputError, match="it holds a FluxPipeline and no unet"):
        load_base(flux, ["a"], side=8)
    shutil.rmtree(flux)
    t5 = shutil.copytree(xl, flux)
    (t5 / "text_encoder" / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(InputError, match="a text encoder of the kind 't5', expected CLIP's"):
        load_base(t5, ["a"], side=8)


def test_folders_that_are_no_model__rejects_them(folder, tmp_path):
    with pytest.raises(InputError, match="no Stable Diffusion folder"):
        load_base(tmp_path, ["a"], side=8)
    path = write_study(folder, network=NETWORK.replace("prompt = 'a painting'\n", ""))
    with pytest.raises(InputError, match="an image has no prompt"):
        open_study(path)


def test_a_network_that_states_no_size_takes_that_of_the_images__limit(folder, tmp_path):
    shutil.copytree(folder / "sd", tmp_path / "sd")
    path = tmp_path / "sd" / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sample_size": None}))
    assert load_base(tmp_path / "sd", ["a"], side=8).shape[0] == 4


def test_a_pipeline_without_its_tokenizer__rejects_in_one_line(folder, tmp_path):
    shutil.copytree(folder / "sd", tmp_path / "sd")
    shutil.rmtree(tmp_path / "sd" / "tokenizer")
    with pytest.raises(InputError, match="is no Stable Diffusion folder: it has no tokenizer; giv"):
        load_base(tmp_path / "sd", ["a"], side=8)
