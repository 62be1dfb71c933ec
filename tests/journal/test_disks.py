"""Disks that cannot be written, and filesystems on which a file is used otherwise."""

import asyncio
import contextlib
import subprocess
import sys
from functools import cache

import pytest
from helpers import answer, asked
from journal.files import sql
from journal.stores import begin, own_handle

import llmframe
from llmframe._journal.sqlite import database
from llmframe._journal.sqlite.schema import filesystem
from llmframe.testing import LocalServer

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's mounts")

CALL = """
import sys, pandas as pd, llmframe
base_url, *calls = sys.argv[1:]
settings = {"base_url": base_url, "api_key": "any", "model": "gpt-6-luna", "progress": False}
for path, rows in zip(calls[::2], calls[1::2]):
    frame = pd.DataFrame({"q": [f"Tell me about the number {row}." for row in range(int(rows))]})
    try:
        frame.llm.complete("q", into="a", journal=path, **settings)
        print("done", frame["a"].notna().sum(), llmframe.last_run().from_journal)
    except llmframe.LLMFrameError as error:
        there = int(frame["a"].notna().sum()) if "a" in frame else 0
        print("error", type(error).__name__, getattr(error, "code", None), there, flush=True)
        print(str(error).replace("\\n", " "))
"""


@cache
def _unshare():
    """Find out how a process gets mounts of its own: as root, or as the root of a user namespace."""
    for options in ("-m", "-rm"):
        with contextlib.suppress(FileNotFoundError):
            if not subprocess.run(["unshare", options, "true"], capture_output=True, check=False).returncode:
                return ["unshare", options]
    return None


def in_mount_namespace(script, *arguments):
    """Run a shell script where it may mount without anyone noticing; skip where the system forbids that."""
    unshare = _unshare()
    if unshare is None:
        pytest.skip("this system allows no private mounts")
    done = subprocess.run(
        [*unshare, "sh", "-ec", script, "sh", sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def call(tmp_path):
    """Give the path of a script that asks so many rows with a journal."""
    path = tmp_path / "call.py"
    path.write_text(CALL)
    return path


READ_ONLY = """
mount --bind "$3" "$3"
mount -o remount,ro,bind "$3"
"$1" "$2" "$4" "$3/journal.sqlite" 20 "$3/journal.sqlite" 30 "$3/other.sqlite" 5
"""


@pytest.mark.slow
@linux
@pytest.mark.parametrize("in_use", [False, True], ids=["at rest", "in use"])
def test_a_read_only_disk_gives_its_answers_and_nothing_is_sent(llm, call, tmp_path, in_use):
    """All answers there: the run works. Something to send: it stops before sending and says what to do."""
    disk = tmp_path / "disk"
    path = disk / "journal.sqlite"
    asked(20).llm.complete("q", journal=path)
    llm.reset()

    async def called():
        async with contextlib.AsyncExitStack() as stack:
            if in_use:
                await begin(await stack.enter_async_context(own_handle(path)))
            return await asyncio.to_thread(in_mount_namespace, READ_ONLY, call, disk, llm.base_url)

    there, missing, stopped, none, why = asyncio.run(called())
    assert there == "done 20 20"
    assert missing == "error StoppedError journal 20"
    assert "pass the copy's path as journal=" in stopped
    assert none == "error JournalError None 0"
    assert "journal=False" in why
    assert llm.ledger.requests == 0


FULL_FROM_THE_START = """
mount -t tmpfs -o size=2m tmpfs "$3"
cp "$5" "$3/journal.sqlite"
dd if=/dev/zero of="$3/ballast" bs=4k count=10000 2>/dev/null || true
"$1" "$2" "$4" "$3/journal.sqlite" 20 "$3/journal.sqlite" 30
"""


@linux
def test_a_full_disk_gives_its_answers_and_nothing_is_sent(llm, call, tmp_path):
    """What is in the journal can be read although nothing more can be written."""
    source = tmp_path / "source.sqlite"
    asked(20).llm.complete("q", journal=source)
    llm.reset()
    disk = tmp_path / "disk"
    disk.mkdir()
    lines = in_mount_namespace(FULL_FROM_THE_START, call, disk, llm.base_url, source)
    assert lines[0] == "done 20 20"
    assert lines[1] == "error StoppedError journal 20"
    assert llm.ledger.requests == 0


FILLS_UP = """
mount -t tmpfs -o size=512k tmpfs "$3"
"$1" "$2" "$4" "$3/journal.sqlite" 1500
cp "$3"/journal.sqlite* "$5"
rm -rf "$3"/*
"""


@pytest.mark.slow
@linux
def test_a_disk_that_fills_up_stops_the_run_and_loses_nothing_committed(llm, call, tmp_path):
    """Sending stops, what was answered is in the column, and what was committed is not paid again."""
    disk, saved = tmp_path / "disk", tmp_path / "saved"
    disk.mkdir()
    saved.mkdir()
    with LocalServer(latency=0.1) as server:  # else all that the disk can take may be one group
        first, why = in_mount_namespace(FILLS_UP, call, disk, server.base_url, saved)
        there = int(first.split()[-1])
        assert first.split()[:3] == ["error", "StoppedError", "journal"]
        assert 0 < there < 1500
        assert there == server.ledger.answered
        assert "free some space" in why
        server.reset()
        frame = asked(1500)
        settings = {"base_url": server.base_url, "journal": saved / "journal.sqlite"}
        frame.llm.complete("q", into="a", **settings)
        run = llmframe.last_run()
        assert frame["a"].tolist() == [answer(text) for text in frame["q"]]
        assert 0 < run.from_journal <= there
        assert server.ledger.billed == 1500 - run.from_journal


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
exec(open(sys.argv[1]).read().replace("sys.argv", "sys.argv[1:]"))
"""


@pytest.mark.slow
@linux
def test_a_file_that_may_not_grow_stops_the_run_likewise(llm, call, tmp_path):
    """A limit on a file's size (an I/O error to SQLite) ends a run as a full disk does."""
    path = tmp_path / "small.sqlite"
    with LocalServer(latency=0.1) as server:  # else all that the file can take may be one group
        arguments = [sys.executable, "-c", LIMITED, str(call), server.base_url, str(path), "2000"]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=True)
        first, why = done.stdout.splitlines()
        assert first.split()[:3] == ["error", "StoppedError", "journal"]
        assert int(first.split()[-1]) == server.ledger.answered
        assert "free some space (or mend the disk)" in why
        server.reset()
        asked(2000).llm.complete("q", journal=path, base_url=server.base_url)
        assert llmframe.last_run().from_journal + server.ledger.billed == 2000
        assert llmframe.last_run().from_journal > 0


MOUNTS = r"""
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:35 / /home rw shared:9 - nfs4 server:/home rw,vers=4.2
41 40 0:36 / /home/me/local rw shared:9 - xfs /dev/vdb rw
42 22 0:37 / /mnt/my\040share rw - cifs //server/share rw
43 22 0:38 / /mnt/drive rw,nosuid - fuse.sshfs me@host:/ rw
44 22 0:39 / /mnt/twice rw - ext4 /dev/vdc rw
45 44 0:40 / /mnt/twice rw master:3 - ceph 10.0.0.1:/ rw
46 22 0:41 / /mnt/größe rw - 9p share rw
""".strip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/journal.sqlite", "ext4"),
        ("/home/me/journal.sqlite", "nfs4"),
        ("/homeless/journal.sqlite", "ext4"),
        ("/home/me/local/journal.sqlite", "xfs"),
        ("/mnt/my share/journal.sqlite", "cifs"),
        ("/mnt/drive/x/journal.sqlite", "fuse.sshfs"),
        ("/mnt/twice/journal.sqlite", "ceph"),
        ("/mnt/größe/journal.sqlite", "9p"),
    ],
)
def test_the_filesystem_of_a_path_is_read_from_the_mounts(path, kind):
    """The longest mount point wins, the last of several, also with blanks and accents."""
    assert filesystem(MOUNTS, path) == kind


@pytest.mark.parametrize(("network", "mode"), [(False, "wal"), (True, "delete")])
def test_a_network_filesystem_gets_a_rollback_journal(llm, tmp_path, monkeypatch, network, mode):
    """WAL is not used where its shared memory is unsafe; everything else works the same."""
    monkeypatch.setattr(database, "on_network", lambda _: network)
    frame = asked(30)
    frame.llm.complete("q", into="a")
    frame.llm.complete("q", into="b")
    assert frame["a"].tolist() == frame["b"].tolist() == [answer(text) for text in frame["q"]]
    assert llm.ledger.billed == 30
    with sql(tmp_path / "journal.sqlite") as journal:
        assert journal.execute("PRAGMA journal_mode").fetchone() == (mode,)
