"""The tables of docs/inversion-results.md, from docs/results/inversion_*."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from markdown_tables import load, table

GIVEN = {
    "cagan": "CAGAN",
    "revised-acgan 1": "revised ACGAN, lambda_cls 1",
    "revised-acgan 100": "revised ACGAN, lambda_cls 100",
}
SHIFTED = {
    "shifted cagan": "CAGAN",
    "shifted cagan, mixed": "CAGAN, mixed batches",
    "shifted revised-acgan": "revised ACGAN",
    "shifted revised-acgan, mixed": "revised ACGAN, mixed batches",
}
FOUND = {
    "cgpgan": "CGPGAN, lambda_cgp ",
    "infogan-classes": "InfoGAN, K and P(C) given",
    "elastic-infogan": "Elastic InfoGAN",
}


def _spread(values: Sequence[float], digits: int) -> str:
    """The mean, with the least and the largest of several."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _by_name(file: str) -> dict[str, list[dict[str, Any]]]:
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in load(file)["runs"]:
        runs[run["name"]].append(run)
    return runs


def _given_table(names: dict[str, str]) -> str:
    runs = _by_name("inversion_gaussians")
    rows = [
        [
            f"{told}; {runs[name][0]['steps']:,} steps",
            str(len(runs[name])),
            *(
                _spread([run[key] for run in runs[name]], digits)
                for key, digits in (
                    ("energy_distance", 3),
                    ("centre_error", 3),
                    ("near_boundary", 2),
                )
            ),
        ]
        for name, told in names.items()
        if name in runs
    ]
    head = ["four Gaussians, 128 hidden units", "seeds", "energy distance per class"]
    return table([*head, "error of the class centres", "mass at boundaries, of the real"], rows)


def gaussians_given_table() -> str:
    """Fig. 8."""
    return _given_table(GIVEN)


def gaussians_shifted_table() -> str:
    """Fig. 11."""
    return _given_table(SHIFTED)


def gaussians_found_table() -> str:
    """Fig. 39 to 42, a row per run."""
    rows = []
    for name, runs in _by_name("inversion_gaussians").items():
        method, _, penalty = name.partition(" ")
        if method not in FOUND:
            continue
        for run in runs:
            off = run["largest_error_of_p"]
            rows.append(
                [
                    f"{FOUND[method]}{penalty}; {run['steps']:,} steps",
                    str(run["seed"]),
                    str(len(run["prior"])),
                    " ".join(f"{share:.3f}" for share in sorted(run["prior"], reverse=True)),
                    "" if off is None or method == "infogan-classes" else f"{off:.3f}",
                    f"{run['clusters_matched']} of 4",
                    f"{run['mutual_information']:.3f}",
                ]
            )
    head = ["four Gaussians, 128 hidden units", "seed", "classes", "P(C)", "largest error of P"]
    return table([*head, "clusters with a class of their own", "NMI"], rows)


def _digits(found: dict[str, Any]) -> str:
    s = found["settings"]
    return f"{s['source']}, {s['side']} px, {s['train']:,} images, width {s['width']}"


def digits_table() -> str:
    """Fig. 17 to 20 and 32 to 35, at the end of the run."""
    found = load("inversion_digits")
    rows = []
    for name, runs in _by_name("inversion_digits").items():
        columns = (
            ([m["encoder_loss"] for m in runs], 3),
            ([m["fake"]["psnr"] for m in runs], 1),
            ([m["real"]["psnr"] for m in runs], 1),
            ([m["above_half"] for m in runs], 0),
            ([m["above_tenth"] for m in runs], 0),
            ([m["frechet_distance"] for m in runs], 2),
            ([m["precision"] for m in runs], 2),
            ([m["recall"] for m in runs], 2),
            ([_far_damage(m) for m in runs], 2),
        )
        cells = [_spread(values, digits) for values, digits in columns]
        rows.append([f"{name}; {runs[0]['curve'][-1]['step']:,.0f} steps", str(len(runs)), *cells])
    head = [_digits(found), "seeds", "L_enc", "PSNR, generated", "PSNR, unseen", "v above .5"]
    head.append(f"above .1, of {found['settings']['latent']}")
    head = [*head, "FD (random-conv-1)", "precision", "recall", "AUROC of damage, NLL"]
    return table(head, rows)


def _far_damage(run: dict[str, Any]) -> float:
    """Mean AUROC of the built-in corruptions in full, by the likelihood."""
    return next(float(row["far"]) for row in run["detection"] if row["score"] == "nll")


def entropy_table() -> str:
    """Fig. 20 and 22: the course of L_enc and of the latent entropy, seed 0."""
    found = load("inversion_digits")
    methods = {name: runs[0]["curve"] for name, runs in _by_name("inversion_digits").items()}
    steps = [row["step"] for row in next(iter(methods.values()))]
    chosen = [step for step in steps if step % 250 == 0] or steps
    rows = []
    for name, curve in methods.items():
        by_step = {row["step"]: row for row in curve}
        for key, told in (("encoder", "L_enc in training"), ("entropy", "entropy, nats")):
            if key in curve[-1]:
                cells = [by_step[step][key] if step in by_step else None for step in chosen]
                shown = ["" if c is None else f"{c:.3g}" for c in cells]
                rows.append([f"{name}: {told}", *shown])
    s = found["settings"]
    title = f"{s['source']}, {s['side']} px, seed 0; step"
    return table([title, *(f"{step:,.0f}" for step in chosen)], rows)


def classes_table() -> str:
    """Fig. 43 to 46 in small: classes without labels, against the digits."""
    found = load("inversion_classes")
    rows = []
    for name, runs in _by_name("inversion_classes").items():
        if "purity" in runs[0]:
            keys = (("living", 0), ("purity", 2), ("mutual_information", 2))
            keys = (*keys, ("frechet_distance", 2), ("precision", 2), ("recall", 2))
            cells = [_spread([run[key] for run in runs], digits) for key, digits in keys]
            rows.append([name, str(len(runs)), *cells])
    title = f"{_digits(found)}, {found['settings']['steps']:,} steps; method and lambda_cgp"
    head = [title, "seeds", "classes alive", "purity", "NMI with digits"]
    return table([*head, "FD (random-conv-1)", "precision", "recall"], rows)


def attributes_table() -> str:
    """Table 4 in small: what an edit does to the attribute, measured in the edited image."""
    found = load("inversion_classes")
    runs = [run for run in found["runs"] if "edits" in run]
    rows = []
    for index, first in enumerate(runs[0]["edits"]):
        each = [run["edits"][index] for run in runs]
        keys = ("kept_without_edit", "changed", "encoder_says_changed", "other_changed")
        cells = [_spread([100 * edit[key] for edit in each], 0) for key in keys]
        rows.append([first["attribute"], str(len(runs)), *cells])
    title = f"AEDLSGAN, {_digits(found)}, {found['settings']['steps']:,} steps; % of unseen images"
    head = [title, "seeds", "attribute survives without an edit", "on the wanted side after it"]
    return table([*head, "so by the encoder", "other attribute changed sides"], rows)


OUT_COLUMNS = {
    ("dlsgan", "nll"): "DLSGAN",
    ("infogan", "nll"): "InfoGAN",
    ("msegan", "nll"): "MSEGAN",
    ("dlsgan", "two-sided"): "DLSGAN, two-sided",
    ("dlsgan", "rec"): "DLSGAN, reconstruction",
    ("autoencoder", "rec"): "autoencoder",
    ("classifier", "energy t=1 p=1.00"): "energy",
    ("classifier", "energy t=1 p=0.90"): "energy, ReAct .9",
}


def out_table() -> str:
    """Table 5, near and far in one cell."""
    found = load("inversion_ood")
    values = {
        (method, row["score"], row["set"], row["intensity"]): 100 * row["auroc"]
        for method, figures in found["methods"].items()
        for row in figures["rows"]
    }
    sets = list(dict.fromkeys(key[2] for key in values))
    columns = {key: told for key, told in OUT_COLUMNS.items() if key[0] in found["methods"]}
    near, far = sorted({key[3] for key in values})

    def cell(column: tuple[str, str], names: Sequence[str]) -> str:
        means = [statistics.fmean(values[*column, n, i] for n in names) for i in (near, far)]
        return f"{means[0]:.1f} / {means[1]:.1f}"

    rows = [[name, *(cell(column, [name]) for column in columns)] for name in sets]
    rows.append(["mean", *(cell(column, sets) for column in columns)])
    s = found["settings"]
    title = f"AUROC x 100, near / far; MNIST, 32 px, width {s['width']}, {s['steps']:,} steps"
    return table([f"{title}, seed {s['seed']}", *columns.values()], rows)


TABLES = {
    "inversion_given": gaussians_given_table,
    "inversion_shifted": gaussians_shifted_table,
    "inversion_found": gaussians_found_table,
    "inversion_digits": digits_table,
    "inversion_course": entropy_table,
    "inversion_classes": classes_table,
    "inversion_attributes": attributes_table,
    "inversion_out": out_table,
}
