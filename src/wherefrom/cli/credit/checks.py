"""`wherefrom credit audit` and `evaluate`: are the shares what they are sold as?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherefrom.cli.console.options import FILE, resolve_device
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.cli.credit.results import (
    Finished,
    device_option,
    finished,
    json_option,
    level_option,
    method_option,
    opened_study,
    property_option,
    read,
    study_argument,
)
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.credit.evaluation.audit import AuditRow
    from wherefrom.credit.game import RunTable

OTHER_NAMES = "the two studies have other contributors; both need the same data"


@click.command()
@study_argument
@property_option
@method_option
@level_option
@click.option("--truth", type=FILE, help="A study of full retraining: audit the cheap game by it.")
@click.option(
    "--clone", type=FILE, help="A study where one contributor's data are registered twice."
)
@click.option("--empty", multiple=True, help="A contributor that has no influence, as is known.")
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
    method: str,
    level: float,
    truth: Path | None,
    clone: Path | None,
    empty: tuple[str, ...],
    split: Path | None,
    player: str | None,
    parts: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Check the axioms, the cheap game against retraining, and what a split of names would gain.

    What an estimator cannot break is marked: by construction.  Symmetry is checked between
    contributors with the same images, here or in the study --clone.

    \b
    Example:
      wherefrom credit audit study.toml --truth retrain.toml
    """
    from wherefrom.credit.evaluation.fidelity import certify_proxy
    from wherefrom.report.credit.tables import audit_table, shares_line, shares_table

    found = finished(session, study, name, device)
    others = [each for each in found.opened.specs if each != found.name]
    other = read(found.opened, others[0]).table if others else None
    rows = _axioms(found, other, method, level, empty)
    if clone is not None:
        twice = finished(session, clone, found.name, device)
        rows += [row for row in _axioms(twice, None, method, level) if row.check == "symmetry"]
        if rows[-1].check != "symmetry":
            raise InputError(
                f"{clone}: no two contributors gave the same images; copy one's folder under a "
                "second name, and run that study"
            )
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


def _axioms(
    found: Finished,
    other: RunTable | None,
    method: str,
    level: float,
    empty: tuple[str, ...] = (),
) -> list[AuditRow]:
    from wherefrom.credit.evaluation.audit import audit_shares, twins_of

    unknown = [name for name in empty if name not in found.names]
    if unknown:
        raise InputError(
            f"--empty names {unknown[0]!r}; expected one of {', '.join(found.names[:5])} ..."
        )
    data = found.opened.data
    return audit_shares(
        found.table,
        found.names,
        other=other,
        level=level,
        method=method,
        unions=data.unions,
        twins=twins_of(data),
        without=[found.names.index(name) for name in empty],
    )


def _split(
    session: Session,
    found: Finished,
    split: Path,
    player: str | None,
    parts: str | None,
    level: float,
    device: str,
) -> dict[str, Any]:
    from wherefrom.credit.estimators.choose import estimate
    from wherefrom.credit.evaluation.audit import compare_split

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
        raise InputError(OTHER_NAMES)


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
@click.option(
    "--counterfactual",
    default="best",
    show_default=True,
    help="Whose top contributors are removed and kept: best (of each family), all, or none.",
)
@click.option(
    "--baselines/--no-baselines", default=True, show_default=True, help="Those of Table 1."
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
    counterfactual: str,
    baselines: bool,
    level: float,
    device: str,
    as_json: bool,
) -> None:
    """Judge shares against every baseline: LDS with its noise ceiling, counterfactual changes.

    The baselines are computed from the full model and from what it generates; the table says why
    one is missing.  No share rests on the evaluation's runs.  With --run it says first how many
    runs it makes (up to 900 and more by default), and how many hours they take.

    \b
    Example:
      wherefrom credit evaluate study.toml --truth retrain.toml --run
    """
    from wherefrom.credit.evaluation.contest import Contest, judge
    from wherefrom.report.credit.contest import (
        contest_notes,
        counterfactual_table,
        lds_table,
        variance_table,
    )

    contest = Contest(subsets, seeds, alphas, level, counterfactual, baselines)
    found = finished(session, study, name, device)
    # The other study's ledger is perhaps made here.
    other = None if truth is None else opened_study(session, truth, device, fresh=make)
    if other is not None and other.data.names != found.names:
        raise InputError(OTHER_NAMES)
    found_judgement = judge(
        found.opened,
        found.name,
        contest,
        truth=other,
        given=read_scores(scores, found.names) if scores is not None else {},
        make=make,
        tell=session.note,
        device=resolve_device(device),
        track=session.track,
    )
    if as_json:
        print_json(found_judgement.to_dict())
        return
    for note in contest_notes(found_judgement):
        session.note(note)
    tables = [lds_table(found_judgement, level)]
    tables += [counterfactual_table(found_judgement.changes)] * bool(found_judgement.changes)
    tables += [variance_table(found_judgement)] * (found_judgement.variance is not None)
    for number, table in enumerate(tables):
        if number:
            click.echo()
        print_table(table)


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
