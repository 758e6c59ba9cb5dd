"""`wherefrom inversion evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.cli.inversion.inputs import load_model, model_argument, read_own


@dataclass(frozen=True, kw_only=True)
class InverterEvaluationOptions:
    """The options of `evaluate`."""

    model: Path = cli.use(model_argument)
    real: tuple[Path, ...] = cli.option(
        "Images like those it was trained on, but not those.", required=True
    )
    foreign: tuple[tuple[str, Path], ...] = cli.option(
        "name=folder of images that it should find unusual.", kind=cli.NamedFolder(), multiple=True
    )
    encoder: str | None = cli.option(
        "Compute distances on a feature network, as wherefrom anomaly does: a short name or a "
        "folder; default: a random network that needs no download."
    )
    report: Path | None = cli.option("Write an HTML page with the figures and images.")
    seed: int = cli.use(cli.seed_option)
    device: str = cli.use(cli.device_option)
    as_json: bool = cli.use(cli.json_option)


@click.command()
@cli.with_options(InverterEvaluationOptions)
def evaluate(session: Session, options: InverterEvaluationOptions) -> None:
    """Measure a model: samples (FD, precision, recall), reconstructions, scores of outliers.

    PSNR and SSIM need images of 11 px or more; AUROC is of built-in damage to the real images, and
    of each --foreign set.  Of more than 2,000 real images 2,000 are measured, drawn by content.

    \b
    Example:
      wherefrom inversion evaluate model/ --real images/ --foreign cats=cats/
    """
    from wherefrom.data.images.writing import to_float
    from wherefrom.data.splits import sample_indices
    from wherefrom.inversion.codes.evaluation import evaluate_inverter, network_features
    from wherefrom.metrics.random_features import NAME, random_features
    from wherefrom.report.inversion.tables import evaluation_table

    report, seed = options.report, options.seed
    cli.check_output(report, "--report")
    fitted = load_model(session, options.model, options.device)
    encoder = options.encoder
    features, name = (random_features, NAME) if encoder is None else network_features(encoder)
    own = read_own(session, options.real, fitted)
    evaluation = evaluate_inverter(
        fitted,
        own.images,
        keys=own.keys,
        foreign={n: read_own(session, [path], fitted).images for n, path in options.foreign},
        features=features,
        features_name=name,
        seed=seed,
        track=session.track,
    )
    if evaluation.images < evaluation.given:
        session.note(
            f"note: {evaluation.images} of {evaluation.given} real images were measured, drawn by "
            "content"
        )
    if report is not None:
        from wherefrom.inversion.codes.evaluation import examples
        from wherefrom.report.inversion.page import SHOWN, write_evaluation

        few = to_float(own.images[sample_indices(own.keys, SHOWN, seed=seed)])
        write_evaluation(report, evaluation, examples(fitted, few, seed=seed))
    if options.as_json:
        print_json(evaluation.to_dict())
        return
    print_table(evaluation_table(evaluation))
