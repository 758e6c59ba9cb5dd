"""Which of the models in the case made this image, or none?  And who is credited for it?"""

from __future__ import annotations

from pathlib import Path

from wherefrom.attribution.checking.open_set import Identification, Identity, identify
from wherefrom.attribution.checking.paths import check_paths
from wherefrom.attribution.fitted import Attributor
from wherefrom.attribution.result import ImageVerdict
from wherefrom.case.file import CreditPart
from wherefrom.case.opened import OpenCase
from wherefrom.case.questions.exhibits import ScorePlace, SharesShown
from wherefrom.case.result import Answer, Part, State

COMPRESSED = "the file is lossy: compression removes traces, so that no model can be ruled out"


def ask_model(path: Path, opened: OpenCase) -> tuple[Answer, Identification | None, list[object]]:
    """The answer, what it was identified as, and the exhibits."""
    if not opened.attributors:
        return _unasked("model", "the case names no attributor"), None, []
    verdicts: dict[str, ImageVerdict] = {}
    parts: list[Part] = []
    shown: list[object] = []
    for part, fitted in opened.attributors:
        (row,) = check_paths(fitted, [path]).images
        verdicts[part.name] = row
        parts.append(_part(part.name, part.path, part.digest, row))
        if row.score is not None:
            shown.append(_place(part.name, fitted, row.score))
    found = identify(verdicts, family_error=opened.case.config.family_error)
    missed = max(fitted.config.false_negative_rate for _, fitted in opened.attributors)
    return _answer(found, verdicts, missed, tuple(parts)), found, shown


def _place(name: str, fitted: Attributor, score: float) -> ScorePlace:
    return ScorePlace(
        name,
        fitted.own_scores,
        f"held-out images of {name}",
        fitted.other_scores,
        "held-out other images",
        fitted.threshold,
        score,
        "score (larger = less likely made by it)",
    )


def _answer(
    found: Identification, verdicts: dict[str, ImageVerdict], missed: float, parts: tuple[Part, ...]
) -> Answer:
    count = len(verdicts)
    of_all = f"any of the {count} models" if count > 1 else "the model"
    if found.answer is Identity.ONE:
        model = str(found.model)
        error_of = (
            f"an image that is only like the other images of the fits is assigned to {of_all}"
        )
        caveats = tuple(
            f"{name} makes images of another size or kind: the file {verdicts[name].reason}"
            for name in found.unjudged
        )
        return Answer(
            "model", State.FOUND, f"Made by the model “{model}”.", found.family_error, error_of,
            found.adjusted[model], caveats=caveats, parts=parts,
        )  # fmt: skip
    if found.answer is Identity.NONE:
        said = f"Made by none of the {count} models." if count > 1 else "Not made by the model."
        error_of = f"an unaltered image of {of_all} is told so"
        return Answer("model", State.CLEAR, said, missed, error_of, parts=parts)
    lossy = (COMPRESSED,) if any("lossy" in row.reason for row in verdicts.values()) else ()
    said = f"Which model made it, if any, cannot be said: {found.reason}."
    return Answer("model", State.UNSURE, said, reason=found.reason, caveats=lossy, parts=parts)


def _part(name: str, path: str, digest: str, row: ImageVerdict) -> Part:
    numbers = {
        "score": row.score,
        "p_like_other_images": row.p_other,
        "p_like_siblings": row.p_sibling,
    }
    return Part(name, path, digest, str(row.verdict), row.p_value, row.reason, numbers)


def ask_credit(opened: OpenCase, found: Identification | None) -> tuple[Answer, list[object]]:
    """The shares behind the model that the image was assigned to."""
    if not opened.credits:
        return _unasked("credit", "the case names no credit receipt"), []
    if found is None or found.model is None:
        why = "the image was not assigned to a model, so there is nobody to credit for it"
        return _unasked("credit", why), []
    about = [(part, receipt) for part, receipt in opened.credits if part.model == found.model]
    if not about:
        return _unasked("credit", f"the case holds no credit receipt for {found.model}"), []
    parts, sentences, levels = [], [], []
    shown: list[object] = []
    for part, receipt in about:
        records = receipt["records"]
        shares, names = records["shares"], [str(n) for n in records["contributors"]]
        parts.append(_credit_part(part, records, receipt["chain"][-1]["digest"]))
        shown.append(SharesShown(part.name, names, shares["values"], shares["low"], shares["high"]))
        sentences.append(_credited(names, shares, str(records["property"]["name"])))
        levels.append(float(shares["level"]))
    return (
        Answer(
            "credit", State.FOUND, " ".join(sentences), round(1 - min(levels), 10),
            "the intervals of all contributors do not all hold at once",
            caveats=(
                "shares are about the model and one measured property of it, not about this image",
            ),
            parts=tuple(parts),
        ),
        shown,
    )  # fmt: skip


def _credited(names: list[str], shares: dict[str, list[float]], measured: str) -> str:
    resolved = sum(bool(x) for x in shares["resolved"])
    told = f"Of {len(names)} contributors to the model, {resolved} have a share of known sign"
    order = sorted(range(len(names)), key=lambda i: -shares["values"][i])
    if max(shares["rank_low"]) > 1:
        told += f"; most credit for {measured}: {names[order[0]]}"
    else:
        told += f"; for {measured} the runs do not tell them apart"
    return f"{told}."


def _credit_part(part: CreditPart, records: dict[str, dict[str, object]], chain: str) -> Part:
    shares = records["shares"]
    numbers = {name: shares[name] for name in ("gain", "gain_error", "runs", "level")}
    details = {
        "model": part.model,
        "property": records["property"]["name"],
        "method": shares["method"],
        "contributors": list(records["contributors"]),
        "shares": shares["values"],
        "from": shares["low"],
        "to": shares["high"],
        "last_digest_of_the_chain": chain,
    }
    return Part(part.name, part.path, part.digest, "credited", None, "", numbers, details)  # type: ignore[arg-type]


def _unasked(question: str, why: str) -> Answer:
    return Answer(question, State.UNASKED, f"Not asked: {why}.", reason=why)
