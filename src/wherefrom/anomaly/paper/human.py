"""Agreement of the scores with people's judgements, from a table that the user supplies.

The table is the CSV of dgm-eval (Stein et al.: Exposing flaws of generative model evaluation
metrics, NeurIPS 2023, `data/human-evaluation-realism/per-image-data`): one row per image with the
columns `model`, `generated` (1 or 0), `image_path`, `number_guesses`, `number_guesses_generated`.
A person saw an image and guessed whether it was real or generated.  `image_path` is `CLASS/NUMBER`
in some of the published tables, where the images of several classes share their numbers.

Two kinds of correlation are measured: of AS, of the Frechet and kernel distances and of the mean
AS-i with the share of a generator's images that people took for real (Hwang et al., Fig. 8, E.2,
F.1 and G.1), and of a score per image with the share of people who took the image for generated.
Few guesses per image bound the second from above; the bound is estimated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.data.tables.records import read_records

Reals = NDArray[np.float64]
COLUMNS = ("model", "generated", "image_path", "number_guesses", "number_guesses_generated")
MAX_BYTES = 2**28
MIN_PAIRS = 3  # of a correlation


@dataclass(frozen=True)
class Guesses:
    """The number of people who judged an image, and of those who took it for generated."""

    count: int
    said_generated: int

    @property
    def share(self) -> float:
        """The soft label: the share that said "generated"."""
        return self.said_generated / self.count


@dataclass(frozen=True)
class HumanTable:
    """Guesses by (model, image path), of generated images only; `path` is where they came from."""

    path: str
    images: Mapping[tuple[str, str], Guesses]

    @cached_property
    def _by_name(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """The image paths by (model, file name)."""
        paths: dict[tuple[str, str], tuple[str, ...]] = {}
        for model, image in self.images:
            key = model, PurePosixPath(image).name
            paths[key] = (*paths.get(key, ()), image)
        return paths

    @cached_property
    def _repeating(self) -> frozenset[str]:
        """The models that have several images of one file name."""
        return frozenset(model for (model, _), paths in self._by_name.items() if len(paths) > 1)

    def guesses(self, model: str, file: str) -> Guesses | None:
        """The guesses about an image file of a model; None without any.

        A file is found by its name.  Where a model has several images of one name, the whole path
        in the table must be the end of the file's path, as in `gan/3/0017.png`.
        """
        place = PurePosixPath(file)
        paths = self._by_name.get((model, place.name), ())
        if model in self._repeating:
            ends = ["/".join(place.parts[start:]) for start in range(len(place.parts))]
            paths = tuple(end for end in ends if end in paths)
        known = self.images[model, paths[0]] if paths else None
        return known if known and known.count else None

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, in the order of the table."""
        return tuple(dict.fromkeys(model for model, _ in self.images))

    def error_rate(self, model: str) -> tuple[float, int]:
        """The share of guesses that took this model's images for real, and how many guesses."""
        guesses_of_model = [guesses for (name, _), guesses in self.images.items() if name == model]
        count = sum(guesses.count for guesses in guesses_of_model)
        if not count:
            raise InputError(
                f"{self.path} has no guesses about {model!r}; it knows {', '.join(self.models)}"
            )
        return 1 - sum(guesses.said_generated for guesses in guesses_of_model) / count, count


@dataclass(frozen=True)
class Correlation:
    """Pearson's and Spearman's coefficients of `count` pairs, with 95 % bounds of the former.

    `ceiling`: the correlation that a perfect score would reach on average with so few people per
    image; None where labels are precise.
    """

    what: str
    pearson: float
    low: float
    high: float
    spearman: float
    count: int
    ceiling: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_human_table(path: Path) -> HumanTable:
    """The guesses about generated images in a CSV of dgm-eval; rows of one image are added up.

    A missing column or a row whose numbers make no sense is an `InputError` that names it.
    """
    shown = show_path(path)
    records = read_records(path, max_bytes=MAX_BYTES)
    missing = [name for name in COLUMNS if name not in records.columns]
    if missing:
        raise InputError(
            f"{shown} lacks the columns {', '.join(missing)}; expected a per-image CSV of dgm-eval"
        )
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for row in records.rows:
        _add(counts, row.cells, f"{shown}, line {row.line}")
    if not any(count for count, _ in counts.values()):
        raise InputError(f"{shown} holds no guesses about generated images")
    return HumanTable(shown, {key: Guesses(*pair) for key, pair in counts.items()})


def agreement_of_generators(
    table: HumanTable, scores: Mapping[str, float], *, what: str = "AS"
) -> Correlation:
    """AS, or another distance, per model against the share of its images that people took for real.

    The paper's sign: a good AS is low where people err often, so the best value is -1.  At least 3
    models are needed.
    """
    rates = [table.error_rate(model)[0] for model in scores]
    return correlate(f"{what} against human error rate", list(scores.values()), rates)


def agreement_of_images(
    table: HumanTable, scores: Mapping[str, tuple[Sequence[str], Reals]], *, what: str
) -> tuple[Correlation, int]:
    """A score per image against the share of people who took it for generated; best value +1.

    `scores` per model: file names and values (N,).  Images are matched as `HumanTable.guesses`
    says; the second result counts those without guesses.  NaN counts as without.
    """
    values, guesses, unmatched = [], [], 0
    for model, (names, column) in scores.items():
        for name, value in zip(names, column, strict=True):
            known = table.guesses(model, name)
            if known is None or not np.isfinite(value):
                unmatched += 1
                continue
            values.append(float(value))
            guesses.append(known)
    if not values:
        raise InputError(
            f"no image given is in {table.path}; it holds, for example, "
            f"{' / '.join(next(iter(table.images)))}: name folders as the models there, and keep "
            "the folders inside them"
        )
    shares = [known.share for known in guesses]
    return correlate(what, values, shares, ceiling=noise_ceiling(guesses)), unmatched


def correlate(
    what: str, x: Sequence[float], y: Sequence[float], *, ceiling: float | None = None
) -> Correlation:
    """Both coefficients; fewer than 3 pairs, or a side without variation, is an `InputError`."""
    if len(x) < MIN_PAIRS:
        raise InputError(f"{what}: {len(x)} pairs, a correlation needs at least {MIN_PAIRS}")
    if len(set(x)) < 2 or len(set(y)) < 2:
        raise InputError(f"{what}: all values of one side are equal, so nothing can agree with it")
    from scipy.stats import pearsonr, spearmanr

    linear = pearsonr(x, y)
    # Fisher's interval needs at least 4 pairs.
    bounds = linear.confidence_interval(0.95) if len(x) > MIN_PAIRS else (-1.0, 1.0)
    return Correlation(
        what=what,
        pearson=float(linear.statistic),
        low=float(bounds[0]),
        high=float(bounds[1]),
        spearman=float(spearmanr(x, y).statistic),
        count=len(x),
        ceiling=ceiling,
    )


def noise_ceiling(guesses: Sequence[Guesses]) -> float | None:
    """The correlation of the labels with what many more guesses would give, estimated.

    sqrt(variance between images / variance of the labels), the first by analysis of variance of
    single guesses; None if no image has two guesses, or there are fewer than 2 images.
    """
    n = np.array([g.count for g in guesses], dtype=np.float64)
    share = np.array([g.share for g in guesses])
    total, images = n.sum(), len(n)
    if images < 2 or total <= images or share.var() == 0:
        return None
    middle = (n * share).sum() / total
    between = (n * (share - middle) ** 2).sum() / (images - 1)
    within = (n * share * (1 - share)).sum() / (total - images)
    typical = (total - (n**2).sum() / total) / (images - 1)
    true = max(0.0, (between - within) / typical)
    return float(min(1.0, np.sqrt(true / share.var(ddof=1))))


def _add(totals: dict[tuple[str, str], list[int]], row: Mapping[str, str], where: str) -> None:
    try:
        generated = int(row["generated"])
        count, said = int(row["number_guesses"]), int(row["number_guesses_generated"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: a count is not a whole number ({error})") from error
    if generated not in (0, 1) or not 0 <= said <= count:
        raise InputError(
            f"{where}: generated is {generated} and {said} of {count} guesses said so; expected 0 "
            "or 1, and no more than all"
        )
    if generated == 1:
        entry = totals[row["model"], str(PurePosixPath(row["image_path"].replace("\\", "/")))]
        entry[0] += count
        entry[1] += said
