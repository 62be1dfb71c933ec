"""Where verbs are called from: scripts, event loops, threads, forked children, web handlers; and background runs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import openai
import pandas as pd
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import llmframe
from llmframe import CompletionError, StoppedError
from llmframe._api import sdk_client
from llmframe._loop import gc_threshold, private_loop, submit, tasks, uninterrupted
from llmframe._run import starting
from llmframe._verbs import complete
from llmframe.testing import Fault, LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = "gpt-6-luna"
ROWS = 400
QUICK = 150
"""Answers that come at once before the server falls silent."""
EXIT_SECONDS = 15.0
"""How long a script may take to end, on a machine that is busy with other things."""
PATIENCE = 30.0

PREAMBLE = f"""
import asyncio, os, signal, sys, threading, time
import pandas as pd
import llmframe
llmframe.options.model = {MODEL!r}
llmframe.options.max_concurrency = 400
df = pd.DataFrame({{"review": [f"review {{i}}" for i in range({ROWS})]}})
"""


@pytest.fixture
def script(tmp_path: Path, server: LocalServer) -> Callable[[str], subprocess.Popen[str]]:
    """Give a function that starts a script of its own, with the server and the journal of the test."""
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": "any",
        "LLMFRAME_JOURNAL": str(tmp_path / "journal.sqlite"),
    }

    def start(body: str) -> subprocess.Popen[str]:
        path = tmp_path / "script.py"
        path.write_text(PREAMBLE + body)
        return subprocess.Popen(
            [sys.executable, "-W", "error", str(path)],
            env=environment,
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    return start


def _end(process: subprocess.Popen[str], seconds: float = PATIENCE) -> tuple[int, str, str]:
    """Wait for a script; return its status, output and errors."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"the script did not end in {seconds} s\n{out}\n{err}")
    return process.returncode, out, err


def _kept(tmp_path: Path) -> tuple[int, int]:
    """Count the answers and the open claims in the journal."""
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        counts = tuple(
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("answer", "claim")
        )
    connection.close()
    return counts[0], counts[1]


def _wait_until_silent(server: LocalServer, answered: int, in_flight: int) -> None:
    """Wait until the newest run has its answers and the rest hangs."""
    assert server.ledger.wait_for(
        lambda ledger: ledger.answered == answered and ledger.in_flight >= in_flight, PATIENCE
    )
    deadline = time.monotonic() + PATIENCE
    while llmframe.last_run().answered < answered:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _frame(rows: int = 20) -> pd.DataFrame:
    return pd.DataFrame({"review": [f"review {number}" for number in range(rows)]})


def _contents(server: LocalServer) -> list[str]:
    return [body["messages"][-1]["content"] for body in server.ledger.bodies]


# --- scripts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "status", "said"),
    [("", 0, ""), ("sys.exit(3)", 3, ""), ('raise RuntimeError("oops")', 1, "RuntimeError: oops")],
    ids=["falls off", "sys.exit", "exception"],
)
def test_a_script_may_end_with_a_run_in_flight(
    script: Any, server: LocalServer, tmp_path: Path, *, ending: str, status: int, said: str
) -> None:
    """What had come is in the journal, and the process ends soon, without noise."""
    server.faults = [Fault("hang", after=QUICK)]
    process = script(f"""
run = df.llm.complete("review", into="answer", wait=False, progress=False)
while run.answered < {QUICK}:
    time.sleep(0.01)
print("ending", flush=True)
{ending}
""")
    assert process.stdout.readline() == "ending\n"
    began = time.monotonic()
    code, _, err = _end(process)
    assert time.monotonic() - began < EXIT_SECONDS
    assert code == status
    assert err.strip().splitlines()[-1:] == ([said] if said else [])
    assert _kept(tmp_path) == (QUICK, 0)
    assert server.ledger.wait_for(lambda ledger: ledger.in_flight == 0)


INTERRUPTED = """
try:
    {call}
finally:
    print(int(df["answer"].notna().sum()), flush=True)
"""
CALLS = {
    "plain": 'df.llm.complete("review", into="answer")',
    "asyncio, plain": """
    async def main():
        df.llm.complete("review", into="answer")
    asyncio.run(main())""",
    "asyncio, awaited": """
    async def main():
        await df.llm.acomplete("review", into="answer")
    asyncio.run(main())""",
    "uvloop, plain": """
    import uvloop
    async def main():
        df.llm.complete("review", into="answer")
    uvloop.run(main())""",
    "own client, nested": """
    import openai
    async def main():
        async with openai.AsyncOpenAI() as client:
            df.llm.complete("review", into="answer", client=client)
    asyncio.run(main())""",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_ctrl_c_in_a_script_writes_what_came_and_the_next_run_goes_on(
    script: Any, server: LocalServer, tmp_path: Path, call: str
) -> None:
    """A script ends by `KeyboardInterrupt` with a partial column; run again it pays only what is missing."""
    server.faults = [Fault("hang", after=QUICK)]
    process = script(INTERRUPTED.format(call=call))
    assert server.ledger.wait_for(
        lambda ledger: ledger.answered >= QUICK and ledger.in_flight >= 100, timeout=PATIENCE
    ), _end(process)
    time.sleep(0.3)  # what the server has sent is not yet what the script has read
    process.send_signal(signal.SIGINT)
    code, out, err = _end(process, EXIT_SECONDS)
    assert code == -signal.SIGINT
    answered = int(out)
    assert 0 < answered <= QUICK
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert err.count("interrupted: run the cell again to continue") == 1
    assert _kept(tmp_path) == (answered, 0)
    assert server.ledger.wait_for(lambda ledger: ledger.in_flight == 0)
    server.faults = []
    llmframe.options.base_url, llmframe.options.api_key = server.base_url, "any"
    assert _frame(ROWS).llm.complete("review", into="answer", model=MODEL)["answer"].notna().all()
    assert server.ledger.billed == ROWS + QUICK - answered


def test_an_own_client_on_a_loop_that_cannot_be_nested_is_refused(script: Any, server: LocalServer) -> None:
    """Under uvloop a plain call with an own async client says what to write instead, and patches nothing."""
    code, out, err = _end(
        script("""
import openai, uvloop
async def main():
    async with openai.AsyncOpenAI() as client:
        try:
            df.llm.complete("review", into="answer", client=client)
        except RuntimeError as error:
            print(error)
        print(hasattr(asyncio, "_nest_patched"), "answer" in df)
        await df.head(5).llm.acomplete("review", into="answer", client=client, progress=False)
uvloop.run(main())
""")
    )
    assert (code, err) == (0, "")
    assert "await df.llm.acomplete" in out
    assert out.endswith("False False\n")
    assert server.ledger.billed == 5


FORKED = """
import multiprocessing
df = df.head(40)
df.llm.complete("review", into="answer")
background = llmframe.complete([f"background {i}" for i in range(300)], wait=False, max_concurrency=5)

def ask(name):
    frame = pd.DataFrame({"review": [f"{name} {i}" for i in range(10)]})
    frame.llm.complete("review", into="answer")
    again = df.copy()
    again.llm.complete("review", into="answer")
    print(f"child {frame['answer'].notna().sum()} {again['answer'].notna().sum()}\\n", end="", flush=True)
"""
FORK = """
for number in range(4):
    child = os.fork()
    if not child:
        ask(number)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
PROCESSES = """
fork = multiprocessing.get_context("fork")
children = [fork.Process(target=ask, args=(number,)) for number in range(4)]
for child in children:
    child.start()
for child in children:
    child.join()
    assert child.exitcode == 0
"""


@pytest.mark.parametrize("forking", [FORK, PROCESSES], ids=["os.fork", "multiprocessing"])
def test_forked_children_call_for_themselves(script: Any, server: LocalServer, forking: str) -> None:
    """After the parent's calls, and while a run of its works and draws, children call without a hang."""
    process = script(
        f"{FORKED}\n{forking}\nprint(len(background.result()), len(llmframe.complete(['last'])))"
    )
    code, out, err = _end(process, 2 * PATIENCE)
    assert code == 0, err
    assert sorted(out.splitlines()) == ["300 1"] + ["child 10 40"] * 4
    assert server.ledger.billed == 40 + 300 + 4 * 10 + 1


def test_a_childs_answers_outlive_the_parents_run(script: Any, tmp_path: Path) -> None:
    """What a child was answered is in the journal, also when its parent's run ended meanwhile."""
    with LocalServer(latency=0.2) as slow:
        process = script(f"""
llmframe.options.base_url = {slow.base_url!r}
llmframe.options.max_concurrency = 10
llmframe.options.progress = False
background = llmframe.complete([f"parent {{i}}" for i in range(20)], wait=False)
while background.answered < 5:
    time.sleep(0.01)
child = os.fork()
if not child:
    llmframe.complete([f"child {{i}}" for i in range(60)])
    os._exit(0)
background.result()
assert os.waitpid(child, 0)[1] == 0
""")
        code, _, err = _end(process)
        assert (code, err) == (0, "")
        assert slow.ledger.billed == 80
    assert _kept(tmp_path) == (80, 0)


# --- loops and threads ---------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_coroutine_may_await_and_may_wait(llm: LocalServer) -> None:
    """Under pytest-asyncio both faces work in one test."""
    frame = _frame()
    await frame.llm.acomplete("review", into="awaited")
    frame.llm.complete("review", "Shout:", into="plain")
    assert frame.notna().all(axis=None)
    assert llm.ledger.billed == 40


def test_a_plain_test_function_calls_after_other_loops_have_come_and_gone(llm: LocalServer) -> None:
    """The private loop outlives the loops of others."""
    for turn in range(3):
        asyncio.run(_frame().llm.acomplete("review", f"{turn}:", into="awaited"))
        assert _frame().llm.complete("review", f"plain {turn}:", into="plain")["plain"].notna().all()
    assert llm.ledger.billed == 120


@pytest.mark.asyncio
async def test_a_web_service_answers_many_at_once(llm: LocalServer) -> None:
    """Async handlers await, sync ones call from a thread pool, all at the same time."""

    async def awaiting(request: web.Request) -> web.Response:
        answers = await llmframe.acomplete([f"{request.query['n']} {row}" for row in range(5)])
        return web.json_response(answers)

    def plain(number: str) -> list[str | None]:
        return list(pd.Series([f"{number} {row}" for row in range(5)]).llm.complete())

    async def threaded(request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(plain, request.query["n"]))

    app = web.Application()
    app.add_routes([web.get("/awaiting", awaiting), web.get("/threaded", threaded)])
    async with TestClient(TestServer(app)) as client:

        async def ask(path: str, number: int) -> list[str]:
            async with client.get(path, params={"n": str(number)}) as response:
                return list(await response.json())

        asked = [(path, number) for number in range(15) for path in ("/awaiting", "/threaded")]
        answered = await asyncio.gather(*[ask(path, number) for path, number in asked])
    assert all(len(answers) == 5 and all(answers) for answers in answered)
    assert answered[0::2] == answered[1::2]
    assert llm.ledger.billed == 75


def test_many_threads_call_at_once_each_with_its_own_options(llm: LocalServer) -> None:
    """Sixteen threads share one loop; each has its frame, its model and its rows."""
    models = [MODEL, "gpt-5-mini", "gpt-5-nano", "gpt-5.6-luna"]

    def ask(number: int) -> pd.DataFrame:
        frame = pd.DataFrame({"review": [f"{number} {row}" for row in range(20)]})
        with llmframe.option_context(model=models[number % 4]):
            return frame.llm.complete("review", "Say: {review}", into="answer")

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        frames = list(pool.map(ask, range(16)))
    assert all(frame["answer"].notna().all() for frame in frames)
    assert llm.ledger.billed == 320
    asked = {(body["messages"][-1]["content"].split()[1], body["model"]) for body in llm.ledger.bodies}
    assert asked == {(str(number), models[number % 4]) for number in range(16)}


def test_a_verb_that_waits_on_the_private_loop_is_refused_before_it_sends(llm: LocalServer) -> None:
    """A key function that calls a verb would wait for itself: it is told so, and the outer run ends."""
    caught = []

    async def key() -> str:
        try:
            llmframe.complete(["inner"])
        except RuntimeError as error:
            caught.append(str(error))
        return "any"

    assert llmframe.complete(["outer"], api_key=key)[0]
    assert "await" in caught[0]
    assert _contents(llm) == ["outer"]


def test_a_callback_that_exits_ends_its_run_and_not_the_loop(llm: LocalServer) -> None:
    """`SystemExit` out of a key function reaches the caller; the next call works."""

    def key() -> str:
        sys.exit(7)

    with pytest.raises(SystemExit):
        llmframe.complete(["one"], wait=False, api_key=key).result(timeout=PATIENCE)
    assert llmframe.complete(["two"], wait=False).result(timeout=PATIENCE)[0]


@pytest.mark.parametrize("own", [False, True], ids=["private loop", "own client"])
@pytest.mark.asyncio
async def test_a_cancelled_caller_leaves_nothing_in_flight(llm: LocalServer, *, own: bool) -> None:
    """`asyncio.wait_for` around an awaited verb unwinds it, with what came in the column."""
    llm.faults = [Fault("hang", after=10)]
    frame = _frame(60)
    async with openai.AsyncOpenAI(base_url=llm.base_url, api_key="any") as client:
        settings = {"client": client} if own else {}
        asking = asyncio.create_task(
            frame.llm.acomplete("review", into="answer", max_concurrency=50, **settings)
        )
        await asyncio.to_thread(_wait_until_silent, llm, 10, 40)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asking, 0.05)
    assert llm.ledger.wait_for(lambda ledger: ledger.in_flight == 0)
    assert frame["answer"].notna().sum() == 10
    assert llmframe.last_run().status == "interrupted"
    llm.faults = []
    await frame.llm.acomplete("review", into="answer")
    assert frame["answer"].notna().all()
    assert llm.ledger.billed == 60


# --- interrupts in this process ------------------------------------------------------------------


def _press(*seconds: float) -> None:
    """Send this process SIGINT after so many seconds each."""
    for later in seconds:
        threading.Timer(later, os.kill, (os.getpid(), signal.SIGINT)).start()


def test_ctrl_c_while_the_column_is_written_waits_until_it_is_whole(
    llm: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write-back is not interruptible, and the interrupt is not forgotten."""
    write = complete.put_column

    def interrupted_write(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        write(*arguments)

    monkeypatch.setattr(complete, "put_column", interrupted_write)
    frame = _frame()
    with pytest.raises(KeyboardInterrupt):
        frame.llm.complete("review", into="answer")
    assert frame["answer"].notna().all()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.asyncio
async def test_ctrl_c_while_an_awaited_column_is_written_waits_likewise(
    llm: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the loop has no handler of its own for SIGINT, the write-back is held together too."""
    write = complete.put_column

    def interrupted_write(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        write(*arguments)

    monkeypatch.setattr(complete, "put_column", interrupted_write)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    frame = _frame()
    try:
        with pytest.raises(KeyboardInterrupt):
            await frame.llm.acomplete("review", into="answer")
    finally:
        signal.signal(signal.SIGINT, before)
    assert frame["answer"].notna().all()


def test_ctrl_c_between_the_start_and_the_wait_is_not_lost(
    llm: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt that comes just as the run starts ends the run."""
    llm.faults = [Fault("hang")]
    plain_start = starting.start

    def interrupted_start(*arguments: Any, **settings: Any) -> Any:
        run = plain_start(*arguments, **settings)
        signal.raise_signal(signal.SIGINT)
        return run

    monkeypatch.setattr(starting, "start", interrupted_start)
    with pytest.raises(KeyboardInterrupt):
        _frame().llm.complete("review", into="answer")
    assert llmframe.last_run().status == "interrupted"
    assert llm.ledger.wait_for(lambda ledger: ledger.in_flight == 0)


def test_a_second_ctrl_c_does_not_wait_for_work_that_will_not_unwind() -> None:
    """Work that ignores its cancellation holds the caller for one press, not for two."""
    released = threading.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    work = submit(stubborn)
    began = time.monotonic()
    _press(0.2, 0.6)
    with pytest.raises(KeyboardInterrupt), uninterrupted() as interrupts:
        work.wait(None, interrupts)
    assert time.monotonic() - began < tasks.UNWIND_SECONDS
    released.set()
    assert work.future.result(PATIENCE) is None


def test_a_run_that_does_not_unwind_still_writes_and_says_so(
    llm: LocalServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the transport will not close, two presses give the column and the line all the same."""
    close, released = sdk_client.SdkTransport.close_connections, threading.Event()

    async def late_close(transport: sdk_client.SdkTransport) -> None:
        await asyncio.to_thread(released.wait, PATIENCE)
        await close(transport)

    monkeypatch.setattr(sdk_client.SdkTransport, "close_connections", late_close)
    llm.faults = [Fault("hang", after=10)]
    frame = _frame(40)

    def press_twice() -> None:
        _wait_until_silent(llm, 10, 20)
        _press(0.1, 0.6)

    threading.Thread(target=press_twice).start()
    with pytest.raises(KeyboardInterrupt):
        frame.llm.complete("review", into="answer", max_concurrency=30, progress=True)
    assert not llmframe.last_run().done()
    assert frame["answer"].notna().sum() == 10
    assert capsys.readouterr().err.count("interrupted: run the cell again") == 1
    assert frame.attrs["llmframe"]["answer"]["complete"] is False
    released.set()
    with pytest.raises(StoppedError):
        llmframe.last_run().result(timeout=PATIENCE)


def test_a_run_that_is_cancelled_while_the_journal_is_busy_leaves_the_journal_usable(
    llm: LocalServer, tmp_path: Path
) -> None:
    """Cancelling what waits for the journal's thread does not take the thread with it."""
    llmframe.complete(["first"])
    other = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    run = llmframe.complete(["second"], wait=False)
    with pytest.raises(TimeoutError):
        run.result(timeout=0.3)
    run.cancel()
    time.sleep(0.1)
    other.execute("ROLLBACK")
    other.close()
    with pytest.raises(StoppedError):
        run.result(timeout=PATIENCE)
    assert llmframe.complete(["third"], wait=False).result(timeout=PATIENCE)[0]


def test_answers_that_came_are_kept_when_the_run_is_cancelled_while_it_writes_them(tmp_path: Path) -> None:
    """A cancellation does not break into the journal's last commits."""
    waves = iter([1.5] * 5 + [2.0] * 5)
    with LocalServer(latency=lambda _: next(waves)) as slow:
        llmframe.options.base_url, llmframe.options.api_key = slow.base_url, "any"
        llmframe.options.model = MODEL
        run = llmframe.complete([f"row {row}" for row in range(10)], wait=False)
        assert slow.ledger.wait_for(lambda ledger: ledger.in_flight == 10)
        other = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert slow.ledger.wait_for(lambda ledger: ledger.answered == 10)
        while run.answered < 10:
            time.sleep(0.01)
        time.sleep(0.1)
        run.cancel()
        time.sleep(0.1)
        other.execute("ROLLBACK")
        other.close()
        with pytest.raises(StoppedError):
            run.result(timeout=PATIENCE)
    assert _kept(tmp_path) == (10, 0)


# --- background runs -----------------------------------------------------------------------------


@pytest.fixture
def slow() -> Any:
    """Give a server that takes its time, to which the options point."""
    with LocalServer(latency=0.15) as running:
        llmframe.options.base_url = running.base_url
        llmframe.options.api_key = "any"
        llmframe.options.model = MODEL
        yield running


# pandas warns of `inplace`, which is what these are about.
def _sort(frame: pd.DataFrame) -> None:
    frame.sort_values("review", ascending=False, inplace=True)  # noqa: PD002


def _edit(frame: pd.DataFrame) -> None:
    frame.loc[3, "review"] = "another text"


def _append(frame: pd.DataFrame) -> None:
    frame.loc[len(frame)] = "one more"


def _write_target(frame: pd.DataFrame) -> None:
    frame["answer"] = "mine"


def _drop_input(frame: pd.DataFrame) -> None:
    frame.drop(columns="review", inplace=True)  # noqa: PD002


def _drop_row(frame: pd.DataFrame) -> None:
    frame.drop(index=3, inplace=True)  # noqa: PD002


@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.parametrize(
    "change",
    [_sort, _edit, _append, _write_target, _drop_input, _drop_row],
    ids=lambda change: change.__name__,
)
def test_a_frame_that_changed_meanwhile_is_left_alone(
    slow: LocalServer, change: Callable[[pd.DataFrame], None]
) -> None:
    """The answers to the old rows are not put beside the new ones; they are in the run and in the journal."""
    frame = _frame()
    asked = frame["review"].tolist()
    run = frame.llm.complete("review", into="answer", wait=False)
    change(frame)
    after = frame.copy()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"changed since the call.*run\.values and in the journal"):
            run.result(timeout=PATIENCE)
    pd.testing.assert_frame_equal(frame, after)
    assert run.status == "done"
    assert run.values == llmframe.complete(asked)  # noqa: PD011 (a run's)
    assert slow.ledger.billed == 20


def _insert(frame: pd.DataFrame) -> None:
    frame.insert(0, "number", range(len(frame)))


def _add(frame: pd.DataFrame) -> None:
    frame["length"] = frame["review"].str.len()


def _relabel(frame: pd.DataFrame) -> None:
    frame.index = frame.index[::-1]


@pytest.mark.parametrize("change", [_insert, _add, _relabel], ids=lambda change: change.__name__)
def test_a_frame_whose_inputs_did_not_change_is_written(
    slow: LocalServer, change: Callable[[pd.DataFrame], None]
) -> None:
    """Other columns and labels may come while the run works."""
    frame = _frame()
    run = frame.llm.complete("review", "Shout:", into="answer", wait=False)
    change(frame)
    columns = [*frame.columns, "answer"]
    assert run.result(timeout=PATIENCE) is frame
    assert list(frame.columns) == columns
    assert frame["answer"].tolist() == _frame()["review"].llm.complete("Shout:").tolist()
    assert slow.ledger.billed == 20


def test_what_is_asked_is_what_was_there_at_the_call(
    llm: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are rendered long after the call still have the cells of the call."""
    monkeypatch.setattr("llmframe._columns.plan.CHUNK_ROWS", 20)
    rows = 200
    frame = _frame(rows)
    run = frame.llm.complete("review", into="answer", wait=False, max_concurrency=4)
    frame["review"] = "overwritten"
    frame.loc[:, "review"] = "edited"
    with pytest.raises(ValueError, match="changed since the call"):
        run.result(timeout=PATIENCE)
    assert sorted(_contents(llm)) == sorted(_frame(rows)["review"])


def test_message_arrays_may_be_edited_while_they_are_asked(slow: LocalServer) -> None:
    """Lists inside cells are read at the call, and a change to one is noticed."""
    frame = pd.DataFrame({"chat": [[{"role": "user", "content": f"hello {row}"}] for row in range(10)]})
    run = frame.llm.complete("chat", into="answer", wait=False, max_concurrency=2)
    frame["chat"][7][0]["content"] = "goodbye"
    with pytest.raises(ValueError, match="changed since the call"):
        run.result(timeout=PATIENCE)
    assert sorted(_contents(slow)) == [f"hello {row}" for row in range(10)]


def test_a_background_run_can_be_watched_and_waited_for(slow: LocalServer) -> None:
    """`done`, `status` and a timeout look at the run without touching it; the result is the plain call's."""
    frame = _frame()
    run = frame.llm.complete("review", into="answer", wait=False, max_concurrency=5)
    assert not run.done()
    assert run.status == "running"
    for timeout in (0, 0.05):
        with pytest.raises(TimeoutError, match="goes on"):
            run.result(timeout=timeout)
    assert list(frame.columns) == ["review"]
    assert run.result() is frame
    assert run.result() is frame
    assert (run.done(), run.status, run.answered) == (True, "done", 20)
    assert frame["answer"].notna().all()
    assert slow.ledger.billed == 20


def test_a_result_is_written_once(slow: LocalServer) -> None:
    """What the user does to the column after `result()` is not undone by another `result()`."""
    frame = _frame(3)
    run = frame.llm.complete("review", into="answer", wait=False)
    run.result()
    frame.loc[1, "answer"] = "corrected"
    run.result()
    assert frame.loc[1, "answer"] == "corrected"


def test_a_cancelled_run_ends_and_says_so(llm: LocalServer) -> None:
    """`cancel()` sends nothing more; `result()` writes what came and raises; a second call goes on."""
    llm.faults = [Fault("hang", after=10)]
    frame = _frame(40)
    run = frame.llm.complete("review", into="answer", wait=False, max_concurrency=30)
    _wait_until_silent(llm, 10, 20)
    run.cancel()
    for _ in range(2):
        with pytest.raises(StoppedError, match="cancelled") as caught:
            run.result(timeout=PATIENCE)
    assert caught.value.run is run
    assert caught.value.result is frame
    assert run.status == "interrupted"
    assert llm.ledger.wait_for(lambda ledger: ledger.in_flight == 0)
    assert frame["answer"].notna().sum() == 10
    run.cancel()
    llm.faults = []
    frame.llm.complete("review", into="answer")
    assert frame["answer"].notna().all()
    assert llm.ledger.billed == 40


def test_ctrl_c_ends_a_background_run_that_is_waited_for(llm: LocalServer) -> None:
    """Interrupting `result()` ends the run as it would end the plain call."""
    llm.faults = [Fault("hang", after=10)]
    frame = _frame(40)
    run = frame.llm.complete("review", into="answer", wait=False, max_concurrency=30)
    _wait_until_silent(llm, 10, 20)
    _press(0.1)
    with pytest.raises(KeyboardInterrupt):
        run.result()
    assert run.status == "interrupted"
    assert frame["answer"].notna().sum() == 10
    assert llm.ledger.wait_for(lambda ledger: ledger.in_flight == 0)


def test_background_runs_of_the_same_rows_pay_once(slow: LocalServer) -> None:
    """Two runs at once over equal frames share their answers."""
    frames = [_frame(), _frame()]
    runs = [frame.llm.complete("review", into="answer", wait=False) for frame in frames]
    for run in runs:
        run.result(timeout=PATIENCE)
    pd.testing.assert_frame_equal(*frames)
    assert slow.ledger.billed == 20


def test_a_background_run_with_failures_raises_when_it_is_waited_for(llm: LocalServer) -> None:
    """Nothing is raised before `result()`, and there it is what the plain call raises."""
    llm.faults = [Fault("context_length_exceeded", when=lambda body: "7" in body["messages"][-1]["content"])]
    frame = _frame(10)
    run = frame.llm.complete("review", into="answer", wait=False)
    with pytest.raises(CompletionError, match="1 of 10 rows failed"):
        run.result(timeout=PATIENCE)
    assert frame["answer"].isna().tolist() == [row == 7 for row in range(10)]


@pytest.mark.parametrize("there", [True, False])
def test_our_own_loop_is_of_the_fastest_kind_that_is_there(monkeypatch, there):
    """uvloop where it is installed, asyncio's own elsewhere; calls work on both."""
    if not there:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    elif sys.platform == "win32":
        pytest.skip("there is no uvloop on Windows")
    loop = private_loop._new_loop()
    try:
        assert type(loop).__module__.startswith("uvloop") == there
        assert loop.run_until_complete(asyncio.sleep(0, 7)) == 7
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("chosen", "during"),
    [((700, 10, 10), (50_000, 10, 10)), ((0, 10, 10), (0, 10, 10)), ((900_000, 5, 5), (900_000, 5, 5))],
    ids=["usual", "switched off", "seldom already"],
)
def test_the_garbage_collector_is_left_as_it_was(
    llm: LocalServer, chosen: tuple[int, int, int], during: tuple[int, int, int]
) -> None:
    """It looks less often while rows are under way, and afterwards as often as before."""
    usual = gc.get_threshold()
    gc.set_threshold(*chosen)
    try:
        llm.faults = [Fault("hang")]
        run = _frame(5).llm.complete("review", into="answer", wait=False)
        assert llm.ledger.wait_for(lambda ledger: ledger.in_flight > 0, PATIENCE)
        assert gc.get_threshold() == during
        with gc_threshold.raised_gc_threshold():
            pass
        assert gc.get_threshold() == during
        run.cancel()
        run._wait(PATIENCE)
        assert gc.get_threshold() == chosen
    finally:
        gc.set_threshold(*usual)
