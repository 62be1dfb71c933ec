"""Whether a request is sent again: the one place that decides it, for a row and for the run."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmframe._values import FaultKind, RequestFault, Stop, Verdict

if TYPE_CHECKING:
    from random import Random

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0

SAME_REFUSALS = 5
"""After this many first rows refused with the same message, the run stops: every request is malformed."""
FIRST_REFUSALS = 50
"""After this many first rows refused with any messages, the run stops for the same reason."""
EMPTY_ANSWERS = 20
"""After this many first answers, all paid and all empty, the run stops: the settings leave no tokens for text."""
LOST_ROWS = 20
"""After this many rows in succession failed by passing faults, the run stops: the faults are permanent."""
FIRST_CONTACT_ATTEMPTS = 3
FIRST_CONTACT_SECONDS = 2.0
"""A server that was never reached is given up after this many attempts of a row, or this many seconds of the run."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Send the row's request again after this many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The row has failed; the other rows continue."""


NO_KEY = Stop(
    "no_api_key",
    "there is no API key",
    "set OPENAI_API_KEY, llmframe.options.api_key or api_key= (for a server that needs none, any text will do)",
)


class StopRun(Exception):  # noqa: N818 (a decision about the run, not a failure of the code)
    """Carries a `Stop` from the code that decides it to the code that ends the run."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.message)
        self.stop = stop


def backoff(attempts: int, random: Random) -> float:
    """Return the seconds before the next attempt after this many failed ones: exponential, with jitter."""
    return _longest_delay(attempts) * (0.5 + random.random() / 2)


def _longest_delay(attempts: int) -> float:
    return min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(attempts - 1, 16))


@dataclass(frozen=True, slots=True)
class Attempts:
    """Counts the failed attempts at one row's request."""

    faults: int = 0
    limits: int = 0

    def after(self, fault: RequestFault) -> Attempts:
        limited = fault.kind is FaultKind.LIMIT
        return Attempts(self.faults + (not limited), self.limits + limited)

    @property
    def total(self) -> int:
        return self.faults + self.limits


class RetryPolicy:
    """Decides whether a row is retried after a fault; all faults of the run are considered.

    Parameters
    ----------
    max_retries
        Further attempts for a row after passing faults. Rate limits do not count.
    content
        The member of a body with the row's content: a fault there concerns its row alone.
    """

    def __init__(self, max_retries: int, random: Random, content: str | None = None) -> None:
        self._content = content
        self._max_retries = max_retries
        self._random = random
        self._reached = False
        self._answered = 0
        self._empty = 0
        self._lost = 0
        self._refusals = Counter[tuple[str, str]]()
        self._unreached = 0
        self._unreachable_since: float | None = None
        self._longest_retry_seconds = sum(map(_longest_delay, range(1, max_retries + 1)))

    @property
    def all_empty(self) -> bool:
        """Whether every answer so far was empty; the next one may end the run."""
        return self._answered == self._empty

    def on_answer(self, verdict: Verdict) -> Stop | None:
        """Count a paid answer; return why the run must end, if it must."""
        self.on_response()
        self._answered += 1
        self._lost = 0
        self._empty += verdict.empty
        if self._answered == self._empty == EMPTY_ANSWERS:
            return Stop(
                "empty_answers",
                f"the first {EMPTY_ANSWERS} answers were all paid and all empty ({verdict.detail})",
                "raise max_completion_tokens or lower reasoning_effort, then run the call again with retry_failed=True",
            )
        return None

    def on_fault(self, fault: RequestFault, attempts: Attempts, now: float) -> Retry | GiveUp | Stop:
        """Decide about a row after `fault`; `attempts` includes it."""
        if fault.kind is not FaultKind.UNREACHABLE and fault.code not in {"timeout", "connection_lost"}:
            self.on_response()
        match fault.kind:
            case FaultKind.FATAL:
                return Stop(fault.code, fault.message, remedy(fault))
            case FaultKind.ROW:
                return GiveUp()
            case FaultKind.PARAMETER:
                return self._decide_malformed(fault)
            case FaultKind.LIMIT:
                return Retry(max(fault.retry_after or 0.0, backoff(attempts.limits, self._random)))
            case FaultKind.UNREACHABLE:
                return self._decide_unreachable(fault, attempts, now)
            case _:
                return self._decide_passing(fault, attempts)

    def on_response(self) -> None:
        """Note that the server responds."""
        self._reached = True
        self._unreached = 0
        self._unreachable_since = None

    def _concerns_content(self, fault: RequestFault) -> bool:
        return fault.param is not None and re.split(r"[.\[]", fault.param)[0] == self._content

    def _decide_malformed(self, fault: RequestFault) -> GiveUp | Stop:
        if self._answered or self._concerns_content(fault):
            return GiveUp()
        self._refusals[fault.code, fault.param or fault.message] += 1
        (_, most), refused = self._refusals.most_common(1)[0], self._refusals.total()
        if most == refused == SAME_REFUSALS or refused == FIRST_REFUSALS:
            return Stop(
                fault.code, f"the first {refused} rows were all refused: {fault.message}", remedy(fault)
            )
        return GiveUp()

    def _decide_unreachable(self, fault: RequestFault, attempts: Attempts, now: float) -> Retry | Stop:
        """Retry as long as one row's retries may take, then stop the run: no row fails because of the network."""
        self._unreached += 1
        if self._unreachable_since is None:
            self._unreachable_since = now
        seconds = now - self._unreachable_since
        never_reached = not self._reached and (
            attempts.faults >= FIRST_CONTACT_ATTEMPTS
            or (self._unreached >= FIRST_CONTACT_ATTEMPTS and seconds >= FIRST_CONTACT_SECONDS)
        )
        lost_contact = self._unreached > self._max_retries and seconds >= self._longest_retry_seconds
        if never_reached or lost_contact:
            return Stop("unreachable", f"the server cannot be reached: {fault.message}", remedy(fault))
        return Retry(backoff(attempts.faults, self._random))

    def _decide_passing(self, fault: RequestFault, attempts: Attempts) -> Retry | GiveUp | Stop:
        decision = self._retry_or_give_up(fault, attempts)
        if isinstance(decision, GiveUp):
            self._lost += 1
            if self._lost >= LOST_ROWS:
                return Stop(
                    fault.code,
                    f"{LOST_ROWS} rows in succession failed, the last with: {fault.message}",
                    remedy(fault),
                )
        return decision

    def _retry_or_give_up(self, fault: RequestFault, attempts: Attempts) -> Retry | GiveUp:
        if attempts.faults > self._max_retries:
            return GiveUp()
        return Retry(max(min(fault.retry_after or 0.0, 120.0), backoff(attempts.faults, self._random)))


def remedy(fault: RequestFault) -> str:  # noqa: PLR0911 (a table)
    """Return one line that says what to change."""
    match fault.code:
        case "invalid_api_key" | "http_401":
            return "set OPENAI_API_KEY, llmframe.options.api_key or api_key= to a valid key"
        case "model_not_found" | "DeploymentNotFound":
            return "pass a model= that this key may use (or set llmframe.options.model)"
        case "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active" | "http_402":
            return (
                "add credit to the account, then run the same call again: what is answered is not paid again"
            )
        case "unreachable":
            return "check the network and base_url, then run the same call again: what is answered is not asked again"
        case "http_407":
            return "put the proxy's user and password into HTTPS_PROXY (or HTTP_PROXY)"
        case "certificate":
            return "install the server's certificate authority, or name it in SSL_CERT_FILE"
        case "http_404" | "http_405" | "not_found" | "unparsable_answer" | "invalid_base_url":
            return "check base_url (it usually ends in /v1)"
    if fault.kind is FaultKind.PARAMETER:
        parameter = f"{fault.param}=" if fault.param else "the parameter that the message names"
        return f"change or leave out {parameter}"
    return "when the cause is mended, run the same call again: what is answered is not asked again"
