"""The tables of docs/attribution-results.md, from docs/results."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

from markdown_tables import RESULTS, load, percent, table

METHODS = {"flipad": "FLIPAD", "raw-pad": "RawPAD", "dct-pad": "DCTPAD"}
OTHER_MODELS = (
    "photographs", "DCGAN, student", "DCGAN, distilled", "DCGAN, further trained",
    "DCGAN, fine-tuned", "TAEF2", "ESRGAN-slim", "zoo's DCGAN",
)  # fmt: skip
NAMES = {"dcgan": "DCGAN", "wgan-gp": "WGAN-GP", "lsgan": "LSGAN", "ebgan": "EBGAN"}
DEFAULTS = ("FLIPAD, default", "Patches, default")


def _repetition_means(found: dict[str, Any], owner: str, method: str, other_seed: bool) -> str:
    values = [
        c
        for c in found["cells"]
        if c["owner"] == owner
        and c["method"] == method
        and (c["source"] == "other seed") is other_seed
    ]
    if not values:
        return ""
    count = len(values[0]["accuracy"])
    per_repetition = [statistics.fmean(c["accuracy"][i] for c in values) for i in range(count)]
    return percent(per_repetition)


def attribution_table(other_seed: bool) -> str:
    found = load("table_1_2")
    owners = list(dict.fromkeys(c["owner"] for c in found["cells"]))
    methods = list(dict.fromkeys(c["method"] for c in found["cells"]))
    rows = [
        [m, *(_repetition_means(found, owner, m, other_seed) for owner in owners)] for m in methods
    ]
    return table(["accuracy, %", *(NAMES[o] for o in owners)], rows)


def patches_table() -> str:
    """The defaults of both methods by owner: all five sources together, and the hardest of them."""
    cells = load("table_1_2")["cells"]
    rows = []
    for owner, method in itertools.product(dict.fromkeys(c["owner"] for c in cells), DEFAULTS):
        mine = [c for c in cells if (c["owner"], c["method"]) == (owner, method)]
        if not mine:
            continue
        mean = [
            statistics.fmean(values) for values in zip(*(c["accuracy"] for c in mine), strict=True)
        ]
        hardest = min(mine, key=lambda c: statistics.fmean(c["accuracy"]))
        rows.append(
            [
                f"{NAMES[owner]}: {method}",
                percent(mean),
                NAMES.get(hardest["source"], hardest["source"]),
                *(percent(hardest[measure]) for measure in ("accuracy", "auroc", "own_rejected")),
            ]
        )
    return table(
        [
            "owner: method",
            "mean accuracy",
            "hardest source",
            "its accuracy",
            "its AUROC",
            "own rejected",
        ],
        rows,
    )


def detail_table() -> str:
    found = load("table_1_2")
    rows = [
        [
            f"{NAMES[c['owner']]}: {c['method']}",
            NAMES.get(c["source"], c["source"]),
            *(percent(c[k]) for k in ("accuracy", "auroc", "own_rejected")),
        ]
        for c in found["cells"]
    ]
    return table(["owner: method", "source", "accuracy", "AUROC", "own rejected"], rows)


def siblings_table() -> str:
    """Share called "made by this model" with the guard and without it, by owner and source."""
    rows = _siblings_rows("attribution_siblings", "")
    if (RESULTS / "attribution_siblings_patches.json").exists():
        rows += _siblings_rows("attribution_siblings_patches", "Patches: ")
    columns = [
        f"{who}, {how}"
        for who in ("own", "other seed", "six rivals")
        for how in ("unguarded", "guarded")
    ]
    return table(["called own, %; owner", *columns], rows)


def _siblings_rows(name: str, head: str) -> list[list[str]]:
    rows = []
    for owner, found in load(name)["owners"].items():
        kind = owner.rsplit("-", 1)[0]
        sources = found["sources"]
        seeds = [name for name in sources if name.rsplit("-", 1)[0] == kind]
        rivals = [name for name in sources if name not in ("own", *seeds)]
        row = [f"{head}{owner}{'¹' if found['development'] else ''}"]
        for names in (["own"], seeds, rivals):
            for judged in ("unguarded", "guarded"):
                shares = [sources[name][judged] for name in names]
                most = f" (at most {100 * max(shares):.1f})" if len(shares) > 1 else ""
                row.append(f"{100 * statistics.fmean(shares):.1f}{most}")
        rows.append(row)
    return rows


def solver_table() -> str:
    """AUROC by solver and weight of the l1 term, and what the activations are like."""
    cells = [c for c in load("attribution_solver")["cells"] if c["table"] == "solver"]
    rows = []
    for effort, lam in dict.fromkeys((c["effort"], c["lambda"]) for c in cells):
        mine = [c["found"] for c in cells if (c["effort"], c["lambda"]) == (effort, lam)]
        sources = [s for s in mine[0]["sources"] if s != "own"]
        solver = effort if effort == "certified" else f"{effort} iterations"
        rows.append(
            [
                f"{solver}, λ = {lam:g}",
                *(percent([m["sources"][s]["auroc"] for m in mine]) for s in sources),
                percent([m["not zero"] for m in mine]),
                f"{statistics.fmean(m['objective'] for m in mine):.3g}",
            ]
        )
    columns = [f"AUROC, {s}" for s in sources]
    return table(["solver", *columns, "entries not zero, %", "objective / least"], rows)


def detector_table() -> str:
    """AUROC and share rejected of Deep SAD, the classifier and both, by their negatives."""
    cells = [c["found"] for c in load("attribution_solver")["cells"] if c["table"] == "detector"]
    sources = [s for s in next(iter(cells[0].values())) if s != "own"]
    rows = [
        [
            title,
            *(percent([c[title][s]["auroc"] for c in cells]) for s in sources),
            *(percent([c[title][s]["rejected"] for c in cells]) for s in ("own", *sources)),
        ]
        for title in cells[0]
    ]
    columns = [f"AUROC, {s}" for s in sources] + [f"rejected, {s}" for s in ("own", *sources)]
    return table(["detector; its negatives", *columns], rows)


def rows_table() -> str:
    """FLIPAD's Table 5: accuracy by source, over repetitions."""
    cells = load("attribution_rows")["cells"]
    methods = list(dict.fromkeys(c["method"] for c in cells))
    sources = list(cells[0]["sources"])
    rows = []
    for method in methods:
        mine = [c for c in cells if c["method"] == method]
        judged = [percent([c["sources"][s]["accuracy"] for c in mine]) for s in sources]
        rows.append([method, *judged, percent([c["own rejected"] for c in mine])])
    return table(["accuracy, %", *sources, "own rejected"], rows)


def grey_table() -> str:
    """FLIPAD's Table 4, medical models: accuracy by source over repetitions, mean AUROC."""
    found = load("attribution_grey")["rows"]
    sources = list(found[0]["accuracy"])
    rows = [
        [
            r["recipe"],
            *(percent(r["accuracy"][source]["values"]) for source in sources),
            *(percent(r[measure]["values"]) for measure in ("mean_auroc", "own_rejected")),
        ]
        for r in found
    ]
    return table(["accuracy, %", *sources, "mean AUROC", "own rejected"], rows)


def third_parties_table() -> str:
    """Share of each source that is rejected, and AUROC, by owner and method."""
    found = load("third_parties")["rows"]
    rates = [key for key in found[0] if key.startswith("rejected")]
    rows = [
        [
            f"{r['owner']}: {r['method']}",
            r["source"],
            *(percent(r[rate]) for rate in rates),
            "" if r["auroc"][0] is None else percent(r["auroc"]),
        ]
        for r in found
    ]
    return table(["owner: method", "source", *rates, "AUROC"], rows)


def altered_table(name: str) -> str:
    """The DCGAN of faces on altered images: shares rejected and AUROC, by alteration."""
    cells = load(name)["cells"]
    names, rates = list(dict.fromkeys(c["alteration"] for c in cells)), list(cells[0]["rates"])
    rows = []
    for source in ("own", *cells[0]["rates"][rates[0]]["accuracy"]):
        row = [source]
        for alteration in names:
            mine = [c["rates"] for c in cells if c["alteration"] == alteration]
            row += [percent([_rejected(m[rate], source) for m in mine]) for rate in rates]
            known = source != "own"
            row.append(percent([m[rates[0]]["auroc"][source] for m in mine]) if known else "")
        rows.append(row)
    told = ["mean accuracy over real images and other models¹"]
    for alteration in names:
        mine = [c["rates"] for c in cells if c["alteration"] == alteration]
        told += [percent([_mean(m[rate]["accuracy"]) for m in mine]) for rate in rates]
        told.append(percent([_mean(m[rates[0]]["auroc"]) for m in mine]))
    rows.append(told)
    columns = (*(f"rejected at {rate}" for rate in rates), "AUROC")
    return table(["source", *(f"{one}: {what}" for one in names for what in columns)], rows)


def _mean(by_source: dict[str, float]) -> float:
    """Over real images and other models; not over the owner's own faces, remade or rounded."""
    return statistics.fmean(by_source[source] for source in OTHER_MODELS)


def _rejected(found: dict[str, Any], source: str) -> float:
    """Of `AlteredOutcome`: accuracy is the mean of the own share kept and the share rejected."""
    lost: float = found["own_rejected"]
    return lost if source == "own" else abs(2 * found["accuracy"][source] - 1 + lost)  # no -0.0


def _robust_cells() -> tuple[list[dict[str, Any]], list[str]]:
    cells = load("attribution_robustness")["cells"]
    return cells, list(dict.fromkeys(c["recipe"] for c in cells if c["left_out"] == "none"))


def robustness_table(measure: str) -> str:
    """FLIPAD's Table 3: mean over the sources, by recipe and alteration."""
    cells, recipes = _robust_cells()
    names = list(cells[0]["alterations"])
    rows = []
    for recipe in recipes:
        mine = [c for c in cells if c["recipe"] == recipe and c["left_out"] == "none"]
        found = [
            percent([statistics.fmean(c["alterations"][n][measure].values()) for c in mine])
            for n in names
        ]
        rows.append([recipe, *found])
    left = [c for c in cells if c["left_out"] != "none"]
    for kind in dict.fromkeys(c["left_out"] for c in left):
        mine = [c for c in left if c["left_out"] == kind]
        found = [
            percent([statistics.fmean(c["alterations"][n][measure].values()) for c in mine])
            if n in mine[0]["alterations"]
            else ""
            for n in names
        ]
        rows.append([f"{mine[0]['recipe']}, without {kind}", *found])
    return table([f"{'AUROC' if measure == 'auroc' else measure}, %", *names], rows)


def skip_table() -> str:
    """Trained skip-connected generators: AUROC and share rejected by method and source."""
    cells = load("attribution_skip")["cells"]
    keys = dict.fromkeys((c["owner"], c["method"], c["source"]) for c in cells)
    rows = []
    for owner, method, source in keys:
        mine = [
            c for c in cells if (c["owner"], c["method"], c["source"]) == (owner, method, source)
        ]
        area = "" if source == "own" else percent([c["auroc"] for c in mine])
        rows.append(
            [f"{owner}: {METHODS[method]}", source, percent([c["rejected"] for c in mine]), area]
        )
    return table(["owner: method", "source", "rejected", "AUROC"], rows)


def speed_table() -> str:
    """Seconds and memory per method and size, and how many times slower than FLIPAD."""
    found = [r for r in load("attribution_speed")["rows"] if "failed" not in r]
    flipad = {r["size"]: r["seconds_per_1000"] for r in found if r["method"] == "flipad"}
    rows = [
        [
            f"{r['size']} px: {r['title']}",
            f"{r['seconds_per_1000']:.3g}",
            f"{r['seconds_per_1000'] / flipad[r['size']]:.3g}",
            f"{r['peak_mib'] / 1024:.2f}",
        ]
        for r in found
    ]
    return table(["size: method", "s per 1,000 images", "times FLIPAD's", "peak memory, GiB"], rows)


def stages_table() -> str:
    """Seconds of a fit and of a check by stage, idle and beside a busy process."""
    measured = load("attribution_speed").get("stages")
    if not measured:
        return "Not measured yet.\n"
    rows = []
    for runs in measured:
        head, cases = f"{runs['size']} px, {runs['title']}", runs["cases"]
        for part in ("fit", "check"):
            total = [f"{case[part]['all']:.3g}" for case in cases]
            name = "fit" if part == "fit" else f"check of {runs['images']} images"
            rows.append([f"**{head}: {name}, s**", *total])
            stages = [stage for stage in cases[0][part] if stage != "all"]
            rows += [
                [
                    f"{head}: {part}, {stage}",
                    *(f"{max(0.0, case[part].get(stage, 0.0)):.3f}" for case in cases),
                ]
                for stage in stages
            ]
        rows.append(
            [
                f"{head}: images checked per second",
                *(f"{runs['images'] / c['check']['all']:.3g}" for c in cases),
            ]
        )
        rows.append([f"{head}: peak memory, GiB", *(f"{c['peak_mib'] / 1024:.2f}" for c in cases)])
    return table(["size, method: stage", "idle", "beside a busy process"], rows)


def sets_table() -> str:
    """The number of images of one source that a state needs, and own sets rejected."""
    found = load("attribution_sets")
    most = max(int(m) for m in found["states"]["lossless"]["own"]["rejected"])
    rows = []
    for state, sources in found["states"].items():
        needed = [
            str(one["needed"] or f"> {most}") for name, one in sources.items() if name != "own"
        ]
        shares = sources["own"]["rejected"].values()
        own = f"{100 * min(shares):.1f} to {100 * max(shares):.1f}"
        rows.append([state, *needed, own])
    sources = [name for name in found["states"]["lossless"] if name != "own"]
    return table(
        ["images needed; state", *(NAMES.get(s, s) for s in sources), "own sets rejected, %"], rows
    )


TABLES = {
    "attribution_sets": sets_table,
    "third_parties_altered": lambda: altered_table("third_parties_altered"),
    "third_parties_16000_altered": lambda: altered_table("third_parties_16000_altered"),
    "attribution_skip": skip_table,
    "attribution_robustness": lambda: robustness_table("accuracy"),
    "attribution_robustness_auroc": lambda: robustness_table("auroc"),
    "attribution_1": lambda: attribution_table(other_seed=False),
    "attribution_2": lambda: attribution_table(other_seed=True),
    "attribution_patches": patches_table,
    "attribution_detail": detail_table,
    "attribution_siblings": siblings_table,
    "attribution_solver": solver_table,
    "attribution_detector": detector_table,
    "attribution_grey": grey_table,
    "attribution_rows": rows_table,
    "third_parties": third_parties_table,
    "attribution_speed": speed_table,
    "attribution_stages": stages_table,
}
