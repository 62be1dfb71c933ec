"""Error responses, with the bodies and codes that the API sends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

ORGANISATION = "org-llmframe"
PROJECT = "proj_llmframe"
_KEYS_PAGE = "https://platform.openai.com/account/api-keys"
_LIMITS_PAGE = "https://platform.openai.com/account/rate-limits"
_BAD_GATEWAY = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A response with an error: its status, its body and the headers that it adds."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    def with_retry_after(self, seconds: float) -> ErrorResponse:
        """Return the same response with `retry-after` (whole seconds) and `retry-after-ms`."""
        return ErrorResponse(self.status, self.body, self.content_type, self.headers | retry_after(seconds))


class RefusedRequest(Exception):  # noqa: N818 - a verdict on a request, not a failure of the server
    """A request is refused; `response` is sent instead of its result."""

    def __init__(self, response: ErrorResponse) -> None:
        super().__init__(response.status)
        self.response = response


def retry_after(seconds: float) -> dict[str, str]:
    """Return the two headers that state when to try again."""
    milliseconds = max(1, -int(-seconds * 1000 // 1))
    return {"retry-after": str(-(-milliseconds // 1000)), "retry-after-ms": str(milliseconds)}


def error(
    status: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
) -> ErrorResponse:
    """Build an error with the API's format of the body."""
    body: dict[str, Any] = {"message": message, "type": kind, "param": param, "code": code}
    return ErrorResponse(status, orjson.dumps({"error": body}, option=orjson.OPT_INDENT_2))


class Invalid(RefusedRequest):
    """A request is not valid; `message`, `param` and `code` give the reason."""

    def __init__(self, message: str, param: str | None, code: str | None) -> None:
        super().__init__(error(400, message, param=param, code=code))
        self.message, self.param, self.code = message, param, code


def missing_key() -> ErrorResponse:
    return error(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer "
        "auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're "
        f"accessing the API from your browser and are prompted for a username and password. You can obtain an API key from {_KEYS_PAGE}.",
    )


def invalid_key(key: str) -> ErrorResponse:
    return error(
        401,
        f"Incorrect API key provided: {_masked(key)}. You can find your API key at {_KEYS_PAGE}.",
        code="invalid_api_key",
    )


def _masked(key: str) -> str:
    if len(key) <= 12:
        return "*" * len(key)
    return f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}"


def azure_access_denied() -> ErrorResponse:
    """Build the 401 of Azure, which has no type and names no key."""
    message = (
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
        "active subscription and use a correct regional API endpoint for your resource."
    )
    return ErrorResponse(401, orjson.dumps({"error": {"code": "401", "message": message}}))


def deployment_not_found() -> ErrorResponse:
    message = (
        "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, "
        "please wait a moment and try again."
    )
    return ErrorResponse(404, orjson.dumps({"error": {"code": "DeploymentNotFound", "message": message}}))


def unparsable() -> ErrorResponse:
    return error(
        400,
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
        "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you "
        "have trouble figuring out how to fix this, please contact us through our help center at help.openai.com.)",
    )


def no_form() -> ErrorResponse:
    return error(400, "We could not parse the multipart form of your request.")


def unknown_url(method: str, path: str) -> ErrorResponse:
    return error(404, f"Invalid URL ({method} {path})")


def wrong_method(method: str, path: str) -> ErrorResponse:
    return error(
        405,
        f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)",
        code="method_not_supported",
    )


def too_big(limit: int) -> ErrorResponse:
    return error(413, f"Maximum content size limit ({limit}) exceeded.", code="request_too_large")


def model_not_found(model: str) -> ErrorResponse:
    return error(
        404,
        f"The model `{model}` does not exist or you do not have access to it.",
        code="model_not_found",
    )


def model_not_for(model: str, what: str) -> ErrorResponse:
    return error(
        400,
        f"The requested model '{model}' cannot be used with {what}.",
        param="model",
        code="unsupported_model",
    )


def rate_limited(
    model: str, unit: str, limit: int, *, used: int, requested: int, wait: float
) -> ErrorResponse:
    """Build the 429 after which waiting helps; `unit` is "requests" or "tokens", `wait` is in seconds."""
    short = "RPM" if unit == "requests" else "TPM"
    return error(
        429,
        f"Rate limit reached for {model} in organization {ORGANISATION} on {unit} per min ({short}): "
        f"Limit {limit}, Used {used}, Requested {requested}. Please try again in {max(1, round(wait * 1000))}ms. "
        f"Visit {_LIMITS_PAGE} to learn more.",
        kind=unit,
        code="rate_limit_exceeded",
    )


def request_too_large(model: str, limit: int, requested: int) -> ErrorResponse:
    """Build the 429 after which waiting does not help."""
    return error(
        429,
        f"Request too large for {model} in organization {ORGANISATION} on tokens per min (TPM): Limit {limit}, "
        f"Requested {requested}. The input or output tokens must be reduced in order to run successfully. "
        f"Visit {_LIMITS_PAGE} to learn more.",
        kind="tokens",
        code="rate_limit_exceeded",
    )


def insufficient_quota() -> ErrorResponse:
    return error(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
        kind="insufficient_quota",
        code="insufficient_quota",
    )


def permission() -> ErrorResponse:
    return error(
        403,
        "You have insufficient permissions for this operation. Missing scopes: model.request. Check that you have "
        "the correct role in your organization (Reader, Writer, Owner) and project (Member, Owner), and if you're "
        "using a restricted API key, that it has the necessary scopes.",
        code="missing_scope",
    )


def context_length_exceeded(tokens: int) -> ErrorResponse:
    limit = 400_000
    return error(
        400,
        f"This model's maximum context length is {limit} tokens. However, your messages resulted in "
        f"{limit + tokens} tokens. Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    )


def unsupported_parameter(param: str) -> ErrorResponse:
    hint = " Use 'max_completion_tokens' instead." if param == "max_tokens" else ""
    return error(
        400,
        f"Unsupported parameter: '{param}' is not supported with this model.{hint}",
        param=param,
        code="unsupported_parameter",
    )


def bad_gateway() -> ErrorResponse:
    """Build the HTML page of the API's proxy."""
    return ErrorResponse(502, _BAD_GATEWAY, "text/html")


def status_error(status: int) -> ErrorResponse:
    """Build a plain error for any status."""
    kind, message = _STATUSES.get(status, _DEFAULTS[status >= 500])
    return error(status, message, kind=kind)


_DEFAULTS = {
    True: (
        "server_error",
        "The server had an error while processing your request. Sorry about that!",
    ),
    False: ("invalid_request_error", "The request could not be processed."),
}
_STATUSES = {
    408: ("server_error", "Request timed out."),
    409: ("invalid_request_error", "The resource was updated by another request. Please try again."),
    503: ("server_error", "The engine is currently overloaded, please try again later."),
    529: ("overloaded_error", "Overloaded"),
}
