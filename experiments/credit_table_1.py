"""Table 1 on real images, reduced: 20 contributors, and who among all methods credits them best.

    python experiments/credit_table_1.py --data ../shared/data/fashion-mnist
    python experiments/credit_table_1.py --from-ledger      # the tables again, from the ledgers

Each class of Fashion-MNIST at 16 px is shared by two contributors, who gave its darker and its
lighter garments; the model is a latent DDPM of 636 thousand weights.  Shares are estimated from
sparsified fine-tuning, and judged by retraining from scratch on subsets that no method saw (LDS,
Eq. 10).  Kill it at any time; the same command goes on, and `--from-ledger` makes tables of what is
there.

Error against the number of runs: all estimators are held against shares of as many runs again, of
another design; the variance of those shares is subtracted from the squared error.  Fewer runs than
there are means some of them, drawn several times.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from credit_classifier import accuracy_of
from credit_judged import (
    CHEAP,
    DEAR,
    ESTIMATION,
    HELD_OUT,
    LEFT_OUT,
    OURS,
    PLAYERS,
    Judged,
    ledger_of,
)
from credit_studies import (
    LEDGERS,
    PROPERTIES,
    Part,
    finite,
    games_in,
    open_game,
    play,
    prepare,
    publish,
    recipe,
    seconds_per_run,
    write_study,
)
from torch import Tensor

from wherefrom import __version__
from wherefrom.core.saving.store import write_file
from wherefrom.credit.diffusion.gradients import GradientConfig
from wherefrom.credit.diffusion.properties import NetworkEmbedder, RunOutput
from wherefrom.credit.estimators.design import Design
from wherefrom.credit.evaluation.lds import SubsetsDesign
from wherefrom.credit.ledger.game import Planned
from wherefrom.credit.method import OpenStudy
from wherefrom.credit.study.baselines import (
    TrainingSet,
    generate,
    gradient_baselines,
    similarity_baselines,
)
from wherefrom.credit.study.diffusion_run import DiffusionPlay
from wherefrom.credit.study.models import make_models

CLASSES = ("T-shirts", "trousers", "pullovers", "dresses", "coats", "sandals", "shirts",
           "sneakers", "bags", "boots")  # fmt: skip
FEW, MANY = 50, 150  # images of a contributor
RESULT = Path(__file__).parents[1] / "docs" / "results" / "credit_table_1.json"
BASELINES = "credit_table_1_baselines.json"
GRADIENTS = GradientConfig(dimension=512, steps=10, batch=256)


def split(images: Tensor, labels: Tensor) -> list[Part]:
    """The darker and the lighter half of the first images of each class, in unequal numbers."""
    parts = []
    for number, name in enumerate(CLASSES):
        rows = torch.nonzero(labels == number).flatten()[: 2 * MANY]
        ordered = rows[images[rows].double().mean((1, 2, 3)).argsort(stable=True)]
        counts = (FEW, MANY) if number % 2 else (MANY, FEW)
        parts.append(Part(f"dark {name}", ordered[: counts[0]]))
        parts.append(Part(f"light {name}", ordered[-counts[1] :]))
    return parts


def planned(part: tuple[Design, int] | tuple[SubsetsDesign, int], least: int) -> list[Planned]:
    """The runs of a part; at most `least` for a trial."""
    design, count = part
    return design.take(min(count, least))


def run(args: argparse.Namespace) -> None:
    """Make every run, the most important ones first, and the baselines."""
    prepare(args.work, args.data, split)
    studies = {
        kind: write_study(
            args.work,
            kind,
            recipe(args.steps, args.finetuning, args.images),
            ledger=f"{kind}.sqlite",
        )
        for kind in (CHEAP, DEAR)
    }
    stages: list[tuple[str, str, Any]] = [
        (CHEAP, "paired", ESTIMATION["paired"]),
        (DEAR, "held out, half", HELD_OUT[0.5]),
        (CHEAP, "kernelshap", ESTIMATION["kernelshap"]),
        (DEAR, "one left out", LEFT_OUT),
        (CHEAP, "one left out", ESTIMATION["loo"]),
        (CHEAP, "reference", ESTIMATION["reference"]),
        *((DEAR, f"held out, {alpha}", HELD_OUT[alpha]) for alpha in (0.25, 0.75)),
    ]
    for kind, what, part in stages:
        began, wanted = time.perf_counter(), planned(part, args.at_most)
        opened = play(studies[kind], wanted, args.workers)
        publish(args.work / f"{kind}.sqlite", ledger_of(args.ledgers, kind))
        took = time.perf_counter() - began
        print(f"{kind}, {what}: {len(wanted)} runs after {took:.0f} s", flush=True)
        if what == "paired":
            began = time.perf_counter()
            baselines(args, opened)
            print(f"baselines after {time.perf_counter() - began:.0f} s", flush=True)


def baselines(args: argparse.Namespace, opened: OpenStudy) -> None:
    """Scores without any run, once for a game: of the full model, sampled as in the runs."""
    path, game = args.ledgers / BASELINES, opened.identity.digest
    if path.is_file() and json.loads(path.read_text()).get("game") == game:
        return
    import property_classifier  # beside the study, found since the study was opened

    data, study = opened.data, opened.study
    models = make_models(study, data)
    if models.full is None:
        raise SystemExit("the sparsified game has no full model")
    full = models.full
    generated = generate(full, study.config.sampling)
    embedder = NetworkEmbedder(property_classifier.load())
    scores = similarity_baselines(data, generated.images, {"classifier": embedder})
    scores |= gradient_baselines(
        full,
        TrainingSet(data, models.latents, models.conditions),
        generated,
        GRADIENTS,
        store=args.work / "gradients",
    )
    scores["number of images"] = data.counts().double().numpy()
    own: dict[str, dict[str, list[float]]] = {}
    for name, measured in measures(opened).items():
        values = [
            float(measured(RunOutput(data.images[data.owner == player])))
            for player in range(PLAYERS)
        ]
        own[name] = {f"{name} of the contributor's images": values}
    results = {
        "game": game,
        "names": list(data.names),
        "classifier_accuracy": accuracy_of(args.work),
        "settings": {k: getattr(args, k) for k in ("steps", "finetuning", "images", "workers")},
        "gradients": GRADIENTS.to_dict(),
        "scores": {name: finite(values) for name, values in scores.items()},
        "of_one_property": own,
    }
    args.ledgers.mkdir(parents=True, exist_ok=True)
    write_file(path, (json.dumps(results, indent=1) + "\n").encode())


def measures(opened: OpenStudy) -> Mapping[str, Callable[[RunOutput], float]]:
    """The study's properties by name."""
    if not isinstance(opened.play, DiffusionPlay):
        raise SystemExit("the study has no diffusion model")
    return {each.name: each for each in opened.play.properties}


def analyse(ledgers: Path) -> dict[str, Any]:
    """Everything that ledgers and baselines say about both properties."""
    known = json.loads((ledgers / BASELINES).read_text())
    if known.get("game") != games_in(ledger_of(ledgers, CHEAP))[CHEAP].digest:
        raise SystemExit(f"{BASELINES} is of another game than the ledgers; make the runs again")
    results: dict[str, Any] = {}
    for name in PROPERTIES:
        scores = Judged(ledgers, name, known)
        results[name] = {
            "shares": {label: each.to_dict() for label, each in scores.shares.items()},
            "runs": {what: len(table.values) for what, table in scores.parts.items()}
            | {"retrained": len(scores.dear.values)},
            "lds": scores.lds(),
            "lead": scores.lead() if OURS in scores.scores else [],
            "variance": scores.variances(),
            "curves": scores.curves(),
        }
    costs = {}
    for kind in (CHEAP, DEAR):
        with open_game(ledger_of(ledgers, kind), kind) as game:
            costs[kind] = seconds_per_run(game)
    names = ("names", "classifier_accuracy", "settings", "gradients")
    return {
        "command": "python experiments/credit_table_1.py --data fashion-mnist",
        "version": __version__,
        "torch": torch.__version__,
        **{key: known[key] for key in names},
        "seconds": costs,
        "properties": results,
    }


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Error and LDS against the number of runs, for the first property."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = results["properties"][PROPERTIES[0]]["curves"]
    names = {"kernelshap": "KernelSHAP of the paper", "paired": "paired (default)",
             "trees": "trees", "paired-trees": "paired and trees"}  # fmt: skip
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 2), ("error", "lds"), ("relative error", "LDS"), strict=True
    ):
        for method, name in names.items():
            own = [row for row in rows if row["method"] == method]
            axes.plot([r["runs"] for r in own], [r[key] for r in own], marker="o", label=name)
        axes.set(xlabel="runs", ylabel=f"{label}, {PROPERTIES[0]}")
        axes.grid(alpha=0.3)
        axes.legend()
    with mpl.rc_context({"svg.hashsalt": "credit", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> None:
    """Run what is missing, then write ledgers, tables and the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's four idx files")
    parser.add_argument("--work", type=Path, default=Path("build/credit_table_1"))
    parser.add_argument("--from-ledger", action="store_true", help="make no run")
    parser.add_argument("--ledgers", type=Path, default=LEDGERS, help="folder of the ledgers")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--steps", type=int, default=200, help="of training a subset")
    parser.add_argument("--finetuning", type=int, default=40, help="steps of the cheap game")
    parser.add_argument("--images", type=int, default=192, help="sampled in each run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--at-most", type=int, default=10**6, help="runs per part, for a trial")
    args = parser.parse_args()
    if not args.from_ledger:
        if args.data is None:
            parser.error("give --data, or --from-ledger")
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        run(args)
    began = time.perf_counter()
    result = finite(analyse(args.ledgers))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_file(args.out, (json.dumps(result, indent=1) + "\n").encode())
    plot(result, args.out.with_suffix(".svg"))
    print(f"wrote {args.out}; the tables took {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
