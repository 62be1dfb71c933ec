"""One attempt at a request: it takes its share of the limits, is sent, and what came of it is learnt from."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from llmframe._api.responses import Refused, Reply
from llmframe._values import Trouble, token_count

if TYPE_CHECKING:
    from llmframe._lane import Traffic
    from llmframe._pacing.pace import Pace, Ticket
    from llmframe._values import Request


class Sender(Protocol):
    """What a lane needs of the transport."""

    async def send(self, request: Request) -> Reply | Refused: ...


class Attempts:
    """Makes attempts through one sender.

    Parameters
    ----------
    traffic
        Counts what is limited, and what may have been billed without an answer.
    """

    def __init__(self, sender: Sender, pace: Pace, traffic: Traffic) -> None:
        self._sender = sender
        self._pace = pace
        self._traffic = traffic

    async def make(self, request: Request, ticket: Ticket) -> Reply | Refused:
        """Send a request once, now, for which the pace has given a ticket; every fault comes back as a value."""
        try:
            result = await self._sender.send(request)
        except BaseException:
            self._pace.abandoned(time.monotonic(), ticket)
            self._traffic.uncertain += 1
            raise
        self._settle(ticket, result)
        return result

    def _settle(self, ticket: Ticket, result: Reply | Refused) -> None:
        now = time.monotonic()
        if isinstance(result, Reply):
            usage = result.data.get("usage")
            total = token_count(usage.get("total_tokens")) if isinstance(usage, dict) else 0
            self._pace.answered(now, ticket, result.headers, total or None)
            return
        fault = result.fault
        self._traffic.uncertain += fault.uncertain
        if fault.trouble is Trouble.LIMIT:
            self._traffic.limited += 1
            self._pace.limited(now, ticket, result.headers, fault.retry_after)
        elif fault.trouble in {Trouble.PASSING, Trouble.UNREACHABLE}:
            self._pace.faulted(now, ticket, result.headers)
        else:
            self._pace.answered(now, ticket, result.headers, None)


def estimate(request: Request) -> int:
    """Guess the tokens of a request from its bytes, before the first answers tell better."""
    return len(request.body) // 4
