"""Decisions of the local server: what it takes, what it answers, and which faults it has."""

from __future__ import annotations

import copy
import json

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from testing.batch_client import rows
from testing.client import MODEL, call, get, send, statuses

from llmframe.testing import Fault, Limits, LocalServer, Reply, reviews
from llmframe.testing._requests import check_decision
from llmframe.testing._requests.openapi import COMPONENTS
from llmframe.testing._wire import Invalid

PATH = "/decisions"
SPAM = {"type": "predicate", "name": "spam", "instructions": "This is advertising."}
TOPIC = {
    "type": "choice",
    "name": "topic",
    "instructions": "What is it about?",
    "choices": [{"value": "billing", "description": "invoices and refunds"}, {"value": "bug"}],
}
URGENCY = {
    "type": "score",
    "instructions": "How urgent is it?",
    "levels": [{"label": "low"}, {"label": "mid"}, {"label": "high"}],
}
TONE = {
    "type": "choice",
    "instructions": "What is the tone?",
    "choices": [{"value": "praise"}, {"value": "complaint"}],
}


def questions(*asked, **more):
    return {"model": MODEL, "input": "The app has a bug.", "questions": list(asked or [SPAM]), **more}


def decide(server, body):
    return call(server, body, path=PATH)


def answers(server, *asked, **more):
    status, body, _ = decide(server, questions(*asked, **more))
    assert status == 200, body
    return body["answers"]


def test_a_decision_answers_each_question_in_order(server):
    status, body, headers = decide(server, questions(SPAM, TOPIC, URGENCY))
    assert status == 200
    assert headers["x-request-id"].startswith("req_")
    assert body.keys() == {"answers", "model", "usage"}
    predicate, choice, score = body["answers"]
    assert predicate.keys() == {"name", "type", "probability"}
    assert (predicate["name"], choice["name"], score["name"]) == ("spam", "topic", None)
    assert choice.keys() == {"name", "type", "choice", "confidence", "probabilities"}
    assert [each["value"] for each in choice["probabilities"]] == ["billing", "bug"]
    assert score.keys() == {"name", "type", "score", "confidence", "probabilities"}
    assert [(each["label"], each["value"]) for each in score["probabilities"]] == [
        ("low", 0),
        ("mid", 1),
        ("high", 2),
    ]
    assert 0 <= score["score"] <= 2
    usage = body["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] == server.ledger.tokens
    assert usage["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}
    assert (server.ledger.billed, server.ledger.answered, server.ledger.requests) == (1, 1, 1)


@pytest.mark.asyncio
async def test_the_sdk_reads_it_with_its_own_types(server, api):
    decision_types = pytest.importorskip("openai.types.decision", reason="SDKs before 3.57 have no decisions")
    decision = await api.decisions.create(**questions(SPAM, TOPIC, URGENCY))
    assert isinstance(decision, decision_types.Decision)
    assert [answer.type for answer in decision.answers] == ["predicate", "choice", "score"]
    assert decision.answers[1].choice == "bug"
    server.faults = [Fault("refusal", questions="topic")]
    refused = await api.decisions.create(**questions(SPAM, TOPIC))
    assert [answer.type for answer in refused.answers] == ["predicate", "refusal"]
    for answered in (decision, refused):
        decision_types.Decision.model_validate(answered.model_dump(), strict=True)


def test_equal_requests_get_equal_answers(server):
    asked = questions(SPAM, TOPIC, URGENCY, input="No telling word.")
    first = decide(server, asked)[1]
    assert decide(server, asked | {"safety_identifier": "me", "prompt_cache_key": "k"})[1] == first
    assert decide(server, asked | {"input": "Another text."})[1]["answers"] != first["answers"]


@given(text=st.text(), count=st.integers(2, 40))
def test_the_choice_is_the_most_probable_and_probabilities_sum_to_one(shared, text, count):
    choices = [{"value": f"label {i}"} for i in range(count)]
    (answer,) = answers(shared, {**TOPIC, "choices": choices}, input=text.encode(errors="ignore").decode())
    probabilities = {each["value"]: each["probability"] for each in answer["probabilities"]}
    assert probabilities[answer["choice"]] == max(probabilities.values())
    assert sum(probabilities.values()) == pytest.approx(1, abs=0.01)
    assert 0 <= answer["confidence"] <= 1


@pytest.mark.parametrize(
    ("question", "text", "said"),
    [
        (TOPIC, "There is a bug in it.", "bug"),
        (TOPIC, "Where are my refunds?", "billing"),
        (TONE, "I love it, great sound.", "praise"),
        (TONE, "It broke. Useless.", "complaint"),
        (
            {**TOPIC, "choices": [{"value": True}, {"value": False}], "instructions": "Is this a complaint?"},
            "It broke.",
            True,
        ),
        (
            {
                **TOPIC,
                "choices": [{"value": "true"}, {"value": True}],
                "instructions": "Is this a complaint?",
            },
            "It broke.",
            True,
        ),
    ],
)
def test_a_choice_agrees_with_the_text_and_is_likely(server, question, text, said):
    (answer,) = answers(server, question, input=text)
    assert answer["choice"] == said
    assert max(each["probability"] for each in answer["probabilities"]) >= 0.75


def test_predicates_and_scores_agree_with_the_text(server):
    statement = {"type": "predicate", "instructions": "The customer complains: a complaint."}
    levels = {**URGENCY, "levels": [{"label": "bad"}, {"label": "neutral"}, {"label": "good"}]}
    asked = [
        answers(server, statement, levels, input=text) for text in ("It broke, awful.", "I love it, great.")
    ]
    (complains, low), (praises, high) = asked
    assert complains["probability"] > 0.75
    assert praises["probability"] < 0.25
    assert low["score"] < 0.75
    assert high["score"] > 1.25


def test_the_last_user_message_is_what_is_asked_about(server):
    messages = [
        {"role": "system", "content": "You read mail."},
        {"role": "user", "content": "billing"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "billing"}]},
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "A"}, {"type": "input_json", "data": {"it": "bug"}}],
        },
    ]
    assert answers(server, TOPIC, input=messages)[0]["choice"] == "bug"


def test_the_shipped_reviews_get_every_label_and_some_doubt(shared):
    found = [answers(shared, TONE, input=text)[0] for text in reviews()["review"].dropna().head(60)]
    assert {answer["choice"] for answer in found} == {"praise", "complaint"}
    likely = [max(each["probability"] for each in answer["probabilities"]) for answer in found]
    assert min(likely) < 0.7
    assert max(likely) > 0.9


def changed(path, value):
    """Return a good body with one value replaced, or taken out by `...`."""
    body = copy.deepcopy(
        questions(
            SPAM,
            TOPIC,
            URGENCY,
            input=[{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        )
    )
    *steps, last = path
    inner = body
    for step in steps:
        inner = inner[step]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return body


def image(url, **more):
    return {"type": "input_image", "image_url": url, **more}


def nested(levels):
    return {"a": nested(levels - 1)} if levels > 1 else {}


CONTENT = ("input", 0, "content")
OUTPUT = {"type": "function_call_output", "call_id": "1", "output": "x"}
CALL = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}
BAD = [
    (changed(["model"], ...), None, None),
    (changed(["model"], 7), "invalid_type", "model"),
    (changed(["input"], ...), "missing_required_parameter", "input"),
    (changed(["input"], None), "invalid_type", "input"),
    (changed(["input"], []), "empty_array", "input"),
    (changed(["input", 0], "text"), "invalid_type", "input[0]"),
    (changed(["input", 0, "role"], "tool"), "invalid_value", "input[0].role"),
    (changed(["input", 0, "role"], ...), "missing_required_parameter", "input[0].type"),
    (changed(["input", 0, "name"], "me"), "unknown_parameter", "input[0].name"),
    (changed(CONTENT, None), "invalid_type", "input[0].content"),
    (changed([*CONTENT, 0], {"type": "text", "text": "x"}), "invalid_value", "input[0].content[0].type"),
    (
        changed([*CONTENT, 0], image("https://a/b.png", detail="huge")),
        "invalid_value",
        "input[0].content[0].detail",
    ),
    (changed([*CONTENT, 0], image("file-123")), "invalid_value", "input[0].content[0].image_url"),
    (changed([*CONTENT, 0], {"type": "input_json", "data": "x"}), "invalid_type", "input[0].content[0].data"),
    (
        changed([*CONTENT, 0], {"type": "input_json", "data": nested(33)}),
        "invalid_value",
        "input[0].content[0].data",
    ),
    (
        changed([*CONTENT, 0], {"type": "input_json", "data": {"a": [0] * 10_000}}),
        "invalid_value",
        "input[0].content[0].data",
    ),
    (
        changed([*CONTENT, 0], {"type": "input_json", "data": {"a": "x" * 262_144}}),
        "invalid_value",
        "input[0].content[0].data",
    ),
    (changed(["input"], [OUTPUT]), None, "input[0].call_id"),
    (changed(["questions"], []), "empty_array", "questions"),
    (changed(["questions"], [TONE] * 401), "array_above_max_length", "questions"),
    (changed(["questions", 0, "type"], "guess"), "invalid_value", "questions[0].type"),
    (
        changed(["questions", 0, "instructions"], ...),
        "missing_required_parameter",
        "questions[0].instructions",
    ),
    (changed(["questions", 0, "name"], None), "invalid_type", "questions[0].name"),
    (changed(["questions", 1, "name"], "spam"), "invalid_value", "questions[1].name"),
    (changed(["questions", 0, "choices"], []), "unknown_parameter", "questions[0].choices"),
    (
        changed(["questions", 1, "choices"], [{"value": "a"}]),
        "array_below_min_length",
        "questions[1].choices",
    ),
    (
        changed(["questions", 1, "choices"], [{"value": str(i)} for i in range(256)]),
        "array_above_max_length",
        "questions[1].choices",
    ),
    (changed(["questions", 1, "choices", 1], "bug"), "invalid_type", "questions[1].choices[1]"),
    (changed(["questions", 1, "choices", 1, "value"], 1), "invalid_type", "questions[1].choices[1].value"),
    (
        changed(["questions", 1, "choices", 1, "value"], "billing"),
        "invalid_value",
        "questions[1].choices[1].value",
    ),
    (
        changed(["questions", 1, "choices", 1, "description"], None),
        "invalid_type",
        "questions[1].choices[1].description",
    ),
    (changed(["questions", 2, "levels"], [{"label": "a"}]), "array_below_min_length", "questions[2].levels"),
    (changed(["questions", 2, "levels", 2, "label"], "low"), "invalid_value", "questions[2].levels[2].label"),
    (changed(["temperature"], 0), "unknown_parameter", "temperature"),
    (changed(["seed"], 1), "unknown_parameter", "seed"),
    (changed(["service_tier"], "flex"), "unknown_parameter", "service_tier"),
    (changed(["reasoning_effort"], "low"), "unknown_parameter", "reasoning_effort"),
    (changed(["prompt_cache_options"], {"ttl": "1h"}), "invalid_value", "prompt_cache_options.ttl"),
    (changed(["safety_identifier"], "x" * 65), "string_above_max_length", "safety_identifier"),
]


@pytest.mark.parametrize(("body", "code", "param"), BAD, ids=lambda value: repr(value)[-60:])
def test_a_bad_request_gets_the_apis_error(shared, body, code, param):
    status, answer, _ = decide(shared, body)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert (answer["error"]["code"], answer["error"]["param"]) == (code, param)


GOOD = [
    changed(["input"], "Hi"),
    changed(["input"], [CALL, OUTPUT]),
    changed(["input", 0, "type"], "message"),
    changed([*CONTENT, 0], image("data:image/png;base64,aW1nIGJ5dGVzIGhlcmU=", detail=None)),
    changed([*CONTENT, 0], {"type": "input_json", "data": [{"a": nested(30)}]}),
    changed(["input", 0], {"role": "assistant", "content": "x", "phase": "commentary"}),
    changed(["questions"], [TONE] * 400),
    changed(["questions", 1, "choices"], [{"value": str(i)} for i in range(255)]),
    changed(["questions", 1, "choices"], [{"value": "true"}, {"value": True}]),
    changed(
        ["questions", 0, "instructions"], [{"type": "input_text", "text": "Spam."}, image("https://a/b")]
    ),
    changed(["prompt_cache_options"], {"mode": None, "ttl": "30m"}),
    changed(["prompt_cache_key"], None),
]


@pytest.mark.parametrize("body", GOOD, ids=lambda value: repr(value)[-60:])
def test_a_good_request_is_answered(shared, body):
    status, answer, _ = decide(shared, body)
    assert status == 200, answer
    assert len(answer["answers"]) == len(body["questions"])


@pytest.fixture(scope="module")
def sdk():
    """Give a check by the types of the SDK, which do not forbid further members."""
    params = pytest.importorskip(
        "openai.types.decision_create_params", reason="SDKs before 3.57 have no decisions"
    )
    import pydantic

    adapter = pydantic.TypeAdapter(params.DecisionCreateParams)

    def complete(value):
        """Run through what pydantic checks only when it is iterated over."""
        if isinstance(value, dict):
            return {name: complete(each) for name, each in value.items()}
        return (
            value
            if isinstance(value, str | bytes | int | float | None)
            else [complete(each) for each in value]
        )

    return lambda body: complete(adapter.validate_python(body))


_SCRAPS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 200)
    | st.sampled_from(["", "user", "input_text", "message", "choice", "predicate", "30m", "low", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "name", "value", "label", "text", "output", "call_id"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@given(data=st.data())
def test_what_the_types_of_the_sdk_reject_is_rejected(sdk, data):
    body = copy.deepcopy(data.draw(st.sampled_from(GOOD[:6] + GOOD[8:])))
    for _ in range(data.draw(st.integers(0, 2))):
        inner, steps = body, 0
        while steps < 6 and isinstance(inner, dict | list) and inner:
            names = list(inner) if isinstance(inner, dict) else range(len(inner))
            name = data.draw(st.sampled_from(names))
            if data.draw(st.booleans()) or not isinstance(inner[name], dict | list):
                inner[name] = data.draw(_SCRAPS)
                break
            inner, steps = inner[name], steps + 1
    try:
        check_decision(json.loads(json.dumps(body)))
    except Invalid:
        return
    sdk(body)


@pytest.mark.parametrize("body", GOOD, ids=lambda value: repr(value)[-60:])
def test_good_requests_are_good_by_the_types_of_the_sdk(sdk, body):
    sdk(body)


def test_the_components_have_the_members_of_the_sdks_types(sdk):
    from openai.types import decision_create_params as params

    pairs = {
        "CreateDecisionRequest": params.DecisionCreateParams,
        "DecisionPredicate": params.QuestionQuestionParamPredicate,
        "DecisionChoice": params.QuestionQuestionParamChoice,
        "DecisionScore": params.QuestionQuestionParamScore,
        "DecisionUserMessage": params.InputUnionMember1DecisionInputUserMessage,
        "DecisionAssistantMessage": params.InputUnionMember1DecisionInputAssistantMessage,
        "DecisionFunctionCall": params.InputUnionMember1DecisionInputFunctionCall,
        "DecisionFunctionCallOutput": params.InputUnionMember1DecisionInputFunctionCallOutput,
        "DecisionCustomToolCall": params.InputUnionMember1DecisionInputCustomToolCall,
        "DecisionCustomToolCallOutput": params.InputUnionMember1DecisionInputCustomToolCallOutput,
        "DecisionInputText": params.DecisionInputTextParam,
        "DecisionInputImage": params.DecisionInputImageParam,
    }
    for name, kind in pairs.items():
        assert COMPONENTS[name]["properties"].keys() == kind.__annotations__.keys(), name
        required = {member for member, hint in kind.__annotations__.items() if "Required[" in str(hint)}
        assert set(COMPONENTS[name]["required"]) == required, name


def test_only_models_that_decide_are_taken():
    with LocalServer(models=["gpt-6-luna", "small"], decision_models=["gpt-6-luna"]) as server:
        assert decide(server, questions(model="gpt-6-luna"))[0] == 200
        status, answer, _ = decide(server, questions(model="small"))
        assert (status, answer["error"]["param"]) == (400, "model")
        status, answer, _ = decide(server, questions(model="gpt-2"))
        assert (status, answer["error"]["code"]) == (404, "model_not_found")
    with LocalServer(models=["small"], decision_models=["small"]) as server:
        assert decide(server, questions(model="small"))[0] == 200


def test_a_server_without_such_models_has_no_such_endpoint():
    with LocalServer(decision_models=()) as server:
        status, answer, _ = decide(server, questions())
        assert (status, answer["error"]["message"]) == (404, "Invalid URL (POST /v1/decisions)")


def test_other_methods_and_bodies_are_refused(shared):
    assert get(shared, PATH)[0] == 405
    assert decide(shared, b"[1]")[0] == 400
    assert send(shared, PATH, questions(), method="POST", key=None)[0] == 401


@pytest.mark.asyncio
async def test_batches_take_no_decisions(server, api):
    """Neither as the endpoint of a batch nor as the address of a line."""
    content = "".join(json.dumps({**row, "url": "/v1/decisions"}) + "\n" for row in rows(2)).encode()
    file = await api.files.create(file=("x.jsonl", content), purpose="batch")
    with pytest.raises(openai.BadRequestError) as caught:
        await api.batches.create(input_file_id=file.id, endpoint="/v1/decisions", completion_window="24h")
    assert caught.value.code == "invalid_value"
    batch = await api.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    server.advance(1)
    batch = await api.batches.retrieve(batch.id)
    assert (batch.status, batch.errors.data[0].code) == ("failed", "invalid_url")


def test_limits_and_latency_are_those_of_all_requests():
    with LocalServer(limits=Limits(requests_per_minute=1, burst=60)) as server:
        found = [decide(server, questions()) for _ in range(2)]
        assert [status for status, _, _ in found] == [200, 429]
        assert found[0][2]["x-ratelimit-remaining-requests"] == "0"


@pytest.mark.parametrize(
    ("chosen", "refused"),
    [
        ((), [True] * 3),
        ("topic", [False, True, False]),
        ([0, 2], [True, False, True]),
        (["spam", 1], [True, True, False]),
    ],
)
def test_a_refusal_refuses_questions_by_name_or_position(server, chosen, refused):
    server.faults = [Fault("refusal", questions=chosen)]
    found = answers(server, SPAM, TOPIC, URGENCY)
    assert [answer["type"] == "refusal" for answer in found] == refused
    assert [answer["name"] for answer in found] == ["spam", "topic", None]
    assert all(answer.keys() == {"name", "type"} for answer in found if answer["type"] == "refusal")
    assert server.ledger.billed == 1


def test_faults_hit_decisions_by_their_texts_and_paths(server):
    server.faults = [
        Fault("500", when="flagged"),
        Fault("refusal", when="half", questions=[0]),
        Fault("fenced", when="fine"),
        Fault(503, path="/v1/decisions", first=1),
    ]
    texts = [questions(input=text) for text in ("flagged", "half", "fine", "fine")]
    found = [decide(server, body)[0] for body in texts]
    assert found == [500, 200, 200, 200]
    assert statuses(server, [{"model": MODEL, "messages": [{"role": "user", "content": "flagged"}]}]) == [500]


def test_faults_of_decisions_do_not_hit_completions(server):
    server.faults = [Fault(503, path="/v1/decisions"), Fault("refusal", questions=[0])]
    assert statuses(server, [{"model": MODEL, "messages": [{"role": "user", "content": "x"}]}]) == [200]
    assert decide(server, questions())[0] == 503


def test_a_lost_decision_is_billed(server):
    server.faults = [Fault("garbled")]
    with pytest.raises(json.JSONDecodeError):
        decide(server, questions())
    assert (server.ledger.billed, server.ledger.answered) == (1, 0)


def test_a_reply_changes_a_decision_or_replaces_it(server):
    server.faults = [
        Fault(
            Reply(completion={"answers": lambda found: found[:-1], "usage": ...}),
            path="/v1/decisions",
            first=1,
        ),
        Fault(Reply(200, {"answers": []})),
    ]
    _, body, _ = decide(server, questions(SPAM, TOPIC))
    assert ([answer["name"] for answer in body["answers"]], "usage" in body) == (["spam"], False)
    assert decide(server, questions())[1] == {"answers": []}
    assert server.ledger.billed == 2


def test_questions_go_with_a_refusal():
    with pytest.raises(ValueError, match='questions are those of a decision that a "refusal" hits'):
        Fault("500", questions=["topic"])
