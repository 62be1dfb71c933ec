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
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind", "code"), CASES)
def test_each_error_of_the_guide_has_its_meaning(status, body, kind, code):
    """Status, code and words together decide what a fault means."""
    fault = faults.status_fault(status, body, None)
    assert (fault.kind, fault.code) == (kind, code)
    assert fault.message


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
