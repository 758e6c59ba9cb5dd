"""`wherefrom credit`: plan, report, payout, audit, evaluate.  What finished runs are good for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherefrom.cli.console import Session, print_json, print_table
from wherefrom.cli.options import FILE, ConfigCommand, resolve_device
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.credit.game import RunTable
    from wherefrom.credit.method import OpenStudy
    from wherefrom.credit.payout import PayoutConfig
    from wherefrom.credit.result import Shares

study_argument = click.argument("study", type=FILE)
property_option = click.option(
    "--property", "name", help="Which property; default: the study's first."
)
level_option = click.option(
    "--level", default=0.95, show_default=True, help="Probability that all intervals hold at once."
)
method_option = click.option(
    "--method",
    default="auto",
    show_default=True,
    help="auto, paired, exact, kernelshap, permutation, banzhaf or loo.",
)
shrinkage_option = click.option(
    "--accept-shrinkage",
    is_flag=True,
    help="Allow fewer than 2(n-1) runs: shares are then drawn toward the equal split.",
)
device_option = click.option("--device", default="auto", show_default=True, help="Of the models.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")


@dataclass(frozen=True)
class Finished:
    """The runs of one property of a study, and the mean seconds of a run (None: not timed)."""

    opened: OpenStudy
    name: str
    table: RunTable
    seconds: float | None

    @property
    def names(self) -> tuple[str, ...]:
        """The contributors."""
        return self.opened.data.names


def finished(session: Session, study: Path, name: str | None, device: str) -> Finished:
    """Read a study's ledger."""
    from wherefrom.credit.method import open_study

    opened = open_study(study, device=resolve_device(device), track=session.track)
    return read(opened, name)


def read(opened: OpenStudy, name: str | None) -> Finished:
    """The finished runs of a property, by default the study's first."""
    chosen = next(iter(opened.specs)) if name is None else name
    if not opened.study.ledger.exists():
        raise InputError(f"there is no ledger {opened.study.ledger}; run the study first")
    with opened.ledger(readonly=True) as ledger:
        table = ledger.runs(chosen)
        spent = [detail.get("seconds") for _, run, detail in ledger.details() if run.values]
    timed = [sum(each.values()) for each in spent if each]
    return Finished(opened, chosen, table, sum(timed) / len(timed) if timed else None)


@click.command()
@study_argument
@property_option
@click.option("--pilot", is_flag=True, help="Make the pilot's runs first: 4 for each contributor.")
@click.option("--runs", "budgets", type=click.IntRange(min=4), multiple=True, help="A budget.")
@level_option
@device_option
@json_option
@click.pass_obj
def plan(
    session: Session,
    *,
    study: Path,
    name: str | None,
    pilot: bool,
    budgets: tuple[int, ...],
    level: float,
    device: str,
    as_json: bool,
) -> None:
    """Say how wide the intervals would be for a number of runs, and how many hours they take.

    \b
    Example:
      wherefrom credit plan study.toml --pilot
    """
    from wherefrom.credit.method import open_study, run_study
    from wherefrom.credit.planning import pilot_size, plan_runs
    from wherefrom.report.credit_tables import plan_table

    place = resolve_device(device)
    opened = open_study(study, device=place, track=session.track)
    if pilot:
        count = pilot_size(opened.data.players)
        run_study(opened, runs=count, devices=(place,), track=session.track)
    found = read(opened, name)
    planned = plan_runs(found.table, budgets, level=level, seconds_per_run=found.seconds)
    if as_json:
        print_json(planned.to_dict())
        return
    session.note(
        f"{planned.players} contributors, pilot of {planned.pilot_runs} runs; "
        f"equal split {planned.equal_split:.4g}, spread of a half difference {planned.spread:.4g}"
    )
    print_table(plan_table(planned))


@click.command()
@study_argument
@property_option
@method_option
@level_option
@shrinkage_option
@click.option("--html", type=FILE, help="Write one self-contained page.")
@click.option("--csv", "csv_path", type=FILE, help="Write the table with unrounded numbers.")
@device_option
@json_option
@click.pass_obj
def report(
    session: Session,
    *,
    study: Path,
    name: str | None,
    method: str,
    level: float,
    accept_shrinkage: bool,
    html: Path | None,
    csv_path: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Show each contributor's share, with intervals that hold for all at once.

    Works at any time, also while runs are made.

    \b
    Example:
      wherefrom credit report study.toml --html shares.html
    """
    from wherefrom.credit.estimate import estimate
    from wherefrom.report.credit import write_credit_report
    from wherefrom.report.credit_tables import shares_line, shares_table
    from wherefrom.report.files import check_target, write_text
    from wherefrom.report.tables import to_csv

    if html is not None:
        check_target(html, option="--html", suffixes=(".html", ".htm"))
    if csv_path is not None:
        check_target(csv_path, option="--csv", suffixes=(".csv",))
    found = finished(session, study, name, device)
    shares = estimate(found.table, method, level=level, accept_shrinkage=accept_shrinkage)
    table = shares_table(shares, found.names)
    if csv_path is not None:
        write_text(csv_path, to_csv(table))
        session.note(f"wrote {csv_path}")
    if html is not None:
        write_credit_report(html, shares, found.names, basis=basis_of(found))
        session.note(f"wrote {html}")
    if as_json:
        print_json({"property": found.name, "contributors": found.names, **shares.to_dict()})
        return
    session.note(f"{found.name}: {shares_line(shares)}")
    for note in shares.notes:
        session.note(note)
    print_table(table)


def basis_of(found: Finished) -> dict[str, Any]:
    """What the shares rest on, without the recipe's length."""
    opened = found.opened
    return {
        "study": str(opened.study.path),
        "game": opened.identity.name,
        "game digest": opened.identity.digest,
        "property": dict(opened.specs[found.name]),
        "runs with a value": len(found.table.values),
        "data": dict(opened.identity.spec.get("data", {})),
    }


def _policies() -> Mapping[str, PayoutConfig]:
    from wherefrom.credit.payout import PayoutConfig

    return {"default": PayoutConfig()}


@click.command(cls=ConfigCommand, presets=_policies)
@study_argument
@click.option("--pool", help="How much is divided, as in 10000.00.")
@click.option("--currency", default="EUR", show_default=True, help="Three letters of ISO 4217.")
@property_option
@method_option
@level_option
@click.option("--last", type=FILE, help="Receipt of the last round, for held amounts and debts.")
@click.option("--out", type=FILE, help="A new folder for receipt.json, payout.csv, payout.html.")
@click.option("--check", type=FILE, help="Instead: make this receipt again and compare.")
@device_option
@json_option
@click.pass_obj
def payout(
    session: Session,
    *,
    study: Path,
    pool: str | None,
    currency: str,
    name: str | None,
    method: str,
    level: float,
    last: Path | None,
    out: Path | None,
    check: Path | None,
    device: str,
    as_json: bool,
    config: PayoutConfig,
) -> None:
    """Divide a pool of money by the shares; cents add up to the pool exactly.

    \b
    Example:
      wherefrom credit payout study.toml --pool 10000.00 --currency EUR --out round1
    """
    from wherefrom.core.store import refuse_existing
    from wherefrom.credit.receipt import balances_of, compare_receipts, read_receipt
    from wherefrom.report.credit_tables import payout_table

    if (pool is None) == (check is None):
        raise InputError("give --pool to divide money, or --check to make a receipt again")
    if out is not None:
        refuse_existing(out, overwrite=False)
    old = None if check is None else read_receipt(check)
    found = finished(session, study, name if old is None else settings_of(old)["property"], device)
    if old is not None:
        new, _, _ = divided(found, settings_of(old))
        broken = compare_receipts(old, new)
        if broken:
            raise InputError(
                f"{check} is whole, but the study gives another record {broken!r} now; "
                "runs or data have changed since it was written"
            )
        click.echo(f"{check} is whole, and the study gives the same: {new['chain'][-1]['digest']}")
        return
    settings = {
        "property": found.name,
        "pool": pool,
        "currency": currency,
        "method": method,
        "level": level,
        "policy": config.to_dict(),
        "balances": {} if last is None else balances_of(read_receipt(last)),
    }
    receipt, shares, divided_pool = divided(found, settings)
    if out is not None:
        save_payout(out, receipt, shares, divided_pool, found)
        session.note(f"saved {out}")
    if as_json:
        print_json(receipt)
        return
    session.note(f"chain of digests ends in {receipt['chain'][-1]['digest']}")
    print_table(payout_table(divided_pool))


def settings_of(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """What a payout was asked for."""
    return dict(receipt["records"]["payout"]["settings"])


def divided(found: Finished, settings: Mapping[str, Any]) -> tuple[dict[str, Any], Shares, Any]:
    """The receipt, the shares and the payout for settings."""
    from wherefrom.credit.estimate import estimate
    from wherefrom.credit.payout import PayoutConfig, divide_pool
    from wherefrom.credit.receipt import make_receipt

    shares = estimate(found.table, settings["method"], level=settings["level"])
    money = divide_pool(
        shares,
        found.names,
        settings["pool"],
        currency=settings["currency"],
        config=PayoutConfig.from_dict(settings["policy"]),
        balances=settings["balances"],
    )
    identity = found.opened.identity
    receipt = make_receipt(
        contributors=found.names,
        game={"digest": identity.digest, "players": identity.players, "spec": dict(identity.spec)},
        measured={"name": found.name, "spec": dict(found.opened.specs[found.name])},
        table=found.table,
        shares=shares,
        payout=money,
        settings=settings,
    )
    return receipt, shares, money


def save_payout(
    out: Path, receipt: Mapping[str, Any], shares: Shares, money: Any, found: Finished
) -> None:
    """The receipt, the table and the page, in a folder that is there whole or not at all."""
    from wherefrom.core.store import scratch_beside, write_file
    from wherefrom.report.credit import write_credit_report
    from wherefrom.report.credit_tables import payout_table
    from wherefrom.report.tables import to_csv

    with scratch_beside(out) as scratch:
        text = json.dumps(receipt, indent=1, allow_nan=False, ensure_ascii=False)
        write_file(scratch / "receipt.json", text.encode())
        write_file(scratch / "payout.csv", to_csv(payout_table(money)).encode())
        page = scratch / "payout.html"
        write_credit_report(page, shares, found.names, basis=basis_of(found), payout=money)


@click.command()
@study_argument
@property_option
@level_option
@click.option("--truth", type=FILE, help="A study of full retraining: audit the cheap game by it.")
@click.option("--split", type=FILE, help="A study where one contributor is registered as several.")
@click.option("--player", help="With --split: the contributor's name in the first study.")
@click.option("--parts", help="With --split: its names in the second, separated by commas.")
@device_option
@json_option
@click.pass_obj
def audit(
    session: Session,
    *,
    study: Path,
    name: str | None,
    level: float,
    truth: Path | None,
    split: Path | None,
    player: str | None,
    parts: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Check the axioms, the cheap game against retraining, and what a split of names would gain.

    \b
    Example:
      wherefrom credit audit study.toml --truth retrain.toml
    """
    from wherefrom.credit.audit import audit_shares
    from wherefrom.credit.fidelity import certify_proxy
    from wherefrom.report.credit_tables import audit_table, shares_line, shares_table

    found = finished(session, study, name, device)
    others = [each for each in found.opened.specs if each != found.name]
    other = read(found.opened, others[0]).table if others else None
    rows = audit_shares(found.table, found.names, other=other, level=level)
    answer: dict[str, Any] = {"checks": [row.to_dict() for row in rows]}
    tell: list[Callable[[], None]] = [lambda: print_table(audit_table(rows))]
    if truth is not None:
        dear = finished(session, truth, found.name, device)
        _same_names(found, dear)
        certificate = certify_proxy(found.table, dear.table, level=level)
        answer["certificate"] = certificate.to_dict()
        session.note(
            f"{certificate.matches} subsets in both games: Pearson {certificate.pearson:.3f}, "
            f"Spearman {certificate.spearman:.3f}, bias {certificate.bias:.4g} "
            f"(standard deviation {certificate.spread:.4g}); corrected shares: "
            f"{shares_line(certificate.corrected)}"
        )
        tell.append(lambda: print_table(shares_table(certificate.corrected, found.names)))
    if split is not None:
        answer["split"] = _split(session, found, split, player, parts, level, device)
    if as_json:
        print_json(answer)
        return
    for each in tell:
        each()


def _split(
    session: Session,
    found: Finished,
    split: Path,
    player: str | None,
    parts: str | None,
    level: float,
    device: str,
) -> dict[str, Any]:
    from wherefrom.credit.audit import compare_split
    from wherefrom.credit.estimate import estimate

    divided_study = finished(session, split, found.name, device)
    names = [part.strip() for part in (parts or "").split(",")]
    missing = [part for part in names if part not in divided_study.names]
    if player not in found.names or missing:
        raise InputError(
            f"--split needs --player, a contributor of the first study, and --parts, its names in "
            f"the second; {player!r} and {', '.join(missing) or 'all parts'} were looked for"
        )
    places = [divided_study.names.index(part) for part in names]
    compared = compare_split(
        estimate(found.table, level=level),
        estimate(divided_study.table, level=level),
        found.names.index(player),
        places,
        player,
    )
    session.note(
        f"{player}: {compared.before:.4g} alone, {compared.after:.4g} as {len(places)} names; "
        f"change {compared.change:.4g} "
        f"{'is resolved' if compared.resolved else 'is not resolved'}"
    )
    return compared.to_dict()


def _same_names(one: Finished, other: Finished) -> None:
    if one.names != other.names:
        raise InputError("the two studies have other contributors; both need the same data")


@click.command()
@study_argument
@click.option("--truth", type=FILE, help="The study of full retraining; default: the same study.")
@property_option
@click.option("--scores", type=FILE, help="JSON: scores by method, one number per contributor.")
@click.option("--run", "make", is_flag=True, help="Make the evaluation's runs first.")
@click.option("--subsets", default=100, show_default=True, help="Subsets of each size.")
@click.option("--seeds", default=3, show_default=True, help="Training seeds of each subset.")
@click.option(
    "--alpha",
    "alphas",
    type=float,
    multiple=True,
    default=(0.25, 0.5, 0.75),
    show_default=True,
    help="Sizes, as parts of all contributors.",
)
@level_option
@device_option
@json_option
@click.pass_obj
def evaluate(
    session: Session,
    *,
    study: Path,
    truth: Path | None,
    name: str | None,
    scores: Path | None,
    make: bool,
    subsets: int,
    seeds: int,
    alphas: tuple[float, ...],
    level: float,
    device: str,
    as_json: bool,
) -> None:
    """Judge shares and other scores: LDS with its noise ceiling, and counterfactual changes.

    \b
    Example:
      wherefrom credit evaluate study.toml --truth retrain.toml --run
    """
    from wherefrom.credit.evaluation import (
        SubsetsDesign,
        counterfactual_rows,
        evaluation_scores,
        lds_rows,
    )
    from wherefrom.report.credit_tables import counterfactual_table, lds_table

    found = finished(session, study, name, device)
    judged = found if truth is None else finished(session, truth, found.name, device)
    _same_names(found, judged)
    n, seed = len(found.names), found.opened.study.config.study.seed
    designs = [SubsetsDesign(n, alpha, subsets, seeds, seed) for alpha in alphas]
    wanted = [run for design in designs for run in design.take(subsets * seeds)]
    given = read_scores(scores, found.names) if scores is not None else {}
    rated = evaluation_scores(found.table, wanted) | given
    if make:
        make_runs(session, judged.opened, wanted, rated, device)
        judged = read(judged.opened, found.name)
    rows = lds_rows(judged.table, rated, only=wanted, level=level)
    changes = counterfactual_rows(judged.table, rated)
    if as_json:
        lds = [row.to_dict() for row in rows]
        print_json({"lds": lds, "counterfactual": [row.to_dict() for row in changes]})
        return
    print_table(lds_table(rows))
    click.echo()
    print_table(counterfactual_table(changes))


def make_runs(
    session: Session, opened: OpenStudy, wanted: Any, rated: Mapping[str, Any], device: str
) -> None:
    """Plan and make the runs that judge scores: held-out subsets, and the counterfactual ones."""
    from wherefrom.credit.evaluation import counterfactual_runs
    from wherefrom.credit.method import run_study

    extra = counterfactual_runs(rated, opened.data.players, opened.study.config.study.seed)
    with opened.ledger() as ledger:
        ledger.plan([*wanted, *extra])
    run_study(opened, runs=0, devices=(resolve_device(device),), track=session.track)


def read_scores(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Scores of other methods: a JSON object of lists, or of objects by contributor."""
    import numpy as np

    try:
        given = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise InputError(f"{path} must hold an object: method to scores")
    found = {}
    for method, scores in given.items():
        try:
            row = [scores[each] for each in names] if isinstance(scores, dict) else scores
            values = np.array(row, dtype=np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: the scores of {method!r} are no numbers: {error}") from error
        if values.shape != (len(names),) or not np.isfinite(values).all():
            raise InputError(f"{path}: {method!r} needs {len(names)} finite scores, one for each")
        found[method] = values
    return found
