"""Templates, instructions and functions of a row: what a prompt becomes, and what is refused."""

from __future__ import annotations

import datetime as dt
import random
import string
from decimal import Decimal

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import llmframe
from llmframe._columns.prompts import PromptSpec, render
from llmframe._columns.templates import Field, Template, parse
from llmframe.testing import made_up_answer


def names(*columns):
    return {str(column): column for column in columns}


def fill(text, **row):
    return parse(text, names(*row)).fill(row)


def asked(server):
    """The last message's content of every request, in the order of arrival."""
    return [body["messages"][-1]["content"] for body in server.ledger.bodies]


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
    """An exact column name is a field whatever it is made of."""
    template = parse(f"<{{{name}}}>", names(name, "other"))
    assert template == Template(("<", Field(name), ">"))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_takes_a_format_too(name):
    """An odd name takes a format too."""
    assert parse(f"{{{name}:.3}}", names(name)).fill({name: "abcdef"}) == "abc"


@pytest.mark.parametrize("label", [7, 2.5, ("a", "b"), True, dt.date(2024, 5, 1)])
def test_a_label_that_is_no_text_is_named_as_it_prints(label):
    """A label that is no text is named as it prints."""
    assert parse(f"{{{label}}}", names(label)).fill({label: "cell"}) == "cell"


def test_of_a_number_and_its_digits_the_text_is_the_exact_name(llm):
    """Of a number and its digits the text is the exact name."""
    df = pd.DataFrame([["text", "number"]], columns=["1", 1])
    df.llm.complete(prompt="{1}")
    assert asked(llm) == ["text"]


def test_the_longest_name_before_the_last_colon_is_the_column():
    """The longest name before the last colon is the column."""
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
    """Formats are Python's own."""
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
    """What was surely meant as a field is an error that names the nearest column."""
    with pytest.raises(ValueError, match=r"^prompt: ") as error:
        parse(f"Text {template}", names("review", "note"))
    assert nearest in str(error.value)


def test_an_impossible_format_is_an_error_before_anything_is_sent():
    """An impossible format is an error before anything is sent."""
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
    """Anything else between braces is literal text."""
    assert parse(text, names("review")).fill({}) == text


def test_a_field_stands_inside_literal_json():
    """A field stands inside literal JSON."""
    assert fill('{"label": {review}}', review="good") == '{"label": good}'
    assert fill('{"a": {"b": "{review}"}, "c": 1}', review="x") == '{"a": {"b": "x"}, "c": 1}'


def test_double_braces_are_braces():
    """Double braces are braces."""
    assert fill("{{review}} {{ }} {{{review}}}", review="x") == "{review} { } {x}"
    assert fill('{{"a": {review}}}', review="x") == '{"a": x}'


def test_braces_in_the_data_are_data(llm):
    """Braces in the data are data."""
    df = pd.DataFrame({"a": ["{b} {{x}} {nope}"], "b": ["{a}"]})
    df.llm.complete(prompt="{a}|{b}")
    assert asked(llm) == ["{b} {{x}} {nope}|{a}"]


def test_nothing_in_a_template_is_evaluated():
    """Nothing in a template is evaluated."""

    class Trap:
        def __getattr__(self, name):
            raise AssertionError("a template looked into a cell")

        def __str__(self):
            return "trap"

    with pytest.raises(ValueError, match="reaches into a cell"):
        parse("{x.secret}", names("x"))
    assert fill("{x}", x=Trap()) == "trap"


def test_a_field_is_filled_as_often_as_it_is_named_and_read_once(llm):
    """A field is filled as often as it is named and read once."""
    pd.DataFrame({"x": ["a"]}).llm.complete(prompt="{x}{x} {x:>3}")
    assert asked(llm) == ["aa   a"]


def test_an_instruction_comes_first_then_a_blank_line_then_the_cell(llm):
    """An instruction comes first, then a blank line, then the cell."""
    pd.DataFrame({"review": ["Fine."]}).llm.complete("review", 'Answer as {"label": "x"}. {{ok}}')
    assert asked(llm) == ['Answer as {"label": "x"}. {ok}\n\nFine.']


def test_without_a_prompt_the_cell_is_the_prompt(llm):
    """Without a prompt the cell is the prompt."""
    df = pd.DataFrame({"n": [3]})
    df.llm.complete("n")
    df.llm.complete("n", "")
    assert asked(llm) == ["3"]


def test_on_a_series_the_field_is_its_name_or_empty_braces(llm):
    """On a series the field is its name or empty braces."""
    llmframe.options.max_concurrency = 1
    cells = pd.Series(["x"], name="the text")
    cells.llm.complete("1 {the text}")
    cells.llm.complete("2 {}")
    cells.llm.complete("3 {:>3}")
    cells.rename(None).llm.complete("4 {}")
    assert asked(llm) == ["1 x", "2 x", "3   x", "4 x"]


def test_on_an_unnamed_series_only_empty_braces_are_a_field(llm):
    """On an unnamed series only empty braces are a field."""
    with pytest.raises(ValueError, match=r"nearest column is {}"):
        pd.Series(["x"]).llm.complete("{text}")


def test_an_empty_field_on_a_frame_is_literal(llm):
    """An empty field on a frame is literal."""
    pd.DataFrame({"a": ["x"]}).llm.complete("a", "Fill in {}")
    assert asked(llm) == ["Fill in {}\n\nx"]


def test_a_column_and_a_template_that_does_not_name_it_go_together(llm):
    """A column and a template that does not name it go together."""
    df = pd.DataFrame({"a": ["x", None], "b": ["y", "z"]}).llm.complete("a", "Only {b}")
    assert asked(llm) == ["Only y"]
    assert df["a_completion"].isna().tolist() == [False, True]


def test_system_is_text_or_a_template(llm):
    """`system` is text or a template."""
    llmframe.options.max_concurrency = 1
    df = pd.DataFrame({"a": ["x"], "language": ["French"]})
    df.llm.complete("a", system="Answer in {language}.", into="one")
    df.llm.complete("a", system='As {"label": "x"}.', into="two")
    assert [body["messages"] for body in llm.ledger.bodies] == [
        [{"role": "system", "content": "Answer in French."}, {"role": "user", "content": "x"}],
        [{"role": "system", "content": 'As {"label": "x"}.'}, {"role": "user", "content": "x"}],
    ]


def test_a_field_of_system_that_is_no_column_is_an_error_about_system():
    """A field of system that is no column is an error about `system`."""
    with pytest.raises(ValueError, match=r"^system: \{nope\} is no column"):
        pd.DataFrame({"a": ["x"]}).llm.complete("a", system="{nope}", model="m", mode="offline")


def test_a_missing_cell_that_system_names_is_not_sent(llm):
    """A missing cell that `system` names is not sent."""
    df = pd.DataFrame({"a": ["x", "y"], "language": ["French", None]})
    df.llm.complete("a", system="In {language}.")
    assert llm.ledger.requests == 1
    assert llmframe.last_run().skipped == {"language": 1}


@pytest.mark.parametrize("role", ["system", "developer"])
def test_system_over_arrays_that_have_one_is_an_error(llm, role):
    """`system` over arrays that have one is an error."""
    messages = [{"role": role, "content": "Be brief."}, {"role": "user", "content": "x"}]
    with pytest.raises(ValueError, match=r"^system: a message array already has a system message"):
        pd.DataFrame({"m": [messages]}).llm.complete("m", system="Be long.")
    assert llm.ledger.requests == 0


def test_system_goes_before_arrays_that_have_none(llm):
    """`system` goes before arrays that have none."""
    pd.DataFrame({"m": [[{"role": "user", "content": "x"}]]}).llm.complete("m", system="Be brief.")
    assert [message["role"] for message in llm.ledger.bodies[0]["messages"]] == ["system", "user"]


@pytest.mark.parametrize("prompt", ["An instruction.", "A field: {m}"])
def test_message_arrays_cannot_be_put_into_text(llm, prompt):
    """Message arrays cannot be put into text."""
    df = pd.DataFrame({"m": [[{"role": "user", "content": "x"}]]})
    with pytest.raises(ValueError, match=r"^prompt: column 'm' holds message arrays"):
        df.llm.complete("m", prompt)
    assert llm.ledger.requests == 0


def test_a_function_gets_a_read_only_row_and_gives_text_messages_or_nothing(llm):
    """A function gets a read-only row and gives text, messages or nothing."""
    df = pd.DataFrame({"a": ["text", "messages", "nothing", None], "n": [1, 2, 3, 4]})

    def ask(row):
        with pytest.raises(TypeError):
            row["a"] = "changed"
        assert list(row) == ["a", "n"]
        if row["a"] == "nothing":
            return None
        if row["a"] == "messages":
            return [{"role": "user", "content": "as messages"}]
        return f"{row['a']} {row['n']}"

    df.llm.complete(prompt=ask, into="answer")
    assert sorted(asked(llm)) == ["as messages", "nan 4", "text 1"]
    assert df["answer"].isna().tolist() == [False, False, True, False]
    assert llmframe.last_run().skipped == {"prompt": 1}


@pytest.mark.parametrize("nothing", [None, float("nan"), pd.NA, pd.NaT, "", " \n"])
def test_a_function_that_returns_nothing_means_a_row_that_is_not_sent(nothing, llm):
    """A function that returns nothing means a row that is not sent."""
    df = pd.DataFrame({"a": ["x"]}).llm.complete("a", lambda _: nothing)
    assert llm.ledger.requests == 0
    assert llmframe.last_run().skipped == {"prompt": 1}
    assert df["a_completion"].isna().all()


def test_a_function_may_read_a_frame_of_anything(llm):
    """A function may read a frame of anything."""
    cells = [[1], {"k": [2]}, np.array([1, 2]), float("nan"), b"x", {"role": "user"}, "\ud800"]
    df = pd.DataFrame({"any": pd.Series(cells, dtype=object), "n": range(len(cells))})
    for _ in range(2):
        df.llm.complete(prompt=lambda row: f"{row['n']}", into="c")
    assert df["c"].notna().all()
    assert llm.ledger.requests == len(cells)


def test_a_function_is_called_once_for_each_asked_row_and_for_no_other(llm):
    """A function is called once for each asked row and for no other."""
    df = pd.DataFrame({"a": ["x", "x", "y", "z", None]})
    seen = []

    def ask(row):
        seen.append(row["a"])
        return f"{row['a']} {random.random()}"  # what it says is what is sent, however often it would change

    df.llm.complete("a", ask, where=[True, True, True, False, True])
    assert seen == ["x", "x", "y"]
    assert llm.ledger.requests == 3


def test_a_functions_exception_carries_its_row_and_nothing_is_sent(llm):
    """A function's exception carries its row, and nothing is sent."""
    df = pd.DataFrame({"a": ["x", "y"]})

    def ask(row):
        return {"x": "fine"}[row["a"]]

    with pytest.raises(KeyError) as error:
        df.llm.complete("a", ask)
    assert error.value.__notes__ == ["in the prompt function, at row 1; nothing was sent"]
    assert llm.ledger.requests == 0
    assert list(df) == ["a"]


def test_what_a_function_gives_that_is_no_prompt_fails_its_row_only(llm):
    """What a function gives that is no prompt fails its row only."""
    df = pd.DataFrame({"a": ["x", "y"]})
    with pytest.warns(llmframe.CompletionWarning, match="invalid_prompt"):
        df.llm.complete("a", lambda row: row["a"] if row["a"] == "x" else 3.5, errors="coerce")
    assert df["a_completion"].notna().tolist() == [True, False]


def test_an_async_function_is_refused(llm):
    """An async function is refused."""

    async def ask(row):
        return "x"

    with pytest.raises(TypeError, match=r"^prompt must be a plain function"):
        pd.DataFrame({"a": ["x"]}).llm.complete("a", ask)


@pytest.mark.parametrize("prompt", [5, ["a"], {"role": "user"}])
def test_a_prompt_of_another_kind_is_a_type_error(prompt):
    """A prompt of another kind is a type error."""
    with pytest.raises(TypeError, match=r"^prompt must be text, a template or a function"):
        pd.DataFrame({"a": ["x"]}).llm.complete("a", prompt)


def test_without_column_and_fields_there_is_nothing_to_ask():
    """Without column and fields there is nothing to ask."""
    with pytest.raises(ValueError, match="which column"):
        pd.DataFrame({"a": ["x"]}).llm.complete(prompt="Summarise.")


def test_a_cell_that_its_format_does_not_fit_fails_its_row_only(llm):
    """A cell that its format does not fit fails its row only."""
    df = pd.DataFrame({"x": [1.5, "dear", pd.Timestamp("2024-01-01")]}, dtype=object)
    with pytest.warns(llmframe.CompletionWarning):
        df.llm.complete(prompt="{x:.1f}", into="y", error_into="why", errors="coerce")
    assert asked(llm) == ["1.5"]
    assert df["why"].str.startswith("invalid_prompt").fillna(value=False).tolist() == [False, True, True]


_NAME = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="{}"), min_size=1, max_size=8
) | st.sampled_from([name for name in ODD_NAMES if "{" not in name and "}" not in name])
_LITERAL = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


@st.composite
def _templates(draw):
    """A template as pieces, so that a naive reference can fill it."""
    columns = draw(st.lists(_NAME, min_size=1, max_size=4, unique=True))
    pieces = draw(st.lists(st.one_of(st.sampled_from(columns).map(Field), _LITERAL), max_size=8))
    row = {column: draw(st.text(max_size=20)) for column in columns}
    return columns, pieces, row


@given(_templates())
def test_rendering_equals_a_naive_reference(drawn):
    """Rendering equals a naive reference."""
    columns, pieces, row = drawn
    text = "".join(
        f"{{{piece.column}}}" if isinstance(piece, Field) else piece.replace("{", "{{").replace("}", "}}")
        for piece in pieces
    )
    expected = "".join(row[piece.column] if isinstance(piece, Field) else piece for piece in pieces)
    assert parse(text, names(*columns)).fill(row) == expected


@given(
    st.lists(st.tuples(*[st.none() | st.text(max_size=6)] * 2), max_size=6),
    st.sampled_from([("a", None), ("a", "Sum up:"), ("a", "{a} and {b}"), (None, "{b}, {{a}}: {a}")]),
    st.sampled_from([None, "Be brief.", "You know {b}."]),
)
def test_rows_of_text_are_put_together_as_they_are_one_by_one(rows, asked, system):
    """Rows of text are put together as they are one by one."""
    frame = pd.DataFrame(rows, columns=["a", "b"], dtype="object")
    together, one_by_one = (PromptSpec.parse(*asked, system, names("a", "b")) for _ in range(2))
    one_by_one.__dict__["joins_text"] = False
    rendered = [
        list(render(asking, dict(frame.items()), np.arange(len(frame)))) for asking in (together, one_by_one)
    ]
    assert rendered[0] == rendered[1]


@given(
    st.text(st.sampled_from("{}:.[]!()ab \"'1_x,%") | st.characters(), max_size=30),
    st.lists(st.text(string.ascii_letters + "{}:. []ab", max_size=4), max_size=3, unique=True),
)
def test_reading_a_template_never_raises_anything_but_a_value_error(text, columns):
    """Reading a template never raises anything but a value error."""
    try:
        template = parse(text, names(*columns))
    except ValueError as error:
        assert str(error).startswith("prompt: ")  # noqa: PT017 (it need not raise)
    else:
        assert set(template.columns) <= set(columns)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8))
def test_json_objects_are_literal_however_they_nest(value):
    """JSON objects are literal however they nest."""
    text = orjson.dumps({"a": {"b": repr(value).replace("{", "").replace("}", "")}}).decode()
    assert parse(text, names("review")).fill({}) == text


def test_numpy_scalars_and_text_subclasses_are_text(llm):
    """NumPy scalars and text subclasses are text."""
    df = pd.DataFrame({"x": [np.str_("a"), np.int64(2), np.float32(0.5), True]}, dtype=object)
    df.llm.complete("x", into="y")
    assert sorted(asked(llm)) == ["0.5", "2", "True", "a"]
    assert df["y"][0] == made_up_answer(
        {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "a"}]}
    )
