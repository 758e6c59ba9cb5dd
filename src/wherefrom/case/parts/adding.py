"""Adding parts to a case, and checking that its parts can still be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ParamSpec

from wherefrom.case.parts.file import KINDS, Case, PartConfig, kind_of, refuse_name, relative
from wherefrom.case.parts.opened import (
    digest_of,
    find_kind,
    load_part,
    require_models,
    require_rates,
)
from wherefrom.core.errors import InputError, WherefromError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet

P = ParamSpec("P")
USABLE = "ok"


@dataclass(frozen=True)
class PartState:
    """One part of a case; `state` is `ok`, or why the part cannot be used."""

    kind: str
    name: str
    path: str
    state: str


@dataclass(frozen=True)
class CaseState:
    """Whether a case can be used.  `problem`: why its parts do not fit together, or empty."""

    case: Case
    parts: tuple[PartState, ...]
    problem: str

    @property
    def reason(self) -> str:
        """The first thing that is wrong; empty if nothing is."""
        wrong = (part.state for part in self.parts if part.state != USABLE)
        return next(wrong, self.problem)

    def to_dict(self) -> dict[str, Any]:
        return {
            "case": self.case.config.name,
            "digest": self.case.digest,
            "problem": self.problem,
            "healthy": not self.reason,
            "parts": [asdict(part) for part in self.parts],
        }


def add_parts(
    case: Case,
    paths: Sequence[Path],
    *,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    note: Callable[[str], None] = lambda line: None,
) -> Case:
    """The case with a part for each path; every part is opened once, and all are checked together.

    `name` and `settings` as in `describe_part`.  With `overwrite` a part may replace another one
    of its kind and name.  `note` is given a line for every path.  An `InputError` for a part that
    could not be used later.  The file is not written; `write_case` does that.
    """
    if name is not None and len(paths) > 1:
        raise InputError(f"--name is one name, but {len(paths)} paths are given; add them singly")
    for path in paths:
        part = describe_part(path, case.path, name=name, settings=settings or {})
        case = case.adding(part, overwrite=overwrite)
        _open_once(case, part)
        note(f"{path} is whole: {part.digest}")
    require_models(case)
    require_rates(case)
    return case


def describe_part(
    path: Path, case: Path, *, name: str | None = None, settings: Mapping[str, Any]
) -> PartConfig:
    """What a case file at `case` says about the attributor, index, ... at `path`.

    `name`: default the file's name.  `settings`: those of the kind, as `false_alarms`.
    """
    kind = find_kind(path)
    name = path.resolve().stem if name is None else name
    refuse_name(name)
    if kind == "credit" and "model" not in settings:
        raise InputError(
            f"{show_path(path)} is a credit receipt; say with --model which attributor it is of"
        )
    known = {info.name for info in KINDS[kind].describe()}
    for option in settings:
        if option not in known:
            flag = option.replace("_", "-")
            raise InputError(
                f"{show_path(path)} is of the kind {kind}, which takes no --{flag}; leave it out"
            )
    place = {"name": name, "path": relative(path, case), "digest": digest_of(kind, path)}
    encoder = settings.get("encoder", "")
    if encoder and Path(encoder).is_dir():
        place["encoder"] = relative(Path(encoder), case)
    return KINDS[kind].from_dict({**settings, **place})


def check_case(case: Case, *, track: Track = quiet) -> CaseState:
    """Open every part, and say which are missing, changed or unusable."""
    parts = tuple(
        PartState(kind_of(part), part.name, part.path, _problem(_open_once, case, part) or USABLE)
        for part in track(case.parts, "checking parts of the case", total=len(case.parts))
    )
    return CaseState(case, parts, _problem(require_models, case) or _problem(require_rates, case))


def _open_once(case: Case, part: PartConfig) -> None:
    close = getattr(load_part(case, part), "close", None)
    if close is not None:
        close()


def _problem(check: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> str:
    """Why `check` refuses its arguments; empty if it does not."""
    try:
        check(*args, **kwargs)
    except WherefromError as error:
        return str(error)
    return ""
