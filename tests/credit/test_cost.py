"""What a study costs, with a clock of the test's own."""

import pytest
from studies import write_images, write_study

from wherefrom.core.errors import InputError
from wherefrom.credit.evaluation.foresight import plan_steps
from wherefrom.credit.study import cost
from wherefrom.credit.study.file import load_study


class Clock:
    """Steps of 0.5 s per image; the first of a size takes 4 s more."""

    def __init__(self):
        self.now, self.sizes = 0.0, []

    def perf_counter(self):
        return self.now

    def step(self, size):
        self.now += 0.5 * size + (0.0 if size in self.sizes else 4.0)
        self.sizes.append(size)


def seconds(monkeypatch, batch, limit):
    clock = Clock()
    monkeypatch.setattr(cost, "time", clock)
    return cost._per_image(clock.step, batch, limit), clock.sizes


def test_preparing_a_size_is_not_part_of_its_step__closed_form(monkeypatch):
    assert seconds(monkeypatch, 6, 1000.0) == ((0.5, 6), [1, 1, 2, 2, 4, 4, 6, 6])


def test_a_slow_step_is_taken_once__limit(monkeypatch):
    assert seconds(monkeypatch, 64, 5.0) == ((4.5, 1), [1])


def test_a_design_that_cannot_be_run_is_not_timed__rejects_players(tmp_path):
    write_images(tmp_path / "data", players=17, each=1)
    study = load_study(write_study(tmp_path))
    with pytest.raises(InputError, match=r"2\^17 subsets of 17 contributors"):
        cost.measure_cost(study, study.contributors())


@pytest.mark.parametrize(("ledger", "pilot", "kind", "steps"), [
    (False, False, "sparsified", ["cost"]),
    (False, True, "sparsified", ["cost", "pilot", "intervals"]),
    (True, False, "sparsified", ["intervals"]),
    (True, True, "sparsified", ["cost", "pilot", "intervals"]),
    (False, True, "callable", ["pilot", "intervals"]),
    (False, False, "callable", ["intervals"]),
])  # fmt: skip
def test_what_a_plan_consists_of__closed_form(tmp_path, ledger, pilot, kind, steps):
    (tmp_path / "study.toml").write_text(f'[game]\nkind = "{kind}"\n[[property]]\n')
    study = load_study(tmp_path / "study.toml")
    if ledger:
        study.ledger.touch()
    assert list(plan_steps(study, pilot=pilot)) == steps
