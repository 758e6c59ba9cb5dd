"""The projected critic: what is fixed, what is trained, and the methods that read codes from it."""

import pytest
import torch

pytest.importorskip("efficientnet_lite_pytorch")

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.inversion import InversionConfig, fit, load
from wherefrom.inversion.config import penalties_of
from wherefrom.inversion.networks.projected import ProjectedCritic
from wherefrom.inversion.training.dataset import TrainingLabels

TINY = InversionConfig(
    critic="projected", latent=4, width=2, batch=4, steps=1, precision="fp32",
    calibration_samples=64, classes=2,
)  # fmt: skip
IMAGES = torch.randint(256, (8, 1, 8, 8), generator=stream(0, "x"), dtype=torch.uint8)
LABELS = TrainingLabels(values=torch.arange(8) % 2)


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("dlsgan", {}),
        pytest.param("pvdgan", {}, marks=pytest.mark.slow),
        pytest.param("aedlsgan", {}, marks=pytest.mark.slow),
        pytest.param("cgpgan", {"inverts": True}, marks=pytest.mark.slow),
    ],
)
def test_a_method_trains_heads_only_and_comes_back__roundtrip(method, more, tmp_path):
    config = TINY.with_values({"method": method, **more})
    fitted = fit(IMAGES, config=config, labels=LABELS if method == "aedlsgan" else None)
    assert bool((fitted.trace > 0).all())  # the code head is trained and read
    fitted.save(tmp_path / "model")
    again = load(tmp_path / "model")
    x = IMAGES.float() / 255
    assert torch.equal(fitted.encode(x), again.encode(x))
    torch.testing.assert_close(fitted.encode(x)[:1], fitted.encode(x[:1]))
    names = set(fitted.networks.critic.state_dict())
    assert not [name for name in names if "_fixed" in name or "classifier" in name]


def test_mixing_and_features_stay_as_they_are__identity_fixed():
    torch.manual_seed(0)
    body = ProjectedCritic((3, 8, 8), 2)
    trained = {name for name, _ in body.named_parameters()}
    assert trained and all(name.startswith("heads.") for name in trained)
    x = torch.rand(2, 3, 8, 8, generator=stream(0, "pixels")).requires_grad_(True)
    y = body(x)
    assert y.shape == (2, 4 * 16 * 2)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert float(slope.abs().min()) >= 0 and float(slope.abs().max()) > 0
    assert not any(weight.requires_grad for weight in body._fixed[0].parameters())


def test_no_penalty_unless_asked__closed_form():
    assert penalties_of(TINY) == (0, 0)
    assert penalties_of(TINY.with_values({"r1": 0.5})) == (0.5, 0)


def test_what_it_cannot_read__rejects():
    with pytest.raises(InputError, match="takes images, not vectors"):
        fit(torch.rand(8, 3), config=TINY)
    with pytest.raises(InputError, match="does not see its batch"):
        fit(
            IMAGES,
            labels=LABELS,
            config=TINY.with_values({"method": "cagan", "batch_deviation": True}),
        )
