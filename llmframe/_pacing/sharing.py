"""How runs that share a limit divide it: each reports what it uses, and all compute the same division."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmframe._values import UsageReport

_GROWTH = 1.05
_LEAST = 0.01
"""What a run that is not held back is left beyond its use, so that it may grow until it is held back."""


def share(mine: UsageReport, others: Sequence[UsageReport]) -> float:
    """Return the share of a stated limit that is mine.

    A run that needs less than an equal part keeps what it needs, the hungry ones divide the rest; what no
    run needs is divided equally.

    Examples
    --------
    >>> from llmframe._values import UsageReport
    >>> share(UsageReport(hungry=True), [UsageReport(hungry=True)])
    0.5
    >>> round(share(UsageReport(hungry=True), [UsageReport(load=0.2, hungry=False)]), 3)
    0.78
    """
    needs = [_need(report) for report in (mine, *others)]
    left, mine_granted = 1.0, 0.0
    by_need = sorted(range(len(needs)), key=needs.__getitem__)
    for place, index in enumerate(by_need):
        granted = min(needs[index], left / (len(needs) - place))
        left -= granted
        mine_granted = granted if index == 0 else mine_granted
    return mine_granted + left / len(needs)


def _need(report: UsageReport) -> float:
    return inf if report.hungry else _GROWTH * report.load + _LEAST


def divided_rate(
    mine: UsageReport, before: Mapping[int, UsageReport], others: Mapping[int, UsageReport]
) -> float | None:
    """Return the rate to go on with when others came or went; `None` where nothing changes.

    Parameters
    ----------
    before, others
        What the others told the last time, and what they tell now, by their number.

    Examples
    --------
    >>> from llmframe._values import UsageReport
    >>> divided_rate(UsageReport(rate=90.0), {}, {7: UsageReport()})
    45.0
    >>> divided_rate(UsageReport(), {}, {7: UsageReport(rate=45.0, parties=2)})
    45.0
    >>> divided_rate(UsageReport(rate=45.0), {7: UsageReport(rate=45.0)}, {})
    90.0
    """
    if before.keys() == others.keys():
        return None
    if mine.rate is None:
        whole = [report.rate * report.parties for report in others.values() if report.rate is not None]
        return sum(whole) / len(whole) / (len(others) + 1) if whole else None
    stayed = before.keys() & others.keys()
    left = sum(report.rate or 0.0 for number, report in before.items() if number not in stayed)
    kept = mine.rate + sum(before[number].rate or 0.0 for number in stayed)
    return mine.rate * (1 + left / kept) * (len(stayed) + 1) / (len(others) + 1)
