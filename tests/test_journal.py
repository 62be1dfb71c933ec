"""The journal: what it holds, where it is, what it refuses, and what it bears."""

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import orjson
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import llmframe
from llmframe._batch.lines import BatchResult
from llmframe._journal import liveness, registry
from llmframe._journal.protocol import LEASE_SECONDS
from llmframe._journal.sqlite import database
from llmframe._journal.sqlite import journal as sqlite_journal
from llmframe._journal.sqlite.batch_store import PartLabel
from llmframe._journal.sqlite.journal import SqliteJournal
from llmframe._journal.sqlite.schema import filesystem
from llmframe._run import feed
from llmframe._run.feed import ClaimedFeed
from llmframe._run.outcome_sink import OutcomeSink
from llmframe._run.prices import Prices
from llmframe._run.results import Results
from llmframe._values import Answer, BatchState, Usage
from llmframe.testing import Fault, LocalServer, made_up_answer

MODEL = "gpt-6-luna"
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's mounts")


def key(number):
    return number.to_bytes(16, "big")


def answer(number, text="Yes.", **more):
    body = orjson.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})
    return Answer(key(number), body, Usage(3, 1), text, **more), None


def begin(journal, *, fresh=b"", digest=b"recipe"):
    return journal.begin(digest, {"verb": "complete"}, fresh=fresh)


def fill(path, count=50, text="Yes."):
    """Make a journal at rest that holds so many answers."""
    with contextlib.closing(SqliteJournal(path)) as journal:
        session = begin(journal)
        journal.record(session, [answer(number, text) for number in range(count)], [])
        journal.end(session, {}, finished=True)


@contextlib.contextmanager
def sql(path):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def asked(rows=3):
    return pd.DataFrame({"q": [f"Tell me about the number {row}, please." for row in range(rows)]})


def expected(frame):
    return [
        made_up_answer({"model": MODEL, "messages": [{"role": "user", "content": q}]}) for q in frame["q"]
    ]


def beside(path):
    return sorted(entry.name for entry in path.parent.iterdir())


def test_an_answer_is_kept_whole_with_what_it_cost(llm, tmp_path):
    """Body, usage, lane, tier and recipe can be read from the file later."""
    asked(2).llm.complete("q", service_tier="flex", temperature=0, version="v7")
    with sql(tmp_path / "journal.sqlite") as journal:
        columns = "body, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, lane, tier, model, recipe"
        rows = journal.execute(f"SELECT {columns} FROM answer").fetchall()
        recipes = dict(journal.execute("SELECT id, description FROM recipe"))
    assert len(rows) == 2
    body = orjson.loads(rows[0][0])
    usage = body["usage"]
    assert body["object"] == "chat.completion"
    assert rows[0][1:] == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
        0,
        0,
        "live",
        "flex",
        MODEL,
        rows[0][8],
    )
    recipe = orjson.loads(recipes[rows[0][8]])
    assert recipe["model"] == MODEL
    assert recipe["params"] == {"service_tier": "flex", "temperature": 0}
    assert recipe["version"] == "v7"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_file_is_for_its_owners_eyes_only(llm, tmp_path):
    """The journal, its WAL and the directory that is made for it are closed to others."""
    place = tmp_path / "new" / "journal.sqlite"
    run = asked().llm.complete("q", journal=place, wait=False)
    llm.ledger.wait_for(lambda ledger: ledger.answered)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.parent.iterdir()}
    run.result()
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_neither_prompts_nor_keys_are_in_the_file(llm, tmp_path):
    """No bytes of cells, templates, system texts, keys, secret headers or keys in the address."""
    secrets = {
        "api_key": "sk-secret-in-argument",
        "extra_headers": {
            "Authorization": "Bearer sk-secret-in-header",
            "X-Api-Key": "sk-secret-in-other-header",
        },
        "base_url": f"{llm.base_url}?key=sk-secret-in-query",
    }
    frame = pd.DataFrame({"q": ["zebra crossing"], "w": ["walrus"]})
    with contextlib.suppress(llmframe.StoppedError):
        frame.llm.complete("q", "giraffe {q} {w}", system="hippo {w}", user="ostrich", **secrets)
    frame.llm.complete(
        "q", "giraffe {q} {w}", into="a", system="hippo {w}", user="ostrich", api_key=secrets["api_key"]
    )
    frame.llm.complete("q", lambda row: [{"role": "user", "content": "panther " + row["q"]}], into="b")
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("journal.sqlite*"))
    assert raw.startswith(b"SQLite format 3")
    for word in (b"sk-secret", b"zebra", b"walrus", b"giraffe", b"hippo", b"panther", b"ostrich"):
        assert word not in raw, word


def test_the_journal_is_where_it_is_said_to_be(llm, tmp_path, monkeypatch):
    """The argument wins over the environment, that over the user's data directory; False keeps nothing."""
    frame = asked(1)
    frame.llm.complete("q", journal=str(tmp_path / "argument.sqlite"), into="a")
    frame.llm.complete("q", into="b")
    assert beside(tmp_path / "x") == ["argument.sqlite", "journal.sqlite"]
    frame.llm.complete("q", journal=False, into="c")
    assert llm.ledger.billed == 3
    monkeypatch.delenv("LLMFRAME_JOURNAL")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    frame.llm.complete("q", into="d")
    assert registry.default_path().is_file()
    if sys.platform == "linux":
        assert registry.default_path() == tmp_path / "data" / "llmframe" / "journal.sqlite"


def _as_other_program(path):
    with sql(path) as other:
        other.execute("CREATE TABLE answer (mine TEXT)")


def _as_other_program_with_wal(path):
    with sql(path) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("PRAGMA user_version=1")
        other.execute("CREATE TABLE answer (mine TEXT)")


def _as_newer(path):
    fill(path)
    with sql(path) as newer:
        newer.execute(f"PRAGMA user_version={database.FORMAT + 1}")


def _as_garbage(path):
    path.write_bytes(random.Random(1).randbytes(8192))


def _as_text(path):
    path.write_text("id,review\n1,good\n")


def _as_truncated(path):
    fill(path)
    os.truncate(path, path.stat().st_size // 2)


def _as_torn(path):
    fill(path, 300)
    raw = bytearray(path.read_bytes())
    page = len(raw) // 4096 // 2 * 4096
    raw[page : page + 2048] = bytes(2048)
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_as_other_program, "another program"),
        (_as_other_program_with_wal, "another program"),
        (_as_newer, "newer llmframe"),
        (_as_garbage, "damaged"),
        (_as_text, "damaged"),
        (_as_truncated, "damaged"),
        (_as_torn, "damaged"),
    ],
)
def test_what_is_not_a_sound_journal_of_ours_is_refused_and_left_alone(llm, tmp_path, make, said):
    """A clear error, nothing sent, not a byte changed and no file left beside it."""
    place = tmp_path / "place" / "file"
    place.parent.mkdir()
    make(place)
    before = place.read_bytes()
    with pytest.raises(llmframe.JournalError, match=said) as caught:
        asked().llm.complete("q", journal=place)
    assert str(place) in str(caught.value)
    assert place.read_bytes() == before
    assert beside(place) == ["file"]
    assert llm.ledger.requests == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    where=st.floats(0, 1, exclude_max=True),
    size=st.integers(1, 5000),
    junk=st.sampled_from(["zeros", "noise", "cut"]),
)
@example(where=0.0, size=16, junk="zeros")
def test_any_damage_is_a_journal_error_and_never_a_wrong_answer(tmp_path_factory, sound, where, size, junk):
    """Whatever bytes are broken: what is read is what was written, or a JournalError."""
    whole = sound.read_bytes()
    start = int(where * len(whole))
    raw = bytearray(whole)
    if junk == "cut":
        del raw[start:]
    else:
        filling = bytes(size) if junk == "zeros" else random.Random(size).randbytes(size)
        raw[start : start + size] = filling[: len(whole) - start]
    path = tmp_path_factory.mktemp("damaged") / "journal.sqlite"
    path.write_bytes(raw)
    truth = {key(number): answer(number)[0].body for number in range(300)}
    try:
        journal = SqliteJournal(path)
    except llmframe.JournalError:
        assert path.read_bytes() == raw
        return
    with contextlib.closing(journal), contextlib.suppress(llmframe.JournalError):
        session = begin(journal)
        assert all(kept.body == truth[kept.key] for kept in journal.lookup(session, list(truth)))
        journal.claim(session, list(truth), retry_failed=False)
        journal.record(session, [answer(1000)], [])


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Give a sound journal of 300 answers."""
    path = tmp_path_factory.mktemp("sound") / "journal.sqlite"
    fill(path, 300)
    return path


def test_an_answer_that_was_altered_is_not_given_out(tmp_path):
    """Damage inside an answer's text, which SQLite cannot see, is noticed."""
    path = tmp_path / "journal.sqlite"
    fill(path, 3, text="positive")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"positive", b"negative", 1))
    with (
        contextlib.closing(SqliteJournal(path)) as journal,
        pytest.raises(llmframe.JournalError, match="damaged"),
    ):
        journal.lookup(begin(journal), [key(number) for number in range(3)])


# --- disks that cannot be written -----------------------------------------------------------------

CALL = """
import sys, pandas as pd, llmframe
from llmframe.testing import LocalServer
base_url, *calls = sys.argv[1:]
settings = {"base_url": base_url, "api_key": "any", "model": "gpt-6-luna", "progress": False}
for path, rows in zip(calls[::2], calls[1::2]):
    frame = pd.DataFrame({"q": [f"Tell me about the number {row}, please." for row in range(int(rows))]})
    try:
        frame.llm.complete("q", into="a", journal=path, **settings)
        print("done", frame["a"].notna().sum(), llmframe.last_run().from_journal)
    except llmframe.LLMFrameError as error:
        there = int(frame["a"].notna().sum()) if "a" in frame else 0
        print("error", type(error).__name__, getattr(error, "code", None), there, flush=True)
        print(str(error).replace("\\n", " "))
"""


def in_mount_namespace(script, *arguments):
    """Run a shell script where it may mount without anyone noticing; skip where that is not allowed."""
    unshare = shutil.which("unshare")
    if (
        unshare is None
        or subprocess.run([unshare, "-m", "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no private mount namespace here")
    done = subprocess.run(
        [unshare, "-m", "sh", "-ec", script, "sh", sys.executable, *map(str, arguments)],
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


@linux
@pytest.mark.parametrize("hot", [False, True], ids=["at rest", "in use"])
def test_a_read_only_disk_gives_its_answers_and_keeps_nothing_from_being_noticed(llm, call, tmp_path, hot):
    """All answers there: the run works. Something to send: it stops before sending and says what to do."""
    disk = tmp_path / "disk"
    path = disk / "journal.sqlite"
    asked(20).llm.complete("q", journal=path)
    llm.reset()
    with contextlib.closing(SqliteJournal(path)) if hot else contextlib.nullcontext() as other:
        if other is not None:
            begin(other)
        there, missing, _, none, why = in_mount_namespace(READ_ONLY, call, disk, llm.base_url)
    assert there == "done 20 20"
    assert missing == "error StoppedError journal 20"
    assert "pass the copy's path as journal=" in _
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


@linux
def test_a_disk_that_fills_up_stops_the_run_and_loses_nothing_committed(llm, call, tmp_path):
    """Sending stops, what was answered is in the column, and what was committed is not paid again."""
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    kept.mkdir()
    with LocalServer(latency=0.1) as server:  # else all that the disk can take may be one group
        first, why = in_mount_namespace(FILLS_UP, call, disk, server.base_url, kept)
        there = int(first.split()[-1])
        assert first.split()[:3] == ["error", "StoppedError", "journal"]
        assert 0 < there < 1500
        assert there == server.ledger.answered
        assert "free some space" in why
        server.reset()
        frame = asked(1500)
        settings = {"base_url": server.base_url, "journal": kept / "journal.sqlite"}
        frame.llm.complete("q", into="a", **settings)
        run = llmframe.last_run()
        assert frame["a"].tolist() == expected(frame)
        assert 0 < run.from_journal <= there
        assert server.ledger.billed == 1500 - run.from_journal


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
exec(open(sys.argv[1]).read().replace("sys.argv", "sys.argv[1:]"))
"""


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


# --- filesystems ----------------------------------------------------------------------------------

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
    assert frame["a"].tolist() == frame["b"].tolist() == expected(frame)
    assert llm.ledger.billed == 30
    with sql(tmp_path / "journal.sqlite") as journal:
        assert journal.execute("PRAGMA journal_mode").fetchone() == (mode,)


# --- several processes and much data --------------------------------------------------------------

OPENING = """
import sys
from pathlib import Path
from llmframe._journal.sqlite.journal import SqliteJournal
from llmframe._values import Answer, Usage
print("ready", flush=True)
for number, line in enumerate(sys.stdin):
    journal = SqliteJournal(Path(line.strip()))
    session = journal.begin(b"recipe", {}, fresh=b"")
    mine = int(sys.argv[1]).to_bytes(16, "big")
    journal.claim(session, [mine, b"k" * 16], retry_failed=False)
    journal.record(session, [(Answer(mine, b"{}", Usage(), ""), None)], [])
    journal.end(session, {}, finished=True)
    journal.close()
    print("opened", flush=True)
"""


def test_many_processes_may_open_a_new_journal_at_the_same_moment(tmp_path):
    """The switch to WAL and the making of the tables never fail, and every answer is there."""
    rounds, processes = 12, 6
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", OPENING, str(number)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(processes)
        ]
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for number in range(rounds):
            for child in children:
                child.stdin.write(f"{tmp_path}/{number}.sqlite\n")
            for child in children:
                child.stdin.flush()
            assert [child.stdout.readline() for child in children] == ["opened\n"] * processes
        for child in children:
            child.stdin.close()
            assert child.wait(30) == 0
    for number in range(rounds):
        with contextlib.closing(SqliteJournal(tmp_path / f"{number}.sqlite")) as journal:
            assert journal.upkeep.summary()["answers"] == processes
            assert journal.upkeep.summary()["claims"] == 0


def scattered(number):
    """Return a key that is nowhere near its neighbours', as hashes are."""
    return key(number * 0x9E3779B97F4A7C15 % 2**64 << 64 | number)


def _seconds(journal, session, start, count, body):
    """Return the seconds that claiming, keeping and looking up so many answers takes."""
    began = time.perf_counter()
    for first in range(start, start + count, 250):
        keys = [scattered(number) for number in range(first, first + 250)]
        claimed = journal.claim(session, keys, retry_failed=False)
        assert len(claimed.granted) == 250
        journal.record(session, [(Answer(one, body, Usage(1, 1), "t"), None) for one in keys], [])
        assert len(journal.lookup(session, keys)) == 250
    return time.perf_counter() - began


def test_a_large_journal_costs_no_more_for_each_answer_than_a_small_one(tmp_path):
    """Inserts and look-ups at 200,000 answers take about the time that they take at none; the WAL stays small."""
    path = tmp_path / "large.sqlite"
    body = b'{"choices":[{"message":{"content":"' + b"x" * 200 + b'"}}]}'
    with contextlib.closing(SqliteJournal(path)) as journal:
        session = begin(journal)
        small = min(_seconds(journal, session, start, 5_000, body) for start in range(0, 15_000, 5_000))
        for first in range(15_000, 185_000, 5_000):
            keys = [scattered(number) for number in range(first, first + 5_000)]
            journal.record(session, [(Answer(one, body, Usage(1, 1), "t"), None) for one in keys], [])
        large = min(
            _seconds(journal, session, start, 5_000, body) for start in range(185_000, 200_000, 5_000)
        )
        wal = Path(f"{path}-wal").stat().st_size
        cache = -1024 * journal._database.connection.execute("PRAGMA cache_size").fetchone()[0]
        assert journal.upkeep.summary()["answers"] == 200_000
    assert cache > path.stat().st_size / 20
    assert large < 6 * small
    assert wal < 100 * 2**20


# --- claims ---------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path):
    """Give two connections to one journal, as two processes have them."""
    path = tmp_path / "pair.sqlite"
    with contextlib.closing(SqliteJournal(path)) as one, contextlib.closing(SqliteJournal(path)) as other:
        yield one, other


class Clock:
    """A clock that stands still until it is set forward."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Replace the journal's wall clock."""
    clock = Clock()
    monkeypatch.setattr(sqlite_journal.time, "time", clock)
    return clock


def claims_of(monkeypatch):
    """Note how many requests each claim is for."""
    sizes = []

    def claim(journal, session, keys, **settings):
        sizes.append(len(keys))
        return untouched(journal, session, keys, **settings)

    untouched = SqliteJournal.claim
    monkeypatch.setattr(SqliteJournal, "claim", claim)
    return sizes


@pytest.mark.parametrize(("in_flight", "most_claims"), [(1, 60), (40, 600 // 25)])
def test_no_more_is_claimed_than_may_be_in_flight_and_hardly_less(llm, monkeypatch, in_flight, most_claims):
    """A kill leaves few requests uncertain that were never sent, and claims are not made one by one."""
    monkeypatch.setattr(feed, "_AHEAD_SECONDS", 0.0)
    sizes = claims_of(monkeypatch)
    frame = asked(60 if in_flight == 1 else 600)
    frame.llm.complete("q", max_concurrency=in_flight)
    assert sum(sizes) == len(frame)
    assert max(sizes) <= in_flight
    assert len(sizes) <= most_claims


def test_what_goes_in_an_instant_may_be_claimed_ahead(llm, monkeypatch):
    """Where answers come fast, claims are larger than what is in flight, up to the largest block."""
    monkeypatch.setattr(feed, "_AHEAD_SECONDS", 3600.0)
    sizes = claims_of(monkeypatch)
    asked(1200).llm.complete("q", max_concurrency=20)
    assert sum(sizes) == 1200
    assert max(sizes[:8]) <= 20 < max(sizes) <= feed.LARGEST_CLAIM
    assert len(sizes) <= 8 + 1200 // 150


KEYS = [key(1), key(2), key(3)]


def test_a_claim_held_by_a_live_owner_is_left_to_it(pair):
    """Another run's claims are held, its answers come back, and what it gave up is granted."""
    one, other = pair
    mine, theirs = begin(one), begin(other)
    assert one.claim(mine, KEYS[:2], retry_failed=False).granted == KEYS[:2]
    claimed = other.claim(theirs, KEYS, retry_failed=False)
    assert (claimed.granted, claimed.held, claimed.uncertain) == ([KEYS[2]], KEYS[:2], 0)
    one.record(mine, [answer(1)], [KEYS[1]])
    claimed = other.claim(theirs, KEYS[:2], retry_failed=False)
    assert [kept.key for kept in claimed.answered] == [KEYS[0]]
    assert (claimed.granted, claimed.held, claimed.uncertain) == ([KEYS[1]], [], 0)


def test_a_failure_that_another_run_has_just_paid_is_not_asked_for_again(pair, clock):
    """`retry_failed` asks again what failed before the run, and not what failed during it."""
    one, other = pair
    (paid, cost), before = answer(1), begin(one)
    refused = (paid._replace(text=None, problem="refusal"), cost)
    one.claim(before, KEYS[:1], retry_failed=False)
    one.record(before, [refused], [])
    clock.now += 1
    mine, theirs = begin(one), begin(other)
    assert one.claim(mine, KEYS[:1], retry_failed=True).granted == KEYS[:1]
    assert other.claim(theirs, KEYS[:1], retry_failed=True).held == KEYS[:1]
    clock.now += 1
    one.record(mine, [refused], [])
    claimed = other.claim(theirs, KEYS[:1], retry_failed=True)
    assert ([kept.problem for kept in claimed.answered], claimed.granted) == (["refusal"], [])


def test_an_owner_on_another_machine_keeps_its_claims_until_its_lease_is_over(pair, clock, monkeypatch):
    """Not before the lease ends, also when renewed; then at once, and counted as uncertain."""
    one, other = pair
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(sqlite_journal, "machine", lambda: "another machine")
        far = begin(one)
    one.claim(far, KEYS, retry_failed=False)
    here = begin(other)
    clock.now += LEASE_SECONDS - 1
    assert other.claim(here, KEYS, retry_failed=False).held == KEYS
    one.renew(far)
    clock.now += LEASE_SECONDS - 1
    assert other.claim(here, KEYS, retry_failed=False).held == KEYS
    clock.now += 2
    other.renew(here)
    claimed = other.claim(here, KEYS, retry_failed=False)
    assert (claimed.granted, claimed.uncertain) == (KEYS, 3)
    # The late owner's answer is kept, and does not free what is no longer its own.
    one.record(far, [answer(1)], [KEYS[1]])
    third = begin(one)
    claimed = one.claim(third, KEYS, retry_failed=False)
    assert ([kept.key for kept in claimed.answered], claimed.held) == ([KEYS[0]], KEYS[1:])
    # What was taken over is uncertain once, and not again for whoever comes next.
    other.end(here, {}, finished=False)
    claimed = one.claim(third, KEYS, retry_failed=False)
    assert (claimed.granted, claimed.uncertain) == (KEYS[1:], 0)


def test_a_clock_that_jumps_costs_nobody_the_claims(pair, clock, monkeypatch):
    """Who runs here is given time to renew a lease that is over by the wall clock, by one that nobody sets."""
    one, other = pair
    mine, theirs = begin(one), begin(other)
    one.claim(mine, KEYS, retry_failed=False)
    clock.now += 3_600
    began = time.monotonic()
    assert other.claim(theirs, KEYS, retry_failed=False).held == KEYS
    one.renew(mine)
    assert other.claim(theirs, KEYS, retry_failed=False).held == KEYS
    clock.now += LEASE_SECONDS + 1
    assert other.claim(theirs, KEYS, retry_failed=False).held == KEYS
    monkeypatch.setattr(liveness.time, "monotonic", lambda: began + 3_600)
    claimed = other.claim(theirs, KEYS, retry_failed=False)
    assert (claimed.granted, claimed.uncertain) == (KEYS, 3)


def test_claims_of_a_process_that_is_gone_are_taken_over_at_once(pair, clock):
    """A dead process of this machine holds nothing, however long its lease."""
    one, other = pair
    script = textwrap.dedent(
        """
        import os, sys, time
        from pathlib import Path
        from llmframe._journal.sqlite.journal import SqliteJournal
        journal = SqliteJournal(Path(sys.argv[1]))
        session = journal.begin(b"recipe", {}, fresh=b"")
        time.time = lambda: float(sys.argv[2])
        journal.renew(session)
        journal.claim(session, [(1).to_bytes(16, "big"), (2).to_bytes(16, "big")], retry_failed=False)
        os._exit(0)
        """
    )
    subprocess.run([sys.executable, "-c", script, str(one.path), str(clock.now)], check=True, timeout=60)
    claimed = other.claim(begin(other), KEYS, retry_failed=False)
    assert (claimed.granted, claimed.held, claimed.uncertain) == (KEYS, [], 2)


def test_a_run_that_ends_leaves_no_claims(pair):
    """What a run claimed and did not answer is free when it ends."""
    one, other = pair
    mine = begin(one)
    one.claim(mine, KEYS, retry_failed=False)
    one.end(mine, {}, finished=False)
    claimed = other.claim(begin(other), KEYS, retry_failed=False)
    assert (claimed.granted, claimed.uncertain) == (KEYS, 0)


@pytest.mark.parametrize("seed", range(10))
def test_each_request_has_one_owner_at_most_whatever_happens(pair, clock, monkeypatch, seed):
    """Claims, answers, giving up, ends and lost leases at random: claims agree with a plain table of who has what."""
    chance = random.Random(seed)
    monkeypatch.setattr(sqlite_journal, "machine", lambda: "a machine whose processes nobody here can see")
    runs = {run: (journal, begin(journal)) for run, journal in enumerate([*pair, *pair])}
    keys = [key(number) for number in range(12)]
    owners, answered, gone = {}, set(), set()
    unasked = {run: set(keys) for run in runs}
    for _ in range(150):
        run = chance.choice(list(runs))
        journal, session = runs[run]
        some = chance.sample(keys, chance.randint(1, 8))
        mine = [one for one in some if owners.get(one) == run]
        match chance.choice(["claim", "claim", "claim", "record", "end", "vanish"]):
            case "claim" if run not in gone:
                some = [one for one in some if one not in mine]
                looked_up = unasked[run].issuperset(some) and chance.random() < 0.8
                claimed = journal.claim(session, some, retry_failed=False, looked_up=looked_up)
                unasked[run].difference_update(claimed.granted)
                free = [one for one in some if one not in answered]
                held = [one for one in free if owners.get(one, run) not in {run, *gone}]
                assert claimed.held == held
                assert claimed.granted == [one for one in free if one not in held]
                assert claimed.uncertain == sum(owners.get(one) in gone for one in free)
                assert {kept.key for kept in claimed.answered} == answered.intersection(some)
                owners.update(dict.fromkeys(claimed.granted, run))
            case "record":
                done, given_up = mine[::2], mine[1::2]
                journal.record(session, [answer(int.from_bytes(one, "big")) for one in done], given_up)
                answered.update(done)
                owners = {one: owner for one, owner in owners.items() if one not in mine}
            case "end":
                journal.end(session, {}, finished=False)
                owners = {one: owner for one, owner in owners.items() if owner != run}
                gone.discard(run)
                runs[run] = (journal, begin(journal))
                unasked[run] = set(keys) - answered
            case "vanish" if len(gone) < 2:
                gone.add(run)
                clock.now += LEASE_SECONDS + 1
                for left in runs.keys() - gone:
                    runs[left][0].renew(runs[left][1])
        assert pair[0].upkeep.summary()["claims"] == len(owners)


def test_what_a_failed_commit_would_have_changed_is_not_taken_for_done(pair):
    """After a commit that failed, claims are again what the file says."""
    one, other = pair
    mine, theirs = begin(one), begin(other)
    keys = [key(number) for number in range(1, 5)]
    one.claim(mine, keys, retry_failed=False)
    connection = one._database.connection
    connection.set_authorizer(
        lambda _, what, *__: sqlite3.SQLITE_DENY if what == "COMMIT" else sqlite3.SQLITE_OK
    )
    with pytest.raises(llmframe.JournalError):
        one.record(mine, [], keys[:1])
    connection.set_authorizer(None)
    one.parts.intend("part", mine.owner, PartLabel(mine.recipe, "server", MODEL, "q"), keys[1:2])
    one.record(mine, [], keys[:1])
    claimed = other.claim(theirs, keys, retry_failed=False)
    assert (claimed.granted, claimed.held) == (keys[:1], keys[1:])


def looks(journal):
    """Note how often a journal is asked for answers."""
    statements = []
    journal._database.connection.set_trace_callback(
        lambda statement: statements.append(statement) if "FROM answer" in statement else None
    )
    return statements


def test_what_was_looked_up_is_not_looked_up_again_while_nobody_else_writes(pair):
    """A run's own claims and answers do not make it look again."""
    one, _ = pair
    mine = begin(one)
    looked = looks(one)
    assert one.claim(mine, KEYS[:1], retry_failed=False, looked_up=True).granted == KEYS[:1]
    one.record(mine, [answer(1)], [])
    assert one.claim(mine, KEYS[1:], retry_failed=False, looked_up=True).granted == KEYS[1:]
    assert looked == []


@pytest.mark.parametrize("elsewhere", [True, False], ids=["another process", "this process"])
def test_what_another_run_answers_meanwhile_is_seen(pair, elsewhere):
    """Whoever answers a request after a run has begun, its claim brings the answer."""
    one, other = pair
    mine = begin(one)
    there = other if elsewhere else one
    theirs = begin(there)
    there.claim(theirs, KEYS, retry_failed=False)
    there.record(theirs, [answer(2)], KEYS[::2])
    for _ in range(2):
        claimed = one.claim(mine, KEYS[:2], retry_failed=False, looked_up=True)
        assert ([kept.key for kept in claimed.answered], claimed.granted) == (KEYS[1:2], KEYS[:1])
        one.record(mine, [], KEYS[:1])


def test_what_a_run_takes_in_of_earlier_batches_is_not_fed(pair):
    """A batch run may harvest a part that it did not submit before it comes to the rows that the part has answered."""
    journal, _ = pair
    frame = asked(6)
    plan = frame.llm.complete("q", mode="offline", journal=False, wait=False)._plan
    score = Results(plan, Prices({}), MODEL)
    session = begin(journal)
    journal.parts.intend("part", session.owner, PartLabel(session.recipe, "server", MODEL, "q"), [])
    part = journal.parts.get("part")

    async def fed():
        intake = OutcomeSink(plan, score, journal, session, print, waits_for_batches=True)
        feed = ClaimedFeed(
            plan, range(6), journal, session, intake, window=lambda: 2, retry_failed=False, largest=2
        )
        numbers = [(await feed.next(patient=False)).number]
        intake.take(BatchResult(plan.keys[4], answer(0)[0]._replace(key=plan.keys[4]), None), part)
        await intake.recorder.flush()
        while request := await feed.next(patient=False):
            numbers.append(request.number)
        return numbers

    assert asyncio.run(fed()) == [0, 1, 2, 3, 5]
    assert (score.answered, score.from_journal) == (1, 0)


def test_a_journal_that_was_closed_for_a_moment_is_looked_into_again(pair):
    """A new connection cannot tell what was written before it."""
    one, other = pair
    mine, theirs = begin(one), begin(other)
    one.close()
    other.record(theirs, [answer(1)], [])
    claimed = one.claim(mine, KEYS, retry_failed=False, looked_up=True)
    assert ([kept.key for kept in claimed.answered], claimed.granted) == (KEYS[:1], KEYS[1:])


def test_what_others_have_claimed_is_read_once(pair):
    """A crashed run's many claims cost a later run one reading, and what is claimed after it is seen at once."""
    one, other = pair
    crashed, late = begin(one), begin(one)
    keys = [key(number) for number in range(1, 2_001)]
    one.claim(crashed, keys, retry_failed=False)
    here, read = begin(other), []
    other._database.connection.set_trace_callback(
        lambda statement: read.append("SELECT keys FROM flight" in statement)
    )
    for number in range(3_000, 3_010):
        assert other.claim(here, [key(number), keys[number - 3_000]], retry_failed=False).held == [
            keys[number - 3_000]
        ]
    assert sum(read) == 1
    one.claim(late, [key(4_000)], retry_failed=False)
    one.record(crashed, [], keys[:5])
    claimed = other.claim(here, [key(4_000), *keys[:10]], retry_failed=False)
    assert (claimed.granted, claimed.held) == (keys[:5], [key(4_000), *keys[5:10]])


def test_a_part_takes_over_what_its_run_has_claimed_and_adopts_what_nobody_has(pair):
    """An own part gets its run's claims and no others; one that is found gets what no run and no part has."""
    one, other = pair
    mine, theirs = begin(one), begin(other)
    label = PartLabel(mine.recipe, "server", MODEL, "q")
    keys = [key(number) for number in range(4)]
    one.claim(mine, keys[:2], retry_failed=False)
    other.claim(theirs, keys[2:3], retry_failed=False)
    one.parts.intend("own", mine.owner, label, keys[:3])
    assert sorted(one.parts.keys("own")) == keys[:2]
    assert other.claim(theirs, keys[:3], retry_failed=False).parts == ["own"]
    one.parts.adopt("found", label, BatchState("batch_1", "in_progress"), keys)
    assert one.parts.keys("found") == keys[3:]
    assert one.holding(keys) == {"own", "found"}
    one.end(mine, {}, finished=False)
    assert other.claim(theirs, keys, retry_failed=False).held == [*keys[:2], keys[3]]


def test_a_journal_from_before_runs_packed_their_claims_is_taken_on(tmp_path):
    """Claims that runs left there are dropped, those of batches' parts stand."""
    path = tmp_path / "journal.sqlite"
    with contextlib.closing(SqliteJournal(path)) as journal:
        session = begin(journal)
        label = PartLabel(session.recipe, "server", MODEL, "q")
        journal.parts.adopt("found", label, BatchState("batch_1", "in_progress"), [key(1)])
    with sql(path) as older:
        older.execute("DROP TABLE flight")
        older.execute("INSERT INTO claim (key, owner) VALUES (?, ?)", (key(2), session.owner))
        older.commit()
    with contextlib.closing(SqliteJournal(path)) as journal:
        claimed = journal.claim(begin(journal), [key(1), key(2)], retry_failed=False)
    assert (claimed.granted, claimed.held, claimed.parts) == ([key(2)], [key(1)], ["found"])


def test_the_newest_answer_counts_and_none_is_overwritten(pair):
    """Several answers to one request are all kept, in order."""
    one, other = pair
    mine = begin(one)
    one.record(mine, [answer(1, "first"), answer(2)], [])
    other.record(begin(other), [answer(1, "second")], [])
    kept = {kept.key: kept.body for kept in one.lookup(mine, KEYS)}
    assert b"second" in kept[KEYS[0]]
    assert one.upkeep.summary()["answers"] == 3


def test_a_fresh_run_counts_only_answers_since_its_own_beginning(pair, clock):
    """An unfinished fresh run goes on when repeated; a finished one begins anew; another's is its own."""
    one, _ = pair
    one.record(begin(one), [answer(1, "old")], [])
    clock.now += 10
    fresh = begin(one, fresh=b"all")
    assert one.lookup(fresh, KEYS) == []
    clock.now += 10
    one.record(fresh, [answer(1, "new")], [])
    one.end(fresh, {}, finished=False)
    clock.now += 10
    assert begin(one, fresh=b"all", digest=b"another").since == clock.now
    some = begin(one, fresh=b"some")
    assert some.since == clock.now
    one.end(some, {}, finished=True)
    again = begin(one, fresh=b"all")
    assert again.since == fresh.since
    assert len(one.lookup(again, KEYS)) == 1
    one.end(again, {}, finished=True)
    clock.now += 10
    assert one.lookup(begin(one, fresh=b"all"), KEYS) == []
    assert len(one.lookup(begin(one), KEYS)) == 2


def test_one_process_shares_one_connection_to_a_file(tmp_path):
    """Also by another name: a second handle's closing would drop the first one's locks."""
    path, link = tmp_path / "journal.sqlite", tmp_path / "link"
    first = registry.acquire(path)
    link.symlink_to(path)
    second = registry.acquire(link)
    assert first is second
    registry.release(second)
    assert first.upkeep.summary()["answers"] == 0
    registry.release(first)


# --- through the verbs ----------------------------------------------------------------------------


def test_a_rerun_pays_only_for_new_rows(llm):
    """Reordered and repeated rows are known again; new ones are asked."""
    asked(20).llm.complete("q")
    frame = pd.concat([asked(30).iloc[::-1], asked(5)])
    frame.llm.complete("q", into="a")
    assert frame["a"].tolist() == expected(frame)
    assert llm.ledger.billed == 30
    assert llmframe.last_run().from_journal == 20


def test_fresh_asks_again_and_its_answers_count_from_then_on(llm):
    """A fresh run asks every row once more; plain runs after it give its answers."""
    frame = asked(10)
    said = []
    with LocalServer(answer=lambda _: said[-1]) as speaker:
        for word, fresh in (("old", False), ("new", True), ("never", False)):
            said.append(word)
            frame.llm.complete("q", into="a", overwrite=True, fresh=fresh, base_url=speaker.base_url)
        assert set(frame["a"]) == {"new"}
        assert speaker.ledger.billed == 20


def test_a_fresh_run_that_was_cut_short_goes_on(llm):
    """Repeated after an error in mid-run, it asks only for what it had not got."""
    asked(40).llm.complete("q")
    llm.reset()
    llm.faults = [Fault("insufficient_quota", after=15)]
    with pytest.raises(llmframe.StoppedError, match="quota"):
        asked(40).llm.complete("q", fresh=True, max_concurrency=1)
    assert llm.ledger.billed == 15
    llm.faults = []
    asked(3).llm.complete("q", fresh=True)  # other rows in between
    assert llm.ledger.billed == 15 + 3
    asked(40).sample(frac=1).llm.complete("q", fresh=True)
    assert llm.ledger.billed == 40 + 3
    assert sorted(llm.ledger.billed_by_request.values()) == [1] * 37 + [2] * 3
    asked(40).llm.complete("q", fresh=True)
    assert llm.ledger.billed == 80 + 3


def test_a_version_is_another_identity_that_resumes(llm):
    """version="v2" asks once more, and its answers are found again under that name only."""
    for version, billed in ((None, 5), ("v2", 10), ("v2", 10), (None, 10), ("v3", 15)):
        asked(5).llm.complete("q", version=version)
        assert llm.ledger.billed == billed


def test_without_dedupe_each_duplicate_has_a_draw_of_its_own_that_resumes(llm):
    """The k-th duplicate is the k-th draw: repeated runs and longer frames pay only for new draws."""
    frame = pd.DataFrame({"q": ["Say a number."] * 4 + ["Say a word."]})
    frame.llm.complete("q", into="a", dedupe=False)
    assert llm.ledger.billed == 5
    frame.llm.complete("q", into="b", dedupe=False)
    assert llm.ledger.billed == 5
    assert frame["a"].tolist() == frame["b"].tolist()
    pd.concat([frame, frame[["q"]].head(2)]).llm.complete("q", into="c", dedupe=False)
    assert llm.ledger.billed == 7
    frame.llm.complete("q", into="d")
    assert llm.ledger.billed == 7


PAID_FAILURES = {
    "refusal": "refusal",
    "content_filter": "content_filter",
    "length_empty": "length",
    "empty": "empty",
    "empty_choices": "no_choices",
}


def test_paid_failures_are_reported_again_without_asking_again(llm):
    """A re-run names them with the same codes and sends nothing; retry_failed=True asks just for them."""
    llm.faults = [
        Fault(kind, when=lambda body, row=row: f"number {row}," in body["messages"][0]["content"])
        for row, kind in enumerate(PAID_FAILURES)
    ]
    frame = asked(25)
    for _ in range(2):
        with pytest.raises(llmframe.CompletionError) as caught:
            frame.llm.complete("q", into="a", overwrite=True)
        failures = caught.value.run.failures
        assert failures["code"].tolist() == list(PAID_FAILURES.values())
        assert failures["position"].tolist() == list(range(5))
        assert frame["a"].notna().sum() == 20
        assert llm.ledger.billed == 25
    llm.faults = []
    frame.llm.complete("q", into="a", overwrite=True, retry_failed=True)
    assert frame["a"].tolist() == expected(frame)
    assert llm.ledger.billed == 30
    frame.llm.complete("q", into="b")
    assert llm.ledger.billed == 30


def test_offline_sends_nothing_and_names_what_is_not_there(llm):
    """Answers come from the journal without key or server; other rows fail as not_in_journal."""
    asked(3).llm.complete("q")
    address = llm.base_url
    llm.stop()
    llmframe.options.api_key = None
    frame = asked(5)
    with pytest.raises(llmframe.CompletionError, match="not_in_journal") as caught:
        frame.llm.complete("q", into="a", mode="offline", base_url=address)
    assert frame["a"].isna().tolist() == [False] * 3 + [True] * 2
    assert caught.value.run.failures["code"].tolist() == ["not_in_journal"] * 2
    assert llm.ledger.requests == 3
    full = asked(3)
    full.llm.complete("q", into="a", base_url=address)
    assert full["a"].tolist() == expected(full)
    with pytest.raises(llmframe.StoppedError, match="OPENAI_API_KEY") as stopped:
        asked(5).llm.complete("q", into="a", base_url=address)
    assert stopped.value.code == "no_api_key"
    assert stopped.value.result["a"].notna().sum() == 3


def test_answers_are_on_disk_soon_after_they_arrive(llm, tmp_path):
    """While a run works, the journal holds what came more than a moment ago."""
    path = tmp_path / "journal.sqlite"
    llm.faults = [Fault("hang", when=lambda body: "number 9," in body["messages"][0]["content"])]
    run = asked(10).llm.complete("q", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.answered == 9, timeout=30)
    deadline = time.monotonic() + 20
    count = 0
    while count < 9 and time.monotonic() < deadline:
        time.sleep(0.05)
        with sql(path) as journal:
            count = journal.execute("SELECT count(*) FROM answer").fetchone()[0]
    assert count == 9
    assert not run.done()
    run.cancel()
    with pytest.raises(llmframe.StoppedError):
        run.result(30)


def test_what_nobody_foresaw_ends_the_run_and_loses_no_answer():
    """An error that is not the journal's is told as one, and what it kept from being written is written in the end."""
    told, written = [], []

    class Odd:
        failing = True

        def record(self, _, answers, __):
            if self.failing:
                raise TypeError("odd")
            written.extend(answers)

    async def run():
        journal = Odd()
        recorder = feed.Recorder(journal, None, told.append)
        recorder.answered(*answer(1))
        with pytest.raises(TypeError, match="odd"):
            await recorder.flush()
        journal.failing = False
        await recorder.close()

    asyncio.run(run())
    assert [type(error) for error in told] == [llmframe.JournalError]
    assert written == [answer(1)]
