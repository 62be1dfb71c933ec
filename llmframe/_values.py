"""The values that flow through a run: requests, usage, replies, faults and outcomes.

Those of which every row has its own are named tuples: as fixed as a frozen dataclass, and made in a
third of the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Key: TypeAlias = bytes
"""A request's identity: 16 bytes of BLAKE2b over what decides its answer."""

Lane: TypeAlias = Literal["live", "batch"]


class Request(NamedTuple):
    """One request on its way: its identity, its number among the run's distinct requests, its body."""

    key: Key
    number: int
    body: bytes
    """The JSON body, ready to send."""


_TOO_MANY_TOKENS = 10**10
"""No answer costs so many: a server that says so talks nonsense."""


class Usage(NamedTuple):
    """Tokens that one answer cost, or the sum over many."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    """Prompt tokens that the provider had in its cache (part of `prompt`)."""
    reasoning: int = 0
    """Completion tokens spent on reasoning (part of `completion`)."""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Usage:
        """Read a response body's `usage`; what is absent or nonsense counts as none."""
        usage = body.get("usage")
        if not isinstance(usage, dict):
            return cls()
        get = usage.get
        prompt, completion = get("prompt_tokens_details"), get("completion_tokens_details")
        return cls(
            token_count(get("prompt_tokens")),
            token_count(get("completion_tokens")),
            token_count(prompt.get("cached_tokens")) if isinstance(prompt, dict) else 0,
            token_count(completion.get("reasoning_tokens")) if isinstance(completion, dict) else 0,
        )

    @property
    def total(self) -> int:
        return self.prompt + self.completion


def token_count(value: object) -> int:
    """Read a number of tokens; what is absent or nonsense counts as none."""
    return value if isinstance(value, int) and 0 < value < _TOO_MANY_TOKENS else 0


class Trouble(Enum):
    """What a fault means for its row and for the run."""

    ROW = "row"
    """This row cannot succeed; the others go on."""
    PARAMETER = "parameter"
    """The request is malformed, perhaps as every row's is."""
    FATAL = "fatal"
    """No row can succeed."""
    LIMIT = "limit"
    """Too fast; slow down and ask again."""
    PASSING = "passing"
    """Ask again a little later."""
    UNREACHABLE = "unreachable"
    """No connection: the network or the server is down."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A request that brought no answer, translated from whatever the wire or the SDK said."""

    trouble: Trouble
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    """Seconds that the server asks to wait."""
    uncertain: bool = False
    """The request may have been processed, and billed, although no answer arrived."""


class Answer(NamedTuple):
    """A paid answer as the journal keeps it: whole, so that later questions need no new request."""

    key: Key
    body: bytes
    """The response body, JSON."""
    usage: Usage
    text: str | None
    """The answer's text; `None` when the response is no answer."""
    problem: str | None = None
    """Why the response is no answer (`refusal`, `content_filter`, …), or `"truncated"` beside a text."""
    detail: str = ""
    """What to say about the problem."""
    lane: Lane = "live"
    tier: str | None = None
    model: str | None = None
    """The model that answered, as the response names it."""
    asked: float | None = None
    """When it was asked, in seconds since the epoch, where that was long before it is kept."""

    @property
    def truncated(self) -> bool:
        return self.text is not None and self.problem is not None


@dataclass(frozen=True, slots=True)
class Failure:
    """A row's reason for having no answer."""

    code: str
    message: str
    attempts: int = 1


class Outcome(NamedTuple):
    """How a request ended: an answer (kept even where it is no answer in truth) or a failure."""

    request: Request
    answer: Answer | None
    failure: Failure | None
    attempts: int = 1
    seconds: float = 0.0
    """From the last attempt's departure to its answer."""


@dataclass(frozen=True, slots=True)
class BatchError:
    """Why a batch failed, or one line of its input."""

    code: str
    message: str
    line: int | None = None
    """The line of the input file, from 1, where one is named."""


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch as the API tells of it."""

    id: str
    status: str
    """The API's word: `validating`, `in_progress`, `finalizing`, `completed`, `failed`, `expired`, …"""
    input_file: str | None = None
    output_file: str | None = None
    error_file: str | None = None
    model: str | None = None
    created: float = 0.0
    """Seconds since the epoch."""
    ended: float | None = None
    """When it ended after it had begun to work, in seconds since the epoch."""
    total: int = 0
    completed: int = 0
    failed: int = 0
    errors: tuple[BatchError, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in {"completed", "failed", "expired", "cancelled"}
