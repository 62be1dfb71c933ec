"""Which rows of a column no longer match what they were answered for."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pandas as pd
import pytest
from helpers import asked
from pydantic import BaseModel, Field

import llmframe
from llmframe.testing import Fault, LocalServer, Reply

LABELS = ["praise", "complaint"]


def stale(df, column="a", **anew):
    """Return the positions of the stale rows, and how many are edited."""
    found = df.llm.stale(column, **anew)
    assert found.index.equals(df.index)
    assert (found.name, found.dtype) == (column, bool)
    return [at for at, is_stale in enumerate(found.tolist()) if is_stale], found.attrs["edited"]


def again(df):
    """Return what the one call of a frame keeps to be made again."""
    (call,) = df.attrs["llmframe_calls"].values()
    return call["again"]


@pytest.fixture
def answered(llm):
    """Give ten answered rows."""
    return asked(10).llm.complete("q", "Answer.", into="a")


def edit(df):
    """Edit two inputs, two answers, and empty two cells."""
    df.loc[df.index[[1, 2]], "q"] = ["New text", "Another one"]
    df.loc[df.index[[4, 5]], "a"] = ["by hand", "too"]
    df.loc[df.index[[7, 8]], "a"] = None
    return df


def test_nothing_is_stale_after_the_call_and_that_takes_no_key_and_no_request(answered, llm):
    llmframe.options.api_key = None
    run, sent = llmframe.last_run(), llm.ledger.requests
    assert stale(answered) == ([], 0)
    assert llm.ledger.requests == sent
    assert llmframe.last_run() is run


def test_edited_inputs_and_emptied_cells_are_stale_and_edited_answers_are_counted(answered):
    assert stale(edit(answered)) == ([1, 2, 7, 8], 2)


def test_rows_that_were_added_are_stale(answered):
    longer = pd.concat([answered, asked(10, 13)], ignore_index=True)
    with pytest.raises(ValueError, match=r"from pd\.concat, which drops it: df\.attrs = before\.attrs; pass"):
        longer.llm.stale("a")
    assert stale(longer, reads="q", prompt="Answer.") == ([10, 11, 12], 0)
    longer.attrs = answered.attrs
    assert stale(longer) == ([10, 11, 12], 0)


def through_parquet(df, tmp_path):
    df.to_parquet(tmp_path / "df.parquet")
    return pd.read_parquet(tmp_path / "df.parquet")


@pytest.mark.parametrize("way", ["parquet", "pickle", "copy"])
def test_a_frame_keeps_what_tells_it(answered, tmp_path, way):
    ways = {"parquet": through_parquet, "pickle": lambda df, _: pickle.loads(pickle.dumps(df)), "copy": lambda df, _: df.copy()}  # fmt: skip
    assert stale(edit(ways[way](answered, tmp_path))) == ([1, 2, 7, 8], 2)


def test_rows_may_be_reordered_dropped_and_have_equal_labels(answered):
    df = edit(answered).iloc[::-1].iloc[:7]  # 9 to 3
    assert stale(df.set_axis(["x"] * 7)) == ([1, 2], 2)


def test_a_new_process_without_key_and_server_knows_it_from_the_file(tmp_path, monkeypatch):
    with LocalServer() as server:
        df = asked(10).llm.complete(
            "q", "Answer.", into="a", base_url=server.base_url, api_key="any", model="gpt-6-luna"
        )
    edit(df).to_parquet(tmp_path / "df.parquet")
    script = tmp_path / "later.py"
    script.write_text(
        "import llmframe, sys, pandas as pd\n"
        "found = pd.read_parquet(sys.argv[1]).llm.stale('a')\n"
        "assert found.to_numpy().nonzero()[0].tolist() == [1, 2, 7, 8], found\n"
        "assert found.attrs == {'edited': 2}\n"
    )
    subprocess.run([sys.executable, script, tmp_path / "df.parquet"], check=True)


CHANGES = {
    "prompt": {"prompt": "Answer in French."},
    "system": {"system": "Be brief."},
    "model": {"model": "gpt-6-sol"},
    "parameter": {"temperature": 0},
    "version": {"version": "v2"},
}


@pytest.mark.parametrize("anew", CHANGES.values(), ids=CHANGES)
def test_by_another_prompt_model_or_parameter_all_rows_are_stale_except_edited_ones(answered, anew):
    assert stale(edit(answered), **anew) == ([0, 1, 2, 3, 6, 7, 8, 9], 2)
    assert stale(answered)[0] == [1, 2, 7, 8]


def test_the_bound_on_the_output_makes_nothing_stale(answered):
    assert stale(answered, max_completion_tokens=500) == ([], 0)


def test_a_row_whose_input_is_gone_is_stale_if_an_answer_of_the_call_stands_there(answered):
    answered.loc[[2, 3, 4], "q"] = None
    answered.loc[3, "a"] = None
    answered.loc[4, "a"] = "typed in"
    assert stale(answered) == ([2], 1)


def test_rows_that_failed_for_good_are_not_stale_and_rows_not_asked_are(llm):
    llm.faults = [Fault(Reply(message={"content": None, "refusal": "No."}), when="number 3.")]
    df = asked(5)
    with pytest.raises(llmframe.CompletionError):
        df.llm.complete("q", into="a")
    assert stale(df) == ([], 0)
    assert stale(df, retry_failed=True) == ([3], 0)


def test_rows_that_a_call_left_out_are_not_stale_unless_they_are_named(llm):
    df = asked(6).llm.complete("q", into="a", where=[True, True, False, True, False, False])
    df.loc[1, "q"] = "New text"
    assert stale(df) == ([1], 0)
    assert stale(df, where=[True, True, True, False, False, False]) == ([1, 2], 0)


def test_what_stood_there_before_is_not_the_calls(llm):
    df = asked(4).assign(a=["mine", None, None, None]).llm.complete("q", into="a", overwrite="missing")
    assert stale(df) == ([], 1)
    assert stale(df, prompt="Anew.") == ([1, 2, 3], 1)


@pytest.mark.parametrize("how", [{"multi": True}, {"votes": 3, "confidence": True}, {"raw": True, "other": "neither"}], ids=repr)  # fmt: skip
def test_labels_are_stale_by_their_request(llm, how):
    df = asked(6).llm.classify("q", LABELS, into="a", **how)
    names = [name for name in df.attrs["llmframe"] if name != "q"]
    df.loc[2, "q"] = "It broke and I am angry."
    for name in names:
        assert stale(df, name) == ([2], 0)
        assert stale(df, name, labels=[*LABELS, "question"]) == (list(range(6)), 0)


def test_several_columns_of_a_call_are_stale_together(llm, tmp_path):
    df = asked(6).llm.extract(
        "q", {"n": int, "sizes": list[int], "tone": (str, "How?")}, prefix="x_", quotes=True
    )
    df = through_parquet(df, tmp_path)
    df.loc[1, "q"] = "Tell me about 77."
    df.loc[3, "x_tone"] = "by hand"
    for name in ("x_n", "x_sizes", "x_tone", "x_tone.quote"):
        assert stale(df, name) == ([1], 1)
    assert stale(df, "x_n", schema={"n": int, "tone": str})[0] == [0, 1, 2, 4, 5]


def test_answers_to_questions_are_stale_by_their_request(llm):
    questions = {
        "spam": "Is it spam?",
        "topic": ["a", "b"],
        "urgency": (llmframe.Levels({"low": "", "high": "now"}), "How?"),
    }
    df = asked(4).llm.ask("q", questions, prefix="k_")
    df.loc[0, "q"] = "New text"
    assert stale(df, "k_urgency") == ([0], 0)
    assert stale(df, "k_spam", questions={**questions, "more": bool})[0] == [0, 1, 2, 3]


def test_of_equal_rows_with_a_draw_each_it_does_not_matter_which_has_which(llm):
    answers = iter(range(100))
    llm.answer = lambda _: f"draw {next(answers)}"
    df = pd.DataFrame({"q": ["same", "same", "other", "same"]}).llm.complete("q", into="a", dedupe=False)
    assert stale(df.iloc[[3, 2, 0, 1]].reset_index(drop=True)) == ([], 0)
    df.loc[1, "a"] = "by hand"
    assert stale(df.iloc[::-1]) == ([], 1)


def test_without_hand_edits_labels_that_are_common_do_not_hide_a_changed_text(llm):
    """The new text is another row's too, which the journal has with another label."""
    llm.answer = lambda body: json.dumps(
        {"label": "praise" if "good" in body["messages"][-1]["content"] else "complaint"}
    )
    df = pd.DataFrame({"q": ["good", "bad", "good one"]}).llm.classify("q", LABELS, into="a")
    df.loc[0, "q"] = "bad"
    assert stale(df) == ([0], 0)


class Checked(BaseModel):
    number: int = Field(ge=0)


LACKING = {
    "a function": ({"prompt": lambda row: f"About: {row['q']}"}, "prompt"),
    "headers": ({"prompt": "Hi.", "extra_headers": {"x-team": "a"}}, "extra_headers"),
    "a long text": ({"prompt": "Long. " * 5_000}, "prompt"),
    "a key": ({"prompt": "Hi.", "metadata": {"api_key": "sk-1"}}, "metadata"),
}


@pytest.mark.parametrize(("call", "name"), LACKING.values(), ids=LACKING)
def test_what_a_record_does_not_keep_is_passed_again_or_an_error_names_it(llm, call, name):
    df = asked(4).llm.complete("q", into="a", **call)
    with pytest.raises(
        ValueError, match=rf"^{name}: the record of 'a' cannot keep {name}= .* pass it again$"
    ):
        df.llm.stale("a")
    df.loc[2, "q"] = "New text"
    assert stale(df, **{name: call[name]}) == ([2], 0)
    assert len(json.dumps(again(df))) < 1_000


def test_examples_and_classes_with_checks_of_their_own_are_passed_again(llm):
    examples = [{"q": "Number 7.", "number": 7}]
    df = asked(4).llm.extract("q", Checked, examples=examples)
    with pytest.raises(ValueError, match=r"cannot keep schema=, examples= .* pass them again"):
        df.llm.stale("number")
    assert stale(df, "number", schema=Checked, examples=examples) == ([], 0)
    assert "Number 7." not in json.dumps(df.attrs)


def test_no_key_and_no_header_gets_into_a_frame(llm):
    df = asked(2).llm.complete(
        "q", into="a", api_key="sk-secret", extra_headers={"x-key": "hidden"}, user="jo@example.org"
    )
    told = json.dumps(df.attrs)
    assert not any(word in told for word in ("sk-secret", "hidden", "jo@example.org"))


def test_without_a_record_an_error_says_what_to_pass(llm, answered):
    df = pd.DataFrame(answered.to_dict())
    with pytest.raises(
        ValueError,
        match=r"no record of how 'a' was asked; .* pass what .* reads= .* or prompt= .*, and schema=, labels=",
    ):
        df.llm.stale("a")
    df.loc[3, "q"] = "New text"
    df.loc[4, "a"] = "by hand"
    assert stale(df, reads="q", prompt="Answer.") == ([3], 1)
    with pytest.raises(ValueError, match=r"^journal: it has none of the answers of 'a'"):
        df.llm.stale("a", reads="q", prompt="Something else.")


def test_a_record_of_an_earlier_llmframe_says_the_verb_and_lacks_the_rest(llm):
    df = asked(3).llm.classify("q", LABELS, into="a")
    (call,) = df.attrs["llmframe_calls"].values()
    del call["again"]
    with pytest.raises(
        ValueError, match=r"wrote 'a' by classify and has no record .* prompt= .* and labels=$"
    ):
        df.llm.stale("a")
    assert stale(df, reads="q", labels=LABELS) == ([], 0)


def test_renamed_columns_are_found_by_what_is_passed(answered):
    assert stale(answered.rename(columns={"q": "text"}), reads="text") == ([], 0)
    plain = answered.llm.complete("q")
    assert stale(plain.rename(columns={"q": "text"}), "q_completion", reads="text") == ([], 0)
    labels = answered.llm.classify("q", LABELS, votes=3, confidence=True)
    with pytest.raises(ValueError, match="'q_confidence' would not be written, as its own call did"):
        labels.rename(columns={"q": "text"}).llm.stale("q_label", reads="text")
    with pytest.raises(KeyError, match="there is no column 'q'"):
        answered.rename(columns={"q": "text"}).llm.stale("a")
    with pytest.raises(ValueError, match="it has one of 'a': rename the column back"):
        answered.rename(columns={"a": "b"}).llm.stale("b")


def test_the_journal_is_not_needed_for_a_frame_that_is_as_it_was_written(answered, tmp_path):
    elsewhere = {"journal": tmp_path / "other.sqlite"}
    assert stale(answered, **elsewhere) == ([], 0)
    assert stale(answered, prompt="Anew.", **elsewhere) == (list(range(10)), 0)
    with pytest.raises(ValueError, match=r"^journal: it has none of the answers of 'a'.* pass the journal="):
        stale(edit(answered.copy()), **elsewhere)
    answered.loc[0, "q"] = "New text"
    with pytest.raises(
        ValueError, match=r"^journal: it has none of the answers of 'a'.* version='v2' asks all rows anew"
    ):
        stale(answered, **elsewhere)
    assert stale(answered, version="v2", **elsewhere) == (list(range(10)), 0)


@pytest.mark.parametrize(("anew", "message"), [
    ({"labels": LABELS}, "labels: 'a' was written by complete"),
    ({"votes": 3}, "unexpected keyword 'votes'"),
    ({"fresh": True}, "fresh: only what is stale is asked"),
    ({"prefix": "x_"}, "prefix: 'a' was written by complete"),
])  # fmt: skip
def test_what_the_verb_does_not_take_is_refused(answered, anew, message):
    with pytest.raises(TypeError, match=message):
        answered.llm.stale("a", **anew)


def test_a_column_that_is_not_there_is_refused(answered):
    with pytest.raises(KeyError, match="there must be one column 'b'"):
        answered.llm.stale("b")


def test_a_frame_without_rows_has_none_that_are_stale(answered):
    assert stale(answered.iloc[:0]) == ([], 0)
