"""How often a search answers, and how often wrongly, on edits it was not calibrated on.

    python experiments/origin_tables.py ...     # makes the edits' embeddings; see there
    python experiments/origin_decision.py --data PHOTOS

The index holds the 801 photographs, W comes from the training edits of editor a, the calibration
from one edit by a of each of 101 photographs.  Queries are one edit of each of 200 test photographs
by each editor: once with its origin in the index (found, wrong), once with it left out (false
alarm), and once more mirrored and cut to four fifths.  Intervals are 95 % Clopper-Pearson.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from origin_tables import ATTACKS, SEEN, Data
from train_editors import EDITORS

from wherefrom.core.saving.store import digest_file, write_file
from wherefrom.data.images.items import read_image, to_image, to_pixels
from wherefrom.data.images.writing import to_float
from wherefrom.encoders import load_encoder, prepare
from wherefrom.metrics.detection import exact_interval
from wherefrom.origin.edit_map.fitting import fit_edit_map
from wherefrom.origin.edit_map.pairs import EmbeddedPairs
from wherefrom.origin.index.index import Index
from wherefrom.origin.pairs.manifest import read_pairs
from wherefrom.origin.reranking.scores import Originals
from wherefrom.origin.reranking.views import VIEWS
from wherefrom.origin.searching.config import SearchConfig
from wherefrom.origin.searching.decision import STATISTICS, measure_prominence
from wherefrom.origin.searching.matching import Matcher, RankedCandidates

RATES = (0.01, 0.05)
TRIED = 100  # queries per attack


class Decisions:
    """An index of the photographs, and what it says of edits."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        encoder = load_encoder()
        data = Data(args, encoder, small=True)
        self.args, self.encoder, self.place = args, encoder, data.place
        self.files = Originals(encoder)
        origins, edits, owner = data.train(SEEN)
        self.fitted = fit_edit_map(
            EmbeddedPairs(
                origins, edits, owner, encoder=encoder.identity, latent_shape=encoder.latent_shape
            )
        )
        paths = list(data.place)
        self.index = Index.create(folder / "index", dim=self.fitted.rank, identity={})
        vectors = self.fitted.project(data.photo_rows)
        self.index.add(paths, [digest_file(path) for path in paths], vectors)
        self.ids = [int(i or 0) for i in self.index.find(paths)]

    def ask(
        self,
        editor: str,
        split: str,
        config: SearchConfig,
        *,
        attack: str = "none",
        absent: bool = False,
        most: int | None = None,
    ) -> list[tuple[RankedCandidates, bool]]:
        """(ranking, whether the first candidate is right) of one edit of each origin."""
        matcher = Matcher(self.index, self.index, self.encoder, self.fitted, config, self.files)
        pairs = read_pairs(self.args.work / f"{editor}-{split}", verify=False)
        found = []
        for number in range(most or len(pairs.origins)):
            edit = pairs.edits[pairs.owner.index(number)]
            image = ATTACKS[attack](to_image(read_image(edit, channels=3).pixels))
            right = self.ids[self.place[pairs.origins[number].resolve()]]
            out = [torch.tensor([right])] if absent else None
            picture = prepare(to_float(to_pixels(image)[None]))
            (ranking,) = matcher.rank(picture, left_out=out)
            found.append((ranking, int(ranking.ids[0]) == right))
        return found


def p_values(
    found: list[tuple[RankedCandidates, bool]], null: list[float], statistic: str
) -> list[float]:
    """Conformal p-values of each query's best match."""
    values = [measure_prominence(ranking.scores, statistic) for ranking, _ in found]
    return [(1 + sum(n >= value for n in null)) / (1 + len(null)) for value in values]


def judged(
    here: list[tuple[RankedCandidates, bool]],
    gone: list[tuple[RankedCandidates, bool]],
    null: list[tuple[RankedCandidates, bool]],
    statistic: str,
    **setting: Any,
) -> list[dict[str, Any]]:
    """Shares found, wrong and falsely alarmed, by rate."""
    values = [measure_prominence(ranking.scores, statistic) for ranking, _ in null]
    p_here, p_gone = (p_values(found, values, statistic) for found in (here, gone))
    right = [is_right for _, is_right in here]
    rows = []
    for rate in RATES:
        called = [p <= rate for p in p_here]
        rows.append(
            {
                **setting,
                "statistic": statistic,
                "rate": rate,
                "found": share([c and r for c, r in zip(called, right, strict=True)]),
                "wrong": share([c > r for c, r in zip(called, right, strict=True)]),
                "false_alarms": share([p <= rate for p in p_gone]),
            }
        )
    return rows


def share(flags: list[bool]) -> dict[str, Any]:
    low, high = exact_interval(sum(flags), len(flags))
    return {"share": sum(flags) / len(flags), "interval": [low, high]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--work", type=Path, default=Path("build/origin"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/origin_decision.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    attacked: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        decisions = Decisions(args, Path(folder))
        for rerank in (False, True):
            config = SearchConfig(rerank=rerank)
            null = decisions.ask(SEEN, "calibration", config, absent=True)
            for editor in EDITORS:
                here = decisions.ask(editor, "test", config)
                gone = decisions.ask(editor, "test", config, absent=True)
                for statistic in STATISTICS:
                    rows += judged(here, gone, null, statistic, rerank=rerank, editor=editor)
            print(f"re-ranking {rerank}: done", flush=True)
        for views in VIEWS:
            for attack in ("none", "flip", "crop to 80 %"):
                config = SearchConfig(views=views)
                here = decisions.ask(SEEN, "test", config, attack=attack, most=TRIED)
                first = share([right for _, right in here])
                attacked.append({"views": views, "attack": attack, "first": first})
    write_file(args.out, json.dumps({"rows": rows, "attacked": attacked}, indent=1).encode())
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
