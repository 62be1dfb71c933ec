"""Terminals, log files, pipes and widgets that break: what is lost is the sight of a run, and no row of it."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import threading
import warnings
from contextlib import contextmanager

import pandas as pd
import pytest
import tqdm
import tqdm.auto
from helpers import about, answer, asked, texts
from tqdm.std import TqdmDefaultWriteLock

import llmframe
from llmframe._loop import show
from llmframe.testing import Fault, LocalServer

ROWS = 12


class Stream(io.StringIO):
    """A stderr that raises at some of its writes, or at all from one on."""

    def __init__(self, error, first=0, last=10**9):
        super().__init__()
        self.error, self.first, self.last = error, first, last
        self.writes = 0

    def write(self, text):
        self.writes += 1
        if self.first < self.writes <= self.last:
            raise self.error
        return super().write(text)


class WithoutFlush(Stream):
    def flush(self):
        raise self.error


class WithoutTerminal(Stream):
    def isatty(self):
        raise self.error


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


def plain(frame, **settings):
    return frame.llm.complete("q", into="a", **settings)


def background(frame, **settings):
    return frame.llm.complete("q", into="a", wait=False, **settings).result(60)


def awaited(frame, **settings):
    return asyncio.run(frame.llm.acomplete("q", into="a", **settings))


@pytest.fixture(
    params=[plain, *(pytest.param(way, marks=pytest.mark.slow) for way in (background, awaited, "batch"))],
    ids=lambda way: getattr(way, "__name__", way),
)
def call(request, swift):
    """Give each way of calling, and the other lane."""
    if request.param == "batch":
        llmframe.options.mode = "batch"
        return plain
    return request.param


@pytest.fixture(autouse=True)
def shows(monkeypatch):
    """Show what a run shows, and the line about an unknown price at each run."""
    llmframe.options.progress = True
    monkeypatch.setattr("llmframe._run.run._without_price", set())


def check_all_answered(frame, llm):
    assert frame["a"].tolist() == [answer(text) for text in texts(ROWS)]
    assert llm.ledger.billed == ROWS
    assert llmframe.last_run().status == "done"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Stream(OSError(5, "Input/output error")),
        lambda: Stream(OSError(28, "No space left on device")),
        lambda: Stream(BrokenPipeError(32, "Broken pipe")),
        lambda: Stream(BlockingIOError(11, "would block")),
        lambda: Stream(ValueError("I/O operation on closed file")),
        lambda: Stream(RuntimeError("no front end")),
        lambda: Stream(SystemExit(1)),
        lambda: WithoutFlush(OSError(5, "x"), first=10**9),
        lambda: WithoutTerminal(OSError(5, "x")),
        closed,
        object,
        lambda: None,
    ],
    ids=[
        "EIO", "disk full", "pipe", "would block", "closed", "other", "exit", "flush", "isatty", "a closed file",
        "no stream", "None",
    ],
)  # fmt: skip
def test_a_stderr_that_never_works_costs_no_row(llm, monkeypatch, call, make):
    monkeypatch.setattr(sys, "stderr", make())
    check_all_answered(call(asked(ROWS)), llm)


def check_any_write(monkeypatch, last, *said):
    """Let stderr break at each of its writes, for that one or from it on."""
    llmframe.options.journal = False
    monkeypatch.setattr(sys, "stderr", whole := Stream(None, first=10**9))
    plain(asked(ROWS))
    assert all(words in whole.getvalue() for words in said)
    for number in range(whole.writes):
        monkeypatch.setattr("llmframe._run.run._without_price", set())
        monkeypatch.setattr(sys, "stderr", Stream(OSError(5, "x"), number, number + last))
        frame = plain(asked(ROWS))
        assert frame["a"].notna().all()
        assert llmframe.last_run().status == "done"


BREAKS = pytest.mark.parametrize("last", [1, 10**9], ids=["once", "from then on"])


@BREAKS
def test_a_stderr_may_break_at_any_write(llm, lane, monkeypatch, last):
    """The writes are those of the bar, of its end, of the closing line, and of a batch's announcement."""
    check_any_write(monkeypatch, last, "12/12", "12 rows answered", "24 hours" if lane == "batch" else "")


@BREAKS
def test_a_stderr_may_break_at_the_line_about_an_unknown_price(monkeypatch, last):
    with LocalServer(models=["no-price"]) as server:
        llmframe.options.base_url, llmframe.options.api_key = server.base_url, "any"
        llmframe.options.model = "no-price"
        check_any_write(monkeypatch, last, "no price is known")


def test_the_line_about_a_machine_that_forgets_may_not_be_shown(llm, monkeypatch, tmp_path):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    monkeypatch.setattr("llmframe._run.starting._warned_of_forgetting", [])
    monkeypatch.delenv("LLMFRAME_JOURNAL")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stderr", Stream(OSError(5, "x")))
    check_all_answered(plain(asked(ROWS)), llm)


@pytest.mark.parametrize("name", ["ascii", "cp1252", "gbk", "shift_jis", "utf-16"])
def test_what_an_encoding_lacks_is_shown_escaped(llm, monkeypatch, tmp_path, name):
    """Names and titles are shown as Python's own stderr shows them; nothing else is lost."""
    with (tmp_path / "log").open("w", encoding=name, errors="strict") as file:
        monkeypatch.setattr(sys, "stderr", file)
        frame = asked(ROWS).rename(columns={"q": "名前 ✓"})
        frame.llm.complete("名前 ✓", into="☃")
    said = (tmp_path / "log").read_text(encoding=name)
    assert frame["☃"].notna().all()
    assert "☃".encode(name, "backslashreplace").decode(name) in said
    assert "gpt-6-" in said
    assert ": 100%" in said
    assert "12 rows answered" in said


def show_as_python_does(message, category, filename, lineno, file=None, line=None):
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


@contextmanager
def shown_warnings(showwarning=show_as_python_does):
    """Let warnings be shown, as outside of pytest."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("always")
        patch.setattr(warnings, "showwarning", showwarning)
        yield


@pytest.mark.parametrize("name", ["ascii", "cp1250", "koi8-r"])
def test_a_warning_is_shown_in_any_encoding(llm, monkeypatch, tmp_path, name):
    llm.faults = [Fault("context_length_exceeded", when=about(3))]
    with (tmp_path / "log").open("w", encoding=name, errors="strict") as file, shown_warnings():
        monkeypatch.setattr(sys, "stderr", file)
        frame = asked(ROWS).set_index(pd.Index([f"名前 {number}" for number in range(ROWS)]))
        frame.llm.complete("q", into="a", errors="coerce", progress=False)
    said = (tmp_path / "log").read_text(encoding=name)
    assert "CompletionWarning: 1 of 12 rows failed" in said
    assert "名前".encode(name, "backslashreplace").decode(name) in said


def test_a_failure_is_logged_once_for_a_run(llm, caplog, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Stream(OSError(5, "x")))
    for _ in range(2):
        plain(asked(ROWS))
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("llmframe", "ERROR")
        assert record.exc_info[0] is OSError
        caplog.clear()


@pytest.mark.parametrize("error", [OSError(5, "x"), ValueError("closed"), RecursionError()])
def test_a_log_that_cannot_be_written_either_costs_no_row(llm, monkeypatch, error):
    """A handler may raise; the one of last resort writes to the stderr that is broken."""

    class Broken(logging.Handler):
        def emit(self, _):
            raise error

    handler = Broken()
    logging.getLogger("llmframe").addHandler(handler)
    try:
        monkeypatch.setattr(sys, "stderr", Stream(error))
        check_all_answered(plain(asked(ROWS)), llm)
    finally:
        logging.getLogger("llmframe").removeHandler(handler)


@pytest.mark.parametrize("error", [OSError(5, "x"), ValueError("closed"), RuntimeError("x")])
def test_a_warning_that_cannot_be_shown_is_logged(llm, caplog, call, error):
    llm.faults = [Fault("context_length_exceeded", when=about(3)), Fault("length_text", when=about(4))]

    def show_nowhere(*_, **__):
        raise error

    with shown_warnings(show_nowhere):
        frame = call(asked(ROWS), errors="coerce", progress=False)
    assert frame["a"].notna().sum() == ROWS - 1
    cut_off, failed = (record.getMessage() for record in caplog.records)
    assert "1 answer was cut off" in cut_off
    assert "1 of 12 rows failed" in failed


def test_a_warning_that_the_user_wants_as_an_error_is_raised_when_all_is_written(llm, call):
    llm.faults = [Fault("context_length_exceeded", when=about(3))]
    frame = asked(ROWS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(llmframe.CompletionWarning, match="1 of 12 rows failed"):
            call(frame, errors="coerce")
    assert frame["a"].notna().sum() == ROWS - 1


def test_failed_rows_are_an_error_also_where_a_warning_is_one(llm, lane):
    """What was cut off is a warning; it does not hide the error that carries the run."""
    llm.faults = [Fault("context_length_exceeded", when=about(3)), Fault("length_text", when=about(4))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(llmframe.CompletionError, match="1 of 12 rows failed"):
            plain(asked(ROWS))


@pytest.fixture(params=["thread", "processes"])
def broken_bar(request, monkeypatch):
    """Hold tqdm's lock in a thread of its own for ever, as a bar of the user's does that broke while it drew."""
    tqdm.tqdm.get_lock()
    part = tqdm.tqdm._lock.locks[-1 if request.param == "thread" else 0]
    held, free = threading.Event(), threading.Event()

    def hold():
        with part:
            held.set()
            free.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    yield
    free.set()
    thread.join()


def test_a_lock_that_a_broken_bar_of_the_users_keeps_is_not_waited_for(llm, broken_bar, monkeypatch, call):
    """The bar is not drawn; the closing line is written without the lock."""
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    check_all_answered(call(asked(ROWS)), llm)
    assert "12 rows answered" in stream.getvalue()
    assert "row/s" not in stream.getvalue()


def test_a_lock_that_was_never_made_is_not_waited_for(llm, monkeypatch, call):
    """A class of tqdm's makes its lock when it is first used, and would wait there for the one that all share."""
    for kind in (tqdm.auto.tqdm, tqdm.tqdm):
        if "_lock" in vars(kind):
            monkeypatch.delattr(kind, "_lock")
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    held, free = threading.Event(), threading.Event()

    def hold():
        with TqdmDefaultWriteLock.th_lock:
            held.set()
            free.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        check_all_answered(call(asked(ROWS)), llm)
    finally:
        free.set()
        thread.join()
    assert "12 rows answered" in stream.getvalue()


@pytest.mark.parametrize("error", [OSError(28, "full"), RuntimeError("x")])
def test_a_bar_of_the_users_still_draws_after_ours_broke(llm, monkeypatch, error):
    """Our drawing keeps no lock when it raises, so that a later bar or line waits for nothing."""
    for number in range(6):
        monkeypatch.setattr(sys, "stderr", Stream(error, number))
        plain(asked(ROWS))
    stream = io.StringIO()
    users = threading.Thread(target=lambda: list(tqdm.tqdm(range(3), file=stream)), daemon=True)
    users.start()
    users.join(30)
    assert "3/3" in stream.getvalue()


class Widget(tqdm.auto.tqdm):
    """A widget whose messages fail from one on."""

    left = 0

    def display(self, *_, **__):
        Widget.left -= 1
        if Widget.left < 0:
            raise RuntimeError("no front end")


@pytest.mark.parametrize("left", range(4))
def test_a_widget_may_fail_at_any_message(llm, monkeypatch, caplog, capsys, call, left):
    """The closing line is shown all the same."""
    monkeypatch.setattr(tqdm.auto, "tqdm", Widget)
    monkeypatch.setattr(Widget, "left", left)
    check_all_answered(call(asked(ROWS)), llm)
    assert "12 rows answered" in capsys.readouterr().err
    assert len(caplog.records) <= 1


def test_a_bar_that_was_given_up_is_none_of_tqdms(llm, monkeypatch, capsys, caplog):
    """It is not drawn again around later lines, and takes no place from later bars."""
    monkeypatch.setattr(tqdm.auto, "tqdm", Widget)
    monkeypatch.setattr(Widget, "left", 1)
    plain(asked(ROWS))
    assert not tqdm.tqdm._instances


class Pipe(io.StringIO):
    """A pipe that is full, until somebody reads."""

    def __init__(self):
        super().__init__()
        self.read = threading.Event()

    def write(self, text):
        self.read.wait()
        return super().write(text)


def test_a_pipe_that_nobody_reads_holds_up_no_row(llm, monkeypatch, call):
    """The call returns without what it would have shown, which comes when somebody reads."""
    monkeypatch.setattr(sys, "stderr", pipe := Pipe())
    try:
        check_all_answered(call(asked(ROWS)), llm)
        again = asked(ROWS)
        call(again)
        assert again["a"].notna().all()
    finally:
        pipe.read.set()
    show(lambda: None).result(30)
    assert pipe.getvalue().count("12 rows answered") == 2
