"""Names of the source: a value is called what it is, a class name means one thing, limits alike."""

import ast
import functools
from collections import defaultdict
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
MODULES = sorted(SOURCE.rglob("*.py"))
# Words that say where a value came from, and not what it is.
EMPTY_WORDS = frozenset(
    ("found", "told", "made", "kept", "left", "judged", "worn", "further", "one")
)
UNLIKE_LIMITS = frozenset(("MOST", "FEWEST", "LARGEST", "SMALLEST", "LEAST"))  # MAX and MIN


@functools.cache
def tree_of(path):
    """The module's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def named_values(tree):
    """Names of parameters, variables and fields, with their line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno


def named_badly(tree):
    """`line: name` of every value with an empty word for a name, and of limits named unlike."""
    for name, line in named_values(tree):
        plain = name.lstrip("_")
        if plain in EMPTY_WORDS or (plain.isupper() and plain.split("_")[0] in UNLIKE_LIMITS):
            yield f"{line}: {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_names_say_what_a_value_is__identity_words(path):
    assert list(named_badly(tree_of(path))) == []


def test_a_class_name_means_one_thing__identity_unique():
    homes = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(str(path.relative_to(SOURCE)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("found = 1", ["1: found"]),
        ("def f(told): pass", ["1: told"]),
        ("for one in x: pass", ["1: one"]),
        ("MOST_BITS = 3", ["1: MOST_BITS"]),
        ("_FEWEST = 3", ["1: _FEWEST"]),
        ("class A:\n    kept: int", ["2: kept"]),
        ("MAX_BITS = 3; matches = f(found=1)", []),
    ],
)
def test_a_bad_name_is_noticed__closed_form(text, bad):
    assert list(named_badly(ast.parse(text))) == bad
