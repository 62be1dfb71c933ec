"""What each error of a server or a connection means."""

import itertools
import socket
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmframe._api import CHAT_COMPLETIONS, faults, responses
from llmframe._columns import TEXT
from llmframe._values import FaultKind

CASES = [
    (400, {"code": "context_length_exceeded", "param": "messages"}, FaultKind.ROW, "context_length_exceeded"),
    (400, {"code": "content_filter"}, FaultKind.ROW, "content_filter"),
    (400, {"code": 400, "message": "This model's maximum context length is 4096 tokens."}, FaultKind.ROW, "http_400"),
    (400, {"code": "unsupported_parameter", "param": "top_p"}, FaultKind.PARAMETER, "unsupported_parameter"),
    (422, {"message": "Unprocessable"}, FaultKind.PARAMETER, "http_422"),
    (401, {"code": "invalid_api_key"}, FaultKind.ACCESS, "invalid_api_key"),
    (401, None, FaultKind.ACCESS, "http_401"),
    (402, {"message": "Payment required"}, FaultKind.ACCESS, "http_402"),
    (403, {"code": "missing_scope"}, FaultKind.REFUSED, "missing_scope"),
    (404, {"code": "model_not_found"}, FaultKind.REFUSED, "model_not_found"),
    (404, {"code": "DeploymentNotFound"}, FaultKind.REFUSED, "DeploymentNotFound"),
    (413, {"message": "Too big"}, FaultKind.ROW, "http_413"),
    (429, {"code": "rate_limit_exceeded", "message": "Limit 500, Used 500, Requested 1."}, FaultKind.LIMIT, "rate_limit_exceeded"),
    (429, {"code": "rate_limit_exceeded", "message": "Request too large: Limit 30,000, Requested 36,278."}, FaultKind.ROW, "request_too_large"),
    (429, {"code": "rate_limit_exceeded", "message": "Limit 30000, Used 0, Requested 36278."}, FaultKind.ROW, "request_too_large"),
    (429, {"message": "limit , requested , try later"}, FaultKind.LIMIT, "http_429"),
    (429, {"type": "insufficient_quota", "code": None}, FaultKind.FATAL, "insufficient_quota"),
    (429, "Too many requests", FaultKind.LIMIT, "http_429"),
    (408, {"type": "server_error"}, FaultKind.PASSING, "server_error"),
    (409, None, FaultKind.PASSING, "http_409"),
    (500, {"error": {"code": 500, "type": "internal"}}, FaultKind.PASSING, "http_500"),
    (502, "<html><h1>502 Bad Gateway</h1></html>", FaultKind.PASSING, "http_502"),
    (503, {"error": "overloaded"}, FaultKind.PASSING, "http_503"),
    (529, {"type": "overloaded_error"}, FaultKind.PASSING, "overloaded_error"),
    (407, "<html>Proxy Authentication Required</html>", FaultKind.REFUSED, "http_407"),
    (405, {"detail": "Method Not Allowed"}, FaultKind.REFUSED, "http_405"),
    (403, {"error": {"code": 403, "message": "Your account is not active"}}, FaultKind.ACCESS, "http_403"),
    (403, {"error": {"message": "Country, region, or territory not supported"}}, FaultKind.ACCESS, "http_403"),
    (403, {"error": {"code": 403, "message": "Your chosen model requires moderation. Your input was flagged"}}, FaultKind.ROW, "http_403"),
    (404, {"error": {"message": "No endpoints found that support image input", "code": 404}}, FaultKind.REFUSED, "http_404"),
    (400, {"error": {"message": "The model `gpt-9` does not exist", "type": "invalid_request_error"}}, FaultKind.REFUSED, "invalid_request_error"),
    (400, {"object": "error", "message": "This model's maximum context length is 8 tokens. Please reduce the length of the messages."}, FaultKind.ROW, "http_400"),
    (400, {"error": {"message": "the request exceeds the available context size", "type": "exceed_context_size_error"}}, FaultKind.ROW, "exceed_context_size_error"),
    (500, {"error": {"message": "litellm.ContextWindowExceededError: context window exceeded"}}, FaultKind.ROW, "http_500"),
    (400, {"error": {"message": "Failed to generate JSON.", "code": "json_validate_failed", "failed_generation": "{"}}, FaultKind.ROW, "json_validate_failed"),
    (400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error", "code": "invalid_request_error"}}, FaultKind.ROW, "invalid_request_error"),
    (422, {"detail": [{"loc": ["body", "input"], "msg": "Input is too long", "type": "value_error"}]}, FaultKind.ROW, "http_422"),
    (413, {"error": {"message": "Request too large: Limit 6000, Requested 9000", "code": "rate_limit_exceeded"}}, FaultKind.ROW, "rate_limit_exceeded"),
    (400, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, FaultKind.LIMIT, "rate_limit_exceeded"),
    (403, {"message": "You have reached the rate limit"}, FaultKind.LIMIT, "http_403"),
    (400, {"error": "The server is currently loading the model, try again later"}, FaultKind.PASSING, "http_400"),
    (421, None, FaultKind.PASSING, "http_421"),
    (424, None, FaultKind.PASSING, "http_424"),
    (425, None, FaultKind.PASSING, "http_425"),
    (498, {"error": {"message": "capacity exceeded"}}, FaultKind.PASSING, "http_498"),
    (499, None, FaultKind.PASSING, "http_499"),
    (400, {"error": {"message": "max_tokens is too large: 200000", "param": "max_tokens"}}, FaultKind.PARAMETER, "http_400"),
    (400, {"error": {"message": "Fix the parameter and try again"}}, FaultKind.PARAMETER, "http_400"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind", "code"), CASES)
def test_each_error_of_the_guide_has_its_meaning(status, body, kind, code):
    """Status, code and words together decide what a fault means."""
    fault = faults.status_fault(status, body, None)
    assert (fault.kind, fault.code) == (kind, code)
    assert fault.message


LIMITS = [
    ({"message": "Rate limit reached on requests per day (RPD): Limit 200, Used 200"}, True),
    (
        {"message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free requests"},
        True,
    ),
    ({"code": "budget_exceeded", "message": "Over budget"}, True),
    ({"type": "exceeded_current_quota_error", "message": "Check your plan"}, True),
    ({"message": "Quota exceeded for metric: free_tier_requests, limit: 0"}, True),
    ({"message": "Monthly usage reached"}, True),
    ({"message": "Insufficient balance"}, True),
    (
        {"message": "Rate limit reached on tokens per minute (TPM): Limit 6000. Upgrade to Dev Tier today"},
        False,
    ),
    ({"message": "You exceeded your current quota, limit: 15, please retry in 31s"}, False),
    ({"message": "Limit 3 requests per min. Increase it by adding credit"}, False),
    ({"message": "limit: 0.5 per second"}, False),
    (None, False),
]


@pytest.mark.parametrize(("error", "lasting"), LIMITS)
def test_the_words_of_a_limit_tell_whether_it_passes_today(error, lasting):
    fault = faults.status_fault(429, {"error": error}, None)
    assert (fault.kind, fault.lasting) == (FaultKind.LIMIT, lasting)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([{"error": {"code": 400, "message": "Invalid argument", "status": "INVALID_ARGUMENT"}}], "Invalid argument"),
        ({"error": "plain words"}, "HTTP 400: plain words"),
        ({"error": ["one", {"message": "two"}]}, "HTTP 400: one; two"),
        ({"message": "at the top"}, "at the top"),
        ({"detail": "Not Found"}, "HTTP 400: Not Found"),
        ({"detail": [{"loc": ["body"], "msg": "field required"}]}, "HTTP 400: field required"),
        ({"detail": [{"loc": ["body", "response_format", "type"], "msg": "Extra inputs are not permitted"}]}, "HTTP 400: response_format.type: Extra inputs are not permitted"),
        ({"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "no role"}, {"loc": "body", "msg": "no"}]}, "HTTP 400: messages.0.role: no role; no"),
        ({"error": {"message": {"text": "deep"}}}, 'HTTP 400: {"text": "deep"}'),
        ({"error": {"code": None, "x": True}}, 'HTTP 400: {"code": null, "x": true}'),
        ("  words\n", "HTTP 400: words"),
        (None, "HTTP 400"),
        ([], "HTTP 400"),
    ],
)  # fmt: skip
def test_error_bodies_of_any_form_are_read(body, message):
    """What holds no words is shown as JSON, and never as Python."""
    assert faults.status_fault(400, body, None).message == message


def test_a_proxys_web_page_is_named_and_not_quoted():
    """The message of an HTML error is one line without tags."""
    fault = faults.status_fault(502, "<html>\n<h1>502 Bad Gateway</h1></html>", None)
    assert fault.message == "HTTP 502 (Bad Gateway), with a web page"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["Limit 1, Requested 2", "limit ,"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "param", "choices", "x"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


@given(status=st.integers(300, 599), body=json_values)
def test_no_error_body_is_too_odd_to_be_understood(status, body):
    """Any JSON with any status becomes a fault with a code and words."""
    fault = faults.status_fault(status, body, None)
    assert fault.code
    assert fault.message


@given(
    body=json_values
    | st.dictionaries(st.just("choices"), json_values)
    | json_values.map(lambda value: {"choices": [{"message": {"content": value}}]})
    | json_values.map(lambda value: {"choices": [{"message": {"content": [{"text": value}]}}]})
)
def test_no_answers_body_is_too_odd_to_be_read(body):
    """Any JSON with status 200 is an answer, a paid failure, or a fault."""
    result = responses.read_reply(CHAT_COMPLETIONS, b"", body, None)
    if isinstance(result, responses.Reply):
        assert CHAT_COMPLETIONS.read_answer(b"", b"", result.data, "live").usage.total >= 0
        verdict = TEXT.judge(result.data)
        assert (verdict.value is None) <= (verdict.problem is not None)


def _chain(*errors):
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


class ConnectTimeout(Exception):  # noqa: N818 (the name that httpx gives it)
    """Stands for httpx's."""


@pytest.mark.parametrize(
    ("error", "kind", "code", "uncertain"),
    [
        (
            _chain(OSError("x"), ConnectionRefusedError(111, "refused")),
            FaultKind.UNREACHABLE,
            "unreachable",
            False,
        ),
        (
            _chain(OSError("x"), socket.gaierror(-2, "unknown name")),
            FaultKind.UNREACHABLE,
            "unreachable",
            False,
        ),
        (_chain(OSError("x"), ConnectTimeout(), TimeoutError()), FaultKind.UNREACHABLE, "unreachable", False),
        (
            _chain(OSError("x"), ConnectionResetError(104, "reset")),
            FaultKind.PASSING,
            "connection_lost",
            True,
        ),
        (TimeoutError(), FaultKind.PASSING, "timeout", True),
        (
            _chain(OSError("x"), ssl.SSLCertVerificationError("self-signed")),
            FaultKind.FATAL,
            "certificate",
            False,
        ),
    ],
)
def test_a_broken_connection_says_whether_the_request_may_have_been_billed(error, kind, code, uncertain):
    """What never connected was never sent; what broke later may have been answered."""
    fault = faults.connection_fault(error)
    assert (fault.kind, fault.code, fault.uncertain) == (kind, code, uncertain)
