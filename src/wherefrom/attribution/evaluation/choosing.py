"""Which methods are compared, and with which settings, from their names and `name=value` texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.methods import METHODS, find_method
from wherefrom.core.errors import InputError
from wherefrom.data.altering.degradations import TABLE_3, Alteration
from wherefrom.generators.generator import Generator

ALL = "all"
Convert = Callable[[type, str], Any]  # a setting's type and its text -> its value, or ValueError


def choose_methods(
    names: Sequence[str],
    generator: Generator,
    *,
    preset: str = "default",
    note: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """The methods of these names, each once.

    "all" stands for every method that has the preset and whose needs the generator meets; `note` is
    told of the others.  A method asked for by name is always there.
    """
    if ALL not in names:
        return list(dict.fromkeys(names))
    having = {name: method for name, method in METHODS.items() if preset in method.presets}
    lacking = {name: method.lacks(generator) for name, method in having.items()}
    for name, part in lacking.items():
        if part:
            note(f"note: {name} is left out: the model has no {part}")
    return [name for name, part in lacking.items() if not part]


def settings_of(
    names: Sequence[str], *, preset: str, texts: Sequence[str], convert: Convert
) -> dict[str, AttributionConfig]:
    """The preset of every method, with the settings `name=value` for each method that has them.

    An `InputError` for a method, a preset or a setting that does not exist.
    """
    given = dict(_setting(text) for text in texts)
    configs, used = {}, set()
    for name in names:
        presets = find_method(name).presets
        if preset not in presets:
            raise InputError(f"{name} has no preset {preset!r}; it has {list(presets)}")
        config = presets[preset]
        own = {key: text for key, text in given.items() if _has(config.to_dict(), key)}
        used |= set(own)
        configs[name] = config.with_values(
            {key: _converted(config, key, text, convert) for key, text in own.items()}
        )
    for key in given:
        if key not in used:
            raise InputError(f"--setting {key}: none of {', '.join(names)} has that setting")
    return configs


def alterations_of(texts: Sequence[str]) -> tuple[Alteration, ...]:
    """The alterations `kind=strength`, each once; "all" stands for those of the paper's Table 3."""
    parts = ((Alteration.parse(text),) if text != ALL else TABLE_3 for text in texts)
    return tuple(dict.fromkeys(alteration for part in parts for alteration in part))


def _setting(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (name and separator and value):
        raise InputError(f"--setting {text!r} is not of the form name=value")
    return name, value


def _has(values: Mapping[str, Any], name: str) -> bool:
    head, _, rest = name.partition(".")
    if not rest:
        return head in values and not isinstance(values[head], Mapping)
    inner = values.get(head)
    return isinstance(inner, Mapping) and _has(inner, rest)


def _converted(config: Any, name: str, text: str, convert: Convert) -> Any:
    *groups, last = name.split(".")
    for group in groups:
        config = getattr(config, group)
    info = next(info for info in config.describe() if info.name == last)
    try:
        return convert(info.type, text)
    except ValueError as error:
        raise InputError(f"--setting {name}={text}: {error}") from error
