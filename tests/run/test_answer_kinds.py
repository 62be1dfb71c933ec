"""A kind of answer decides what a stored body means, how values are held, and which columns they fill."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from columns.frames import listed
from helpers import texts
from run.made_up_verbs import ANY, BROKEN, COUNTED, NUMBER, SURE, ask

import llmframe
from llmframe.testing import Fault, LocalServer, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

PROMPTS = ["cats", "dogs", "none", "cats", None, "cows"]
ANSWERS = {"cats": "cats 3", "dogs": "dogs 0", "none": "nothing at all", "cows": "cows 12"}
NUMBERS = [3, 0, None, 3, None, 12]


def answer_to(request: dict[str, Any]) -> str:
    """Say the number of the prompt, where it is none of `PROMPTS`."""
    prompt = request["messages"][-1]["content"]
    return ANSWERS.get(prompt) or f"number {prompt.rstrip('.').split()[-1]}"


def frame() -> pd.DataFrame:
    return pd.DataFrame({"q": PROMPTS}, index=list("abcdee"))


@pytest.fixture
def counting(lane: str) -> Iterator[LocalServer]:
    """Give a server that answers with a word and a number, to which the options point; failed rows only warn."""
    with LocalServer(answer=answer_to) as server:
        llmframe.options.base_url, llmframe.options.api_key = server.base_url, "any"
        llmframe.options.model, llmframe.options.errors = "gpt-6-luna", "coerce"
        yield server


def test_a_verb_with_another_kind_fills_a_column_of_its_own_dtype(counting: LocalServer) -> None:
    """A value of 0 is a value; a text without a number is a paid failure with the kind's own code."""
    with pytest.warns(llmframe.CompletionWarning, match="1 of 6 rows failed") as warned:
        df = ask(NUMBER, frame(), "q", "n")
    *_, paid, remedy = str(warned[0].message).splitlines()
    assert remedy == "To mend: ask for a number."
    assert paid.startswith("The answers were paid: ")
    assert df["n"].dtype == "Int64"
    assert listed(df["n"]) == NUMBERS
    run = llmframe.last_run()
    assert (run.answered, run.failed, run.from_journal, run.skipped) == (4, 1, 0, {"q": 1})
    assert run.failures[["label", "code", "message"]].to_numpy().tolist() == [
        ["c", "no_number", "there is no number in 'nothing at all'"]
    ]
    assert counting.ledger.billed == 4
    assert df.attrs["llmframe"]["n"]["verb"] == "number"


def test_a_kind_with_two_columns_fills_both(counting: LocalServer) -> None:
    """Each has its record, and a second call with all of them unchanged asks nothing."""
    with pytest.warns(llmframe.CompletionWarning, match="no_number"):
        df = ask(COUNTED, frame(), "q", "word", "n")
    assert listed(df["word"]) == ["cats", "dogs", None, "cats", None, "cows"]
    assert df["word"].dtype == pd.Series(["text"]).dtype
    assert df["n"].dtype == "Int64"
    assert listed(df["n"]) == NUMBERS
    before = df.copy()
    with pytest.warns(llmframe.CompletionWarning, match="no_number"):
        ask(COUNTED, df, "q", "word", "n")
    pd.testing.assert_frame_equal(df, before)
    assert counting.ledger.billed == 4
    df.loc["b", "n"] = 5
    with pytest.raises(ValueError, match=r"^into: the column 'n' is already there"):
        ask(COUNTED, df, "q", "word", "n")


def test_what_one_kind_paid_for_is_judged_from_the_journal_by_another(counting: LocalServer) -> None:
    """The journal keeps bodies and no verdict: a text is an answer for `complete` and none for `number`."""
    df = frame().llm.complete("q", into="text")
    assert llmframe.last_run().failed == 0
    with pytest.warns(llmframe.CompletionWarning, match="no_number"):
        ask(NUMBER, df, "q", "n")
    assert listed(df["n"]) == NUMBERS
    run = llmframe.last_run()
    assert (run.from_journal, run.sent, run.cost) == (4, 0, 0)
    assert run.failures["attempts"].tolist() == [0]
    with pytest.warns(llmframe.CompletionWarning, match="no_number"):
        ask(COUNTED, df, "q", "word", "m", mode="offline")
    assert listed(df["m"]) == NUMBERS
    df.llm.complete("q", into="text")
    assert llmframe.last_run().from_journal == counting.ledger.billed == 4


def test_retry_failed_asks_again_what_the_verbs_own_kind_finds_no_answer_in(counting: LocalServer) -> None:
    """For `complete` the same body is an answer, and is not asked again."""
    df = frame().llm.complete("q", into="text")
    df.llm.complete("q", into="text", retry_failed=True)
    assert counting.ledger.billed == 4
    with pytest.warns(llmframe.CompletionWarning, match="no_number"):
        ask(NUMBER, df, "q", "n", retry_failed=True)
    assert counting.ledger.billed == 5
    assert listed(df["n"]) == NUMBERS


def test_a_text_that_was_cut_off_is_an_answer_for_one_kind_and_none_for_another(
    counting: LocalServer,
) -> None:
    counting.faults = [Fault("length_text")]
    df = pd.DataFrame({"q": ["cats"]})
    with pytest.warns(llmframe.CompletionWarning, match="1 × truncated"):  # noqa: RUF001
        ask(NUMBER, df, "q", "n")
    assert llmframe.last_run().failures["code"].tolist() == ["truncated"]
    with pytest.warns(llmframe.CompletionWarning, match="1 answer was cut off"):
        df.llm.complete("q", into="text")
    assert df["text"].notna().all()
    assert counting.ledger.billed == 1


def test_missing_cells_are_filled_in_a_column_that_keeps_the_kinds_dtype(counting: LocalServer) -> None:
    df = frame().drop(index="c").assign(n=pd.array([7, None, 8, None, None], dtype="Int64"))
    ask(NUMBER, df, "q", "n", overwrite="missing")
    assert df["n"].dtype == "Int64"
    assert listed(df["n"]) == [7, 0, 8, None, 12]
    assert counting.ledger.billed == 2
    words = df.assign(n=["many", None, "few", None, None])
    with pytest.raises(ValueError, match=r"^into: the column 'n' .* Int64, and 2 values .*: 'many', 'few';"):
        ask(NUMBER, words, "q", "n", overwrite="missing")
    assert counting.ledger.billed == 2


def test_a_companion_is_written_exactly_where_its_value_is(counting: LocalServer) -> None:
    """Whatever it held, and also where it is new; no row is asked for its sake."""
    df = frame().drop(index="c").assign(word=["mine", None, "mine", None, None])
    both = df.assign(sure=pd.array([None, 7, 8, None, 9], dtype="Int64"))
    for given, kept in ((df, [None, None]), (both, [None, 8])):
        ask(SURE, given, "q", "word", "sure", overwrite="missing")
        assert listed(given["word"]) == ["mine", "dogs", "mine", None, "cows"]
        assert listed(given["sure"]) == [kept[0], 0, kept[1], None, 12]
        assert given["sure"].dtype == "Int64"
    assert counting.ledger.billed == 2
    df["word"] = "mine"
    ask(SURE, df, "q", "word", "sure", overwrite="missing")
    assert llmframe.last_run().rows == 0


def test_an_error_of_a_kind_loses_no_paid_answer(counting: LocalServer) -> None:
    """The answer is in the journal before it is judged, so that a mended kind asks nothing again."""
    df = pd.DataFrame({"q": ["dogs"]})
    with pytest.raises(ZeroDivisionError):
        ask(BROKEN, df, "q", "n")
    ask(NUMBER, df, "q", "mended")
    assert df["mended"].tolist() == [0]
    assert counting.ledger.billed == 1


def test_many_values_are_held_and_written_in_the_order_of_their_rows(counting: LocalServer) -> None:
    df = pd.DataFrame({"q": texts(200)}).sample(frac=1, random_state=3)
    ask(COUNTED, df, "q", "word", "n")
    assert df["n"].tolist() == df.index.tolist()
    assert set(df["word"]) == {"number"}


@pytest.mark.parametrize(
    ("reason", "asked_again"), [("error", True), ("weird", False), ("content_filter", False)]
)
def test_a_stored_body_that_broke_off_is_asked_for_again(
    counting: LocalServer, reason: str, *, asked_again: bool
) -> None:
    """Whoever stored it: every other body is judged as it is, and paid once."""
    counting.faults = [Fault(Reply(choice={"finish_reason": reason}))]
    df = ask(ANY, pd.DataFrame({"q": ["cats"]}), "q", "length")
    assert df["length"].tolist() == [len(ANSWERS["cats"])]
    counting.faults = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", llmframe.CompletionWarning)
        df.llm.complete("q", into="offline", mode="offline")
        df.llm.complete("q", into="text")
    assert df["offline"].isna().all()
    assert df["text"].notna().tolist() == [asked_again]
    assert counting.ledger.billed == 1 + asked_again
