"""How processes that share a limit divide it: each reports what it uses, and all compute the same division."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmframe._values import UsageReport

_GROWTH = 1.05
_LEAST = 0.01
"""Factor, and share of the limit, that a process gets beyond its use while no limit holds it back: it may grow."""


def share(own: UsageReport, others: Sequence[UsageReport]) -> float:
    """Return this process's share of a stated limit.

    A process that needs less than an equal part keeps what it needs; those that need more divide the rest. What none
    needs is divided equally.

    Examples
    --------
    >>> from llmframe._values import UsageReport
    >>> share(UsageReport(needs_more=True), [UsageReport(needs_more=True)])
    0.5
    >>> round(share(UsageReport(needs_more=True), [UsageReport(load=0.2, needs_more=False)]), 3)
    0.78
    """
    needs = [_need(report) for report in (own, *others)]
    left, mine_granted = 1.0, 0.0
    by_need = sorted(range(len(needs)), key=needs.__getitem__)
    for position, index in enumerate(by_need):
        granted = min(needs[index], left / (len(needs) - position))
        left -= granted
        mine_granted = granted if index == 0 else mine_granted
    return mine_granted + left / len(needs)


def _need(report: UsageReport) -> float:
    return inf if report.needs_more else _GROWTH * report.load + _LEAST
