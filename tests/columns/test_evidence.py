# ruff: noqa: RUF001 (texts of many scripts)
"""A quote is found in its row's text exactly, or with case, white space and quote marks folded, in any script."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from columns.plans import IMAGE, TURNS, plan_of
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel

from llmframe._columns.quotes import search
from llmframe._columns.schema import TypedAnswers, read_schema
from llmframe._verbs import extract_list


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("DER AKKU HÄLT NUR FÜNF STUNDEN", "Der Akku hält nur fünf Stunden."),
        ("große Straße", "An der GROSSEN STRASSE? Nein: an der GROSSE STRASSE."),
        ('sagte "kaputt"', "Er sagte „kaputt“ und ging."),
        ("sagte „kaputt“", "Er sagte »kaputt« und ging."),
        ("Bat\u00adterie ist leer", "Die Batterie ist leer."),
        ("the hinge broke", "The hinge\n    broke\tat once."),
        ("don't buy", "Don’t buy this."),
        ('"The hinge broke."', "Well. The hinge broke."),
        ("qu'il est cassé", "On dit qu’il est cassé."),
        ("cafe\u0301", "Un café, s'il vous plaît."),
        ("电池只能用五个小时,很失望", "电池只能用五个小时，很失望。"),
        ("他说'坏了'", "他说“坏了”。"),
        ("ＡＢＣ　充电器", "这个ABC 充电器不好"),
        ("البطارية لا تدوم طويلا", "قال:\u200f البطارية\u00a0لا تدوم\nطويلا."),
        ("ﻻ تدوم", "البطارية لا تدوم"),
        ("می‌خواهم", "من میخواهم"),
        ("ISPARTA'DA ALINDI", "Isparta'da alındı"),
        ("İstanbul", "istanbul'dan"),
        ("ΟΔΟΣ", "η οδός ή οδος"),
        ("배터리가 나갔다", "배터리가\u3000나갔다"),
    ],
)
def test_what_only_looks_different_is_found(quote, text):
    assert search([quote], text) == [True]


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("The hinge is broken", "The hinge broke."),
        ("cafe au lait", "café au lait"),
        ("nowhere", "now here"),
        ("五个小时", "五小时"),
        ("hinge", ""),
        ("?", "!"),
    ],
)
def test_what_says_something_else_is_not(quote, text):
    assert search([quote], text) == [False]


LETTERS = st.characters(categories=["Lu", "Ll"], max_codepoint=0x24F) | st.sampled_from(
    "αβγσςЖжяא中文字あ한ب،。！"
)
TEXT = st.lists(
    LETTERS | st.sampled_from(" \n\t\u00a0\u3000'\"’“”„«»\u00ad\u200b.,"), min_size=1, max_size=40
).map("".join)


@st.composite
def quotes_from_texts(draw):
    """Draw a piece of a text that says something."""
    text = draw(TEXT)
    start = draw(st.integers(0, len(text) - 1))
    piece = text[start : draw(st.integers(start + 1, len(text)))]
    assume(any(map(str.isalnum, piece)))
    return piece, text


@given(quotes_from_texts())
def test_any_piece_of_a_text_is_found(quote_and_text):
    quote, text = quote_and_text
    assert search([quote], text) == [True]


CHANGES = [
    str.upper,
    str.lower,
    str.swapcase,
    lambda text: re.sub(r"\s", " \n ", text),
    lambda text: re.sub('["“”„«»]', "’", text),
    lambda text: text.replace("'", "“"),
    lambda text: re.sub("[\u00ad\u200b]", "", text),
    lambda text: f"“{text}”",
]  # fmt: skip


@given(quotes_from_texts(), st.lists(st.sampled_from(CHANGES), max_size=3))
def test_so_is_one_with_other_case_white_space_and_quote_marks(quote_and_text, changes):
    quote, text = quote_and_text
    for change in changes:
        quote = change(quote)
    assert search([quote], text) == [True]


@given(st.text(), st.text())
def test_no_text_breaks_the_search(quote, text):
    assert search([quote, None], text)[1] is None


def texts_of(plan):
    return list(plan.texts(range(plan.distinct)))


FRAME = pd.DataFrame({"title": ["Lamp", "Desk"], "body": ["Too bright.", "It creaks."], "stars": [2.5, 4.0]})


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["body"], "Too bright."),
        (["body", "What is wrong?"], "Too bright."),
        (["stars"], "2.5"),
        (["stars", "How many?"], "2.5"),
        (["body", "{title} ({stars:.1f}): {body}, {title}"], "Lamp\n2.5\nToo bright."),
        ([None, lambda row: f"Of {row['title']}"], "Of Lamp"),
        ([None, lambda row: [{"role": "system", "content": "x"}, {"role": "user", "content": row["title"]}]], "Lamp"),
    ],
)  # fmt: skip
def test_a_rows_text_is_its_cells_without_what_is_asked_of_them(arguments, first):
    """Also where rows are kept because a cell could change."""
    for frame in (FRAME, FRAME.astype(object)):
        plan = plan_of(frame, *arguments, system="About {title}" if arguments[0] == "body" else None)
        assert texts_of(plan)[0] == first
        assert len(texts_of(plan)) == 2


def test_the_text_of_message_arrays_is_the_users():
    assert texts_of(plan_of(pd.DataFrame({"chat": [TURNS, IMAGE]}), "chat")) == ["Hi", "What is this?"]


class Part(BaseModel):
    name: str
    broken: bool


def kind_of(schema):
    return TypedAnswers(read_schema(schema), quotes=True)


def test_a_quote_is_asked_for_before_each_field_and_stands_after_it():
    kind = kind_of({"n": int, "part": Part})
    assert [field.name for field in kind.root.fields] == ["n.quote", "n", "part.quote", "part"]
    assert kind.names == [
        "n", "n.quote", "n.found", "part.name", "part.broken", "part.quote", "part.found",
    ]  # fmt: skip
    follows = {kind.names[each]: [kind.names[of] for of in kind.companions[each]] for each in kind.companions}
    parts = ["part.name", "part.broken"]
    assert follows == {"n.quote": ["n"], "n.found": ["n"], "part.quote": parts, "part.found": parts}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"a": int, "a.quote": str}, r"quotes: the schema has a field of its own for the column 'a\.quote'"),
        ({"a": int, "a.found": bool}, r"'a\.found'; rename it, or leave quotes= out"),
    ],
)
def test_names_that_would_be_there_twice_are_refused(schema, said):
    with pytest.raises(ValueError, match=said):
        kind_of(schema)


def test_of_many_rows_each_quote_is_looked_for_in_its_own():
    """More rows than are searched at a time, and some of them stored twice."""
    kind, rows = kind_of(["a"]), 1300
    stored = kind.storage(rows, lambda numbers: (f"This is row {number}." for number in numbers))
    for number in [*range(rows), 5]:
        stored[number] = [None if number % 3 == 2 else f"ROW {number // 2 * 2}.", "x"]
    found = kind.rows(stored, np.arange(rows, dtype=np.int32), pd.RangeIndex(rows))["a.found"]
    assert found.isna().tolist() == [number % 3 == 2 for number in range(rows)]
    assert found.dropna().tolist() == [number % 2 == 0 for number in range(rows) if number % 3 != 2]


class Tree(BaseModel, extra="forbid"):
    name: str
    child: Tree | None


@pytest.mark.parametrize(
    "answer",
    [
        {"name.quote": " ", "name": "a", "child.quote": None, "child": None},
        {"name.quote": "", "name": "a", "child.quote": "x", "child": {"name": "b", "child": None}},
    ],
)
def test_a_users_class_does_not_see_the_quotes_and_a_blank_one_is_none(answer):
    """The class forbids further fields, and contains itself: only its own fields have quotes."""
    content = json.dumps(answer)
    verdict = kind_of(Tree).judge({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]})
    assert verdict.value == [None, "a", answer["child.quote"], answer["child"]]


def test_without_quotes_nothing_is_asked_of_them():
    arguments = {"model": "m", "base_url": "http://127.0.0.1:9", "api_key": "any"}
    call = extract_list(["a"], arguments, schema=["a"], prompt=None, quotes=False, examples=None, reask=1)
    (body,) = [request.body for request in call.run._plan.requests([0])]
    assert b"quote" not in body
