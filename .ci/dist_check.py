"""Build the package twice and install it as a stranger would.  `make dist-check` runs it.

    python .ci/dist_check.py [--no-extras]

It shows that wheel and sdist are the same bytes whatever the time and the modes of the files, that
they hold what they should and nothing else, that the installed wheel works, and that every extra
resolves with constraints.txt (which asks the package index).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHIPPED = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"]
EPOCH, OTHER_TIME = "1700000000", 1_000_000_000
# What users need besides the modules.
IN_WHEEL = (
    "py.typed",
    "case/inspection.schema.json",
    "report/templates/page.html.j2",
    "report/templates/page.css",
    "web/page/index.html",
    "web/page/app.js",
    "web/page/style.css",
)
# What nobody should find in it.
NOT_IN_WHEEL = re.compile(
    r"(^|/)(tests?|docs|build|dist|\.[^/]*|conftest\.py|Makefile)(/|$)|\.pyc$"
)
STRAY = "key.pem"  # lies in the copy that is built, and must not come along


def run(*words: str | Path, cwd: Path, **variables: str) -> str:
    """The output of a command that must end well, in an environment without PYTHONPATH."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    told = [str(word) for word in words]
    done = subprocess.run(told, cwd=cwd, env=clean | variables, capture_output=True, text=True)  # noqa: PLW1510
    if done.returncode:
        sys.exit(f"failed: {' '.join(told)}\n{done.stdout}{done.stderr}")
    return done.stdout


def copy_project(target: Path, *, time: int | None) -> None:
    """The project's files in a new folder; with `time` all of that age, and for the owner only."""
    target.mkdir()
    skip = shutil.ignore_patterns("__pycache__", "out", "venv")
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=skip)
        else:
            shutil.copy(source, target / name)
    (target / STRAY).write_text("not to be shipped")
    for path in sorted(target.rglob("*")) if time is not None else ():
        os.utime(path, (time, time))
        path.chmod(path.stat().st_mode & 0o700)


def build(project: Path, out: Path) -> tuple[Path, Path]:
    """Wheel and sdist of the project."""
    targets = ("--target", "wheel", "--target", "sdist")
    command = (sys.executable, "-m", "hatchling", "build", *targets, "--directory", out)
    run(*command, cwd=project, SOURCE_DATE_EPOCH=EPOCH)
    (wheel,), (source,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, source


def require(holds: bool, problem: str) -> None:
    """End with the problem unless it holds."""
    if not holds:
        sys.exit(f"failed: {problem}")


def check_content(wheel: Path, source: Path) -> None:
    """What is in the files, against what is in the project."""
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    package = ROOT / "src" / "wherefrom"
    wanted = {f"wherefrom/{name}" for name in IN_WHEEL}
    folders = [*package.rglob("*.py"), *(package / "assets").rglob("*")]
    files = [path for path in folders if path.is_file()]
    wanted |= {str(path.relative_to(ROOT / "src")) for path in files if path.suffix != ".pyc"}
    require(wanted <= inside, f"the wheel lacks {sorted(wanted - inside)[:5]}")
    bad = sorted(name for name in inside if NOT_IN_WHEEL.search(name))
    require(not bad, f"the wheel holds {bad[:5]}")
    tops = {name.split("/")[0].partition("-")[0] for name in inside}
    require(tops == {"wherefrom"}, f"the wheel holds other folders: {sorted(tops)}")
    licences = [name for name in inside if ".dist-info/licenses/" in name]
    notices = len(list(package.rglob("NOTICE.md")))
    found = sum(name.endswith("/NOTICE.md") for name in licences)
    require(found == notices, f"{found} of {notices} notices are among the wheel's licences")
    require(any(name.endswith("/LICENSE") for name in licences), "the wheel has no LICENSE")
    with tarfile.open(source) as archive:
        listed = {name.partition("/")[2].split("/")[0] for name in archive.getnames()}
    allowed = {name.split("/")[0] for name in SHIPPED} | {"PKG-INFO", ".gitignore"}
    require(listed <= allowed, f"the sdist holds {sorted(listed - allowed)}")
    require({"src", "tests", "LICENSE", "constraints.txt"} <= listed, "the sdist is not whole")
    print(f"content: {len(inside)} files in the wheel, {found} notices; {len(listed)} in the sdist")


def install(wheel: Path, home: Path) -> Path:
    """The wheel in a fresh environment that borrows its dependencies; that Python."""
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=home)
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home)
    # A plain line of a .pth file: what is installed editable there does not come along.
    (Path(own.strip()) / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return python


def check_installed(python: Path, home: Path) -> None:
    """The installed commands, outside of the project."""
    where = run(python, "-c", "import wherefrom; print(wherefrom.__file__)", cwd=home).strip()
    require(Path(where).is_relative_to(home), f"not the wheel was imported, but {where}")
    version = run(python, "-m", "wherefrom", "--version", cwd=home)
    require(PROJECT["project"]["version"] in version, f"--version says {version.strip()}")
    command = python.with_name("wherefrom")
    require("Usage: wherefrom" in run(command, "--help", cwd=home), "--help says nothing")
    health = run(command, "doctor", cwd=home).strip().splitlines()[-1]
    print(f"installed: {version.strip()}; doctor: {health}")


def check_extras(python: Path, wheel: Path, home: Path) -> None:
    """Every extra resolves with the pinned versions; nothing is installed."""
    pip = (python, "-m", "pip", "install", "--quiet", "--dry-run")
    for extra in PROJECT["project"]["optional-dependencies"]:
        wanted = f"wherefrom[{extra}] @ {wheel.as_uri()}"
        run(*pip, "--constraint", ROOT / "constraints.txt", wanted, cwd=home)
        print(f"extra {extra}: resolves")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        copy_project(place / "first", time=None)
        copy_project(place / "second", time=OTHER_TIME)
        first = build(place / "first", place / "out-1")
        second = build(place / "second", place / "out-2")
        for mine, other in zip(first, second, strict=True):
            require(
                mine.read_bytes() == other.read_bytes(), f"{mine.name} differs when built again"
            )
            print(f"built twice, the same bytes: {mine.name}")
        check_content(*first)
        python = install(first[0], place / "fresh")
        check_installed(python, place / "fresh")
        if "--no-extras" not in sys.argv[1:]:
            check_extras(python, first[0], place / "fresh")


if __name__ == "__main__":
    main()
