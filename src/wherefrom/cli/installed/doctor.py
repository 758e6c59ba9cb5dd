"""`wherefrom doctor`: check the installation."""

from __future__ import annotations

import importlib
import importlib.metadata
import locale
import os
import platform
import re
import shutil
import sys
from dataclasses import asdict, dataclass

import click

from wherefrom import __version__
from wherefrom.cli.console.options import json_option
from wherefrom.cli.console.session import print_json, print_table

GOOD, WARNING, MISSING = "ok", "note", "missing"
# Extras for people who use the program, and what needs them; the rest is for its developers.
USER_EXTRAS = {
    "diffusers": "diffusion models as generators, encoders and in credit studies",
    "anomaly": "the default network of anomaly, of origin build, and the demo",
    "heif": "reading HEIC files",
    "c2pa": "inspect --sign-key, case verify, Content Credentials",
    "web": "serve",
    "postgres": "serve --history",
    "attribution": "attribution fit --method fingerprint",
    "credit": "credit studies with LoRA",
    "inversion": "inversion train --tensorboard",
    "ray": "--executor ray",
    "onnx": "ONNX files as feature networks",
    "faiss": "origin search with an accelerator",
    "milvus": "an index on Milvus, from Python",
    "dataframe": "results as pandas data frames, from Python",
}
_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)\s*(?:>=\s*(?P<least>[0-9.]+))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"](?P<extra>[^'\"]+)['\"]")


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis.  `state` is ok, note or missing; missing fails the doctor."""

    part: str
    name: str
    state: str
    value: str
    advice: str = ""


def examine() -> list[Finding]:
    """All findings, in the order in which they are printed."""
    return [*_versions(), *_packages(), *_devices(), *_models(), *_surroundings()]


def _versions() -> list[Finding]:
    return [
        Finding("program", "wherefrom", GOOD, __version__),
        Finding("program", "python", GOOD, f"{platform.python_version()} ({sys.executable})"),
        Finding("program", "system", GOOD, platform.platform()),
    ]


def _packages() -> list[Finding]:
    try:
        lines = importlib.metadata.requires("wherefrom") or []
    except importlib.metadata.PackageNotFoundError:
        advice = "run: pip install -e ."
        return [Finding("packages", "wherefrom", WARNING, "run from its source folder", advice)]
    findings = []
    for line in lines:
        match, extra = _REQUIREMENT.match(line), _EXTRA.search(line)
        if match is not None and (extra is None or extra["extra"] in USER_EXTRAS):
            findings.append(_package(match["name"], match["least"], extra and extra["extra"]))
    return findings


def _package(name: str, least: str | None, extra: str | None) -> Finding:
    part = "packages" if extra is None else f"extra {extra}"
    target = name if extra is None else f"wherefrom[{extra}]"
    command = f"run: pip install --upgrade '{target}'"
    advice = command if extra is None else f"for {USER_EXTRAS[extra]}; {command}"
    absent = MISSING if extra is None else WARNING
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(part, name, absent, "not installed", advice)
    if least is not None and _numbers(version) < _numbers(least):
        return Finding(part, name, absent, f"{version}, at least {least} is needed", advice)
    return Finding(part, name, GOOD, version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _devices() -> list[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        reason = (str(error).splitlines() or [""])[0]
        return [Finding("devices", "torch", MISSING, reason, "run: pip install torch")]
    limit = os.environ.get("OMP_NUM_THREADS")
    findings = [
        Finding(
            "devices",
            "cpu",
            GOOD,
            f"{torch.get_num_threads()} threads of {os.cpu_count()} cores",
            f"OMP_NUM_THREADS is {limit}" if limit else "",
        )
    ]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            size = f"{card.name}, {card.total_memory / 2**30:.0f} GiB"
            findings.append(Finding("devices", f"cuda:{index}", GOOD, size))
    else:
        built = torch.version.cuda
        why = "this PyTorch is built without it" if built is None else f"built for {built}, no GPU"
        findings.append(Finding("devices", "cuda", WARNING, f"not available: {why}"))
    mps = torch.backends.mps.is_available()
    if mps or sys.platform == "darwin":
        findings.append(Finding("devices", "mps", GOOD, "available" if mps else "not available"))
    return findings


def _models() -> list[Finding]:
    try:
        from wherefrom.cli.installed.shipped import describe_encoders, describe_shipped

        models, encoders = describe_shipped(), describe_encoders()
    except ImportError as error:
        return [Finding("models", "zoo", MISSING, f"cannot be read: {error}", "see packages")]
    none = "none is shipped with this package"
    findings = [
        Finding("encoders", e.name, _good(e.state), f"{e.state}, {e.digest}", e.path)
        for e in encoders
    ] or [Finding("encoders", "default", WARNING, none, "name a folder with --encoder")]
    findings += [Finding("models", m.name, _good(m.state), m.state, m.path) for m in models]
    return findings if models else [*findings, Finding("models", "zoo", WARNING, none)]


def _good(state: str) -> str:
    return GOOD if state == GOOD else MISSING


def _surroundings() -> list[Finding]:
    encoding = locale.getpreferredencoding(do_setlocale=False)
    utf8 = encoding.lower().replace("-", "") == "utf8"
    width = shutil.get_terminal_size().columns
    return [
        Finding(
            "surroundings",
            "text encoding",
            GOOD if utf8 else WARNING,
            encoding,
            "" if utf8 else "names outside it are shown as escapes; run: export LC_ALL=C.UTF-8",
        ),
        Finding(
            "surroundings",
            "output",
            GOOD,
            f"a terminal {width} columns wide"
            if sys.stdout.isatty()
            else "not a terminal: plain tables",
        ),
    ]


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """List installed packages and devices, and check the shipped models.

    Exits with 2 if something that is needed is missing or damaged.

    \b
    Example:
      wherefrom doctor
    """
    from wherefrom.report.pages.tables import Table, columns_of

    findings = examine()
    healthy = all(finding.state != MISSING for finding in findings)
    if as_json:
        listed = [asdict(finding) for finding in findings]
        print_json({"wherefrom": __version__, "healthy": healthy, "findings": listed})
    else:
        columns = columns_of("part | name | state | found:text | advice:text")
        rows = tuple((f.part, f.name, f.state, f.value, f.advice) for f in findings)
        print_table(Table(columns, rows))
        click.echo("everything that is needed is installed" if healthy else "something is missing")
    if not healthy:
        ctx.exit(2)
