"""What the local server accepts and refuses, and with which errors."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi import validator
from testing.client import MODEL, ask, call, get

from llmframe.testing import LocalServer
from llmframe.testing._requests import check_completion
from llmframe.testing._requests.openapi import COMPONENTS
from llmframe.testing._wire import Invalid

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


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (ask() | {"temperature": 9, "nonsense": 1}, "decimal_above_max_value", "temperature"),
        (ask() | {"nonsense": 1, "temperature": 9}, "unknown_parameter", "nonsense"),
        ({"n": 0} | ask() | {"messages": []}, "integer_below_min_value", "n"),
        (
            ask() | {"messages": [{"mood": 1, "role": "user"}]},
            "missing_required_parameter",
            "messages[0].content",
        ),
        (
            ask()
            | {
                "messages": [
                    {"role": "user", "user": 1, "content": [{"text": 1, "type": "text", "text2": 1}]}
                ]
            },
            "unknown_parameter",
            "messages[0].user",
        ),
        (
            ask(tools=[{"type": "function", "function": {"name": "f", "strict": True}, "strict": True}]),
            "unknown_parameter",
            "tools[0].strict",
        ),
        (
            ask(tools=[{"type": "function", "function": {"name": "f", "strict": 1}, "strict": True}]),
            "invalid_type",
            "tools[0].function.strict",
        ),
    ],
)
def test_of_several_errors_the_first_in_the_body_is_reported(shared, body, code, param):
    """Within an object, a key that is missing comes before all that are there."""
    _, answer, _ = call(shared, body)
    assert (answer["error"]["code"], answer["error"]["param"]) == (code, param)


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


@pytest.mark.parametrize("body", GOOD_BODIES, ids=lambda value: repr(value)[75:130])
def test_good_requests_are_good_by_the_published_document(body):
    """The bodies that these tests call good are so by the API's own document."""
    validator("CreateChatCompletionRequest").validate(body)


def test_answers_fit_the_published_document(shared):
    """Completions, errors and models have the published shapes."""
    validator("CreateChatCompletionResponse").validate(call(shared, ask())[1])
    validator("ErrorResponse").validate(call(shared, ask(nonsense=1))[1])
    validator("ListModelsResponse").validate(get(shared, "/models")[1])
    validator("Model").validate(get(shared, f"/models/{MODEL}")[1])


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


@settings(max_examples=400)
@given(data=st.data())
def test_what_the_published_document_rejects_is_rejected(data):
    """No body that is wrong by the document passes here, whatever is put into its parameters."""
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
    validator("CreateChatCompletionRequest").validate(body)


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
