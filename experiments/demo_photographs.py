"""Cut the photographs that `wherefrom demo` shows out of freely licensed ones, into the package.

    python experiments/demo_photographs.py --data ../shared/data

Of every photograph there is the whole picture and four details, each at most 320 px wide and high,
as JPEG.  `mine` are the owner's photographs, `others` those of other people.  Nothing is drawn at
random.  Authors and licences stand in the NOTICE.md beside the pictures.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from PIL import Image

PLACE = Path(__file__).parents[1] / "src" / "wherefrom" / "assets" / "photographs"
LONGEST_SIDE, QUALITY = 320, 85
WHOLE = (0.0, 0.0, 1.0, 1.0)
# name: file, then the details as (left, top, right, bottom), in shares of width and height.
MINE = {
    "dogs": (
        "friends_by_Aitzol_Berasategi.jpg",
        [
            (0.2, 0.12, 0.8, 0.42),
            (0.25, 0.38, 0.9, 0.68),
            (0, 0.55, 0.65, 0.98),
            (0, 0.3, 0.45, 0.62),
        ],
    ),
    "wine": (
        "Wine_by_Jakkub_Mede.jpg",
        [(0.3, 0.05, 1, 0.5), (0, 0.45, 0.85, 1), (0, 0, 0.45, 0.55), (0.35, 0.15, 0.8, 0.42)],
    ),
    "meadow": (
        "aitzgorri_by_Aitzol_Berasategi.jpg",
        [(0.1, 0.05, 0.7, 0.5), (0.5, 0.35, 1, 0.85), (0, 0.2, 0.45, 0.65), (0.3, 0.5, 0.85, 1)],
    ),
    "brook": (
        "life_by_Aitzol_Berasategi.jpg",
        [(0.3, 0.3, 0.75, 0.75), (0.6, 0, 1, 0.45), (0, 0.4, 0.45, 0.9), (0.4, 0.55, 0.95, 1)],
    ),
    "mountain": (
        "picosdeeuropa_by_Aitzol_Berasategi.jpg",
        [(0.45, 0.1, 1, 0.6), (0, 0.05, 0.5, 0.5), (0, 0.45, 0.5, 0.95), (0.5, 0.5, 1, 1)],
    ),
    "fig": (
        "Picture_0B_by_freespace.jpg",
        [(0.35, 0.25, 0.8, 0.8), (0, 0, 0.5, 0.55), (0.55, 0.05, 1, 0.6), (0.2, 0.55, 0.75, 1)],
    ),
    "brushes": (
        "Picture_1A_by_freespace.jpg",
        [(0, 0.0, 0.5, 0.55), (0.3, 0.15, 0.8, 0.7), (0.6, 0.1, 1, 0.7), (0.05, 0.5, 0.6, 1)],
    ),
    "dandelion": (
        "seeding_by_Clements_Engelhardt.jpg",
        [(0.08, 0.05, 0.5, 0.6), (0.45, 0.1, 0.85, 0.7), (0.65, 0.4, 1, 1), (0.15, 0.5, 0.6, 1)],
    ),
}
OTHERS = {
    "bridge": (
        "Bridge_by_Sander_Klootwijk.jpg",
        [(0.4, 0, 0.85, 0.7), (0, 0.05, 0.5, 0.75), (0, 0.5, 0.6, 1), (0.5, 0.4, 1, 1)],
    ),
    "dragonfly": (
        "Dragonfly_by_Bolly.jpg",
        [(0.4, 0.25, 0.85, 0.75), (0, 0.3, 0.5, 0.85), (0.4, 0, 1, 0.45), (0.35, 0.5, 0.9, 1)],
    ),
    "bird": (
        "free_by_Peter_Nerlich.jpg",
        [(0.2, 0.5, 0.75, 1), (0.4, 0.0, 0.95, 0.5), (0, 0, 0.5, 0.5), (0.1, 0.3, 0.9, 0.9)],
    ),
    "clock": (
        "greentock_by_Peter_Nerlich.jpg",
        [(0.4, 0.2, 0.9, 0.7), (0, 0, 0.55, 0.6), (0.35, 0.5, 0.95, 1), (0, 0.4, 0.5, 1)],
    ),
    "stone": (
        "analogpattern_by_Peter_Nerlich.jpg",
        [(0, 0, 0.5, 0.5), (0.5, 0, 1, 0.5), (0, 0.5, 0.5, 1), (0.5, 0.5, 1, 1)],
    ),
    "sunset": (
        "sunset_by_Aitzol_Berasategi.jpg",
        [(0.5, 0.45, 1, 1), (0.3, 0.15, 0.75, 0.6), (0, 0.35, 0.5, 0.9), (0.1, 0.55, 0.7, 1)],
    ),
}


def cut(photograph: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """The part of the photograph in `box`, shrunk."""
    left, top, right, bottom = box
    width, height = photograph.size
    part = photograph.crop(
        (round(left * width), round(top * height), round(right * width), round(bottom * height))
    )
    part.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder that holds free-photos"
    )
    args = parser.parse_args()
    size = 0
    for side, photographs in (("mine", MINE), ("others", OTHERS)):
        folder = PLACE / side
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, (file, details) in photographs.items():
            with Image.open(args.data / "free-photos" / file) as opened:
                photograph = opened.convert("RGB")
            for number, box in enumerate((WHOLE, *details)):
                path = folder / (f"{name}-{number}.jpg" if number else f"{name}.jpg")
                cut(photograph, box).save(path, quality=QUALITY, optimize=True)
                size += path.stat().st_size
    print(f"wrote {size / 1e6:.2f} MB to {PLACE}")


if __name__ == "__main__":
    main()
