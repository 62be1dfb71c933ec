"""Background runs: watched, cancelled, and written back only into a frame that did not change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from columns.plans import contents
from helpers import MODEL, answer, tune
from loop.calls import PATIENCE, press, reviews, wait_until_silent

import llmframe
from llmframe import CompletionError, StoppedError
from llmframe.testing import Fault, LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_background_run_returns_at_once_and_can_be_waited_for():
    with LocalServer(latency=0.3) as slow:
        settings = {"base_url": slow.base_url, "api_key": "any", "model": MODEL}
        run = llmframe.complete(["x"], wait=False, **settings)
        assert not run.done()
        assert run.status == "running"
        assert repr(run).startswith("<Run running")
        with pytest.raises(TimeoutError):
            run.result(timeout=0.01)
        assert run.result(timeout=10) == [answer("x")]
        assert run.status == "done"


def test_a_cancelled_run_raises_with_its_code(llm):
    llm.faults = [Fault("hang", when=lambda body: "slow" in str(body["messages"]))]
    df = pd.DataFrame({"a": ["x", "slow"]})
    run = df.llm.complete("a", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.answered == 1)
    run.cancel()
    with pytest.raises(llmframe.StoppedError, match="cancelled") as error:
        run.result(10)
    assert error.value.code == "cancelled"
    assert run.status == "interrupted"
    assert error.value.result is df


def test_a_background_run_writes_only_when_asked_for_its_result(llm, lane):
    df = pd.DataFrame({"a": ["x", "y"]})
    run = df.llm.complete("a", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.billed == 2)
    assert list(df) == ["a"]
    assert run.result(10) is df
    assert run.result() is df
    assert df["a_completion"].tolist() == [answer("x"), answer("y")]


CHANGES = {
    "a cell": lambda df: df.__setitem__("a", ["x", "changed"]),
    "the column is gone": lambda df: df.__delitem__("a"),
    "a row more": lambda df: df.loc.__setitem__(5, ["z"]),
    "the target": lambda df: df.__setitem__("a_completion", ["mine", "mine"]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_background_run_never_writes_into_a_frame_that_changed(what, llm, lane):
    df = pd.DataFrame({"a": ["x", "y"]})
    run = df.llm.complete("a", wait=False)
    CHANGES[what](df)
    before = df.copy()
    with pytest.raises(ValueError, match=r"run\.values"):
        run.result(10)
    pd.testing.assert_frame_equal(df, before)
    assert run.values == [answer("x"), answer("y")]  # noqa: PD011


def test_a_background_run_asks_what_the_frame_held_when_it_was_called(llm, lane):
    df = pd.DataFrame({"a": [f"text {i}" for i in range(50)]})
    run = df.llm.complete("a", wait=False)
    df.loc[:, "a"] = "changed"
    with pytest.raises(ValueError, match="have changed"):
        run.result(10)
    assert run.values == [answer(f"text {i}") for i in range(50)]  # noqa: PD011


def test_other_columns_may_change_under_a_background_run(llm, lane):
    df = pd.DataFrame({"a": ["x", "y"], "b": [1, 2]})
    run = df.llm.complete("a", wait=False)
    df["b"] = 5
    df["new"] = 6
    assert run.result(10) is df
    assert df["a_completion"].notna().all()


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
    frame = reviews()
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
    frame = reviews()
    run = frame.llm.complete("review", "Shout:", into="answer", wait=False)
    change(frame)
    columns = [*frame.columns, "answer"]
    assert run.result(timeout=PATIENCE) is frame
    assert list(frame.columns) == columns
    assert frame["answer"].tolist() == reviews()["review"].llm.complete("Shout:").tolist()
    assert slow.ledger.billed == 20


def test_what_is_asked_is_what_was_there_at_the_call(llm: LocalServer) -> None:
    """Rows that are rendered long after the call still have the cells of the call."""
    tune(chunk_rows=20)
    rows = 200
    frame = reviews(rows)
    run = frame.llm.complete("review", into="answer", wait=False, max_concurrency=4)
    frame["review"] = "overwritten"
    frame.loc[:, "review"] = "edited"
    with pytest.raises(ValueError, match="changed since the call"):
        run.result(timeout=PATIENCE)
    assert sorted(contents(llm)) == sorted(reviews(rows)["review"])


def test_message_arrays_may_be_edited_while_they_are_asked(slow: LocalServer) -> None:
    """Lists inside cells are read at the call, and a change to one is noticed."""
    frame = pd.DataFrame({"chat": [[{"role": "user", "content": f"hello {row}"}] for row in range(10)]})
    run = frame.llm.complete("chat", into="answer", wait=False, max_concurrency=2)
    frame["chat"][7][0]["content"] = "goodbye"
    with pytest.raises(ValueError, match="changed since the call"):
        run.result(timeout=PATIENCE)
    assert sorted(contents(slow)) == [f"hello {row}" for row in range(10)]


def test_a_background_run_can_be_watched_and_waited_for(slow: LocalServer) -> None:
    """`done`, `status` and a timeout do not change the run; the result is the plain call's."""
    frame = reviews()
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
    frame = reviews(3)
    run = frame.llm.complete("review", into="answer", wait=False)
    run.result()
    frame.loc[1, "answer"] = "corrected"
    run.result()
    assert frame.loc[1, "answer"] == "corrected"


def test_a_cancelled_run_ends_and_says_so(llm: LocalServer) -> None:
    """`cancel()` sends nothing more; `result()` writes what came and raises; a second call goes on."""
    llm.faults = [Fault("hang", after=10)]
    frame = reviews(40)
    run = frame.llm.complete("review", into="answer", wait=False, max_concurrency=30)
    wait_until_silent(llm, 10, 20)
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
    frame = reviews(40)
    run = frame.llm.complete("review", into="answer", wait=False, max_concurrency=30)
    wait_until_silent(llm, 10, 20)
    press(0.1)
    with pytest.raises(KeyboardInterrupt):
        run.result()
    assert run.status == "interrupted"
    assert frame["answer"].notna().sum() == 10
    assert llm.ledger.wait_for(lambda ledger: ledger.in_flight == 0)


def test_background_runs_of_the_same_rows_pay_once(slow: LocalServer) -> None:
    """Two runs at once over equal frames share their answers."""
    frames = [reviews(), reviews()]
    runs = [frame.llm.complete("review", into="answer", wait=False) for frame in frames]
    for run in runs:
        run.result(timeout=PATIENCE)
    pd.testing.assert_frame_equal(*frames)
    assert slow.ledger.billed == 20


def test_a_background_run_with_failures_raises_when_it_is_waited_for(llm: LocalServer) -> None:
    """Nothing is raised before `result()`, and there it is what the plain call raises."""
    llm.faults = [Fault("context_length_exceeded", when=lambda body: "7" in body["messages"][-1]["content"])]
    frame = reviews(10)
    run = frame.llm.complete("review", into="answer", wait=False)
    with pytest.raises(CompletionError, match="1 of 10 rows failed"):
        run.result(timeout=PATIENCE)
    assert frame["answer"].isna().tolist() == [row == 7 for row in range(10)]
