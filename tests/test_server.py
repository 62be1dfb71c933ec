"""The local server: what it answers, refuses, counts and breaks."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmframe.testing import Fault, Limits, LocalServer, made_up_answer, request_digest, reviews
from llmframe.testing._chat.instances import instance
from llmframe.testing._server.rate_limiter import RateLimiter, duration
from llmframe.testing._settings import ANSWER_FAULTS, ERROR_FAULTS, FAULT_KINDS

OPENAPI = Path(__file__).parents[2] / "shared" / "openai-spec" / "chat-batch.openapi.json"
MODEL = "gpt-6-luna"
pytest_plugins = ["pytester"]


def ask(text="Say something.", **more):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def call(server, body=None, *, path="/chat/completions", key="k", method="POST", timeout=5.0):
    """Return status, body (parsed where it is JSON) and headers of one request."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    base = server.base_url if path.startswith("/") else server.base_url.removesuffix("v1")
    request = urllib.request.Request(base + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, _parsed(answer), _lower(answer.headers)
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, _parsed(answer), _lower(answer.headers)


def _lower(headers):
    return {name.lower(): value for name, value in headers.items()}


def _parsed(answer):
    content = answer.read()
    return json.loads(content) if answer.headers["content-type"].startswith("application/json") else content


def get(server, path):
    return call(server, path=path, method="GET")


def content_of(answer):
    return answer["choices"][0]["message"]["content"]


@pytest.fixture
def server():
    with LocalServer() as running:
        yield running


@pytest.fixture(scope="module")
def shared():
    with LocalServer() as running:
        yield running


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
    jsonschema = pytest.importorskip("jsonschema")
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
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(instance(schema, seed), schema)


BAD_BODIES = [
    (ask(nonsense=1), "unknown_parameter", "nonsense"),
    ({"model": MODEL}, "missing_required_parameter", "messages"),
    ({"messages": []}, None, None),
    ({"model": 1, "messages": []}, "invalid_type", "model"),
    (ask() | {"messages": []}, "empty_array", "messages"),
    (ask() | {"messages": "hi"}, "invalid_type", "messages"),
    (ask() | {"messages": [ask()["messages"]]}, "invalid_type", "messages[0]"),
    (ask() | {"messages": [{"role": "robot", "content": ""}]}, "invalid_value", "messages[0].role"),
    (ask() | {"messages": [{"role": ["user"], "content": ""}]}, "invalid_type", "messages[0].role"),
    (ask() | {"messages": [{"role": "user"}]}, "missing_required_parameter", "messages[0].content"),
    (ask() | {"messages": [{"content": "x"}]}, "missing_required_parameter", "messages[0].role"),
    (ask() | {"messages": [{"role": "user", "content": 7}]}, "invalid_type", "messages[0].content"),
    (ask() | {"messages": [{"role": "user", "content": None}]}, "invalid_type", "messages[0].content"),
    (ask() | {"messages": [{"role": "user", "content": []}]}, "empty_array", "messages[0].content"),
    (
        ask() | {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
        "invalid_value",
        "messages[0].content[0].type",
    ),
    (
        ask()
        | {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "invalid_value",
        "messages[0].content[0].type",
    ),
    (
        ask() | {"messages": [{"role": "tool", "content": "x"}]},
        "missing_required_parameter",
        "messages[0].tool_call_id",
    ),
    (
        ask() | {"messages": [{"role": "user", "content": "x", "mood": 1}]},
        "unknown_parameter",
        "messages[0].mood",
    ),
    (ask(temperature=2.5), "decimal_above_max_value", "temperature"),
    (ask(temperature=-1), "decimal_below_min_value", "temperature"),
    (ask(temperature="hot"), "invalid_type", "temperature"),
    (ask(temperature=True), "invalid_type", "temperature"),
    (ask(top_p=1.1), "decimal_above_max_value", "top_p"),
    (ask(presence_penalty=3), "decimal_above_max_value", "presence_penalty"),
    (ask(frequency_penalty=-3), "decimal_below_min_value", "frequency_penalty"),
    (ask(n=0), "integer_below_min_value", "n"),
    (ask(n=129), "integer_above_max_value", "n"),
    (ask(n=1.5), "invalid_type", "n"),
    (ask(max_completion_tokens=0), "integer_below_min_value", "max_completion_tokens"),
    (ask(top_logprobs=2), None, "top_logprobs"),
    (ask(logprobs=True, top_logprobs=21), "integer_above_max_value", "top_logprobs"),
    (ask(stop=[]), "empty_array", "stop"),
    (ask(stop=list("abcde")), "array_above_max_length", "stop"),
    (ask(metadata={str(i): "" for i in range(17)}), "object_above_max_properties", "metadata"),
    (ask(metadata={"k" * 65: ""}), "string_above_max_length", "metadata"),
    (ask(metadata={"k": "v" * 513}), "string_above_max_length", "metadata.k"),
    (ask(metadata={"k": 1}), "invalid_type", "metadata.k"),
    (ask(reasoning_effort="huge"), "invalid_value", "reasoning_effort"),
    (ask(verbosity="loud"), "invalid_value", "verbosity"),
    (ask(service_tier="cheap"), "invalid_value", "service_tier"),
    (ask(response_format={"type": "yaml"}), "invalid_value", "response_format.type"),
    (ask(response_format="json_object"), "invalid_type", "response_format"),
    (
        ask(response_format={"type": "json_schema"}),
        "missing_required_parameter",
        "response_format.json_schema",
    ),
    (ask(response_format={"type": "json_object"}), None, "messages"),
    (ask(tools=[]), "empty_array", "tools"),
    (ask(tools=[{"type": "function"}]), "missing_required_parameter", "tools[0].function"),
    (ask(tool_choice="auto"), None, "tool_choice"),
    (ask(seed=2**70), "invalid_type", "seed"),
    (ask(safety_identifier="x" * 65), "string_above_max_length", "safety_identifier"),
    (ask(stream=True), "unsupported_value", "stream"),
    (ask(stream_options={}), None, "stream_options"),
]


@pytest.mark.parametrize(("body", "code", "param"), BAD_BODIES, ids=lambda value: repr(value)[:60])
def test_a_bad_request_gets_the_apis_error(shared, body, code, param):
    """Each way to be wrong is a 400 that names the parameter."""
    status, answer, _ = call(shared, body)
    assert status == 400
    assert list(answer) == ["error"]
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert (answer["error"]["type"], answer["error"]["code"], answer["error"]["param"]) == (
        "invalid_request_error",
        code,
        param,
    )


GOOD_BODIES = [
    ask(),
    ask(temperature=0, top_p=1, n=1, stop="x", seed=1, user="me", store=True, logprobs=True, top_logprobs=3),
    ask(
        temperature=None, stop=None, max_tokens=None, metadata=None, reasoning_effort=None, service_tier=None
    ),
    ask("as json", response_format={"type": "json_object"}),
    ask(response_format={"type": "text"}, verbosity="low", reasoning_effort="xhigh", metadata={"a": "b"}),
    ask(
        tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
    ),
    ask(web_search_options={"user_location": {"type": "approximate", "approximate": {"city": "Bern"}}}),
    ask(prediction={"type": "content", "content": [{"type": "text", "text": "x"}]}),
    ask(
        logit_bias={"50256": -100},
        modalities=["text"],
        prompt_cache_key="k",
        prompt_cache_options={"ttl": "30m"},
    ),
    {
        "model": MODEL,
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
            {
                "role": "user",
                "name": "Jo",
                "content": [{"type": "image_url", "image_url": {"url": "https://a/b"}}],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "1", "content": "42"},
        ],
    },
]


@pytest.mark.parametrize("body", GOOD_BODIES, ids=lambda value: repr(value)[75:130])
def test_a_good_request_is_answered(shared, body):
    """What the API takes is taken."""
    status, answer, _ = call(shared, body)
    assert status == 200, answer


@pytest.fixture(scope="module")
def published():
    jsonschema = pytest.importorskip("jsonschema")
    if not OPENAPI.exists():
        pytest.skip("the published OpenAPI document is not here")
    document = json.loads(OPENAPI.read_text(encoding="utf-8"))

    def validator(name):
        return jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", **document})

    return validator


@pytest.mark.parametrize("body", GOOD_BODIES, ids=lambda value: repr(value)[75:130])
def test_good_requests_are_good_by_the_published_document(published, body):
    """The bodies that these tests call good are so by the API's own document."""
    published("CreateChatCompletionRequest").validate(body)


def test_answers_fit_the_published_document(published, shared):
    """Completions, errors and models have the published shapes."""
    published("CreateChatCompletionResponse").validate(call(shared, ask())[1])
    published("ErrorResponse").validate(call(shared, ask(nonsense=1))[1])
    published("ListModelsResponse").validate(get(shared, "/models")[1])
    published("Model").validate(get(shared, f"/models/{MODEL}")[1])


_SCRAPS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 200)
    | st.floats(-3, 3)
    | st.sampled_from(
        ["", "auto", "low", "user", "text", "json_object", "function", "none", "24h", "x" * 65]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "name", "function", "text", "mode", "id", "custom", "format"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_what_the_published_document_rejects_is_rejected(published, data):
    """No body that is wrong by the document passes here, whatever is put into its parameters."""
    from llmframe.testing._requests import check_completion
    from llmframe.testing._requests.openapi import COMPONENTS
    from llmframe.testing._wire import Invalid

    body = dict(data.draw(st.sampled_from(GOOD_BODIES)))
    for name in data.draw(
        st.lists(
            st.sampled_from([*sorted(COMPONENTS["CreateChatCompletionRequest"]["properties"]), "nonsense"]),
            max_size=2,
        )
    ):
        body[name] = data.draw(_SCRAPS)
    if body.get("messages") and isinstance(body["messages"], list) and data.draw(st.booleans()):
        body["messages"] = [*body["messages"], data.draw(_SCRAPS)]
    try:
        check_completion(json.loads(json.dumps(body)))
    except Invalid:
        return
    published("CreateChatCompletionRequest").validate(body)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'"x"', b"null", b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(shared, content):
    """Whatever is not a JSON object is a 400 without a parameter."""
    status, answer, _ = call(shared, content)
    assert (status, answer["error"]["param"], answer["error"]["code"]) == (400, None, None)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "array", "items": {}}, "schema must be"),
        ({"type": "object", "properties": {}}, "additionalProperties"),
        ({"type": "object", "properties": [], "additionalProperties": False}, "not valid for 'properties'"),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, "Missing 'a'"),
    ],
)
def test_a_strict_schema_must_be_closed_and_complete(shared, schema, reason):
    """Strict structured outputs take only the subset that the API takes."""
    shape = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    status, answer, _ = call(shared, ask(response_format=shape))
    assert status == 400
    assert reason in answer["error"]["message"]


def test_an_unknown_model_is_not_found(shared):
    """A model that is not offered is a 404 with the API's code, also when it is looked up."""
    status, answer, _ = call(shared, ask() | {"model": "gpt-2"})
    assert (status, answer["error"]["code"]) == (404, "model_not_found")
    status, answer, _ = get(shared, "/models/gpt-2")
    assert (status, answer["error"]["code"]) == (404, "model_not_found")


def test_unknown_addresses_and_methods_get_json_errors(shared):
    """A wrong path is a 404, a wrong method a 405, both with an error body."""
    status, answer, _ = call(shared, ask(), path="/nowhere")
    assert (status, answer["error"]["message"]) == (404, "Invalid URL (POST /v1/nowhere)")
    assert get(shared, "/chat/completions")[0] == 405


def test_a_key_is_needed():
    """No key, an empty key and a wrong key are 401 with the API's bodies; the key is masked."""
    with LocalServer(api_key="sk-right") as server:
        assert call(server, ask(), key="sk-right")[0] == 200
        status, answer, _ = call(server, ask(), key="sk-wrong-0123456789")
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
        assert "sk-wrong-0123456789" not in answer["error"]["message"]
        status, answer, _ = call(server, ask(), key=None)
        assert (status, answer["error"]["code"]) == (401, None)
        assert get(server, "/models")[0] == 401


ERROR_KINDS = {
    "408": (408, None),
    "409": (409, None),
    "500": (500, None),
    "503": (503, None),
    529: (529, None),
    "rate_limit": (429, "rate_limit_exceeded"),
    "too_large": (429, "rate_limit_exceeded"),
    "insufficient_quota": (429, "insufficient_quota"),
    "invalid_api_key": (401, "invalid_api_key"),
    "permission": (403, "missing_scope"),
    "model_not_found": (404, "model_not_found"),
    "context_length_exceeded": (400, "context_length_exceeded"),
    "unsupported_parameter": (400, "unsupported_parameter"),
}


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_an_error_fault_answers_with_the_apis_body(server, kind):
    """Each error has its status and code, and bills nothing."""
    server.faults = [Fault(kind)]
    status, answer, _ = call(server, ask())
    assert (status, answer["error"]["code"]) == ERROR_KINDS[kind]
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert (server.ledger.billed, server.ledger.answered, server.ledger.statuses) == (0, 0, {status: 1})


def test_every_error_kind_is_tested():
    """The list of errors above is complete, and so are the kinds."""
    kinds = {kind for kind in ERROR_KINDS if isinstance(kind, str)}
    assert kinds | {"502"} == set(ERROR_FAULTS)
    assert {"reset", "hang", "truncated", "garbled", "trickle"} == FAULT_KINDS - ERROR_FAULTS - ANSWER_FAULTS


def test_a_bad_gateway_is_a_page_of_html(server):
    """502 comes from a proxy that knows no JSON."""
    server.faults = [Fault("502")]
    status, answer, headers = call(server, ask())
    assert status == 502
    assert headers["content-type"] == "text/html"
    assert b"Bad Gateway" in answer


def test_a_rate_limit_says_when_to_come_back(server):
    """The 429 carries `retry-after` in seconds and milliseconds; other errors when told to."""
    server.faults = [Fault("rate_limit")]
    _, _, headers = call(server, ask())
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("1", "50")
    server.faults = [Fault("503", seconds=2.5)]
    _, _, headers = call(server, ask())
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("3", "2500")


def test_too_large_names_limit_and_size(server):
    """The 429 that no waiting helps has the API's wording."""
    server.faults = [Fault("too_large")]
    _, answer, _ = call(server, ask())
    assert answer["error"]["message"].startswith("Request too large for gpt-6-luna")
    assert "Limit 30000, Requested 36278" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("kind", "content", "reason"),
    [
        ("refusal", None, "stop"),
        ("content_filter", "", "content_filter"),
        ("length_empty", "", "length"),
        ("empty", "", "stop"),
    ],
)
def test_an_answer_fault_is_billed_but_says_nothing(server, kind, content, reason):
    """Status 200 without an answer comes in the API's forms, and is paid."""
    server.faults = [Fault(kind)]
    status, answer, _ = call(server, ask(max_completion_tokens=64))
    choice = answer["choices"][0]
    assert (status, choice["message"]["content"], choice["finish_reason"]) == (200, content, reason)
    assert bool(choice["message"]["refusal"]) == (kind == "refusal")
    if kind == "length_empty":
        assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 64
        assert answer["usage"]["completion_tokens"] == 64
    assert (server.ledger.billed, server.ledger.answered) == (1, 1)
    assert server.ledger.tokens == answer["usage"]["total_tokens"]


def test_an_answer_can_be_cut_or_have_no_choices(server):
    """`length_text` keeps the beginning of the answer, `empty_choices` has none at all."""
    server.faults = [Fault("length_text")]
    _, answer, _ = call(server, ask())
    assert answer["choices"][0]["finish_reason"] == "length"
    assert made_up_answer(ask()).startswith(content_of(answer))
    assert content_of(answer) != made_up_answer(ask())
    server.faults = [Fault("empty_choices")]
    assert call(server, ask())[1]["choices"] == []


def test_a_reset_comes_after_the_bill(server):
    """The connection is cut, though the answer was made and paid."""
    server.faults = [Fault("reset")]
    with pytest.raises(ConnectionResetError):
        call(server, ask())
    ledger = server.ledger
    assert (ledger.billed, ledger.answered, ledger.abandoned, ledger.in_flight) == (1, 0, 0, 0)
    assert not ledger.statuses


def test_a_truncated_answer_ends_before_its_length(server):
    """The body is shorter than its Content-Length says, and was paid."""
    server.faults = [Fault("truncated")]

    async def main():
        async with (
            aiohttp.ClientSession(headers={"authorization": "Bearer k"}) as session,
            session.post(f"{server.base_url}/chat/completions", json=ask()) as answer,
        ):
            assert answer.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()

    asyncio.run(main())
    assert (server.ledger.billed, server.ledger.answered, server.ledger.statuses) == (1, 0, {200: 1})


def test_a_garbled_answer_is_whole_but_no_json(server):
    """Status 200 with a complete body that cannot be parsed, and was paid."""
    server.faults = [Fault("garbled")]
    with pytest.raises(json.JSONDecodeError):
        call(server, ask())
    assert (server.ledger.billed, server.ledger.answered, server.ledger.statuses) == (1, 0, {200: 1})


def test_a_trickle_takes_its_time(server):
    """The body comes in drops and is whole in the end."""
    server.faults = [Fault("trickle", seconds=0.3)]
    begin = time.monotonic()
    _, answer, _ = call(server, ask())
    assert time.monotonic() - begin > 0.2
    assert content_of(answer) == made_up_answer(ask())
    assert server.ledger.answered == 1


def test_a_hang_lasts_until_the_client_leaves(server):
    """Nothing is answered and nothing is billed; the client that leaves is counted."""
    server.faults = [Fault("hang")]
    with pytest.raises(TimeoutError):
        call(server, ask(), timeout=0.1)
    assert server.ledger.wait_for(lambda ledger: ledger.abandoned == 1)
    assert (server.ledger.billed, server.ledger.in_flight) == (0, 0)


def test_a_hang_can_hang_up(server):
    """With a time given, the connection is cut then."""
    server.faults = [Fault("hang", seconds=0.05)]
    with pytest.raises(ConnectionResetError):
        call(server, ask())
    assert server.ledger.abandoned == 0


def test_a_server_with_hanging_requests_stops_at_once():
    """Stopping waits for nobody, and does not blame the client."""
    begin = time.monotonic()
    with LocalServer(faults=[Fault("hang")]) as server:

        def hang():
            with pytest.raises(OSError, match="reset"):
                call(server, ask())

        thread = threading.Thread(target=hang)
        thread.start()
        assert server.ledger.wait_for(lambda ledger: ledger.in_flight == 1)
    thread.join()
    assert time.monotonic() - begin < 1
    assert (server.ledger.abandoned, server.ledger.in_flight) == (0, 0)


def statuses(server, bodies):
    return [call(server, body)[0] for body in bodies]


def test_the_rate_of_a_fault_is_a_share_that_repeats():
    """The same seed hits the same requests, another seed others, and about the share that was asked for."""

    def hit(seed):
        with LocalServer(faults=[Fault("500", rate=0.3, seed=seed)]) as server:
            return statuses(server, [ask(str(i)) for i in range(200)])

    one = hit(0)
    assert one == hit(0)
    assert one != hit(1)
    assert 30 <= one.count(500) <= 90


def test_the_rate_is_drawn_again_for_each_attempt(server):
    """A request that was hit once may get through the next time."""
    server.faults = [Fault("500", rate=0.5)]
    assert set(statuses(server, [ask()] * 20)) == {200, 500}


def test_first_and_after_make_a_window(server):
    """`after` requests pass, then `first` are hit."""
    server.faults = [Fault("500", first=2, after=1)]
    assert statuses(server, [ask()] * 5) == [200, 500, 500, 200, 200]


def test_times_per_request_lets_retries_through(server):
    """Each distinct body is hit so often at most."""
    server.faults = [Fault("503", times_per_request=1)]
    assert statuses(server, [ask("a"), ask("b"), ask("a"), ask("b")]) == [503, 503, 200, 200]


def test_a_fault_can_choose_its_requests(server):
    """`when` sees the body; the first fault that applies wins."""
    server.faults = [
        Fault("refusal", when=lambda body: "b" in body["messages"][0]["content"]),
        Fault(418, after=2),
    ]
    assert statuses(server, [ask("a"), ask("b"), ask("c"), ask("b")]) == [200, 200, 418, 200]


@pytest.mark.parametrize("bad", [{"kind": "nonsense"}, {"kind": 200}, {"kind": "500", "rate": 2}])
def test_a_fault_that_makes_no_sense_is_refused(bad):
    """A wrong kind or rate is an error at once."""
    with pytest.raises(ValueError, match=r"kind|status|rate"):
        Fault(**bad)


def test_requests_over_the_limit_are_refused_with_headers():
    """Beyond the bucket comes 429, with the state of the limit and when to come back."""
    with LocalServer(limits=Limits(requests_per_minute=60, tokens_per_minute=6000, burst=2)) as server:
        seen = [call(server, ask("x")) for _ in range(3)]
    assert [status for status, _, _ in seen] == [200, 200, 429]
    first, last = seen[0][2], seen[2][2]
    assert (first["x-ratelimit-limit-requests"], first["x-ratelimit-limit-tokens"]) == ("60", "6000")
    assert first["x-ratelimit-remaining-requests"] == "1"
    assert int(first["x-ratelimit-remaining-tokens"]) < 200
    assert first["x-ratelimit-reset-requests"].endswith("s")
    assert 1 <= int(last["retry-after-ms"]) <= 1000
    assert last["retry-after"] == "1"
    assert seen[2][1]["error"]["code"] == "rate_limit_exceeded"
    assert server.ledger.statuses == {200: 2, 429: 1}


def test_limits_can_be_silent():
    """Without headers a 429 says nothing but its body."""
    limits = Limits(requests_per_minute=60, burst=1, retry_after=False)
    with LocalServer(limits=limits, headers=False) as server:
        seen = [call(server, ask()) for _ in range(2)]
    assert [status for status, _, _ in seen] == [200, 429]
    for _, _, headers in seen:
        assert not [name for name in headers if "ratelimit" in name or "retry" in name]


def test_a_server_without_limits_names_none(shared):
    """No limit, no header."""
    assert not [name for name in call(shared, ask())[2] if "ratelimit" in name]


def test_waiting_as_told_gets_through():
    """After `retry-after-ms` the request passes."""
    with LocalServer(limits=Limits(requests_per_minute=600, burst=0.1, count_refused=False)) as server:
        assert call(server, ask())[0] == 200
        status, _, headers = call(server, ask())
        assert status == 429
        time.sleep(int(headers["retry-after-ms"]) / 1000)
        assert call(server, ask())[0] == 200


def test_a_request_that_can_never_fit_says_so():
    """More tokens than the limit of a minute is the other 429; `max_completion_tokens` counts in full."""
    with LocalServer(limits=Limits(tokens_per_minute=1000)) as server:
        assert call(server, ask())[0] == 200
        status, answer, headers = call(server, ask(max_completion_tokens=2000))
    assert status == 429
    assert answer["error"]["message"].startswith("Request too large")
    assert "retry-after" not in headers


def test_limits_can_change_while_the_server_runs(server):
    """Setting limits takes effect at once, and a reset fills the allowance."""
    server.limits = Limits(requests_per_minute=1, burst=0.1)
    assert statuses(server, [ask()] * 2) == [200, 429]
    server.reset()
    assert statuses(server, [ask()]) == [200]
    server.limits = None
    assert statuses(server, [ask()] * 3) == [200] * 3


@settings(deadline=None)
@given(
    st.integers(60, 6000),
    st.floats(0.05, 2),
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 400)), max_size=80),
)
def test_no_pattern_of_requests_gets_more_than_the_limit(limit, burst, steps):
    """Over any stretch, admitted tokens stay within the refill, one bucket and one request."""
    limiter, now, admitted, dearest = (
        RateLimiter(Limits(tokens_per_minute=limit, burst=burst), 0.0),
        0.0,
        0,
        0,
    )
    for pause, tokens in steps:
        now += pause
        if limiter.admit(tokens, now) is None:
            admitted, dearest = admitted + tokens, max(dearest, tokens)
    assert admitted <= limit / 60 * now + max(1, limit / 60 * burst) + dearest + 1e-6


def test_the_wait_that_a_refusal_names_is_right():
    """One who waits as told is let through, and one who comes earlier is not."""
    limits = Limits(requests_per_minute=600, burst=0.1, count_refused=False)
    limiter = RateLimiter(limits, 0.0)
    assert limiter.admit(1, 0.0) is None
    refusal = limiter.admit(1, 0.02)
    assert refusal.wait == pytest.approx(0.08)
    assert limiter.admit(1, 0.09) is not None
    assert limiter.admit(1, 0.1 + 1e-6) is None


def test_refused_requests_use_up_the_limit():
    """Hammering makes it worse, as it does at OpenAI."""

    def admitted(*, count_refused):
        limiter = RateLimiter(Limits(requests_per_minute=600, burst=0.1, count_refused=count_refused), 0.0)
        return sum(limiter.admit(1, i / 100) is None for i in range(1000))

    assert admitted(count_refused=False) >= 90
    assert admitted(count_refused=True) < 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.12, "120ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (360, "6m0s"),
        (90.25, "1m30.25s"),
        (3600, "1h0m0s"),
    ],
)
def test_durations_are_written_as_the_api_does(seconds, text):
    """Resets are durations with units."""
    assert duration(seconds) == text


def test_a_limit_that_makes_no_sense_is_refused():
    """Zero is an error that says how to have no limit."""
    with pytest.raises(ValueError, match="requests_per_minute must be greater than 0"):
        Limits(requests_per_minute=0)


def test_the_ledger_counts_what_was_billed_by_request(server):
    """Equal bodies are one entry, whatever the order of their keys."""
    call(server, ask("a"))
    call(server, dict(reversed(ask("a").items())))
    call(server, ask("b"))
    ledger = server.ledger
    assert ledger.billed_by_request == {request_digest(ask("a")): 2, request_digest(ask("b")): 1}
    assert ledger.bodies == [ask("a"), ask("a"), ask("b")]
    assert (ledger.requests, ledger.answered, ledger.billed, ledger.in_flight) == (3, 3, 3, 0)
    assert list(ledger.arrivals) == sorted(ledger.arrivals)
    assert ledger.headers["authorization"] == "Bearer k"
    server.reset()
    assert (ledger.requests, ledger.tokens, ledger.bodies) == (0, 0, [])
    assert not ledger.billed_by_request


def test_the_ledger_can_be_asked_over_http(server):
    """Another process reads the counts as JSON, without a key, and details when it wants them."""
    call(server, ask())
    _, counts, _ = get(server, "llmframe/ledger")
    assert (counts["requests"], counts["billed"], counts["statuses"]) == (1, 1, {"200": 1})
    assert "arrivals" not in counts
    _, counts, _ = get(server, "llmframe/ledger?full=1")
    assert counts["billed_by_request"] == {request_digest(ask()): 1}
    assert len(counts["arrivals"]) == 1


def test_the_ledger_sees_how_many_are_in_flight():
    """Requests at the same time are counted, now and at most."""
    with LocalServer(latency=lambda random: 0.2 + random.random() / 100, keep_bodies=False) as server:

        async def main():
            async with aiohttp.ClientSession(headers={"authorization": "Bearer k"}) as session:

                async def one(i):
                    async with session.post(
                        f"{server.base_url}/chat/completions", json=ask(str(i))
                    ) as answer:
                        return (await answer.json())["choices"][0]["message"]["content"]

                return await asyncio.gather(*(one(i) for i in range(50)))

        assert asyncio.run(main()) == [made_up_answer(ask(str(i))) for i in range(50)]
        assert (server.ledger.max_in_flight, server.ledger.in_flight, server.ledger.bodies) == (50, 0, [])


def test_a_client_that_leaves_early_is_not_billed():
    """Leaving during the latency is counted as abandoned, nothing else."""
    with LocalServer(latency=30) as server:
        with pytest.raises(TimeoutError):
            call(server, ask(), timeout=0.1)
        assert server.ledger.wait_for(lambda ledger: ledger.abandoned == 1)
        assert (server.ledger.billed, server.ledger.in_flight) == (0, 0)


def test_a_large_body_is_taken(server):
    """Megabytes of prompt are no problem."""
    assert call(server, ask("x" * 5_000_000))[0] == 200


def test_an_outage_refuses_connections_and_ends(server):
    """While it is down connections are refused, then it is back at the same address."""
    address = server.base_url
    with server.outage():
        with pytest.raises(urllib.error.URLError, match="refused"):
            call(server, ask())
        server.down()
    server.up()
    assert server.base_url == address
    assert call(server, ask())[0] == 200


def test_an_outage_cuts_what_is_in_flight():
    """Requests under way see a reset, idle connections are gone too."""
    with LocalServer(latency=30) as server:

        async def main():
            async with aiohttp.ClientSession(headers={"authorization": "Bearer k"}) as session:
                async with session.get(f"{server.base_url}/models") as answer:
                    await answer.read()
                task = asyncio.create_task(session.post(f"{server.base_url}/chat/completions", json=ask()))
                await asyncio.to_thread(server.ledger.wait_for, lambda ledger: ledger.in_flight == 1)
                await asyncio.to_thread(server.down)
                with pytest.raises(aiohttp.ClientConnectionError):
                    await task

        begin = time.monotonic()
        asyncio.run(main())
        assert time.monotonic() - begin < 1
        assert (server.ledger.abandoned, server.ledger.in_flight, server.ledger.billed) == (0, 0, 0)
        server.up()
        assert get(server, "/models")[0] == 200


def test_an_outage_cuts_connections_that_are_just_being_made():
    """Whoever got through sees the connection end, also the one that was taken at the last moment."""
    made = []
    over = threading.Event()

    def connect():
        while not over.is_set():
            with suppress(ConnectionError):
                made.append(socket.create_connection(address, timeout=30))

    with LocalServer() as server:
        parts = urlsplit(server.base_url)
        address = parts.hostname, parts.port
        thread = threading.Thread(target=connect)
        thread.start()
        for _ in range(40):
            before = len(made)
            while len(made) < before + 5:
                time.sleep(0)
            with server.outage():
                pass
        over.set()
        thread.join()
    for client in made:
        with client, suppress(ConnectionError):
            client.send(
                b"P"
            )  # as Linux may close a listener on a handshake's last step and tell nobody till then
            assert client.recv(1) == b""


def test_a_server_can_start_again_on_its_port():
    """Stopping frees the port, starting takes the same one; both may be said twice."""
    server = LocalServer()
    with pytest.raises(RuntimeError, match="no address yet"):
        _ = server.base_url
    with pytest.raises(RuntimeError, match="not running"):
        server.down()
    address = server.start().start().base_url
    assert call(server, ask())[0] == 200
    server.stop()
    server.stop()
    with pytest.raises(urllib.error.URLError):
        call(server, ask())
    with server:
        assert server.base_url == address
        assert call(server, ask())[0] == 200
        assert repr(server) == f"<LocalServer {address}>"
    assert server.ledger.answered == 2


def test_a_server_can_stop_while_it_is_down():
    """Nothing is left open after an outage that never ended."""
    server = LocalServer().start()
    server.down()
    server.stop()
    with server:
        assert call(server, ask())[0] == 200


def test_a_port_that_is_taken_is_an_error():
    """The error of the operating system reaches the caller, and no thread stays behind."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        before = threading.active_count()
        with pytest.raises(OSError):
            LocalServer(port=taken.getsockname()[1]).start()
        assert threading.active_count() == before


def test_outages_under_load_lose_no_count():
    """Whatever is cut while many requests run, each one ends in the ledger once."""
    with LocalServer(latency=0.005) as server:

        async def main():
            async with aiohttp.ClientSession(headers={"authorization": "Bearer k"}) as session:
                ended = asyncio.Event()

                async def keep_asking(i):
                    answered = 0
                    while not ended.is_set():
                        try:
                            async with session.post(
                                f"{server.base_url}/chat/completions", json=ask(str(i))
                            ) as answer:
                                await answer.read()
                                answered += 1
                        except aiohttp.ClientError:
                            await asyncio.sleep(0.005)
                    return answered

                tasks = [asyncio.create_task(keep_asking(i)) for i in range(30)]
                for _ in range(5):
                    await asyncio.sleep(0.05)
                    await asyncio.to_thread(server.down)
                    assert server.ledger.in_flight == 0
                    await asyncio.sleep(0.01)
                    await asyncio.to_thread(server.up)
                await asyncio.sleep(0.05)
                ended.set()
                return sum(await asyncio.gather(*tasks))

        answered = asyncio.run(main())
        ledger = server.ledger
        assert 0 < answered <= ledger.answered == ledger.statuses[200] <= ledger.billed <= ledger.requests
        assert (ledger.in_flight, ledger.abandoned) == (0, 0)


def test_stopping_leaves_no_thread_behind():
    """The server's thread ends with it."""
    before = threading.active_count()
    with LocalServer() as server:
        call(server, ask())
    assert threading.active_count() == before


def test_the_fixture_gives_a_running_server(pytester):
    """`llm_server` is there for whoever names the plugin."""
    pytester.makeconftest('pytest_plugins = ["llmframe.testing.fixtures"]')
    pytester.makepyfile(
        "def test_it(llm_server):\n    assert llm_server.base_url.startswith('http://127.0.0.1:')\n"
    )
    pytester.runpytest_inprocess("-p", "no:asyncio").assert_outcomes(passed=1)


def test_importing_it_is_cheap():
    """Neither aiohttp nor pytest nor the SDK is loaded before a server starts."""
    code = "import sys, llmframe.testing; print([m for m in ('aiohttp', 'pytest', 'openai') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_sample_has_rows():
    """The shipped reviews come as a frame."""
    if not resources.files("llmframe").joinpath("data", "reviews.csv").is_file():
        pytest.skip("the sample file is not here")
    assert len(reviews()) > 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without telling it")
def test_serve_runs_until_it_is_told_to_stop():
    """A process of its own announces its address, answers, and ends cleanly on SIGTERM."""
    code = "from llmframe.testing import serve; serve(0, ready=lambda url: print(url, flush=True))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        request = urllib.request.Request(f"{url}/models", headers={"authorization": "Bearer k"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
        process.terminate()
        assert process.wait(timeout=5) == 0
