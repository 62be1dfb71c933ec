"""Faults that a server injects on demand."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from llmframe.testing._settings.replies import Reply, as_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TRANSPORT_FAULTS = frozenset({"reset", "hang", "truncated", "garbled", "trickle"})
TEXT_FAULTS = frozenset(
    {
        *{"prose", "fenced", "thinking", "not_json", "wrong_type", "missing_key", "unknown_label"},
        *{"duplicate_keys", "nan"},
    }
)
ANSWER_FAULTS = TEXT_FAULTS | {
    *{"refusal", "content_filter", "length_empty", "length_text", "empty_choices", "empty"},
}
ANSWER_PATHS = ("/v1/chat/completions", "/v1/decisions")
ERROR_FAULTS = frozenset(
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
FAULT_KINDS = TRANSPORT_FAULTS | ANSWER_FAULTS | ERROR_FAULTS


@dataclass(frozen=True)
class Fault:
    """One kind of fault and the requests that it hits.

    Parameters
    ----------
    kind
        A status (400 to 599), as a number or its digits, or one of "408", "409", "500", "502" (an HTML page), "503";
        "rate_limit", "too_large", "insufficient_quota" (429), "invalid_api_key", "permission",
        "model_not_found", "context_length_exceeded", "unsupported_parameter"; "reset" (the connection is cut
        after the answer was made and billed), "hang" (no answer ever), "truncated" (the body ends early),
        "garbled" (status 200, no JSON), "trickle" (the body arrives slowly); and faults of the answer itself:
        "refusal", "content_filter", "length_empty", "length_text" (cut off), "empty_choices", "empty"; and of JSON:
        "prose", "fenced" or "thinking" around it, "not_json" in its place, "wrong_type" (of the first value),
        "missing_key" (the last one), "unknown_label", "duplicate_keys", "nan". Of these, decisions have "refusal" only.
        Any other answer is a `Reply`.
    rate
        Share of the requests that are hit, chosen by `seed`, the request's body and the number of its earlier
        attempts (without those that the limits refused): the same run gets the same faults.
    first
        How many requests it may hit, from the first one on; None is all.
    after
        How many requests are skipped before it begins.
    times_per_request
        How often the same body is hit at most, so that retries succeed; None is always.
    when
        A text, or a function of the body; requests whose messages (or, of a decision, whose input) do not contain it,
        or for which it is false, are not hit and not counted.
    seed
        Another number hits other requests.
    seconds
        The duration: `retry-after` of an error (0.05 for "rate_limit", otherwise none), the time of "trickle"
        (1), or the time until "hang" closes the connection (never).
    questions
        Of a "refusal", the names or positions of the questions of a decision that are refused, while the others are
        answered: then it hits decisions only. Without any, all are refused.
    path
        The beginning of the paths that it hits, such as "/v1/decisions", "/v1/files" or "/v1/batches"; None is chat
        completions, live ones and the rows of batches, and decisions. A row that is hit by an error is in the error file; faults
        of the connection do not hit rows. On other paths, errors and "hang" happen before anything is done,
        "reset", "truncated", "garbled" and "trickle" afterwards: the file is stored, the batch is created.
    method
        The HTTP method that it hits, with a `path`; None is every method.

    Examples
    --------
    >>> Fault("500", rate=0.1, times_per_request=1).kind
    '500'
    """

    kind: str | int | Reply
    rate: float = 1.0
    first: int | None = None
    after: int = 0
    times_per_request: int | None = None
    when: str | Callable[[dict[str, Any]], bool] | None = None
    seed: int = 0
    seconds: float | None = None
    questions: Iterable[str | int] = ()
    path: str | None = None
    method: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in FAULT_KINDS:
            object.__setattr__(self, "kind", as_status(self.kind))
        if isinstance(self.kind, int):
            if not 400 <= self.kind <= 599:
                raise ValueError(f"A fault's status must be between 400 and 599, not {self.kind}.")
        elif not isinstance(self.kind, str | Reply):
            raise TypeError(f"A fault's kind is a status, a name or a Reply, not {self.kind!r}.")
        elif not isinstance(self.kind, Reply) and self.kind not in FAULT_KINDS:
            close = get_close_matches(self.kind, FAULT_KINDS, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(
                f"Unknown kind of fault {self.kind!r}; {hint}The kinds are {', '.join(sorted(FAULT_KINDS))}, a status (400 to 599), or a Reply."
            )
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must be between 0 and 1, not {self.rate!r}.")
        object.__setattr__(self, "questions", _as_tuple(self.questions))
        self._check_address()

    def _check_address(self) -> None:
        if self.path is None and self.method is not None:
            raise ValueError("method goes with a path; completions are always POSTs.")
        if self.path is not None and not self.path.startswith("/v1"):
            raise ValueError(f"path must begin with /v1, not {self.path!r}.")
        if self.questions and self.kind != "refusal":
            raise ValueError(f'questions are those of a decision that a "refusal" hits, not {self.kind!r}.')
        if self.path is None or self.path in ANSWER_PATHS:
            return
        completes = isinstance(self.kind, Reply) and self.kind.completes
        if completes or self.kind in ANSWER_FAULTS:
            raise ValueError(f"{self.kind!r} is an answer of completions; leave the path out.")
        chosen_by_text = isinstance(self.when, str)
        if chosen_by_text:
            raise ValueError("when is a text in the messages of completions; with a path, pass a function.")


def _as_tuple(questions: Iterable[str | int] | str | int) -> tuple[str | int, ...]:
    return (questions,) if isinstance(questions, str | int) else tuple(questions)
