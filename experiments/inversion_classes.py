"""Classes of digits that CGPGAN finds, with and without a codebook, and AEDLSGAN's edits.

    python experiments/inversion_classes.py                          # scikit-learn's, 8 px
    python experiments/inversion_classes.py --data ../shared/data    # MNIST, 16 px

Sections 4.5.2, 4.5.4 and 4.2.3 of the thesis in small: Fig. 43 to 46 and Table 4.  The digits are
those of `inversion_digits.py`.  The attributes of AEDLSGAN are measured in each image and not
given by people: `bold` (mean brightness) and `slanted` (covariance of column and row of the ink),
each above its median over the training images.  An edit counts where the *edited image*, measured
again, lies on the wanted side of that median; the images are not trained on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from typing import Any

import torch
from inversion_digits import arguments, digits_and_labels, write_result
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from wherefrom import inversion
from wherefrom.core.saving.store import digest_tensors, write_file
from wherefrom.data.images.writing import to_float
from wherefrom.inversion.classes.clusters import DEAD
from wherefrom.inversion.codes.editing import edit_attribute
from wherefrom.inversion.codes.evaluation import evaluate_inverter

ATTRIBUTES = ("bold", "slanted")
RUNS: dict[str, dict[str, Any]] = {
    "aedlsgan": {"method": "aedlsgan"},
    "cgpgan 1": {"class_penalty": 1.0},
    "cgpgan 10": {"class_penalty": 10.0},
    "cgpgan 50": {"class_penalty": 50.0},
    "cgpgan 10, codebook": {"class_penalty": 10.0, "codebook": True},
    "cgpgan 0, codebook": {"class_penalty": 0.0, "codebook": True},
    "infogan-classes": {"method": "infogan-classes", "classes": 10},
}


def brightness(images: Tensor) -> Tensor:
    """Mean brightness of (N, 1, S, S): (N,)."""
    return images.double().mean(dim=(1, 2, 3))


def slant(images: Tensor) -> Tensor:
    """Covariance of column and row of the ink, in pixels squared; larger leans to the left."""
    ink = images[:, 0].double()
    ink = ink / ink.sum(dim=(1, 2), keepdim=True).clamp_min(1e-9)
    at = torch.arange(images.shape[-1], dtype=torch.float64)
    row = (ink.sum(dim=2) * at).sum(dim=1)
    column = (ink.sum(dim=1) * at).sum(dim=1)
    return torch.einsum("nrc,r,c->n", ink, at, at) - row * column


def measured_attributes(images: Tensor) -> Tensor:
    """(N, 1, S, S) float in [0, 1] -> (N, 2), in the order of `ATTRIBUTES`."""
    return torch.stack([brightness(images), slant(images)], dim=1)


def classes_found(
    fitted: inversion.FittedInverter, images: Tensor, digits: Tensor
) -> dict[str, Any]:
    """Living classes, and how they agree with the digits, which nobody told the model."""
    probabilities = fitted.classify(images)
    assert probabilities is not None  # noqa: S101 (every method here sorts)
    chosen = probabilities.argmax(dim=1)
    counts = torch.zeros(probabilities.shape[1], 10)
    counts.index_put_((chosen, digits), torch.ones(len(digits)), accumulate=True)
    return {
        "living": int((fitted.prior[0] >= DEAD).sum()),
        "prior": sorted((round(float(p), 4) for p in fitted.prior[0]), reverse=True),
        "used": int((counts.sum(dim=1) > 0).sum()),
        "purity": float(counts.max(dim=1).values.sum() / len(digits)),
        "mutual_information": float(normalized_mutual_info_score(digits, chosen)),
    }


def edits(fitted: inversion.FittedInverter, images: Tensor, middle: Tensor) -> list[dict[str, Any]]:
    """For each attribute, of images on the other side: how many end on the wanted one."""
    found = []
    recovered = measured_attributes(fitted.reconstruct(images)) > middle
    before = measured_attributes(images) > middle
    for label, name in enumerate(ATTRIBUTES):
        other = 1 - label
        rows = (before[:, label] == recovered[:, label]).nonzero()[:, 0].tolist()
        changed = moved = scored = 0
        for row in rows:
            edit = edit_attribute(fitted, images[row], label=label, steps=3)
            to_one = not bool(before[row, label])
            end = -1 if to_one else 0
            after = (measured_attributes(edit.images[end][None]) > middle)[0]
            changed += int(bool(after[label]) is to_one)
            moved += int(bool(after[other]) is not bool(recovered[row, other]))
            scored += int((edit.reached[end] > 0) is to_one)
        found.append(
            {
                "attribute": name,
                "kept_without_edit": len(rows) / len(images),
                "images": len(rows),
                "changed": changed / len(rows),
                "encoder_says_changed": scored / len(rows),
                "other_changed": moved / len(rows),
            }
        )
    return found


def done(
    name: str, seed: int, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor],
    args: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    """The run's figures, from --work where they were made with the same settings."""
    common = {
        "method": "cgpgan",
        "latent": args.latent,
        "width": args.width,
        "batch": args.batch,
        "steps": args.steps,
        "learning_rate": 1e-3,
        "calibration_samples": 4096,
    }
    config = inversion.InversionConfig(**{**common, **RUNS[name]})
    place = args.work / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    identity = {"config": config.to_dict(), "train": digest_tensors({"images": train[0]})}
    kept = place / "measured.json"
    if kept.exists():
        known: dict[str, Any] = json.loads(kept.read_text())
        if known["identity"] == identity:
            return known
    start = time.process_time()
    x, x_test = to_float(train[0]), to_float(test[0])
    middle = measured_attributes(x).median(dim=0).values
    attributes = config.method == "aedlsgan"
    fitted = inversion.fit(
        train[0],
        config=config,
        labels=inversion.TrainingLabels(
            values=(measured_attributes(x) > middle).long(), names=ATTRIBUTES
        )
        if attributes
        else None,
        seed=seed,
        recorder=inversion.Recorder(place, checkpoint_every=100, sample_every=500, log_every=50),
    )
    keys = [str(index) for index in range(len(x_test))]
    found = {"name": name, "seed": seed, "identity": identity}
    found |= evaluate_inverter(fitted, x_test, keys=keys).to_dict()
    if attributes:
        found["edits"] = edits(fitted, x_test, middle)
    else:
        found |= classes_found(fitted, x_test, test[1])
    found["seconds"] = time.process_time() - start
    write_file(kept, json.dumps(found).encode())
    print({k: v for k, v in found.items() if k not in ("identity", "detection")}, flush=True)
    return found


def main() -> None:
    args = arguments(__doc__, "classes", RUNS, steps=3000)
    torch.set_num_threads(1)
    train, test, source = digits_and_labels(args.data)
    runs = []
    for seed, name in itertools.product(range(args.seeds), args.runs):
        figures = dict(done(name, seed, train, test, args))
        figures.pop("identity")
        runs.append(figures)
        write_result(args, "classes", (train[0], test[0], source), runs)


if __name__ == "__main__":
    main()
