"""Table 5 of the thesis on a reduced protocol: which score notices twelve sets that are not MNIST?

    python experiments/inversion_ood.py --data ../shared/data           # trains, measures, writes
    python experiments/inversion_ood.py --table                         # prints what was written
    python experiments/inversion_ood.py --plot curves.svg               # Fig. 20 and 22, redrawn

An interrupted run goes on where it stopped; finished methods are not trained again.  What differs
from the thesis, beside the sizes in the settings: one split (MNIST's own) instead of 7 folds, 1000
test images instead of 10 000, exact AUROC instead of every 10th threshold, ReAct's percentile of
training images instead of test images, v measured on the averaged encoder after training
(--traced: as in the thesis).  Kuzushiji-MNIST is read from --kmnist; without it, emoji drawn white
on black stand in for it and are called so.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from markdown_tables import table
from matplotlib.figure import Figure as Canvas

from wherefrom import __version__, inversion
from wherefrom.core.saving.store import is_artifact, write_file
from wherefrom.data.altering.mnist_corruptions import near_out
from wherefrom.data.altering.out_sets import OutSet, foreign_images, mnist_out_sets, padded
from wherefrom.data.datasets import TrainingImages, load_training_images
from wherefrom.data.images.writing import to_float
from wherefrom.detectors.energy import energy, react_cap, rectify
from wherefrom.inversion.codes.evaluation import evaluate_inverter
from wherefrom.inversion.outliers.detecting import LikelihoodDetector, ReconstructionDetector
from wherefrom.metrics.detection import auroc
from wherefrom.report.pages.figures import Scheme, dress, legend, render
from wherefrom.report.pages.html import from_data_uri

METHODS = ("dlsgan", "infogan", "msegan", "autoencoder", "classifier")
NEAR, FAR = 0.1, 1.0
PERCENTILES, TEMPERATURES = (0.85, 0.9, 0.95, 1.0), (1.0, 10.0)
REFERENCE = 2000  # training images that fix what a score needs
RESULT = Path("docs/results/inversion_ood.json")
EMOJI = "emoji (for KMNIST)"
DIGITS, CLOTH = "mnist", "fashion-mnist"


def settings(method: str, args: argparse.Namespace) -> inversion.InversionConfig:
    shorter = args.steps // 3 if method in ("autoencoder", "classifier") else args.steps
    return inversion.InversionConfig(
        method=method,
        latent=args.latent,
        width=args.width,
        batch=args.batch,
        steps=max(1, shorter),
        learning_rate=1e-3,
        final_rate=0.21,  # 0.95 to the 30th
        calibration="traced" if args.traced else "averaged",
    )


def trained(
    method: str, digits: TrainingImages, args: argparse.Namespace
) -> inversion.FittedInverter:
    """From the work folder, or trained; a run that was killed continues."""
    place = args.work / f"{method}-{args.seed}"
    if is_artifact(place / "model"):
        known = inversion.load(place / "model")
        if known.config != settings(method, args) or known.provenance["images"] != len(
            digits.images
        ):
            raise SystemExit(f"{place} was trained with other settings; choose another --work")
        return known
    recorder = inversion.Recorder(place, checkpoint_every=250, log_every=25, sample_every=10**9)
    recorder.prepare()
    start = time.process_time()
    fitted = inversion.fit(
        digits.images,
        config=settings(method, args),
        labels=inversion.TrainingLabels(values=digits.labels) if method == "classifier" else None,
        seed=args.seed,
        recorder=recorder,
    )
    fitted.save(place / "model")
    print(f"{method}: trained, {time.process_time() - start:.0f} s of CPU in this run", flush=True)
    return fitted


def out_sets(test: torch.Tensor, rows: Sequence[int], args: argparse.Namespace) -> Iterator[OutSet]:
    foreign = {"Fashion-MNIST": args.data / CLOTH / "t10k-images-idx3-ubyte.gz"}
    if args.kmnist is not None:
        foreign["KMNIST"] = args.kmnist
    yield from mnist_out_sets(test, rows, foreign=foreign, published=args.mnist_c, seed=args.seed)
    if args.kmnist is None:
        drawn = to_float(foreign_images(args.data / "emoji" / "google-64.npz", rows))
        yield OutSet(EMOJI, padded(1 - drawn), False, "emoji, white on black")


def scorer(
    fitted: inversion.FittedInverter, reference: torch.Tensor
) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
    """All scores of one method by the name of their column; images go through its encoder once."""
    if fitted.config.method == "classifier":
        features = fitted.features(reference)
        caps = {p: react_cap(features, p) for p in PERCENTILES}

        def energies(x: torch.Tensor) -> dict[str, torch.Tensor]:
            h = fitted.features(x)
            logits = {p: fitted.logits_of_features(rectify(h, cap)) for p, cap in caps.items()}
            return {
                f"energy t={t:g} p={p:.2f}": energy(logits[p], temperature=t)
                for t in TEMPERATURES
                for p in PERCENTILES
            }

        return energies
    recovered = ReconstructionDetector(fitted)
    if fitted.config.method == "autoencoder":
        return lambda x: {"rec": recovered.score(x)}
    plain = LikelihoodDetector(fitted)
    centre = float(plain.score(reference).mean())

    def scores(x: torch.Tensor) -> dict[str, torch.Tensor]:
        nll = plain.score(x)
        return {"nll": nll, "rec": recovered.score(x), "two-sided": (nll - centre).abs()}

    return scores


def measure(
    fitted: inversion.FittedInverter,
    reference: torch.Tensor,
    test: torch.Tensor,
    labels: torch.Tensor,
    sets: Sequence[OutSet],
) -> dict[str, Any]:
    """AUROC of every score on every set, and the figures of Table 6."""
    own = padded(to_float(test))
    score = scorer(fitted, reference)
    normal = score(own)
    rows = [
        {
            "set": one.name,
            "intensity": intensity,
            "score": column,
            "auroc": auroc(normal[column], seen),
        }
        for one in sets
        for intensity in (NEAR, FAR)
        for column, seen in score(near_out(one.images, own, intensity)).items()
    ]
    found: dict[str, Any] = {"rows": rows}
    probabilities = fitted.classify(own)
    if probabilities is not None:
        right = probabilities.argmax(dim=1) == labels
        found["accuracy"] = float(right.double().mean())
    else:
        keys = [str(index) for index in range(len(own))]
        found["basic"] = evaluate_inverter(fitted, own, keys=keys).to_dict()
    return found


def curve(place: Path) -> list[dict[str, float]]:
    """The run's log: losses, latent entropy and live latents against the step."""
    with (place / "metrics.csv").open(newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def measured(
    method: str, digits: TrainingImages, args: argparse.Namespace, test: TrainingImages,
    rows: list[int], sets: Sequence[OutSet],
) -> dict[str, Any]:  # fmt: skip
    """One method's results, read again where they were measured with the same settings."""
    place = args.work / f"{method}-{args.seed}"
    config = settings(method, args).to_dict()
    identity = {
        "config": config,
        "train": digits.digest,
        "rows": [len(rows), rows[-1]],
        "sets": [s.name for s in sets],
    }
    cached = place / "measured.json"
    if cached.exists():
        known: dict[str, Any] = json.loads(cached.read_text())
        if known["identity"] == identity:
            return known
    fitted = trained(method, digits, args)
    spread = torch.arange(REFERENCE) * len(digits.images) // REFERENCE
    reference = to_float(digits.images[spread])
    assert test.labels is not None  # noqa: S101 (MNIST comes with labels; this is no library code)
    found = {
        "identity": identity,
        **measure(fitted, reference, test.images[rows], test.labels[rows], sets),
        "curve": curve(place),
    }
    write_file(cached, json.dumps(found).encode())
    return found


def columns_of(result: dict[str, Any]) -> list[tuple[str, str]]:
    seen = [(m, r["score"]) for m, found in result["methods"].items() for r in found["rows"]]
    return list(dict.fromkeys(seen))


def print_tables(result: dict[str, Any]) -> None:
    """Table 5, near above far, with the means of each half; then Table 6."""
    columns = columns_of(result)
    for intensity, name in ((NEAR, "near"), (FAR, "far")):
        values = {
            (method, row["score"], row["set"]): 100 * row["auroc"]
            for method, found in result["methods"].items()
            for row in found["rows"]
            if row["intensity"] == intensity
        }
        sets = list(dict.fromkeys(key[2] for key in values))
        lines = [[s, *(f"{values[m, c, s]:.2f}" for m, c in columns)] for s in sets]
        means = [sum(values[m, c, s] for s in sets) / len(sets) for m, c in columns]
        lines.append([f"mean, {name}", *(f"{mean:.2f}" for mean in means)])
        print(table([f"AUROC x 100, {name}", *(f"{m} {c}" for m, c in columns)], lines))
    lines = []
    for method, found in result["methods"].items():
        basic = found.get("basic")
        if basic is None:
            lines.append([method, "", "", "", f"{found['accuracy']:.4f}"])
        else:
            lines.append(
                [
                    method,
                    f"{basic['frechet_distance']:.4f}",
                    f"{basic['real']['psnr']:.2f}",
                    f"{basic['real']['ssim']:.3f}",
                    "",
                ]
            )
    print(table(["method", "FD (random-conv-1)", "PSNR", "SSIM", "accuracy"], lines))


def draw_curves(result: dict[str, Any], path: Path) -> None:
    """Encoder loss (Fig. 20) and latent entropy in nats (Fig. 22) of the GANs against the step."""
    curves = {m: f["curve"] for m, f in result["methods"].items() if "encoder" in f["curve"][0]}
    colours = ("own", "other", "accent")

    def draw(canvas: Canvas, scheme: Scheme) -> None:
        axes = canvas.subplots(1, 2)
        for (method, rows), colour in zip(curves.items(), colours, strict=False):
            steps = [row["step"] for row in rows]
            for ax, key in zip(axes, ("encoder", "entropy"), strict=True):
                values = [row[key] for row in rows]
                ax.plot(steps, values, label=method, color=getattr(scheme, colour))
                ax.set_xlabel("step")
                ax.set_ylabel({"encoder": "encoder loss", "entropy": "latent entropy, nats"}[key])
        axes[0].set_ylim(-0.5, 2)  # InfoGAN's begins far above
        legend(axes[0], scheme)
        dress(list(axes), scheme)

    write_file(path, from_data_uri(render(draw, height=3.6)[0]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with mnist/, fashion-mnist/, emoji/")
    parser.add_argument("--kmnist", type=Path, help="t10k-images-idx3-ubyte.gz of KMNIST")
    parser.add_argument("--mnist-c", type=Path, help="the published MNIST-C, instead of ours")
    parser.add_argument("--work", type=Path, default=Path("build/inversion-ood"))
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--train", type=int, default=60_000, help="training images")
    parser.add_argument("--test", type=int, default=1000, help="test images, and of each set")
    parser.add_argument("--steps", type=int, default=6000, help="of a GAN; a third for the others")
    parser.add_argument("--width", type=int, default=16, help="channels at full size; thesis: 128")
    parser.add_argument("--latent", type=int, default=64, help="thesis: 256")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--traced", action="store_true", help="v as traced in training")
    parser.add_argument("--table", action="store_true", help="print the tables of --out and stop")
    parser.add_argument("--plot", type=Path, help="draw the curves of --out and stop")
    args = parser.parse_args()
    if args.table or args.plot is not None:
        result = json.loads(args.out.read_text())
        if args.table:
            print_tables(result)
        if args.plot is not None:
            draw_curves(result, args.plot)
        return
    if args.data is None:
        parser.error("give --data")
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    digits = load_training_images(
        args.data / DIGITS / "train-images-idx3-ubyte.gz", size=32, channels=1, limit=args.train
    )
    test = load_training_images(
        args.data / DIGITS / "t10k-images-idx3-ubyte.gz", size=28, channels=1
    )
    rows = [row * len(test.images) // args.test for row in range(args.test)]
    sets = list(out_sets(test.images[rows], rows, args))
    print(f"{len(sets)} sets of {len(rows)} images made", flush=True)
    result = {
        "command": "python experiments/inversion_ood.py --data DATA",
        "settings": {
            key: getattr(args, key)
            for key in ("train", "test", "steps", "width", "latent", "batch", "seed", "traced")
        },
        "versions": {"wherefrom": __version__, "torch": torch.__version__},
        "data": {"train": digits.digest, "test": test.digest},
        "sets": [{"name": s.name, "paired": s.paired, "origin": s.origin} for s in sets],
        "methods": {},
    }
    for method in args.methods:
        result["methods"][method] = measured(method, digits, args, test, rows, sets)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_file(args.out, json.dumps(result, indent=1).encode())  # what is done so far
    print_tables(result)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
