"""How runs on one machine divide a limit: each tells what it uses, and all work out the same division.

Pure decisions. The reports go through the journal; `_neighbours` carries them.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GROWTH = 1.05
_LEAST = 0.01
"""What a run that is not held back is left beyond its use, so that it may grow until it is held back."""


class Report(NamedTuple):
    """What one run tells the others."""

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


def share(mine: Report, others: Sequence[Report]) -> float:
    """Return the share of a stated limit that is mine.

    Who needs less than an equal part keeps what it needs, the hungry divide the rest; what nobody
    needs is divided equally.

    Examples
    --------
    >>> share(Report(hungry=True), [Report(hungry=True)])
    0.5
    >>> round(share(Report(hungry=True), [Report(load=0.2, hungry=False)]), 3)
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


def _need(report: Report) -> float:
    return inf if report.hungry else _GROWTH * report.load + _LEAST


def rate(mine: Report, before: Mapping[int, Report], others: Mapping[int, Report]) -> float | None:
    """Return the rate to go on with when others came or went; `None` where nothing changes.

    Parameters
    ----------
    before, others
        What the others told the last time, and what they tell now, by their number.

    Examples
    --------
    >>> rate(Report(rate=90.0), {}, {7: Report()})
    45.0
    >>> rate(Report(), {}, {7: Report(rate=45.0, parties=2)})
    45.0
    >>> rate(Report(rate=45.0), {7: Report(rate=45.0)}, {})
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
