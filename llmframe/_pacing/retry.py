"""Whether a request is sent again: the one place that decides it, for a row and for the run.

What a refusal means by itself is in `refusals`; here is added what else has happened in the run.
"""

from __future__ import annotations

import re
from collections import Counter
from copy import copy
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from llmframe._pacing.refusals import Doubt, lacks_the_word_json, may_be_the_rows, remedy
from llmframe._values import Again, FaultKind, RequestFault, Stop, Verdict

if TYPE_CHECKING:
    from random import Random

    from llmframe._pacing.rungs import RungPolicy

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0

ACCESS_REFUSALS = 3
"""After answers, this many refusals of the key or the account, one after the other, end the run."""
EMPTY_ANSWERS = 20
"""After this many first answers, all paid and all empty, the run stops: the settings leave no tokens for text."""
UNKNOWN_ENDINGS = 20
"""After this many first answers with one and the same unknown ending, the run stops."""
LOST_ROWS = 20
"""After this many rows in succession failed by passing faults, the run stops: the faults are permanent."""
LIMIT_PROBES = 5
"""A limit counts as lasting only after this many refusals, each of a request sent after the stated wait."""
TAIL_FAULTS, TAIL_DELAY_SECONDS = 5, 0.1
"""Of the last rows, so many faults since an answer are followed by such a short delay."""
FIRST_CONTACT_ATTEMPTS = 3
FIRST_CONTACT_SECONDS = 2.0
"""A server that was never reached is given up after this many attempts of a row, or this many seconds of the run."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Send the row's request again after a time.

    Parameters
    ----------
    seconds
        The time to wait.
    at_last
        The time to wait, in seconds, when the run waits for few rows only; `None`: the same.
    """

    seconds: float
    at_last: float | None = None


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
    """Counts the attempts at one row's request that brought no answer."""

    faults: int = 0
    limits: int = 0
    endings: int = 0
    """Paid answers whose ending is unknown."""

    def after(self, fault: RequestFault) -> Attempts:
        limited = fault.kind is FaultKind.LIMIT
        return Attempts(self.faults + (not limited), self.limits + limited, self.endings)

    def after_verdict(self, verdict: Verdict) -> Attempts:
        """Count a paid body that is asked for again."""
        once = verdict.again is Again.ONCE
        return Attempts(self.faults + (not once), self.limits, self.endings + once)

    @property
    def total(self) -> int:
        return self.faults + self.limits + self.endings


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a run waits for limits, in seconds."""

    longest_wait: float = 600.0
    """A server that asks for a longer wait states a limit that will not pass today."""
    without_answer: float = 900.0
    """A run without an answer for this time ends, if its probes are refused."""
    lasting: float = 60.0
    """The same for a limit that will not pass today."""


class RetryPolicy:
    """Decides whether a row is retried after a fault; all faults of the run are considered.

    Parameters
    ----------
    max_retries
        Further attempts for a row after passing faults. Rate limits do not count.
    content
        The member of a body with the row's content: a fault there concerns its row alone.
    key
        How the user gives another key, for remedies.
    proven
        Whether this server has answered rows of the same model and parameters before: only a refused key, a lost model
        or another server may then stop the run.
    rungs
        Decides whether answers that do not fit end the sending.
    """

    def __init__(
        self,
        max_retries: int,
        random: Random,
        content: str | None = None,
        *,
        patience: Patience | None = None,
        key: str | None = None,
        proven: bool = False,
        rungs: RungPolicy | None = None,
    ) -> None:
        self._content = content
        self._proven = proven
        self._rungs = rungs
        self._key = key
        self._max_retries = max_retries
        self._random = random
        self._doubt = Doubt()
        self._patience = patience or Patience()
        self.longest_wait = self._patience.longest_wait
        self._limit = _LimitWatch(self._patience)
        self._reached = False
        self._answered = 0
        self._empty = 0
        self._endings = Counter[str]()
        self._lost = 0
        self._faults_since_answer = 0
        self._unreached = 0
        self._unreachable_since: float | None = None
        self._longest_retry_seconds = sum(map(_longest_delay, range(1, max_retries + 1)))

    @property
    def ends_by_answers(self) -> bool:
        """Whether the next answer may end the sending: all so far are empty, or none fits what is asked for."""
        return self._answered == self._empty or (
            self._rungs is not None and self._rungs.most_in_flight is not None
        )

    @property
    def paused(self) -> bool:
        """Whether nothing but probes may be sent, because refusals may concern every row."""
        return self._doubt.paused

    @property
    def answered(self) -> bool:
        """Whether any row has its answer."""
        return self._answered > 0

    @property
    def probes(self) -> int:
        """While `paused`, and nothing is in flight: how many requests may be sent, the unasked ones first."""
        return self._doubt.wanted

    def for_one_call(self) -> RetryPolicy:
        """Return this policy for a call that is no row's: only its own refusals tell whether a limit passes."""
        own = copy(self)
        own._limit = _LimitWatch(self._patience)  # noqa: SLF001 (its own class)
        return own

    def on_probes(self, count: int) -> None:
        """Note that this many probes are sent."""
        self._doubt.begin(count)

    def on_answer(self, verdict: Verdict, attempts: Attempts = Attempts()) -> Retry | GiveUp | Stop | None:
        """Decide about a row after a paid body; `attempts` are those before it. `None`: the verdict stands."""
        self.on_response()
        self._limit.reset()
        self._faults_since_answer = 0
        if verdict.again is Again.PASSING:
            fault = RequestFault(FaultKind.PASSING, verdict.problem or "", verdict.detail)
            return self._decide_passing(fault, attempts.after_verdict(verdict))
        if verdict.again is Again.ONCE:
            return self._decide_ending(verdict, attempts)
        self._doubt.end(answered=self._rungs is None or not self._rungs.doubts(verdict))
        self._answered += 1
        self._lost = 0
        self._empty += verdict.empty
        if self._answered == self._empty == EMPTY_ANSWERS:
            return Stop(
                "empty_answers",
                f"the first {EMPTY_ANSWERS} answers were all paid and all empty ({verdict.detail})",
                "raise max_completion_tokens or lower reasoning_effort",
            )
        return None if self._rungs is None else self._rungs.stop

    def on_fault(
        self,
        fault: RequestFault,
        attempts: Attempts,
        now: float,
        sent_at: float = -inf,
    ) -> Retry | GiveUp | Stop:
        """Decide about a row after `fault`.

        While others are answered, the last rows are tried again at once, or as soon as the server asks for.

        Parameters
        ----------
        attempts
            The row's, this one included.
        now, sent_at
            When the fault arrived, and when its request was sent.
        """
        self._faults_since_answer += 1
        decision = self._decide(fault, attempts, now, sent_at)
        if isinstance(decision, Retry) and self._faults_since_answer <= TAIL_FAULTS:
            asked = 0.0 if fault.kind is FaultKind.PASSING else None
            asked = asked if fault.retry_after is None else fault.retry_after
            if fault.kind in {FaultKind.PASSING, FaultKind.LIMIT} and asked is not None:
                return Retry(decision.seconds, min(decision.seconds, max(asked, TAIL_DELAY_SECONDS)))
        return decision

    def _decide(  # noqa: PLR0911 (a table)
        self, fault: RequestFault, attempts: Attempts, now: float, sent_at: float
    ) -> Retry | GiveUp | Stop:
        if fault.kind is not FaultKind.UNREACHABLE and fault.code not in {"timeout", "connection_lost"}:
            self.on_response()
        match fault.kind:
            case FaultKind.FATAL:
                return self._stop(fault, fault.message)
            case FaultKind.ROW:
                return GiveUp()
            case FaultKind.PARAMETER | FaultKind.REFUSED:
                if lacks_the_word_json(fault) or not self._concerns_content(fault):
                    self._doubt.add(fault)
                return GiveUp()
            case FaultKind.ACCESS:
                return self._decide_access(fault, attempts, now, sent_at)
            case FaultKind.ELSEWHERE:
                self._doubt.add(fault)
                return self._decide_passing(fault, attempts)
            case FaultKind.LIMIT:
                return self._decide_limit(fault, attempts, now, sent_at)
            case FaultKind.UNREACHABLE:
                return self._decide_unreachable(fault, attempts, now)
            case _:
                return self._decide_passing(fault, attempts)

    def on_response(self) -> None:
        """Note that the server responds."""
        self._reached = True
        self._unreached = 0
        self._unreachable_since = None

    def on_success(self) -> None:
        """Note a call that was answered and is no row's, such as the poll of a batch."""
        self.on_response()
        self._doubt.end(answered=True)

    def conclude(self) -> Stop | None:
        """Decide when nothing is in flight and no probe is left: the run stops if all were refused alike."""
        fault = self._doubt.end()
        left = fault is not None and self._rungs is not None and self._rungs.is_left_for(fault)
        if fault is not None and self._proven and may_be_the_rows(fault) and not left:
            self._doubt.end(answered=True)
            return None
        return None if fault is None else self._stop(fault, f"every row so far was refused: {fault.message}")

    def check_limit(self, now: float) -> Stop | None:
        """Return why the run must end if its limit has not passed for too long."""
        fault = self._limit.lasting_fault(now)
        if fault is None:
            return None
        seconds = now - (self._limit.since or now)
        asks = f"; the server asks to wait {fault.retry_after:,.0f} s" if fault.retry_after else ""
        return self._stop(
            fault, f"a limit of the server did not pass in {seconds:,.0f} s{asks}: {fault.message}"
        )

    def _stop(self, fault: RequestFault, message: str) -> Stop:
        return Stop(fault.code, message, remedy(fault, self._key), fault)

    def _concerns_content(self, fault: RequestFault) -> bool:
        return fault.param is not None and re.split(r"[.\[]", fault.param)[0] == self._content

    def _decide_access(
        self, fault: RequestFault, attempts: Attempts, now: float, sent_at: float
    ) -> Retry | GiveUp | Stop:
        self._doubt.add_access(fault, now, sent_at)
        if self._doubt.strikes >= ACCESS_REFUSALS:
            return self._stop(fault, fault.message)
        if fault.status == 402 and self._answered:  # this row may cost more than is left
            return GiveUp()
        return self._retry_or_give_up(fault, attempts)

    def _decide_limit(
        self, fault: RequestFault, attempts: Attempts, now: float, sent_at: float
    ) -> Retry | Stop:
        self._limit.add(fault, now, sent_at)
        stop = self.check_limit(now)
        return stop or Retry(self._limit.next_try(now, backoff(attempts.limits, self._random), fault))

    def _decide_ending(self, verdict: Verdict, attempts: Attempts) -> Retry | GiveUp | Stop:
        """Ask once more after an unknown ending; the same ending of all first answers stops the run."""
        self._endings[verdict.detail] += not attempts.endings
        same = self._endings[verdict.detail] == self._endings.total() == UNKNOWN_ENDINGS
        if same and not (self._answered or attempts.endings):
            return Stop(
                verdict.problem or "",
                f"the first {UNKNOWN_ENDINGS} answers were all paid, and none is whole: {verdict.detail}",
                "ask the provider what this ending means, or use another model",
            )
        if attempts.endings or not self._max_retries:
            return GiveUp()
        return Retry(backoff(1, self._random))

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
            return self._stop(fault, f"the server cannot be reached: {fault.message}")
        return Retry(backoff(attempts.faults, self._random))

    def _decide_passing(self, fault: RequestFault, attempts: Attempts) -> Retry | GiveUp | Stop:
        decision = self._retry_or_give_up(fault, attempts)
        if isinstance(decision, GiveUp):
            self._lost += 1
            if self._lost >= LOST_ROWS:
                return self._stop(
                    fault, f"{LOST_ROWS} rows in succession failed, the last with: {fault.message}"
                )
        return decision

    def _retry_or_give_up(self, fault: RequestFault, attempts: Attempts) -> Retry | GiveUp:
        if attempts.faults > self._max_retries:
            return GiveUp()
        return Retry(max(min(fault.retry_after or 0.0, 120.0), backoff(attempts.faults, self._random)))


class _LimitWatch:
    """Tells a slow limit from one that will not pass.

    Attributes
    ----------
    since : float or None
        When a request was first refused after the last answer.
    """

    def __init__(self, patience: Patience) -> None:
        self.since: float | None = None
        self._patience = patience
        self._fault: RequestFault | None = None
        self._lasting: RequestFault | None = None
        self._wait_until = -inf
        """The end of the wait that the server stated last."""
        self._probes = 0
        """Refusals in succession of requests that were sent after that wait."""

    def reset(self) -> None:
        if self.since is not None:
            self.__init__(self._patience)  # type: ignore[misc]

    def add(self, fault: RequestFault, now: float, sent_at: float) -> None:
        self._fault = fault
        if fault.lasting or (fault.retry_after or 0.0) > self._patience.longest_wait:
            self._lasting = fault
        if self.since is None:
            self.since = self._wait_until = now
        elif sent_at >= self._wait_until:
            self._probes += 1
            self._wait_until = now

    def next_try(self, now: float, delay: float, fault: RequestFault) -> float:
        """Return the seconds until a refused row is tried again; `delay` is the least."""
        stated = fault.retry_after or 0.0
        if stated > self._patience.longest_wait:
            stated = 0.0
        if now >= self._wait_until:
            self._wait_until = now + stated
        if self._lasting is not None and self.since is not None:
            delay = min(delay, max(0.0, self.since + self._patience.lasting - now) + FIRST_DELAY_SECONDS / 10)
        return max(delay, stated)

    def lasting_fault(self, now: float) -> RequestFault | None:
        """Return the refusal that ends the run, if the limit has not passed for too long."""
        if self.since is None or now < self._wait_until:
            return None
        seconds = now - self.since
        if self._lasting is not None and seconds >= self._patience.lasting:
            return self._lasting
        if seconds >= self._patience.without_answer and self._probes >= LIMIT_PROBES:
            return self._fault
        return None
