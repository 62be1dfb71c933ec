"""The values that flow through a run, and the protocols between its rooms.

Values that exist for every row are named tuples: immutable like a frozen dataclass, and created in a third of the
time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    import numpy as np
    import numpy.typing as npt
    import pandas as pd

Key: TypeAlias = bytes
"""A request's identity: 16 bytes of BLAKE2b over everything that decides its answer."""

_LONGEST_WORDS = 200

LaneName: TypeAlias = Literal["live", "batch"]


class Request(NamedTuple):
    """One request: its identity, its number among the run's distinct requests, its body."""

    key: Key
    number: int
    body: bytes
    """The JSON body, ready to send."""


class Usage(NamedTuple):
    """The tokens of one answer, or the sum of many. An answer without prompt tokens is one whose tokens are unknown.

    Each token is in one class: `uncached`, `cached` and `written` are the prompt's, `output` and `reasoning` the
    completion's, and the five sum to `total`.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    """Prompt tokens that the provider read from its cache (part of `prompt`)."""
    reasoning: int = 0
    """Completion tokens spent on reasoning (part of `completion`)."""
    cache_write: int = 0
    """Prompt tokens that the provider wrote into its cache (part of `prompt`)."""

    @property
    def uncached(self) -> int:
        """Prompt tokens at the full price of the input."""
        return self.prompt - self.cached - self.cache_write

    @property
    def written(self) -> int:
        """Prompt tokens that the provider wrote into its cache, which cost more than uncached ones."""
        return self.cache_write

    @property
    def output(self) -> int:
        """Completion tokens of the answer itself, without reasoning."""
        return self.completion - self.reasoning

    @property
    def total(self) -> int:
        return self.prompt + self.completion


class Saved(NamedTuple):
    """US dollars that a run did not have to pay, as far as prices are known; no dollar is in two of these."""

    journal: float = 0.0
    """What the answers from the journal had cost."""
    duplicates: float = 0.0
    """What the answers to equal rows would have cost again for each copy."""
    cache: float = 0.0
    """What the prompt tokens that the provider read from its cache would have cost more as uncached ones, less what the
    tokens written into it cost more. Below 0 where the writes cost more than the reads saved."""
    batch: float = 0.0
    """What the answers by batch would have cost more when sent live."""

    @property
    def total(self) -> float:
        return sum(self)


class FaultKind(Enum):
    """What a fault means for its row and for the run, by itself; the retry policy adds what else has happened."""

    ROW = "row"
    """This row cannot succeed; the other rows continue."""
    PARAMETER = "parameter"
    """The request is malformed, in this row or in every row."""
    REFUSED = "refused"
    """The request is refused; unless other rows are answered, every row's will be."""
    ACCESS = "access"
    """The key or account is refused; where other rows are answered, this is of the moment."""
    ELSEWHERE = "elsewhere"
    """What answered is not the API: another server or path, or a proxy; where other rows are answered, this is passing."""
    FATAL = "fatal"
    """No row can succeed."""
    LIMIT = "limit"
    """The requests are sent too fast; they are sent again more slowly."""
    PASSING = "passing"
    """The request is sent again a little later."""
    UNREACHABLE = "unreachable"
    """There is no connection: the network or the server is down."""


@dataclass(frozen=True, slots=True)
class RequestFault:
    """A request without an answer, translated from a response or an error."""

    kind: FaultKind
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    """Seconds that the server asks to wait."""
    uncertain: bool = False
    """The request may have been processed, and billed, although no answer arrived."""
    status: int | None = None
    """The HTTP status; that of its line, in a batch."""
    lasting: bool = False
    """By the server's words, the limit will not pass today."""


class Answer(NamedTuple):
    """A paid answer as the journal keeps it, complete, so that later uses need no new request."""

    key: Key
    body: bytes
    """The response body, JSON."""
    usage: Usage
    lane: LaneName = "live"
    tier: str | None = None
    model: str | None = None
    """The model that answered, as the response names it."""
    asked: float | None = None
    """When it was requested, in seconds since the epoch, if long before it is recorded."""
    impossible_usage: object = None
    """What the body says of its tokens, where that cannot be right; `usage` is bounded then, or unknown."""
    output_bound: int | None = None
    """The tokens that its request allowed it; `None`: not stated."""
    request_bytes: int | None = None
    """The size of its request's body; `None`: unknown, as of a batch."""


class Again(Enum):
    """Why the request of a paid body is sent once more."""

    PASSING = "passing"
    """A fault of the moment broke the answer off. It counts as spent, and is never stored."""
    ONCE = "once"
    """Its ending is unknown. It is stored, and stands if the second one is like it."""


PARTLY = "partly"
"""The problem beside a value that lacks some of its parts."""


class Verdict(NamedTuple):
    """What a stored body means for a verb. It is made when the body is read, and never stored."""

    value: Any
    """The value of the row's cells; `None` where the body is not an answer for this verb."""
    problem: str | None = None
    """Why it is not an answer (`refusal`, `content_filter`, …); beside a value, `"truncated"` or `PARTLY`."""
    detail: str = ""
    """A text about the problem."""
    empty: bool = False
    """Whether the model wrote nothing; a run whose first answers are all empty is stopped."""
    again: Again | None = None
    raw: str | None = None
    """What the model wrote, where it is not an answer."""
    fits_as_sent: bool | None = None
    """Whether what is no answer fits all the same what was asked for, apart from what only we check; `None`: it does not tell."""
    correction: str | None = None
    """What the model is told when it is asked again for an answer that fits; `None`: it is not."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A row's reason for having no answer."""

    code: str
    message: str
    attempts: int = 1
    paid: bool = False
    """Whether it is the verdict on a paid answer."""
    raw: str | None = None
    """What the model wrote, where that is not an answer for this verb."""


class Outcome(NamedTuple):
    """How a request ended: with a paid answer and its body as read from JSON, or with a failure."""

    request: Request
    answer: Answer | None
    body: Mapping[str, Any] | None
    failure: Failure | None
    attempts: int = 1
    seconds: float = 0.0
    """From the sending of the last attempt to its answer."""


class Recorded(NamedTuple):
    """What a recorded answer costs, and what it means for the verb."""

    cost: float | None
    """In US dollars; `None` where its model's price or its tokens are unknown."""
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run ends early: nothing more can succeed, so nothing more is sent."""

    code: str
    message: str
    remedy: str
    fault: RequestFault | None = None
    """The last of the faults that it follows from."""


@dataclass(frozen=True, slots=True)
class BatchError:
    """Why a batch failed, or one line of its input."""

    code: str
    message: str
    line: int | None = None
    """The line of the input file, from 1, where one is named."""


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch as the API reports it."""

    id: str
    status: str
    """The API's status: `validating`, `in_progress`, `finalizing`, `completed`, `failed`, `expired`, …"""
    input_file: str | None = None
    output_file: str | None = None
    error_file: str | None = None
    model: str | None = None
    created: float = 0.0
    """Seconds since the epoch."""
    ended: float | None = None
    """When it ended, in seconds since the epoch, if it had started."""
    total: int = 0
    completed: int = 0
    failed: int = 0
    counted: bool = True
    """Whether the server says how many requests were completed."""
    errors: tuple[BatchError, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    endpoint: str | None = None
    """The path of the endpoint that answers its requests, where the server states it."""

    @property
    def final(self) -> bool:
        """Whether the batch has ended."""
        return self.status in {"completed", "failed", "expired", "cancelled"}

    @property
    def has_results(self) -> bool:
        """Whether it has, or will have, files with results: a failed batch usually has answered nothing."""
        files = self.output_file is not None or self.error_file is not None
        return self.status != "failed" or files or self.completed > 0


class UsageReport(NamedTuple):
    """What one process reports to the others that share its rate limits."""

    load: float = 0.0
    """The share of the stated limit that it used lately."""
    needs_more: bool = True
    """Whether a limit held it back recently, or it has just begun."""


_NOISE = 0.25  # share by which a number that was learnt varies from call to call
_USED_UP_SECONDS = (
    2.0  # of a limit's allowance: when less is used, the next process may as well begin with all of it
)


class LearntLimit(NamedTuple):
    """What is kept of a limit that the server states."""

    limit: float
    """The allowance of a minute."""
    bucket_seconds: float = 0.0
    """How many seconds' allowance the server keeps; 0: unknown."""
    full_in_seconds: float = 0.0
    """Seconds until all of that is available again."""


class LearntPace(NamedTuple):
    """What is kept of an account's limits for the next process."""

    window: int
    """The most requests in flight of which one was answered."""
    by_second_seconds: float = 0.0
    """For how long the stated limits count as enforced by the second."""
    requests: LearntLimit | None = None
    tokens: LearntLimit | None = None
    """The limits that the server stated last; `None`: none."""
    unstated: LearntLimit | None = None
    """The limit that refusals have taught where none is stated; `None`: nothing was refused."""

    def is_like(self, other: LearntPace) -> bool:
        """Return whether the next process would start nearly as with another."""
        return (
            self.window == other.window
            and (self.by_second_seconds > 0) == (other.by_second_seconds > 0)
            and _limits_are_alike(self.requests, other.requests)
            and _limits_are_alike(self.tokens, other.tokens)
            and _limits_are_alike(self.unstated, other.unstated)
        )


def _limits_are_alike(one: LearntLimit | None, other: LearntLimit | None) -> bool:
    if one is None or other is None:
        return one is other
    if max(one.full_in_seconds, other.full_in_seconds) > _USED_UP_SECONDS:
        return False
    return all(abs(a - b) <= _NOISE * max(a, b) for a, b in zip(one[:2], other[:2], strict=True))


class Endpoint(Protocol):
    """An endpoint of the API: its parameters, and how its bodies are written and read."""

    @property
    def path(self) -> str:
        """The path in identities and in the lines of batches, such as `/v1/chat/completions`."""

    @property
    def route(self) -> str:
        """The path after a client's `base_url`, which ends in `/v1`."""

    @property
    def content(self) -> str:
        """The member of a request's body with the row's content."""

    @property
    def price_list(self) -> str | None:
        """genai-prices' name of the price list of its answers; `None`: the model's usual one."""

    @property
    def answer(self) -> str:
        """The member that every body with an answer has."""

    def parameters(self) -> frozenset[str]:
        """Return the keywords that the installed SDK accepts, except those that llmframe fills in."""

    def template(self, model: str, params: Mapping[str, Any]) -> bytes:
        """Write the start of every body: model, parameters, and the name of the row's member."""

    def body(self, template: bytes, content: bytes) -> bytes:
        """Write a request's body from the template and the row's own content."""

    def read_charge(self, data: Mapping[str, Any]) -> int | None:
        """Read the tokens that a body counts against limits; `None` if it does not state them."""

    def read_answer(self, key: Key, raw: bytes, data: Mapping[str, Any], lane: LaneName) -> Answer:
        """Make the journal's answer from a body, with its tokens, tier and model."""


RowTexts: TypeAlias = "Callable[[Iterable[int]], Iterator[str]]"
"""Yields the texts of the rows of some requests (ascending): their cells, without what is asked of them."""


class AnswerKind(Protocol):
    """How a verb reads stored bodies: text today; typed columns, labels and vectors are further kinds."""

    @property
    def remedies(self) -> Mapping[str, str]:
        """What the user can change about each problem of a paid answer, by the problem's code; empty: nothing."""

    @property
    def shows_raw(self) -> bool:
        """Whether the table of failed rows tells what the model wrote."""

    @property
    def companions(self) -> Mapping[int, Sequence[int]]:
        """The columns that belong to others: each one's position, and those of its values. All other columns are values.

        `{1: (0,)}` is a confidence beside its label. A row is asked where a value is missing, and a companion's cell is
        written exactly where one of its values' cells is, whatever it held.
        """

    @property
    def mixes(self) -> bool:
        """Whether existing values of another type may stay beside this kind's own, in a column of objects; else they are an error."""

    def judge(self, body: Mapping[str, Any]) -> Verdict:
        """Decide what a stored body means for this verb."""

    def storage(self, requests: int, texts: RowTexts) -> Any:
        """Make what holds the values of this many distinct requests, all missing; each is set by its number."""

    def columns(
        self, stored: Any, codes: npt.NDArray[np.int32], index: pd.Index, names: Sequence[Hashable]
    ) -> list[pd.Series]:
        """Make the columns of these values, in the order of `names`; `codes` has each row's request, negative for none."""

    def rows(self, stored: Any, codes: npt.NDArray[np.int32], index: pd.Index) -> Any:
        """Return each row's value, by position, as `Run.values` gives them."""

    def unsure(self, stored: Any, codes: npt.NDArray[np.int32]) -> int:
        """Count the rows of which a value is missing because it is not sure enough."""

    def takes(self, column: int, value: Any) -> bool:
        """Return whether an existing value, which has the type of that column's dtype, may stay beside this kind's own."""


class Feed(Protocol):
    """The source of a lane's requests."""

    def next_ready(self) -> Request | None:
        """Return the next request if it is claimed already and no further claim is due."""

    async def next(self, *, patient: bool = True) -> Request | None:
        """Return the next request, claimed and ready to send; `None` when there are no more.

        With `patient=False` the feed does not wait for requests that other runs have claimed, and returns `None`.
        """

    @property
    def ahead(self) -> int:
        """How many requests the lane may hold before they may leave, so that none is claimed long before it is sent."""

    def return_ready(self, request: Request) -> None:
        """Return a request that may not leave yet; it stays claimed and is fed first."""

    @property
    def more(self) -> bool:
        """Whether other runs have claimed requests that may still become available."""

    @property
    def parts(self) -> AbstractSet[str]:
        """The open parts of batches, by nonce, that hold some of these requests."""

    def lapsed_since(self, moment: float) -> bool:
        """Return whether other runs may have taken over the requests fed by this moment (seconds, `time.monotonic`)."""

    async def spread(self, count: int) -> Sequence[Request]:
        """Return up to this many of the next requests, claimed, from positions spread over all that remain."""

    def put_back(self, numbers: Iterable[int]) -> None:
        """Claim and feed these requests, by number, once more."""

    def end(self) -> None:
        """Feed no more, and return `None` to all callers that wait."""


@dataclass(slots=True)
class Traffic:
    """Counts of the requests sent so far."""

    sent: int = 0
    """Requests that were sent at least once."""
    retries: int = 0
    limited: int = 0
    """Attempts that were answered 429."""
    uncertain: int = 0
    """Attempts with an unknown outcome, which may have been billed."""


class LimitWait(NamedTuple):
    """What a run waits for that a server's limit holds back."""

    words: str
    """The server's own words."""
    until: datetime | None
    """When the next request leaves (aware, UTC), where the server states it."""

    @classmethod
    def of(cls, words: str, seconds: float | None) -> LimitWait:
        """Shorten the words; the wait ends in so many seconds, where that is known."""
        until = None if seconds is None else datetime.now(UTC) + timedelta(seconds=max(0.0, seconds))
        return cls(words[:_LONGEST_WORDS], until)


class Lane(Protocol):
    """A way to send requests: it takes them from a feed and emits an outcome for each."""

    traffic: Traffic
    stopped: Stop | None

    @property
    def in_flight(self) -> int: ...
    @property
    def ahead(self) -> int:
        """Requests that the server has answered, but whose answers have not been read yet."""

    @property
    def waited_seconds(self) -> float: ...
    @property
    def batches(self) -> Sequence[str]:
        """The open batches, by id."""

    def waiting(self) -> str:
        """Return what the lane waits for, other than answers."""

    @property
    def limit_wait(self) -> LimitWait | None:
        """The limit that holds requests back now; `None` where none does."""

    def stop(self, reason: Stop) -> None:
        """Send nothing more."""

    def cancel_batches(self) -> None:
        """Cancel the open batches when the lane ends."""

    async def run(self, feed: Feed) -> None:
        """Work until the feed is exhausted or the run is stopped."""


Emit: TypeAlias = "Callable[[Outcome], Recorded | None]"
"""Receives each outcome of a lane, on the loop; returns what became of its answer, if it has one."""


class RunView(Protocol):
    """The public part of `Run`, for the errors that carry one."""

    @property
    def status(self) -> str: ...
    @property
    def values(self) -> list[Any]: ...
    @property
    def failures(self) -> pd.DataFrame: ...
    @property
    def reasked(self) -> pd.DataFrame: ...
    @property
    def rows(self) -> int: ...
    @property
    def skipped(self) -> dict[str, int]: ...
    @property
    def distinct(self) -> int: ...
    @property
    def answered(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def truncated(self) -> int: ...
    @property
    def partly(self) -> int: ...
    @property
    def unsure(self) -> int: ...
    @property
    def from_journal(self) -> int: ...
    @property
    def sent(self) -> int: ...
    @property
    def retries(self) -> int: ...
    @property
    def limited(self) -> int: ...
    @property
    def uncertain(self) -> int: ...
    @property
    def tokens(self) -> Usage: ...
    @property
    def cost(self) -> float | None: ...
    @property
    def saved(self) -> Saved: ...
    @property
    def unpriced(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def waited_seconds(self) -> float: ...
    @property
    def waiting(self) -> LimitWait | None: ...
    @property
    def latency(self) -> dict[str, float]: ...
    def done(self) -> bool: ...
    def cancel(self) -> None: ...
    def plot(self) -> Any: ...
    def result(self, timeout: float | None = None) -> Any: ...
