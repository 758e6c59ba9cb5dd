"""The reference deployment: what it names exists, and its pieces that can run here do."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from conftest import PATIENCE, Client

from wherefrom.cli.case.serve import serve as command
from wherefrom.web import asgi
from wherefrom.web.app import create_app
from wherefrom.web.jobs.databases import _parsed, _shown
from wherefrom.web.settings import HISTORY, TOKEN

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
README = (DEPLOY / "README.md").read_text()
OURS = [name for name in COMPOSE["services"] if name.startswith("wherefrom")]
CLI_VARIABLES = {TOKEN, HISTORY, f"{TOKEN}_FILE", f"{HISTORY}_FILE"}
ASGI_VARIABLES = CLI_VARIABLES | {asgi.CASE, asgi.DATA, asgi.DEVICE}
PORT = "8420"


def arguments():
    """What stands behind `wherefrom` in the services."""
    return COMPOSE["services"][OURS[0]]["command"]


@pytest.fixture
def no_variables(monkeypatch):
    for name in CLI_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_the_services_are_several_and_the_same__closed_form():
    assert len(OURS) == 2
    assert all(COMPOSE["services"][name] == COMPOSE["services"][OURS[0]] for name in OURS)


def test_their_command_and_its_options_exist__identity_cli():
    name, *options = arguments()
    assert name == command.name
    given = command.make_context(name, options).params
    assert (str(given["port"]), given["host"]) == (PORT, "0.0.0.0")  # noqa: S104
    assert given["case"].parent == Path("/case")
    with pytest.raises(click.NoSuchOption):
        command.make_context(name, [*options, "--no-such-option=1"])


def test_every_variable_that_is_named_exists__identity_cli():
    set_there = COMPOSE["services"][OURS[0]]["environment"]
    assert {name for name in set_there if name.startswith("WHEREFROM")} <= CLI_VARIABLES
    named = set(re.findall(r"WHEREFROM_[A-Z_]+", README))
    settings = {name for name in named if name.startswith(asgi.SETTING)}
    known = {param.name for param in command.get_params(click.Context(command))}
    assert {f"setting__{name.removeprefix(asgi.SETTING).lower()}" for name in settings} <= known
    assert named - settings <= ASGI_VARIABLES
    options = {
        option for param in command.get_params(click.Context(command)) for option in param.opts
    }
    assert set(re.findall(r"`(--[a-z-]+)`", README)) <= options


def test_every_secret_volume_and_service_that_is_used_is_defined__closed_form():
    secrets, volumes = COMPOSE["secrets"], COMPOSE["volumes"]
    used = {secret for each in COMPOSE["services"].values() for secret in each.get("secrets", ())}
    assert used == set(secrets)
    for name, secret in secrets.items():
        assert secret["file"] == f"./secrets/{name}"
    for each in COMPOSE["services"].values():
        for volume in each["volumes"]:
            source = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", volume).partition(":")[0]
            assert source in volumes or source.startswith("./"), volume
        assert set(each.get("depends_on", ())) <= set(COMPOSE["services"])
        paths = [v for v in each.get("environment", {}).values() if v.startswith("/run/secrets/")]
        assert {Path(path).name for path in paths} == set(each.get("secrets", ()))
    assert (DEPLOY / "Caddyfile").is_file()


def test_the_proxy_asks_the_services_for_their_health__identity():
    text = (DEPLOY / "Caddyfile").read_text()
    (upstreams,) = re.findall(r"reverse_proxy (.*) \{", text)
    assert upstreams.split() == [f"{name}:{PORT}" for name in OURS]
    (path,) = re.findall(r"health_uri (\S+)", text)
    assert path == "/healthz"
    assert text.count("{") == text.count("}")


def test_the_image_is_built_of_what_there_is__closed_form():
    text = (DEPLOY / "Dockerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r'"\.\[(.*)\]"', text)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    (entry,) = re.findall(r'ENTRYPOINT \["(.*)"\]', text)
    assert entry in project["scripts"]
    (version,) = re.findall(r"FROM python:(\S+)-slim", text)
    assert project["requires-python"] == f">={version}"
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    for line in re.findall(r"COPY (.*)", text):
        for name in line.split()[:-1]:
            assert (ROOT / name).exists()
            assert f"!{name}" in ignored
    assert f"EXPOSE {PORT}" in text


def test_the_secrets_are_made_as_the_readme_says__closed_form(tmp_path):
    (block,) = (b for b in re.findall(r"```sh\n(.*?)```", README, re.S) if "docker" in b)
    lines = [line for line in block.splitlines() if "docker" not in line]
    subprocess.run(["sh", "-ec", "\n".join(lines)], cwd=tmp_path, check=True)
    made = {path.name: path.read_text().strip() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(COMPOSE["secrets"])
    assert made["postgres-password"] in made["history"]
    user = COMPOSE["services"]["postgres"]["environment"]
    url = _parsed(made["history"])
    assert _shown(url) == f"postgres/{user['POSTGRES_DB']}"
    assert (url.username, url.password) == (user["POSTGRES_USER"], made["postgres-password"])
    assert len(made["token"]) >= 16


def health_check(port):
    """The exit status of the check in the compose file."""
    name, *words = COMPOSE["services"][OURS[0]]["healthcheck"]["test"]
    assert name == "CMD"
    asked = [word.replace(PORT, str(port)).replace("python", sys.executable) for word in words]
    return subprocess.run(asked, stderr=subprocess.DEVNULL, check=False).returncode


def test_the_health_check_tells_a_service_that_works__closed_form(serve):
    running = serve(token="x" * 16)
    assert health_check(running.client.port) == 0
    running.service.closing = True
    assert health_check(running.client.port) != 0
    assert (
        "/healthz" in create_app(running.service, case="", token=None, host="").openapi()["paths"]
    )


def test_postgres_says_when_it_is_ready__closed_form(cluster):
    name, *words = COMPOSE["services"]["postgres"]["healthcheck"]["test"]
    assert (name, words[0]) == ("CMD", "pg_isready")
    program = shutil.which("pg_isready") or str(cluster.bin / "pg_isready")
    asked = [program, *words[1:], f"--port={cluster.port}"]
    assert subprocess.run(asked, stdout=subprocess.DEVNULL, check=False).returncode == 0


@pytest.mark.slow
def test_the_two_services_of_the_file_share_the_work__identity(
    case_file, world, address, tmp_path, monkeypatch, no_variables
):
    for name, text in (("token", "a token of the deployment"), ("history", address)):
        (tmp_path / name).write_text(text)
    for name, value in COMPOSE["services"][OURS[0]]["environment"].items():
        if name.startswith("WHEREFROM"):
            monkeypatch.setenv(name, value.replace("/run/secrets", str(tmp_path)))
    there = {"/case/case.toml": str(case_file), "=/data": f"={tmp_path / 'data'}", PORT: "0"}
    words = [*arguments(), "--lease-seconds=2"]
    for old, new in there.items():
        words = [word.replace(old, new) for word in words]
    processes = []
    try:
        for _ in OURS:
            asked = [sys.executable, "-m", "wherefrom", "-q", *words]
            processes.append(subprocess.Popen(asked, stdout=subprocess.PIPE, text=True))
        ports = [int(p.stdout.readline().rpartition(":")[2]) for p in processes]
        one, other = (Client(port, "a token of the deployment") for port in ports)
        assert [health_check(port) for port in ports] == [0, 0]
        image = (world.photos / "003.png").read_bytes()
        jobs = [client.submit(image) for client in (one, other, one, other)]
        processes[0].kill()
        ended = [other.wait(job) for job in jobs]
        assert [job["state"] for job in ended] == ["done"] * 4
        for job in jobs:
            page = other.ask("GET", f"/api/jobs/{job['id']}/report.html")
            assert page[0] == 200
    finally:
        for process in processes:
            process.terminate()
            process.wait(PATIENCE)
            process.stdout.close()
