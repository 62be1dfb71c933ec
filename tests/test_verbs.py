"""What the verbs promise at their face: the gesture, the errors, the run, and what they refuse."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest

import llmframe
from llmframe.testing import Fault, made_up_answer

MODEL = "gpt-6-luna"
one_by_one = pytest.mark.parametrize("lane", ["live"], indirect=True)
"""Of tests that look at single requests as they go."""


@pytest.fixture
def llm(llm, lane):
    """Give the server of `llm`, to be asked in both lanes."""
    return llm


def answer(text):
    return made_up_answer({"model": MODEL, "messages": [{"role": "user", "content": text}]})


@pytest.fixture
def bad(llm):
    """Rows with "bad" in them are refused by the API; those with "mute" by the model."""
    llm.faults = [
        Fault("context_length_exceeded", when=lambda body: "bad" in str(body["messages"])),
        Fault("refusal", when=lambda body: "mute" in str(body["messages"])),
        Fault("length_text", when=lambda body: "cut" in str(body["messages"])),
        Fault("length_empty", when=lambda body: "spent" in str(body["messages"])),
        Fault("content_filter", when=lambda body: "filtered" in str(body["messages"])),
    ]
    return llm


def test_what_was_tried_on_the_head_is_not_paid_again_on_the_whole(llm):
    """What was tried on the head is not paid again on the whole, in whatever order its rows come."""
    df = pd.DataFrame({"review": [f"review {i}" for i in range(50)]})
    question = "One word, positive or negative: {review}"
    head = df.head(20).llm.complete("review", question, into="sentiment")
    assert llm.ledger.billed == 20
    df.llm.complete("review", question, into="sentiment")
    assert llm.ledger.billed == 50
    assert df["sentiment"].head(20).tolist() == head["sentiment"].tolist()
    shuffled = df.sample(frac=1, random_state=1)
    shuffled.llm.complete("review", question, into="sentiment", overwrite=True)
    pd.testing.assert_frame_equal(shuffled.sort_index(), df)
    assert llm.ledger.billed == 50


def test_the_default_names_of_the_new_columns(llm):
    """The default names of the new columns."""
    df = pd.DataFrame({"review": ["x"]})
    df.llm.complete("review").llm.complete(prompt="{review}")
    assert list(df) == ["review", "review_completion", "completion"]
    assert df["review"].llm.complete().name == "review_completion"
    assert df["review"].rename(None).llm.complete().name == "completion"


def test_a_series_is_left_alone(llm):
    """A series is left alone."""
    cells = pd.Series(["x", None], name="a")
    before = cells.copy()
    answers = cells.llm.complete("Say")
    pd.testing.assert_series_equal(cells, before)
    assert cells.attrs == {}
    assert answers.isna().tolist() == [False, True]


@pytest.mark.parametrize("name", ["a", ("a", "b"), 5, None])
def test_a_series_of_any_name_can_be_asked(name, llm):
    """A series of any name can be asked."""
    assert pd.Series(["x"], name=name).llm.complete("Say {}").tolist() == [answer("Say x")]


def test_series_verbs_work_in_column_expressions_and_chains(llm):
    """Series verbs work in column expressions and chains."""
    df = (
        pd.DataFrame({"review": ["x", "y"], "n": [1, 2]})
        .assign(said=pd.col("review").llm.complete("Say"))
        .query("n > 1")
        .llm.complete("review", "Shout", into="shouted")
        .rename(columns=str.upper)
    )
    assert df[["SAID", "SHOUTED"]].to_numpy().tolist() == [[answer("Say\n\ny"), answer("Shout\n\ny")]]


@pytest.mark.parametrize("container", [list, tuple, iter, pd.Series, np.array, lambda x: (i for i in x)])
def test_plain_prompts_may_come_in_any_iterable_and_are_answered_in_order(container, llm):
    """Plain prompts may come in any iterable and are answered in order."""
    assert llmframe.complete(container(["x", "y", "x"])) == [answer("x"), answer("y"), answer("x")]


def test_plain_prompts_are_texts_and_message_arrays_also_mixed(llm):
    """Plain prompts are texts and message arrays also mixed."""
    turns = [{"role": "user", "content": "y"}]
    assert llmframe.complete(["x", turns, tuple(turns), None, ""]) == [
        answer("x"),
        answer("y"),
        answer("y"),
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("prompts", "shown"),
    [
        ("Hello", "complete(['Hello'])"),
        ([{"role": "user", "content": "x"}], "complete([messages])"),
        (({"role": "user", "content": "x"},), "complete([messages])"),
        (np.array([{"role": "user", "content": "x"}], dtype=object), "complete([messages])"),
        ({"role": "user", "content": "x"}, "complete([[message]])"),
    ],
)
def test_a_single_prompt_is_an_error_that_shows_the_list(prompts, shown):
    """A single prompt is an error that shows the list."""
    with pytest.raises(TypeError, match=r"^prompts must be a list") as error:
        llmframe.complete(prompts)
    assert shown in str(error.value)


@pytest.mark.parametrize("prompts", [5, None, b"text", pd.DataFrame({"a": ["x"]})])
def test_what_is_no_list_of_prompts_is_an_error(prompts):
    """What is no list of prompts is an error."""
    with pytest.raises(TypeError, match=r"^prompts must be a list"):
        llmframe.complete(prompts)


def test_the_await_twins_do_the_same(llm):
    """The await twins do the same."""

    async def all_three():
        df = pd.DataFrame({"a": ["x", None]})
        assert await df.llm.acomplete("a", "Say", into="b") is df
        return df["b"], await df["a"].llm.acomplete("Say"), await llmframe.acomplete(["Say\n\nx", None])

    column, series, values = asyncio.run(all_three())
    assert [column[0], series[0], values[0]] == [answer("Say\n\nx")] * 3
    assert column.isna().tolist() == series.isna().tolist() == [False, True]
    assert values[1] is None
    assert llm.ledger.billed == 1


def test_errors_raise_writes_what_succeeded_and_carries_the_run(bad):
    """`errors="raise"` writes what succeeded and carries the run."""
    df = pd.DataFrame({"a": ["x", "bad 1", "mute", "bad 2", "y"]})
    with pytest.raises(llmframe.CompletionError) as error:
        df.llm.complete("a")
    assert df["a_completion"].notna().tolist() == [True, False, False, False, True]
    assert error.value.result is df
    assert error.value.run is llmframe.last_run()
    lines = str(error.value).splitlines()
    assert lines[0].startswith("3 of 5 rows failed (2 × context_length_exceeded, 1 × refusal)")  # noqa: RUF001
    assert lines[1].startswith("  row 1 (label 1): context_length_exceeded: ")
    assert len(lines) == 5
    assert "To mend: shorten these rows" in lines[-1]


def test_an_error_carries_what_the_call_would_have_returned(bad):
    """An error carries what the call would have returned."""
    with pytest.raises(llmframe.CompletionError) as error:
        pd.Series(["x", "bad"], index=["p", "q"], name="a").llm.complete()
    assert error.value.result.fillna("").to_dict() == {"p": answer("x"), "q": ""}
    with pytest.raises(llmframe.CompletionError) as error:
        llmframe.complete(["x", "bad"])
    assert error.value.result == [answer("x"), None]
    with pytest.raises(llmframe.CompletionError) as error:
        pd.DataFrame({"a": ["x", "bad"]}).head(5).llm.complete("a")
    assert error.value.result["a_completion"].notna().tolist() == [True, False]

    async def awaited():
        return await llmframe.acomplete(["x", "bad"])

    with pytest.raises(llmframe.CompletionError) as error:
        asyncio.run(awaited())
    assert error.value.result == [answer("x"), None]


def test_errors_coerce_warns_once_at_the_callers_line(bad):
    """`errors="coerce"` warns once at the caller's line."""
    df = pd.DataFrame({"a": ["x", "bad 1", "bad 2"]})
    with pytest.warns(llmframe.CompletionWarning) as warned:
        df.llm.complete("a", errors="coerce")
    (warning,) = warned
    assert "2 of 3 rows failed (2 × context_length_exceeded)" in str(warning.message)  # noqa: RUF001
    assert warning.filename == __file__
    assert df["a_completion"].isna().tolist() == [False, True, True]


def test_the_warning_of_every_verb_is_at_the_callers_line(bad):
    """The warning of every verb is at the caller's line."""
    llmframe.options.errors = "coerce"

    async def await_all():
        await llmframe.acomplete(["bad"])
        await pd.Series(["bad"]).llm.acomplete()

    def call_all():
        llmframe.complete(["bad"])
        pd.Series(["bad"]).llm.complete()
        pd.DataFrame({"a": ["bad"]}).llm.complete("a", wait=False).result()
        asyncio.run(await_all())

    with pytest.warns(llmframe.CompletionWarning) as warned:
        call_all()
    assert [warning.filename for warning in warned] == [__file__] * 5


def test_answers_that_were_cut_off_are_kept_counted_and_warned_of(bad):
    """Answers that were cut off are kept, counted and warned of."""
    df = pd.DataFrame({"a": ["cut 1", "x", "cut 2"]})
    with pytest.warns(llmframe.CompletionWarning, match="2 answers were cut off") as warned:
        df.llm.complete("a")
    assert len(warned) == 1
    assert df["a_completion"].notna().all()
    assert llmframe.last_run().truncated == 2
    with pytest.warns(llmframe.CompletionWarning, match="2 answers were cut off"):
        df.llm.complete("a")
    assert bad.ledger.billed == 3


@pytest.mark.parametrize(
    ("text", "code"), [("mute", "refusal"), ("filtered", "content_filter"), ("spent", "length")]
)
def test_a_200_without_an_answer_is_a_failure_that_a_rerun_does_not_pay_again(text, code, bad):
    """A 200 without an answer is a failure that a rerun does not pay again."""
    df = pd.DataFrame({"a": ["x", text]})
    for _ in range(2):
        with pytest.raises(llmframe.CompletionError, match=code):
            df.llm.complete("a")
        assert bad.ledger.billed == 2
    assert llmframe.last_run().failures["code"].tolist() == [code]
    bad.faults = []
    df.llm.complete("a", retry_failed=True)
    assert df["a_completion"].tolist() == [answer("x"), answer(text)]
    assert bad.ledger.billed == 3


def test_failures_name_position_label_code_message_and_attempts(bad):
    """Failures name position, label, code, message and attempts."""
    df = pd.DataFrame({"a": ["bad", b"x", "fine", "bad"]}, index=["p", "q", "r", "p"])
    with pytest.raises(llmframe.CompletionError) as error:
        df.llm.complete("a")
    failures = error.value.run.failures
    assert list(failures) == ["position", "label", "code", "message", "attempts"]
    assert failures[["position", "label", "code", "attempts"]].to_numpy().tolist() == [
        [0, "p", "context_length_exceeded", 1],
        [1, "q", "invalid_prompt", 0],
        [3, "p", "context_length_exceeded", 1],
    ]
    assert failures["message"].str.len().gt(0).all()


def test_a_run_without_failures_has_an_empty_table(llm):
    """A run without failures has an empty table."""
    llmframe.complete(["x"])
    assert list(llmframe.last_run().failures) == ["position", "label", "code", "message", "attempts"]
    assert llmframe.last_run().failures.empty


def test_a_run_tells_its_numbers(bad):
    """A run tells its numbers."""
    df = pd.DataFrame({"a": ["x", "x", "bad", None, "y", "cut"]})
    with pytest.warns(llmframe.CompletionWarning):
        df.llm.complete("a", errors="coerce")
    run = llmframe.last_run()
    assert run.status == "done"
    assert run.done()
    assert (run.rows, run.skipped, run.distinct, run.from_journal) == (6, {"a": 1}, 4, 0)
    assert (run.sent, run.answered, run.failed, run.truncated, run.uncertain) == (4, 4, 1, 1, 0)
    assert run.tokens.total == bad.ledger.tokens
    assert run.cost > 0
    assert run.seconds > 0
    assert set(run.latency) == {"p50", "p90", "p99"}
    bad.faults = []
    with pytest.warns(llmframe.CompletionWarning, match="1 answer was cut off"):
        df.llm.complete("a", overwrite=True)
    again = llmframe.last_run()
    assert (again.from_journal, again.sent, again.answered, again.failed) == (3, 1, 5, 0)


def test_a_run_shows_itself(bad):
    """A run shows itself."""
    with pytest.warns(llmframe.CompletionWarning):
        pd.DataFrame({"<a>": ["x", "bad", None]}).llm.complete("<a>", errors="coerce", into="b")
    run = llmframe.last_run()
    assert repr(run).startswith("<Run done: llmframe: 1 of 3 rows answered (not sent: <a> missing")
    page = run._repr_html_()
    assert "gpt-6-luna" in page
    assert "<a>" not in page, "names are escaped"
    assert "&lt;a&gt;: 1" in page


@pytest.mark.parametrize("prompts", [["x", "y"], []])
def test_a_run_draws_itself(prompts, llm):
    """A run draws itself."""
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib.figure import Figure

    llmframe.complete(prompts)
    assert isinstance(llmframe.last_run().plot(), Figure)


def test_a_background_run_returns_at_once_and_can_be_waited_for(server):
    """A background run returns at once and can be waited for."""
    from llmframe.testing import LocalServer

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


@one_by_one
def test_a_cancelled_run_ends_and_says_so(llm):
    """A cancelled run ends and says so."""
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


@pytest.mark.parametrize("wait", ["no", 0, None])
def test_a_bad_wait_is_an_error(wait):
    """A bad `wait` is an error."""
    with pytest.raises(TypeError, match=r"^wait must be True or False"):
        llmframe.complete(["x"], wait=wait, model=MODEL, mode="offline")


def test_last_run_is_the_newest_calls(llm):
    """`last_run()` is the newest call's."""
    llmframe.complete(["x"])
    first = llmframe.last_run()
    llmframe.complete(["x", "y"])
    assert llmframe.last_run() is not first
    assert llmframe.last_run().rows == 2


def test_offline_sends_nothing_and_answers_from_the_journal(llm):
    """Offline sends nothing and answers from the journal."""
    df = pd.DataFrame({"a": ["x", "y"]})
    df.head(1).llm.complete("a")
    llmframe.options.api_key = None
    with pytest.raises(llmframe.CompletionError, match=r"1 × not_in_journal") as error:  # noqa: RUF001
        df.llm.complete("a", mode="offline")
    assert error.value.result["a_completion"].notna().tolist() == [True, False]
    assert llm.ledger.billed == 1


def test_a_key_is_needed_only_when_something_must_be_sent(llm):
    """A key is needed only when something must be sent."""
    llmframe.complete(["x"])
    llmframe.options.api_key = None
    assert llmframe.complete(["x", None]) == [answer("x"), None]
    with pytest.raises(llmframe.StoppedError, match="OPENAI_API_KEY") as error:
        llmframe.complete(["x", "y"])
    assert error.value.result == [answer("x"), None]
    assert llm.ledger.billed == 1


def test_fresh_asks_again_and_version_asks_anew_once(llm):
    """`fresh` asks again, and `version` asks anew once."""
    llmframe.complete(["x"])
    llmframe.complete(["x"], fresh=True)
    assert llm.ledger.billed == 2
    for _ in range(2):
        llmframe.complete(["x"], version="v2")
    assert llm.ledger.billed == 3


@one_by_one
def test_without_a_journal_every_call_asks(llm):
    """Without a journal every call asks."""
    for _ in range(2):
        llmframe.complete(["x"], journal=False)
    assert llm.ledger.billed == 2


def test_calls_from_many_threads_get_their_own_answers(llm):
    """Calls from many threads get their own answers."""
    results = {}

    def call(number):
        df = pd.DataFrame({"a": [f"{number}-{row}" for row in range(5)]})
        results[number] = df.llm.complete("a", "Say {a}")["a_completion"].tolist()

    settings = llmframe.options
    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert settings.model == MODEL
    assert results == {number: [answer(f"Say {number}-{row}") for row in range(5)] for number in range(4)}


def test_verbs_refuse_keywords_of_other_verbs(llm):
    """Verbs refuse keywords of other verbs."""
    with pytest.raises(TypeError, match=r"'into'; this verb does not take it; df\.llm\.complete does"):
        pd.Series(["x"]).llm.complete("Say", into="b")
    with pytest.raises(TypeError, match="'where'; this verb does not take it"):
        llmframe.complete(["x"], where=[True])


_LATE = (
    "openai",
    "tqdm",
    "sqlite3",
    "genai_prices",
    "orjson",
    "aiohttp",
    "httpx",
    "pydantic",
    "nest_asyncio2",
)

_PROBE = """
import sys
import pandas
before = set(sys.modules)
import llmframe
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
df = pandas.DataFrame({"a": []})
df.llm, df["a"].llm, llmframe.options.model, llmframe.options
with llmframe.option_context(model="m"):
    pass
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def test_importing_llmframe_imports_little_beyond_pandas():
    """Importing llmframe imports little beyond pandas, and using its settings no more."""
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True)
    on_import, on_use = (set(line.split()) for line in probe.stdout.splitlines())
    assert "llmframe" in on_import
    for imported in (on_import, on_use):
        assert not imported & {*_LATE, "asyncio", "platformdirs", "llmframe.testing"}
        assert len(imported - {"llmframe"}) <= 3, imported


def test_names_that_are_imported_late_are_there():
    """Names that are imported late are there."""
    for name in llmframe.__all__:
        assert getattr(llmframe, name) is not None
    assert set(llmframe.__all__) <= set(dir(llmframe))
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        _ = llmframe.nope
