"""A throw-away Postgres of the tests: on a free port of this machine, as its own user."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

SCHEME = "postgresql://"
ROLE, PASSWORD = "wherefrom", "s3cret"
USERS = ("postgres", "nobody")  # it refuses to run as root


def programs():
    """The folder of initdb and pg_ctl; None where there is no Postgres."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return places[-1].parent if places else None


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """A running server; `database()` makes an empty database and gives its address."""

    def __init__(self, folder):
        self.folder, self.bin, self.port, self.made = folder, programs(), free_port(), 0
        self.user = next((u for u in USERS if known(u)), None) if os.getuid() == 0 else None
        self.folder.chmod(0o755)
        self.data = folder / "cluster"
        self.data.mkdir()
        if self.user:
            shutil.chown(self.data, self.user)
        password = folder / "password"
        password.write_text(PASSWORD)
        checked = ["-A", "scram-sha-256", f"--pwfile={password}"]
        self.run("initdb", "-D", self.data, "-U", ROLE, "-N", *checked)
        self.start()

    def run(self, program, *arguments):
        """One of its programs, as its user."""
        command = [str(self.bin / program), *map(str, arguments)]
        if self.user:
            command = ["runuser", "-u", self.user, "--", *command]
        subprocess.run(
            command, check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def start(self):
        """Start it, on its port of this machine only."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' "
        options += "-c max_connections=40 -c shared_buffers=16MB"
        options += " -c fsync=off"  # what is written outlives the server, not the machine
        log = self.data / "log"
        self.run("pg_ctl", "-D", self.data, "-l", log, "-o", options, "-w", "start")

    def stop(self):
        """Stop it at once, as a crash would; what was committed is kept."""
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def address(self, database, password=PASSWORD):
        """Where a database is."""
        return f"{SCHEME}{ROLE}:{password}@127.0.0.1:{self.port}/{database}"

    def database(self):
        """The address of an empty database."""
        import psycopg

        self.made += 1
        name = f"history_{self.made}"
        with psycopg.connect(self.address("postgres"), autocommit=True) as base:
            base.execute(f"CREATE DATABASE {name}")
        return self.address(name)


def known(user):
    """Whether there is such a user."""
    import pwd

    return user in {entry.pw_name for entry in pwd.getpwall()}


@pytest.fixture(scope="session")
def cluster():
    """A server for all tests of this process."""
    pytest.importorskip("psycopg")
    if programs() is None:
        pytest.skip("there is no Postgres here")
    # Not in pytest's own folder, which only this user may enter.
    with tempfile.TemporaryDirectory(prefix="wherefrom-postgres-") as folder:
        made = Cluster(Path(folder))
        yield made
        made.stop()


@pytest.fixture
def address(cluster):
    """The address of an empty database."""
    return cluster.database()
