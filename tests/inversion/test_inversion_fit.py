"""Fitting: resuming, divergence, calibration, saving, own networks, and what is refused."""

import csv
import dataclasses

import pytest
import torch
from linear_inverter import linear_inverter
from torch import nn

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.rng import stream
from wherefrom.core.saving.store import load_artifact
from wherefrom.inversion import METHODS, InversionConfig, Recorder, fit, load
from wherefrom.inversion.codes.editing import edit_along, find_direction
from wherefrom.inversion.codes.latent_report import report_latents, traversal_sheet
from wherefrom.inversion.method import _calibration_images, fit_from
from wherefrom.inversion.recipes import LABELLED
from wherefrom.inversion.training.dataset import TrainingLabels
from wherefrom.inversion.training.task import InversionTask
from wherefrom.training import loop
from wherefrom.training.loop import CHECKPOINT
from wherefrom.training.loop import SCHEMA as LOOP_SCHEMA

TINY = InversionConfig(
    latent=4, width=2, batch=6, steps=3, precision="fp32", penalty_every=2,
    calibration_samples=64, classes=3,
)  # fmt: skip


def pictures(count=12, size=8):
    return torch.randint(
        256, (count, 1, size, size), generator=stream(0, "pictures"), dtype=torch.uint8
    )


def labels_for(name, count=12):
    return torch.arange(count) % 3 if name in LABELLED else None


def train(folder=None, *, config=TINY, images=None, **options):
    recorder = None
    if folder is not None:
        recorder = Recorder(folder, checkpoint_every=1, sample_every=2, log_every=1)
    images = pictures() if images is None else images
    options.setdefault("labels", labels_for(config.method))
    known = {"values": options.pop("labels"), "prior": options.pop("prior", None)}
    return fit(images, config=config, labels=TrainingLabels(**known), recorder=recorder, **options)


def tensors_of(fitted):
    state = dict(fitted.networks.state_dict())
    return state | {n: getattr(fitted, n) for n in ("trace", "scale", "mean", "prior")}


def assert_equal(first, second):
    a, b = tensors_of(first), tensors_of(second)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def test_a_run_goes_on_from_another_model__identity_start():
    """Without a learning rate and with averages that keep everything, nothing changes."""
    still = {"learning_rate": 0.0, "trace_decay": 1.0, "uniform_share": 0.0}
    for name in ("cgpgan", "dlsgan"):
        config = TINY.with_values({"method": name, "calibration": "traced"})
        first = train(config=config)
        assert_equal(first, fit_from(first, pictures(), config=config.with_values(still), seed=5))
        other = train(config=config.with_values(still), seed=5)
        assert not torch.equal(*(next(f.networks.parameters()) for f in (first, other)))
    with pytest.raises(InputError, match="has other networks"):
        fit_from(first, pictures(), config=TINY.with_values({"width": 4}))


@pytest.mark.parametrize("name", ["dlsgan", "vaegan", "cgpgan", "elastic-infogan", "classifier"])
def test_an_interrupted_run_ends_with_the_same_numbers__identity_resume(
    name, tmp_path, monkeypatch
):
    config = TINY.with_values({"method": name})
    whole = train(tmp_path / "whole", config=config)
    original = InversionTask.step

    def stop(self, index):
        if index == 2:
            raise KeyboardInterrupt
        return original(self, index)

    with monkeypatch.context() as patched:
        patched.setattr(InversionTask, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut", config=config)
    stopped = load(tmp_path / "cut")  # the last checkpoint, with the traced v and no mean
    assert stopped.stopped_at == (2, 3) and not bool(stopped.mean.any())
    assert_equal(whole, train(tmp_path / "cut", config=config))
    tables = [(tmp_path / run / "metrics.csv").read_text() for run in ("whole", "cut")]
    assert tables[0] == tables[1]
    with (tmp_path / "cut" / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_rows_beyond_the_checkpoint_are_not_written_twice__identity_resume(tmp_path, monkeypatch):
    """Killed after the table was written and before the checkpoint was."""
    train(tmp_path / "whole")
    original = loop._save

    def die(task, checkpoints, step):
        if step == 3:
            raise KeyboardInterrupt
        original(task, checkpoints, step)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "_save", die)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut")
    train(tmp_path / "cut")
    tables = [(tmp_path / run / "metrics.csv").read_text() for run in ("whole", "cut")]
    assert tables[0] == tables[1]


def test_recording_changes_nothing__identity_silent(tmp_path):
    assert_equal(train(), train(tmp_path))
    assert {p.name for p in tmp_path.iterdir()} == {
        "checkpoint", "inverter", "metrics.csv", "samples-0000002.png", "samples-0000003.png",
    }  # fmt: skip


def test_another_seed_ends_elsewhere__limit():
    assert not torch.equal(train(seed=1).trace, train(seed=2).trace)


def test_floats_and_bytes_are_the_same_images__identity_range():
    assert_equal(
        train(images=pictures()),
        dataclasses.replace(train(images=pictures().double() / 255)),
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_saved_and_read__roundtrip(name, tmp_path):
    fitted = train(config=TINY.with_values({"method": name, "steps": 1}))
    fitted.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert_equal(fitted, again)
    assert torch.equal(fitted.directions, again.directions)
    assert again.config == fitted.config
    x = pictures().float() / 255
    assert torch.equal(fitted.features(x), again.features(x))
    classes, same = fitted.classify(x), again.classify(x)
    assert (classes is None) == (same is None)
    assert classes is None or torch.equal(classes, same)


def test_codes_do_not_depend_on_their_company__identity_batch():
    fitted = train()
    x = torch.rand(70, 1, 8, 8, generator=stream(0, "x"))
    codes = fitted.encode(x)
    assert torch.equal(codes[3:4], fitted.encode(x[3:4]))
    assert torch.equal(fitted.decode(codes)[65:], fitted.decode(codes[65:]))
    assert torch.equal(fitted.sample(70, seed=1)[:2], fitted.sample(2, seed=1))


def test_calibration_measures_the_averaged_encoder__naive_loop():
    """v and mu are the moments of E(G(z o s)) over generated images, none of them clipped."""
    fitted = train(config=TINY.with_values({"calibration_samples": 1024, "steps": 3}))
    z = torch.randn(1024, 4, generator=stream(9, "z"))
    codes = fitted.encode(fitted.decode(z, clip=False)).double()
    deviation = codes.var(dim=0).sqrt()
    # five deviations of a mean and of a variance of so many samples, twice: both are estimates
    assert bool(((codes.mean(dim=0) - fitted.mean).abs() < 10 * deviation / 32).all())
    ratio = codes.var(dim=0) / fitted.trace.double()
    assert bool(((ratio - 1).abs() < 10 * (2 / 1024) ** 0.5).all())


def test_values_outside_the_range_count_as_in_training__closed_form():
    """A generator of contrast 2 leaves [0, 1]; clipped, its codes would be shorter."""
    model = linear_inverter(torch.ones(6), contrast=2.0)
    z = torch.randn(400, 6, generator=stream(0, "z"))
    whole, clipped = (model.encode(model.decode(z, clip=clip)) for clip in (False, True))
    torch.testing.assert_close(whole, z, rtol=1e-3, atol=1e-3)
    assert float(clipped.var(dim=0).mean()) < 0.7
    task = type("Task", (), {"config": model.config, "seed": 3})
    images = _calibration_images(model, task, 0, 64)
    assert float(images.max()) > 1 and float(images.min()) < 0


@pytest.mark.parametrize("name", ["acgan", "revised-acgan"])
def test_classes_do_not_depend_on_their_company__identity_batch(name):
    config = TINY.with_values({"method": name, "batch_deviation": True, "steps": 12})
    fitted = train(config=config)
    x = torch.rand(40, 1, 8, 8, generator=stream(0, "x"))
    whole = fitted.classify(x)
    for rows in (slice(0, 8), slice(8, 16), slice(32, 40)):
        torch.testing.assert_close(fitted.classify(x[rows]), whole[rows])


def test_traced_calibration_is_the_thesis__identity_trace(tmp_path):
    config = TINY.with_values({"calibration": "traced"})
    seen = []

    class Watching(Recorder):
        def add(self, index, values, snapshot, *, last):
            if last:
                seen.append(snapshot())

    fitted = fit(pictures(), config=config, recorder=Watching(tmp_path))
    assert torch.equal(fitted.trace, seen[0].trace)
    assert not bool(fitted.mean.any())


def test_the_likelihood_is_that_of_normal_codes__reference_torch():
    fitted = train()
    codes = torch.randn(5, 4, generator=stream(0, "codes"))
    normal = torch.distributions.Normal(fitted.mean.double(), fitted.trace.double().sqrt())
    expected = -normal.log_prob(codes.double()).sum(dim=1)
    torch.testing.assert_close(fitted.negative_log_likelihood(codes), expected)


def test_a_diverging_run_is_told_and_the_last_checkpoint_stays__rejects_nan(tmp_path, monkeypatch):
    original = InversionTask.step

    def poison(self, index):
        values = original(self, index)
        if index == 2:
            with torch.no_grad():
                next(self.state.networks.parameters()).fill_(float("nan"))
        return values

    monkeypatch.setattr(InversionTask, "step", poison)
    with pytest.raises(InputError, match="diverged at step 3: weights are no longer finite"):
        train(tmp_path)
    meta, tensors = load_artifact(tmp_path / "checkpoint", kind=CHECKPOINT, schema=LOOP_SCHEMA)
    assert meta["step"] == 2
    assert all(bool(torch.isfinite(t).all()) for t in tensors.values())


def test_an_infinite_loss_is_named__rejects_nan(tmp_path, monkeypatch):
    monkeypatch.setattr(
        InversionTask, "step", lambda self, index: {"critic": 1.0, "generator": float("inf")}
    )
    with pytest.raises(InputError, match="step 1: the loss 'generator' is no longer finite"):
        train(tmp_path)
    assert not (tmp_path / "checkpoint").exists()


def test_a_loss_that_is_infinite_once_is_told_at_its_step__rejects_nan(monkeypatch):
    monkeypatch.setattr(
        InversionTask, "step", lambda self, index: {"critic": float("nan") if index == 1 else 1.0}
    )
    with pytest.raises(InputError, match="diverged at step 2: the loss 'critic'"):
        train()  # nothing is saved on the way


def test_a_run_with_other_settings__rejects(tmp_path):
    train(tmp_path)
    with pytest.raises(InputError, match=r"other settings \(latent\)"):
        train(tmp_path, config=TINY.with_values({"latent": 5}))
    with pytest.raises(InputError, match=r"other settings \(the training images or labels\)"):
        train(tmp_path, images=pictures().flip(0))


def test_more_steps_continue_a_run_without_a_schedule__identity_resume(tmp_path):
    whole = train()
    train(tmp_path, config=TINY.with_values({"steps": 2}))
    assert_equal(whole, train(tmp_path))
    falling = TINY.with_values({"final_rate": 0.5, "steps": 2})
    train(tmp_path / "falling", config=falling)
    with pytest.raises(InputError, match="other settings"):
        train(tmp_path / "falling", config=falling.with_values({"steps": 3}))


def test_one_model_of_cgpgan_sorts_encodes_and_edits__smoke():
    config = TINY.with_values({"method": "cgpgan", "inverts": True})
    fitted, x = train(config=config), pictures().float() / 255
    assert fitted.classify(x).shape == (12, 3)
    back = fitted.reconstruct(x)
    labels = fitted.classify(x).argmax(dim=1)
    assert torch.equal(back, fitted.decode(fitted.encode(x), labels))
    report = report_latents(fitted, x)
    assert traversal_sheet(fitted, report.live_dimensions[:1], steps=3).shape[2] == 3 * 8 + 4
    direction = find_direction(fitted, x[:6], x[6:])
    assert edit_along(fitted, x[0], direction, steps=3).images.shape == (3, 1, 8, 8)


class Own:
    """Networks of a user's own, with PyTorch's start from the global generator."""

    def generator(self, inputs):
        return nn.Sequential(nn.Linear(inputs, 64), nn.Unflatten(1, (1, 8, 8)))

    def critic(self):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.LeakyReLU(0.2))


def test_own_networks_train_and_come_back__roundtrip(tmp_path):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    fitted = train(architecture=Own())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert_equal(fitted, train(architecture=Own()))
    fitted.save(tmp_path / "own")
    with pytest.raises(InputError, match="pass `architecture`"):
        load(tmp_path / "own")
    assert_equal(fitted, load(tmp_path / "own", architecture=Own()))


def test_a_damaged_file__rejects(tmp_path):
    train().save(tmp_path / "model")
    tensors = tmp_path / "model" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-7])
    with pytest.raises(ArtifactError, match="cut short"):
        load(tmp_path / "model")


ONES = torch.ones(12, dtype=torch.long)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"images": pictures(1)}, "1 images to train on"),
        ({}, {"images": pictures(size=9)}, "images of 9 px"),
        ({}, {"images": pictures().float()}, "values outside"),
        ({}, {"images": torch.full((4, 1, 8, 8), torch.nan)}, "NaN"),
        ({}, {"images": torch.ones(4, 8, 8)}, "expected"),
        ({}, {"labels": ONES}, "takes no labels"),
        ({"method": "cagan"}, {"labels": None}, "learns from labels"),
        ({"method": "cagan"}, {"labels": ONES[:5]}, "for 12 images"),
        ({"method": "cagan"}, {"labels": -ONES}, "12 images have no label"),
        ({"method": "cagan"}, {"labels": ONES * 0}, "all images have one label"),
        ({"method": "cagan"}, {"labels": torch.arange(12) % 2 * 2}, "no image has class 1"),
        ({"method": "cagan"}, {"labels": torch.stack([ONES, 2 * ONES], 1)}, "must be 0 or 1"),
        ({"method": "cagan"}, {"prior": torch.ones(3)}, "add up to 1"),
        ({"method": "dlsgan", "inverts": True}, {}, "inverts adds an encoder"),
        ({"mixed_batches": True}, {}, "mixed batches are for"),
        ({"method": "cagan", "mixed_batches": True, "r1": 2.0}, {}, "equal penalties"),
        ({"batch_deviation": True}, {}, "depend on its batch"),
        ({"method": "cgpgan", "adversarial": "relativistic"}, {}, "of one class"),
        ({"trace_start": 0.0}, {}, "above 0"),
    ],
)
def test_what_cannot_be_trained_on__rejects_input(change, options, message):
    with pytest.raises(InputError, match=message):
        train(config=TINY.with_values(change), **options)


def test_what_a_method_lacks__rejects():
    cagan = train(config=TINY.with_values({"method": "cagan", "steps": 1}))
    x = pictures().float() / 255
    with pytest.raises(InputError, match="cagan has no encoder"):
        cagan.encode(x)
    with pytest.raises(InputError, match="give one label per code"):
        cagan.decode(torch.zeros(2, 4))
    with pytest.raises(InputError, match="labels must be 0 to 2"):
        cagan.decode(torch.zeros(2, 4), torch.tensor([0, 3]))
    assert cagan.classify(x) is None
    wanted = cagan.sample(3, seed=0, label=2)
    assert torch.equal(wanted, cagan.sample(5, seed=0, label=2)[:3])
    dlsgan = train(config=TINY.with_values({"steps": 1}))
    with pytest.raises(InputError, match="images of 1x4x4, this model takes 1x8x8"):
        dlsgan.encode(torch.zeros(2, 1, 4, 4))
    with pytest.raises(InputError, match="makes no images of a wanted class"):
        dlsgan.sample(1, seed=0, label=1)


def test_tensorboard_reads_what_was_logged__reference_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recorder = Recorder(tmp_path, checkpoint_every=2, log_every=2, tensorboard=True)
    fit(pictures(), config=TINY, recorder=recorder)
    events = EventAccumulator(str(tmp_path)).Reload()
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [(e.step, e.value) for e in events.Scalars("encoder")]
    assert found == [(int(r["step"]), pytest.approx(float(r["encoder"]))) for r in rows]


def test_the_prior_is_that_of_the_labels__closed_form():
    config = TINY.with_values({"method": "cagan", "steps": 1})
    rows = torch.tensor([0] * 6 + [1] * 3 + [2] * 3)
    assert train(config=config, labels=rows).prior.tolist() == [[0.5, 0.25, 0.25]]
    given = torch.tensor([0.2, 0.2, 0.6])
    torch.testing.assert_close(train(config=config, labels=rows, prior=given).prior[0], given)


@pytest.mark.parametrize("name", ["dlsgan", "vaegan"])
def test_the_memory_layout_changes_nothing__identity_layout(name):
    """Three channels, so that layouts differ: fused optimisers read gradients as they lie."""
    images = torch.randint(256, (12, 3, 8, 8), generator=stream(0, "rgb"), dtype=torch.uint8)
    config = TINY.with_values({"method": name, "width": 4, "steps": 3})
    first, second = (
        tensors_of(train(images=images, config=config.with_values({"channels_last": last})))
        for last in (True, False)
    )
    for key, value in first.items():
        # a few float32 updates in another order of summation
        torch.testing.assert_close(value, second[key], rtol=1e-3, atol=1e-4)


def test_the_encoder_of_dlsgan_learns__limit(tmp_path):
    """Eq. 33 falls from 1, that of a code which says nothing, where MSE alone would stay."""
    points = torch.randn(500, 1, generator=stream(0, "line")) * torch.tensor([[1.0, 0.5]])
    config = InversionConfig(
        latent=4, width=16, batch=32, steps=40, learning_rate=1e-2, precision="fp32",
        calibration_samples=64,
    )  # fmt: skip
    fit(points, config=config, recorder=Recorder(tmp_path, log_every=10))
    with (tmp_path / "metrics.csv").open(newline="") as file:
        losses = [float(row["encoder"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.7 * losses[0]
