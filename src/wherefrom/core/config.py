"""Settings of methods: frozen dataclasses that hold each default, its help line and its source.

Command-line options, documentation tables and web forms are derived from `describe`.  A setting may
itself be a `Config`: as a mapping it is nested, on the command line its names are joined by dots.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Self

from wherefrom.core.errors import InputError


def setting(
    default: Any,
    help: str,  # noqa: A002 (the word every option parser uses)
    *,
    source: str = "",
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    images_only: bool = False,
) -> Any:
    """A dataclass field with its help line, where the default comes from, and its allowed range.

    `images_only`: the setting means nothing for a model that makes rows of numbers.
    """
    metadata = {"help": help, "source": source, "choices": choices, "low": low, "high": high}
    return dataclasses.field(default=default, metadata=metadata | {"images_only": images_only})


@dataclasses.dataclass(frozen=True)
class SettingInfo:
    """One setting as the command line and the docs show it."""

    name: str
    type: type
    default: Any
    help: str
    source: str
    choices: tuple[str, ...]
    optional: bool
    low: float | None
    high: float | None
    images_only: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every method's settings; values are checked when a config is created."""

    def __post_init__(self) -> None:
        for info in self.describe():
            value = getattr(self, info.name)
            if value is None and info.optional:
                continue
            object.__setattr__(self, info.name, _checked(type(self).__name__, info, value))

    @classmethod
    def describe(cls) -> list[SettingInfo]:
        """The settings in order of declaration."""
        if cls not in _DESCRIBED:
            hints = typing.get_type_hints(cls)
            _DESCRIBED[cls] = [_info(f, hints[f.name]) for f in dataclasses.fields(cls)]
        return list(_DESCRIBED[cls])

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values, nested ones as mappings; names left out keep their default.

        An unknown name is an `InputError` with its dotted path and the nearest known name.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"{cls.__name__} is {values!r}, but it must be a mapping of settings")
        names = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in names:
                raise _unknown(cls.__name__, str(name), names)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain JSON values, nested as they are."""
        return dataclasses.asdict(self)

    def with_values(self, overrides: Mapping[str, Any]) -> Self:
        """A copy with other values, given by flat dotted names, as in `{"lasso.iterations": 20}`.

        An unknown name, or that of a whole group, is an `InputError`.
        """
        settings = _flat(dataclasses.asdict(self))
        for name, value in overrides.items():
            if name not in settings:
                raise _unknown(type(self).__name__, name, settings)
            settings[name] = value
        return type(self).from_dict(_nested(settings))


_DESCRIBED: dict[type[Config], list[SettingInfo]] = {}  # worked out once for each class


def _info(field: dataclasses.Field[Any], hint: Any) -> SettingInfo:
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds = [member for member in members if member is not type(None)]
    meta = field.metadata
    return SettingInfo(
        name=field.name,
        type=kinds[0],
        default=field.default,
        help=meta.get("help", ""),
        source=meta.get("source", ""),
        choices=meta.get("choices", ()),
        optional=len(kinds) < len(members),
        low=meta.get("low"),
        high=meta.get("high"),
        images_only=meta.get("images_only", False),
    )


def _checked(owner: str, info: SettingInfo, value: Any) -> Any:
    where = f"{owner}.{info.name}"
    if issubclass(info.type, Config) and isinstance(value, Mapping):
        return _checked_group(where, info, value)
    if info.type is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1000 else math.inf
    if not isinstance(value, info.type) or (info.type is int and isinstance(value, bool)):
        raise InputError(f"{where} is {value!r}, but it must be of type {info.type.__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where} is {value}, but it must be a finite number")
    if info.choices and value not in info.choices:
        raise InputError(f"{where} is {value!r}; choose one of {', '.join(info.choices)}")
    if _is_outside(value, info):
        raise InputError(f"{where} is {value}, but it must be {_range(info)}")
    return value


def _checked_group(where: str, info: SettingInfo, values: Mapping[str, Any]) -> Config:
    base = info.default if isinstance(info.default, Config) else info.type()
    settings = _flat(values)
    known = _flat(base.to_dict())
    for name in settings:
        if name not in known:
            raise _unknown(where, name, known)
    return base.with_values(settings)


def _is_outside(value: Any, info: SettingInfo) -> bool:
    below = info.low is not None and value < info.low
    return below or (info.high is not None and value > info.high)


def _range(info: SettingInfo) -> str:
    if info.high is None:
        return f"at least {info.low}"
    return f"at most {info.high}" if info.low is None else f"in [{info.low}, {info.high}]"


def _unknown(owner: str, name: str, known: Iterable[str]) -> InputError:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
    return InputError(f"{owner} has no setting {name!r}; {hint}")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *groups, name = path.split(".")
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return tree
