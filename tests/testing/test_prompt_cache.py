"""The local server's prompt cache: what it reads and writes, and what it refuses."""

from __future__ import annotations

import threading

import pytest
from testing.client import ask, call

from llmframe.testing import LocalServer, made_up_answer

EXPLICIT = {"mode": "explicit"}
PREFIX = "p" * 8_000
ROW = "r" * 2_000


@pytest.fixture
def caching():
    with LocalServer(prompt_cache=True) as running:
        yield running


def part(text, *, marked=False):
    return {"type": "text", "text": text, **({"prompt_cache_breakpoint": EXPLICIT} if marked else {})}


def explicit(*parts, **more):
    return ask(list(parts), prompt_cache_options=EXPLICIT, **more)


def used(server, body):
    """Return the tokens of the prompt, those that were cached, and those that were written."""
    status, answer, _ = call(server, body)
    assert status == 200
    details = answer["usage"]["prompt_tokens_details"]
    return answer["usage"]["prompt_tokens"], details["cached_tokens"], details["cache_write_tokens"]


def test_implicitly_every_long_prompt_is_written_to_its_end_and_only_the_same_reads_it(caching):
    """Other texts after the same beginning do not: there is no breakpoint between them."""
    assert used(caching, ask(PREFIX + ROW)) == (2_500, 0, 2_500)
    assert used(caching, ask(PREFIX + ROW)) == (2_500, 2_500, 0)
    assert used(caching, ask(PREFIX + ROW[1:] + "s")) == (2_500, 0, 2_500)
    assert used(caching, ask("a" * 4_092)) == (1_023, 0, 0)
    assert used(caching, ask("a" * 4_096)) == (1_024, 0, 1_024)


def test_explicitly_only_what_is_marked_is_written(caching):
    assert used(caching, explicit(part(PREFIX), part(ROW))) == (2_500, 0, 0)
    assert used(caching, explicit(part(PREFIX, marked=True), part(ROW))) == (2_500, 0, 2_000)
    assert used(caching, explicit(part(PREFIX, marked=True), part("other"))) == (2_002, 2_000, 0)
    assert used(caching, explicit(part(PREFIX + "x", marked=True), part("other"))) == (2_002, 0, 2_001)
    assert used(caching, explicit(part(PREFIX[:4_000], marked=True), part(ROW))) == (1_500, 0, 0)


def test_a_prefix_is_its_texts_whatever_the_parts(caching):
    assert used(caching, explicit(part(PREFIX[:100]), part(PREFIX[100:], marked=True), part(ROW)))[1:] == (
        0,
        2_000,
    )
    assert used(caching, explicit(part(PREFIX, marked=True), part(ROW)))[1:] == (2_000, 0)


def test_a_prefix_belongs_to_its_model_roles_and_schema(caching):
    asked = explicit(part(PREFIX, marked=True), part(ROW))
    assert used(caching, asked)[1:] == (0, 2_000)
    assert used(caching, {**asked, "model": "gpt-5.6-sol"})[1:] == (0, 2_000)
    assert used(caching, {**asked, "response_format": {"type": "text"}})[1] == 0
    system = [{"role": "system", "content": asked["messages"][0]["content"]}]
    assert used(caching, {**asked, "messages": system})[1:] == (0, 2_000)


def test_a_schema_counts_as_a_part_of_the_prompt(caching):
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": "d" * 4_000}},
              "required": ["a"], "additionalProperties": False}  # fmt: skip
    shape = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": schema}}
    prompt, cached, written = used(
        caching, explicit(part("p" * 400, marked=True), part(ROW), response_format=shape)
    )
    assert (prompt - 500, cached) == (written, 0)
    assert written > 1_100


def test_a_longer_prefix_writes_only_what_is_new(caching):
    used(caching, explicit(part(PREFIX, marked=True), part(ROW)))
    longer = explicit(part(PREFIX, marked=True), part("x" * 4_000, marked=True), part(ROW))
    assert used(caching, longer) == (3_500, 2_000, 1_000)
    mixed = ask([part(PREFIX, marked=True), part("y" * 400)])
    assert used(caching, mixed) == (2_100, 2_000, 100)


def test_of_many_breakpoints_the_latest_four_are_written(caching):
    parts = [part(letter * 8_000, marked=True) for letter in "abcde"]
    assert used(caching, explicit(*parts))[1:] == (0, 10_000)
    assert used(caching, explicit(parts[0], part(ROW)))[1:] == (0, 2_000)
    assert used(caching, explicit(*parts[:2], part(ROW)))[1:] == (4_000, 0)


def test_a_prefix_is_kept_for_half_an_hour_from_its_last_use(caching):
    asked = explicit(part(PREFIX, marked=True), part(ROW))
    assert used(caching, asked)[1:] == (0, 2_000)
    for _ in range(2):
        caching.advance(1_700)
        assert used(caching, asked)[1:] == (2_000, 0)
    caching.advance(1_801)
    assert used(caching, asked)[1:] == (0, 2_000)
    caching.reset()
    assert used(caching, asked)[1:] == (0, 2_000)


def test_what_is_written_can_be_read_when_it_is_answered(caching):
    """Requests at the same time write it each."""
    caching.latency = 0.5
    asked, found = explicit(part(PREFIX, marked=True), part(ROW)), []
    threads = [threading.Thread(target=lambda: found.append(used(caching, asked)[1:])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(0, 2_000)] * 3
    assert used(caching, asked)[1:] == (2_000, 0)


def test_without_the_setting_and_with_older_models_there_is_no_cache(caching, server):
    assert used(server, ask(PREFIX)) == used(server, ask(PREFIX)) == (2_000, 0, 0)
    older = ask(PREFIX, model="gpt-5-mini")
    assert used(caching, older) == used(caching, older) == (2_000, 0, 0)
    caching.prompt_cache = False
    assert used(caching, ask(PREFIX)) == used(caching, ask(PREFIX)) == (2_000, 0, 0)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (explicit(part("a"), model="gpt-5-mini"), "prompt_cache_options"),
        (ask([part("a"), part("b", marked=True)], model="gpt-5-mini"), "messages[0].content[1].prompt_cache_breakpoint"),
        (ask("a", prompt_cache_options={"mode": "eager"}), "prompt_cache_options.mode"),
        (ask([{**part("a"), "prompt_cache_breakpoint": {}}]), "messages[0].content[0].prompt_cache_breakpoint.mode"),
    ],
)  # fmt: skip
def test_what_the_api_does_not_take_is_refused(server, body, param):
    status, answer, _ = call(server, body)
    assert (status, answer["error"]["param"]) == (400, param)


def test_an_answer_does_not_depend_on_parts_and_breakpoints():
    assert made_up_answer(explicit(part("Good", marked=True), part(" or bad"))) == made_up_answer(
        ask("Good or bad")
    )


def test_a_share_beside_a_cache_is_refused():
    with pytest.raises(ValueError, match="leave cached out"):
        LocalServer(prompt_cache=True, cached=0.5)
