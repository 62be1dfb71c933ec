"""Identity: what decides that two requests are the same."""

from __future__ import annotations

from hashlib import blake2b
from types import MappingProxyType

import numpy as np
import orjson
import pandas as pd
import pytest
from columns.plans import IMAGE, SCHEMA, TURNS, bodies, key, keys, plan_of
from hypothesis import given
from hypothesis import strategies as st

import llmframe
from llmframe._addresses import normalise
from llmframe._verbs import complete_list

GOLDEN = {
    "text": (("Hello",), {}),
    "another spelling": (("Hello",), {"base_url": "HTTPS://API.openai.com:443/v1/"}),
    "unicode": (("Grüße 💬 列\n\x00\t",), {}),
    "messages": ((TURNS,), {}),
    "image": ((IMAGE,), {}),
    "system": (("Hi",), {"system": "Be brief."}),
    "model": (("Hello",), {"model": "gpt-5-mini"}),
    "local server": (("Hello",), {"base_url": "http://localhost:8000/v1"}),
    "temperature": (("Hello",), {"temperature": 0}),
    "several parameters": (("Hello",), {"reasoning_effort": "low", "top_p": 0.5, "seed": 7, "stop": ["\n"]}),
    "schema": (("Hello",), {"response_format": SCHEMA}),
    "extra_body": (("Hello",), {"extra_body": {"top_k": 5, "deep": {"b": 1, "a": None}}}),
    "extra_headers": (("Hello",), {"extra_headers": {"X-Route": "blue"}}),
    "version": (("Hello",), {"version": "v2"}),
}


HASHES = {
    "text": "582a1216ce28912c05531aefac8ca4f3",
    "another spelling": "582a1216ce28912c05531aefac8ca4f3",
    "unicode": "539ea2c6de7fd70a87bfe1bc7a007370",
    "messages": "df29e11499fdd2abe7550be1174ff093",
    "image": "9a3a14b56a3eb0cd24c574cedc4dea71",
    "system": "df29e11499fdd2abe7550be1174ff093",
    "model": "177c0fef2c6d42f1e3cfc625963046f9",
    "local server": "197a649489cc78ba14a8f54541d26c15",
    "temperature": "a1b08d804afbb1094db5054fa89da4f0",
    "several parameters": "3746a8c0d865fe933e93113c41406444",
    "schema": "4941b2f02c7349109fc80def6a1422f6",
    "extra_body": "b749dce43b1fc30b99d1a76bb7b1e1ca",
    "extra_headers": "7d3856640788b904d6e2c5420e2ec20f",
    "version": "9831ae3b551e25b3da7688328b29dd12",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_identities_are_those_that_existing_journals_hold(name):
    """They never change within a major version."""
    (prompt,), settings = GOLDEN[name]
    assert key(prompt, **settings) == HASHES[name]


def test_golden_identities_differ_but_where_the_request_is_the_same():
    assert HASHES["another spelling"] == HASHES["text"]
    assert HASHES["system"] == HASHES["messages"]
    assert len(set(HASHES.values())) == len(HASHES) - 2


def test_the_identity_is_the_hash_of_these_very_bytes():
    shared = (
        b'[1,"https://api.openai.com/v1","/v1/chat/completions","gpt-6-luna",{"temperature":0},'
        b'[["x-route","blue"]],"v2"]'
    )
    messages = b'[{"content":"Hello","role":"user"}]'
    expected = blake2b(shared + b"\n" + messages, digest_size=16).hexdigest()
    assert key(temperature=0.0, extra_headers={"X-Route": "blue"}, version="v2") == expected


def test_the_kth_duplicate_draws_for_itself():
    """With `dedupe=False`, its draw is the same in every run."""
    plain, *draws = keys(["Hello"] * 3, dedupe=False)
    assert plain == key()
    assert len({plain, *draws}) == 3
    assert keys(["Other", "Hello", "Hello", "Hello"], dedupe=False)[1:] == [plain, *draws]


MARKED = {"type": "text", "text": "Hel", "prompt_cache_breakpoint": {"mode": "explicit"}}
SAME = {
    "the order of keys in a message": ([{"content": "Hello", "role": "user"}], {}),
    "a tuple of messages": (({"role": "user", "content": "Hello"},), {}),
    "an array of messages": (np.array([{"role": "user", "content": "Hello"}], dtype=object), {}),
    "mappings that are no dicts": ([MappingProxyType({"role": "user", "content": "Hello"})], {}),
    "a null key": ([{"role": "user", "content": "Hello", "name": None}], {}),
    "numpy text": (np.str_("Hello"), {}),
    "one message and its text": ([{"role": "user", "content": "Hello"}], {}),
    "service_tier": ("Hello", {"service_tier": "flex"}),
    "metadata": ("Hello", {"metadata": {"team": "blue"}}),
    "user": ("Hello", {"user": "me"}),
    "safety_identifier": ("Hello", {"safety_identifier": "me"}),
    "store": ("Hello", {"store": True}),
    "prompt_cache_key": ("Hello", {"prompt_cache_key": "k"}),
    "prompt_cache_retention": ("Hello", {"prompt_cache_retention": "24h"}),
    "the same in extra_body": ("Hello", {"extra_body": {"service_tier": "flex", "prompt_cache_x": 1}}),
    "the key": ("Hello", {"api_key": "sk-another"}),
    "the timeout": ("Hello", {"timeout": 5}),
    "retries": ("Hello", {"max_retries": 0}),
    "concurrency": ("Hello", {"max_concurrency": 1}),
    "the lane": ("Hello", {"mode": "offline"}),
    "authorization": ("Hello", {"extra_headers": {"Authorization": "Bearer x", "api-key": "y"}}),
    "the address's spelling": ("Hello", {"base_url": "https://API.OpenAI.com:443/v1/"}),
    "fresh": ("Hello", {"fresh": True}),
    "prompt_cache_options": ("Hello", {"prompt_cache_options": {"mode": "explicit"}}),
    "a text in one part": ([{"role": "user", "content": [{"type": "text", "text": "Hello"}]}], {}),
    "a text in parts": (
        [{"role": "user", "content": [{"type": "text", "text": part} for part in ("Hel", "", "lo")]}],
        {},
    ),
    "a breakpoint": ([{"role": "user", "content": [MARKED, {"type": "text", "text": "lo"}]}], {}),
    "a parameter that is None": ("Hello", {"temperature": None}),
    "n=1": ("Hello", {"n": 1}),
}


@pytest.mark.parametrize("what", SAME)
def test_what_does_not_decide_the_answer_is_not_in_the_identity(what):
    prompt, settings = SAME[what]
    assert key(prompt, **settings) == key()


def test_texts_beside_an_image_are_joined_where_they_are_adjacent():
    """The image parts them, and what a text part says beyond its text keeps it apart. The golden image has one text."""
    message, image = IMAGE[0], IMAGE[0]["content"][1]

    def asked(*content):
        return key([{**message, "content": list(content)}])

    def text(words, **more):
        return {"type": "text", "text": words, **more}

    assert asked(text("What "), text("is this?"), image) == HASHES["image"]
    assert (
        asked(text("What is this?"), {**image, "prompt_cache_breakpoint": {"mode": "explicit"}})
        == HASHES["image"]
    )
    assert asked(text("What is"), image, text(" this?")) != HASHES["image"]
    assert asked(text("What "), text("is this?", cache_control={}), image) != HASHES["image"]
    assert key('{"content":[{"type":"text","text":"Hello"}]}') != key()


@pytest.mark.parametrize("more", [{}, {"audio": {"id": "a"}}, {"refusal": "No"}])
def test_a_message_without_content_is_one_with_a_null_content(more):
    """Both are sent as they are. Text that looks like such JSON is text."""
    turn = {"role": "assistant", "tool_calls": [{"id": "1"}], **more}
    question = {"role": "user", "content": 'Write {"content":null,"a":1}'}
    assert key([question, turn]) == key([question, {**turn, "content": None}])
    assert key([question, turn]) != key([{**question, "content": 'Write {"a":1}'}, turn])
    assert key([question, turn]) != key([question, {**turn, "content": ""}])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"temperature": 1}, {"temperature": np.int64(1)}),
        ({"temperature": 0.5}, {"temperature": np.float64(0.5)}),
        ({"temperature": 0}, {"temperature": -0.0}),
        ({"seed": 7}, {"extra_body": {"seed": 7}}),
        ({"logit_bias": {"5": 1}}, {"logit_bias": {"5": 1.0}}),
        ({"extra_headers": {"X-A": "1"}}, {"extra_headers": {"x-a": "1"}}),
        ({"stop": ["a"]}, {"stop": ("a",)}),
        ({"top_p": 0.5, "seed": 1}, {"seed": 1, "top_p": 0.5}),
    ],
)
def test_equal_values_of_other_types_are_one_identity(one, other):
    assert key(**one) == key(**other)


DIFFERENT = {
    "model": {"model": "gpt-5-mini"},
    "server": {"base_url": "https://example.org/v1"},
    "port": {"base_url": "https://api.openai.com:8443/v1"},
    "path": {"base_url": "https://api.openai.com/v2"},
    "parameter": {"temperature": 0},
    "another value": {"temperature": 0.1},
    "true is not one": {"logprobs": True},
    "extra_body": {"extra_body": {"top_k": 1}},
    "null in extra_body": {"extra_body": {"top_k": None}},
    "extra_headers": {"extra_headers": {"OpenAI-Beta": "x"}},
    "version": {"version": "v2"},
    "system": {"system": "Be brief."},
    "nested service_tier": {"extra_body": {"x": {"service_tier": "flex"}}},
}


def test_what_decides_the_answer_is_in_the_identity():
    found = {name: key(**settings) for name, settings in DIFFERENT.items()}
    others = {f"text {text!r}": key(text) for text in ("hello", "Hello ", "Hello\n", "", "é", "é") if text}
    every = [key(), *found.values(), *others.values()]
    assert len(set(every)) == len(every)


def test_the_order_of_properties_in_schemas_and_tools_is_kept_as_given(llm):
    """Models write properties in the order of the schema, so the order decides the answer."""
    turned = orjson.loads(orjson.dumps(SCHEMA))
    properties = turned["json_schema"]["schema"]["properties"]
    turned["json_schema"]["schema"]["properties"] = dict(reversed(properties.items()))
    assert key(response_format=SCHEMA) != key(response_format=turned)
    plan = plan_of(pd.DataFrame({"a": ["x"]}), "a", response_format=SCHEMA)
    (body,) = bodies(plan)
    assert list(body["response_format"]["json_schema"]["schema"]["properties"]) == ["why", "label"]


@given(
    st.recursive(
        st.text(max_size=5) | st.integers(-100, 100) | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
        max_leaves=10,
    ),
    st.randoms(use_true_random=False),
)
def test_messages_are_known_by_their_content_not_by_the_order_of_their_keys(value, chance):
    def shuffled(value):
        if isinstance(value, dict):
            items = list(value.items())
            chance.shuffle(items)
            return {name: shuffled(item) for name, item in items}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    message = {"role": "user", "content": value, "name": "x"}
    assert key([message]) == key([shuffled(message)])


@given(st.text(), st.text())
def test_different_texts_never_share_an_identity(one, other):
    held = [text for text in (one, other) if text.isprintable() and text.strip()]
    assert len(keys(held)) == len(set(held))


def test_a_named_server_stands_for_changing_addresses():
    llmframe.options.server = "our-cluster"
    assert key(base_url="http://10.0.0.1/v1") == key(base_url="http://10.0.0.2/v1")


def test_azures_deployment_and_api_version_are_in_the_identity():
    import openai

    def azure(deployment="a", version="2025-01-01", host="one"):
        return openai.AzureOpenAI(
            azure_endpoint=f"https://{host}.openai.azure.com",
            azure_deployment=deployment,
            api_version=version,
            api_key="k",
        )

    def azure_key(**which):
        return complete_list(["Hello"], {"model": "m", "client": azure(**which)}).run._plan.keys[0]

    every = {azure_key(), azure_key(deployment="b"), azure_key(version="2026-01-01"), azure_key(host="two")}
    assert len(every) == 4
    llmframe.options.server = "ours"
    named = {azure_key(), azure_key(deployment="b"), azure_key(version="2026-01-01"), azure_key(host="two")}
    assert len(named) == 3


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://API.openai.com/v1/", "https://api.openai.com/v1"),
        ("https://api.openai.com:443/v1", "https://api.openai.com/v1"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:8000/V1", "http://localhost:8000/V1"),
        ("http://me:pw@localhost:8000/v1", "http://localhost:8000/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_an_address_has_one_spelling_and_no_credentials(address, expected):
    assert normalise(address) == expected


def test_the_recipe_that_the_journal_keeps_holds_no_prompt_no_header_and_no_key():
    secret = {
        "api_key": "sk-secret",
        "system": "secret",
        "user": "secret",
        "extra_headers": {"X": "secret"},
        "metadata": {"a": "secret"},
        "base_url": "https://example.org/v1",
        "model": "m",
    }
    completion = complete_list(["secret"], secret)
    assert "secret" not in repr(completion.run._plan.recipes[0].describe())
