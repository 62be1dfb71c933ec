"""Rows filled in by hand are asked and answered before every row, in both lanes, as the row itself is asked."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from pydantic import AwareDatetime, BaseModel, field_validator

import llmframe

DONE = {"tone": Literal["angry", "calm"], "hours": float}


@pytest.fixture
def asked(llm):
    """Give the messages of every request, without the task."""
    seen = []

    def answer(body):
        assert body["messages"][0]["role"] == "system"
        seen.append([(message["role"], message["content"]) for message in body["messages"][1:]])
        names = body["response_format"]["json_schema"]["schema"]["properties"]
        return json.dumps(dict.fromkeys(names))

    llm.answer = answer
    return seen


def frame(rows=2):
    return pd.DataFrame({"review": [f"Review {number}" for number in range(rows)]})


def digest(text):
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


HAND = pd.DataFrame({"review": ["It broke!", "Fine."], "tone": ["angry", None], "hours": [np.nan, 5]})
PAIRS = [
    ("user", "It broke!"),
    ("assistant", '{"tone":"angry","hours":null}'),
    ("user", "Fine."),
    ("assistant", '{"tone":null,"hours":5.0}'),
]


@pytest.mark.parametrize(
    "given", [HAND, HAND.to_dict("records"), HAND.set_index(pd.Index([4, 4])).assign(more=1)]
)
def test_each_row_is_asked_after_the_same_pairs(lane, asked, given):
    df = frame()
    df.llm.extract("review", DONE, examples=given)
    assert sorted(asked) == [[*PAIRS, ("user", "Review 0")], [*PAIRS, ("user", "Review 1")]]
    again = frame()
    again.llm.extract("review", DONE, examples=given)
    assert len(asked) == 2


def test_digests_of_their_texts_are_remembered_and_no_text_is(asked):
    df = frame()
    df.llm.extract("review", DONE, "How?", examples=HAND, prefix=None)
    records = df.attrs["llmframe_calls"]
    assert [call["examples"] for call in records.values()] == [[digest("It broke!"), digest("Fine.")]]
    assert "It broke" not in json.dumps(records)
    plain = frame()
    plain.llm.extract("review", DONE)
    assert "examples" not in plain.attrs["llmframe"]["tone"]


def test_other_examples_are_other_requests(asked):
    frame().llm.extract("review", DONE, examples=HAND)
    frame().llm.extract("review", DONE, examples=HAND.head(1))
    frame().llm.extract("review", DONE)
    assert len(asked) == 6


@pytest.mark.parametrize(
    ("prompt", "text", "texts"),
    [
        ("How?", "How?\n\nIt broke!", "It broke!"),
        ("{stars:.1f} for {review}", "2.0 for It broke!", "2.0\nIt broke!"),
        (lambda row: f"{row['stars']}: {row['review']}", "2: It broke!", "2: It broke!"),
    ],
)
def test_an_example_is_asked_as_a_row_is_but_for_the_system_message(asked, prompt, text, texts):
    df = frame(1).assign(stars=3, product="lamp", seen=True)
    example = {"review": "It broke!", "stars": 2, "hand_tone": "angry", "hand_hours": 1}
    df.llm.extract("review", DONE, prompt, prefix="hand_", system="About a {product}.", examples=[example])
    assert asked[0][:2] == [("user", text), ("assistant", '{"tone":"angry","hours":1.0}')]
    assert [call["examples"] for call in df.attrs["llmframe_calls"].values()] == [[digest(texts)]]


@pytest.mark.parametrize(("name", "column"), [("review", "review"), (None, "text"), (3, "3")])
def test_of_a_series_the_texts_have_its_name(asked, name, column):
    pd.Series(["a"], name=name).llm.extract(["n"], "Go: {}", examples=[{column: "b", "n": "c"}])
    assert asked == [[("user", "Go: b"), ("assistant", '{"n":"c"}'), ("user", "Go: a")]]


def test_of_a_list_they_are_called_text(asked):
    llmframe.extract(["a"], ["n"], "Go!", examples=[{"text": "b", "n": "c"}])
    assert asked == [[("user", "Go!\n\nb"), ("assistant", '{"n":"c"}'), ("user", "Go!\n\na")]]
    with pytest.raises(ValueError, match="examples: there is no column 'text'"):
        llmframe.extract(["a"], ["n"], examples=[{"review": "b", "n": "c"}])


class Tone(Enum):
    ANGRY = "angry"
    CALM = "calm"


class Part(BaseModel):
    name: str
    price: Decimal | None


TYPES = {
    "n": int, "f": float, "b": bool, "d": date, "t": datetime, "q": AwareDatetime, "h": time, "x": Decimal, "c": Tone,
    "i": Literal[1, 2], "l": list[int], "p": list[Part], "part": Part,
}  # fmt: skip
FILLED = {
    "n": [5, None], "f": [1, None], "b": [True, None], "d": [pd.Timestamp(2024, 5, 1), "2024-05-02"],
    "t": [pd.Timestamp(2024, 5, 1, 10), date(2024, 5, 1)], "q": [datetime(2024, 5, 1, tzinfo=UTC), pd.NaT],
    "h": [time(10, 30), None], "x": [Decimal("1E+2"), 1.5], "c": [Tone.CALM, "angry"], "i": [np.int64(2), None],
    "l": [np.array([1, 2]), [None] * 0], "p": [[{"name": "hinge", "price": None}], None],
}  # fmt: skip
WRITTEN = [
    {
        "n": 5, "f": 1.0, "b": True, "d": "2024-05-01", "t": "2024-05-01T10:00:00", "q": "2024-05-01T00:00:00+00:00",
        "h": "10:30:00", "x": "100", "c": "calm", "i": 2, "l": [1, 2], "p": [{"name": "hinge", "price": None}],
        "part": {"name": "arm", "price": "2.50"},
    },
    {
        "n": None, "f": None, "b": None, "d": "2024-05-02", "t": "2024-05-01T00:00:00", "q": None, "h": None, "x": "1.5",
        "c": "angry", "i": None, "l": [], "p": None, "part": None,
    },
]  # fmt: skip


@pytest.mark.parametrize(
    "part",
    [
        {"part": [{"name": "arm", "price": Decimal("2.50")}, None]},
        {"part.name": ["arm", None], "part.price": [Decimal("2.50"), None]},
    ],
    ids=["dicts", "columns"],
)
def test_values_are_written_as_the_schema_has_them(asked, part):
    frame(1).llm.extract("review", TYPES, examples=pd.DataFrame({"review": ["a", "b"], **FILLED, **part}))
    answers = [json.loads(content) for role, content in asked[0] if role == "assistant"]
    assert answers == WRITTEN
    assert list(answers[0]) == list(TYPES)


def test_what_a_call_wrote_may_be_its_examples(llm, tmp_path):
    """Also read from Parquet, where lists are arrays (and times lose their offset)."""
    df, types = frame(20), {name: kind for name, kind in TYPES.items() if name != "h"}
    df.llm.extract("review", types)
    frame(1).llm.extract("review", types, examples=df)
    pairs = llmframe.last_run()._plan.context.examples
    assert len(pairs) == 20
    df.to_parquet(tmp_path / "filled.parquet")
    frame(1).llm.extract("review", types, examples=pd.read_parquet(tmp_path / "filled.parquet"))
    assert llmframe.last_run()._plan.context.examples == pairs


def test_a_quote_is_null_unless_its_column_is_there(asked):
    df, hand = frame(1), pd.DataFrame({"review": ["It broke!"], "n": ["x"], "m": ["y"], "m.quote": ["broke"]})
    df.llm.extract("review", ["n", "m"], quotes=True, examples=hand)
    assert asked[0][1] == ("assistant", '{"n.quote":null,"n":"x","m.quote":"broke","m":"y"}')


class Careful(BaseModel):
    stars: int

    @field_validator("stars")
    @classmethod
    def _few(cls, stars):
        if stars > 5:
            raise ValueError("it must be at most 5")
        return stars


HIM = {"review": "Fine.", "tone": "calm", "hours": 1.5}


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        ([{**HIM, "tone": "furious"}], r"examples: row 0: tone: 'furious' is none of the values"),
        ([HIM, {**HIM, "hours": "5"}], r"examples: row 1: hours: '5' is no number"),
        ([{**HIM, "hours": True}], r"examples: row 0: hours: True is no number"),
        ([{"review": "Fine.", "tone": "calm"}], r"examples: there is no column 'hours'; they need"),
        ([{"tone": "calm", "hours": 1}], r"examples: there is no column 'review'"),
        ([HIM, {**HIM, "review": " "}], r"examples: row 1: 'review' is missing or blank"),
        ([{**HIM, "review": None}], r"examples: row 0: 'review' is missing or blank"),
        ([{**HIM, "review": b"x"}], r"examples: row 0: the cell holds bytes"),
        ([{**HIM, "review": [{"role": "user", "content": "x"}]}], r"row 0: 'review' holds a message array"),
        ([], r"examples: there are no rows"),
        (HAND.head(0), r"examples: there are no rows"),
        ("Fine.", r"examples must be a DataFrame, or a list of dicts, .* got a str"),
        ([("Fine.", "calm")], r"examples must be a DataFrame, or a list of dicts"),
        (
            pd.concat([HAND, HAND[["tone"]]], axis="columns"),
            r"examples: there are several columns named 'tone'",
        ),
        (HAND.set_axis(["p", "q"]).assign(tone="x"), r"examples: label 'p': tone: 'x' is none"),
    ],
    ids=str,
)
def test_what_cannot_be_an_example_is_refused_before_anything_is_sent(llm, examples, said):
    with pytest.raises((TypeError, ValueError), match=said):
        frame().llm.extract("review", DONE, examples=examples)
    assert llm.ledger.requests == 0


@pytest.mark.parametrize(
    ("schema", "row", "said"),
    [
        (Careful, {"stars": 6}, "row 0: x_stars: it must be at most 5"),
        (Careful, {"stars": None}, "row 0: x_stars: it is null"),
        ({"a": str}, {"a": date(2024, 5, 1)}, "row 0: x_a: .* is no text"),
        ({"d": date}, {"d": "1 May"}, "row 0: x_d: '1 May' is no date"),
        ({"part": Part}, {"part": {"name": 5, "price": None}}, r"row 0: x_part\.name: 5 is no text"),
        ({"part": Part}, {"part.name": "arm"}, r"there is no column 'x_part\.price'"),
    ],
)  # fmt: skip
def test_so_is_a_value_that_its_field_does_not_take(llm, schema, row, said):
    example = {"review": "a"} | {f"x_{name}": value for name, value in row.items()}
    with pytest.raises(ValueError, match=f"examples: {said}"):
        frame().llm.extract("review", schema, prefix="x_", examples=[example])
    assert llm.ledger.requests == 0


def test_a_function_that_makes_messages_of_an_example_is_refused(llm):
    with pytest.raises(ValueError, match="examples: row 0: its prompt is a message array"):
        frame().llm.extract("review", DONE, lambda _: [{"role": "user", "content": "x"}] * 2, examples=[HIM])
