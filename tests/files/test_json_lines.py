"""JSONL: lines stay as they were and gain keys."""

import io
import json
import math
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmframe._files import FORMATS, Table, TextStyle
from llmframe._files.json_lines import with_members

# fmt: off
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
# fmt: on
NAMES = st.sampled_from(["id", "review", "", "a}b", 'qu"ote', "ñ", "😀"]) | st.text(max_size=4)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=4)
SPACES = st.sampled_from(["", " ", "\t"])


@st.composite
def lines_of_objects(draw):
    """Objects as different programs write them: spaces, escapes, order."""
    texts = []
    for members in draw(st.lists(OBJECTS, min_size=1, max_size=4)):
        space = draw(SPACES)
        text = json.dumps(
            members, ensure_ascii=draw(st.booleans()), separators=(f"{space},{space}", f"{space}:{space}")
        )
        texts.append(space + text[:-1] + draw(SPACES) + "}" + draw(SPACES))
    return texts


def read(raw, **style):
    return FORMATS["jsonl"].read(io.BytesIO(raw), TextStyle(**style))


def written(table):
    file = io.BytesIO()
    FORMATS["jsonl"].write(table, file, TextStyle())
    return file.getvalue()


def answered(table, name, values):
    table.frame[name] = pd.Series(values, dtype=object)
    return replace(table, changed=frozenset({name}))


@settings(max_examples=200)
@given(texts=lines_of_objects(), end=st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_a_line_stays_and_gains_a_key(texts, end):
    """Number formats, escapes, spaces and the order of keys are the text's own."""
    raw = (end.join(texts) + end).encode("utf-8", "replace")
    texts = [line.rstrip("\r") for line in raw.decode().split("\n") if line.strip()]
    table = answered(read(raw), "an answer", ['a "good" one\n'] * len(texts))
    lines = written(table).decode().split("\n")
    assert lines.pop() == ""
    for before, line in zip(texts, lines, strict=True):
        head, _, tail = before.rpartition("}")
        assert line.startswith(head)
        assert line.endswith("}" + tail)
        members = json.loads(before)
        assert repr(json.loads(line)) == repr({**members, "an answer": 'a "good" one\n'})


@settings(max_examples=200)
@given(texts=lines_of_objects(), name=NAMES)
def test_a_key_that_is_there_is_changed_where_it_stands(texts, name):
    for text in texts:
        members = json.loads(text)
        line = with_members(text, {name: '"new"'}, {name})
        assert repr(json.loads(line)) == repr({**members, name: "new"})
        assert list(json.loads(line)) == list({**members, name: "new"})
        assert with_members(text, {name: json.dumps(members.get(name, 1))}, {name}).startswith(
            text[:-3].rstrip("} \t")
        )


def test_what_did_not_change_keeps_its_form():
    """Of a column that is filled, the rows that had a value, and those that still have none."""
    raw = b'{"a":1.50}\n{"a": null, "b":"\\u00e9"}\n{"b":2}\n{"a":NaN}\n{"a":1,"\\u0061":2}\n'
    table = answered(read(raw), "a", [1.5, "x", None, None, 3])
    assert written(table).decode().splitlines() == [
        '{"a":1.50}', '{"a": "x", "b":"\\u00e9"}', '{"b":2,"a":null}', '{"a":NaN}', '{"a":1,"\\u0061":3}',
    ]  # fmt: skip


def test_cells_are_what_json_says():
    table = read(
        b'{"n":5,"big":12345678901234567890123,"f":1.0,"t":"007","x":NaN}\n\n{"n":null,"l":[1,{"a":2}]}\n'
    )
    first, second = table.frame.to_dict("records")
    assert (first["n"], first["big"], first["t"]) == (5, 12345678901234567890123, "007")
    assert [type(first[name]) for name in "nf"] == [int, float]
    assert math.isnan(first["x"])
    assert second["l"] == [1, {"a": 2}]
    assert second["n"] is None
    assert list(table.names) == ["n", "big", "f", "t", "x", "l"]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "shift_jis"]
)
def test_lines_in_any_encoding_are_written_in_utf_8(encoding):
    line = '{"id": 1.50, "text": "日本"}' if encoding == "shift_jis" else '{"id": 1.50, "text": "Größe"}'
    named = {"encoding": encoding} if encoding in {"cp1252", "shift_jis"} else {}
    assert written(read(line.encode(encoding), **named)).decode() == line + "\n"


def test_half_a_surrogate_pair_stays_in_its_line_and_is_replaced_in_its_cell():
    table = read(b'{"a":"\\ud83d x","b":"\\ud83d\\ude00"}\n')
    assert table.frame.loc[0].tolist() == ["\ufffd x", "😀"]
    assert written(answered(table, "c", ["\ud83d"])) == b'{"a":"\\ud83d x","b":"\\ud83d\\ude00","c":"?"}\n'


@pytest.mark.parametrize("line", ["[1]", "1", "null", '"a"', '{"a":', "{'a': 1}", "a,b", "[" * 100_000])
def test_a_line_that_is_no_object_is_named(line):
    with pytest.raises(ValueError, match=r"^line 3 is no JSON object") as caught:
        read(f'{{"a":1}}\n\n{line}\n'.encode())
    assert line[:20] in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_file_without_lines_has_no_rows():
    assert read(b"").frame.shape == (0, 0)
    assert written(read(b"\n\n")) == b""


def test_other_tables_become_objects():
    frame = pd.DataFrame(
        {
            "id": ["007", None],
            "n": pd.array([1, None], dtype="Int64"),
            "f": [1.0, math.inf],
            "when": pd.to_datetime(["2026-01-31 10:00", None]),
            "x": pd.Series([[1, b"\xff"], 2**70], dtype=object),
        }
    )
    lines = written(Table(frame, list(frame.columns))).decode().splitlines()
    assert lines == [
        '{"id":"007","n":1,"f":1.0,"when":"2026-01-31T10:00:00","x":[1,"b\'\\\\xff\'"]}',
        '{"id":null,"n":null,"f":null,"when":null,"x":1180591620717411303424}',
    ]
