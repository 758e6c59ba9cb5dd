"""Diffusion in the game: losses, training that can be repeated, averages, and sampling."""

import copy
import math

import pytest
import torch
from torch import nn

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.credit.diffusion.codecs import load_autoencoder_codec
from wherefrom.credit.diffusion.model import (
    Diffusion,
    DiffusionTask,
    SamplingConfig,
    TrainingConfig,
    make_unet,
    sample,
    simple_losses,
    start_weight,
    time_steps,
)
from wherefrom.credit.diffusion.schedules import Schedule
from wherefrom.training.loop import run

pytestmark = pytest.mark.needs("diffusers")

TINY = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "block_out_channels": (8,),
    "norm_num_groups": 4,
    "down_block_types": ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",),
    "add_attention": False,
}


class Answer:
    """What diffusers' networks return."""

    def __init__(self, sample):
        self.sample = sample


class Oracle(nn.Module):
    """The noise predictor that is exact if every image is the constant `mean`."""

    def __init__(self, mean):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(float(mean)))

    def forward(self, x, t):
        abar = Schedule().alpha_bars()[t].view(-1, 1, 1, 1)
        return Answer((x - abar.sqrt() * self.mean) / (1 - abar).sqrt())


def task(steps=3, seed=4, data_seed=0, **options):
    model = Diffusion(make_unet(TINY, seed=1), (1, 8, 8))
    latents = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(data_seed))
    config = TrainingConfig(steps=steps, batch=4, learning_rate=1e-2, **options)
    return DiffusionTask(model, latents, torch.zeros(5, dtype=torch.int64), config, seed=seed)


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_the_schedule__reference_diffusers():
    from diffusers import DDPMScheduler

    for kind in ("linear", "scaled_linear"):
        theirs = DDPMScheduler(beta_schedule=kind)
        assert torch.allclose(Schedule(kind=kind).alpha_bars(), theirs.alphas_cumprod, rtol=1e-4)
    theirs = DDPMScheduler(beta_schedule="linear")
    x, e = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    t = torch.tensor([0, 999])
    assert torch.allclose(
        Diffusion(Oracle(0), (1, 4, 4)).noised(x, t, e), theirs.add_noise(x, e, t), atol=1e-6
    )


@torch.no_grad()
def test_the_loss_of_an_exact_network_is_zero__closed_form():
    model = Diffusion(Oracle(0.25), (1, 4, 4))
    x = torch.full((3, 1, 4, 4), 0.25)
    t, e = torch.tensor([0, 500, 999]), torch.randn(3, 1, 4, 4)
    conditions = torch.zeros(3, dtype=torch.int64)
    assert float(simple_losses(model, x, t, e, conditions).max()) < 1e-6
    off = simple_losses(model, x + 0.1, t, e, conditions)  # misses by 0.1 sqrt(abar / (1 - abar))
    abar = Schedule().alpha_bars()[t]
    assert torch.allclose(off, 0.01 * abar / (1 - abar), rtol=1e-3)


def test_sampling_an_exact_network_gives_its_image__closed_form():
    model = Diffusion(Oracle(0.5), (1, 4, 4))
    images = sample(model, SamplingConfig(images=3, steps=20, batch=2))
    assert torch.allclose(images, torch.full((3, 1, 4, 4), 0.75), atol=1e-4)  # [-1, 1] -> [0, 1]


def test_samples_do_not_depend_on_the_batch__identity_batch_size():
    model = Diffusion(make_unet(TINY, seed=1), (1, 8, 8))
    seen = []
    one = sample(model, SamplingConfig(images=3, steps=2, batch=1))
    three = sample(
        model, SamplingConfig(images=3, steps=2, batch=3), keep=lambda t, x: seen.append((t, x))
    )
    assert torch.allclose(one, three, atol=1e-5)
    assert len(seen) == 2
    start = torch.randn(1, 8, 8, generator=stream(0, "credit", "sample", 2))
    assert torch.equal(seen[0][1][2], start)


def test_training_again_gives_the_same_weights__identity_seed():
    first, again, other = task(), task(), task(seed=5)
    for each in (first, again, other):
        run(each, 3, label="training")
    assert torch.equal(weights(first.model.network), weights(again.model.network))
    assert not torch.equal(weights(first.model.network), weights(other.model.network))


def test_subsets_of_one_seed_see_the_same_noise__identity_common_random_numbers():
    seen = []
    for data_seed in (0, 1):
        each = task(data_seed=data_seed, flip=False)
        predict = each.model.network.forward
        each.model.network.forward = lambda x, t, f=predict: seen.append((x, t)) or f(x, t)
        before = each.latents
        each.step(0)
        chosen = (torch.rand(4, generator=stream(4, "credit", "step", 0)) * 5).long()
        x, t = seen[-1]
        abar = Schedule().alpha_bars()[t].view(-1, 1, 1, 1)
        seen[-1] = ((x - abar.sqrt() * before[chosen]) / (1 - abar).sqrt(), t)
    assert torch.equal(seen[0][1], seen[1][1])
    assert torch.allclose(seen[0][0], seen[1][0], atol=1e-3)


def test_the_average_is_a_weighted_sum_of_all_weights__naive_loop():
    each = task(average=0.5)
    trail = [weights(each.model.network)]
    for index in range(3):
        each.step(index)
        trail.append(weights(each.model.network))
    mean = trail[0]
    for index, value in enumerate(trail[1:]):
        decay = min(0.5, (1 + index) / (10 + index))
        mean = decay * mean + (1 - decay) * value
    assert torch.allclose(weights(each.finish().network), mean, atol=1e-6)
    assert each.start_weight == pytest.approx(0.1 * 2 / 11 * 3 / 12)


def test_the_share_of_the_starting_weights_goes_to_nothing__limit():
    assert start_weight(0, 0.9999) == 1.0
    shares = [start_weight(steps, 0.9999) for steps in (1, 10, 100, 1000)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 1e-20
    late = math.log(start_weight(110_000, 0.9999)) - math.log(start_weight(100_000, 0.9999))
    assert late == pytest.approx(10_000 * math.log(0.9999), rel=1e-3)


def test_without_an_average_the_last_weights_are_used__limit():
    each = task(average=0.0)
    each.step(0)
    before = weights(each.model.network)
    assert torch.equal(weights(each.finish().network), before)
    assert each.start_weight == 0.0


def test_antithetic_times__identity_antithetic():
    t = time_steps(8, stream(0, "t"), antithetic=True)
    assert torch.equal(t[:4] + t[4:], torch.full((4,), 999))
    assert len(time_steps(5, stream(0, "t"), antithetic=True)) == 5
    assert len(set(time_steps(8, stream(0, "t"), antithetic=False).tolist())) > 4


def test_training_on_nothing__rejects_empty():
    model = Diffusion(make_unet(TINY, seed=1), (1, 8, 8))
    with pytest.raises(InputError, match="no image to train on"):
        DiffusionTask(model, torch.zeros(0, 1, 8, 8), torch.zeros(0), TrainingConfig(), seed=0)
    with pytest.raises(InputError, match="no UNet2DModel can be made"):
        make_unet({**TINY, "up_block_types": ("NoBlock",)}, seed=0)


def test_an_autoencoder_of_diffusers__roundtrip(tmp_path):
    from diffusers import AutoencoderTiny, VQModel

    torch.manual_seed(0)
    tiny = AutoencoderTiny(
        encoder_block_out_channels=(4, 4),
        decoder_block_out_channels=(4, 4),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=2,
        scaling_factor=2.0,
    )
    vq = VQModel(block_out_channels=(4,), norm_num_groups=2, latent_channels=2, sample_size=8)
    x = torch.rand(2, 3, 8, 8)
    for name, module in (("tiny", tiny), ("vq", vq)):
        module.save_pretrained(tmp_path / name)
        codec = load_autoencoder_codec(tmp_path / name)
        z = codec.encode(x)
        assert z.shape[:2] == (2, 2)
        scale = 2.0 if name == "tiny" else float(vq.config.scaling_factor)
        with torch.no_grad():
            assert torch.allclose(z, module.encode(2 * x - 1).latents * scale, atol=1e-6)
            expected = (module.decode(z / scale).sample / 2 + 0.5).clamp(0, 1)
        assert torch.allclose(codec.decode(z), expected, atol=1e-6)
        assert codec.identity == load_autoencoder_codec(tmp_path / name).identity
    with pytest.raises(InputError, match="readable config"):
        load_autoencoder_codec(tmp_path)


def test_the_network_itself_is_left_alone__identity_copy():
    model = Diffusion(make_unet(TINY, seed=1), (1, 8, 8))
    before = copy.deepcopy(model.network)
    sample(model, SamplingConfig(images=1, steps=2))
    assert torch.equal(weights(model.network), weights(before))
