"""Several processes and one file: opened at the same moment, killed while it is made, forked while it is in use."""

import asyncio
import contextlib
import subprocess
import sys

import pytest
from journal.files import sql
from journal.stores import KEYS, begin, own_handle

from llmframe._columns import TEXT
from llmframe._journal import open_journal
from llmframe.testing import LocalServer

needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")


async def summarise(path):
    async with open_journal(path) as journal:
        return await journal.summary(TEXT.judge)


async def claim(path, keys):
    async with own_handle(path) as journal:
        return await journal.claim(await begin(journal), keys)


OPENING = """
import asyncio, sys
from pathlib import Path
from llmframe._journal import open_journal
from llmframe._values import Answer, Usage

async def use(path):
    mine = int(sys.argv[1]).to_bytes(16, "big")
    async with open_journal(path) as journal:
        session = await journal.begin(b"recipe", {})
        await journal.claim(session, [mine, b"k" * 16])
        await journal.record(session, [(Answer(mine, b"{}", Usage()), None)], [])
        await journal.end(session, {}, finished=True)

print("ready", flush=True)
with asyncio.Runner() as runner:
    for line in sys.stdin:
        runner.run(use(Path(line.strip())))
        print("opened", flush=True)
"""


@pytest.mark.slow
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
        summary = asyncio.run(summarise(tmp_path / f"{number}.sqlite"))
        assert (summary["answers"], summary["claims"]) == (processes, 0)


ENDING_WITH_CLAIMS = """
import asyncio, os, sys, time
from pathlib import Path
from llmframe._journal import open_journal

async def main():
    async with open_journal(Path(sys.argv[1])) as journal:
        session = await journal.begin(b"recipe", {})
        time.time = lambda: float(sys.argv[2])
        await journal.renew(session)
        await journal.claim(session, [number.to_bytes(16, "big") for number in (1, 2)])
        os._exit(0)

asyncio.run(main())
"""


def test_claims_of_a_process_that_is_gone_are_taken_over_at_once(tmp_path, clock):
    """A dead process of this machine holds nothing, however long its lease."""
    path = tmp_path / "journal.sqlite"
    command = [sys.executable, "-c", ENDING_WITH_CLAIMS, str(path), str(clock.now)]
    subprocess.run(command, check=True, timeout=60)
    claimed = asyncio.run(claim(path, KEYS))
    assert (claimed.granted, claimed.held, claimed.uncertain) == (KEYS, [], 2)


async def begin_and_end(path):
    async with own_handle(path) as journal:
        await journal.end(await begin(journal), {}, finished=True)


def test_a_process_that_is_gone_leaves_the_owners_with_the_next_run(tmp_path, clock):
    """Whatever that run asks; what the process had claimed is still told to whoever asks it."""
    path = tmp_path / "journal.sqlite"
    command = [sys.executable, "-c", ENDING_WITH_CLAIMS, str(path), str(clock.now)]
    subprocess.run(command, check=True, timeout=60)
    asyncio.run(begin_and_end(path))
    with sql(path) as journal:
        assert journal.execute("SELECT count(*) FROM owner").fetchone() == (0,)
    assert asyncio.run(claim(path, KEYS)).uncertain == 2


STAYING_WITH_CLAIMS = ENDING_WITH_CLAIMS.replace(
    "os._exit(0)", "print('claimed', flush=True), sys.stdin.readline(), os._exit(0)"
)


def test_claims_of_another_process_are_its_own_as_long_as_it_runs(tmp_path):
    path = tmp_path / "journal.sqlite"
    command = [sys.executable, "-c", STAYING_WITH_CLAIMS, str(path), "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "claimed\n"
        assert asyncio.run(claim(path, KEYS)).held == KEYS[:2]
        child.stdin.close()
        assert child.wait(30) == 0
    claimed = asyncio.run(claim(path, KEYS[:2]))
    assert (claimed.granted, claimed.uncertain) == (KEYS[:2], 2)


OPENING_KILLED = """
import asyncio, os, random, signal, sys, time
from pathlib import Path
from llmframe._journal import open_journal
from llmframe._values import Answer, Usage
chance = random.Random(1)

async def use(path):
    async with open_journal(path) as journal:
        session = await journal.begin(b"recipe", {})
        await journal.claim(session, [b"k" * 16])
        await journal.record(session, [(Answer(b"k" * 16, b"{}", Usage()), None)], [])
        found = len(await journal.lookup(session, [b"k" * 16]))
        await journal.end(session, {}, finished=True)
        return found

for number in range(60):
    path = Path(sys.argv[1]) / f"{number}.sqlite"
    child = os.fork()
    if not child:
        asyncio.run(use(path))
        os._exit(0)
    time.sleep(chance.random() * 0.03)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert asyncio.run(use(path)) in (1, 2), number
print("sound")
"""


@pytest.mark.slow
@needs_fork
def test_a_kill_while_a_journal_is_made_leaves_one_that_can_be_used(tmp_path):
    """Whatever step of the first opening was cut short, the next process finishes it."""
    command = [sys.executable, "-W", "ignore", "-c", OPENING_KILLED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("sound\n", 0), done.stderr


FORKING = """
import os, sys, time
import llmframe
llmframe.options.base_url, llmframe.options.journal = sys.argv[1:]
llmframe.options.api_key, llmframe.options.model = "any", "gpt-6-luna"
llmframe.options.max_concurrency, llmframe.options.progress = 10, False
run = llmframe.complete([f"Parent {number}." for number in range(60)], wait=False)
while run.answered < 5:
    time.sleep(0.01)
children = []
for child in range(3):
    children.append(os.fork())
    if not children[-1]:
        llmframe.complete([f"Child {child}, {number}." for number in range(60 + 20 * child)])
        os._exit(0)
run.result()
print([os.waitpid(child, 0)[1] for child in children])
"""


@pytest.mark.slow
@needs_fork
def test_forked_children_and_their_parent_share_the_journal(tmp_path):
    """Forks while the journal is in use: all answers of all processes are kept, whoever ends first."""
    path = tmp_path / "journal.sqlite"
    with LocalServer(latency=0.1) as server:
        command = [sys.executable, "-c", FORKING, server.base_url, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert (done.stdout, done.returncode) == ("[0, 0, 0]\n", 0), done.stderr
        assert server.ledger.billed == 60 + 60 + 80 + 100
    with sql(path) as journal:
        assert journal.execute("SELECT count(*), count(DISTINCT key) FROM answer").fetchone() == (300, 300)
        assert journal.execute("SELECT count(*) FROM claim").fetchone() == (0,)
        assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)


FORKING_BESIDE_AN_OPEN_FILE = """
import asyncio, os, sys
from pathlib import Path
from llmframe._journal import open_journal

async def main(path):
    async with open_journal(path) as journal:
        session = await journal.begin(b"recipe", {})
        await journal.claim(session, [b"a" * 16])
        child = os.fork()
        if not child:
            os._exit(0 if journal._database._handle is None else 1)
        code = os.waitpid(child, 0)[1]
        claimed = await journal.claim(await journal.begin(b"recipe", {}), [b"a" * 16, b"b" * 16])
        print(code, claimed.granted, claimed.held)

asyncio.run(main(Path(sys.argv[1])))
"""


@needs_fork
def test_a_file_is_closed_for_the_moment_of_a_fork(tmp_path):
    """A child has no connection of its parent's, and the parent goes on with what it had claimed."""
    path = tmp_path / "journal.sqlite"
    command = [sys.executable, "-W", "ignore", "-c", FORKING_BESIDE_AN_OPEN_FILE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == f"0 {[b'b' * 16]} {[b'a' * 16]}\n", done.stderr
