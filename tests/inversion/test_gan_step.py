"""The benchmark's plain step and ours are one algorithm."""

import importlib.util
from pathlib import Path

import torch

from wherefrom.inversion import InversionConfig

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gan_step.py"


def test_the_plain_step_of_the_benchmark_is_ours__identity_exact():
    """On pictures, with the exact penalty in float32: the same weights after three steps."""
    spec = importlib.util.spec_from_file_location("gan_step", SCRIPT)
    gan_step = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gan_step)
    config = InversionConfig(
        latent=4, width=4, batch=4, precision="fp32", penalty_every=1, r1=gan_step.R1
    )
    task = gan_step.make_task(config, 8, 3)
    plain = gan_step.Plain(gan_step.make_task(config.with_values({"channels_last": False}), 8, 3))
    for index in range(3):
        task.step(index)
        plain.step(index)
    for name, value in plain.networks.state_dict().items():
        # a few float32 updates in another order of summation
        torch.testing.assert_close(
            task.state.networks.state_dict()[name], value, rtol=1e-3, atol=1e-4
        )
    torch.testing.assert_close(task.state.traces.v, plain.v, rtol=1e-3, atol=1e-6)


def test_rounds_are_counted_for_every_contestant__smoke():
    spec = importlib.util.spec_from_file_location("gan_step", SCRIPT)
    gan_step = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gan_step)
    seen = []
    seconds = gan_step.interleaved({"a": seen.append, "b": seen.append}, 2)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}
    assert len(seen) == 2 * (2 + 2 * gan_step.ROUND)
