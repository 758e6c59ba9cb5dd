"""The tables of docs/inversion.md, from docs/results/inversion_*."""

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


def _by_name() -> dict[str, list[dict[str, Any]]]:
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in load("inversion_gaussians")["runs"]:
        runs[run["name"]].append(run)
    return runs


def _given_table(names: dict[str, str]) -> str:
    runs = _by_name()
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
    for name, runs in _by_name().items():
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


def digits_table() -> str:
    """Fig. 17 to 20, at the end of the run."""
    found = load("inversion_digits")
    s = found["settings"]
    rows = []
    for name, m in found["methods"].items():
        rows.append(
            [
                f"{name}; {m['curve'][-1]['step']:,.0f} steps",
                f"{m['encoder_loss']:.3f}",
                *(f"{m[kind]['psnr']:.1f}" for kind in ("fake", "real")),
                *(str(m[key]) for key in ("above_half", "above_tenth")),
                f"{m['frechet_distance']:.2f}",
                *(f"{m[key]:.2f}" for key in ("precision", "recall")),
            ]
        )
    title = f"{s['source']}, {s['side']} px, {s['train']:,} images"
    head = [
        f"{title}, width {s['width']}, seed {s['seed']}",
        "L_enc",
        "PSNR, generated",
        "PSNR, unseen",
        "v above .5",
        f"above .1, of {s['latent']}",
    ]
    return table([*head, "FD (random-conv-1)", "precision", "recall"], rows)


def entropy_table() -> str:
    """Fig. 20 and 22: the course of L_enc and of the latent entropy."""
    found = load("inversion_digits")
    s, methods = found["settings"], found["methods"]
    steps = [row["step"] for row in next(iter(methods.values()))["curve"]]
    chosen = [step for step in steps if step % 250 == 0] or steps
    rows = []
    for name, m in methods.items():
        by_step = {row["step"]: row for row in m["curve"]}
        for key, told in (("encoder", "L_enc in training"), ("entropy", "entropy, nats")):
            if key in m["curve"][-1]:
                cells = [by_step[step][key] if step in by_step else None for step in chosen]
                shown = ["" if c is None else f"{c:.3g}" for c in cells]
                rows.append([f"{name}: {told}", *shown])
    return table(
        [f"{s['source']}, {s['side']} px; step", *(f"{step:,.0f}" for step in chosen)], rows
    )


TABLES = {
    "inversion_given": gaussians_given_table,
    "inversion_shifted": gaussians_shifted_table,
    "inversion_found": gaussians_found_table,
    "inversion_digits": digits_table,
    "inversion_course": entropy_table,
}
