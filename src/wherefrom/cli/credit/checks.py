"""`wherefrom credit audit` and `wherefrom credit evaluate`: checks of the shares of a study."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from wherefrom.cli.console.options import option, resolve_device, use, with_options
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.cli.credit.results import StudyOptions, finished, method_option, opened_study
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.credit.method import FinishedRuns


@dataclass(frozen=True, kw_only=True)
class ShareAuditOptions(StudyOptions):
    """The options of `credit audit`."""

    method: str = use(method_option, before="level")
    truth: Path | None = option("A study of full retraining, to compare this one with.")
    clone: Path | None = option("A study where one contributor's data are registered twice.")
    empty: tuple[str, ...] = option("A contributor that is known to have no influence; repeatable.")
    split: Path | None = option("A study where one contributor is registered as several.")
    player: str | None = option("With --split: the contributor's name in the first study.")
    parts: str | None = option("With --split: its names in the second, separated by commas.")


@click.command()
@with_options(ShareAuditOptions)
def audit(session: Session, options: ShareAuditOptions) -> None:
    """Check the axioms, compare with full retraining, and see what a split of names would gain.

    What an estimator cannot break is marked: by construction.  Symmetry is checked between
    contributors with the same images, here or in the study --clone.

    \b
    Example:
      wherefrom credit audit study.toml --truth retrain.toml
    """
    from wherefrom.credit.evaluation.study_audit import SplitGame, audit_study
    from wherefrom.report.credit.tables import (
        audit_table,
        certificate_line,
        shares_table,
        split_line,
    )

    if options.split is not None and not (options.player and options.parts):
        raise InputError("--split needs --player and --parts; give both")
    runs = options.finished(session)

    def same_property(study: Path | None) -> FinishedRuns | None:
        return None if study is None else finished(session, study, runs.name, options.device)

    split, parts = same_property(options.split), (options.parts or "").split(",")
    report = audit_study(
        runs,
        method=options.method,
        level=options.level,
        powerless=options.empty,
        clone=same_property(options.clone),
        truth=same_property(options.truth),
        split=None
        if split is None
        else SplitGame(split, str(options.player), [part.strip() for part in parts]),
    )
    if report.certificate is not None:
        session.note(certificate_line(report.certificate))
    if report.split is not None:
        session.note(split_line(report.split))
    if options.as_json:
        print_json(report.to_dict())
        return
    print_table(audit_table(report.checks))
    if report.certificate is not None:
        print_table(shares_table(report.certificate.corrected, runs.names))


@dataclass(frozen=True, kw_only=True)
class ShareEvaluationOptions(StudyOptions):
    """The options of `credit evaluate`."""

    LAST: ClassVar[tuple[str, ...]] = ("level", "device", "as_json")
    truth: Path | None = option(
        "The study of full retraining; default: the same study.", before="name"
    )
    scores: Path | None = option("JSON: scores by method, one number per contributor.")
    make: bool = option("Make the evaluation's runs first.", flag="--run")
    subsets: int = option("Subsets of each size.", 100)
    seeds: int = option("Training seeds of each subset.", 3)
    alphas: tuple[float, ...] = option(
        "A size of subsets, as a part of all contributors; repeatable.",
        (0.25, 0.5, 0.75),
        flag="--alpha",
    )
    counterfactual: str = option(
        "Methods whose top contributors are removed: best (of each family), all, or none.", "best"
    )
    baselines: bool = option(
        "Compare with the baselines of Table 1.", True, flag="--baselines/--no-baselines"
    )


@click.command()
@with_options(ShareEvaluationOptions)
def evaluate(session: Session, options: ShareEvaluationOptions) -> None:
    """Compare shares with every baseline: LDS with its noise ceiling, counterfactual changes.

    The baselines are computed from the full model and from what it generates; the table says why
    one is missing.  No share rests on the evaluation's runs.  With --run it says first how many
    runs it makes (up to 900 and more by default), and how many hours they take.

    \b
    Example:
      wherefrom credit evaluate study.toml --truth retrain.toml --run
    """
    from wherefrom.credit.evaluation.comparison import EvaluationConfig, MakeRuns, evaluate_shares
    from wherefrom.report.credit.tables import evaluation_notes, evaluation_tables

    o = options
    runs = o.finished(session)
    evaluation = evaluate_shares(
        runs.opened,
        runs.name,
        EvaluationConfig(o.subsets, o.seeds, o.alphas, o.level, o.counterfactual, o.baselines),
        # The other study's ledger is perhaps made here.
        truth=opened_study(session, o.truth, o.device, fresh=o.make) if o.truth else None,
        given={} if o.scores is None else read_scores(o.scores, runs.names),
        make=MakeRuns(resolve_device(o.device), session.note) if o.make else None,
        track=session.track,
    )
    if o.as_json:
        print_json(evaluation.to_dict())
        return
    for note in evaluation_notes(evaluation):
        session.note(note)
    for number, table in enumerate(evaluation_tables(evaluation, o.level)):
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
    rows = {}
    for method, scores in given.items():
        try:
            row = [scores[each] for each in names] if isinstance(scores, dict) else scores
            values = np.array(row, dtype=np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: the scores of {method!r} are no numbers: {error}") from error
        if values.shape != (len(names),) or not np.isfinite(values).all():
            raise InputError(f"{path}: {method!r} needs {len(names)} finite scores, one for each")
        rows[method] = values
    return rows
