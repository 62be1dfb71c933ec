"""What an HTTP status with an error body means: OpenAI's table of errors, and what compatible servers say instead."""

from __future__ import annotations

import re
from http import HTTPStatus

from llmframe._records import Fault, Trouble

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


def classify(status: int, body: object, wait: float | None, message: str = "") -> Fault:
    """Say what an HTTP status with this error body means.

    Parameters
    ----------
    body
        The JSON body, or the text where it is none.
    wait
        Seconds that the server asks to wait.
    message
        What to say where the body says nothing.
    """
    error = body.get("error", body) if isinstance(body, dict) else {}
    error = error if isinstance(error, dict) else {}
    said = error.get("message")
    text = (
        said if isinstance(said, str) and said else _page_title(status, body) or message or f"HTTP {status}"
    )
    code = error.get("code") or error.get("type")
    code = code if isinstance(code, str) and code else f"http_{status}"
    param = error.get("param")
    trouble = _trouble(status, {code, str(error.get("type"))}, text)
    return Fault(
        trouble,
        "request_too_large" if status == 429 and trouble is Trouble.ROW else code,
        text[:2000],
        param if isinstance(param, str) else None,
        wait,
        uncertain=status in {504, 524},
    )


def _page_title(status: int, body: object) -> str:
    """Name the status where the body is a web page, as proxies answer."""
    if not isinstance(body, str) or not body.lstrip().startswith("<"):
        return ""
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "unknown status"
    return f"HTTP {status} ({phrase}), with a web page"


def _trouble(status: int, codes: set[str], text: str) -> Trouble:
    if codes & _QUOTA_CODES or status in {401, 402, 403, 404, 405}:
        return Trouble.FATAL
    if status == 429:
        return Trouble.ROW if _never_fits(text) else Trouble.LIMIT
    if status in {408, 409, 425} or status >= 500:
        return Trouble.PASSING
    if codes & _ROW_CODES or status == 413 or _TOO_LONG.search(text):
        return Trouble.ROW
    return Trouble.PARAMETER


def _never_fits(text: str) -> bool:
    found = _TOO_LARGE.search(text)
    if found is None:
        return text.lower().startswith("request too large")
    limit, requested = (int(found[name].replace(",", "")) for name in ("limit", "requested"))
    return requested > limit
