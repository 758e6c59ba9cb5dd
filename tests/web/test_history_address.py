"""What may stand in --history, and that a password in it is never told."""

import pytest

from wherefrom.cli.main import run
from wherefrom.core.errors import InputError
from wherefrom.web.jobs.crew import SECRETS
from wherefrom.web.jobs.databases import _parsed, _shown
from wherefrom.web.settings import HISTORY, TOKEN, find_secret

SECRET = "hunter22"  # noqa: S105 (of the test only)
NOWHERE = "127.0.0.1:1"  # no Postgres listens on that port


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (f"mysql://u:{SECRET}@host/base", "begins with mysql://"),
        (f"u:{SECRET}@host/base", "has no scheme"),
        ("", "has no scheme"),
        (f"postgresql://u:{SECRET}@host", "names no database"),
        (f"postgresql://u:{SECRET}@host/", "names no database"),
        (f"postgresql://u:p@{SECRET}@host/base", "holds several @"),
        (f"postgresql://host:{SECRET}/base", "is not understood"),
        (f"postgresql://u:{SECRET}@{NOWHERE}/base", "cannot reach the history at 127.0.0.1:1/base"),
        (f"postgresql://u:{SECRET}@{NOWHERE}/base?no=1", "check the address"),
    ],
)
def test_a_bad_address_is_told_in_one_line__rejects_address(address, told, tmp_path, capfd, logged):
    pytest.importorskip("psycopg")
    command = ["-q", "serve", "--with", "c.toml", "--port", "0", "--data", str(tmp_path / "data")]
    assert run([*command, "--device", "cpu", "--history", address]) == 2
    out, err = capfd.readouterr()
    assert told in err
    assert len(err.strip().splitlines()) == 1
    assert SECRET not in out + err + "".join(logged)


def test_an_address_or_its_file_not_both__rejects_option(capsys):
    given = ["--history", "postgresql:///x", "--history-file", "x"]
    assert run(["serve", "--with", "c.toml", *given]) == 2
    assert "not both" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"postgresql://u:{SECRET}@db.example:5433/base", "db.example:5433/base"),
        (f"postgres://u:{SECRET}@db/base?sslmode=verify-full&password={SECRET}", "db/base"),
        ("postgresql:///base?host=/run/postgresql", "/run/postgresql/base"),
        ("postgresql:///base", "this machine/base"),
        (f"postgresql://u:{SECRET}%40%2F@[::1]/base", "::1/base"),
    ],
)
def test_of_an_address_host_and_database_are_shown__closed_form(address, shown):
    assert _shown(_parsed(address)) == shown


def test_a_secret_comes_from_a_file_or_the_environment__closed_form(tmp_path, monkeypatch):
    file, other = tmp_path / "secret", tmp_path / "other"
    file.write_text("from a file\n")
    other.write_text("from another\n")
    for variable in (TOKEN, HISTORY):
        monkeypatch.delenv(variable, raising=False)
        assert find_secret(variable) is None
        monkeypatch.setenv(f"{variable}_FILE", str(file))
        assert find_secret(variable) == "from a file"
        monkeypatch.setenv(variable, "from the environment")
        assert find_secret(variable) == "from the environment"
        assert find_secret(variable, other) == "from another"
        assert variable in SECRETS  # which workers do not inherit
    for data in (b"", b"two\nlines", b"\xff"):
        file.write_bytes(data)
        with pytest.raises(InputError, match="must hold one line of ASCII"):
            find_secret(TOKEN, file)
    with pytest.raises(InputError, match="missing"):
        find_secret(TOKEN, tmp_path / "missing")
