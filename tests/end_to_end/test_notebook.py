"""Cells in real kernels: plain, awaiting and mixed; interrupts, "Run All", what is shown, and own clients."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import nbformat
import pytest
from end_to_end.kernels import Cell, Kernel
from nbclient import NotebookClient

from llmframe._run.card import GREEN, RED
from llmframe.testing import Fault, LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = 700
QUICK = 250
"""Answers that come at once before the server falls silent."""
IN_FLIGHT = 200
"""Requests that hang when the interrupt comes."""
BACK_SECONDS = 2.0
SLACK_SECONDS = 3.0
"""For a machine that is busy with other things."""

IMPORTS = """
import asyncio, sys
import pandas as pd
import llmframe
"""
PLAIN = 'df.llm.complete("review", into="answer")'
AWAITED = 'await df.llm.acomplete("review", into="answer")'
MIXED = f"await asyncio.sleep(0)\n{PLAIN}"
COUNT = 'print(int(df["answer"].notna().sum()))'
PATCHED = 'print(hasattr(asyncio, "_nest_patched"))'


@dataclass
class Book:
    """A kernel whose options point to a server and a journal of their own."""

    kernel: Kernel
    server: LocalServer

    def frame(self, rows: int) -> None:
        self.kernel.run(f'df = pd.DataFrame({{"review": [f"review {{i}}" for i in range({rows})]}})')

    def count(self) -> int:
        return int(self.kernel.run(COUNT).out)

    def fall_silent(self, rows: int = ROWS) -> None:
        """Answer a few and then no more."""
        self.frame(rows)
        self.server.faults = [Fault("hang", after=QUICK)]

    def interrupt(self, code: str) -> tuple[Cell, Cell, float]:
        """Interrupt a cell with hundreds in flight; return it, the one queued behind, and how long it took."""
        cell, queued = self.kernel.send(code), self.kernel.send("print('the next cell')")
        assert self.server.ledger.wait_for(
            lambda ledger: ledger.answered >= QUICK and ledger.in_flight >= IN_FLIGHT, timeout=30
        ), self.kernel.wait(cell)
        time.sleep(0.3)  # what the server has sent is not yet what the kernel has read
        pressed = self.kernel.interrupt()
        self.kernel.wait(cell, queued)
        return cell, queued, cell.replied - pressed


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Give a kernel in which nothing needs nesting."""
    with Kernel(tmp_path_factory.mktemp("kernel")) as running:
        running.run(IMPORTS)
        yield running


@pytest.fixture
def nesting_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Give a kernel whose loop may be patched: it stays so."""
    with Kernel(tmp_path_factory.mktemp("nesting")) as running:
        running.run(f"{IMPORTS}\nimport openai")
        yield running


def _open(kernel: Kernel, server: LocalServer, tmp_path: Path) -> Book:
    kernel.run(f"""
for name in dir(llmframe.options):
    setattr(llmframe.options, name, None)
llmframe.options.base_url = {server.base_url!r}
llmframe.options.journal = {str(tmp_path / "journal.sqlite")!r}
llmframe.options.api_key = "any"
llmframe.options.model = "gpt-6-luna"
llmframe.options.max_concurrency = 400
""")
    return Book(kernel, server)


@pytest.fixture
def book(kernel: Kernel, server: LocalServer, tmp_path: Path) -> Book:
    return _open(kernel, server, tmp_path)


@pytest.fixture
def nesting_book(nesting_kernel: Kernel, server: LocalServer, tmp_path: Path) -> Book:
    book = _open(nesting_kernel, server, tmp_path)
    book.kernel.run(f'client = openai.AsyncOpenAI(base_url={server.base_url!r}, api_key="any")')
    return book


# --- cells ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [PLAIN, AWAITED, MIXED, f"{AWAITED}\n{PLAIN}"])
def test_a_cell_fills_the_column_whether_it_waits_or_awaits(book: Book, code: str) -> None:
    """Plain, awaiting and mixed cells fill the column, and asyncio stays as it was."""
    book.frame(30)
    book.kernel.run(code)
    assert book.count() == 30
    assert book.server.ledger.billed == 30
    assert book.kernel.run(PATCHED).out == "False\n"


def test_run_all_runs_every_cell_in_order(book: Book) -> None:
    """Cells queued behind running ones all run, in order, each with its output in its own cell."""
    book.frame(20)
    book.kernel.run("order = []")
    codes = [PLAIN, AWAITED, MIXED, 'df["review"].llm.complete("Shout: {}")', AWAITED, PLAIN]
    cells = [
        book.kernel.send(f"order.append({number})\n{code}\nprint({number}, int(df.shape[1]))")
        for number, code in enumerate(codes)
    ]
    book.kernel.wait(*cells)
    assert [cell.check().out for cell in cells] == [f"{number} 2\n" for number in range(len(codes))]
    assert book.kernel.run("print(order)").out == f"{list(range(len(codes)))}\n"
    assert all("20 rows answered" in cell.said for cell in cells)


# --- interrupts ----------------------------------------------------------------------------------


def _check_stopped(book: Book, code: str, error: str) -> None:
    book.fall_silent()
    cell, queued, seconds = book.interrupt(code)
    assert cell.status == "error"
    assert cell.error is not None
    assert cell.error.startswith(error)
    assert "llmframe/" not in cell.traceback
    assert queued.status == "aborted"
    assert queued.out == ""
    assert book.server.ledger.wait_for(lambda ledger: ledger.in_flight == 0)
    answered = book.count()
    assert 0 < answered <= QUICK
    said = [line for line in cell.said.splitlines() if "interrupted" in line]
    assert len(said) == 1
    assert said[0].startswith(f"{answered} rows answered, {ROWS - answered} not done")
    assert "run the cell again to continue" in said[0]
    assert seconds < BACK_SECONDS + SLACK_SECONDS
    _check_goes_on(book, code, answered)


def _check_goes_on(book: Book, code: str, answered: int) -> None:
    book.server.faults = []
    book.kernel.run(code)
    assert book.count() == ROWS
    assert book.server.ledger.billed == ROWS + QUICK - answered


@pytest.mark.parametrize(
    ("code", "error"),
    [(PLAIN, "KeyboardInterrupt"), (MIXED, "KeyboardInterrupt"), (AWAITED, "CancelledError")],
    ids=["plain", "mixed", "awaited"],
)
def test_an_interrupt_keeps_what_came_and_stops_run_all(book: Book, code: str, error: str) -> None:
    """The stop button ends hundreds in flight within seconds; the same cell then pays only what is missing."""
    _check_stopped(book, code, error)


def test_an_interrupt_is_felt_before_the_first_answer(book: Book) -> None:
    """With nothing answered no column appears, and the next cell works."""
    book.frame(50)
    book.server.faults = [Fault("hang")]
    cell = book.kernel.send(PLAIN)
    assert book.server.ledger.wait_for(lambda ledger: ledger.in_flight >= 4, timeout=30)
    book.kernel.interrupt()
    book.kernel.wait(cell)
    assert cell.error is not None
    assert cell.error.startswith("KeyboardInterrupt")
    assert book.kernel.run('print("answer" in df)').out == "False\n"


def test_two_quick_interrupts_write_what_came_too(book: Book) -> None:
    """Pressing stop twice loses nothing more than pressing it once."""
    book.fall_silent()
    cell = book.kernel.send(PLAIN)
    assert book.server.ledger.wait_for(
        lambda ledger: ledger.answered >= QUICK and ledger.in_flight >= IN_FLIGHT, timeout=30
    )
    book.kernel.interrupt()
    book.kernel.interrupt()
    book.kernel.wait(cell)
    assert cell.error is not None
    assert cell.error.startswith("KeyboardInterrupt")
    assert book.server.ledger.wait_for(lambda ledger: ledger.in_flight == 0)
    _check_goes_on(book, PLAIN, book.count())


def test_an_interrupt_ends_a_background_run_that_is_waited_for(book: Book) -> None:
    """Stopping `run.result()` ends the run like a plain cell."""
    book.fall_silent()
    book.kernel.run('run = df.llm.complete("review", into="answer", wait=False)')
    cell, queued, seconds = book.interrupt("run.result()")
    assert cell.error is not None
    assert cell.error.startswith("KeyboardInterrupt")
    assert queued.status == "aborted"
    assert seconds < BACK_SECONDS + SLACK_SECONDS
    assert 0 < book.count() <= QUICK
    assert book.kernel.run("print(run.status)").out == "interrupted\n"


# --- what is shown -------------------------------------------------------------------------------


@pytest.fixture
def slow(kernel: Kernel, tmp_path: Path) -> Iterator[Book]:
    """Give a server that takes its time, asked ten rows at a time."""
    with LocalServer(latency=0.2) as server:
        book = _open(kernel, server, tmp_path)
        kernel.run("llmframe.options.max_concurrency = 10")
        yield book


def test_the_bar_moves_while_the_cell_runs_in_the_cell_that_called(slow: Book) -> None:
    """The first, second and third cell each show a bar of their own, and it moves before the reply."""
    for number, code in enumerate([PLAIN, AWAITED, MIXED]):
        slow.kernel.run(f'df = pd.DataFrame({{"review": [f"{number} {{i}}" for i in range(50)]}})')
        cell = slow.kernel.run(code)
        assert len({value for value in cell.bar_values if 0 < value < 50}) >= 3, cell.bar_values
        assert cell.bar_values == sorted(cell.bar_values)
        assert cell.bar_values[-1] == 50


def test_success_is_two_displays_and_never_an_error_stream(slow: Book) -> None:
    """One is the bar, a widget that a still bar replaces, so that a saved notebook keeps its end; the other the closing line."""
    slow.frame(30)
    cell = slow.kernel.run(f"{PLAIN};")
    kinds = {message["msg_type"] for message in cell.messages if not message["msg_type"].startswith("comm_")}
    assert kinds == {"status", "execute_input", "display_data", "update_display_data"}
    bar, line = cell.shown("display_data")
    assert line["text/plain"].startswith("30 rows answered · $")
    assert line["text/plain"] in line["text/html"]
    assert "0/30" in bar["text/plain"]
    end = cell.shown("update_display_data")[-1]
    assert "review → answer · gpt-6-luna: 100%|" in end["text/plain"]
    assert "30/30" in end["text/html"]
    assert GREEN in end["text/html"]
    assert any("widget" in kind for kind in bar)
    assert not any("widget" in kind for data in [end, line] for kind in data)


def test_the_bar_counts_what_is_sent_and_there_is_none_where_nothing_is(slow: Book) -> None:
    slow.frame(20)
    slow.kernel.run(PLAIN)
    slow.frame(25)
    more, again = slow.kernel.run(f"{PLAIN};"), slow.kernel.run(f"{PLAIN};")
    assert "0/5 " in more.shown("display_data")[0]["text/plain"]
    assert more.said.startswith("25 rows answered: 5 asked now, 20 from the journal · $")
    assert again.said.startswith("25 rows answered, all from the journal · ")
    assert not again.bar_values


def test_the_bar_turns_red_when_rows_fail(slow: Book) -> None:
    slow.server.faults = [Fault("context_length_exceeded", when=lambda body: "review 3" in str(body))]
    slow.frame(10)
    cell = slow.kernel.send(PLAIN)
    slow.kernel.wait(cell)
    assert RED not in cell.shown("display_data")[0]["text/html"]
    assert RED in cell.shown("update_display_data")[-1]["text/html"]
    assert "9 rows answered, 1 failed" in cell.said


def test_a_background_run_draws_in_the_cell_that_started_it(slow: Book) -> None:
    """While later cells run, the bar stays where it began; the closing line is said by `result()`."""
    slow.frame(50)
    started = slow.kernel.run('run = df.llm.complete("review", into="answer", wait=False)')
    waited = slow.kernel.run("run.result()\nNone")
    slow.kernel.run("None")
    assert "50/50" in started.shown("update_display_data")[-1]["text/plain"]
    assert "50 rows answered" not in started.said
    assert not waited.bar_values
    assert "50 rows answered" in waited.said
    assert not started.err + waited.err


def test_neither_a_bar_nor_a_line_needs_widgets_or_a_working_front_end(slow: Book) -> None:
    slow.frame(10)
    slow.kernel.run("sys.modules['ipywidgets'] = None")
    cell = slow.kernel.run(PLAIN)
    assert "10 rows answered" in cell.said
    assert "10/10 " in cell.shown("update_display_data")[-1]["text/plain"]
    assert not any("widget" in kind for kind in cell.shown("display_data")[0])
    slow.kernel.run("pub = get_ipython().display_pub; pub.publish = None; llmframe.options.journal = False")
    slow.kernel.run(f"del df['answer']\n{PLAIN};")
    slow.kernel.run("import threading; free = threading.Event(); pub.publish = lambda *_, **__: free.wait()")
    slow.kernel.run(f"del df['answer']\n{PLAIN};")
    slow.kernel.run("free.set(); del pub.publish, sys.modules['ipywidgets']")
    assert slow.count() == 10


def test_a_fork_of_the_kernel_shows_text(slow: Book) -> None:
    """It has no way to the front end but its stderr, which the kernel shows."""
    slow.frame(10)
    slow.kernel.run("import os; llmframe.options.journal = False")
    cell = slow.kernel.run(f"""
if (child := os.fork()) == 0:
    {PLAIN}
    sys.stderr.flush()
    os._exit(0 if df["answer"].notna().all() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")
    assert cell.out == "0\n"
    assert "10/10" in cell.err


def test_a_notebook_that_is_executed_and_saved_keeps_the_finished_bar(
    server: LocalServer, tmp_path: Path
) -> None:
    code = f"""{IMPORTS}
df = pd.DataFrame({{"review": ["one", "two", "three"]}})
df.llm.complete("review", into="answer", base_url={server.base_url!r}, api_key="any", model="gpt-6-luna", journal=False);
"""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(book, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    bar, line = book.cells[0].outputs
    assert bar.data["text/plain"].startswith("review → answer · gpt-6-luna: 100%|██████████| 3/3 rows")
    assert GREEN in bar.data["text/html"]
    assert line.data["text/plain"].startswith("3 rows answered")


def test_a_run_is_a_card_and_the_accessors_say_what_they_can_do(book: Book) -> None:
    book.frame(3)
    book.kernel.run(PLAIN)
    for code, words in {
        "llmframe.last_run()": "3 rows answered",
        "df.llm": "df.llm.complete(…)",
        "df.review.llm": "series.llm.complete(…)",
    }.items():
        (shown,) = book.kernel.run(code).shown("execute_result")
        assert words in shown["text/plain"]
        assert words in shown["text/html"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ('df.llm.complete("revew")', "KeyError"),
        ('df["review"].llm.complete(mode="fast")', "ValueError"),
        ("llmframe.complete('one')", "TypeError"),
        ('await df.llm.acomplete("review", temprature=0)', "TypeError"),
        ('df.llm.complete("review", extra_body={"seed": {1}})', "ValueError"),
        ('df.llm.complete("review", "{review} ", into="failed")', "CompletionError"),
        ('df.llm.complete("review", "{review}  ", wait=False).result()', "CompletionError"),
        ("llmframe.batches(x=1)", "TypeError"),
    ],
)
def test_a_traceback_goes_from_the_cell_to_the_message(book: Book, code: str, error: str) -> None:
    """No frame of llmframe is in between; the error itself keeps them all, and can be pickled."""
    book.frame(3)
    book.server.faults = [Fault("context_length_exceeded")]
    cell = book.kernel.send(code)
    book.kernel.wait(cell)
    assert cell.error is not None
    assert cell.error.startswith(error)
    assert f"----> 1 {code}" in cell.traceback
    assert "llmframe/" not in cell.traceback
    assert "contextlib" not in cell.traceback
    kept = 'len(list(__import__("traceback").walk_tb(sys.last_traceback))) > 3'
    assert book.kernel.run(f"print({kept})").out == "True\n"
    book.kernel.run("import pickle; pickle.loads(pickle.dumps(sys.last_value))")


def test_a_traceback_shows_the_users_own_function_and_all_of_a_bug(book: Book) -> None:
    book.frame(3)
    function = book.kernel.send('df.llm.complete("review", lambda row: 1 / 0)')
    book.kernel.wait(function)
    assert "<lambda>(row)" in function.traceback
    assert "llmframe/" not in function.traceback
    bug = book.kernel.send("import llmframe._verbs.calls as c; c.make_plan = None\n" + PLAIN)
    book.kernel.wait(bug)
    assert "llmframe/_verbs/calls.py" in bug.traceback
    book.kernel.run("import llmframe._columns; c.make_plan = llmframe._columns.make_plan")


@pytest.mark.parametrize(
    "code",
    ['llmframe.read_csv("there_is.xlsx")', 'df.llm.to_csv("out.xlsx")', "df.llm.to_csv(columns='review')"],
)
def test_errors_of_files_end_at_the_cell_too(book: Book, code: str) -> None:
    book.frame(3)
    cell = book.kernel.send(code)
    book.kernel.wait(cell)
    assert code in cell.traceback
    assert "llmframe/" not in cell.traceback


def test_no_progress_shows_nothing(book: Book) -> None:
    """`progress=False` leaves the cell without output."""
    book.frame(10)
    cell = book.kernel.run('df.llm.complete("review", into="answer", progress=False);')
    shown = {message["msg_type"] for message in cell.messages}
    assert shown == {"status", "execute_input"}


# --- the user's own async client -----------------------------------------------------------------

OWN = 'df.llm.complete("review", into="answer", client=client)'
OWN_AWAITED = 'await df.llm.acomplete("review", into="answer", client=client)'
OWN_DIRECT = """
direct = await asyncio.gather(*[
    client.chat.completions.create(model="gpt-6-luna", messages=[{"role": "user", "content": f"{turn} {i}"}])
    for i in range(20)
])
print(len([answer.choices[0].message.content for answer in direct]))
"""


@pytest.mark.slow
def test_an_own_client_is_shared_between_awaiting_and_plain_cells(nesting_book: Book) -> None:
    """The user's client serves his own awaits, `acomplete` and plain cells by turns without a lost request."""
    for turn in range(4):
        nesting_book.kernel.run(f"turn = {turn}")
        cells = []
        for part, code in enumerate([OWN_DIRECT, OWN, OWN_AWAITED, f"{OWN_DIRECT}\n{OWN}"]):
            frame = f'df = pd.DataFrame({{"review": [f"{turn} {part} {{i}}" for i in range(30)]}})'
            cells.append(nesting_book.kernel.send(f"{frame}\n{code}\nNone"))
            cells.append(
                nesting_book.kernel.send(
                    'print("column", df["answer"].notna().sum() if "answer" in df else 0)'
                )
            )
        nesting_book.kernel.wait(*cells)
        assert [cell.check().out.split() for cell in cells] == [
            ["20"], ["column", "0"], [], ["column", "30"], [], ["column", "30"], ["20"], ["column", "30"]
        ]  # fmt: skip
    ledger = nesting_book.server.ledger
    # The direct requests of one turn are the same in both cells.
    assert ledger.billed == 4 * (2 * 20 + 3 * 30)
    assert ledger.requests == ledger.billed
    assert ledger.abandoned == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (OWN, "KeyboardInterrupt"),
        (f"await asyncio.sleep(0)\n{OWN}", "KeyboardInterrupt"),
        (OWN_AWAITED, "CancelledError"),
    ],
    ids=["plain", "mixed", "awaited"],
)
def test_an_interrupt_ends_a_run_on_the_own_client(nesting_book: Book, code: str, error: str) -> None:
    """On the notebook's own loop the stop button works as on the private one, and the client can still be used."""
    _check_stopped(nesting_book, code, error)
    assert nesting_book.kernel.run(f"turn = 1\n{OWN_DIRECT}").out == "20\n"


def test_the_nested_loop_can_be_asked_for(nesting_book: Book) -> None:
    """`options.loop = "nested"` runs a plain cell on the notebook's loop, with Run All and the stop button."""
    nesting_book.kernel.run('llmframe.options.loop = "nested"')
    nesting_book.frame(20)
    cells = [nesting_book.kernel.send(code) for code in (PLAIN, COUNT, MIXED, AWAITED, COUNT)]
    nesting_book.kernel.wait(*cells)
    assert [cell.check().out for cell in cells if cell in (cells[1], cells[4])] == ["20\n", "20\n"]
    assert nesting_book.kernel.run(PATCHED).out == "True\n"
    nesting_book.server.reset()
    nesting_book.kernel.run("del df['answer']; import uuid; llmframe.options.server = uuid.uuid4().hex")
    _check_stopped(nesting_book, PLAIN, "KeyboardInterrupt")


@pytest.mark.slow
def test_a_plain_cell_is_not_slowed_or_broken_by_a_patched_loop(nesting_book: Book) -> None:
    """Once somebody has patched asyncio, plain cells on the private loop work as before."""
    nesting_book.kernel.run("import nest_asyncio2; nest_asyncio2.apply()")
    for code in (PLAIN, AWAITED, MIXED):
        nesting_book.frame(100)
        nesting_book.kernel.run(f"llmframe.options.journal = False\n{code}")
        assert nesting_book.count() == 100
    nesting_book.kernel.run("llmframe.options.journal = " + repr("again.sqlite"))
    nesting_book.server.reset()
    _check_stopped(nesting_book, PLAIN, "KeyboardInterrupt")
