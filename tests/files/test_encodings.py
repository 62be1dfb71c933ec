"""Text in any encoding: found where it can be, and an error that shows the line where it cannot."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmframe._files import FORMATS, TextStyle, encodings
from llmframe._files.encodings import DecodedText, check_encoding, found_encoding

TEXT = "id;name\n007;Grüße, 😀\n8;日本\n"
# fmt: off
FOUND = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
# fmt: on


def decoded(raw, encoding=None):
    text = DecodedText(io.BytesIO(raw), encoding)
    parts = iter(lambda: text.read(7), "")
    return "".join(parts)


@pytest.mark.parametrize("encoding", FOUND)
def test_unicode_is_found_with_and_without_a_mark(encoding):
    raw = TEXT.encode(encoding)
    assert decoded(raw) == TEXT
    assert raw.decode(found_encoding(raw)).removeprefix("\ufeff") == TEXT


@pytest.mark.parametrize("mark", ["utf-16-le", "utf-16-be", "utf-32-be"])
def test_a_mark_goes_before_zeros_and_is_no_text(mark):
    """Also where the encoding was named."""
    raw = ("\ufeff" + "日本\n" * 3).encode(mark)
    assert decoded(raw) == decoded(raw, mark) == "日本\n" * 3


@pytest.mark.parametrize("text", ["", "a", "é", "a\0b,c\nd,e\n", "\0" * 3, "日本語\n" * 20])
def test_utf_8_is_what_shows_nothing_else(text):
    assert decoded(text.encode()) == text


@pytest.mark.parametrize(
    ("encoding", "text"), [("cp1252", "Größe"), ("shift_jis", "日本"), ("koi8-r", "Привет")]
)
def test_an_encoding_can_be_named(encoding, text):
    assert decoded(text.encode(encoding), encoding) == text


@given(
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff")),
    block=st.integers(1, 9),
)
def test_parts_of_any_size_join_up(text, block):
    before = encodings._BLOCK_BYTES
    encodings._BLOCK_BYTES = block
    try:
        assert decoded(text.encode(), "utf-8") == text
        numbered = list(DecodedText(io.BytesIO(text.encode()), "utf-8").lines())
    finally:
        encodings._BLOCK_BYTES = before
    lines = text.split("\n")
    assert numbered == list(enumerate(lines if lines[-1] else lines[:-1], 1))


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("size", [0, 1 << 17, 1 << 18, 1 << 19])
def test_what_is_in_no_known_encoding_is_shown_with_the_remedy(name, size):
    """The line's number is right wherever the blocks end."""
    filler = "{}\n" if name == "jsonl" else "x,y\n"
    lines = size // len(filler)
    raw = filler.encode() * lines + b"price of Stra\xdfe\nnext\n"
    with pytest.raises(ValueError, match="the file is not in utf-8") as caught:
        FORMATS[name].read(io.BytesIO(raw), TextStyle())
    said = str(caught.value)
    assert f"its line {lines + 1} has 'price of Stra\\\\xdfe'" in said
    assert 'encoding="cp1252"' in said
    assert "'price of Straße'" in said
    assert "next" not in said


def test_a_file_that_is_not_in_the_named_encoding_says_so():
    with pytest.raises(ValueError, match=r"not in ascii; its line 2 .*Name another with encoding="):
        decoded("a\né".encode(), "ascii")
    with pytest.raises(ValueError, match="not in utf-16; its line 1"):
        decoded("ab".encode("utf-16") + b"c")


@pytest.mark.parametrize("name", ["nope", "rot13", "hex", "undefined", "", "a\0b"])
def test_what_is_no_encoding_of_text_is_refused(name):
    with pytest.raises(ValueError, match="is none that Python knows; write one such as"):
        check_encoding(name)
