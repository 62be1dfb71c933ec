"""How tokens are counted before anything was answered."""

from __future__ import annotations

import sys

import orjson
import pytest
from run.texts import KINDS, rows_of

from llmframe._run.money import count_requests, counting, has_media
from llmframe._run.money.tokens import by_characters


def body(*messages, **more):
    return orjson.dumps({"model": "m", **more, "messages": messages})


@pytest.mark.parametrize("kind", KINDS)
def test_characters_err_high_and_by_less_than_two_fifths(kind):
    texts, tokens = rows_of(kind)
    assert sum(tokens) < sum(by_characters(texts)) < 1.4 * sum(tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokenizer_counts_as_o200k_does(kind):
    texts, tokens = rows_of(kind)
    way = counting()
    assert list(way.tokens(texts)) == tokens
    assert "o200k, assumed" in way.name


def test_without_the_tokenizer_characters_are_counted(monkeypatch):
    monkeypatch.setitem(sys.modules, "toktok", None)
    assert counting().name.startswith("characters")


def test_a_request_is_its_texts_and_what_the_format_adds(monkeypatch):
    """Parts count as their texts, and a schema counts in each request."""
    monkeypatch.setitem(sys.modules, "toktok", None)
    way = counting()
    user = {"role": "user", "content": "Name a color."}
    parts = {"role": "user", "content": [{"type": "text", "text": "Name a color."}]}
    system = {"role": "system", "content": "Be brief."}
    plain, in_parts = count_requests([body(user), body(parts)], "messages", way)
    both = count_requests([body(system, user)], "messages", way)[0]
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
    with_schema = count_requests([body(user, response_format=schema)], "messages", way)[0]
    assert plain == in_parts == pytest.approx(by_characters(["Name a color."])[0] + 7)
    assert both == pytest.approx(plain + by_characters(["Be brief."])[0] + 4)
    assert with_schema == pytest.approx(plain + by_characters([orjson.dumps(schema).decode()])[0])
    assert count_requests([orjson.dumps({"input": "Name a color."})], "input", way) == [plain]


def test_only_images_and_files_are_media():
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}
    assert has_media(body(image))
    assert not has_media(body({"role": "user", "content": '{"type":"image_url"}'}))
