"""The loop: an interrupted run ends with the same bits as one that was not."""

import pytest
import torch
from torch import nn

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.rng import stream
from wherefrom.core.saving.store import save_artifact
from wherefrom.training.loop import CHECKPOINT, SCHEMA, Checkpoints, run

STEPS = 8


class Noisy:
    """Two networks, one with running statistics, under two optimisers with memory."""

    def __init__(self, *, width=5, interrupt_at=None):
        self.body = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.ReLU())
        self.head = nn.Linear(width, 1)
        for name, value in [*self.body.named_parameters(), *self.head.named_parameters()]:
            with torch.no_grad():
                value.copy_(torch.randn(value.shape, generator=stream(0, name)))
        self.adam = torch.optim.Adam(self.body.parameters(), 1e-2)
        self.sgd = torch.optim.SGD(self.head.parameters(), 1e-2, momentum=0.9)
        self.interrupt_at = interrupt_at

    def modules(self):
        return {"body": self.body, "head": self.head}

    def optimizers(self):
        return {"adam": self.adam, "sgd": self.sgd}

    def step(self, index):
        x = torch.randn(6, 3, generator=stream(0, "batch", index))
        loss = self.head(self.body(x)).square().mean()
        for optimizer in self.optimizers().values():
            optimizer.zero_grad()
        loss.backward()
        self.adam.step()
        if index == self.interrupt_at:
            raise KeyboardInterrupt  # in the middle: one optimiser has stepped, the other not
        self.sgd.step()
        return {"loss": loss.item()}


def bits(task):
    """Every weight, statistic and moment by name."""
    state = {}
    for name, module in task.modules().items():
        state |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    for name, optimizer in task.optimizers().items():
        for index, entry in optimizer.state_dict()["state"].items():
            state |= {f"{name}.{index}.{key}": value for key, value in entry.items()}
    return state


def checkpoints(folder, *, every=3, **identity):
    return Checkpoints(path=folder / "run", every=every, identity={"seed": 0} | identity)


def train(task, folder=None, *, steps=STEPS, **options):
    points = None if folder is None else checkpoints(folder, **options)
    return run(task, steps, label="training", checkpoints=points)


@pytest.mark.parametrize("interrupt_at", range(STEPS))
def test_an_interrupted_run_ends_with_the_same_bits__identity_resume(tmp_path, interrupt_at):
    whole, part, rest = Noisy(), Noisy(interrupt_at=interrupt_at), Noisy()
    log = train(whole)
    with pytest.raises(KeyboardInterrupt):
        train(part, tmp_path)
    rest_log = train(rest, tmp_path)
    expected, got = bits(whole), bits(rest)
    assert expected.keys() == got.keys()
    assert [name for name in expected if not torch.equal(expected[name], got[name])] == []
    start = interrupt_at // 3 * 3
    assert rest_log == log[start:]


def test_a_finished_run_is_not_done_again__identity_resume(tmp_path):
    first, again = Noisy(), Noisy()
    train(first, tmp_path)
    assert train(again, tmp_path) == []
    assert all(torch.equal(value, bits(again)[name]) for name, value in bits(first).items())


def test_more_steps_continue_a_finished_run__identity_resume(tmp_path):
    train(Noisy(), tmp_path, steps=5)
    longer, whole = Noisy(), Noisy()
    train(longer, tmp_path)
    train(whole)
    assert all(torch.equal(value, bits(longer)[name]) for name, value in bits(whole).items())


def test_checkpoints_change_nothing__identity_silent(tmp_path):
    assert train(Noisy()) == train(Noisy(), tmp_path, every=1)


def test_steps_are_logged_and_shown_in_order__naive_loop():
    seen, labels = [], []

    def track(items, label, *, total=None):
        labels.append((label, total))
        yield from items

    log = run(Noisy(), 4, label="training", after_step=lambda *args: seen.append(args), track=track)
    by_hand = Noisy()
    assert log == [by_hand.step(index) for index in range(4)]
    assert seen == list(enumerate(log))
    assert labels == [("training", 4)]


def test_other_settings__rejects_and_names_them(tmp_path):
    train(Noisy(), tmp_path, width=5, sizes=(1, 2))
    train(Noisy(), tmp_path, width=5, sizes=(1, 2))  # a tuple is the list that JSON made of it
    task = Noisy()
    before = {name: value.clone() for name, value in bits(task).items()}
    with pytest.raises(InputError, match=r"other settings \(extra, width\)"):
        train(task, tmp_path, width=6, sizes=(1, 2), extra=None)
    assert all(torch.equal(value, bits(task)[name]) for name, value in before.items())


def test_fewer_steps_than_done__rejects(tmp_path):
    train(Noisy(), tmp_path)
    with pytest.raises(InputError, match="has done 8 steps, more than the 7 asked for"):
        train(Noisy(), tmp_path, steps=7)


def test_weights_of_another_network__rejects_in_one_line(tmp_path):
    train(Noisy(), tmp_path)
    with pytest.raises(ArtifactError, match="does not fit this network") as error:
        train(Noisy(width=4), tmp_path)
    assert "\n" not in str(error.value)


def test_a_damaged_or_foreign_checkpoint__rejects_and_keeps_it(tmp_path):
    train(Noisy(), tmp_path)
    path = tmp_path / "run" / "tensors.safetensors"
    bad = path.read_bytes()[:-1]
    path.write_bytes(bad)
    with pytest.raises(ArtifactError, match="changed or cut short"):
        train(Noisy(), tmp_path)
    assert path.read_bytes() == bad


def test_a_users_folder_in_the_place__rejects_and_keeps_it(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "photo.png").write_text("mine")
    with pytest.raises(ArtifactError, match="is not a wherefrom artifact"):
        train(Noisy(), tmp_path)
    assert (tmp_path / "run" / "photo.png").read_text() == "mine"


def test_a_checkpoint_without_its_parts__rejects(tmp_path):
    save_artifact(tmp_path / "run", kind=CHECKPOINT, schema=SCHEMA, meta={"step": 1}, tensors={})
    with pytest.raises(ArtifactError, match="is damaged"):
        train(Noisy(), tmp_path)


def test_an_interval_below_one__rejects(tmp_path):
    with pytest.raises(InputError, match="give at least 1"):
        checkpoints(tmp_path, every=0)
