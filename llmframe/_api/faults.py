"""What an HTTP status with an error body means: OpenAI's table of errors, and what compatible servers say instead."""

from __future__ import annotations

import re
from http import HTTPStatus

from llmframe._json import whole
from llmframe._values import Fault, Trouble

_ROW_CODES = frozenset(
    {"context_length_exceeded", "string_above_max_length", "content_filter", "content_policy_violation"}
)
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_TOO_LARGE = re.compile(
    r"limit:? ?(?P<limit>\d[\d,]*).*?requested:? ?(?P<requested>\d[\d,]*)", re.IGNORECASE | re.DOTALL
)
_TOO_LONG = re.compile(
    r"maximum context length|context[ _]length[ _]exceeded|exceeds? the context", re.IGNORECASE
)
"""How servers without OpenAI's codes say that a row is too long."""


def classify(status: int, body: object, wait: float | None) -> Fault:
    """Say what an HTTP status with this error body means.

    Parameters
    ----------
    body
        The JSON body, or the text where it is none.
    wait
        Seconds that the server asks to wait.
    """
    error = body.get("error", body) if isinstance(body, dict) else body
    text = whole(_words(status, error))
    error = error if isinstance(error, dict) else {}
    code = error.get("code") or error.get("type")
    code = whole(code) if isinstance(code, str) and code else f"http_{status}"
    param = error.get("param")
    trouble = _trouble(status, {code, str(error.get("type"))}, text)
    return Fault(
        trouble,
        "request_too_large" if status == 429 and trouble is Trouble.ROW else code,
        text[:2000],
        whole(param) if isinstance(param, str) else None,
        wait,
        uncertain=status in {504, 524},
    )


def _words(status: int, error: object) -> str:
    """Say what an error body says, or name the status where it is a web page, as proxies answer."""
    said = error.get("message") if isinstance(error, dict) else None
    if isinstance(said, str) and said:
        return said
    if isinstance(error, str) and error.lstrip().startswith("<"):
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "unknown status"
        return f"HTTP {status} ({phrase}), with a web page"
    words = error.strip() if isinstance(error, str) else str(error) if error else ""
    return f"HTTP {status}: {words}" if words else f"HTTP {status}"


def _trouble(status: int, codes: set[str], text: str) -> Trouble:
    if codes & _ROW_CODES:
        return Trouble.ROW
    if codes & _QUOTA_CODES or status < 400 or status in {401, 402, 403, 404, 405, 407, 410}:
        return Trouble.FATAL
    if status == 429:
        return Trouble.ROW if _never_fits(text) else Trouble.LIMIT
    if status in {408, 409, 425} or status >= 500:
        return Trouble.PASSING
    if status == 413 or _TOO_LONG.search(text):
        return Trouble.ROW
    return Trouble.PARAMETER


def _never_fits(text: str) -> bool:
    found = _TOO_LARGE.search(text)
    if found is None:
        return text.lower().startswith("request too large")
    limit, requested = (int(found[name].replace(",", "")) for name in ("limit", "requested"))
    return requested > limit
