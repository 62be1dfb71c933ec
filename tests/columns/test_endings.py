"""Which bodies hold an answer: by their ending, an error beside it, and the form of their text."""

import pytest

from llmframe._columns import TEXT
from llmframe._values import Again


def judged(content="Half an ans", reason="stop", *, message=None, **more):
    choice = {
        "message": {"role": "assistant", "content": content, **(message or {})},
        "finish_reason": reason,
    }
    return TEXT.judge({"choices": [choice], **more})


@pytest.mark.parametrize(
    "reason",
    ["stop", "STOP", "stop_sequence", "end_turn", "eos", "eos_token", "COMPLETE", "completed", "tool_calls", "function_call", "tool_use", None, ""],
)  # fmt: skip
def test_a_text_with_a_good_ending_is_an_answer(reason):
    assert judged(reason=reason)[:5] == ("Half an ans", None, "", False, None)


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
def test_a_text_that_was_cut_off_is_kept_and_said_to_be(reason):
    assert judged(reason=reason)[:2] == ("Half an ans", "truncated")
    assert judged("", reason)[:2] == (None, "length")


@pytest.mark.parametrize(
    "reason", ["content_filter", "SAFETY", "recitation", "PROHIBITED_CONTENT", "blocklist"]
)
def test_a_filters_ending_is_no_answer_whatever_text_is_there(reason):
    assert judged(reason=reason)[:2] == (None, "content_filter")


@pytest.mark.parametrize("reason", ["error", "abort", "TIMEOUT", "insufficient_system_resource"])
def test_a_text_that_broke_off_is_asked_for_again(reason):
    verdict = judged(reason=reason)
    assert (verdict.value, verdict.problem, verdict.again) == (None, "finish_reason", Again.PASSING)
    assert reason in verdict.detail


@pytest.mark.parametrize("reason", ["weird", "other", 7, 0, False, {"type": "x"}])
def test_an_ending_that_nobody_knows_is_asked_for_once_more(reason):
    verdict = judged(reason=reason)
    assert (verdict.value, verdict.problem, verdict.again) == (None, "finish_reason", Again.ONCE)
    assert repr(reason) in verdict.detail


@pytest.mark.parametrize(
    ("error", "again"),
    [
        ("internal server error", Again.PASSING),
        ({"message": "Provider returned error", "code": 502}, Again.PASSING),
        ({"message": "upstream connection error"}, Again.PASSING),
        ({"message": "Rate limit exceeded", "code": 429}, Again.PASSING),
        ({"message": "Provider returned error", "code": "502"}, Again.PASSING),
        ({"type": "overloaded_error", "message": "Busy"}, Again.PASSING),
        ({"message": "The answer was withheld", "code": 451}, None),
        (["odd"], None),
    ],
)
@pytest.mark.parametrize("reason", ["stop", None])
def test_a_text_beside_an_error_is_no_answer(error, again, reason):
    """Of the moment: asked again; otherwise its row fails with the server's words."""
    verdict = judged(reason=reason, error=error)
    assert (verdict.value, verdict.problem, verdict.again) == (None, "error", again)


@pytest.mark.parametrize("error", [None, {}, "", 0])
def test_an_empty_error_is_none(error):
    assert judged(error=error).value == "Half an ans"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "Yes"}, {"type": "text", "text": "."}], "Yes."),
        ([{"type": "reasoning", "text": "Hm"}, {"type": "output_text", "text": "Yes."}], "Yes."),
        ([{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": {"value": "Yes."}}], "Yes."),
        ([{"type": "reasoning_content", "text": "Hm"}, {"text": "Yes."}], "Yes."),
        ([{"text": "Hm", "thought": True}, {"text": "Yes."}], "Yes."),
        (["Yes", "."], "Yes."),
        ({"type": "text", "text": "Yes."}, "Yes."),
        ({"parts": [{"text": "Yes."}]}, "Yes."),
        ({"label": "x", "n": 1}, '{"label": "x", "n": 1}'),
        ([{"type": "reasoning", "text": "Hm"}], None),
        ([{"type": "image_url", "image_url": {}}], None),
        ([], None),
        ({}, None),
        (7, None),
    ],
)
def test_the_text_is_read_from_any_form(content, text):
    """Parts with reasoning are no answer."""
    assert judged(content).value == text


def test_a_part_may_be_a_refusal():
    verdict = judged([{"type": "refusal", "refusal": "I can't."}])
    assert (verdict.value, verdict.problem) == (None, "refusal")
    assert "I can't." in verdict.detail


def test_reasoning_beside_an_empty_text_is_no_answer():
    verdict = judged("", message={"reasoning_content": "Let me think."})
    assert (verdict.value, verdict.problem, verdict.empty) == (None, "empty", True)
