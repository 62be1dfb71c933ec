"""One attempt at a request: it is sent, and the pace and the counts are updated with the result."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from llmframe._api import Refused, Reply
from llmframe._values import FaultKind

if TYPE_CHECKING:
    from llmframe._api import Transport
    from llmframe._pacing import RunPace, Ticket
    from llmframe._values import Endpoint, Request, Traffic


class Attempter:
    """Makes attempts through one transport.

    Parameters
    ----------
    traffic
        Counts attempts that were answered 429, and those that may have been billed without an answer.
    longest_wait
        Seconds. The pace does not wait for a limit that states a longer time: it will not pass today.
    """

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        pace: RunPace,
        traffic: Traffic,
        *,
        longest_wait: float,
    ) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._pace = pace
        self._traffic = traffic
        self._longest_wait = longest_wait

    async def attempt(self, request: Request, ticket: Ticket) -> Reply | Refused:
        """Send a request once, with its ticket from the pace; every fault is returned as a value."""
        try:
            result = await self._transport.send(request)
        except BaseException:
            self._pace.on_cancel()
            self._traffic.uncertain += 1
            raise
        result = self._with_stated_wait(result)
        self._update(ticket, result)
        return result

    def _with_stated_wait(self, result: Reply | Refused) -> Reply | Refused:
        """Read the wait from the limits' headers where it is too long and stated nowhere else."""
        if isinstance(result, Reply) or result.headers is None or result.fault.retry_after is not None:
            return result
        wait = result.headers.exhausted_for
        if result.fault.kind is not FaultKind.LIMIT or wait <= self._longest_wait:
            return result
        return result._replace(fault=replace(result.fault, retry_after=wait))

    def _update(self, ticket: Ticket, result: Reply | Refused) -> None:
        now = time.monotonic()
        if isinstance(result, Reply):
            charge = self._endpoint.read_charge(result.data)
            self._pace.on_answer(now, ticket, result.headers, charge)
            return
        fault = result.fault
        self._traffic.uncertain += fault.uncertain
        if fault.kind is FaultKind.LIMIT:
            self._traffic.limited += 1
            wait = fault.retry_after
            wait = None if wait is None or wait > self._longest_wait else wait
            self._pace.on_limit(now, ticket, result.headers, wait)
        elif fault.kind in {FaultKind.PASSING, FaultKind.UNREACHABLE}:
            self._pace.on_fault(now, ticket, result.headers)
        else:
            self._pace.on_answer(now, ticket, result.headers, None)
