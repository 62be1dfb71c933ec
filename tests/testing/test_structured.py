"""Structured outputs of the local server: which schemas it takes, what it answers from the text, and how it can fail."""

from __future__ import annotations

import json
import math

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from testing.batch_client import ran, rows
from testing.client import MODEL, ask, call, content_of

from llmframe.testing import Fault, LocalServer, Reply, made_up_answer, reviews


def closed(**properties):
    """Return the strict schema of an object."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def nullable(schema):
    return {"anyOf": [schema, {"type": "null"}]}


def form(schema, **more):
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": schema, **more},
    }


def said(text, instructions=None, **properties):
    """Return the object that answers a text."""
    body = ask(text, response_format=form(closed(**properties)))
    if instructions:
        body["messages"].insert(0, {"role": "system", "content": instructions})
    return json.loads(made_up_answer(body))


TEXT = {"type": "string"}


def nested(levels):
    return closed(inner=nested(levels - 1)) if levels > 1 else closed(text=TEXT)


def with_part(part):
    return closed(a=part)


REFUSED = [
    (with_part({"oneOf": [TEXT]}), "'oneOf' is not permitted"),
    (with_part({"allOf": [TEXT]}), "'allOf' is not permitted"),
    (with_part({"not": TEXT}), "'not' is not permitted"),
    (with_part({"if": TEXT}), "'if' is not permitted"),
    (with_part({"type": "string", "default": "x"}), "'default' is not permitted"),
    (with_part({"type": "string", "maxLength": 5}), "'maxLength' is not permitted"),
    (with_part({"type": "array", "items": TEXT, "uniqueItems": True}), "'uniqueItems' is not permitted"),
    (with_part({"type": "array", "prefixItems": [TEXT]}), "'prefixItems' is not permitted"),
    (with_part({"type": "array"}), "array schema missing items"),
    (with_part({"type": "string", "format": "uri"}), "'uri' is not a valid format"),
    (with_part({}), "must have a 'type' key"),
    (with_part({"description": "anything"}), "must have a 'type' key"),
    (with_part({"type": "text"}), "'text' is not valid"),
    (with_part({"type": {}}), "is not valid"),
    (with_part({"type": "object", "additionalProperties": TEXT}), "'additionalProperties' is required"),
    (with_part({"type": "object"}), "'additionalProperties' is required"),
    (with_part({"$ref": "#/$defs/Missing"}), "not found in the schema"),
    (closed(a={"$ref": "#", "description": "again"}), "$ref cannot have keywords {'description'}"),
    (closed(a=TEXT) | {"required": ["a", "b"]}, "Extra required key 'b'"),
    (closed(a=TEXT) | {"$defs": {"b": {"type": "object", "properties": {}}}}, "context=('$defs', 'b')"),
    (with_part({"anyOf": [TEXT, {"type": "array"}]}), "context=('properties', 'a', 'anyOf', '1')"),
    (closed(**{f"p{i}": TEXT for i in range(5_001)}), "5001 object properties"),
    (nested(11), "11 levels"),
    (with_part({"type": "integer", "enum": list(range(1_001))}), "1001 enum values"),
    (with_part({"type": "string", "enum": ["x" * 60_001, "y" * 60_000]}), "characters in names"),
    (with_part({"type": "string", "enum": [f"{i:061}" for i in range(251)]}), "characters in one enum"),
    (closed(**{"x" * 120_001: TEXT}), "characters in names"),
]


@pytest.mark.parametrize(("schema", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_a_strict_schema_outside_of_the_subset_is_refused(shared, schema, reason):
    status, answer, _ = call(shared, ask(response_format=form(schema)))
    assert (status, answer["error"]["param"]) == (400, "response_format")
    assert answer["error"]["code"] == "invalid_json_schema"
    assert reason in answer["error"]["message"]
    assert call(shared, ask(response_format=form(schema, strict=False)))[0] == 200


TREE = closed(name=TEXT, children={"type": "array", "items": {"$ref": "#"}})
TAKEN = [
    TREE,
    closed(a={"$ref": "#/$defs/Part"}, b=nullable({"$ref": "#/$defs/Part"}))
    | {"$defs": {"Part": closed(a=TEXT)}},
    closed(a={"type": ["integer", "null"], "description": "x", "minimum": 1}),
    closed(a={"type": "string", "format": "date"}, b={"type": "string", "pattern": "^a$"}, c={"const": "x"}),
    closed(a={"anyOf": [closed(b=TEXT), closed(c=TEXT)]}, d={"type": "array", "items": TEXT, "minItems": 2}),
    closed(default=TEXT, oneOf=TEXT),
    closed(),
    nested(10),
    closed(**{f"p{i}": TEXT for i in range(5_000)}),
    with_part({"type": "integer", "enum": list(range(1_000))}),
    with_part({"type": "string", "enum": [f"{i:059}" for i in range(250)]}),
]


@pytest.mark.parametrize("schema", TAKEN, ids=lambda schema: repr(schema)[:60])
def test_a_strict_schema_in_the_subset_is_answered_with_what_fits(shared, schema):
    status, answer, _ = call(shared, ask("One. Two 2!", response_format=form(schema)))
    assert status == 200, answer
    if "pattern" not in repr(schema):
        jsonschema.validate(json.loads(content_of(answer)), schema)


FIELDS = {
    "label": {"type": "string", "enum": ["praise", "complaint", "question"]},
    "count": {"type": "integer", "minimum": 2, "maximum": 90},
    "hours": nullable({"type": "number"}),
    "part.quote": nullable(TEXT),
    "day": nullable({"type": "string", "description": "a date, YYYY-MM-DD"}),
    "sure": {"type": "boolean"},
    "names": {"type": "array", "items": TEXT, "minItems": 1},
}


@given(
    text=st.text(alphabet=st.characters(codec="utf-8")) | st.sampled_from(list(reviews()["review"].dropna()))
)
def test_whatever_the_text_an_answer_fits_its_schema_and_quotes_verbatim(text):
    answer = said(text, **FIELDS)
    jsonschema.validate(answer, closed(**FIELDS))
    assert not text.strip() or answer["part.quote"] in text
    assert answer == said(text, **FIELDS)


LABEL = {"type": "string", "enum": ["billing", "bug report", "other"]}
QUOTED = "It is light. The hinge broke after 3 weeks!\nI use it at night."


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("A bug report for you.", LABEL, "bug report"),
        ("Great sound, love it.", {"type": "string", "enum": ["complaint", "praise"]}, "praise"),
        ("It broke, useless.", {"type": "string", "enum": ["praise", "complaint", "question"]}, "complaint"),
        ("It broke, useless.", {"type": "string", "enum": ["Negative", "Positive"]}, "Negative"),
        ("Level 3 of 5", {"type": "integer", "enum": [1, 2, 3]}, 3),
        ("Bought 2, lasted 12 hours.", {"type": "integer", "description": "hours of battery"}, 12),
        ("It cost 1,299.50 dollars", {"type": "number"}, 1299.5),
        (
            "It cost 1,299.50 dollars",
            {"type": "string", "description": "a decimal number in digits"},
            "1299.50",
        ),
        ("No price.", nullable({"type": "number"}), None),
        ("Bought on 3 March 2026.", {"type": "string", "description": "a date, YYYY-MM-DD"}, "2026-03-03"),
        ("Bought on March 3rd, 2026.", {"type": "string", "format": "date"}, "2026-03-03"),
        (
            "Bought 2026-03-03.",
            nullable({"type": "string", "description": "a date, YYYY-MM-DD"}),
            "2026-03-03",
        ),
        ("Bought 2026-02-31.", nullable({"type": "string", "description": "a date, YYYY-MM-DD"}), None),
        (
            "On 2026-03-03 at 9:30.",
            {"type": "string", "description": "a date and time, YYYY-MM-DDTHH:MM:SS"},
            "2026-03-03T09:30:00",
        ),
        ("Closed at 18:05.", {"type": "string", "description": "a time of day, HH:MM:SS"}, "18:05:00"),
        (
            QUOTED,
            {"type": "string", "description": "verbatim quote about the hinge"},
            "The hinge broke after 3 weeks!",
        ),
        ("It broke.", {"type": "boolean", "description": "Is it a complaint?"}, True),
        ("I love it.", {"type": "boolean", "description": "Is it a complaint?"}, False),
        ("I love it.", nullable({"type": "string", "description": "what the customer complains of"}), ...),
    ],
)
def test_a_value_is_taken_from_the_text(text, schema, value):
    answer = said(text, answer=schema)["answer"]
    assert answer == value or (value is ... and answer in (None, text))


def test_a_complaint_is_not_made_up_where_the_text_praises():
    assert said("I love it, great.", complaint=nullable(TEXT)) == {"complaint": None}
    assert said("Nice. But it broke, awful.", complaint=nullable(TEXT)) == {
        "complaint": "But it broke, awful."
    }


def test_a_quote_is_found_by_the_name_of_its_field():
    answer = said(QUOTED, **{"hinge.quote": nullable(TEXT), "night.quote": nullable(TEXT)})
    assert answer == {"hinge.quote": "The hinge broke after 3 weeks!", "night.quote": "I use it at night."}


def test_a_piece_of_a_long_text_is_short_and_verbatim():
    text = "long words " * 500
    piece = said(text, about=TEXT)["about"]
    assert len(piece) <= 160
    assert text.startswith(piece + " ")


def test_a_list_has_an_item_for_each_of_the_first_three_sentences():
    items = {"type": "array", "items": closed(about=TEXT, n={"type": "integer"})}
    found = said("One 1. Two 2! Three 3? Four 4.", parts=items, few={**items, "maxItems": 2})
    assert found["parts"] == [
        {"about": "One 1.", "n": 1},
        {"about": "Two 2!", "n": 2},
        {"about": "Three 3?", "n": 3},
    ]
    assert found["few"] == found["parts"][:2]


def test_an_instruction_before_a_blank_line_is_no_text():
    assert said("Rate 1 to 5.\n\nIt lasted 7 hours.", n={"type": "integer"}) == {"n": 7}


def test_a_few_shot_conversation_is_answered_by_its_last_text():
    schema = closed(label={"type": "string", "enum": ["praise", "complaint"]}, n={"type": "integer"})
    messages = [
        {"role": "system", "content": "Extract."},
        {"role": "user", "content": "I love all 3, great."},
        {"role": "assistant", "content": '{"label": "praise", "n": 3}'},
        {"role": "user", "content": "All 4 broke, awful."},
    ]
    body = {"model": MODEL, "messages": messages, "response_format": form(schema)}
    assert json.loads(made_up_answer(body)) == {"label": "complaint", "n": 4}
    corrected = [
        *messages,
        {"role": "assistant", "content": "{}"},
        {
            "role": "user",
            "content": "It lacks 2 keys. Answer again with one JSON object that fits the schema.",
        },
    ]
    assert json.loads(made_up_answer(body | {"messages": corrected})) == {"label": "complaint", "n": 4}


PROMPT = f"Extract the fields as JSON. The schema is:\n{json.dumps(closed(n={'type': 'integer'}))}\nWrite {{}} never."


@pytest.mark.parametrize("more", [{}, {"response_format": {"type": "json_object"}}])
def test_a_schema_in_the_system_message_is_answered(shared, more):
    body = ask("It has 4 legs.", **more)
    body["messages"].insert(0, {"role": "system", "content": PROMPT})
    assert json.loads(content_of(call(shared, body)[1])) == {"n": 4}


def test_braces_that_are_no_schema_get_text():
    body = ask('Say {"properties": 1}.')
    body["messages"].insert(0, {"role": "system", "content": '{"properties": {"a": 1}} {{ {"properties"'})
    assert made_up_answer(body).startswith("A made-up answer")


SCHEMA = closed(
    first=nullable({"type": "integer"}),
    label={"type": "string", "enum": ["a b", "c d"]},
    last={"type": "boolean"},
)
BODY = ask("5 a b", response_format=form(SCHEMA))


def faulty(server, kind, body=BODY):
    server.faults = [Fault(kind)]
    status, answer, _ = call(server, body)
    assert (status, server.ledger.billed) == (200, 1)
    return answer["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("prose", "Sure! ", "need anything else."),
        ("fenced", "```json\n", "\n```"),
        ("thinking", "<think>\n", "}"),
    ],
)
def test_something_can_stand_around_the_object(server, kind, before, after):
    text = faulty(server, kind)
    assert text.startswith(before)
    assert text.endswith(after)
    assert made_up_answer(BODY) in text


@pytest.mark.parametrize("kind", ["wrong_type", "missing_key", "unknown_label"])
def test_an_object_can_misfit_its_schema(server, kind):
    right, answer = json.loads(made_up_answer(BODY)), json.loads(faulty(server, kind))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(answer, SCHEMA)
    changed = {"wrong_type": "first", "missing_key": "last", "unknown_label": "label"}[kind]
    assert {name for name in right if name not in answer or answer[name] != right[name]} == {changed}


def test_json_can_be_none_or_what_no_strict_reader_takes(server):
    with pytest.raises(json.JSONDecodeError):
        json.loads(faulty(server, "not_json"))
    server.reset()
    pairs = json.loads(faulty(server, "duplicate_keys"), object_pairs_hook=list)
    assert [name for name, _ in pairs] == ["first", "first", "label", "last"]
    server.reset()
    assert math.isnan(json.loads(faulty(server, "nan"))["first"])


def test_json_can_be_cut_off(server):
    server.faults = [Fault("length_text")]
    choice = call(server, BODY)[1]["choices"][0]
    assert choice["finish_reason"] == "length"
    assert made_up_answer(BODY).startswith(choice["message"]["content"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(choice["message"]["content"])


@pytest.mark.parametrize("kind", ["wrong_type", "missing_key", "unknown_label", "duplicate_keys", "nan"])
def test_a_fault_inside_of_json_leaves_other_texts(server, kind):
    assert faulty(server, kind, ask("Hi")) == made_up_answer(ask("Hi"))


def test_a_reply_can_be_made_of_the_servers_own_answer(server):
    server.faults = [Fault(Reply(message={"content": lambda text: f"{text} {text}"}))]
    assert content_of(call(server, BODY)[1]) == f"{made_up_answer(BODY)} {made_up_answer(BODY)}"


@pytest.mark.asyncio
async def test_rows_of_batches_have_these_faults_too(server, api):
    server.faults = [Fault("fenced", when="Row 1")]
    _, output, _ = await ran(api, rows(2))
    texts = [content_of(output[f"row-{i}"]["response"]["body"]) for i in range(2)]
    assert [text.startswith("```json") for text in texts] == [False, True]


OBJECT = ask("json 7", response_format={"type": "json_object"})


@pytest.mark.parametrize(
    ("most", "statuses"),
    [("json_schema", [200, 200, 200]), ("json_object", [400, 200, 200]), ("text", [400, 400, 200])],
)
def test_a_server_can_know_fewer_response_formats(server, most, statuses):
    server.response_format = most
    found = [call(server, body) for body in (BODY, OBJECT, ask("json", response_format={"type": "text"}))]
    assert [status for status, _, _ in found] == statuses
    for status, answer, _ in found:
        if status == 400:
            assert answer["error"]["param"] == "response_format"
            assert "'response_format' of type 'json_" in answer["error"]["message"]


def test_a_server_can_ignore_the_response_format():
    """It answers with prose, unless the prompt has the schema."""
    with LocalServer(response_format="ignored") as server:
        for body in (BODY, OBJECT, ask(response_format=form({"oneOf": []}))):
            assert content_of(call(server, body)[1]).startswith("A made-up answer")
        prompted = {**BODY, "messages": [{"role": "system", "content": PROMPT}, *BODY["messages"]]}
        assert json.loads(content_of(call(server, prompted)[1])) == {"n": 5}


@pytest.mark.asyncio
async def test_rows_of_batches_meet_the_same_formats(server, api):
    server.response_format = "text"
    _, output, errors = await ran(api, [{**row, "body": {**BODY, **row["body"]}} for row in rows(2)])
    assert not output
    assert {line["response"]["status_code"] for line in errors.values()} == {400}


def test_an_unknown_response_format_is_refused(server):
    with pytest.raises(ValueError, match="response_format must be one of 'json_schema', 'json_object'"):
        server.response_format = "yaml"
