"""Inversion on digits, Section 4.2 of the thesis in small: Fig. 17 to 20, and 22.

    python experiments/inversion_digits.py                          # scikit-learn's, 8 px
    python experiments/inversion_digits.py --data ../shared/data    # MNIST, 16 px
    python experiments/inversion_digits.py --runs vaegan gan --seeds 3

Far smaller than the thesis (256 px, 625,000 steps): scikit-learn's 1797 digits of 8 px, the last
300 to test; or 8000 digits of MNIST's test set at 16 px, its last 1000 to test.  16 channels at
full size.  Every run is kept in --work, and an interrupted one goes on where it stopped.
`dlsgan, plain` is the step as Algorithm 2 has it: the penalty in every step, float32, real and
generated images apart.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from wherefrom import __version__, inversion
from wherefrom.core.saving.store import digest_tensors, write_file
from wherefrom.data.datasets import load_training_images
from wherefrom.data.images.writing import to_float
from wherefrom.inversion.codes.evaluation import evaluate_inverter

PLAIN = {"penalty_every": 1, "precision": "fp32", "fused": False, "channels_last": False}
RUNS = {
    "dlsgan": {"method": "dlsgan"},
    "msegan": {"method": "msegan"},
    "infogan": {"method": "infogan"},
    "gan": {"method": "gan"},
    "pvdgan": {"method": "pvdgan"},
    "vaegan": {"method": "vaegan"},
    "dlsgan, plain": {"method": "dlsgan", **PLAIN},
    "dlsgan, gain 1": {"method": "dlsgan", "gain": 1.0},
}


Labelled = tuple[torch.Tensor, torch.Tensor]


def digits_and_labels(data: Path | None) -> tuple[Labelled, Labelled, str]:
    """To train on and to test with, uint8 (N, 1, S, S) and the digits int64 (N,); what they are."""
    if data is not None:
        source = data / "mnist" / "t10k-images-idx3-ubyte.gz"
        found = load_training_images(source, size=16, channels=1)
        assert found.labels is not None  # noqa: S101 (MNIST comes with labels)
        images, labels = found.images, found.labels
        return (images[:8000], labels[:8000]), (images[-1000:], labels[-1000:]), "MNIST"
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (torch.from_numpy(bunch.images)[:, None] * 255 / 16).round().byte()  # 0 to 16
    labels = torch.from_numpy(bunch.target).long()
    name = "scikit-learn's digits"
    return (images[:-300], labels[:-300]), (images[-300:], labels[-300:]), name


def digits(data: Path | None) -> tuple[torch.Tensor, torch.Tensor, str]:
    """Images to train on and to test with, uint8 (N, 1, S, S), and what they are."""
    (train, _), (test, _), name = digits_and_labels(data)
    return train, test, name


def trained(
    name: str, seed: int, images: torch.Tensor, args: argparse.Namespace
) -> tuple[inversion.FittedInverter, list[dict[str, float]]]:
    """The model and its log; trained so far as it is not."""
    config = inversion.InversionConfig(
        latent=args.latent,
        width=args.width,
        batch=args.batch,
        steps=args.steps,
        learning_rate=2e-3,
        calibration_samples=4096,
        **RUNS[name],
    )
    place = args.work / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    recorder = inversion.Recorder(place, checkpoint_every=100, sample_every=500, log_every=50)
    fitted = inversion.fit(images, config=config, seed=seed, recorder=recorder)
    with recorder.metrics.open(newline="") as file:
        log = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    return fitted, log


def measure(fitted: inversion.FittedInverter, test: torch.Tensor) -> dict[str, Any]:
    """The figures of Section 4.2, of unseen digits and of generated ones."""
    keys = [str(index) for index in range(len(test))]
    spectrum = fitted.trace.sort(descending=True).values
    return {
        **evaluate_inverter(fitted, test, keys=keys).to_dict(),
        "spectrum": [round(float(v), 4) for v in spectrum],
        "above_half": int((spectrum > 0.5).sum()),
        "above_tenth": int((spectrum > 0.1).sum()),
    }


def arguments(doc: str | None, name: str, runs: Iterable[str], *, steps: int) -> argparse.Namespace:
    """The command line of an experiment on digits."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with mnist/")
    parser.add_argument("--work", type=Path, default=Path(f"build/inversion-{name}"))
    parser.add_argument("--out", type=Path, default=Path(f"docs/results/inversion_{name}.json"))
    parser.add_argument("--runs", nargs="+", choices=list(runs), default=list(runs))
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--width", type=int, default=16, help="channels at full size")
    parser.add_argument("--latent", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=2)
    return parser.parse_args()


def write_result(
    args: argparse.Namespace,
    name: str,
    images: tuple[torch.Tensor, torch.Tensor, str],
    runs: list[dict[str, Any]],
) -> None:
    """What is done so far, with the settings; `images` to train on, to test with, what they are."""
    train, test, source = images
    settings = {key: getattr(args, key) for key in ("steps", "width", "latent", "batch")}
    sizes = {"train": len(train), "test": len(test), "side": train.shape[-1], "source": source}
    result = {
        "command": f"python experiments/inversion_{name}.py"
        + (" --data DATA" if args.data else ""),
        "settings": settings | sizes,
        "versions": {"wherefrom": __version__, "torch": torch.__version__},
        "data": digest_tensors({"train": train, "test": test}),
        "runs": runs,
    }
    write_file(args.out, json.dumps(result, indent=1).encode())


def main() -> None:
    args = arguments(__doc__, "digits", RUNS, steps=1500)
    torch.set_num_threads(1)
    train, test, source = digits(args.data)
    runs: list[dict[str, Any]] = []
    for seed, name in itertools.product(range(args.seeds), args.runs):
        start = time.process_time()
        fitted, log = trained(name, seed, train, args)
        runs.append({"name": name, "seed": seed, "curve": log, **measure(fitted, to_float(test))})
        found = {k: v for k, v in runs[-1].items() if k not in ("curve", "spectrum")}
        print(f"{time.process_time() - start:.0f} s of CPU, {found}", flush=True)
        write_result(args, "digits", (train, test, source), runs)


if __name__ == "__main__":
    main()
