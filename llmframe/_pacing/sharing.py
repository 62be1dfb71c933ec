"""How runs that share a limit divide it: each reports what it uses, and all compute the same division."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmframe._values import UsageReport

_GROWTH = 1.05
_LEAST = 0.01
"""Factor, and share of the limit, that a run gets beyond its use while no limit holds it back: it may grow."""


def share(own: UsageReport, others: Sequence[UsageReport]) -> float:
    """Return this run's share of a stated limit.

    A run that needs less than an equal part keeps what it needs; the runs that need more divide the rest. What no
    run needs is divided equally.

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


def divided_rate(
    own: UsageReport, before: Mapping[int, UsageReport], others: Mapping[int, UsageReport]
) -> float | None:
    """Return the new rate of this run when other runs started or ended; `None` where nothing changes.

    Parameters
    ----------
    before, others
        The last and the current reports of the other runs, by their numbers.

    Examples
    --------
    >>> from llmframe._values import UsageReport
    >>> divided_rate(UsageReport(rate=90.0), {}, {7: UsageReport()})
    45.0
    >>> divided_rate(UsageReport(), {}, {7: UsageReport(rate=45.0, sharing_runs=2)})
    45.0
    >>> divided_rate(UsageReport(rate=45.0), {7: UsageReport(rate=45.0)}, {})
    90.0
    """
    if before.keys() == others.keys():
        return None
    if own.rate is None:
        rates = [report.rate * report.sharing_runs for report in others.values() if report.rate is not None]
        return sum(rates) / len(rates) / (len(others) + 1) if rates else None
    stayed = before.keys() & others.keys()
    ended_rate = sum(report.rate or 0.0 for number, report in before.items() if number not in stayed)
    kept_rate = own.rate + sum(before[number].rate or 0.0 for number in stayed)
    return own.rate * (1 + ended_rate / kept_rate) * (len(stayed) + 1) / (len(others) + 1)
