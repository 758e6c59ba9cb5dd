"""The docs: links lead somewhere, commands exist, generated numbers are those of the results."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import click
import pytest

from wherefrom.cli.installed import reference
from wherefrom.cli.main import PROGRAM, cli

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("deploy/*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)|^\[[^\]]+\]: *(\S+)", re.MULTILINE)
SHELLS = ("sh", "bash", "shell")
PROMPT = "$ "
# A page in `nav` of mkdocs.yml, which is read without mkdocs or a YAML parser.
NAV = re.compile(r"^ +- [^:\n]+: (\S+\.md)$", re.MULTILINE)


def page_id(path):
    return str(path.relative_to(ROOT))


def links_in(text):
    """Targets of the links outside code that stay inside the project."""
    for found in LINK.finditer(re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))):
        target = found[1] or found[2]
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors_in(text):
    """The anchors that a forge makes of the headings."""
    headings = re.findall(r"^#+ +(.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in headings}


def broken_links(page, text):
    """Links of `text`, which stands at `page`, that lead nowhere."""
    for target in links_in(text):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        inside = path == ROOT or ROOT in path.parents
        if not (inside and path.exists()):
            yield target
        elif anchor and path.suffix == ".md":
            content = text if path == page else path.read_text()
            if anchor not in anchors_in(content):
                yield target


def commands_in(text):
    """Every `wherefrom ...` in a fenced block: each line of a shell block, else after a prompt."""
    for kind, block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            prompted = line.strip().startswith(PROMPT)
            if not (prompted or kind in SHELLS):
                continue
            words = shlex.split(line.strip().removeprefix(PROMPT), comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words and Path(words[0]).name == PROGRAM:
                end = (i for i, word in enumerate(words) if re.fullmatch(r"[|;&<>]+.*|2>.*", word))
                yield words[1 : next(end, len(words))]


def parse(words):
    """Walk the real commands and options; `click.UsageError` for what does not exist."""
    # As click itself makes it: a command keeps the help option of the first context it meets.
    command, context = cli, click.Context(cli, info_name=PROGRAM, **cli.context_settings)
    while True:
        params = {param.name: param for param in command.get_params(context)}
        given, words, _ = command.make_parser(context).parse_args(list(words))
        for name, value in given.items():
            check_value(params[name], value, context)
        if any(getattr(params[name], "is_eager", False) for name in given):
            return  # --help and --version end the line
        if not isinstance(command, click.Group):
            break
        if not words:
            raise click.UsageError(f"{context.command_path}: which command?")
        name, *words = words
        member = command.get_command(context, name)
        if member is None:
            raise click.UsageError(f"{context.command_path} has no command {name}")
        command, context = member, click.Context(member, info_name=name, parent=context)
    absent = [p.name for p in params.values() if p.required and not is_given(given.get(p.name))]
    if absent or words:
        raise click.UsageError(f"{context.command_path}: missing {absent}, too much {words}")


def is_given(value):
    """Whether the parser found a value; what it leaves where there is none differs by version."""
    return isinstance(value, (str, int)) or (isinstance(value, (list, tuple)) and len(value) > 0)


def check_value(param, value, context):
    """Convert what was written, except paths: a reader's files are not here."""
    if isinstance(param.type, (click.Path, click.File)) or getattr(param, "is_flag", False):
        return
    several = param.multiple or param.nargs != 1
    for item in value if several and isinstance(value, (list, tuple)) else [value]:
        if isinstance(item, str):
            param.type.convert(item, param, context)


def script(source, monkeypatch):
    """The module that a file of the project outside the package makes."""
    spec = importlib.util.spec_from_file_location(source.stem, source)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.syspath_prepend(source.parent)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def rendered(monkeypatch):
    """What `experiments/render_docs.py` makes of `docs/results`: {path: text}."""
    return script(ROOT / "experiments" / "render_docs.py", monkeypatch).render_all()


def nav_faults(config, docs):
    """What is wrong with `nav` in the text of mkdocs.yml: no such page, left out, or twice."""
    named = NAV.findall(config.partition("\nnav:\n")[2].partition("\n\n")[0])
    there = [str(path.relative_to(docs)) for path in docs.rglob("*.md")]
    return {
        "absent": sorted(set(named) - set(there)),
        "left out": sorted(set(there) - set(named)),
        "twice": sorted({name for name in named if named.count(name) > 1}),
    }


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere__identity_files(page):
    assert list(broken_links(page, page.read_text())) == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_exist_with_their_options__identity_cli(page):
    for words in commands_in(page.read_text()):
        try:
            parse(words)
        except click.UsageError as error:
            pytest.fail(f"{PROGRAM} {shlex.join(words)}: {error.format_message()}")


def test_generated_numbers_are_those_of_the_results__identity_render(monkeypatch):
    pages = rendered(monkeypatch)
    assert pages
    stale = [str(path) for path, text in pages.items() if (ROOT / path).read_text() != text]
    assert stale == [], "run: make docs"


def test_the_command_reference_is_that_of_the_help__identity_render():
    assert (ROOT / "docs" / "cli.md").read_text() == reference.render(), "run: make docs"


def test_every_page_is_in_the_nav_of_the_site__identity_files():
    faults = nav_faults((ROOT / "mkdocs.yml").read_text(), ROOT / "docs")
    assert not any(faults.values()), faults


def test_a_nav_with_faults__rejects(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.md").touch()
    config = "x: 1\n\nnav:\n  - A: a.md\n  - More:\n      - B: b.md\n      - Again: a.md\n"
    config += "      - D: d/d.md\n\nhooks: [c.md]\n"
    faults = nav_faults(config, tmp_path)
    assert faults == {"absent": ["d/d.md"], "left out": ["c.md"], "twice": ["a.md"]}


def test_the_site_asks_nobody_for_anything__identity_settings():
    config = (ROOT / "mkdocs.yml").read_text()
    assert "\n  font: false\n" in config
    assert not re.search(r"https?:|analytics|extra_javascript|extra_css", config)
    # Material's plugin for folders loads iframe-worker from unpkg.com.
    assert not re.search(r"^  - offline\b", config, re.MULTILINE)


def test_links_that_leave_the_site_become_text__closed_form(monkeypatch):
    cut = script(ROOT / "site_links.py", monkeypatch).without_outside_links
    text = "[a](../src/a.py) [b](b.md#c) ![d](../d.png) [e](https://x.org/../y) [f](#g)"
    assert cut("h.md", text) == "a" + text.removeprefix("[a](../src/a.py)")
    assert cut("deep/h.md", "[a](../b.md) [c](../../d.md)") == "[a](../b.md) c"


def test_a_link_to_nowhere__rejects():
    page = ROOT / "README.md"
    text = "# A b\n[x](no/such.md) [y](#a-b) ![z](no.png) [w](#c) [v](https://x.org) [u](../out)"
    assert list(broken_links(page, text)) == ["no/such.md", "no.png", "#c", "../out"]


def test_commands_are_found_in_shell_blocks_and_after_prompts__closed_form():
    text = (
        "```sh\nX=1 wherefrom a \\\n  --b 'c d' > out.txt\nmake demo\n```\n"
        "```console\n$ .venv/bin/wherefrom e | head # f\nwherefrom 0.1.0\n```\n"
        "```python\nwherefrom g\n```\nwherefrom h\n"
    )
    assert list(commands_in(text)) == [["a", "--b", "c d"], ["e"]]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "attribution",
        "attribution chek a b",
        "attribution check a b --jsn",
        "attribution check a",
        "--log-level loud doctor",
        "doctor extra",
        "attribution fit --out",
    ],
)
def test_commands_that_do_not_exist__rejects(line):
    with pytest.raises(click.UsageError):
        parse(line.split())


def test_commands_that_exist_are_accepted__closed_form():
    for line in ("doctor --json", "--version", "attribution check a b c --json", "zoo --help"):
        parse(line.split())
