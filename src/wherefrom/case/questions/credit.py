"""Who is credited for the model that the image was assigned to?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wherefrom.case.parts.file import CreditPart
from wherefrom.case.parts.opened import OpenCase
from wherefrom.case.questions.asked import Asked, SharesShown
from wherefrom.case.result import PartAnswer, QuestionAnswer, State

ERROR_OF = "the intervals of all contributors do not all hold at once"
CAVEAT = "shares are about the model and one measured property of it, not about this image"


def ask_credit(opened: OpenCase, model: str | None) -> Asked:
    """The shares behind `model`, the name of the attributor that the image was assigned to."""
    receipts = [(part, receipt) for part, receipt in opened.credits if part.model == model]
    if not opened.credits:
        return _not_asked("the case names no credit receipt")
    if model is None:
        return _not_asked(
            "the image was not assigned to a model, so there is nobody to credit for it"
        )
    if not receipts:
        return _not_asked(f"the case holds no credit receipt for {model}")
    parts, sentences, levels = [], [], []
    exhibits: list[object] = []
    for part, receipt in receipts:
        records = receipt["records"]
        shares, names = records["shares"], [str(name) for name in records["contributors"]]
        parts.append(_answer_of(part, records, receipt["chain"][-1]["digest"]))
        exhibits.append(
            SharesShown(part.name, names, shares["values"], shares["low"], shares["high"])
        )
        sentences.append(_sentence(names, shares, str(records["property"]["name"])))
        levels.append(float(shares["level"]))
    answer = QuestionAnswer(
        "credit",
        State.FOUND,
        " ".join(sentences),
        error_rate=round(1 - min(levels), 10),
        error_of=ERROR_OF,
        caveats=(CAVEAT,),
        parts=tuple(parts),
    )
    return Asked(answer, tuple(exhibits))


def _sentence(names: Sequence[str], shares: Mapping[str, Any], measured: str) -> str:
    resolved = sum(bool(x) for x in shares["resolved"])
    head = f"Of {len(names)} contributors to the model, {resolved} have a share of known sign"
    first = max(range(len(names)), key=lambda i: shares["values"][i])
    if max(shares["rank_low"]) > 1:
        return f"{head}; most credit for {measured}: {names[first]}."
    return f"{head}; for {measured} the runs do not tell them apart."


def _answer_of(part: CreditPart, records: Mapping[str, Any], chain: str) -> PartAnswer:
    shares = records["shares"]
    return PartAnswer.of(
        part,
        "credited",
        numbers={name: shares[name] for name in ("gain", "gain_error", "runs", "level")},
        details={
            "model": part.model,
            "property": records["property"]["name"],
            "method": shares["method"],
            "contributors": list(records["contributors"]),
            "shares": shares["values"],
            "from": shares["low"],
            "to": shares["high"],
            "last_digest_of_the_chain": chain,
        },
    )


def _not_asked(why: str) -> Asked:
    return Asked(QuestionAnswer.not_asked("credit", why))
