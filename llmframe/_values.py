"""The values that flow through a run, and the protocols by which its rooms know each other.

Values of which every row has its own are named tuples: as fixed as a frozen dataclass, and made in a
third of the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, MutableSequence, Sequence
    from collections.abc import Set as AbstractSet

    import pandas as pd

Key: TypeAlias = bytes
"""A request's identity: 16 bytes of BLAKE2b over what decides its answer."""

LaneName: TypeAlias = Literal["live", "batch"]


class Request(NamedTuple):
    """One request to be sent: its identity, its number among the run's distinct requests, its body."""

    key: Key
    number: int
    body: bytes
    """The JSON body, ready to send."""


class Usage(NamedTuple):
    """Tokens that one answer cost, or the sum over many."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    """Prompt tokens that the provider read from its cache (part of `prompt`)."""
    reasoning: int = 0
    """Completion tokens spent on reasoning (part of `completion`)."""
    cache_write: int = 0
    """Prompt tokens that the provider wrote into its cache (part of `prompt`)."""

    @property
    def total(self) -> int:
        return self.prompt + self.completion


class FaultKind(Enum):
    """What a fault means for its row and for the run."""

    ROW = "row"
    """This row cannot succeed; the others go on."""
    PARAMETER = "parameter"
    """The request is malformed, perhaps as every row's is."""
    FATAL = "fatal"
    """No row can succeed."""
    LIMIT = "limit"
    """The requests come too fast; they are sent again, more slowly."""
    PASSING = "passing"
    """The request is sent again a little later."""
    UNREACHABLE = "unreachable"
    """There is no connection: the network or the server is down."""


@dataclass(frozen=True, slots=True)
class RequestFault:
    """A request that brought no answer, translated from whatever the wire or the SDK said."""

    kind: FaultKind
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
    lane: LaneName = "live"
    tier: str | None = None
    model: str | None = None
    """The model that answered, as the response names it."""
    asked: float | None = None
    """When it was asked, in seconds since the epoch, where that was long before it is kept."""


class Verdict(NamedTuple):
    """What a stored body means for a verb. It is made when the body is read, and never stored."""

    value: Any
    """The value of the row's cells; `None` where the body is no answer for this verb."""
    problem: str | None = None
    """Why it is no answer (`refusal`, `content_filter`, …), or `"truncated"` beside a value."""
    detail: str = ""
    """What to say about the problem."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A row's reason for having no answer."""

    code: str
    message: str
    attempts: int = 1


class Outcome(NamedTuple):
    """How a request ended: with a paid answer and the verb's verdict on it, or with a failure."""

    request: Request
    answer: Answer | None
    verdict: Verdict | None
    failure: Failure | None
    attempts: int = 1
    seconds: float = 0.0
    """From the last attempt's departure to its answer."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run ends early: nothing more can succeed, so nothing more is sent."""

    code: str
    message: str
    remedy: str


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


class UsageReport(NamedTuple):
    """What one run tells the others that share its rate limits."""

    load: float = 0.0
    """The share of the stated limit that it used lately."""
    hungry: bool = True
    """Whether a limit held it back lately, or it has only begun."""
    rate: float | None = None
    """Requests per second that it has learnt to be allowed, where no limit is stated."""
    parties: int = 1
    """Among how many runs that rate is divided, itself included."""
    used: float = 0.0
    """Requests per second that it sent lately."""
    measured: bool = False
    """Whether `rate` is what the server accepted, and not a first guess."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Times and sizes that llmframe chooses for itself; tests choose others (`options._tuning`)."""

    chunk_rows: int = 4096
    """So many rows are rendered at a time: enough to be fast, few enough not to copy a column's text."""
    commit_seconds: float = 0.05
    """Answers that arrive within so much time are committed together."""
    claim_ahead_seconds: float = 0.03
    """As many requests as are sent in so much time may be claimed ahead of the window."""
    lease_seconds: float = 60.0
    """How long a claim stands after its owner's last sign of life; renewed every third of it."""
    exchange_seconds: float = 0.5
    """How often runs that share limits report to each other."""
    connect_seconds: float = 15.0
    """How long a connection may take to be made, where the request's timeout is not shorter."""
    same_limits_seconds: float = 0.005
    """Answers that come within so much time state the same limits: one of them is read."""
    first_poll_seconds: float = 1.0
    """How soon a batch is looked at after it was submitted; the pause grows by half each time."""
    longest_poll_seconds: float = 60.0
    first_resubmit_seconds: float = 2.0
    """How soon a refused part is submitted again; the pause doubles each time."""
    lone_refusals: int = 8
    """So many refusals of a part beside which nothing is enqueued mean that the part is too large."""
    batch_requests: int = 50_000
    batch_bytes: int = 200_000_000
    """What one batch may have at most: https://platform.openai.com/docs/guides/batch."""


class Endpoint(Protocol):
    """An endpoint of the API: what its requests may say, how they are written, and how its bodies are read."""

    @property
    def path(self) -> str:
        """The path in identities and in the lines of batches, such as `/v1/chat/completions`."""

    @property
    def route(self) -> str:
        """The path behind a client's `base_url`, which ends in `/v1`."""

    @property
    def answer(self) -> str:
        """The member that every body with an answer has."""

    def parameters(self) -> frozenset[str]:
        """Name the keywords that the installed SDK takes there, but for those that llmframe fills in."""

    def template(self, model: str, params: Mapping[str, Any]) -> bytes:
        """Write the start of every body: model, parameters, and the name of what the row gives."""

    def body(self, template: bytes, content: bytes) -> bytes:
        """Write a request's body from the template and the row's own content."""

    def read_charge(self, data: Mapping[str, Any]) -> int | None:
        """Read how many tokens a body counts against limits; `None` where it does not say."""

    def read_answer(self, key: Key, raw: bytes, data: Mapping[str, Any], lane: LaneName) -> Answer:
        """Read from a body what the journal keeps beside it: tokens, tier, model."""


class AnswerKind(Protocol):
    """What a verb makes of stored bodies: text today; typed columns, labels and vectors are further kinds."""

    def judge(self, body: Mapping[str, Any]) -> Verdict:
        """Decide what a stored body means for this verb."""

    def storage(self, requests: int) -> MutableSequence[Any]:
        """Make what holds the values of so many distinct requests, all missing."""

    def columns(self, values: Sequence[Any], index: pd.Index, names: Sequence[Hashable]) -> list[pd.Series]:
        """Make the columns of these values, one value a row, in the order of `names`."""

    def continues(self, existing: pd.Series) -> bool:
        """Tell whether an existing column may keep this kind's dtype when some of its cells are written."""


class Feed(Protocol):
    """Where a lane gets its requests."""

    def next_ready(self) -> Request | None:
        """Return the next request if one is claimed already and no further claim is due."""

    async def next(self, *, patient: bool = True) -> Request | None:
        """Return the next request, claimed and ready to send; `None` when there are no more.

        An impatient lane does not wait for requests that other runs have claimed, and gets `None` instead.
        """

    @property
    def more(self) -> bool:
        """Whether other runs have claimed requests that may still come."""

    @property
    def parts(self) -> AbstractSet[str]:
        """The open parts of batches, by nonce, that hold some of those."""

    def lapsed_since(self, moment: float) -> bool:
        """Tell whether others may have taken over what was fed by then (seconds, `time.monotonic`)."""

    def put_back(self, numbers: Iterable[int]) -> None:
        """Take back requests, by number, that are to be claimed and fed once more."""

    def end(self) -> None:
        """Bring no more: whoever waits for the next request is told that there is none."""


@dataclass(slots=True)
class Traffic:
    """What has happened on the wire so far."""

    sent: int = 0
    """Requests that left at least once."""
    retries: int = 0
    limited: int = 0
    """Attempts that were answered 429."""
    uncertain: int = 0
    """Attempts whose outcome is unknown, and which may have been billed."""


class Lane(Protocol):
    """A way to get requests answered: it takes them from a feed and emits an outcome for each."""

    traffic: Traffic
    stopped: Stop | None

    @property
    def in_flight(self) -> int: ...
    @property
    def ahead(self) -> int:
        """Requests that are answered as far as is known, though their answers are not here yet."""

    @property
    def waited_seconds(self) -> float: ...
    @property
    def batches(self) -> Sequence[str]:
        """The batches that are under way, by id."""

    def waiting(self) -> str:
        """Say what the lane waits for, if for anything but answers."""

    def stop(self, reason: Stop) -> None:
        """Send nothing more."""

    def cancel_batches(self) -> None:
        """Let the batches that are under way be cancelled when the lane ends."""

    async def run(self, feed: Feed) -> None:
        """Work until the feed is exhausted or the run is stopped."""


Emit: TypeAlias = "Callable[[Outcome], float | None]"
"""Takes each outcome of a lane, on the loop; returns what the answer cost in US dollars, where known."""


class RunView(Protocol):
    """What an error knows of its run; it is a `Run`."""

    @property
    def status(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def answered(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def cost(self) -> float | None: ...
    @property
    def values(self) -> list[Any]: ...
    @property
    def failures(self) -> pd.DataFrame: ...
    def result(self, timeout: float | None = None) -> Any: ...
