"""A receipt and the same made again, perhaps on another processor."""

import copy
import math

import pytest
from synthetic_games import MixedGame, played

from wherefrom.core.errors import ArtifactError
from wherefrom.credit.estimators.design import PairedDesign
from wherefrom.credit.estimators.paired import estimate_paired
from wherefrom.credit.payout.division import PayoutConfig, divide_pool
from wherefrom.credit.payout.of_study import look_after
from wherefrom.credit.payout.receipt import compare_receipts, make_receipt, runs_digest


@pytest.fixture(scope="module")
def receipt():
    """The receipt of 100.00 divided among four."""
    names, table = list("abcd"), played(PairedDesign(4), 40, MixedGame(4), noise=0.1)
    shares = estimate_paired(table)
    return make_receipt(
        {
            "contributors": names,
            "game": {"digest": "d", "players": 4, "spec": {"rate": 0.1}},
            "property": {"name": "frechet", "spec": {}},
        },
        table=table,
        shares=shares,
        payout=divide_pool(shares, names, "100.00", config=PayoutConfig()),
        settings={"pool": "100.00", "currency": "EUR", "method": "auto", "level": shares.level},
    )


def changed(receipt, change):
    again = copy.deepcopy(receipt)
    change(again["records"])
    assert again != receipt
    return again


def test_rounding_of_another_processor_is_no_difference__identity(receipt):
    def rounded(records):
        shares = records["shares"]
        shares["values"] = [value * (1 + 1e-13) for value in shares["values"]]
        shares["gain"] = math.nextafter(shares["gain"], math.inf)
        records["payout"]["payments"][0]["share"] *= 1 - 1e-13

    assert compare_receipts(receipt, receipt) == ""
    assert compare_receipts(receipt, changed(receipt, rounded)) == ""


def shares_moved(records):
    records["shares"]["values"][0] += 1e-6


def no_interval(records):
    records["shares"]["low"][0] = None


def one_more_cent(records):
    records["payout"]["payments"][0]["paid"] += 1


def money_as_a_fraction(records):
    records["payout"]["payments"][0]["paid"] += 1e-12


def another_name(records):
    records["payout"]["payments"][0]["name"] += "x"


def another_value(records):
    records["runs"][0][2] = math.nextafter(records["runs"][0][2], math.inf)


def another_setting(records):
    records["game"]["spec"]["rate"] = math.nextafter(0.1, 1)


@pytest.mark.parametrize(
    ("change", "record"),
    [
        (shares_moved, "shares"),
        (no_interval, "shares"),
        (one_more_cent, "payout"),
        (money_as_a_fraction, "payout"),
        (another_name, "payout"),
        (another_value, "runs"),
        (another_setting, "game"),
    ],
)
def test_every_other_difference_is_named__rejects_change(receipt, change, record):
    assert compare_receipts(receipt, changed(receipt, change)) == record


def test_the_number_of_a_look__closed_form():
    assert [look_after(earlier) for earlier in ({}, {"look": 1}, {"look": 7})] == [1, 2, 8]
    for forged in ("2", -1, 0.5, True):
        with pytest.raises(ArtifactError, match="number of looks"):
            look_after({"look": forged})


def test_the_lot_of_a_payout_depends_on_every_run_and_on_no_name__identity_digest():
    table = played(PairedDesign(4), 40, MixedGame(4), noise=0.1)
    again = table.at(range(39, -1, -1))  # finished in another order
    assert runs_digest(table) == runs_digest(again)
    again.values[3] += 1e-9
    assert runs_digest(table) != runs_digest(again)
