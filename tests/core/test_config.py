"""Configs: what is refused, what is nested, what is derived."""

import json
from dataclasses import dataclass

import pytest

from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Inner(Config):
    """A method's own settings."""

    iterations: int = setting(50, "how long", low=1)
    effort: str = setting("fast", "how hard", choices=("fast", "exact"))


@dataclass(frozen=True, kw_only=True)
class Outer(Config):
    """A method that uses another."""

    lam: float = setting(5e-4, "weight", source="Eq. 5", low=0.0, high=1.0)
    limit: int | None = setting(None, "at most so many")
    twice: bool = setting(False, "do it twice")
    inner: Inner = setting(Inner(iterations=7), "the other method")


@dataclass(frozen=True, kw_only=True)
class Whole(Config):
    """Three floors."""

    outer: Outer = setting(Outer(lam=0.25), "the middle floor")


def test_describe_gives_names_types_defaults_and_sources__identity_declaration():
    infos = {info.name: info for info in Outer.describe()}
    assert list(infos) == ["lam", "limit", "twice", "inner"]
    assert [info.type for info in infos.values()] == [float, int, bool, Inner]
    assert [info.optional for info in infos.values()] == [False, True, False, False]
    lam = infos["lam"]
    assert (lam.default, lam.help, lam.source, lam.low, lam.high) == (5e-4, "weight", "Eq. 5", 0, 1)
    assert infos["inner"].default == Inner(iterations=7)


@pytest.mark.parametrize(
    "config", [Outer(), Outer(limit=3, inner=Inner(effort="exact")), Whole(outer=Outer(lam=1.0))]
)
def test_to_dict_and_from_dict_through_json__roundtrip(config):
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_partial_nested_mapping_keeps_the_outer_defaults__closed_form():
    assert Outer.from_dict({"inner": {"effort": "exact"}}).inner == Inner(
        iterations=7, effort="exact"
    )
    deep = Whole.from_dict({"outer": {"inner": {"effort": "exact"}}})
    assert deep.outer == Outer(lam=0.25, inner=Inner(iterations=7, effort="exact"))


def test_with_values_takes_dotted_names_and_keeps_the_rest__closed_form():
    start = Whole(outer=Outer(limit=2, twice=True))
    changed = start.with_values({"outer.inner.iterations": 20, "outer.lam": 1})
    assert changed == Whole(outer=Outer(lam=1.0, limit=2, twice=True, inner=Inner(iterations=20)))
    assert start.outer.inner.iterations == 7
    assert start.with_values({}) == start
    assert start.with_values({"outer.limit": None}).outer.limit is None


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"lamb": 1.0}, ["Outer", "'lamb'", "'lam'"]),
        ({"inner": {"iteratons": 1}}, ["Outer.inner", "'iteratons'", "'iterations'"]),
        ({"inner": {"iterations": {"x": 1}}}, ["Outer.inner", "'iterations.x'"]),
        ({"zzz": 1}, ["'zzz'", "known: inner, lam, limit, twice"]),
        ([], ["Outer", "mapping"]),
    ],
)
def test_unknown_names__rejects_with_path_and_nearest(values, parts):
    with pytest.raises(InputError) as error:
        Outer.from_dict(values)
    assert all(part in str(error.value) for part in parts)


@pytest.mark.parametrize("name", ["inner.iteratons", "inner", "lam.x", "iterations", ""])
def test_unknown_dotted_names__rejects_what_is_no_setting(name):
    with pytest.raises(InputError, match="has no setting"):
        Outer().with_values({name: 1})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lam": "1"}, "Outer.lam is '1', but it must be of type float"),
        ({"lam": True}, "type float"),
        ({"lam": float("nan")}, "finite"),
        ({"lam": 10**400}, "finite"),
        ({"lam": 1.5}, r"in \[0.0, 1.0\]"),
        ({"lam": -0.5}, r"in \[0.0, 1.0\]"),
        ({"limit": 2.0}, "type int"),
        ({"limit": True}, "type int"),
        ({"twice": 1}, "type bool"),
        ({"twice": None}, "type bool"),
        ({"inner": 3}, "Outer.inner is 3, but it must be of type Inner"),
        ({"inner": {"iterations": 0}}, "at least 1"),
        ({"inner": {"effort": "hard"}}, "choose one of fast, exact"),
    ],
)
def test_wrong_values__rejects_type_range_and_choice(values, message):
    with pytest.raises(InputError, match=message):
        Outer.from_dict(values)


def test_whole_numbers_are_taken_as_floats__identity_type():
    assert isinstance(Outer(lam=1).lam, float)
