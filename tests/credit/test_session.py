"""A study from Python: its runs, shares and payments, and how they show themselves."""

import numpy as np
import pytest
from test_players import callable_study

from wherefrom import credit
from wherefrom.core.errors import InputError
from wherefrom.credit.equations import all_subsets, shapley_value


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A game of three contributors, every subset of which is run; no test changes it."""
    home = tmp_path_factory.mktemp("session")
    opened = credit.open_study(callable_study(home, design="kind = 'exact'\npayout = true"))
    credit.run(opened)
    return opened


def test_runs_and_shares_in_this_process__closed_form(study):
    counts = credit.run(study)  # again, which changes nothing
    assert counts == {"planned": 0, "leased": 0, "done": 6 + 2 * 8, "failed": 0}
    result = credit.shares(study, property="worth")
    game = np.array([study.play(row, 0).values["worth"] for row in all_subsets(3)])
    assert result.names == ("c0", "c1", "c2")
    assert np.allclose(result.shares.values, shapley_value(game))


def test_shares_as_rows__roundtrip(study):
    result = credit.shares(study)
    frame = result.to_dataframe()
    assert frame["contributor"].tolist() == ["c0", "c1", "c2"]
    assert frame["share"].tolist() == result.to_dict()["values"]
    assert "c1" in result._repr_html_()


def test_payments_add_up_to_the_pool__identity_sum(study):
    payment = credit.pay(study, "1000.00", policy=credit.PayoutConfig(uncertain="pay"))
    assert sum(each["paid"] for each in payment.receipt["records"]["payout"]["payments"]) == 100_000


def test_unknown_names__rejects(study):
    with pytest.raises(InputError, match="measures no property 'beauty'; it has worth"):
        credit.shares(study, property="beauty")
    with pytest.raises(InputError, match="choose local or ray"):
        credit.run(study, devices=["cpu"], executor="cluster")
