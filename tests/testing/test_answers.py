"""What the local server answers: texts, token counts, and JSON that fits a schema."""

import asyncio
import json

import jsonschema
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from testing.client import MODEL, ask, call, content_of

from llmframe.testing import Fault, LocalServer, made_up_answer, request_digest
from llmframe.testing._chat.instances import instance


def test_an_answer_has_the_whole_shape_of_a_chat_completion(server):
    """A completion carries every field that the API sends."""
    status, answer, headers = call(server, ask("Tell me about soup."))
    assert status == 200
    assert headers["x-request-id"].startswith("req_")
    assert answer["id"].startswith("chatcmpl-")
    assert (answer["object"], answer["model"], answer["service_tier"]) == (
        "chat.completion",
        MODEL,
        "default",
    )
    (choice,) = answer["choices"]
    assert choice == {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": made_up_answer(ask("Tell me about soup.")),
            "refusal": None,
            "annotations": [],
        },
        "logprobs": None,
        "finish_reason": "stop",
    }
    usage = answer["usage"]
    assert usage["prompt_tokens"] == 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 0


def test_the_sdk_talks_to_it(server):
    """The official async client gets its answer and lists the models."""

    async def main():
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client:
            answer = await client.chat.completions.create(**ask("Hello"), temperature=0, service_tier="flex")
            models = [model.id async for model in client.models.list()]
            return answer, models, await client.models.retrieve(MODEL)

    answer, models, model = asyncio.run(main())
    assert answer.choices[0].message.content == made_up_answer(ask("Hello", temperature=0))
    assert answer.service_tier == "flex"
    assert MODEL in models
    assert model.id == MODEL


def test_the_sdk_sees_the_apis_own_errors(server):
    """The official client turns the error bodies into its own exceptions with their codes."""
    server.faults = [Fault("insufficient_quota")]
    with (
        openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.chat.completions.create(**ask())
    assert caught.value.code == "insufficient_quota"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("One word, positive or negative: I love it, works perfectly", "positive"),
        ("One word, positive or negative: Broken on arrival, a waste of money", "negative"),
        ("Positive / Negative? The soup was not good.", "Negative"),
        ("What is the sentiment? Terrible.", "negative"),
        ("positive, negative or neutral: It is a chair.", "neutral"),
    ],
)
def test_sentiment_is_picked_by_words(text, label):
    """A prompt that names the alternatives gets one of them, spelt as there."""
    assert made_up_answer(ask(text)) == label


def test_the_last_user_message_decides():
    """Instructions in the system message and parts of a message are read, earlier turns are not weighed."""
    messages = [
        {"role": "system", "content": "Answer positive or negative."},
        {"role": "user", "content": "awful awful awful"},
        {"role": "assistant", "content": "negative"},
        {"role": "user", "content": [{"type": "text", "text": "lovely"}]},
    ]
    assert made_up_answer({"model": MODEL, "messages": messages}) == "positive"


def test_an_undecided_text_gets_one_of_the_labels_by_its_hash():
    """Without a telling word both labels occur, and each text keeps its own."""
    answers = [made_up_answer(ask(f"positive or negative: item {i}")) for i in range(40)]
    assert set(answers) == {"positive", "negative"}
    assert answers == [made_up_answer(ask(f"positive or negative: item {i}")) for i in range(40)]


@given(st.text(), st.text())
def test_answers_depend_on_the_request_alone(one, other):
    """Equal requests get equal answers, different ones different answers, however they are billed."""
    assert (made_up_answer(ask(one)) == made_up_answer(ask(other))) == (one == other)
    assert made_up_answer(ask(one)) == made_up_answer(ask(one, service_tier="flex", user="me"))
    assert request_digest(ask(one)) != request_digest(ask(one, service_tier="flex"))


def test_n_choices_differ(server):
    """`n` gives that many choices, each with its own text."""
    _, answer, _ = call(server, ask(n=3))
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert [choice["message"]["content"] for choice in answer["choices"]] == [
        made_up_answer(ask(n=3), i) for i in range(3)
    ]


@pytest.mark.parametrize(
    ("asked", "given_tier"),
    [(None, "default"), ("auto", "default"), ("flex", "flex"), ("priority", "priority")],
)
def test_the_service_tier_is_echoed(shared, asked, given_tier):
    """The answer says which tier it was billed at."""
    assert call(shared, ask(service_tier=asked))[1]["service_tier"] == given_tier


def test_a_cap_on_tokens_cuts_the_answer(server):
    """No answer is billed for more output than the request allows."""
    _, answer, _ = call(server, ask(max_completion_tokens=2))
    assert answer["usage"]["completion_tokens"] == 2
    assert answer["choices"][0]["finish_reason"] == "length"
    assert made_up_answer(ask(max_completion_tokens=2)).startswith(content_of(answer))


def test_an_answer_function_and_cached_tokens():
    """`answer` replaces the text, `cached` the share of cached tokens."""
    with LocalServer(answer=lambda body: body["messages"][-1]["content"].upper(), cached=0.5) as server:
        _, answer, _ = call(server, ask("x" * 400))
    assert content_of(answer) == "X" * 400
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 50


def test_structured_output_fits_its_schema(server):
    """A JSON schema is answered with JSON that fits it."""
    schema = {
        "type": "object",
        "properties": {
            "label": {"type": "string", "enum": ["Positive", "Negative"]},
            "stars": {"type": "integer", "minimum": 1, "maximum": 5},
            "price": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}},
        },
        "required": ["label", "stars", "price", "parts"],
        "additionalProperties": False,
        "$defs": {
            "part": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "inside": {"anyOf": [{"$ref": "#/$defs/part"}, {"type": "null"}]},
                },
                "required": ["name", "inside"],
                "additionalProperties": False,
            },
        },
    }
    shape = {"type": "json_schema", "json_schema": {"name": "review", "strict": True, "schema": schema}}
    status, answer, _ = call(server, ask("Sentiment? I hate it", response_format=shape))
    assert status == 200
    found = json.loads(content_of(answer))
    jsonschema.validate(found, schema)
    assert found["label"] == "Negative"


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/nowhere/at/all"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"type": "object", "properties": {"again": {"$ref": "#"}}, "required": ["again"]},
        {"allOf": [{"type": "object"}, {"properties": {"a": {"const": 1}}}]},
        {"type": ["string", "null"], "minLength": 40},
        {},
    ],
)
def test_odd_schemas_are_answered_too(shared, schema):
    """References in circles or to nowhere do not trouble the server."""
    shape = {"type": "json_schema", "json_schema": {"name": "odd", "schema": schema}}
    status, answer, _ = call(shared, ask(response_format=shape))
    assert status == 200
    json.loads(content_of(answer))


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional={
            "minimum": st.integers(-50, 0),
            "maximum": st.integers(1, 50),
            "exclusiveMinimum": st.integers(-9, 0),
        },
    ),
    st.text(),
)
def test_made_up_numbers_stay_in_their_bounds(schema, seed):
    """Whatever the bounds, the value made up for them fits."""
    jsonschema.validate(instance(schema, seed), schema)
