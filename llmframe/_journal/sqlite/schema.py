"""Opens a journal's file: recognises journals, damaged files, and files that cannot be written.

A file of another program is recognised by its first bytes, before SQLite opens it: closing a database can already
change it.
"""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import stat
import time
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from llmframe._errors import JournalError

FORMAT = 2

_APPLICATION_ID = 0x6C6C6D66
_BUSY_SECONDS = 30.0
_NETWORK_FILESYSTEMS = frozenset(
    {
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smb3",
        "smb2",
        "smbfs",
        "afpfs",
        "vboxsf",
        "vmhgfs",
        "virtiofs",
        "9p",
        "afs",
        "ceph",
        "glusterfs",
        "lustre",
        "beegfs",
        "gpfs",
    }
)

_NOT_WRITABLE = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
)

_LEARNT_PACE = """
CREATE TABLE learnt_pace (
    limit_group BLOB PRIMARY KEY, most_in_flight INTEGER NOT NULL, by_second_until REAL NOT NULL, learnt REAL NOT NULL,
    limits TEXT NOT NULL DEFAULT '[]') WITHOUT ROWID
"""

_KEPT_RUNG = """
CREATE TABLE IF NOT EXISTS kept_rung (server TEXT NOT NULL, model TEXT NOT NULL, rung TEXT NOT NULL, PRIMARY KEY (server, model))
    WITHOUT ROWID
"""

_SPENT = """
CREATE TABLE IF NOT EXISTS spent (
    id INTEGER PRIMARY KEY, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, cost REAL,
    lane TEXT NOT NULL, tier TEXT, model TEXT, recipe INTEGER NOT NULL REFERENCES recipe (id), created REAL NOT NULL)
"""
"""What bodies took that broke off; the columns are those of `answer`."""

_SCHEMA = """
CREATE TABLE recipe (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, description TEXT NOT NULL);
CREATE TABLE answer (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL, body BLOB NOT NULL, checksum INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, cost REAL, lane TEXT NOT NULL,
    tier TEXT, model TEXT, recipe INTEGER NOT NULL REFERENCES recipe (id), created REAL NOT NULL, output_bound INTEGER,
    request_bytes INTEGER);
CREATE INDEX answer_key ON answer (key);
CREATE TABLE owner (
    id INTEGER PRIMARY KEY AUTOINCREMENT, machine TEXT NOT NULL, pid INTEGER NOT NULL, lease REAL NOT NULL,
    sends INTEGER NOT NULL DEFAULT 1);
CREATE TABLE claim (
    id INTEGER PRIMARY KEY AUTOINCREMENT, owner INTEGER NOT NULL, keys BLOB NOT NULL,
    sent INTEGER NOT NULL DEFAULT 1);
CREATE TABLE part_claim (key BLOB PRIMARY KEY, owner INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE run (
    id INTEGER PRIMARY KEY, recipe INTEGER NOT NULL REFERENCES recipe (id), started REAL NOT NULL,
    finished REAL, counts TEXT NOT NULL, fresh BLOB NOT NULL);
CREATE TABLE batch_part (
    id INTEGER PRIMARY KEY, nonce TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL, leased_to INTEGER NOT NULL,
    recipe INTEGER NOT NULL REFERENCES recipe (id), server TEXT NOT NULL, model TEXT NOT NULL, title TEXT NOT NULL,
    created REAL NOT NULL, file TEXT, batch TEXT, state TEXT NOT NULL, requests INTEGER NOT NULL,
    completed INTEGER NOT NULL, failed INTEGER NOT NULL, cost REAL, open INTEGER NOT NULL,
    cancelled INTEGER NOT NULL);
CREATE TABLE usage_report (
    owner INTEGER PRIMARY KEY, limit_group BLOB NOT NULL, reported REAL NOT NULL, load REAL NOT NULL,
    needs_more INTEGER NOT NULL, rate REAL, sharing_runs INTEGER NOT NULL, used REAL NOT NULL, measured INTEGER NOT NULL);
CREATE TABLE checkpointer (id INTEGER PRIMARY KEY CHECK (id = 1), until REAL NOT NULL);
INSERT INTO checkpointer VALUES (1, 0)
"""


def create_private(path: Path) -> None:
    """Create the file if it does not exist, readable by its owner only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, stat.S_IRUSR | stat.S_IWUSR))
    except FileExistsError:
        return
    except OSError as error:
        if path.exists():  # a read-only disk is reported before an existing file
            return
        raise JournalError(
            f"no journal can be made at {path} ({error}); pass journal='some/writable/path.sqlite', "
            "or journal=False to do without (answers are then lost when the process ends)"
        ) from error


def refuse_others(path: Path) -> None:
    """Refuse by its first bytes a file that is not a journal; an empty file becomes one."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise JournalError(
            f"the journal {path} cannot be read: {error}; pass another path as journal="
        ) from error
    if not header:
        return
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        raise JournalError(damaged(path, "file is not a database"))
    if int.from_bytes(header[68:72], "big") != _APPLICATION_ID:
        raise JournalError(f"{path} is a database of another program; pass another path as journal=")
    refuse_format(path, int.from_bytes(header[60:64], "big"))


def connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?{mode}"
    return sqlite3.connect(
        uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )


def create_tables(connection: sqlite3.Connection) -> None:
    """Create the tables if there are none; raise if nothing can be written."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        claims, paces, limits, rungs = (
            has_column(connection, "claim", "sent"),
            has_column(connection, "learnt_pace", "learnt"),
            has_column(connection, "learnt_pace", "limits"),
            has_column(connection, "kept_rung", "rung"),
        )
        bounds = has_column(connection, "answer", "output_bound")
        spent = has_column(connection, "spent", "cost")
        complete = version and claims and limits and rungs and bounds and spent
        if not version:
            for statement in (
                *_SCHEMA.split(";\n"),
                _LEARNT_PACE,
                _KEPT_RUNG,
                _SPENT,
            ):  # not executescript(), which commits
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        elif not complete:  # earlier files of format 2; their programs can still use the tables
            if not claims:
                connection.execute("ALTER TABLE claim ADD COLUMN sent INTEGER NOT NULL DEFAULT 1")
            if not paces:
                connection.execute(_LEARNT_PACE)
            elif not limits:
                connection.execute("ALTER TABLE learnt_pace ADD COLUMN limits TEXT NOT NULL DEFAULT '[]'")
            connection.execute(_KEPT_RUNG)
            connection.execute(_SPENT)
            if not bounds:
                connection.execute("ALTER TABLE answer ADD COLUMN output_bound INTEGER")
                connection.execute("ALTER TABLE answer ADD COLUMN request_bytes INTEGER")
        # A read-only database refuses this statement; it does not refuse BEGIN IMMEDIATE.
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("ROLLBACK" if complete else "COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def has_column(connection: sqlite3.Connection, table: str, column: str) -> bool:
    """Return whether a file has a column, which earlier versions' files may lack."""
    found = connection.execute(f"SELECT 1 FROM pragma_table_info('{table}') WHERE name = ?", (column,))  # noqa: S608
    return found.fetchone() is not None


def temporary() -> sqlite3.Connection:
    """Create an empty database that exists as long as its connection; SQLite moves it to disk when it grows."""
    connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    create_tables(connection)
    return connection


def set_journal_mode(connection: sqlite3.Connection, mode: str) -> None:
    # Changing the mode needs exclusive access, and SQLite does not always wait for it.
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute(f"PRAGMA journal_mode={mode}")
        except sqlite3.OperationalError as error:
            if primary(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def primary(error: sqlite3.Error) -> int:
    """Return SQLite's primary error code; 0 for an error that Python raised."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def not_writable(error: BaseException | None) -> bool:
    """Return whether an error means that nothing can be written: a full, broken or read-only disk."""
    return isinstance(error, sqlite3.Error) and primary(error) in _NOT_WRITABLE


def size(path: str | Path) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def explain(path: Path, what: str, error: sqlite3.Error) -> str:
    match primary(error):
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            advice = "free some space (or mend the disk) and run the same call again: what is committed is not asked again"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return damaged(path, str(error))
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN:
            advice = (
                "make the file and its directory writable, or copy it and pass the copy's path as journal="
            )
        case sqlite3.SQLITE_BUSY:
            advice = "another program holds it; wait for that, or pass another path as journal="
        case _:
            advice = "pass another path as journal=, or journal=False to do without"
    return f"the journal {path} cannot be {what}: {error}; {advice}"


def damaged(path: Path, found: str) -> str:
    return (
        f"{path} is no journal or is damaged ({found}); it is left as it was: "
        "move it away (or restore a copy) and run the call again, or pass another path as journal="
    )


def checksum(key: bytes, body: bytes) -> int:
    """Return the checksum of an answer; it detects damage that SQLite does not."""
    return crc32(body, crc32(key))


def check_answer(path: Path, key: bytes, body: bytes, stored: int) -> None:
    """Raise if an answer was changed after it was written."""
    if checksum(key, body) != stored:
        raise JournalError(damaged(path, f"the answer {key.hex()} is not as it was written"))


def refuse_format(path: Path, version: int) -> None:
    """Refuse a file of another format than this version's; 0 means a file without tables."""
    if version > FORMAT:
        raise JournalError(
            f"{path} was written by a newer llmframe (format {version}, this one knows {FORMAT}); "
            "upgrade llmframe, or pass another path as journal="
        )
    if 0 < version < FORMAT:
        raise JournalError(
            f"{path} was written by an early llmframe (format {version}, this one knows {FORMAT} only); it is left "
            f"as it was. To start a new one: {_move_away(path, version)}, or pass another path as journal="
        )


def _move_away(path: Path, version: int) -> str:
    """Return the command that moves a file away, together with its `-wal` file."""
    ends = [end for end in ("", "-wal") if Path(f"{path}{end}").exists()]
    return " && ".join(shlex.join(("mv", f"{path}{end}", f"{path}.format-{version}{end}")) for end in ends)


def on_network(path: Path) -> bool:
    """Return whether a path is on a network filesystem, where WAL's shared memory is unsafe."""
    resolved = str(path.resolve())
    if resolved.startswith("\\\\"):
        return True
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    kind = filesystem(mounts, resolved)
    return kind in _NETWORK_FILESYSTEMS or kind.startswith("fuse.")


def filesystem(mounts: str, path: str) -> str:
    """Return the type of the filesystem of an absolute path by Linux's `mountinfo`, or ""."""
    best, kind = "", ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields.split()[4])
        # Of several mounts on one point only the last one is visible.
        if len(point) >= len(best) and (path == point or path.startswith(point.rstrip("/") + "/")):
            best, kind = point, rest.split()[0]
    return kind
