"""Makes the edits of experiments/origin_tables.py with the editors of experiments/train_editors.py.

    python experiments/origin_edits.py --data ../shared/data/photos --editor a

Writes the pairs folders build/origin/<editor>-<split>, as `wherefrom origin pairs` does; an
interrupted run goes on.  The prompts ask for a random brightness, colourfulness, hue and texture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from train_editors import EDITORS, HUES, SIDE, split_photos

from wherefrom.origin.pairs.builder import build_pairs
from wherefrom.origin.pairs.config import PairsConfig
from wherefrom.origin.pairs.pipelines import load_pipeline
from wherefrom.origin.pairs.prompts import load_prompts

PROMPTS = f"""\
a {{dark|bright}} {{muted|vivid}} {{{"|".join(HUES)}}} photo {{soft|hard}} {{smooth|busy}}
a {{muted|vivid}} {{{"|".join(HUES)}}} photo {{smooth|busy}}
a {{dark|bright}} photo {{soft|hard}}
a {{{"|".join(HUES)}}} photo
"""
SETTINGS = PairsConfig(strength="0.4..0.9", steps=12, guidance=3.0, size=SIDE)
EDITS = {"test": 3, "calibration": 1, "train": 4}  # per photograph


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--editors", type=Path, default=Path("build/editors"))
    parser.add_argument("--editor", choices=[*EDITORS], required=True)
    parser.add_argument("--out", type=Path, default=Path("build/origin"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    photos = split_photos(args.data)
    pipeline = load_pipeline(args.editors / args.editor, name=f"editor {args.editor}")
    for split, count in EDITS.items():
        found = build_pairs(
            photos[split],
            pipeline,
            load_prompts(PROMPTS),
            args.out / f"{args.editor}-{split}",
            config=SETTINGS.with_values({"per_origin": count}),
        )
        print(
            f"{found.folder}: {len(found.edits)} edits, {len(found.skipped)} left out", flush=True
        )


if __name__ == "__main__":
    main()
