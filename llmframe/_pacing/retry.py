"""Whether to try again: the one place that decides it, for a row and for the run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmframe._values import Answer, Fault, Trouble

if TYPE_CHECKING:
    from random import Random

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0

SAME_REFUSALS = 5
"""So many first rows refused with the same words mean that every row's request is malformed."""
FIRST_REFUSALS = 50
"""So many first rows refused, with whatever words, mean the same."""
EMPTY_ANSWERS = 20
"""So many first answers, all paid and all empty, mean that the settings leave no room for text."""
LOST_ROWS = 20
"""So many rows lost in a row to passing faults mean that the fault is not passing."""
FIRST_CONTACT_ATTEMPTS = 3
FIRST_CONTACT_SECONDS = 2.0
"""A server that was never reached is given up after so many attempts of a row, or so long of the run's."""

_EMPTY = frozenset({"length", "empty", "no_choices"})


@dataclass(frozen=True, slots=True)
class Again:
    """Try the row again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The row has failed; the others go on."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing more can succeed: send no more."""

    code: str
    message: str
    remedy: str


NO_KEY = Stop(
    "no_api_key",
    "there is no API key",
    "set OPENAI_API_KEY, llmframe.options.api_key or api_key= (for a server that needs none, any text will do)",
)


class Halt(Exception):  # noqa: N818 (a verdict on the run, not a failure of the code)
    """Carries a `Stop` from where it is decided to where the run ends."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.message)
        self.stop = stop


def backoff(tries: int, random: Random) -> float:
    """Return seconds before the next attempt after `tries` faults: exponential, with jitter."""
    return _longest_delay(tries) * (0.5 + random.random() / 2)


def _longest_delay(tries: int) -> float:
    return min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(tries - 1, 16))


@dataclass(frozen=True, slots=True)
class Tries:
    """What one row has been through."""

    faults: int = 0
    limits: int = 0

    def after(self, fault: Fault) -> Tries:
        limited = fault.trouble is Trouble.LIMIT
        return Tries(self.faults + (not limited), self.limits + limited)

    @property
    def total(self) -> int:
        return self.faults + self.limits


class Watch:
    """What the run as a whole has seen, and what follows for a row that met a fault.

    Parameters
    ----------
    max_retries
        Further attempts for a row after passing faults. Rate limits do not count.
    """

    def __init__(self, max_retries: int, random: Random) -> None:
        self._max_retries = max_retries
        self._random = random
        self._heard = False
        self._answered = 0
        self._empty = 0
        self._lost = 0
        self._refusals = Counter[tuple[str, str]]()
        self._unreached = 0
        self._silent_since: float | None = None
        self._patience = sum(_longest_delay(tries) for tries in range(1, max_retries + 1))

    @property
    def doubts(self) -> bool:
        """Whether no answer had any text so far, so that the next may be one too many."""
        return self._answered == self._empty

    def answered(self, answer: Answer) -> Stop | None:
        """Take note of a paid answer."""
        self.heard()
        self._answered += 1
        self._lost = 0
        self._empty += answer.text is None and answer.problem in _EMPTY
        if self._answered == self._empty == EMPTY_ANSWERS:
            return Stop(
                "empty_answers",
                f"the first {EMPTY_ANSWERS} answers were all paid and all empty ({answer.detail})",
                "raise max_completion_tokens or lower reasoning_effort, then run the call again with retry_failed=True",
            )
        return None

    def faulted(self, fault: Fault, tries: Tries, now: float) -> Again | GiveUp | Stop:
        """Decide about a row whose attempt brought `fault`; `tries` counts it."""
        if fault.trouble is not Trouble.UNREACHABLE and fault.code not in {"timeout", "connection_lost"}:
            self.heard()
        match fault.trouble:
            case Trouble.FATAL:
                return Stop(fault.code, fault.message, remedy(fault))
            case Trouble.ROW:
                return GiveUp()
            case Trouble.PARAMETER:
                return self._malformed(fault)
            case Trouble.LIMIT:
                return Again(max(fault.retry_after or 0.0, backoff(tries.limits, self._random)))
            case Trouble.UNREACHABLE:
                return self._unreachable(fault, tries, now)
            case _:
                return self._passing(fault, tries)

    def heard(self) -> None:
        """Take note that the server answers."""
        self._heard = True
        self._unreached = 0
        self._silent_since = None

    def _malformed(self, fault: Fault) -> GiveUp | Stop:
        if self._answered or (fault.param or "").startswith("messages"):
            return GiveUp()
        self._refusals[fault.code, fault.param or fault.message] += 1
        (_, most), refused = self._refusals.most_common(1)[0], self._refusals.total()
        if most == refused == SAME_REFUSALS or refused == FIRST_REFUSALS:
            return Stop(
                fault.code, f"the first {refused} rows were all refused: {fault.message}", remedy(fault)
            )
        return GiveUp()

    def _unreachable(self, fault: Fault, tries: Tries, now: float) -> Again | Stop:
        """Wait as long as one row's retries may take, then stop: no row fails for want of a network."""
        self._unreached += 1
        if self._silent_since is None:
            self._silent_since = now
        seconds = now - self._silent_since
        never = not self._heard and (
            tries.faults >= FIRST_CONTACT_ATTEMPTS
            or (self._unreached >= FIRST_CONTACT_ATTEMPTS and seconds >= FIRST_CONTACT_SECONDS)
        )
        silent = self._unreached > self._max_retries and seconds >= self._patience
        if never or silent:
            return Stop("unreachable", f"the server cannot be reached: {fault.message}", remedy(fault))
        return Again(backoff(tries.faults, self._random))

    def _passing(self, fault: Fault, tries: Tries) -> Again | GiveUp | Stop:
        decision = self._again_or_lost(fault, tries)
        if isinstance(decision, GiveUp):
            self._lost += 1
            if self._lost >= LOST_ROWS:
                return Stop(
                    fault.code,
                    f"{LOST_ROWS} rows in succession failed, the last with: {fault.message}",
                    remedy(fault),
                )
        return decision

    def _again_or_lost(self, fault: Fault, tries: Tries) -> Again | GiveUp:
        if tries.faults > self._max_retries:
            return GiveUp()
        return Again(max(min(fault.retry_after or 0.0, 120.0), backoff(tries.faults, self._random)))


def remedy(fault: Fault) -> str:  # noqa: PLR0911 (a table)
    """Say what to change, in one line."""
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
    if fault.trouble is Trouble.PARAMETER:
        named = f"{fault.param}=" if fault.param else "the parameter that the message names"
        return f"change or leave out {named}"
    return "when the cause is mended, run the same call again: what is answered is not asked again"
