"""The tables of docs/credit-results.md, from the results of its experiments and benchmarks."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from markdown_tables import RESULTS, load, table

COMMANDS = {
    "credit_exact": "python experiments/credit_exact.py --data FASHION-MNIST",
    "credit_table_1": "python experiments/credit_table_1.py --data FASHION-MNIST",
    "credit_estimators": "python benchmarks/credit_estimators.py --out RESULT",
    "credit_ledger": "python benchmarks/credit_ledger.py --out RESULT",
    "credit_gradients": "python benchmarks/credit_gradients.py --out RESULT",
    "credit_cost": "python benchmarks/credit_cost.py --data FASHION-MNIST --out RESULT",
    "credit_empty": "python experiments/credit_empty.py",
}
ESTIMATORS = {
    "kernelshap": "KernelSHAP",
    "paired": "ours",
    "trees": "trees",
    "paired-trees": "ours and trees",
}
STAGES = ("training", "sampling", "scoring")
GAMES = {
    "retrain": "retraining",
    "fine-tune": "fine-tuning",
    "sparsified": "sparsified",
    "gradient-ascent": "gradient ascent",
    "influence-unlearning": "influence unlearning",
}


def _once_run(name: str) -> Callable[[Callable[[dict[str, Any]], str]], Callable[[], str]]:
    """A table of a result, or a line that says how it is made where it was not."""

    def wrap(function: Callable[[dict[str, Any]], str]) -> Callable[[], str]:
        @functools.wraps(function)
        def make() -> str:
            if not (RESULTS / f"{name}.json").is_file():
                return f"Not run yet: `{COMMANDS[name]}`\n"
            return function(load(name))

        return make

    return wrap


def _number(value: float | None, spec: str = ".2f") -> str:
    return "" if value is None else format(value, spec)


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


@_once_run("credit_exact")
def shares(results: dict[str, Any]) -> str:
    """Exact shares with their intervals, and those of the proxies."""
    head, columns = ["contributor", "images"], []
    for name, values in results["properties"].items():
        exact = values["exact"]
        head += [f"{name}: exact [95 %]", *(GAMES[k] for k in values["proxies"])]
        ends = zip(exact["values"], exact["low"], exact["high"], strict=True)
        columns.append([f"{v:.3g} [{low:.3g}, {high:.3g}]" for v, low, high in ends])
        columns += [[f"{x:.3g}" for x in proxy["shares"]] for proxy in values["proxies"].values()]
    names = sorted(results["contributors"])
    rows = [
        [name, str(results["contributors"][name]), *(column[i] for column in columns)]
        for i, name in enumerate(names)
    ]
    return table(head, rows)


@_once_run("credit_exact")
def noise(results: dict[str, Any]) -> str:
    """What training seeds do to values and to exact shares."""
    rows = []
    for name, values in results["properties"].items():
        split, each = values["variance"], values["replicates"]
        if split is None:
            continue
        means = [sum(r[k] for r in each) / len(each) for k in each[0]]
        deviations = [math.sqrt(split[k]) for k in ("subset", "training")]
        rows.append(
            [
                name,
                str(values["rounds"]),
                *(f"{x:.3g}" for x in deviations),
                *(f"{x:.3f}" for x in means),
            ]
        )
    if not rows:
        return "Not known from one round of retraining.\n"
    head = ["property", "rounds", "deviation between subsets", "between trainings"]
    head += ["Pearson of v", "Pearson of shares", "Spearman of shares", "error of shares"]
    return table(head, rows)


@_once_run("credit_exact")
def estimators(results: dict[str, Any]) -> str:
    """Errors and coverage of every estimator by number of runs."""
    rows = []
    for name, values in results["properties"].items():
        rows += [
            [
                f"{name}: {r['method']}",
                str(r["runs"]),
                f"{r['error']:.2f}",
                f"{r['spearman']:.2f}",
                "" if r["covered"] is None else _share(r["covered"]),
                _number(r["half_width"]),
                "" if r["resolved"] is None else _share(r["resolved"]),
            ]
            for r in values["estimators"]
        ]
    head = ["property: method", "runs", "error", "Spearman", "all covered"]
    return table([*head, "half-width / mean share", "signs resolved"], rows)


@_once_run("credit_exact")
def proxies(results: dict[str, Any]) -> str:
    """How the cheap games compare with retraining, and after an audit."""
    rows, counts = [], []
    for name, values in results["properties"].items():
        for kind, r in values["proxies"].items():
            counts = [audit["runs"] for audit in r["audits"]]
            keys = ("pearson", "spearman", "share_pearson", "share_spearman", "error")
            audits = [f"{a['error']:.2f} ({a['error_alone']:.2f})" for a in r["audits"]]
            rows.append([f"{name}: {GAMES[kind]}", *(f"{r[k]:.2f}" for k in keys), *audits])
    head = ["property: game", "Pearson of v", "Spearman of v", "Pearson of shares"]
    head += ["Spearman of shares", "error"]
    return table([*head, *(f"audited by {c} retrains (these alone)" for c in counts)], rows)


@_once_run("credit_exact")
def exact_setting(results: dict[str, Any]) -> str:
    """The scale of the exact game."""
    return _setting(results)


@_once_run("credit_table_1")
def table_1_setting(results: dict[str, Any]) -> str:
    """The scale of the reduced Table 1."""
    return _setting(results)


def _setting(results: Mapping[str, Any]) -> str:
    given = results["settings"]
    accuracy = given.get("classifier_accuracy", results.get("classifier_accuracy"))
    rows = [
        ["command", f"`{results['command']}`"],
        ["steps: retraining, recovery; fine-tuning", f"{given['steps']}; {given['finetuning']}"],
        ["images sampled in a run", str(given["images"])],
        ["accuracy of the classifier", _share(accuracy)],
        ["wherefrom, torch", f"{results['version']}, {results['torch']}"],
    ]
    return table(["this run", ""], rows)


def _lds(results: Mapping[str, Any], name: str) -> str:
    values = results["properties"][name]
    cells: dict[str, dict[float, str]] = {}
    ceilings: dict[float, str] = {}
    for row in values["lds"]:
        ends = [
            f"{100 * max(-1, min(1, row[end])):.0f}"
            for end in ("low", "high")
            if row[end] is not None
        ]
        reach = f" [{', '.join(ends)}]" if ends else ""
        cells.setdefault(row["method"], {})[row["alpha"]] = f"{100 * row['lds']:.1f}{reach}"
        ceilings[row["alpha"]] = f"{100 * row['ceiling']:.0f}" if row["ceiling"] else ""
    leads = {
        r["method"]: f"{100 * r['lead']:.0f} [{100 * r['low']:.0f}, {100 * r['high']:.0f}]"
        for r in values["lead"]
    }
    alphas = sorted(ceilings)
    half = {r["method"]: r["lds"] for r in values["lds"] if r["alpha"] == 0.5}  # as in Table 1
    rows = [
        [method, *(cells[method].get(alpha, "") for alpha in alphas), leads.get(method, "")]
        for method in sorted(cells, key=lambda method: -half.get(method, -math.inf))
    ]
    rows.append(["noise ceiling", *(ceilings[alpha] for alpha in alphas), ""])
    titles = [f"LDS, %, alpha = {alpha:g}" for alpha in alphas]
    return table([name, *titles, "ours leads at 0.5 by [95 %]"], rows)


@_once_run("credit_table_1")
def table_1(results: dict[str, Any]) -> str:
    """LDS of every method, for the Inception Score."""
    return _lds(results, next(iter(results["properties"])))


@_once_run("credit_table_1")
def table_1_other(results: dict[str, Any]) -> str:
    """The same for the other property."""
    return _lds(results, list(results["properties"])[1])


@_once_run("credit_table_1")
def curves(results: dict[str, Any]) -> str:
    """Error and LDS of four estimators by number of runs."""
    rows: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for name, values in results["properties"].items():
        for row in values["curves"]:
            rows.setdefault((name, row["runs"]), {})[row["method"]] = row
    lines = [
        [
            f"{name}, {runs} runs",
            *(_error(by.get(m, {})) for m in ESTIMATORS),
            *(_percent(by.get(m, {}).get("lds")) for m in ESTIMATORS),
        ]
        for (name, runs), by in rows.items()
    ]
    if not lines:
        return "Not run: the ledger has no second design yet.\n"
    first, *others = ESTIMATORS.values()
    head = ["sparsified fine-tuning", f"error: {first}", *others]
    picture = "\n![Error and LDS against the number of runs](results/credit_table_1.svg)\n"
    return table([*head, f"LDS, %, alpha = 0.5: {first}", *others], lines) + picture


def _error(row: Mapping[str, Any]) -> str:
    """The error, and in brackets what the reference's own noise adds to it."""
    if not row:
        return ""
    least = "below that noise" if not row["error"] else f"{row['error']:.2f}"
    return f"{least} ({row['error_with_reference']:.2f})"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


@_once_run("credit_estimators")
def needed(results: dict[str, Any]) -> str:
    """Runs needed for the paper's error."""
    rows = [
        [
            f"noise {case['noise']:.0%}, crowd {case['crowd']:g}",
            f"{row['error']:.2f}",
            str(row["paper"]),
            _number(row["ours"], ".0f"),
            _number(row["ratio"]),
        ]
        for case in results["cases"]
        for row in case["rows"]
    ]
    return table(["game", "error", "KernelSHAP's runs", "ours", "ratio"], rows)


@_once_run("credit_estimators")
def few_runs(results: dict[str, Any]) -> str:
    """Errors of all estimators for few runs of synthetic games."""
    rows = [
        [
            f"noise {case['noise']:.0%}, crowd {case['crowd']:g}",
            str(runs),
            *(f"{curve[_counts(case, curve).index(runs)]:.2f}" for curve in case["rms"].values()),
        ]
        for case in results["cases"]
        for runs in case["few"]
    ]
    return table(["game", "runs", *results["cases"][0]["rms"]], rows)


def _counts(case: Mapping[str, Any], curve: list[float]) -> list[int]:
    """The numbers of runs of a curve; trees were fitted to few runs only."""
    counts: list[int] = case["few" if len(curve) == len(case["few"]) else "runs"]
    return counts


@_once_run("credit_ledger")
def ledger(results: dict[str, Any]) -> str:
    """What the ledger adds to a run."""
    rows = [
        [r["what"], f"{r['runs']:,}", f"{r['milliseconds']:.2f}", _number(r.get("last"))]
        for r in results["rows"]
    ]
    rows.append(["the disk alone: write 4 KB and flush", "", f"{results['flush']:.2f}", ""])
    return table(["ledger", "runs", "ms each", "the last tenth"], rows)


@_once_run("credit_gradients")
def gradients(results: dict[str, Any]) -> str:
    """Projected gradients against loops."""
    rows = [
        [r["what"], f"{r['per_second']:.2f}", f"{r['ratio']:.2f}x", f"{r['difference']:.0e}"]
        for r in results["rows"]
    ]
    return table(["projected gradients", "images/s", "ours is faster by", "difference"], rows)


@_once_run("credit_cost")
def cost(results: dict[str, Any]) -> str:
    """Seconds of a run by game and stage."""
    rows = [
        [
            f"{GAMES[r['game']]}, width {r['width']}",
            f"{r['weights']:,}",
            str(r["steps"]),
            *(f"{r[stage]:.2f}" for stage in (*STAGES, "total")),
            f"{r['ratio']:.1f}x",
        ]
        for r in results["rows"]
    ]
    head = ["game", "weights", "steps", "training, s", "sampling", "scoring", "total"]
    return table([*head, "retraining / this"], rows)


@_once_run("credit_empty")
def empty(results: dict[str, Any]) -> str:
    """The gain under both meanings of the empty set, and the division under the default one."""
    rows = [
        [
            f"{row['study']}, {row['property']}",
            f"{row['gain']['start']:.3g}",
            f"{row['gain']['untrained']:.3g}",
            f"{row['gain_of_retraining']:.3g}",
            _share(row["start_step"]),
            _share(row["apart"]),
            f"{_share(row['least'])} to {_share(row['most'])}",
        ]
        for row in results["rows"]
    ]
    head = ["sparsified game", "gain over start", "gain over untrained", "gain of retraining"]
    head += ["the start's part of it", "divided otherwise than equally", "parts"]
    return table(head, rows)


TABLES: dict[str, Callable[[], str]] = {
    "credit_empty": empty,
    "credit_exact_setting": exact_setting,
    "credit_exact_shares": shares,
    "credit_exact_noise": noise,
    "credit_exact_estimators": estimators,
    "credit_exact_proxies": proxies,
    "credit_table_1": table_1,
    "credit_table_1_other": table_1_other,
    "credit_table_1_setting": table_1_setting,
    "credit_curves": curves,
    "credit_estimators": needed,
    "credit_few_runs": few_runs,
    "credit_ledger": ledger,
    "credit_gradients": gradients,
    "credit_cost": cost,
}
