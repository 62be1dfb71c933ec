"""Templates: what is a field, what is literal text, and what is refused."""

from __future__ import annotations

import datetime as dt
import string
from decimal import Decimal

import orjson
import pandas as pd
import pytest
from columns.plans import contents
from hypothesis import given
from hypothesis import strategies as st

from llmframe._columns.templates import Field, Template, parse


def names(*columns):
    return {str(column): column for column in columns}


def fill(text, **row):
    return parse(text, names(*row)).fill(row)


ODD_NAMES = [
    "review",
    "the review",
    "review.text",
    "1st",
    "2024",
    "straße",
    "列",
    "a:b",
    "a:b:c",
    "x[0]",
    "[x]",
    "a{b",
    "a}b",
    "a{b}",
    "a{b}c",
    "don't",
    'say "so"',
    "review!r",
    " padded ",
    "tab\there",
    "line\nbreak",
    "self",
    "__class__",
    "0",
    "%",
    "💬",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_exact_column_name_is_a_field_whatever_it_is_made_of(name):
    template = parse(f"<{{{name}}}>", names(name, "other"))
    assert template == Template(("<", Field(name), ">"))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_takes_a_format_too(name):
    assert parse(f"{{{name}:.3}}", names(name)).fill({name: "abcdef"}) == "abc"


@pytest.mark.parametrize("label", [7, 2.5, ("a", "b"), True, dt.date(2024, 5, 1)])
def test_a_label_that_is_no_text_is_named_as_it_prints(label):
    assert parse(f"{{{label}}}", names(label)).fill({label: "cell"}) == "cell"


def test_of_a_number_and_its_digits_the_text_is_the_exact_name(llm):
    df = pd.DataFrame([["text", "number"]], columns=["1", 1])
    df.llm.complete(prompt="{1}")
    assert contents(llm) == ["text"]


def test_the_longest_name_before_the_last_colon_is_the_column():
    columns = names("a", "a:b")
    assert parse("{a:b}", columns).pieces == (Field("a:b"),)
    assert parse("{a:b:.2f}", columns).pieces == (Field("a:b", ".2f"),)
    assert parse("{a:.2f}", columns).pieces == (Field("a", ".2f"),)


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("{x:.2f}", 3.14159, "3.14"),
        ("{x:.2000}", "y" * 3000, "y" * 2000),
        ("{x:>6}", "ab", "    ab"),
        ("{x:*^6}", "ab", "**ab**"),
        ("{x:,}", 1234567, "1,234,567"),
        ("{x: .1f}", 2.0, " 2.0"),
        ("{x:+d}", 3, "+3"),
        ("{x:.1%}", 0.25, "25.0%"),
        ("{x:%Y-%m-%d}", pd.Timestamp("2024-05-01"), "2024-05-01"),
        ("{x:%H:%M}", pd.Timestamp("2024-05-01 13:07"), "13:07"),
        ("{x:}", 5, "5"),
        ("{x}", 5.0, "5.0"),
        ("{x}", Decimal("1.10"), "1.10"),
        ("{x}", ["a", "b"], "['a', 'b']"),
    ],
)
def test_formats_are_pythons_own(template, value, text):
    assert fill(template, x=value) == text


@pytest.mark.parametrize(
    ("template", "nearest"),
    [
        ("{nope}", "{note}"),
        ("{reveiw}", "{review}"),
        ("{nope:.2f}", "{note}"),
        ("{nope.x}", "{note}"),
        ("{nope[0]}", "{note}"),
        ("{nope!r}", "{note}"),
        ("{review.x}", "{review}"),
        ("{review[0]}", "{review}"),
        ("{review[0].x}", "{review}"),
        ("{review.strip()}", "{review}"),
        ("{review.__class__.__mro__}", "{review}"),
        ("{review!r}", "{review}"),
        ("{ review }", "{review}"),
        ("{review }", "{review}"),
    ],
)
def test_what_was_surely_meant_as_a_field_is_an_error_that_names_the_nearest_column(template, nearest):
    with pytest.raises(ValueError, match=r"^prompt: ") as error:
        parse(f"Text {template}", names("review", "note"))
    assert nearest in str(error.value)


def test_an_impossible_format_is_an_error_before_anything_is_sent():
    with pytest.raises(ValueError, match="is no format"):
        parse('{review: "x"}', names("review"))


@pytest.mark.parametrize(
    "text",
    [
        '{"label": "x"}',
        '{"a": {"b": 1}}',
        '{"a": {"b": {"c": [1, {"d": 2}]}}}',
        "{}",
        "{0}",
        "{ }",
        "{",
        "}",
        "{a b}",
        "{label: one of a, b}",
        "{ return x; }",
        "{e.g. this}",
        "{1,2,3}",
        "\\frac{1}{2}",
        "{\n  'a': 1\n}",
    ],
)
def test_anything_else_between_braces_is_literal_text(text):
    assert parse(text, names("review")).fill({}) == text


def test_a_field_stands_inside_literal_json():
    assert fill('{"label": {review}}', review="good") == '{"label": good}'
    assert fill('{"a": {"b": "{review}"}, "c": 1}', review="x") == '{"a": {"b": "x"}, "c": 1}'


def test_double_braces_are_braces():
    assert fill("{{review}} {{ }} {{{review}}}", review="x") == "{review} { } {x}"
    assert fill('{{"a": {review}}}', review="x") == '{"a": x}'


def test_braces_in_the_data_are_data(llm):
    df = pd.DataFrame({"a": ["{b} {{x}} {nope}"], "b": ["{a}"]})
    df.llm.complete(prompt="{a}|{b}")
    assert contents(llm) == ["{b} {{x}} {nope}|{a}"]


def test_nothing_in_a_template_is_evaluated():
    class Trap:
        def __getattr__(self, name):
            raise AssertionError("a template looked into a cell")

        def __str__(self):
            return "trap"

    with pytest.raises(ValueError, match="reaches into a cell"):
        parse("{x.secret}", names("x"))
    assert fill("{x}", x=Trap()) == "trap"


def test_a_field_is_filled_as_often_as_it_is_named_and_read_once(llm):
    pd.DataFrame({"x": ["a"]}).llm.complete(prompt="{x}{x} {x:>3}")
    assert contents(llm) == ["aa   a"]


_NAME = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="{}"), min_size=1, max_size=8
) | st.sampled_from([name for name in ODD_NAMES if "{" not in name and "}" not in name])


_LITERAL = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


@st.composite
def _templates(draw):
    """Draw a template as pieces, so that a naive reference can fill it."""
    columns = draw(st.lists(_NAME, min_size=1, max_size=4, unique=True))
    pieces = draw(st.lists(st.one_of(st.sampled_from(columns).map(Field), _LITERAL), max_size=8))
    row = {column: draw(st.text(max_size=20)) for column in columns}
    return columns, pieces, row


@given(_templates())
def test_rendering_equals_a_naive_reference(drawn):
    columns, pieces, row = drawn
    text = "".join(
        f"{{{piece.column}}}" if isinstance(piece, Field) else piece.replace("{", "{{").replace("}", "}}")
        for piece in pieces
    )
    expected = "".join(row[piece.column] if isinstance(piece, Field) else piece for piece in pieces)
    assert parse(text, names(*columns)).fill(row) == expected


@given(
    st.text(st.sampled_from("{}:.[]!()ab \"'1_x,%") | st.characters(), max_size=30),
    st.lists(st.text(string.ascii_letters + "{}:. []ab", max_size=4), max_size=3, unique=True),
)
def test_reading_a_template_never_raises_anything_but_a_value_error(text, columns):
    try:
        template = parse(text, names(*columns))
    except ValueError as error:
        assert str(error).startswith("prompt: ")  # noqa: PT017 (it need not raise)
    else:
        assert set(template.columns) <= set(columns)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8))
def test_json_objects_are_literal_however_they_nest(value):
    text = orjson.dumps({"a": {"b": repr(value).replace("{", "").replace("}", "")}}).decode()
    assert parse(text, names("review")).fill({}) == text
