"""The quick reading of an answer says what the exact one says, or leaves it to that."""

from __future__ import annotations

import json
from datetime import date, datetime, time
from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel

from llmframe._columns.schema import read_schema
from llmframe._columns.schema.fitting import MisfitError, fit
from llmframe._columns.schema.quick_reading import quick_reader
from llmframe._columns.schema.reading import NotJSONError, read_object


class Part(BaseModel):
    name: str
    size: int | None
    parts: list[Part]


ROOT = read_schema(
    {
        "n": int, "f": float, "b": bool, "d": date, "t": datetime, "q": AwareDatetime, "h": time, "x": Decimal,
        "c": Literal["hi", 'lo"w'], "i": Literal[1, 0], "yes": Literal[True], "s": str, "l": list[int], "p": Part,
    }
).root  # fmt: skip
QUICK = quick_reader(ROOT)
WRITTEN = {
    "n": ["5", "-0", "9223372036854775807", "null"],
    "f": ["1.5", "3", "-0.0", "1e308", "1.7e308", "9007199254740993", "null"],
    "b": ["true", "false", "null"],
    "d": ['"2024-05-01"', '"0001-01-01"', '"9999-12-31"', "null"],
    "t": ['"2024-05-01T10:00:00"', '"2024-05-01"', '"2024-05-01 10:00"', "null"],
    "q": ['"2024-05-01T10:00:00+02:00"', '"2024-05-01T10:00:00z"', "null"],
    "h": ['"10:30"', '"10:30:15.5"', "null"],
    "x": ["1.20", "3", "12345678901234567890123", "null"],
    "c": ['"hi"', '"lo\\"w"', '"\\u0068i"', "null"],
    "i": ["1", "0", "null"],
    "yes": ["true", "null"],
    "s": ['""', '"t"', '"a: \\"b\\""', '"\\n"', '"müde"', '"m\\u00fcde"', '"\\ud83d\\ude00"', "null"],
    "l": ["[]", "[1, 2]", "null"],
    "p": [
        '{"name": "x", "size": null, "parts": []}',
        '{"name": "x", "size": 1, "parts": [{"name": "}", "size": 2, "parts": []}]}',
        "null",
    ],
}
"""Values as the fields take them without any loosening, as JSON texts."""

HOSTILE = [
    "5.0", "1.0", "true", "1", "01", "1.", "NaN", "-Infinity", "1e999", "9223372036854775808", "18446744073709551616", "9" * 310,
    "9" * 5_000, "0.1e-400", "2e308",
    '"2024"', '" 2024-05-01"', '"2024-05-01\\n"', '"0000-01-01"', '"2024-02-30"', '"٢٠٢٤-05-01"', '"2024-05-01T00:00:00"',
    '"24:00"', '"2024-05-01T24:00:00"', '"2024-12-31T23:59:60"', '"1714521600"', '"1"', '"true"', '"NaN"', '"1.20"', '"HI"',
    '"\\u0000"', '"\\\\u0000"', '"\\u0022"', '"\\\\"', '"\\\\\\""', '"\\u005c"', '"\\ud800"', '"\ud800"', '"\x01"', '"\x7f"', '"\\x"', '"',
    "[1.0]", "[true]", "[null]", "[" * 300 + "]" * 300, "{}", '{"a": 1}', '{"a": 1, "a": "x"}',
    '{"name": "x", "size": 1, "size": 1, "parts": []}', '{"name": "x", "parts": []}',
    '{"name": "x", "size": true, "parts": [{"name": null, "size": 2, "parts": []}]}',
]  # fmt: skip
BLANK = st.sampled_from([*[""] * 6, " ", "\n\t", "\u00a0"])
ANY_VALUE = (
    st.sampled_from([*HOSTILE, *(value for values in WRITTEN.values() for value in values)])
    | st.text(max_size=5).map(json.dumps)
    | st.text(max_size=5).map(lambda text: json.dumps(text, ensure_ascii=False))
    | st.floats().map(json.dumps)
    | st.integers().map(str)
)
KEY = st.sampled_from([*map(json.dumps, WRITTEN), '"\\u006e"', '"\\u0073"', '"more"', '"\\""', '"\\u0022"'])
AROUND = st.sampled_from(
    [*["%s"] * 20, "\ufeff%s", "```json\n%s\n```", "So: %s", "<think>{}</think>%s", "%s}", "%s{}"]
)


@st.composite
def answers(draw):
    """Write an object of the schema, with up to two members replaced, left out or added, and perhaps damaged."""
    members = [(json.dumps(name), draw(st.sampled_from(values))) for name, values in WRITTEN.items()]
    for change in draw(
        st.lists(st.sampled_from(["replace", "leave out", "add", "repeat", "shuffle"]), max_size=2)
    ):
        at = draw(st.integers(0, len(members) - 1))
        if change == "replace":
            members[at] = (members[at][0], draw(ANY_VALUE))
        elif change == "leave out":
            del members[at]
        elif change == "add":
            members.insert(at, (draw(KEY), draw(ANY_VALUE)))
        elif change == "repeat":
            members.append(members[at])
        else:
            members = draw(st.permutations(members))
    space = draw(BLANK)
    text = draw(AROUND) % f"{{{f',{space}'.join(f'{key}{space}:{space}{value}' for key, value in members)}}}"
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


def agree(text):
    """Hold that what is read quickly is what the exact reading gives: values, types and order; the rest is left to it."""
    quick = QUICK(text)
    try:
        exact = fit(read_object(text), ROOT)
    except (NotJSONError, MisfitError):
        exact = None
    assert quick is None or repr(quick) == repr(exact), text


@given(answers())
def test_what_is_read_quickly_is_what_the_exact_reading_gives(text):
    agree(text)


@pytest.mark.parametrize("name", WRITTEN)
def test_so_it_is_for_every_value_in_every_field_in_place_of_its_own_and_beside_it(name):
    members = [f'"{each}": {values[0]}' for each, values in WRITTEN.items()]
    own = members.pop(list(WRITTEN).index(name))
    for value in {*HOSTILE, *(value for values in WRITTEN.values() for value in values)}:
        other = f'"{name}": {value}'
        agree(f"{{{', '.join([other, *members])}}}")
        agree(f"{{{', '.join([other, own, *members])}}}")
        agree(f"{{{', '.join([own, *members, other])}}}")


def test_escaped_backslashes_do_not_hide_a_key_that_is_there_twice():
    """A quotation mark after one is not escaped."""
    values = {name: values[0] for name, values in WRITTEN.items()}
    values |= {"s": '"\\\\"', "p": '{"name": "\\\\", "size": 1, "parts": []}'}
    text = ", ".join(f'"{name}": {value}' for name, value in values.items())
    agree(f"{{{text}}}")
    agree(f'{{"n": 4, {text}}}')


@pytest.mark.parametrize("position", range(8))
def test_what_fits_without_a_loosening_is_read_quickly(position):
    values = {name: written[position % len(written)] for name, written in WRITTEN.items()}
    text = ", ".join(f'"{name}": {value}' for name, value in values.items())
    assert QUICK(f"{{{text}}}\n") == fit(read_object(f"{{{text}}}"), ROOT)


class Counted(BaseModel):
    many: int


class Weighed(BaseModel):
    many: float


def test_which_of_several_records_an_answer_is_the_exact_reading_decides():
    """`5.0` fits the first by a loosening, and the second without."""
    root = read_schema({"a": Counted | Weighed}).root
    text = '{"a": {"many": 5.0}}'
    assert quick_reader(root)(text) is None
    assert repr(fit(read_object(text), root)) == "{'a': {'many': 5}}"
