"""The tables and the plot of docs/anomaly-results.md, from docs/results/anomaly_*."""

from __future__ import annotations

import csv
import io
import statistics
from collections import defaultdict
from typing import Any

import matplotlib as mpl
from markdown_tables import RESULTS, load, table
from matplotlib.figure import Figure

from wherefrom.anomaly.paper.reproduce import PUBLISHED_TESTS

COLOURS = ("#1c2330", "#9aa4b5", "#d9822b", "#c0504d", "#7a5ea8", "#1f5fa8")
SCORES = {"as_i": "AS-i", "vulnerability": "V", "joint": "direction-free"}


def _name(row: dict[str, Any]) -> str:
    return "other real images" if row["name"] == "real-other" else f"{int(row['name']):,} steps"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _by_stage(row: dict[str, Any]) -> int:
    return -1 if row["name"] == "real-other" else -int(row["name"])


def stages_table(name: str = "anomaly_stages") -> str:
    rows = []
    for seed in load(name)["seeds"]:
        for row in sorted(seed["rows"], key=lambda r: (r["name"] != "real-other", _by_stage(r))):
            c, v = row["complexity"], row["vulnerability"]
            rows.append(
                [
                    f"{seed['seed']}: {_name(row)}",
                    f"{row['anomaly_score']:.3f} [{row['low']:.3f}, {row['high']:.3f}]",
                    _p(row["p_value"]),
                    seed["letters"][row["name"]],
                    *(f"{100 * (m['generated'] / m['real'] - 1):+.1f} %" for m in (c, v)),
                    *(f"{row['metrics']['frechet_distance']:.1f}",),
                    *(f"{row['metrics'][k]:.2f}" for k in ("precision", "recall", "coverage")),
                ]
            )
    head = ["seed: images", "AS [95 %]", "p, each by itself", "told apart", "C", "V"]
    return table([*head, "FD", "precision", "recall", "coverage"], rows)


def stage_images_table() -> str:
    cells: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    result = load("anomaly_stages")
    for seed in result["seeds"]:
        for row in sorted(seed["rows"], key=lambda r: (r["name"] != "real-other", _by_stage(r))):
            for score in SCORES:
                cells[_name(row)][f"auc {score}"].append(row["auc"][score])
                cells[_name(row)][f"flagged {score}"].append(row["flagged"][score])
    rows = [
        [name, *(_range(values[f"auc {s}"], 2) for s in SCORES)]
        + [_range([100 * v for v in values[f"flagged {s}"]], 0) for s in SCORES]
        for name, values in cells.items()
    ]
    head = ["images", *(f"AUC {s}" for s in SCORES.values())]
    return table([*head, *(f"flagged by {s}, %" for s in SCORES.values())], rows)


def _range(values: list[float], digits: int) -> str:
    """Each training seed's value; one if they agree."""
    shown = [f"{value:.{digits}f}" for value in values]
    return " / ".join(shown) if len(set(shown)) > 1 else shown[0]


def order_table() -> str:
    names = {
        "anomaly_score": "AS",
        "frechet_distance": "Fréchet distance",
        "kernel_distance": "kernel distance",
    }
    seeds = load("anomaly_stages")["seeds"]
    rows = [[text, *(f"{s['kendall'][key]:+.2f}" for s in seeds)] for key, text in names.items()]
    return table(["Kendall's tau with the steps", *(f"seed {s['seed']}" for s in seeds)], rows)


def damage_table() -> str:
    sets = load("anomaly_damage")["sets"]
    first = next(iter(sets.values()))["rows"]
    rows = []
    for place, head in enumerate(first):
        line = [f"{head['corruption']} {head['grade']}"]
        for check in sets.values():
            row = check["rows"][place]
            low, high = row["interval"]
            line += [f"{row['auc']['as_i']:.2f} [{low:.2f}, {high:.2f}]"]
            line += [f"{row['auc'][name]:.2f}" for name in ("vulnerability", "joint")]
        rows.append(line)
    mean = ["**mean**"]
    for check in sets.values():
        low, high = check["intervals"]["as_i"]
        mean += [f"{check['mean']['as_i']:.2f} [{low:.2f}, {high:.2f}]"]
        mean += [f"{check['mean'][name]:.2f}" for name in ("vulnerability", "joint")]
    head = [f"{name}: {s}" for name in sets for s in ("AS-i", "V", "direction-free")]
    return table(["damage and grade", *head], [*rows, mean])


def speed_table() -> str:
    result = load("anomaly_speed")
    rows = [
        [
            f"FD, 2 x {r['images']:,} images, {r['features']:,} features",
            f"{r['square_root_seconds']:.3g} s",
            f"{r['seconds']:.3g} s",
            f"{r['times_faster']:.0f}x faster",
        ]
        for r in result["frechet"]
    ]
    s = result["scores"]
    rows.append(
        [
            f"scores of one image, {s['encoder']}, {s['resolution']} px",
            f"the passes needed: {s['needed_forward_equivalents']:.0f} forwards",
            f"{s['forward_equivalents']:.0f} forwards ({s['images_per_second']:.2g} images/s)",
            f"{s['overhead']:.2f}x the cost",
        ]
    )
    return table(["what", "reference", "ours", "ratio"], rows)


def paper_grid_table() -> str:
    """Tab. B.1: means of C and V, measured and published."""
    result = load("anomaly_paper")
    rows = []
    for name in dict.fromkeys(row["generator"] for row in result["grid"]):
        for row in (r for r in result["grid"] if r["generator"] == name):
            c, v = row["complexity"], row["vulnerability"]
            paper = row["published_B1"]
            rows.append(
                [
                    f"{name}, ε = α = {row['epsilon_and_alpha']:g}, K = J = {row['K_and_J']}",
                    f"{c['real']:.3f} / {c['generated']:.3f}",
                    f"{paper[0]:.3f} / {paper[1]:.3f}",
                    f"{v['real']:.2f} / {v['generated']:.2f}",
                    f"{paper[2]:.2f} / {paper[3]:.2f}",
                ]
            )
    head = ["generator and setting", "C, real / generated", "paper: C", "V, real / generated"]
    return table([*head, "paper: V"], rows)


def paper_tests_table() -> str:
    """Tab. C.1 and E.1: the t-tests measured, and below them those published."""
    result = load("anomaly_paper")
    size = result["resolution"]
    rows = []
    for row in result["grid"]:
        if (row["epsilon_and_alpha"], row["K_and_J"]) != (0.01, 10):
            continue
        line = [f"measured: CIFAR10, {row['generator']}, EfficientNet-Lite0 at {size} px"]
        for test, digits in ((row["complexity"], 4), (row["vulnerability"], 2)):
            one = f"{test['p_one']:.3g}" if test["as_expected"] else "-"
            line.append(f"{test['real']:.{digits}f} / {test['generated']:.{digits}f}")
            line.append(f"{one} (two-tailed {test['p_two']:.2g})")
        rows.append(line)
    for paper in PUBLISHED_TESTS:
        line = [f"Tab. {paper.table}: {paper.data}, {paper.generator}, {paper.network}"]
        for means, p, digits in (
            (paper.complexity, paper.complexity_p, 4),
            (paper.vulnerability, paper.vulnerability_p, 2),
        ):
            line += [" / ".join(f"{mean:.{digits}f}" for mean in means)]
            line += [f"(two-tailed {p})" if paper.two_tailed else p]
        rows.append(line)
    return table(
        ["images and network", "C, real / generated", "p", "V, real / generated", "p"], rows
    )


def fast_table() -> str:
    """Photographs: what each setting costs, and how far it orders images as a long run does."""
    rows = [
        [
            f"`{row['preset']}`, {row['resolution']} px",
            f"{row['seconds']:.2f}",
            f"{row['times_faster']:.1f}x",
            f"{row['spearman_c']:.2f}",
            f"{row['spearman_v']:.2f}",
        ]
        for row in load("anomaly_fast")["rows"]
    ]
    return table(["settings", "s per image", "faster", "C: Spearman", "V: Spearman"], rows)


def stages_plot() -> str:
    """SVG: AS against the steps, and the mean of C and V with their clouds."""
    seeds = load("anomaly_stages")["seeds"]
    with mpl.rc_context({"svg.hashsalt": "wherefrom", "font.size": 9}):
        canvas = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = canvas.subplots(1, 2)
        for seed, colour in zip(seeds, ("#1f5fa8", "#d9822b", "#7a5ea8"), strict=False):
            rows = sorted(
                (r for r in seed["rows"] if r["name"] != "real-other"), key=lambda r: int(r["name"])
            )
            steps, score = [int(r["name"]) for r in rows], [r["anomaly_score"] for r in rows]
            around = [[r["anomaly_score"] - r["low"] for r in rows]]
            around.append([r["high"] - r["anomaly_score"] for r in rows])
            around = [[max(0.0, value) for value in side] for side in around]
            left.errorbar(
                steps,
                score,
                around,
                color=colour,
                marker="o",
                capsize=3,
                label=f"seed {seed['seed']}",
            )
        other = next(r for r in seeds[0]["rows"] if r["name"] == "real-other")
        left.axhline(other["anomaly_score"], color="#5b6577", ls="--", label="other real images")
        left.set(xscale="log", xlabel="steps of training", ylabel="AS")
        left.legend(frameon=False)
        for (name, points), colour in zip(_points(seeds[0]["seed"]).items(), COLOURS, strict=False):
            c, v = zip(*points, strict=True)
            right.scatter(c, v, s=4, color=colour, alpha=0.35, linewidths=0)
            right.scatter(
                [statistics.median(c)], [statistics.median(v)], color=colour, marker="D", label=name
            )
        right.set(xlabel="complexity C, radians", ylabel="vulnerability V", yscale="log")
        right.set_xscale("log")
        right.legend(frameon=False, fontsize=8)
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _points(seed: int) -> dict[str, list[tuple[float, float]]]:
    result: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with (RESULTS / "anomaly_points.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            name = row["set"]
            if name.startswith("stage-") and not name.endswith(f"-seed-{seed}"):
                continue
            label = f"{int(name.split('-')[1]):,} steps" if name.startswith("stage-") else name
            result[label].append((float(row["complexity"]), float(row["vulnerability"])))
    result.pop("real-other", None)
    real = {"real": result.pop("real")}
    return real | dict(
        sorted(result.items(), key=lambda pair: int(pair[0].split()[0].replace(",", "")))
    )


def _interval(values: list[float], digits: int = 2) -> str:
    middle, low, high = (f"{value:+.{digits}f}" for value in values)
    return f"{middle} [{low}, {high}]"


def real_table() -> str:
    """How each measure agrees with the published FID, best first."""
    rows = [
        [
            row["measure"],
            row["network"],
            _interval(row["spearman"]),
            _interval(row["kendall"]),
            f"{row['rightly']} of {row['told apart']}",
        ]
        for row in sorted(load("anomaly_real")["measures"], key=lambda row: -row["kendall"][0])
    ]
    head = ["measure", "network and input", "Spearman [95 %]", "Kendall [95 %]"]
    return table([*head, "pairs told apart that are in order"], rows)


def real_families_table() -> str:
    """The measure that is best without a family, on the pairs of that family."""
    rows = [
        [
            row["family"],
            row["among"],
            ", ".join(reversed(row["chosen"])),
            f"{row['tau without']:+.2f}",
            f"{row['tau on its pairs']:+.2f}",
            str(row["its pairs"]),
        ]
        for row in load("anomaly_real")["left out"]
    ]
    head = ["left out", "among", "chosen without it", "tau without it", "tau on its pairs"]
    return table([*head, "its pairs"], rows)


def real_sets_table() -> str:
    """Each generator: published FID, and some measures."""
    real, broken = load("anomaly_real"), load("anomaly_broken")["generated"]["rows"]
    network = "EfficientNet-Lite0, 96 px"
    values = {
        row["measure"]: row["values"] for row in real["measures"] if row["network"] == network
    }
    seen = {row["name"]: row for row in broken}
    whose = {"checkpoint": "", "method": " (of its paper)"}
    ordered = sorted(real["sets"], key=lambda s: (s["fid"] is None, s["fid"] or 0, s["family"]))
    rows = []
    for source in ordered:
        name = source["name"]
        fid = f"{source['fid']:.1f}{whose[source['of']]}" if source["fid"] else ""
        p = real["p against real"][f"{network}; paper"][name]
        low, high = seen[name]["interval"]
        rows.append(
            [
                name.removeprefix("cifar10_") + (" (JPEG)" if source["jpeg"] else ""),
                source["family"],
                fid,
                f"{values['FD'][name]:.0f}",
                f"{values['KD'][name]:.2f}",
                f"{values['AS, paper'][name]:.2f} ({_p(p)})",
                f"{seen[name]['each']['mixture']:.2f}",
                f"{seen[name]['auc']:.2f} [{low:.2f}, {high:.2f}]",
                f"{100 * seen[name]['flagged']:.0f}",
            ]
        )
    head = ["samples", "family", "published FID", "FD", "KD", "AS (p)", "AUC mixture"]
    return table([*head, "AUC of the test", "flagged at 5 %"], rows)


def broken_table() -> str:
    """AUC of the test of damage, by kind and grade of damage."""
    rows = []
    for name, result in load("anomaly_broken")["damage"].items():
        for row in result["rows"]:
            low, high = row["interval"]
            rows.append(
                [
                    f"{name}: {row['damage']} {row['grade']}",
                    f"{row['auc']:.2f} [{low:.2f}, {high:.2f}]",
                    f"{100 * row['flagged']:.0f}",
                    *(f"{value:.2f}" for value in row["each"].values()),
                    f"{row['without']['auc']:.2f}",
                ]
            )
    head = ["images: damage and grade", "AUC [95 %]", "flagged at 5 %, %"]
    kinds = ["damage", "mixture", "features", "spectrum"]
    return table([*head, *kinds, "without the nearest practice"], rows)


TABLES = {
    "anomaly_real": real_table,
    "anomaly_real_families": real_families_table,
    "anomaly_real_sets": real_sets_table,
    "anomaly_broken": broken_table,
    "anomaly_stages": stages_table,
    "anomaly_224": lambda: stages_table("anomaly_stages_224"),
    "anomaly_images": stage_images_table,
    "anomaly_order": order_table,
    "anomaly_damage": damage_table,
    "anomaly_speed": speed_table,
    "anomaly_paper_grid": paper_grid_table,
    "anomaly_paper_tests": paper_tests_table,
    "anomaly_fast": fast_table,
}
PLOTS = {"anomaly_stages.svg": stages_plot}
