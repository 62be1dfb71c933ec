"""Faults that a server can be told to show, and the choice of the requests that they hit."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmframe.testing import _errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TRANSPORT = frozenset({"reset", "hang", "truncated", "garbled", "trickle"})
ANSWERS = frozenset(
    {"refusal", "content_filter", "length_empty", "length_text", "empty_choices", "empty"},
)
ERRORS = frozenset(
    {
        "408",
        "409",
        "500",
        "502",
        "503",
        "rate_limit",
        "too_large",
        "insufficient_quota",
        "invalid_api_key",
        "permission",
        "model_not_found",
        "context_length_exceeded",
        "unsupported_parameter",
    },
)
KINDS = TRANSPORT | ANSWERS | ERRORS
CHAT = "/v1/chat/completions"
_RATE_LIMIT_SECONDS = 0.05


@dataclass(frozen=True)
class Fault:
    """One kind of fault and the requests that it hits.

    Parameters
    ----------
    kind
        A status as a number (400 to 599), or one of "408", "409", "500", "502" (an HTML page), "503";
        "rate_limit", "too_large", "insufficient_quota" (429), "invalid_api_key", "permission",
        "model_not_found", "context_length_exceeded", "unsupported_parameter"; "reset" (the connection is cut
        after the answer was made and billed), "hang" (no answer ever), "truncated" (the body ends early),
        "garbled" (status 200, no JSON), "trickle" (the body comes in drops); and answers that are none:
        "refusal", "content_filter", "length_empty", "length_text" (cut off), "empty_choices", "empty".
    rate
        Share of the requests that are hit, chosen by `seed`, the request's body and how often that body came
        before (not counting what the limits refused): the same run meets the same faults.
    first
        How many requests it looks at; None is all.
    after
        How many requests pass before it begins.
    times_per_request
        How often one and the same body is hit at most, so that trying again helps; None is always.
    when
        A function of the body; requests for which it is false are left alone and not counted.
    seed
        Another number hits other requests.
    seconds
        How long it lasts: `retry-after` of an error (0.05 for "rate_limit", else none), the time that
        "trickle" takes (1), when "hang" hangs up (never).
    path
        The beginning of the paths that it looks at, such as "/v1/files" or "/v1/batches"; None is chat
        completions, live ones and the rows of batches. A row that is hit by an error is in the error file; faults
        of the connection pass rows by. On other paths, errors and "hang" come before anything is done, "reset",
        "truncated", "garbled" and "trickle" after it: the file is stored, the batch is created.
    method
        The HTTP method that it looks at, with a `path`; None is every method.

    Examples
    --------
    >>> Fault("500", rate=0.1, times_per_request=1).kind
    '500'
    """

    kind: str | int
    rate: float = 1.0
    first: int | None = None
    after: int = 0
    times_per_request: int | None = None
    when: Callable[[dict[str, Any]], bool] | None = None
    seed: int = 0
    seconds: float | None = None
    path: str | None = None
    method: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.kind, int):
            if not 400 <= self.kind <= 599:
                raise ValueError(f"A fault's status must be between 400 and 599, not {self.kind}.")
        elif self.kind not in KINDS:
            raise ValueError(
                f"Unknown kind of fault {self.kind!r}; the kinds are {', '.join(sorted(KINDS))}, or a status as a number."
            )
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must be between 0 and 1, not {self.rate!r}.")
        self._check_address()

    def _check_address(self) -> None:
        if self.path is None and self.method is not None:
            raise ValueError("method goes with a path; completions are always POSTs.")
        if self.path is not None and not self.path.startswith("/v1"):
            raise ValueError(f"path must begin with /v1, not {self.path!r}.")
        if self.path is not None and self.kind in ANSWERS:
            raise ValueError(f"{self.kind!r} is a fault of completions; leave the path out.")


@dataclass(frozen=True, slots=True)
class Target:
    """A request as a fault sees it; `digest` names it, `row` is true for one in a batch."""

    body: dict[str, Any]
    digest: str
    path: str = CHAT
    method: str = "POST"
    row: bool = False


class FaultPlan:
    """Faults in force and what they have hit so far; the first that applies wins."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        self._states = [_FaultState(fault) for fault in self.faults]
        self._attempts: Counter[str] = Counter()

    def choose(self, target: Target) -> Fault | None:
        """Return the fault that hits this request, if any; every fault counts every request it looks at."""
        if not self._states:
            return None
        attempt = self._attempts[target.digest]
        self._attempts[target.digest] += 1
        chosen = None
        for state in self._states:
            if state.applies(target, attempt) and chosen is None:
                chosen = state
        if chosen is None:
            return None
        chosen.hits[target.digest] += 1
        return chosen.fault


class _FaultState:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.hits: Counter[str] = Counter()
        self._seen = 0

    def applies(self, target: Target, attempt: int) -> bool:
        fault, digest = self.fault, target.digest
        if not _concerns(fault, target) or (fault.when is not None and not fault.when(target.body)):
            return False
        position = self._seen - fault.after
        self._seen += 1
        if position < 0 or (fault.first is not None and position >= fault.first):
            return False
        if fault.times_per_request is not None and self.hits[digest] >= fault.times_per_request:
            return False
        return fault.rate >= 1 or _share(fault, digest, attempt) < fault.rate


def _concerns(fault: Fault, target: Target) -> bool:
    if target.row and fault.kind in TRANSPORT:
        return False
    if fault.path is None:
        return target.path == CHAT
    return target.path.startswith(fault.path) and fault.method in (None, target.method)


def _share(fault: Fault, digest: str, attempt: int) -> float:
    """Return a number in [0, 1) that depends on the seed, the request and the attempt only."""
    text = f"{fault.seed} {fault.kind} {digest} {attempt}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest()) / 2**56


def error_answer(fault: Fault, body: dict[str, Any], key: str, tokens: int) -> _errors.ErrorAnswer:
    """Return the error that an error fault answers with."""
    answer = _plain_error(fault.kind, body, key, tokens)
    seconds = fault.seconds
    if seconds is None and fault.kind == "rate_limit":
        seconds = _RATE_LIMIT_SECONDS
    return answer if seconds is None else answer.with_retry_after(seconds)


def _plain_error(kind: str | int, body: dict[str, Any], key: str, tokens: int) -> _errors.ErrorAnswer:
    model = body.get("model", "of this request")
    makers: dict[str | int, Callable[[], _errors.ErrorAnswer]] = {
        "502": _errors.bad_gateway,
        "rate_limit": lambda: _errors.rate_limited(
            model, "requests", 500, used=500, requested=1, wait=_RATE_LIMIT_SECONDS
        ),
        "too_large": lambda: _errors.request_too_large(model, 30_000, 36_278),
        "insufficient_quota": _errors.insufficient_quota,
        "invalid_api_key": lambda: _errors.invalid_key(key),
        "permission": _errors.permission,
        "model_not_found": lambda: _errors.model_not_found(model),
        "context_length_exceeded": lambda: _errors.context_length_exceeded(tokens),
        "unsupported_parameter": lambda: _errors.unsupported_parameter(_odd_parameter(body)),
    }
    return makers[kind]() if kind in makers else _errors.status_error(int(kind))


def _odd_parameter(body: dict[str, Any]) -> str:
    return next((name for name in ("max_tokens", "temperature", "top_p") if name in body), "temperature")
