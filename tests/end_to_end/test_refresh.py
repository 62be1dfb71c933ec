"""New answers for the stale rows of a column alone."""

from __future__ import annotations

import json
import random

import pandas as pd
import pytest
from columns.frames import listed
from helpers import answer, asked
from pydantic import BaseModel, Field

import llmframe
from llmframe.testing import Fault, LocalServer, Reply

LABELS = ["praise", "complaint"]
REFUSAL = Reply(message={"content": None, "refusal": "No."})


def made(prompt, text):
    return answer(f"{prompt}\n\n{text}")


@pytest.fixture
def answered(llm, lane):
    """Give ten answered rows, in both lanes."""
    return asked(10).llm.complete("q", "Answer.", into="a")


def longer(df, more):
    """Add rows; pandas drops the record."""
    joined = pd.concat([df, more], ignore_index=True)
    joined.attrs = df.attrs
    return joined


def edit(df):
    df.loc[[1, 2], "q"] = ["New text", "Another one"]
    df.loc[[4], "a"] = "by hand"
    return df


def test_the_stale_rows_alone_are_asked_and_written(answered, llm):
    before, billed = edit(answered).copy(), llm.ledger.billed
    assert answered.llm.refresh("a") is answered
    assert llm.ledger.billed - billed == 2
    assert answered["a"].tolist() == [
        *before["a"][:1], made("Answer.", "New text"), made("Answer.", "Another one"), *before["a"][3:]
    ]  # fmt: skip
    assert answered["q"].equals(before["q"])
    assert not answered.llm.stale("a").any()
    assert answered.llm.stale("a").attrs["edited"] == 1
    answered.llm.refresh("a")
    assert llm.ledger.billed - billed == 2


def test_another_prompt_is_the_columns_from_then_on(answered, llm):
    answered.loc[4, "a"] = "by hand"
    answered.llm.refresh("a", prompt="In French.", temperature=0)
    assert llm.ledger.billed == 19
    assert answered.loc[4, "a"] == "by hand"
    assert not answered.llm.stale("a").any()
    assert answered.llm.stale("a", prompt="Answer.").sum() == 9
    answered.loc[0, "q"] = "New text"
    answered.llm.refresh("a")
    assert llm.ledger.billed == 20


def test_going_back_to_the_old_prompt_is_free(answered, llm):
    old = answered["a"].copy()
    answered.llm.refresh("a", prompt="In French.")
    answered.llm.refresh("a", prompt="Answer.")
    assert answered["a"].equals(old)
    assert llm.ledger.billed == 20


def test_edited_rows_are_replaced_on_request_alone(answered, llm):
    old = answered.loc[4, "a"]
    edit(answered).llm.refresh("a", overwrite=True)
    assert answered.loc[4, "a"] == old
    assert answered.llm.stale("a").attrs["edited"] == 0
    assert llm.ledger.billed == 12


def test_the_journal_pays_for_cells_that_were_emptied(answered, llm):
    old = answered["a"].copy()
    answered.loc[[3, 5], "a"] = None
    answered.llm.refresh("a")
    assert answered["a"].equals(old)
    assert llm.ledger.billed == 10


def test_an_edited_label_stays_through_further_refreshes_in_any_order_of_rows(llm):
    """The label itself is one that other rows have by right."""

    def label(body):
        return json.dumps({"label": LABELS["number 1" in body["messages"][-1]["content"]]})

    llm.answer = label
    df = asked(8).llm.classify("q", LABELS, into="a")
    df.loc[2, "a"] = "complaint"
    df.llm.refresh("a", prompt="Anew.")
    df = df.iloc[::-1]
    df.loc[5, "q"] = "Tell me about the number 10."
    df.llm.refresh("a", prompt="Anew again.")
    again = df.iloc[1::2].reset_index(drop=True)  # 6, 4, 2, 0
    again.llm.refresh("a", prompt="Once more.")
    assert again["a"].tolist() == ["praise", "praise", "complaint", "praise"]
    df.llm.refresh("a")
    assert df["a"].sort_index().tolist() == [
        "praise",
        *["complaint"] * 2,
        *["praise"] * 2,
        "complaint",
        *["praise"] * 2,
    ]
    assert df.llm.stale("a").attrs["edited"] == 1


def test_a_row_whose_input_is_gone_loses_the_answer_of_the_call(answered):
    answered.loc[[2, 3], "q"] = None
    answered.loc[3, "a"] = "typed in"
    answered.llm.refresh("a")
    assert listed(answered["a"])[2:4] == [None, "typed in"]


def test_rows_that_were_added_get_answers_and_those_left_out_by_where_wait(answered, llm):
    df = longer(answered, asked(10, 14))
    df.llm.refresh("a", where=df.index < 12)
    assert llm.ledger.billed == 12
    assert df["a"].notna().tolist() == [True] * 12 + [False] * 2
    assert df.llm.stale("a").sum() == 2
    df.llm.refresh("a", prompt="Anew.", where=df.index < 3)
    assert df.llm.stale("a").sum() == 11


def test_what_another_call_wrote_or_the_user_dropped_is_left_alone(llm):
    llm.answer = lambda body: json.dumps(
        dict.fromkeys(body["response_format"]["json_schema"]["schema"]["properties"], len(llm.ledger.billed_by_request))
    )  # fmt: skip
    df = asked(3).llm.extract("q", {"a": int, "b": int, "c": int})
    df.llm.extract("q", {"b": int}, temperature=0)
    del df["c"]
    other = df["b"].copy()
    df.loc[1, "q"] = "New text"
    df.llm.refresh("a")
    assert list(df) == ["q", "a", "b"]
    assert df["b"].equals(other)
    assert df.llm.stale("b").tolist() == [False, True, False]
    assert not df.llm.stale("a").any()


def test_a_field_more_is_a_column_more(llm):
    llm.answer = lambda body: json.dumps(
        dict.fromkeys(body["response_format"]["json_schema"]["schema"]["properties"], 5)
    )
    df = asked(3).llm.extract("q", {"a": int})
    df.llm.refresh("a", schema={"a": int, "b": int})
    assert df["b"].tolist() == [5] * 3
    assert not df.llm.stale("b").any()
    with pytest.raises(ValueError, match="'mine' is already there and would be overwritten"):
        df.assign(mine=1).llm.refresh("a", schema={"a": int, "mine": int})


class Checked(BaseModel):
    a: int = Field(ge=0)


class CheckedFurther(Checked):
    b: int


def test_a_field_more_of_a_class_that_no_record_keeps_is_a_column_more(llm):
    llm.answer = lambda _: '{"a": 1, "b": 2}' if llm.ledger.billed >= 2 else '{"a": 1}'
    df = asked(2).llm.extract("q", Checked)
    df.llm.refresh("a", schema=CheckedFurther)
    assert df[["a", "b"]].to_numpy().tolist() == [[1, 2]] * 2
    assert not df.llm.stale("b", schema=CheckedFurther).any()


def test_equal_rows_with_a_draw_each_get_further_draws(llm):
    answers = iter(range(100))
    llm.answer = lambda _: f"draw {next(answers)}"
    df = pd.DataFrame({"q": ["same", "same"]}).llm.complete("q", into="a", dedupe=False)
    df = longer(df, pd.DataFrame({"q": ["same", "same"]}))
    df.llm.refresh("a")
    assert sorted(df["a"]) == ["draw 0", "draw 1", "draw 2", "draw 3"]
    assert llm.ledger.billed == 4


def test_failed_rows_are_told_as_by_the_verb_and_are_asked_again(answered, llm):
    edit(answered)
    llm.faults = [Fault(REFUSAL, when="New text")]
    with pytest.raises(llmframe.CompletionError) as raised:
        answered.llm.refresh("a")
    assert raised.value.result is answered
    assert listed(answered["a"])[1:3] == [None, made("Answer.", "Another one")]
    assert not answered.llm.stale("a").any()
    llm.faults = []
    answered.llm.refresh("a", retry_failed=True)
    assert answered.loc[1, "a"] == made("Answer.", "New text")


def test_rows_that_get_no_answer_at_all_keep_theirs_and_stay_stale(llm):
    df = asked(4).llm.complete("q", "Answer.", into="a")
    old = df["a"].copy()
    llm.faults = [Fault("500", when="number 1.")]
    with pytest.raises(llmframe.CompletionError):
        df.llm.refresh("a", prompt="Anew.", max_retries=0)
    new = [made("Anew.", text) for text in df["q"]]
    assert df["a"].tolist() == [new[0], old[1], *new[2:]]
    assert df.llm.stale("a").tolist() == [False, True, False, False]
    with pytest.raises(llmframe.CompletionError):
        df.llm.refresh("a", mode="offline")
    llm.faults = []
    df.llm.refresh("a")
    assert df["a"].tolist() == new
    labels = asked(2).llm.classify("q", LABELS, into="b")
    with pytest.raises(llmframe.CompletionError):
        labels.llm.refresh("b", labels=["x", "y"], mode="offline")
    assert labels["b"].isna().all()


def test_reasons_are_kept_up(llm):
    llm.faults = [Fault(REFUSAL, when="number 1.")]
    df = asked(3)
    with pytest.warns(llmframe.CompletionWarning):
        df.llm.complete("q", into="a", error_into="why", errors="coerce")
    df.loc[1, "q"] = "New text"
    df.llm.refresh("a")
    assert df["a"].notna().all()
    assert df["why"].isna().all()


def test_a_stopped_refresh_leaves_the_frame_and_the_same_line_goes_on(llm):
    df = asked(10).llm.complete("q", "Answer.", into="a")
    before = df.copy()
    llm.faults = [Fault("insufficient_quota", after=4)]
    with pytest.raises(llmframe.StoppedError):
        df.llm.refresh("a", prompt="Anew.", max_concurrency=1)
    pd.testing.assert_frame_equal(df, before)
    assert df.attrs == before.attrs
    llm.faults = []
    assert df.llm.stale("a", prompt="Anew.").sum() == 10
    df.llm.refresh("a", prompt="Anew.")
    assert df["a"].tolist() == [made("Anew.", text) for text in df["q"]]
    assert llm.ledger.billed == 20


def test_answers_that_came_after_the_column_was_written_are_no_hand_edits(llm):
    """An interrupted refresh leaves answers in the journal that the cells do not hold."""
    df = asked(4).llm.complete("q", "Answer.", into="a")
    df.loc[0, "q"] = "New text"
    df.loc[3, "a"] = "by hand"
    pd.DataFrame({"q": ["New text"]}).llm.complete("q", "Answer.", into="a")
    found = df.llm.stale("a")
    assert (found.tolist(), found.attrs["edited"]) == ([True, False, False, False], 1)
    df.llm.refresh("a")
    assert df.loc[0, "a"] == made("Answer.", "New text")
    assert llm.ledger.billed == 5


def test_a_key_is_not_sent_to_the_address_that_a_frame_names(llm):
    with LocalServer() as other:
        df = asked(3).llm.complete("q", "Answer.", into="a", base_url=other.base_url, api_key="any")
        df.loc[0, "q"] = "New text"
        with pytest.raises(
            ValueError,
            match=rf"^base_url: {other.base_url} answered 'a', and this call would ask {llm.base_url}; pass",
        ):
            df.llm.refresh("a")
        df.llm.refresh("a", base_url=other.base_url)
        assert other.ledger.billed == 4
    df.llm.refresh("a", base_url=llm.base_url)
    assert llm.ledger.billed == 3
    assert not df.llm.stale("a").any()


def test_no_address_and_no_header_is_taken_from_a_frame(llm):
    df = asked(3).llm.complete("q", "Answer.", into="a")
    (call,) = df.attrs["llmframe_calls"].values()
    call["again"]["arguments"] |= {
        "base_url": "http://127.0.0.1:9/v1",
        "extra_headers": {"x": "y"},
        "mode": "batch",
    }
    df.loc[0, "q"] = "New text"
    df.llm.refresh("a")
    assert llm.ledger.billed == 4


def test_the_last_line_tells_of_edited_rows(llm, capsys):
    df = asked(10).llm.complete("q", "Answer.", into="a")
    edit(df).llm.refresh("a", progress=True)
    assert "llmframe: 2 rows of a were stale, 1 edited by hand and left alone" in capsys.readouterr().err


@pytest.mark.asyncio
async def test_it_can_be_awaited(llm):
    df = await asked(4).llm.acomplete("q", "Answer.", into="a")
    df.loc[1, "q"] = "New text"
    assert await df.llm.arefresh("a") is df
    assert df.loc[1, "a"] == made("Answer.", "New text")
    assert await df.llm.arefresh("a") is df
    assert llm.ledger.billed == 5


def test_a_preview_compares_two_prompts_on_the_same_rows_and_leaves_the_frame_alone(answered, llm):
    answered.loc[0, "a"] = "by hand"
    before = answered.copy()
    shown = answered.llm.refresh("a", prompt="Anew.", preview=4)
    pd.testing.assert_frame_equal(answered, before)
    assert answered.attrs == before.attrs
    assert list(shown) == ["label", "before", "after"]
    assert shown["label"].tolist() == [1, 3, 6, 9]
    assert shown["before"].tolist() == before["a"].iloc[[1, 3, 6, 9]].tolist()
    assert shown["after"].tolist() == [made("Anew.", before["q"][label]) for label in shown["label"]]
    estimate = shown.attrs["estimate"]
    assert (estimate.rows, estimate.to_ask) == (5, 5)
    again = answered.llm.refresh("a", prompt="Anew.", preview=4)
    pd.testing.assert_frame_equal(again, shown)
    assert llm.ledger.billed == 14
    answered.llm.refresh("a", prompt="Anew.")
    assert llm.ledger.billed == 19
    assert answered.loc[0, "a"] == "by hand"


def test_a_preview_shows_stale_rows_alone_also_repeated(answered, llm):
    edit(answered)
    for _ in range(2):
        shown = answered.llm.refresh("a", preview=30)
        assert shown["label"].tolist() == [1, 2]
        assert shown.attrs["estimate"].to_ask == 0
    assert llm.ledger.billed == 12
    answered.llm.refresh("a")
    assert llm.ledger.billed == 12
    assert answered.loc[1, "a"] == made("Answer.", "New text")
    assert not len(answered.llm.refresh("a", preview=5))


def test_a_preview_repeats_its_rows_where_new_labels_are_the_old_ones(llm):
    llm.answer = lambda _: json.dumps({"label": "praise"})
    df = asked(40).llm.classify("q", LABELS, into="a")
    for _ in range(3):
        shown = df.llm.refresh("a", prompt="Anew.", preview=5)
        assert shown["after"].tolist() == ["praise"] * 5
        assert shown["after"].dtype == df["a"].dtype
    assert llm.ledger.billed == 45


@pytest.mark.asyncio
async def test_a_preview_and_an_estimate_can_be_awaited(llm):
    df = await asked(6).llm.acomplete("q", "Answer.", into="a")
    shown = await df.llm.arefresh("a", prompt="Anew.", preview=2)
    assert (len(shown), shown.attrs["estimate"].to_ask) == (2, 4)
    assert (await df.llm.arefresh("a", prompt="Anew.", dry_run=True)).to_ask == 4


def test_an_estimate_is_of_the_stale_rows(answered, llm):
    assert edit(answered).llm.refresh("a", dry_run=True).to_ask == 2
    assert llm.ledger.billed == 10


class Told:
    """A frame, and what a reader of its history would say of each row."""

    def __init__(self, chance):
        self.chance, self.prompt, self.by_hand, self.texts = chance, "Prompt 0.", set(), 0
        self.df = asked(chance.randrange(3, 10)).llm.complete("q", self.prompt, into="a")

    def label(self):
        return self.chance.choice(list(self.df.index))

    def edit_input(self):
        self.texts += 1
        self.df.loc[self.label(), "q"] = f"New text {self.texts}"

    def take_input_away(self):
        self.df.loc[self.label(), "q"] = None

    def edit_answer(self):
        label = self.label()
        self.df.loc[label, "a"] = f"by hand {label}"
        self.by_hand.add(label)

    def empty(self):
        label = self.label()
        self.df.loc[label, "a"] = None
        self.by_hand.discard(label)

    def shuffle(self):
        self.df = self.df.sample(frac=1, random_state=self.chance.randrange(99))

    def ask_elsewhere(self):
        self.df[["q"]].dropna().head(2).llm.complete("q", self.prompt, into="z")

    def refresh(self):
        self.df.llm.refresh("a")

    def refresh_some(self):
        self.df.llm.refresh("a", where=[self.chance.random() < 0.5 for _ in self.df.index])

    def change_prompt(self):
        self.prompt = f"Prompt {self.chance.randrange(99)}."
        self.df.llm.refresh("a", prompt=self.prompt)

    def expected(self, prompt):
        rows = [(label, self.df.loc[label, "q"], self.df.loc[label, "a"]) for label in self.df.index]
        return [
            label not in self.by_hand
            and (pd.notna(text) if pd.isna(cell) else pd.isna(text) or cell != made(prompt, text))
            for label, text, cell in rows
        ]


STEPS = [name for name in vars(Told) if name not in {"label", "expected"} and not name.startswith("_")]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_to_a_frame_its_rows_are_what_their_history_says(llm, seed):
    told = Told(random.Random(seed))
    for _ in range(10):
        getattr(told, told.chance.choice(STEPS))()
        for prompt in (told.prompt, "Another one."):
            found = told.df.llm.stale("a", prompt=prompt)
            assert found.tolist() == told.expected(prompt)
            assert found.attrs["edited"] == len(told.by_hand)
    for label in told.by_hand:
        assert told.df.loc[label, "a"] == f"by hand {label}"
    assert set(llm.ledger.billed_by_request.values()) == {1}


@pytest.mark.parametrize(("wrong", "message"), [
    ({"preview": 0}, "preview must be a whole number of at least 1"),
    ({"preview": True}, "preview must be a whole number"),
    ({"preview": 3, "dry_run": True}, "dry_run: a preview has the price"),
])  # fmt: skip
def test_arguments_that_cannot_be_are_refused(llm, wrong, message):
    with pytest.raises(ValueError, match=message):
        asked(3).llm.complete("q", into="a").llm.refresh("a", **wrong)
