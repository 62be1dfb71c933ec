"""The pause of submissions after lines of a batch that were answered 429.

Such a line is no failed attempt of its row: the batch met a limit, and the requests are submitted again later. This
module only decides; it does not wait or send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmframe._pacing import Attempts, Retry, RetryPolicy
from llmframe._values import LimitWait, Stop

if TYPE_CHECKING:
    from llmframe._values import RequestFault


class LimitPause:
    """How long nothing is submitted because of limited lines: longer after each batch in succession that has some."""

    def __init__(self, policy: RetryPolicy) -> None:
        self.waited_seconds = 0.0
        """The seconds of all pauses until now, the present one included in full."""
        self._policy = policy
        self._in_succession = 0
        self._until = 0.0
        self._wait: LimitWait | None = None

    def left(self, now: float) -> float:
        """Return the seconds until requests may be submitted again, by the monotonic clock."""
        return max(0.0, self._until - now)

    def wait(self, now: float) -> LimitWait | None:
        """Return the server's words and the end of the pause; `None` when there is none."""
        return self._wait if self.left(now) else None

    def end_batch(self, limited: RequestFault | None, now: float, sent_at: float) -> Stop | None:
        """Begin a pause after a batch with limited lines; return why the run must end, if it must."""
        if limited is None:
            self._in_succession = 0
            return None
        self._in_succession += 1
        decision = self._policy.on_fault(limited, Attempts(limits=self._in_succession), now, sent_at)
        if isinstance(decision, Stop):
            return decision
        seconds = decision.seconds if isinstance(decision, Retry) else 0.0
        additional = max(0.0, seconds - self.left(now))
        self.waited_seconds += additional
        self._until = now + self.left(now) + additional
        self._wait = LimitWait.of(limited.message, self.left(now))
        return None
