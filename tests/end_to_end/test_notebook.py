"""Cells in real kernels: plain, awaiting and mixed; interrupts, "Run All", the bar, and own clients."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from end_to_end.kernels import Cell, Kernel

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


@pytest.fixture(scope="module")
def bare_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Give a kernel without ipywidgets."""
    with Kernel(tmp_path_factory.mktemp("bare")) as running:
        running.run(f'import sys\nsys.modules["ipywidgets"] = None\n{IMPORTS}')
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
def bare_book(bare_kernel: Kernel, server: LocalServer, tmp_path: Path) -> Book:
    return _open(bare_kernel, server, tmp_path)


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
    assert all("20 of 20 rows answered" in cell.err for cell in cells)


# --- interrupts ----------------------------------------------------------------------------------


def _check_stopped(book: Book, code: str, error: str) -> None:
    book.fall_silent()
    cell, queued, seconds = book.interrupt(code)
    assert cell.status == "error"
    assert cell.error is not None
    assert cell.error.startswith(error)
    assert queued.status == "aborted"
    assert queued.out == ""
    assert book.server.ledger.wait_for(lambda ledger: ledger.in_flight == 0)
    answered = book.count()
    assert 0 < answered <= QUICK
    said = [line for line in cell.err.splitlines() if "interrupted" in line]
    assert len(said) == 1
    assert f"{answered} of {ROWS} rows answered" in said[0]
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


# --- the bar -------------------------------------------------------------------------------------


def test_the_widget_bar_moves_while_the_cell_runs_in_the_cell_that_called(
    kernel: Kernel, tmp_path: Path
) -> None:
    """The first, second and third cell each show a bar of their own, and it moves before the reply."""
    with LocalServer(latency=0.2) as server:
        book = _open(kernel, server, tmp_path)
        book.kernel.run("llmframe.options.max_concurrency = 10")
        for number, code in enumerate([PLAIN, AWAITED, MIXED]):
            book.kernel.run(f'df = pd.DataFrame({{"review": [f"{number} {{i}}" for i in range(50)]}})')
            cell = book.kernel.run(code)
            assert len({value for value in cell.bar_values if 0 < value < 50}) >= 3, cell.bar_values
            assert cell.bar_values == sorted(cell.bar_values)
            assert cell.bar_values[-1] == 50
            assert [m for m in cell.messages if m["msg_type"] == "display_data"]


@pytest.mark.slow
def test_the_text_bar_appears_in_the_cell_that_called(bare_kernel: Kernel, tmp_path: Path) -> None:
    """Without ipywidgets each cell has its bar as text, though one thread draws them all."""
    with LocalServer(latency=0.2) as server:
        book = _open(bare_kernel, server, tmp_path)
        book.kernel.run("llmframe.options.max_concurrency = 10")
        for number, code in enumerate([PLAIN, AWAITED, MIXED]):
            book.kernel.run(f'df = pd.DataFrame({{"review": [f"{number} {{i}}" for i in range(50)]}})')
            cell = book.kernel.run(f"{code}\nNone")
            drawn = [line for line in cell.err.split("\r") if "review → answer" in line]
            assert len(set(drawn)) >= 4, cell.err
            assert "50/50" in drawn[-1]
            assert not cell.bar_values
            assert book.count() == 50


def test_a_background_run_draws_in_the_cell_that_started_it(bare_kernel: Kernel, tmp_path: Path) -> None:
    """While later cells run, the bar stays where it began; the closing line is said by `result()`."""
    with LocalServer(latency=0.2) as server:
        book = _open(bare_kernel, server, tmp_path)
        book.frame(50)
        started = book.kernel.run(
            'run = df.llm.complete("review", into="answer", wait=False, max_concurrency=10)'
        )
        waited = book.kernel.run("run.result()\nNone")
        book.kernel.run("None")
        assert "50/50" in started.err
        assert "50/50" not in waited.err
        assert "50 of 50 rows answered" in waited.err


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
