"""FLIPAD's Table 5 at reduced scale: a generator of rows, and rows of other generators.

    pip install sdv==2.0.0 ctgan==0.12.1    # beside wherefrom, in an environment of its own
    python experiments/attribution_rows.py --rows 4000 --repetitions 5

The owner's model is a KL-WGAN (`generators.kl_wgan`), trained on the 178 wines of scikit-learn (13
measured columns: the red wines of the paper, 1,599 rows of 11 columns, cannot be installed), or on
--table FILE.csv.  Rivals: CTGAN, TVAE and CopulaGAN with their libraries' default settings, and the
owner's architecture with another seed.  As in the paper the fits see rows of the owner and of TVAE;
the others are in no fit.

SDV stands in no extra: it needs pandas below 3, and its licence is a business source licence (read
it before you use it at work).  The rivals' rows are kept in --work, so that a run that was stopped
continues.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wherefrom import __version__, attribution
from wherefrom.attribution.methods import METHODS
from wherefrom.core.rng import derive_seed
from wherefrom.core.saving.store import digest_tensors
from wherefrom.data.tables.numbers import read_rows
from wherefrom.generators.generator import Generator, wrap_generator
from wherefrom.generators.kl_wgan import KlWganConfig, KlWganTask
from wherefrom.training.loop import Checkpoints, run

SEEN = "TVAE"
METHODS_COMPARED = {
    "SM-Inv, l2": ("inversion-l2", {"restarts": 3, "steps": 200, "calibration_samples": 200}),
    "RawPAD": ("raw-pad", {}),
    "FLIPAD, paper": (
        "flipad",
        {
            **{"channels": 100, "detector.standardise": "none"},
            **{"lasso.effort": "exact", "lasso.gap": 1e-2},
        },
    ),
    "FLIPAD, early-stopped": ("flipad", {"channels": 100, "detector.standardise": "none"}),
    "FLIPAD, default": ("flipad", {}),
}


def wines() -> tuple[Tensor, list[str]]:
    """The 178 wines of scikit-learn, (178, 13) float32, and their columns."""
    from sklearn.datasets import load_wine

    found = load_wine()
    return torch.tensor(found.data, dtype=torch.float32), list(found.feature_names)


def kl_wgan(rows: Tensor, work: Path, seed: int, steps: int) -> Generator:
    """The owner's model, or with another seed its sibling."""
    config = KlWganConfig(steps=steps, seed=seed)
    task = KlWganTask(rows, config)
    identity = {"config": config.to_dict(), "rows": digest_tensors({"rows": rows})}
    kept = Checkpoints(path=work / f"kl-wgan-{seed}", every=500, identity=identity)
    run(task, steps, label=f"KL-WGAN {seed}", checkpoints=kept)
    return wrap_generator(task.finished())


def rivals(rows: Tensor, columns: list[str], count: int, work: Path) -> dict[str, Tensor]:
    """Rows of the library's generators, (count, D) float32 each."""
    found = {}
    for name in ("TVAE", "CTGAN", "CopulaGAN"):
        path = work / f"{name}-{count}.npy"
        if not path.exists():
            np.save(path, _synthesise(name, rows, columns, count))
        found[name] = torch.from_numpy(np.load(path))
    return found


def _synthesise(name: str, rows: Tensor, columns: list[str], count: int) -> np.ndarray:
    import pandas
    from sdv import single_table
    from sdv.metadata import Metadata

    table = pandas.DataFrame(rows.numpy().astype(float), columns=columns)
    metadata = Metadata.load_from_dict(
        {"tables": {"wine": {"columns": {c: {"sdtype": "numerical"} for c in columns}}}}
    )
    torch.manual_seed(derive_seed(0, "rows", name) % 2**31)
    np.random.seed(derive_seed(0, "rows", name) % 2**31)  # the library draws from it
    model: Any = getattr(single_table, f"{name}Synthesizer")(metadata)
    model.fit({"wine": table})
    made = model.sample(num_rows=count)
    made = made["wine"] if isinstance(made, dict) else made
    return np.asarray(made[columns].to_numpy(), dtype=np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, help="a table of numbers; default: the 178 wines")
    parser.add_argument("--columns", type=int, default=13, help="of --table")
    parser.add_argument("--out", type=Path, default=Path("docs/results/attribution_rows.json"))
    parser.add_argument("--work", type=Path, default=Path("build/attribution_rows"))
    parser.add_argument("--rows", type=int, default=4000, help="own rows to train on; as many TVAE")
    parser.add_argument("--test", type=int, default=1000, help="rows per source")
    parser.add_argument("--test-inversion", type=int, default=200, help="the same for SM-Inv")
    parser.add_argument("--steps", type=int, default=3000, help="of each KL-WGAN")
    parser.add_argument("--epochs", type=int, default=20, help="of each detector")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--fnr", type=float, default=0.005)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.table is None:
        rows, columns = wines()
    else:
        batch = read_rows([args.table], (1, 1, args.columns), drop_duplicates=True)
        rows = batch.values.reshape(len(batch.values), -1)
        columns = list(batch.columns or (f"c{i}" for i in range(args.columns)))
    owner, sibling = (kl_wgan(rows, args.work, seed, args.steps) for seed in (0, 1))
    pools = rivals(rows, columns, args.rows * 2 + args.test * args.repetitions, args.work)
    cells = []
    for number in range(args.repetitions):
        seed = derive_seed(number, "rows")
        span = slice(number * args.test, (number + 1) * args.test)
        sources = {name: pool[span] for name, pool in pools.items()}
        sources["KL-WGAN, other seed"] = sibling.sample(args.test, seed).flatten(1)
        others = pools[SEEN][args.test * args.repetitions :]
        own = owner.sample(args.test, derive_seed(seed, "test"))
        for title, (method, changes) in METHODS_COMPARED.items():
            kept = args.work / f"{number}-{title.replace(', ', '-')}.json"
            if not kept.exists():
                kept.write_text(
                    json.dumps(one(owner, others, own, sources, method, changes, args, seed))
                )
            cells.append({"method": title, "number": number, **json.loads(kept.read_text())})
            print(
                title,
                number,
                {k: round(v["accuracy"], 3) for k, v in cells[-1]["sources"].items()},
                flush=True,
            )
    settings = {k: v for k, v in vars(args).items() if not isinstance(v, Path)}
    result = {
        "command": "python experiments/attribution_rows.py",
        "wherefrom": __version__,
        "torch": torch.__version__,
        "table": {"rows": len(rows), "columns": columns},
        "settings": settings,
        "cells": cells,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {args.out}")


def one(
    owner: Generator,
    others: Tensor,
    own: Tensor,
    sources: dict[str, Tensor],
    method: str,
    changes: dict[str, Any],
    args: argparse.Namespace,
    seed: int,
) -> dict[str, Any]:
    """One fit, judged on every source."""
    config = METHODS[method].presets["numbers"].with_values(changes)
    config = config.with_values({"false_negative_rate": args.fnr})
    if method != "inversion-l2":
        config = config.with_values({"train_samples": args.rows, "detector.epochs": args.epochs})
    else:
        own = own[: args.test_inversion]
        sources = {name: rows[: args.test_inversion] for name, rows in sources.items()}
    fitted = attribution.fit(owner, others, method=method, config=config, seed=seed)
    found = attribution.evaluate(fitted, own, sources)
    judged = {r.source: {"accuracy": r.accuracy, "auroc": r.auroc} for r in found.others}
    return {"own rejected": found.own.rejected, "sources": judged}


if __name__ == "__main__":
    main()
