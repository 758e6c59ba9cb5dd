"""How many images of one source show that the owner's model did not make them, by state of file.

    python experiments/attribution_sets.py --data ../shared/data/fashion-mnist

The owner is one generator of the zoo (Fashion-MNIST, 32 px, grey).  The sources are another seed of
its architecture, the three other architectures, and real images; none of them enters the fit but
other real images.  Files are lossless, JPEG of quality 90 and 80, WebP of quality 80, or scaled by
0.75 and back.  The attributor is `--method patches` with one expert per kind of alteration.

Each draw takes m images of one source in one state, and gives one p-value for all of them, as
`attribution check --same-source` does.  A set is rejected at a p-value of at most --rate.  Each
draw also draws the calibration set, from the held-out and the tested own images: the promise is
about both.  Reported is the smallest m from which on --power of a source's sets are rejected, and
the largest share of own sets that is, at any m.  `--quick` is a smoke test.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from unseen_clothes import unseen_clothes

from wherefrom import __version__, attribution
from wherefrom.attribution.checking.fitted import Attributor
from wherefrom.attribution.images.conditions import rescaled
from wherefrom.attribution.methods import find_method
from wherefrom.attribution.protocol import stored_samples
from wherefrom.calibration.combination import combined_p_value
from wherefrom.calibration.conformal import upper_p_values
from wherefrom.core.rng import derive_seed, stream
from wherefrom.data.altering.degradations import jpeg, webp
from wherefrom.generators.loading import load_generator

STATES: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {  # condition, and what is done
    "lossless": ("clean", lambda x: x),
    "JPEG 90": ("JPEG 90-100", lambda x: jpeg(x, 90)),
    "JPEG 80": ("JPEG 80-89", lambda x: jpeg(x, 80)),
    "WebP 80": ("WebP", lambda x: webp(x, 80)),
    "scaled": ("scaled", lambda x: rescaled(x, 0.75)),
}
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
ARCHITECTURES = ("dcgan", "wgan-gp", "ebgan", "lsgan")
COMMAND = "python experiments/attribution_sets.py --data FASHION_MNIST_FOLDER"


def fitted_for(owner: str, others: Tensor, args: argparse.Namespace) -> Attributor:
    """An attributor with a calibration for every state."""
    values = {
        "train_samples": args.train,
        "calibration_samples": args.calibration,
        "immunise": 0.8,
        "experts": True,
        "sibling_samples": 0,
    }
    config = find_method("patches").presets["default"].with_values(values)
    generator = load_generator(f"zoo:fashion-{owner}-0")
    return attribution.fit(generator, others, method="patches", config=config, seed=args.seed)


def rejected(
    scores: dict[str, Tensor], fitted: Attributor, state: str, args: argparse.Namespace
) -> Any:
    """Share of sets rejected, by source and m; `scores` by source, the model's under "own"."""
    condition = STATES[state][0]
    held = fitted.calibration_of(condition).own
    own = torch.cat([held, scores["own"]])
    shares: dict[str, dict[int, float]] = {}
    for source, tested in scores.items():
        shares[source] = {}
        for m in [m for m in SIZES if m <= len(tested)]:
            count = 0
            for draw in range(args.draws):
                rng = stream(args.seed, "sets", state, source, m, draw)
                order = torch.randperm(len(own), generator=rng)
                calibration, rest = own[order[: len(held)]], own[order[len(held) :]]
                chosen = tested[torch.randperm(len(tested), generator=rng)[:m]]
                p_values = upper_p_values(rest[:m] if source == "own" else chosen, calibration)
                count += combined_p_value([(p_values.tolist(), len(held))]) <= args.rate
            shares[source][m] = count / args.draws
    return shares


def smallest(shares: dict[int, float], power: float) -> int | None:
    """The smallest m from which on at least `power` of the sets are rejected; None: more."""
    needed = None
    for m in sorted(shares, reverse=True):
        if shares[m] < power:
            break
        needed = m
    return needed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Fashion-MNIST's idx.gz")
    parser.add_argument("--out", type=Path, default=Path("docs/results/attribution_sets.json"))
    parser.add_argument("--owner", default="dcgan", choices=ARCHITECTURES)
    parser.add_argument("--train", type=int, default=1500, help="own crops to train on")
    parser.add_argument("--others", type=int, default=2000, help="real images of the fit")
    parser.add_argument("--calibration", type=int, default=300)
    parser.add_argument("--test", type=int, default=300, help="images per source and state")
    parser.add_argument("--draws", type=int, default=200, help="sets per source, state and m")
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--power", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a smoke test; give --out, too")
    args = parser.parse_args()
    if args.quick:
        args.train, args.others, args.test, args.draws = 300, 600, 16, 20
    start = time.perf_counter()
    real, digest = unseen_clothes(args.data)
    real = real[torch.randperm(len(real), generator=stream(args.seed, "real"))]
    fitted = fitted_for(args.owner, real[: args.others], args)
    print(f"fitted after {time.perf_counter() - start:.0f} s", flush=True)
    names = {"own": f"{args.owner}-0", "other seed": f"{args.owner}-1"}
    names |= {kind: f"{kind}-0" for kind in ARCHITECTURES if kind != args.owner}
    images = {
        source: stored_samples(
            load_generator(f"zoo:fashion-{name}"), args.test, derive_seed(args.seed, "sets", source)
        )
        for source, name in names.items()
    }
    images["real"] = real[args.others : args.others + args.test]
    states = {}
    for state, (condition, change) in STATES.items():
        scores = {
            source: fitted.score(torch.stack([change(x) for x in given]), condition=condition)
            for source, given in images.items()
        }
        shares = rejected(scores, fitted, state, args)
        states[state] = {
            source: {"rejected": by_size, "needed": smallest(by_size, args.power)}
            for source, by_size in shares.items()
        }
        states[state]["own"]["needed"] = None
        needed = {source: one["needed"] for source, one in states[state].items()}
        print(state, needed, "own at most", max(shares["own"].values()), flush=True)
    spent = time.perf_counter() - start
    sizes = " ".join(
        f"--{name} {getattr(args, name)}" for name in ("train", "calibration", "test", "draws")
    )
    settings = {k: v for k, v in vars(args).items() if not isinstance(v, Path) and k != "quick"}
    result = {
        "command": f"{COMMAND} {sizes}",
        "wherefrom": __version__,
        "torch": torch.__version__,
        "data": digest,
        "settings": settings,
        "seconds": spent,
        "states": states,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {args.out} after {spent:.0f} s")


if __name__ == "__main__":
    main()
