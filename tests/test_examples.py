"""Every Python block of README, docs and docstrings runs as it stands, in an empty folder."""

import ast
import importlib
import pydoc
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def docstrings(path):
    """The docstrings of a module, its classes and functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield ast.get_docstring(node) or ""


def blocks():
    """A parameter per Python block, named for the file that it stands in."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    texts = [(path, path.read_text(encoding="utf-8")) for path in pages]
    for path in sorted((ROOT / "src").rglob("*.py")):
        if "```python" in path.read_text(encoding="utf-8"):  # else 500 files are parsed in vain
            texts += [(path, text) for text in docstrings(path)]
    for path, text in texts:
        for number, block in enumerate(BLOCK.findall(text)):
            yield pytest.param(block, id=f"{path.relative_to(ROOT)}-{number}")


@pytest.mark.parametrize("block", list(blocks()))
def test_a_block_runs_as_it_stands__smoke(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "block", "exec"), {"__name__": "__main__"})  # noqa: S102 (our own text)


@pytest.mark.parametrize("package", ["attribution", "origin", "anomaly", "credit", "inversion"])
def test_each_question_has_an_example__identity_blocks(package):
    text = (ROOT / "src" / "wherefrom" / package / "__init__.py").read_text(encoding="utf-8")
    assert BLOCK.search(ast.get_docstring(ast.parse(text)) or "")


@pytest.mark.parametrize("package", ["attribution", "origin", "anomaly", "credit", "inversion"])
def test_help_is_a_short_page__identity_blocks(package):
    """Task, example and the few calls: no class with all that Python gives it."""
    page = pydoc.plain(pydoc.render_doc(importlib.import_module(f"wherefrom.{package}")))
    assert "```python" in page and len(page.splitlines()) <= 120
    assert "\nFUNCTIONS" in page and "\nCLASSES" not in page
