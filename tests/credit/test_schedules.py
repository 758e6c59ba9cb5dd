"""Noise schedules and predictions of models of one's own: read, used, or refused."""

import json

import pytest
import torch
from torch import nn

from wherefrom.core.errors import InputError
from wherefrom.credit.diffusion.gradients import GradientConfig, image_gradients
from wherefrom.credit.diffusion.model import Diffusion, SamplingConfig, sample, simple_losses
from wherefrom.credit.diffusion.schedules import (
    BETAS,
    DEFAULT,
    PREDICTIONS,
    STEPS,
    Schedule,
    find_schedule,
    read_schedule,
)

pytestmark = pytest.mark.needs("diffusers")


class Oracle(nn.Module):
    """The network that is exact if every image is the constant `mean`, whatever it predicts."""

    def __init__(self, mean, schedule):
        super().__init__()
        self.mean, self.schedule = nn.Parameter(torch.tensor([float(mean)])), schedule

    def forward(self, x, t):
        abar = self.schedule.alpha_bars()[t].view(-1, 1, 1, 1)
        image = self.mean.expand_as(x)
        answer = {
            "sample": image,
            "epsilon": (x - abar.sqrt() * image) / (1 - abar).sqrt(),
            "v_prediction": (abar.sqrt() * x - image) / (1 - abar).sqrt(),
        }[self.schedule.prediction]
        return type("Answer", (), {"sample": answer})()


def exact(prediction, **settings):
    schedule = Schedule(prediction=prediction, **settings)
    return Diffusion(Oracle(0.5, schedule), (1, 4, 4), schedule=schedule)


def write(folder, kind="DDPMScheduler", **settings):
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / "scheduler_config.json"
    path.write_text(json.dumps({"_class_name": kind, **settings}))
    return path


@pytest.mark.parametrize("kind", BETAS)
def test_every_schedule_of_betas__reference_diffusers(kind):
    from diffusers import DDIMScheduler, DDPMScheduler

    ends = {"beta_start": 0.00085, "beta_end": 0.012}
    theirs = DDPMScheduler(beta_schedule=kind, **ends)
    ours = Schedule(0.00085, 0.012, kind)
    assert torch.allclose(ours.alpha_bars(), theirs.alphas_cumprod, rtol=1e-3, atol=1e-6)
    sampler = ours.sampler(pixels=True)
    assert torch.allclose(sampler.alphas_cumprod, theirs.alphas_cumprod, rtol=1e-3, atol=1e-6)
    rescaled = DDIMScheduler(trained_betas=theirs.betas.tolist(), rescale_betas_zero_snr=True)
    zero = Schedule(0.00085, 0.012, kind, "v_prediction", zero_snr=True)
    assert torch.allclose(zero.alpha_bars(), rescaled.alphas_cumprod, rtol=1e-3, atol=1e-5)
    assert float(zero.alpha_bars()[-1]) == 0


@pytest.mark.parametrize("prediction", PREDICTIONS)
@torch.no_grad()
def test_an_exact_network_has_no_loss_and_makes_its_image__closed_form(prediction):
    model = exact(prediction, kind="squaredcos_cap_v2")
    x = torch.full((3, 1, 4, 4), 0.5)
    t, e = torch.tensor([1, 500, 990]), torch.randn(3, 1, 4, 4)
    conditions = torch.zeros(3, dtype=torch.int64)
    assert float(simple_losses(model, x, t, e, conditions).max()) < 1e-5
    noised = model.noised(x, t, e)
    output = model.output(noised, t, conditions)
    assert torch.allclose(model.as_noise(output, noised, t), e, atol=1e-2)
    assert torch.allclose(model.as_image(output, noised, t), x, atol=1e-2)
    off = simple_losses(model, x + 0.1, t, e, conditions)
    abar = model.schedule.alpha_bars()[t]
    weight = 1 / (1 - abar) if prediction == "v_prediction" else abar / (1 - abar)
    assert torch.allclose(off, 0.01 * weight, rtol=0.02, atol=1e-6)
    images = sample(model, SamplingConfig(images=2, steps=20))
    assert torch.allclose(images, torch.full((2, 1, 4, 4), 0.75), atol=1e-3)  # [-1, 1] -> [0, 1]


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_zero_terminal_snr_starts_at_pure_noise__limit(prediction):
    model = exact(prediction, zero_snr=True)
    seen = []
    images = sample(model, SamplingConfig(images=1, steps=4), keep=lambda t, _: seen.append(t))
    assert seen == [STEPS - 1, 749, 499, 249]
    assert torch.allclose(images, torch.full((1, 1, 4, 4), 0.75), atol=1e-3)
    x, conditions = torch.full((1, 1, 4, 4), 0.5), torch.zeros(1, dtype=torch.int64)
    rows = image_gradients(model, x, conditions, GradientConfig(steps=2, dimension=8))
    assert bool(torch.isfinite(rows).all())


def test_a_config_is_read_with_the_defaults_of_its_class__reference_diffusers(tmp_path):
    assert read_schedule(write(tmp_path)) == DEFAULT
    heun = read_schedule(write(tmp_path, "HeunDiscreteScheduler"))
    assert (heun.first, heun.last, heun.kind) == (0.00085, 0.012, "linear")
    euler = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    read = read_schedule(write(tmp_path, "EulerDiscreteScheduler", **euler))
    assert (read.prediction, read.zero_snr) == ("v_prediction", True)
    assert "predicts v on the noise schedule linear with zero terminal SNR" in read.describe()
    betas = [0.01] * STEPS
    trained = read_schedule(write(tmp_path, trained_betas=betas))
    assert torch.allclose(trained.alpha_bars(), 0.99 ** torch.arange(1, STEPS + 1), atol=1e-5)
    sampler = trained.sampler(pixels=False)
    assert torch.allclose(sampler.alphas_cumprod, trained.alpha_bars(), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "settings", "problem"),
    [
        ("FlowMatchEulerDiscreteScheduler", {}, "is a FlowMatchEulerDiscreteScheduler"),
        ("EDMEulerScheduler", {}, "is a EDMEulerScheduler"),
        ("ScoreSdeVeScheduler", {}, "is a ScoreSdeVeScheduler"),
        ("UniPCMultistepScheduler", {"prediction_type": "flow_prediction"}, "predicts 'flow_pre"),
        ("DDPMScheduler", {"num_train_timesteps": 500}, "has 500 time steps"),
        ("DDPMScheduler", {"trained_betas": [0.1, 0.2]}, "as many betas as steps"),
        ("DDPMScheduler", {"trained_betas": [1.5] * STEPS}, "no noise schedule"),
        ("DDPMScheduler", {"beta_end": 2.0}, "no noise schedule"),
        (
            "DDPMScheduler",
            {"trained_betas": [0.01] * 999 + [1.0]},
            "a signal-to-noise ratio of zero",
        ),
        ("DDPMScheduler", {"rescale_betas_zero_snr": True}, "signal-to-noise ratio of zero"),
        ("DDPMScheduler", {"beta_schedule": "mine"}, "makes no DDPMScheduler"),
        ("EulerDiscreteScheduler", {"timestep_type": "continuous"}, "continuous time steps"),
    ],
)
def test_other_models_are_one_line__rejects(tmp_path, kind, settings, problem):
    with pytest.raises(InputError, match=problem) as caught:
        read_schedule(write(tmp_path, kind, **settings))
    assert "\n" not in str(caught.value)


def test_a_damaged_config_is_one_line__rejects(tmp_path):
    for text in ("{", "[]", "{}"):
        (tmp_path / "scheduler_config.json").write_text(text)
        with pytest.raises(InputError, match=r"no readable scheduler_config\.json"):
            read_schedule(tmp_path / "scheduler_config.json")


def test_the_config_lies_in_the_folder_or_beside_it__identity_places(tmp_path):
    unet = tmp_path / "mine" / "unet"
    unet.mkdir(parents=True)
    assert find_schedule(unet) is None
    for place in (tmp_path / "mine", tmp_path / "mine" / "scheduler", unet):
        path = write(place)
        assert find_schedule(unet) == path
