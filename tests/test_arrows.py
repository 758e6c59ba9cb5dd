"""Who may import whom: a layer imports only from those below, and its packages not each other."""

import ast
import functools
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

# From the lowest up.  Packages of one layer do not import each other.  Training lies below
# detectors and generators, because both train with it.
LAYERS = [
    {"core"},
    {"data"},
    {"training", "components"},
    {"encoders", "generators", "detectors", "calibration", "metrics"},
    {"attribution", "origin", "anomaly", "credit", "inversion"},
    {"case"},
    {"report"},
    {"web"},
    {"cli"},
    {"__main__"},
]
# Each costs more to import than a person should wait for `wherefrom --help`.
HEAVY = {"diffusers", "transformers", "accelerate", "sklearn", "scipy", "matplotlib", "jinja2"}
MODULES = sorted(SOURCE.rglob("*.py"))


def name_of(path):
    """The dotted name of a module's file."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def tree_of(path):
    """The module's syntax tree."""
    return ast.parse(path.read_text(), filename=str(path))


def statements(body):
    """All statements of `body`, those inside others too; an import stands nowhere else."""
    for node in body:
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from statements(getattr(node, part, ()))


def imported(nodes):
    """Dotted names of all that the nodes import, and of what they may import from packages."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import: write the whole name"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_start(body):
    """The statements that run when a module is imported: not those inside functions."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from at_start(node.orelse)
            continue
        yield node
        yield from at_start(ast.iter_child_nodes(node))


def layer_of(module):
    """(layer, package) of a dotted name, None for the package itself and for other packages."""
    parts = module.split(".")
    if parts[0] != "wherefrom" or len(parts) == 1:
        return None
    return next(((i, parts[1]) for i, names in enumerate(LAYERS) if parts[1] in names), None)


def forbidden(module, names):
    """The names among `names` that `module` may not import."""
    here = layer_of(module)
    for name in names:
        there = layer_of(name)
        if there is None:
            continue
        if here is None or there[0] > here[0] or (there[0] == here[0] and there != here):
            yield name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_only_point_down__identity_arrows(path):
    module = name_of(path)
    assert sorted(set(forbidden(module, imported(statements(tree_of(path).body))))) == []


def test_every_package_is_in_a_layer__identity_arrows():
    packages = {p.name for p in (SOURCE / "wherefrom").iterdir() if (p / "__init__.py").exists()}
    assert packages <= set().union(*LAYERS)


def test_the_command_line_starts_without_heavy_packages__identity_lazy():
    files = {name_of(path): path for path in MODULES}
    waiting, seen = [name for name in files if name.startswith("wherefrom.cli")], {}
    while waiting:
        module = waiting.pop()
        if module in files and module not in seen:
            seen[module] = set(imported(at_start(tree_of(files[module]).body)))
            waiting += [*seen[module], *(module.rpartition(".")[:1])]
    assert "wherefrom.core.errors" in seen
    heavy = {m: sorted(n for n in names if n.split(".")[0] in HEAVY) for m, names in seen.items()}
    assert {module: names for module, names in heavy.items() if names} == {}


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("wherefrom.core.saving.store", "wherefrom.data"),
        ("wherefrom.data.images.items", "wherefrom.generators.zoo.networks"),
        ("wherefrom.training.loop", "wherefrom.detectors"),
        ("wherefrom.detectors.deep_sad", "wherefrom.generators.zoo.networks"),
        ("wherefrom.origin.edit_map.fitting", "wherefrom.attribution.final_layer.lasso"),
        ("wherefrom.attribution.method", "wherefrom.report.pages.html"),
        ("wherefrom.web.app", "wherefrom.cli.main"),
        ("wherefrom", "wherefrom.core"),
    ],
)
def test_arrows_that_point_up_or_sideways__rejects(module, name):
    assert list(forbidden(module, [name])) == [name]
    assert list(forbidden("wherefrom.cli.main", ["wherefrom", "torch", "wherefrom.core"])) == []


@functools.cache
def graph():
    """The modules that each module imports anywhere, also inside functions and for types only."""
    files = {name_of(path): path for path in MODULES}
    edges = {}
    for name, path in files.items():
        edges[name] = set()
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Import):
                edges[name] |= {alias.name for alias in node.names} & files.keys()
            elif isinstance(node, ast.ImportFrom):
                full = {f"{node.module}.{alias.name}" for alias in node.names}
                edges[name] |= full & files.keys()
                edges[name] |= {node.module} & files.keys() if full - files.keys() else set()
        edges[name] -= {name}
    return edges


def circles(edges):
    """Groups of nodes that reach each other, sorted."""
    reached = {}
    for start in edges:
        seen, waiting = set(), [start]
        while waiting:
            for node in edges.get(waiting.pop(), ()):
                if node not in seen:
                    seen.add(node)
                    waiting.append(node)
        reached[start] = seen
    groups = {
        tuple(sorted(n for n in reached[start] if start in reached.get(n, ())))
        for start in edges
        if start in reached[start]
    }
    return sorted(groups)


def folded(edges, package):
    """The graph between the subfolders and modules that stand at the top of a package."""

    def at_top(name):
        return name.removeprefix(f"{package}.").split(".")[0]

    inner = {name: n for name, n in edges.items() if name.startswith(f"{package}.")}
    tops = {}
    for name, targets in inner.items():
        there = {at_top(n) for n in targets if n.startswith(f"{package}.")}
        tops.setdefault(at_top(name), set()).update(there - {at_top(name)})
    return tops


def test_no_modules_import_each_other__identity_circles():
    assert circles(graph()) == []


@pytest.mark.parametrize("package", sorted(set().union(*LAYERS) - {"__main__"}))
def test_subfolders_import_one_way__identity_arrows(package):
    assert circles(folded(graph(), f"wherefrom.{package}")) == []


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, [("b", "c")]),
        ({"p.x.a": {"p.y"}, "p.y": {"p.x.b"}, "p.x.b": set()}, []),
    ],
)
def test_a_circle_is_noticed__closed_form(edges, expected):
    assert circles(edges) == expected


def test_an_upward_arrow_between_subfolders_is_noticed__closed_form():
    edges = {"p.x.a": {"p.y"}, "p.y": {"p.x.b"}, "p.x.b": set()}
    assert circles(folded(edges, "p")) == [("x", "y")]
