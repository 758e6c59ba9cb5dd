"""Fit the attributors that `wherefrom demo` uses, into the package.

    python experiments/demo_attributors.py

FLIPAD at a small scale, for the two shipped GANs of clothes that the demo asks about; the others
are the first 900 shipped photographs, which serve no other purpose in the demo.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from wherefrom import attribution
from wherefrom.case.demo import MODELS, OTHERS, shipped_photographs
from wherefrom.generators.loading import load_generator

PLACE = Path(__file__).parents[1] / "src" / "wherefrom" / "assets" / "demo"
SETTINGS = {
    "train_samples": 600,
    "calibration_samples": 600,
    "mean_samples": 1000,
    "classifier_samples": 3000,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(MODELS))
    args = parser.parse_args()
    others = shipped_photographs()[OTHERS[0] : OTHERS[1]]
    config = attribution.PRESETS["default"].with_values(SETTINGS)
    for name, weights in MODELS.items():
        if args.only in (None, name):
            generator = load_generator(f"zoo:{weights}")
            fitted = attribution.fit(generator, others, config=config, seed=0)
            fitted.save(PLACE / f"{name}.attributor", overwrite=True)
            print(f"wrote {name}.attributor", flush=True)


if __name__ == "__main__":
    main()
