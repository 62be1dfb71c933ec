"""The endpoint as a value: how bodies are written and read, and that every room takes its path from there."""

from __future__ import annotations

import inspect
import json
import math
from dataclasses import replace

import openai
import orjson
from api.wire import both, plain
from helpers import MODEL, asked, tune
from hypothesis import given
from hypothesis import strategies as st
from openapi import DOCUMENT

import llmframe
from llmframe._api import CHAT_COMPLETIONS
from llmframe._batch.lines import request_line
from llmframe._columns import Recipe
from llmframe._values import Request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
OTHER = replace(CHAT_COMPLETIONS, path="/v1/others")
"""An endpoint that no code can know."""
NO_CHARGE = [None, "many", True, -5, 0, [], {}, 10**10, 2**70, math.nan]


def test_a_body_has_the_model_the_parameters_and_what_the_row_gives():
    """A body is the template and the row's own content, side by side."""
    template = CHAT_COMPLETIONS.template("m", {"temperature": 0, "stop": ["é\n"]})
    messages = [{"role": "user", "content": 'Quotes " and \\ and ü'}]
    body = CHAT_COMPLETIONS.body(template, orjson.dumps(messages))
    assert json.loads(body) == {"model": "m", "temperature": 0, "stop": ["é\n"], "messages": messages}


def test_parameters_are_those_of_the_installed_sdk_but_for_what_llmframe_fills_in():
    parameters = CHAT_COMPLETIONS.parameters()
    sdk = set(inspect.signature(openai.resources.chat.completions.AsyncCompletions.create).parameters)
    assert parameters < sdk
    assert {"temperature", "reasoning_effort", "response_format", "service_tier"} <= parameters
    ours = {"self", "messages", "model", "extra_headers", "extra_query", "extra_body", "timeout"}
    assert sdk - parameters == ours


def test_an_endpoint_names_what_the_published_document_names():
    """The member that the row gives is required there."""
    request = DOCUMENT["components"]["schemas"]["CreateChatCompletionRequest"]
    required = {name for part in [request, *request.get("allOf", [])] for name in part.get("required", [])}
    assert required == {"model", CHAT_COMPLETIONS.content}
    assert CHAT_COMPLETIONS.path.endswith(CHAT_COMPLETIONS.route)


def test_the_charge_against_limits_is_the_total():
    assert CHAT_COMPLETIONS.read_charge({"usage": {"prompt_tokens": 1, "total_tokens": 140}}) == 140
    for value in NO_CHARGE:
        assert CHAT_COMPLETIONS.read_charge({"usage": {"total_tokens": value}}) is None
    for usage in (None, [], "many", 3):
        assert CHAT_COMPLETIONS.read_charge({"usage": usage}) is None
    assert CHAT_COMPLETIONS.read_charge({}) is None


def test_an_answer_keeps_its_body_lane_tier_and_model():
    data = {"choices": [{}], "service_tier": "flex", "model": "m-2026-01-01"}
    answer = CHAT_COMPLETIONS.read_answer(b"key", b"raw", data, "batch")
    assert (answer.key, answer.body, answer.lane) == (b"key", b"raw", "batch")
    assert (answer.tier, answer.model, answer.asked) == ("flex", "m-2026-01-01", None)
    odd = CHAT_COMPLETIONS.read_answer(b"key", b"raw", {"service_tier": 1, "model": []}, "live")
    assert (odd.tier, odd.model) == (None, None)


@given(st.dictionaries(st.sampled_from(["usage", "service_tier", "model", "choices"]), JSON))
def test_any_body_is_read(data):
    """Whatever the members are, nothing is raised, and every number is a possible one."""
    answer = CHAT_COMPLETIONS.read_answer(b"k", b"{}", data, "live")
    assert all(isinstance(tokens, int) and 0 <= tokens < 10**10 for tokens in answer.usage)
    charge = CHAT_COMPLETIONS.read_charge(data)
    assert charge is None or 0 < charge < 10**10


def test_both_ways_to_the_api_send_to_the_endpoints_route(wire):
    """The address of a client ends in `/v1`, with which the path begins."""
    both(plain(wire))
    assert [wire.target(number) for number in (0, 1)] == [CHAT_COMPLETIONS.path] * 2
    both(plain(wire), endpoint=OTHER)
    assert [wire.target(number) for number in (2, 3)] == [OTHER.path] * 2


def test_the_lines_of_batches_and_the_batch_itself_name_the_endpoint(llm, swift):
    tune(batch_requests=2)
    llmframe.options.keep_batch_files = True
    asked(3).llm.complete("q", into="a", mode="batch")
    with openai.OpenAI(base_url=llm.base_url, api_key="any", max_retries=0) as client:
        batches = list(client.batches.list())
        lines = [
            json.loads(line)
            for batch in batches
            for line in client.files.content(batch.input_file_id).content.splitlines()
        ]
    assert {batch.endpoint for batch in batches} == {CHAT_COMPLETIONS.path}
    assert [line["url"] for line in lines] == [CHAT_COMPLETIONS.path] * 3
    assert json.loads(request_line(Request(b"k" * 16, 0, b"{}"), OTHER))["url"] == OTHER.path


def test_the_local_server_has_the_endpoint(llm):
    asked(1).llm.complete("q", into="a")
    assert llm.ledger.answered == 1


def test_the_endpoint_is_part_of_every_identity():
    """Another endpoint with the same parameters asks something else."""
    recipe = Recipe("complete", "https://api.openai.com/v1", CHAT_COMPLETIONS, MODEL, {})
    other = replace(recipe, endpoint=OTHER)
    assert json.loads(recipe.prefix)[2] == CHAT_COMPLETIONS.path
    assert json.loads(other.prefix)[2] == OTHER.path
    assert recipe.describe()["endpoint"] == CHAT_COMPLETIONS.path


def test_a_run_takes_the_path_from_its_verbs_endpoint(llm):
    """Plan and recipe of a run have the endpoint's path, and the requests are what the endpoint writes."""
    asked(1).llm.complete("q", into="a", temperature=0)
    run = llmframe.last_run()
    assert run._settings.verb.endpoint is CHAT_COMPLETIONS
    (request,) = run._plan.requests([0])
    assert isinstance(request, Request)
    template = CHAT_COMPLETIONS.template(MODEL, {"temperature": 0})
    messages = orjson.dumps([{"content": asked(1)["q"][0], "role": "user"}])
    assert request.body == CHAT_COMPLETIONS.body(template, messages)
    assert llm.ledger.bodies == [json.loads(request.body)]
