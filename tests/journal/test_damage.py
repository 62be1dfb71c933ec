"""Files that are no sound journal of this format: they are refused, and left as they were."""

import asyncio
import contextlib
import os
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from helpers import asked
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from journal.files import fill, names_beside, sql
from journal.stores import begin, key, own_handle, priced, read_export

import llmframe
from llmframe._columns import TEXT
from llmframe._journal.sqlite.schema import FORMAT


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
        newer.execute(f"PRAGMA user_version={FORMAT + 1}")


def _as_early(path):
    fill(path)
    with sql(path) as early:
        early.execute("PRAGMA user_version=1")


def _as_early_of_a_killed_process(path):
    """Make one whose last commits are in its WAL alone."""
    _as_early(path)
    copy = path.with_name("copy")
    with sql(path) as early:
        early.execute("PRAGMA journal_mode=WAL")
        early.execute("CREATE TABLE last_commit (id)")
        early.commit()
        shutil.copy(path, copy)
        shutil.copy(f"{path}-wal", f"{copy}-wal")
    copy.replace(path)
    Path(f"{copy}-wal").replace(f"{path}-wal")


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
        (_as_early, "early llmframe"),
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
        asked(3).llm.complete("q", journal=place)
    assert str(place) in str(caught.value)
    assert place.read_bytes() == before
    assert names_beside(place) == ["file"]
    assert llm.ledger.requests == 0


@pytest.mark.skipif(os.name != "posix", reason="the command is a shell's")
@pytest.mark.parametrize("name", ["journal.sqlite", "Anna's notes.sqlite"])
@pytest.mark.parametrize("make", [_as_early, _as_early_of_a_killed_process])
def test_a_journal_of_the_first_format_is_refused_with_the_command_that_starts_a_new_one(
    llm, tmp_path, name, make
):
    """Run as it is given, the command keeps all of the old file, and the same call then works."""
    path, moved = tmp_path / name, tmp_path / f"{name}.format-1"
    make(path)
    before = [file.read_bytes() for file in sorted(tmp_path.iterdir())]
    with pytest.raises(llmframe.JournalError, match=r"format 1, this one knows 2 only") as caught:
        asked(3).llm.complete("q", journal=path)
    assert [file.read_bytes() for file in sorted(tmp_path.iterdir())] == before
    command = re.search(r"mv .+(?=, or pass)", str(caught.value))[0]
    subprocess.run(["sh", "-c", command], check=True)
    asked(3).llm.complete("q", journal=path)
    assert llm.ledger.billed == 3
    assert [file.read_bytes() for file in sorted(tmp_path.glob(f"{name}.format-1*"))] == before
    with sql(path) as journal:
        assert journal.execute("PRAGMA user_version").fetchone() == (2,)
    with sql(moved) as early:
        assert early.execute("SELECT count(*) FROM answer").fetchone() == (50,)
        tables = {table for (table,) in early.execute("SELECT name FROM sqlite_master")}
    assert ("last_commit" in tables) is (make is _as_early_of_a_killed_process)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
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
    truth = {key(number): priced(number)[0].body for number in range(300)}

    async def used():
        async with contextlib.AsyncExitStack() as stack:
            try:
                journal = await stack.enter_async_context(own_handle(path))
            except llmframe.JournalError:
                assert path.read_bytes() == raw
                return
            with contextlib.suppress(llmframe.JournalError):
                session = await begin(journal)
                found = await journal.lookup(session, list(truth))
                assert all(stored.body == truth[stored.key] for stored in found)
                await journal.claim(session, list(truth))
                await journal.record(session, [priced(1000)], [])

    asyncio.run(used())


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Give a sound journal of 300 answers."""
    path = tmp_path_factory.mktemp("sound") / "journal.sqlite"
    fill(path, 300)
    return path


@pytest.mark.asyncio
async def test_an_answer_that_was_altered_is_not_given_out(tmp_path):
    """Damage inside an answer's text, which SQLite cannot see, is noticed by all that read it."""
    path = tmp_path / "journal.sqlite"
    async with own_handle(path) as journal:
        await journal.record(await begin(journal), [priced(number, "positive") for number in range(3)], [])
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b'"positive', b"{positive", 1))
    async with own_handle(path) as journal:
        session = await begin(journal)
        keys = [key(number) for number in range(3)]
        for read in (journal.lookup(session, keys), journal.summary(TEXT.judge), read_export(journal)):
            with pytest.raises(llmframe.JournalError, match="damaged"):
                await read
        await journal.prune(time.time() + 1)
        assert (await journal.summary(TEXT.judge))["answers"] == 0
