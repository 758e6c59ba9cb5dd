"""A study of the user's own UNet2DModel: its weights and its schedule are used, or refused."""

import json

import pytest
import torch
from safetensors.torch import save_file
from studies import write_images, write_study

from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import digest_tensors
from wherefrom.credit.diffusion.own_network import find_own
from wherefrom.credit.diffusion.schedules import Schedule
from wherefrom.credit.evaluation.remarks import model_lines
from wherefrom.credit.method import open_study

pytestmark = pytest.mark.needs("diffusers")

STEM = "diffusion_pytorch_model"
SHAPE = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "block_out_channels": (8,),
    "down_block_types": ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",),
    "norm_num_groups": 4,
    "add_attention": False,
}


@pytest.fixture(scope="module")
def unet():
    from diffusers import UNet2DModel

    torch.manual_seed(3)
    return UNet2DModel(**SHAPE)


@pytest.fixture
def home(tmp_path):
    write_images(tmp_path / "data")
    return tmp_path


def study_of(home, folder, kind="fine-tune"):
    return write_study(home, kind=kind, network=f"[model]\nfolder = '{folder}'\n")


def as_variant(unet, home):
    unet.save_pretrained(home / "mine", variant="fp16")
    state = {k: v.half() for k, v in unet.state_dict().items()}
    save_file(state, home / "mine" / f"{STEM}.fp16.safetensors")
    return "mine", {k: v.float() for k, v in state.items()}


def as_shards(unet, home):
    unet.save_pretrained(home / "mine", max_shard_size="8KB")
    return "mine", unet.state_dict()


def as_pipeline(unet, home):
    from diffusers import DDPMPipeline, DDPMScheduler

    DDPMPipeline(unet, DDPMScheduler(prediction_type="sample")).save_pretrained(home / "mine")
    return "mine", unet.state_dict()


def as_accelerate(unet, home):
    unet.save_pretrained(home / "mine")
    (home / "mine" / f"{STEM}.safetensors").rename(home / "mine" / "model.safetensors")
    return "mine", unet.state_dict()


@pytest.mark.parametrize("save", [as_variant, as_shards, as_pipeline, as_accelerate])
def test_the_game_begins_with_the_users_weights__roundtrip(unet, home, save):
    folder, state = save(unet, home)
    opened = open_study(study_of(home, folder))
    assert opened.lab.models.spec["start"] == digest_tensors(state)
    assert not opened.study.work.exists()  # nothing was trained
    (line,) = model_lines(opened)
    if save is as_pipeline:
        assert opened.lab.models.full.schedule == Schedule(prediction="sample")
        assert opened.lab.models.blank(0).schedule.prediction == "sample"
        assert opened.lab.models.spec["schedule"]["prediction"] == "sample"
        assert "predicts the clean image on the noise schedule linear" in line
    else:
        assert "no scheduler_config.json" in line
        assert "schedule" not in opened.lab.models.spec


def test_weights_that_are_not_read_are_refused__rejects_before_training(unet, home):
    unet.save_pretrained(home / "mine", safe_serialization=False)
    for kind in ("fine-tune", "sparsified", "retrain"):
        with pytest.raises(InputError, match=r"pickled weights only \(diffusion_pytorch_model.bin"):
            open_study(study_of(home, "mine", kind))
    (home / "mine" / f"{STEM}.bin").unlink()
    with pytest.raises(InputError, match="holds no weights, and this game begins with a trained"):
        open_study(study_of(home, "mine"))
    assert find_own(home / "mine", needs_weights=False).is_trained is False  # retrain: its shape
    assert not (home / "study.work").exists()


def change_config(home, **changes):
    path = home / "mine" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"in_channels": 3, "out_channels": 3}, "takes 3 channels, and the images have 1"),
        ({"out_channels": 2}, "also predicts a variance"),
        ({"num_class_embeds": 2}, "has 2 classes, and the images have 3 labels"),
        ({"class_embed_type": "timestep"}, "conditions of the kind 'timestep'"),
        ({"_class_name": "UNet2DConditionModel"}, "is fine-tuned with kind = 'lora'"),
        ({"_class_name": "DiTTransformer2DModel"}, "holds a DiTTransformer2DModel, expected a UNe"),
    ],
)
def test_networks_that_do_not_fit__rejects_in_one_line(unet, home, changes, problem):
    unet.save_pretrained(home / "mine")
    change_config(home, **changes)
    with pytest.raises(InputError, match=problem) as caught:
        open_study(study_of(home, "mine"))
    assert "\n" not in str(caught.value)


def test_a_schedule_that_is_not_known__rejects_before_training(unet, home):
    unet.save_pretrained(home / "mine")
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
    (home / "mine" / "scheduler_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="FlowMatchEulerDiscreteScheduler, and models of that"):
        open_study(study_of(home, "mine"))


def test_another_component_or_pipeline__rejects_with_the_right_advice(home):
    (home / "mine" / "vae").mkdir(parents=True)
    (home / "mine" / "vae" / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    (home / "mine" / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match=r"no readable config.json of a UNet2DModel .*holds vae"):
        open_study(study_of(home, "mine"))
    with pytest.raises(InputError, match="holds a AutoencoderKL, expected a UNet2DModel"):
        open_study(study_of(home, "mine/vae"))


def test_the_users_network_is_pruned_too__roundtrip(unet, home):
    unet.save_pretrained(home / "mine")
    change_config(home, decay=0.99, optimization_step=7)  # as diffusers' EMAModel writes them
    path = study_of(home, "mine", "sparsified")
    first = open_study(path).lab.models.spec["start"]
    assert open_study(path).lab.models.spec["start"] == first  # read again, not made again
    meta = next((home / "study.work").glob("pruned-*/*.json")).read_text()
    assert str(home) not in meta


@pytest.mark.parametrize("size", [4, 6, 9])
def test_images_that_do_not_halve_as_often_as_the_network_does__rejects_size(home, size):
    network = "[model]\nwidth = 8\nlevels = 4\nblocks = 1\ngroups = 4\nattention = false\n"
    path = write_study(home, network=network)
    path.write_text(path.read_text().replace("size = 8", f"size = {size}"))
    with pytest.raises(InputError, match=f"of {size} px do not fit.*multiple of 8"):
        open_study(path)


def latent_study(home, size, **changes):
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(4, 4), norm_num_groups=2, latent_channels=2,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    for name, factor in changes.items():
        getattr(vae, name).weight.data *= factor
    vae.save_pretrained(home / "vae")
    network = (
        "[model]\nkind = 'latent'\nautoencoder = 'vae'\nwidth = 8\nlevels = 1\nblocks = 1\n"
        "groups = 4\nattention = false\n"
    )
    path = write_study(home, network=network)
    path.write_text(path.read_text().replace("size = 8", f"size = {size}"))
    return path


@pytest.mark.parametrize(
    ("size", "changes", "problem"),
    [
        (9, {}, "images of 8 px from images of 9 px; choose size = 8"),
        (8, {"quant_conv": torch.nan}, "NaN or infinite latents of 6 of 6 images"),
        (8, {"post_quant_conv": torch.nan}, "makes NaN or infinite pixels"),
    ],
)
def test_an_autoencoder_that_gives_no_such_images__rejects(home, size, changes, problem):
    with pytest.raises(InputError, match=problem):
        open_study(latent_study(home, size, **changes))
    assert not (home / "study.work").exists()
