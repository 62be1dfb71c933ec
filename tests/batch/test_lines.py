"""The lines of input and result files."""

from __future__ import annotations

import json

import orjson
import pytest
from batch.calls import api, complete, right
from helpers import asked, tune
from hypothesis import given
from hypothesis import strategies as st
from openapi import validator

import llmframe
from llmframe._api import CHAT_COMPLETIONS
from llmframe._batch import submission
from llmframe._batch.lines import UnreadableLineError, read_key, read_result, request_line
from llmframe._values import Request

KEYS = st.binary(min_size=16, max_size=16)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def test_every_line_is_what_the_api_takes(llm):
    """Each line has its identity as a short unique `custom_id`, and its body satisfies the published document."""
    tune(batch_requests=7)
    llmframe.options.keep_batch_files = True
    complete(asked(20), system="Be brief.", temperature=0, extra_body={"metadata": {"team": "a"}})
    client = api(llm)
    files = [stored.id for stored in client.files.list() if stored.purpose == "batch"]
    lines = [json.loads(line) for file in files for line in client.files.content(file).content.splitlines()]
    assert len({line["custom_id"] for line in lines}) == len(lines) == 20
    assert all(len(line["custom_id"]) <= 64 for line in lines)
    assert all(list(line) == ["custom_id", "method", "url", "body"] for line in lines)
    check = validator("CreateChatCompletionRequest")
    assert [error.message for line in lines for error in check.iter_errors(line["body"])] == []


def test_a_result_that_is_nested_too_deeply_is_no_answer():
    """The row fails where the line can be read; where it cannot, the file is not whole."""
    line = '{"custom_id": "%s", "response": {"status_code": 200, "body": {"choices": %s}}}'
    deep = (line % ("0" * 32, "[" * 300 + "]" * 300)).encode()
    assert read_result(deep, CHAT_COMPLETIONS).fault.code == "unparsable_answer"
    deeper = (line % ("0" * 32, "[" * 100_000 + "]" * 100_000)).encode()
    with pytest.raises(UnreadableLineError, match="too deeply"):
        read_result(deeper, CHAT_COMPLETIONS)


def test_lines_that_validation_names_are_failures_and_the_rest_is_submitted_again(llm, monkeypatch):
    """The batch that failed has answered nothing; the lines that it does not name are submitted once more."""
    line_of = submission.request_line

    def spoilt(request, endpoint):
        line = line_of(request, endpoint)
        return line.replace(b'"POST"', b'"PUT"') if b"number 2." in line or b"number 7." in line else line

    monkeypatch.setattr(submission, "request_line", spoilt)
    frame = asked(10)
    with pytest.raises(llmframe.CompletionError):
        complete(frame)
    assert llmframe.last_run().failures["position"].tolist() == [2, 7]
    assert right(frame.drop([2, 7]))
    assert llm.ledger.batches_created == 2


@given(KEYS, JSON)
def test_a_request_line_is_read_back(key, body):
    """Its `custom_id` is the identity, and its body is sent as it is."""
    line = request_line(Request(key, 0, orjson.dumps(body)), CHAT_COMPLETIONS)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line)["body"] == body
    assert read_key(line) == key


@given(KEYS, st.dictionaries(st.sampled_from(["choices", "usage", "model", "service_tier"]), JSON))
def test_an_answer_is_read_back_from_a_result_line(key, body):
    """A body with choices is an answer and kept whole; any other is a fault of its row."""
    line = orjson.dumps({"custom_id": key.hex(), "response": {"status_code": 200, "body": body}})
    result = read_result(line, CHAT_COMPLETIONS)
    assert result.key == key
    if "choices" in body:
        assert (result.fault, result.body) == (None, body)
        assert orjson.loads(result.answer.body) == body
        assert (result.answer.key, result.answer.lane) == (key, "batch")
    else:
        assert (result.answer, result.fault.code) == (None, "unparsable_answer")


@given(KEYS, st.dictionaries(st.sampled_from(["response", "error"]), JSON), st.binary(max_size=20))
def test_any_result_line_is_read_or_not_whole(key, members, raw):
    """Whatever a line holds: a result of its request, none of ours, or a line that cannot be read."""
    result = read_result(orjson.dumps({"custom_id": key.hex(), **members}), CHAT_COMPLETIONS)
    assert result.key == key
    assert (result.answer is None) != (result.fault is None)
    assert read_result(orjson.dumps({"custom_id": "row-1", **members}), CHAT_COMPLETIONS) is None
    with pytest.raises(UnreadableLineError):
        read_result(b"[" + raw, CHAT_COMPLETIONS)
