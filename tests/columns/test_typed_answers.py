"""How a typed answer is read: strictly, with a closed list of loosenings, and nothing repaired or guessed."""

from __future__ import annotations

import dataclasses
import enum
import json
import pickle
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AwareDatetime,
    BaseModel,
    Field,
    SecretStr,
    StringConstraints,
    field_serializer,
    field_validator,
)
from typing_extensions import TypedDict

from llmframe._columns.schema import TypedAnswers, read_schema
from llmframe._columns.schema.fitting import MisfitError, fit
from llmframe._columns.schema.reading import NotJSONError, read_object


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        '  \n{"a": 1}\n ',
        '\ufeff{"a": 1}',
        '<think>{"a": 2} or so</think>\n{"a": 1}',
        '```json\n{"a": 1}\n```',
        'Here it is:\n```\n{"a": 1}\n```\nAnything else?',
        'Sure. {"a": 1} Best regards',
    ],
    ids=repr,
)
def test_what_stands_around_the_one_object_is_taken_off(text):
    assert read_object(text) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ('{"x": {"a": 1, "a": 1}}', "the key 'a' is there twice"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ('{"a": 12', "it is cut off"),
        ('{"a": "x', "it is cut off"),
        ('Sure: {"a": "x", "b": [1, 2', "it is cut off"),
        ('{"a": 1} and {"a": 2}', "there are 2 objects in it"),
        ("[1]", "not an object"),
        ("null", "not an object"),
        ("I cannot tell.", "it is no JSON"),
        ("{'a': 1}", "it is no JSON"),
        ('{"a": 1,}', "it is no JSON"),
        ("{" * 100_000, ""),
        ('{"a": ' * 100_000, "it is nested too deeply"),
        ("Sure: " + '{"a": ' * 100_000, "it is nested too deeply"),
        (f'{{"a": {"9" * 5_000}}}', "a number in it has too many digits"),
        ("```json\n" + "\n " * 50_000, ""),
        ("{ " * 200_000 + "x", "too many braces"),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_not_one_object_is_not_json(text, said):
    with pytest.raises(NotJSONError, match=f".*{said}"):
        read_object(text)


@given(st.text(max_size=60))
def test_no_text_breaks_the_reading(text):
    with suppress(NotJSONError):
        assert isinstance(read_object(text), dict)


ROOT = read_schema(
    {
        "n": int, "f": float, "b": bool, "d": date, "t": datetime, "q": AwareDatetime, "h": time, "x": Decimal,
        "c": Literal["hi", "lo"], "i": Literal[1, 2], "s": str, "l": list[int],
    }
).root  # fmt: skip
GOOD = {
    "n": 5, "f": 1.5, "b": True, "d": "2024-05-01", "t": "2024-05-01T10:00:00", "q": "2024-05-01T10:00:00+02:00", "h": "10:30",
    "x": "1.20", "c": "lo", "i": 2, "s": "t", "l": [1, 2],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("n", 5.0, 5),
        ("n", -(2**63), -(2**63)),
        ("f", 3, 3.0),
        ("f", 1.7e308, 1.7e308),
        ("d", "2024-05-01T00:00:00", date(2024, 5, 1)),
        ("t", "2024-05-01", datetime(2024, 5, 1)),  # noqa: DTZ001
        ("t", "2024-05-01 10:00", datetime(2024, 5, 1, 10)),  # noqa: DTZ001
        ("t", "2024-05-01T10:00:00.123456789", datetime(2024, 5, 1, 10, 0, 0, 123456)),  # noqa: DTZ001
        ("q", "2024-05-01T10:00:00z", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("h", "10:30:15", time(10, 30, 15)),
        ("x", 1.5, Decimal("1.5")),
        ("x", 3, Decimal(3)),
        ("x", "9" * 38, Decimal("9" * 38)),
        ("x", "1e-38", Decimal("1e-38")),
        ("i", 1.0, 1),
        ("s", "", ""),
        ("s", "a\ud800", "a\ufffd"),
        ("l", [], []),
    ],
)
def test_what_means_the_same_is_read_as_the_fields_type(name, given, read):
    found = fit({**GOOD, name: given}, ROOT)[name]
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize("name", GOOD)
def test_null_is_missing(name):
    assert fit({**GOOD, name: None}, ROOT)[name] is None


@pytest.mark.parametrize(
    ("name", "given", "as_sent"),
    [
        ("n", True, True),
        ("n", 5.5, True),
        ("n", "5", True),
        ("n", 2**63, False),
        ("f", "1", True),
        ("f", False, True),
        ("f", 10**400, True),
        ("b", 1, True),
        ("b", "true", True),
        ("d", "2024", False),
        ("d", "2024-02-30", False),
        ("d", "1 May 2024", False),
        ("d", "2024-05-01T10:00:00", False),
        ("d", 20240501, True),
        ("t", "2024", False),
        ("t", 1714557600, True),
        ("t", "2024-05-01T10:00:00Z", False),
        ("q", "2024-05-01T10:00:00", False),
        ("q", "2024-05-01", False),
        ("h", "10", False),
        ("q", "9999-12-31T23:59:59-05:00", False),
        ("q", "0001-01-01T00:00:00+14:00", False),
        ("x", "NaN", False),
        ("x", "1e9999", False),
        ("x", "1e-39", False),
        ("x", f"0.{'1' * 39}", False),
        ("x", "one", False),
        ("x", True, True),
        ("c", "LO", True),
        ("c", 1, True),
        ("i", True, True),
        ("i", 3, True),
        ("s", 5, True),
        ("s", "a\0b", True),
        ("l", 5, True),
        ("l", [1, "2"], True),
        ("l", [None], True),
    ],
)
def test_what_means_something_else_does_not_fit(name, given, as_sent):
    with pytest.raises(MisfitError) as caught:
        fit({**GOOD, name: given}, ROOT)
    assert caught.value.path.partition("[")[0] == name
    assert caught.value.as_sent == as_sent


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({key: value for key, value in GOOD.items() if key != "f"}, "f: it is not there"),
        ({**GOOD, "more": 1}, "there is no field 'more'"),
    ],
)
def test_fields_that_lack_and_fields_too_many_do_not_fit(answer, said):
    with pytest.raises(MisfitError, match=said):
        fit(answer, ROOT)


def body(content, reason="stop"):
    text = content if isinstance(content, str) else json.dumps(content)
    return {"choices": [{"message": {"content": text}, "finish_reason": reason}]}


def judged(schema, content, reason="stop"):
    return TypedAnswers(read_schema(schema)).judge(body(content, reason))


@pytest.mark.parametrize(("kind", "given"), [(Literal[1, 2], True), (Literal[True], 1), (Literal[1], "1")])
def test_a_value_of_another_type_is_no_label(kind, given):
    assert judged({"a": kind}, {"a": given}).problem == "schema"


class Rated(BaseModel):
    stars: int = Field(ge=1, le=5)
    word: str = "none"

    @field_validator("word")
    @classmethod
    def _lower(cls, word):
        if word == "boom":
            raise RuntimeError("boom")
        return word.lower()


def test_a_models_own_checks_count_and_what_it_makes_of_values_is_written():
    assert judged(Rated, {"stars": 5, "word": "GOOD"}).value == [5, "good"]
    assert judged(Rated, {"stars": 5, "word": None}).value == [5, "none"]
    six = judged(Rated, {"stars": 6, "word": "x"})
    assert (six.problem, six.detail) == (
        "schema",
        "the answer does not fit the schema: stars: it must be at most 5",
    )
    assert "RuntimeError" in judged(Rated, {"stars": 5, "word": "boom"}).detail
    assert judged({"r": Rated}, {"r": {"stars": 6, "word": "x"}}).detail.endswith(
        "r.stars: it must be at most 5"
    )


class Doubled(BaseModel):
    n: int

    def __init__(self, n):
        super().__init__(n=2 * n)


def test_what_a_models_own_init_makes_of_values_is_written():
    assert judged(Doubled, {"n": 5}).value == [10]


class Aliased(BaseModel, str_strip_whitespace=True):
    stars: int = Field(validation_alias="How many?")
    place: str = Field(serialization_alias="where", default="nowhere")
    kept: float = Field(exclude=True)
    either: int = Field(validation_alias=AliasChoices("e", "f"))
    day: date

    @field_serializer("day")
    def _written(self, day):
        return day.strftime("%d/%m/%Y")


def test_values_are_written_as_a_class_holds_them_whatever_it_calls_and_serializes_them():
    answer = {"How many?": 5, "place": " here ", "kept": 1.5, "e": 2, "day": "2026-01-31"}
    verdict = judged(Aliased, answer)
    assert verdict.value == [5, "here", 1.5, 2, date(2026, 1, 31)]
    assert judged(Aliased, {**answer, "place": None}).value[1] == "nowhere"


class Renamed(TypedDict):
    a: Annotated[str, Field(alias="the A"), StringConstraints(to_upper=True)]


@dataclasses.dataclass
class RenamedToo:
    inner: Renamed
    secret: Annotated[SecretStr, Field(alias="the secret")]


def test_aliases_hold_in_dataclasses_and_typed_dicts_too():
    verdict = judged({"x": RenamedToo}, {"x": {"inner": {"the A": "a"}, "the secret": "word"}})
    assert verdict.value == ["A", "word"]


class Colour(enum.Enum):
    RED = "red"


class Strict(BaseModel, strict=True):
    colour: Colour
    day: date
    numbers: set[int]
    price: Decimal = Decimal(1)


def test_a_strict_class_takes_what_it_would_take_of_json():
    answer = {"colour": "red", "day": "2026-01-31", "numbers": [2, 1], "price": None}
    assert judged(Strict, answer).value == ["red", date(2026, 1, 31), [1, 2], Decimal(1)]


class Cat(BaseModel):
    kind: Literal["cat"]
    name: str = "Tom"


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = "Rex"
    friends: list[Cat | Dog] = []


def test_null_is_the_default_also_in_alternatives_and_in_what_contains_itself():
    cat, dog = {"kind": "cat", "name": None}, {"kind": "dog", "name": None, "friends": None}
    found = judged({"pet": Cat | Dog}, {"pet": {**dog, "friends": [cat, {**dog, "friends": [cat]}]}}).value
    tom = {"kind": "cat", "name": "Tom"}
    rex = {"kind": "dog", "name": "Rex", "friends": [tom]}
    assert found == [{**rex, "friends": [tom, rex]}]


class Widened(BaseModel):
    n: int = 1
    f: float = 1.0
    u: UUID = UUID(int=0)

    @field_validator("n", "f")
    @classmethod
    def _larger(cls, value):
        return value * 10**30 if value == 10 else value * 1e305 if isinstance(value, float) else value


@pytest.mark.parametrize(("name", "value"), [("n", 10), ("f", 1e5)])
def test_what_a_class_makes_too_large_for_its_column_costs_its_row(name, value):
    verdict = judged(Widened, {"n": 1, "f": 1.0, "u": None, name: value})
    assert verdict.problem == "schema"
    assert f"{name}: its own check" in verdict.detail


def test_what_a_class_holds_in_a_type_of_its_own_is_written_as_text():
    assert judged(Widened, {"n": 1, "f": 1.0, "u": None}).value[2] == str(UUID(int=0))


BOUNDED = {
    "type": "object",
    "properties": {
        "n": {"type": ["integer", "null"], "minimum": 1, "exclusiveMaximum": 5},
        "f": {"type": "number", "multipleOf": 0.1, "exclusiveMinimum": 0, "maximum": 1},
        "s": {"type": "string", "pattern": "^a", "minLength": 2, "maxLength": 3},
        "l": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
        "e": {"type": "string", "format": "email"},
        "u": {"type": "string", "format": "uuid"},
    },
    "required": ["n", "f", "s", "l", "e", "u"],
}
WITHIN = {"n": 4, "f": 0.3, "s": "abc", "l": [0, 1], "e": "a@b.org", "u": str(UUID(int=5))}


def test_what_is_within_a_json_schemas_bounds_is_an_answer():
    assert judged(BOUNDED, WITHIN).value == list(WITHIN.values())
    assert judged(BOUNDED, {**WITHIN, "n": None}).value[0] is None


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("n", 0, "0 is not at least 1"),
        ("n", 5, "5 is not less than 5"),
        ("f", 0.25, "0.25 is not a multiple of 0.1"),
        ("f", 0, "0.0 is not more than 0"),
        ("f", 1.1, "1.1 is not at most 1"),
        ("s", "xyz", "'xyz' is not matching the pattern ^a"),
        ("s", "a", "'a' is not at least 2 characters"),
        ("s", "abcd", "'abcd' is not at most 3 characters"),
        ("l", [], r"[] is not at least 1 items"),
        ("l", [1, 2, 3], "[1, 2, 3] is not at most 2 items"),
        ("l", [-1], "-1 is not at least 0"),
        ("e", "nobody", "'nobody' is no email"),
        ("u", "5", "'5' is no uuid"),
    ],
)
def test_what_is_beyond_a_json_schemas_bounds_is_no_answer_but_fits_as_sent(name, value, said):
    verdict = judged(BOUNDED, {**WITHIN, name: value})
    assert (verdict.problem, verdict.fits_as_sent) == ("schema", True)
    assert verdict.detail.endswith(said)


class Link(BaseModel):
    next: Link | None


@dataclasses.dataclass
class Branch:
    twigs: list[Branch]


@pytest.mark.parametrize("levels", [40, 60, 150, 240, 480, 900, 5_000])
@pytest.mark.parametrize(
    ("kind", "opens", "last", "closes"), [(Link, '{"next":', "null", "}"), (Branch, '{"twigs":[', "", "]}")]
)
def test_what_is_nested_too_deeply_costs_its_row(kind, opens, last, closes, levels):
    verdict = judged({"a": kind}, f'{{"a":{opens * levels}{last}{closes * levels}}}')
    assert verdict.problem == (None if levels == 40 else verdict.problem)
    assert (verdict.value is None) == (levels > 40)


class Bent(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def _text(cls, n):
        return f"{n} stars"


def test_a_model_that_breaks_the_columns_type_costs_its_row():
    assert judged(Bent, {"n": 5}).detail.endswith("its own check made '5 stars' of it")


@pytest.mark.parametrize(
    ("content", "reason", "problem"),
    [
        ("no", "stop", "not_json"),
        ({"a": "x"}, "stop", "schema"),
        ('{"a": 1', "length", "truncated"),
        ({"a": "x"}, "length", "truncated"),
        ("", "length", "length"),
        ({"a": 1}, "content_filter", "content_filter"),
        ("", "stop", "empty"),
    ],
)
def test_each_way_to_be_no_answer_has_its_code(content, reason, problem):
    verdict = judged({"a": int}, content, reason)
    assert (verdict.value, verdict.problem) == (None, problem)
    assert (verdict.correction is not None) == (problem in {"not_json", "schema"})
    assert (verdict.raw is not None) == (problem in {"not_json", "schema", "truncated"})


def test_what_was_whole_before_the_limit_is_an_answer():
    """A model that goes on after the object, until the limit, has answered."""
    assert judged({"a": int}, '{"a": 1}\n\n\n', "length").value == [1]


@pytest.mark.parametrize(
    ("content", "fits"),
    [
        ("prose", False),
        ({"d": "soon"}, False),
        ({"d": "soon", "n": "5"}, False),
        ({"d": "soon", "n": 5}, True),
        ({"d": "soon", "n": 10**30}, True),
        ({"d": "2026-01-01", "n": 7}, True),
    ],
    ids=repr,
)
def test_a_misfit_tells_whether_the_schema_as_sent_excludes_it(content, fits):
    """What it excludes is said first."""
    verdict = judged({"d": date, "n": (int, "how many")}, content)
    assert (verdict.value is not None or verdict.fits_as_sent) == fits


class Parcel(BaseModel):
    sent: date


class Letter(BaseModel):
    sent: date
    pages: int


@pytest.mark.parametrize(
    ("content", "fits"),
    [
        ({"it": {"sent": "soon"}}, True),
        ({"it": {"sent": "soon", "pages": 2}}, True),
        ({"it": {"sent": "soon", "pages": "two"}}, False),
    ],
    ids=repr,
)
def test_so_does_a_misfit_in_every_alternative(content, fits):
    verdict = judged({"it": Parcel | Letter}, content)
    assert verdict.problem == "schema"
    assert verdict.fits_as_sent is fits


@pytest.mark.parametrize(
    ("content", "reason"), [('{"a": ', "length"), ("", "stop"), ("{}", "content_filter")]
)
def test_an_answer_that_was_cut_off_or_held_back_does_not_tell(content, reason):
    verdict = judged({"a": int}, content, reason)
    assert (verdict.value, verdict.fits_as_sent) == (None, None)


class Part(BaseModel):
    name: str | None
    size: float | None


COLUMNS = {
    "n": int, "f": float, "b": bool, "d": date, "t": datetime, "q": AwareDatetime, "h": time, "x": Decimal,
    "c": Literal["hi", "lo"], "i": Literal[1, 2], "yes": Literal[True, False], "s": str, "l": list[int], "part": Part,
}  # fmt: skip
DTYPES = {
    "n": "Int64", "f": "float64", "b": "boolean", "d": "datetime64[us]", "t": "datetime64[us]",
    "q": "datetime64[us, UTC]", "h": "object", "x": "object", "c": "category", "i": "Int64", "yes": "boolean", "s": "str", "l": "object",
    "part.name": "str", "part.size": "float64",
}  # fmt: skip
ANSWER = {**GOOD, "yes": False, "part": {"name": "hinge", "size": None}}


def frame_of(answers, codes):
    kind = TypedAnswers(read_schema(COLUMNS))
    stored = kind.storage(len(answers), iter)
    for number, answer in enumerate(answers):
        if answer is not None:
            verdict = kind.judge(body(answer))
            assert verdict.problem is None, verdict.detail
            stored[number] = verdict.value
    return kind.rows(stored, np.asarray(codes, dtype=np.int32), pd.RangeIndex(len(codes)))


@pytest.mark.parametrize(
    ("answers", "codes"),
    [
        ([], []),
        ([], [-1, -2]),
        ([None], [0]),
        ([ANSWER], [0, -1, 0]),
        ([dict.fromkeys(GOOD | {"yes": 0, "part": 0})], [0]),
    ],
    ids=["no row", "no request", "no answer", "an answer", "all null"],
)
def test_dtypes_are_the_schemas_whatever_was_answered(answers, codes, tmp_path):
    """Also after Parquet and pickle."""
    frame = frame_of(answers, codes)
    assert frame.dtypes.astype(str).to_dict() == DTYPES
    assert frame["c"].cat.categories.tolist() == ["hi", "lo"]
    assert pickle.loads(pickle.dumps(frame)).dtypes.equals(frame.dtypes)
    if answers == [ANSWER]:
        frame.to_parquet(tmp_path / "typed.parquet")
        again = pd.read_parquet(tmp_path / "typed.parquet")
        assert again.dtypes.astype(str).to_dict() == DTYPES


def test_texts_are_written_as_they_were_answered_in_every_part_of_a_column():
    texts = ["", "müde", "😀", "a\u00ffb", None, "\udcff", *map(str, range(70_000))]
    kind = TypedAnswers(read_schema(["s"]))
    stored = kind.storage(len(texts), None)
    for number in reversed(range(len(texts))):
        stored[number] = kind.judge(body({"s": texts[number]})).value
    (column,) = kind.columns(stored, np.arange(len(texts), dtype=np.int32), pd.RangeIndex(len(texts)), ["s"])
    texts[texts.index("\udcff")] = "\ufffd"
    assert column.equals(pd.Series(texts, name="s", dtype=column.dtype))


def test_each_row_gets_its_own_values():
    other = {**ANSWER, "n": 7, "s": "other", "c": "hi", "part": None}
    frame = frame_of([ANSWER, other], [1, -1, 0, 1])
    assert frame["n"].tolist() == [7, pd.NA, 5, 7]
    assert frame["part.name"].isna().tolist() == [True, True, False, True]
    assert frame["q"].tolist()[2] == pd.Timestamp("2024-05-01T08:00:00Z")
    assert frame["x"].tolist()[2] == Decimal("1.20")
    assert frame["c"].tolist() == ["hi", np.nan, "lo", "hi"] or frame["c"].isna().tolist() == [
        False,
        True,
        False,
        False,
    ]
