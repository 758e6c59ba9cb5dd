"""The zoo's training: each loss against a loop, seeds, and independence of global state."""

import math

import pytest
import torch
from torch import nn

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.generators.zoo.networks import ARCHITECTURES
from wherefrom.generators.zoo.training import GanTask, ZooTrainingConfig, pull_away

EVERY = pytest.mark.parametrize("architecture", ARCHITECTURES)


def config(architecture="dcgan", **settings):
    tiny = {"size": 32, "width": 4, "latent": 5, "steps": 3, "batch": 4, "generator_every": 2}
    return ZooTrainingConfig(architecture=architecture, **tiny | settings)


def pictures(count=12):
    return torch.randint(0, 256, (count, 3, 32, 32), generator=stream(0, "x")).to(torch.uint8)


def weights(task):
    return {
        f"{name}.{key}": value.clone()
        for name, module in task.modules().items()
        for key, value in module.state_dict().items()
    }


def task_with(architecture, critic, **settings):
    task = GanTask(pictures(), config(architecture, **settings))
    task.critic = critic
    return task


class Scores(nn.Module):
    """A critic that returns the mean of each image."""

    def forward(self, x):
        return x.flatten(1).mean(dim=1)


class Halver(nn.Module):
    """An autoencoder that returns half its input, and the input's first values as code."""

    def forward(self, x):
        return x / 2, x.flatten(1)[:, :4]


def test_pull_away_is_the_mean_squared_cosine_of_pairs__naive_loop():
    code = torch.randn(5, 7, dtype=torch.float64)
    total = 0.0
    for i in range(5):
        for j in range(5):
            if i != j:
                cosine = code[i] @ code[j] / (code[i].norm() * code[j].norm())
                total += float(cosine) ** 2
    assert pull_away(code).item() == pytest.approx(total / 20, rel=1e-12)
    assert pull_away(torch.eye(3)).item() == pytest.approx(0.0, abs=1e-7)
    assert pull_away(torch.ones(3, 2)).item() == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("slope", [1.0, 3.0])
def test_gradient_penalty_of_a_linear_critic__closed_form(slope):
    """f(x) = <w, x> has the gradient w everywhere: the penalty is (||w|| - 1)^2."""
    critic = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 1, bias=False), nn.Flatten(0))
    with torch.no_grad():
        critic[1].weight.mul_(slope / critic[1].weight.norm())
    task = task_with("wgan-gp", critic)
    penalty = task._gradient_penalty(torch.randn(4, 3, 32, 32))
    assert penalty.item() == pytest.approx((slope - 1) ** 2, abs=1e-4)


def bce(score, label):
    p = 1 / (1 + math.exp(-score))
    return -label * math.log(p) - (1 - label) * math.log(1 - p)


def test_losses_are_those_of_the_papers__naive_loop():
    """Deviation: DCGAN's sigmoid is part of its loss; the value is the paper's."""
    real, fake = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32) - 0.5
    mix = torch.rand(4, 1, 1, 1)
    a = real.flatten(1).mean(dim=1).tolist()
    b = fake.flatten(1).mean(dim=1).tolist()
    slope = 1 / math.sqrt(3 * 32 * 32)  # norm of the gradient of the mean
    energy = [float((x / 2).square().mean()) for x in (real, fake)]
    code = pull_away(fake.flatten(1)[:, :4]).item()
    expected = {
        "dcgan": (
            sum(bce(x, 0.9) + bce(y, 0.1) for x, y in zip(a, b, strict=True)) / 4,
            sum(bce(y, 0.9) for y in b) / 4,
        ),
        "lsgan": (
            sum((x - 1) ** 2 + y**2 for x, y in zip(a, b, strict=True)) / 8,
            sum((y - 1) ** 2 for y in b) / 8,
        ),
        "wgan-gp": ((sum(b) - sum(a)) / 4 + 10 * (slope - 1) ** 2, -sum(b) / 4),
        "ebgan": (energy[0] + max(0, 0.2 - energy[1]), energy[1] + 0.1 * code),
    }
    for kind, (critic_loss, generator_loss) in expected.items():
        task = task_with(kind, Halver() if kind == "ebgan" else Scores(), margin=0.2)
        assert task._critic_loss(real, fake, mix).item() == pytest.approx(critic_loss, rel=1e-4)
        assert task._generator_loss(fake).item() == pytest.approx(generator_loss, rel=1e-4)


def test_penalised_points_lie_between_real_and_fake__naive_loop():
    seen = []

    class Spy(Scores):
        def forward(self, x):
            seen.append(x.detach().clone())
            return super().forward(x)

    real, fake = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)
    mix = torch.tensor([0.0, 0.25, 0.5, 1.0])[:, None, None, None]
    task_with("wgan-gp", Spy())._critic_loss(real, fake, mix)
    assert torch.allclose(seen[-1], (1 - mix) * real + mix * fake, atol=1e-6)


@EVERY
def test_a_step_depends_on_seed_and_index_only__identity_seed(architecture):
    first, again, other = (
        GanTask(pictures(), config(architecture, seed=seed)) for seed in (0, 0, 1)
    )
    logs = [[], [], []]
    for index in range(3):
        for task, log in zip((first, again, other), logs, strict=True):
            torch.rand(index + 1)  # the global generator plays no part
            log.append(task.step(index))
    assert logs[0] == logs[1] != logs[2]
    one, two = weights(first), weights(again)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(bool(torch.isfinite(value).all()) for value in one.values())
    # The generator learns at steps 0 and 2 only.
    assert ["generator" in log for log in logs[0]] == [True, False, True]


@EVERY
def test_a_step_leaves_the_global_random_state_alone__identity_state(architecture):
    task = GanTask(pictures(), config(architecture))
    before = torch.get_rng_state()
    task.step(0)
    assert torch.equal(torch.get_rng_state(), before)


@EVERY
def test_between_its_turns_the_generator_keeps_its_weights__limit(architecture):
    task = GanTask(pictures(), config(architecture))
    task.step(0)
    before = {name: p.detach().clone() for name, p in task.generator.named_parameters()}
    critic = [p.detach().clone() for p in task.critic.parameters()]
    task.step(1)
    assert all(torch.equal(p, before[name]) for name, p in task.generator.named_parameters())
    assert any(not torch.equal(p, q) for p, q in zip(task.critic.parameters(), critic, strict=True))
    task.step(2)
    after = dict(task.generator.named_parameters())
    assert any(not torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("architecture", "every", "betas"),
    [
        ("dcgan", 1, (0.5, 0.999)),
        ("wgan-gp", 5, (0.0, 0.9)),
        ("lsgan", 5, (0.5, 0.999)),
        ("ebgan", 5, (0.5, 0.999)),
    ],
)
def test_schedule_and_optimiser_are_the_papers__closed_form(architecture, every, betas):
    made = config(architecture, generator_every=0)
    assert made.every == every and config(architecture, generator_every=3).every == 3
    task = GanTask(pictures(), made)
    for optimizer in task.optimizers().values():
        (group,) = optimizer.param_groups
        assert group["lr"] == 2e-4 and group["betas"] == betas


@EVERY
def test_half_precision_arithmetic_stays_finite__smoke(architecture):
    task = GanTask(pictures(), config(architecture, precision="bf16"))
    assert all(math.isfinite(value) for value in task.step(0).values())


def test_unknown_settings__rejects_settings():
    with pytest.raises(InputError, match="choose one of dcgan, wgan-gp, lsgan, ebgan"):
        ZooTrainingConfig(architecture="stylegan")
    with pytest.raises(InputError, match="images of 32, 64 or 128 pixels, not 48"):
        GanTask(pictures(), config(size=48))
