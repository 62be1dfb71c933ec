"""Labels and questions as users write them, as they are sent, and as their answers are read."""

from __future__ import annotations

import pickle
from enum import Enum, StrEnum
from typing import Literal

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import llmframe
from llmframe._columns import (
    ChatQuestionAnswers,
    DecisionAnswers,
    Shown,
    decision_questions,
    judge_any,
    question_record,
    questions_as_json,
    questions_from_json,
    read_labels,
    read_questions,
    response_format,
)


class Tone(Enum):
    CALM = "calm"
    ANGRY = "angry"


class Mood(StrEnum):
    CALM = "calm"
    ANGRY = "angry"


@pytest.mark.parametrize(
    "labels",
    [
        ["calm", "angry"],
        {"calm": "…", "angry": ""},
        {Tone.CALM: "…", Tone.ANGRY: ""},
        Tone,
        list(Tone),
        Mood,
        list(Mood),
        Literal["calm", "angry"],
        np.array(["calm", "angry"]),
        list(np.array(["calm", "angry"])),
        pd.Series(["calm", "angry", "calm"]).unique(),
        pd.Categorical(["angry", "calm"], categories=["calm", "angry"]).categories,
    ],
    ids=repr,
)
def test_labels_are_any_sequence_of_texts_a_dict_an_enum_or_a_literal(labels):
    read = read_labels(labels)
    assert read.texts == ("calm", "angry")
    assert {type(label) for label in read.texts} == {str}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["a"], "labels: there must be at least 2; got 'a'"),
        ([], "got none"),
        (["a", "a"], "'a' and 'a' are the same label"),
        (["Straße", "STRASSE "], "'Straße' and 'STRASSE ' are the same label"),
        (["é", "e\u0301"], "are the same label"),
        (["a", "  "], "must not be blank"),
        (["a", 1], "must be text; got 1"),
        ("ab", r"write \['ab', …\]"),
        (7, "must be a list of texts"),
        ({"a": 1, "b": ""}, "the description of 'a' must be text"),
        ({"a", "b"}, "which has no order"),
        (["a", "\ud800"], r"'\\ud800' cannot be sent"),
        ({"a": "\ud800", "b": ""}, r"'\\ud800' cannot be sent"),
    ],
)
def test_labels_that_cannot_be_meant_are_named(labels, said):
    with pytest.raises((TypeError, ValueError), match=said):
        read_labels(labels)


def test_other_is_added_unless_it_is_one_of_the_labels():
    assert read_labels(["a"], other="other", fewest=1).texts == ("a", "other")
    assert read_labels(["other", "a"], other="other").texts == ("other", "a")
    with pytest.raises(ValueError, match="the same label"):
        read_labels(["Other", "a"], other="other")


def test_other_alone_is_no_choice():
    with pytest.raises(ValueError, match=r"there must be at least 2; got 'other'; write another one$"):
        read_labels(["other"], other="other")
    with pytest.raises(ValueError, match="got none"):
        read_labels([], other="other", fewest=1)


@given(st.lists(st.text(min_size=1), min_size=2, unique=True), st.integers(0, 254))
def test_a_draw_has_the_same_labels_in_an_order_of_its_own(labels, draw):
    try:
        read = read_labels(labels)
    except ValueError:
        return
    ordered = read.in_order_of(draw)
    assert sorted(ordered.texts) == sorted(labels)
    assert ordered == read.in_order_of(draw)
    assert read.in_order_of(0) is read


QUESTIONS = {
    "spam": bool,
    "topic": (["billing", "bug"], "What is it about?"),
    "urgency": llmframe.Levels({"low": "can wait", "high": "cannot"}),
    "thanks": "Does the customer say thank you?",
}


def test_questions_are_sent_to_decisions_as_the_api_has_them():
    spam, topic, urgency, thanks = decision_questions(read_questions(QUESTIONS), "Of a shop.")
    assert spam == {
        "type": "predicate",
        "instructions": "Of a shop.\n\nIs this so of the text: spam?",
        "name": "spam",
    }
    assert topic["choices"] == [{"value": "billing"}, {"value": "bug"}]
    assert topic["instructions"] == "Of a shop.\n\nWhat is it about?"
    assert urgency["levels"] == [
        {"label": "low", "description": "can wait"},
        {"label": "high", "description": "cannot"},
    ]
    assert thanks["type"] == "predicate"


def test_questions_are_one_schema_for_a_chat_completion():
    written = response_format(question_record(read_questions(QUESTIONS)))["json_schema"]["schema"]
    assert written["required"] == list(QUESTIONS)
    assert written["properties"]["spam"]["type"] == "boolean"
    assert written["properties"]["urgency"]["enum"] == ["low", "high"]
    assert "low: can wait" in written["properties"]["urgency"]["description"]


@pytest.mark.parametrize(
    ("questions", "said"),
    [
        ({}, "there must be 1 to 400; got 0"),
        ({f"q{number}": bool for number in range(401)}, "got 401"),
        ({"a": int}, "a: int is no question's answer"),
        ({"a": ["x"]}, "questions: a: there must be at least 2"),
        ({" ": bool}, "must be text that is not blank"),
        (["a"], "questions must be a dict"),
        ({"a": "\ud800"}, r"a: '\\ud800' cannot be sent"),
        ({"\ud800": bool}, r"'\\ud800' cannot be sent"),
    ],
)
def test_questions_that_cannot_be_meant_are_named(questions, said):
    with pytest.raises((TypeError, ValueError), match=said):
        read_questions(questions)


def test_questions_as_json_are_the_same_questions():
    given = {
        "spam": bool,
        "late": "Did it come late?",
        "tone": Tone,
        "topic": ({"a": "first", "b": ""}, "Which?"),
        "urgency": llmframe.Levels(["low", "high"]),
        "harm": (llmframe.Levels({"none": "", "some": "a bit"}), "How much?"),
    }
    read = read_questions(given)
    kept = orjson.loads(orjson.dumps(questions_as_json(read)))
    assert read_questions(questions_from_json(kept)) == read


def test_levels_are_equal_by_their_labels_and_survive_pickle():
    levels = llmframe.Levels({"low": "can wait", "high": ""})
    assert pickle.loads(pickle.dumps(levels)) == levels
    assert levels == llmframe.Levels({"low": "can wait", "high": ""})
    assert levels != llmframe.Levels(["low", "high"])
    assert len({levels, llmframe.Levels(levels.labels.texts)}) == 2
    assert repr(levels) == "Levels({'low': 'can wait', 'high': ''})"


CHOICE = read_questions({"label": ["a", "b", "c"]})
YES_NO = read_questions({"label": bool})


def columns_of(kind, values):
    """Return the columns of judged values, a request each."""
    stored = kind.storage(len(values), iter)
    for number, value in enumerate(values):
        if value is not None:
            stored[number] = value
    codes = np.arange(len(values), dtype=np.int32)
    return kind.columns(stored, codes, pd.RangeIndex(len(values)), kind.names), kind.unsure(stored, codes)


def decided(**answer):
    return {"answers": [answer]}


def choice(*probabilities, chosen="a"):
    stated = [{"value": label, "probability": p} for label, p in zip("abc", probabilities, strict=True)]
    return decided(type="choice", choice=chosen, confidence=0.4, probabilities=stated)


def test_confidence_is_the_probability_of_the_chosen_label():
    kind = DecisionAnswers(CHOICE, Shown(confidence=True, probabilities=True))
    (label, confidence, *probabilities), _ = columns_of(kind, [kind.judge(choice(0.7, 0.2, 0.1)).value, None])
    assert label.tolist()[0] == "a"
    assert label.isna().tolist() == confidence.isna().tolist() == [False, True]
    assert confidence[0] == 0.7
    assert [column[0] for column in probabilities] == [0.7, 0.2, 0.1]


@pytest.mark.parametrize(("threshold", "unsure"), [(0.7, 0), (0.71, 1)])
def test_below_the_threshold_a_label_is_missing_and_unsure(threshold, unsure):
    kind = DecisionAnswers(CHOICE, Shown(threshold=threshold))
    (label,), counted = columns_of(kind, [kind.judge(choice(0.7, 0.2, 0.1)).value])
    assert counted == unsure == label.isna().sum()


@pytest.mark.parametrize(
    ("probability", "expected"),
    [(0.5, True), (0.49, False), (1.0, True), (0.0, False)],
)
def test_a_predicate_is_true_from_one_half_on(probability, expected):
    kind = DecisionAnswers(YES_NO, Shown(confidence=True))
    body = decided(type="predicate", probability=probability)
    (value, confidence), _ = columns_of(kind, [kind.judge(body).value])
    assert value[0] == expected
    assert value.dtype == "boolean"
    assert confidence[0] == max(probability, 1 - probability)


def test_a_predicate_that_is_not_sure_either_way_is_missing():
    kind = DecisionAnswers(YES_NO, Shown(threshold=0.8))
    bodies = [decided(type="predicate", probability=p) for p in (0.1, 0.21, 0.79, 0.8)]
    (value,), unsure = columns_of(kind, [kind.judge(body).value for body in bodies])
    assert value.isna().tolist() == [False, True, True, False]
    assert unsure == 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"answers": []},
        {"answers": [None]},
        decided(type="choice", choice="z", probabilities=[{"value": "a", "probability": 1}]),
        decided(type="choice", choice="a", probabilities=[]),
        choice(1.5, 0, 0),
        choice(True, 0, 0),
        decided(type="predicate", probability=0.5),
    ],
)
def test_a_decision_that_is_none_is_its_rows_failure(body):
    verdict = DecisionAnswers(CHOICE, Shown()).judge(body)
    assert (verdict.value, verdict.problem) == (None, "schema")
    assert verdict.raw is not None


def test_a_level_is_the_most_probable_one_and_has_a_score():
    kind = DecisionAnswers(
        read_questions({"u": llmframe.Levels(["low", "mid", "high"])}), Shown(confidence=True)
    )
    stated = [
        {"label": n, "value": v, "probability": p}
        for n, v, p in [("low", 0, 0.1), ("mid", 1, 0.3), ("high", 2, 0.6)]
    ]
    body = decided(type="score", score=1.5, confidence=0.5, probabilities=stated)
    (level, confidence, score), _ = columns_of(kind, [kind.judge(body).value])
    assert level[0] == "high"
    assert level.cat.ordered
    assert (confidence[0], score[0]) == (0.6, 1.5)


def voted(kind, draws, *, rows=1):
    """Return the columns after the draws of each row, numbered draw by draw; a draw that is `.` has no answer."""
    stored = kind.storage(rows * len(draws), iter)
    for number, label in enumerate(draws):
        body = {"choices": [{"message": {"content": f'{{"label": "{label}"}}'}, "finish_reason": "stop"}]}
        if label != ".":
            stored[number] = kind.judge(body).value
    codes = np.arange(rows, dtype=np.int32)
    return [column[0] for column in kind.columns(stored, codes, pd.RangeIndex(rows), kind.names)]


def test_votes_give_shares():
    kind = ChatQuestionAnswers(CHOICE, Shown(confidence=True, probabilities=True), draws=5)
    assert voted(kind, "abaac") == ["a", 0.6, 0.6, 0.2, 0.2]


def test_a_tie_is_missing_and_never_the_first():
    kind = ChatQuestionAnswers(CHOICE, Shown(confidence=True), draws=4)
    label, confidence = voted(kind, "abab")
    assert pd.isna(label)
    assert confidence == 0.5


def test_a_tie_is_other_where_there_is_one():
    kind = ChatQuestionAnswers(CHOICE, Shown(confidence=True), draws=4, other="c")
    assert voted(kind, "abab") == ["c", 0.0]


@pytest.mark.parametrize("draws", ["aa.", "...", "a.."])
def test_votes_of_which_one_is_missing_decide_nothing(draws):
    kind = ChatQuestionAnswers(CHOICE, Shown(confidence=True, probabilities=True), draws=3, other="c")
    assert all(map(pd.isna, voted(kind, draws)))


def test_the_score_of_voted_levels_is_their_mean():
    kind = ChatQuestionAnswers(
        read_questions({"label": llmframe.Levels(["a", "b", "c"])}), Shown(confidence=True), draws=5
    )
    assert voted(kind, "cbccb") == ["c", 0.6, 1.6]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"answers": [{"type": "predicate", "probability": 1}, {"type": "refusal"}]}, None),
        ({"answers": [{"type": "refusal"}]}, "refusal"),
        ({"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}, None),
        ({}, "no_choices"),
    ],
)
def test_a_journal_tells_of_any_endpoint_whether_a_body_has_an_answer(body, problem):
    assert judge_any(body).problem == problem
