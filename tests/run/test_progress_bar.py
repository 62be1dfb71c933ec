"""The progress bar: what it shows, and that its failures cost no row."""

from __future__ import annotations

import asyncio
import io
import sys

import pytest
import tqdm.auto
from helpers import answer, asked, texts

import llmframe
from llmframe._run.progress_bar import Progress, progress_bar

TITLE = "q → a · gpt-6-luna"


async def shown(progress):
    async with progress_bar(TITLE, 10, progress):
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress(0, 0, 0, None), ""),
        (Progress(0, 0, 0, 0.0), ""),
        (Progress(5, 2, 3, 0.25), "2 failed, 3 in flight, $0.2500"),
        (Progress(5, 0, 0, 1234.5, "waiting for the rate limit"), "$1,234.50, waiting for the rate limit"),
        (Progress(5, 0, 0, 0.25, unpriced=1), "at least $0.2500"),
    ],
)
def test_what_is_beside_the_bar_is_only_what_is_not_zero(progress, words):
    assert progress.describe() == words


class Terminal(io.StringIO):
    """A terminal of 80 columns."""

    def isatty(self):
        return True


def drawn_at_80_columns(monkeypatch, title, progress):
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda _: (80, 24))

    async def draw():
        async with progress_bar(title, 10, lambda: progress):
            await asyncio.sleep(0.02)

    asyncio.run(draw())
    return stream.getvalue().split("\r")[-1].strip()


@pytest.mark.parametrize("title", ["q → a", "a very long column name of a survey → its answer · gpt-6-luna"])
@pytest.mark.parametrize("waiting", ["", "waiting for the rate limit until 12:00:00: " + "words " * 12])
def test_the_bar_has_room_beside_any_title_at_80_columns(monkeypatch, title, waiting):
    line = drawn_at_80_columns(monkeypatch, title, Progress(10, 0, 200, 12.5, waiting))
    shown, bar, numbers = line.split("|")
    assert len(shown) <= 38
    assert len(bar) >= 10
    assert numbers.startswith(" 10/10 [")
    assert len(line) <= 80


def test_the_bar_is_red_in_a_terminal_when_rows_failed_and_uncoloured_in_a_log(monkeypatch, capsys):
    red = "\x1b[31m"
    assert red in drawn_at_80_columns(monkeypatch, TITLE, Progress(10, 1, 0, None))
    assert red not in drawn_at_80_columns(monkeypatch, TITLE, Progress(10, 0, 0, None))
    monkeypatch.undo()
    asyncio.run(shown(lambda: Progress(10, 1, 0, None)))
    assert red not in capsys.readouterr().err


def test_the_bar_is_of_what_is_sent_and_there_is_none_where_nothing_is(llm, lane, capsys):
    asked(20).llm.complete("q", into="a")
    asked(24).llm.complete("q", into="a", progress=True)
    assert "4/4" in capsys.readouterr().err.split("\r")[-1]
    asked(24).llm.complete("q", into="a", progress=True)
    with pytest.warns(llmframe.CompletionWarning):
        asked(30).llm.complete("q", into="a", progress=True, mode="offline", errors="coerce")
    assert "%|" not in capsys.readouterr().err


def test_the_last_thing_that_a_bar_shows_is_how_the_block_ended(capsys):
    done = iter([0, *[10] * 1000])
    asyncio.run(shown(lambda: Progress(next(done), 0, 0, None)))
    assert "10/10" in capsys.readouterr().err.split("\r")[-1]


def test_a_bar_without_progress_to_show_is_logged_and_its_block_goes_on(caplog, capsys):
    """What `progress` raises is a bug of ours: it is logged with its traceback."""
    asyncio.run(shown(lambda: 1 // 0))
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("llmframe", "ERROR")
    assert record.exc_info[0] is ZeroDivisionError


def test_a_failing_block_raises_its_own_error_beside_a_broken_bar(caplog, capsys):
    async def fail():
        async with progress_bar(TITLE, 10, lambda: 1 // 0):
            await asyncio.sleep(0)
            raise ValueError("the block's own")

    with pytest.raises(ValueError, match="the block's own"):
        asyncio.run(fail())
    assert len(caplog.records) == 1


def test_a_bar_that_raises_costs_no_row(llm, lane, caplog, monkeypatch, capsys):
    """A widget that fails is logged once for the run; every row is answered, and paid once."""

    class BrokenBar(tqdm.auto.tqdm):
        def set_postfix_str(self, *_, **__):
            raise RuntimeError("no front end")

    monkeypatch.setattr(tqdm.auto, "tqdm", BrokenBar)
    frame = asked(20).llm.complete("q", into="a", progress=True)
    assert frame["a"].tolist() == [answer(text) for text in texts(20)]
    assert llm.ledger.billed == 20
    assert llmframe.last_run().status == "done"
    logged = [record for record in caplog.records if record.name == "llmframe"]
    assert [record.exc_info[1].args for record in logged] == [("no front end",)]
    assert "20 rows answered" in capsys.readouterr().err
