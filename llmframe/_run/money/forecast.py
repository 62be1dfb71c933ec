"""From what past answers took to what further ones will take: expected, and a bound that is hardly ever exceeded."""

from __future__ import annotations

from math import exp, lgamma, log, log1p, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_FEW = 8
"""A line is fitted through this many points or more."""
_SURE = 4
"""A slope that is not so many times its standard error tells nothing."""
_LEAST_MARGIN = 0.03
_AT_BOUND = 0.98
"""An answer with this share of the tokens that it may have counts as one that ran away."""
_LEFT_TO_CHANCE = 0.05


class Line(NamedTuple):
    """Tokens by the size of a request, in bytes or in tokens as counted."""

    start: float
    """It may be below 0: what a body holds beside the prompt has a size and no tokens."""
    slope: float
    margin: float
    """The share by which the sum of the true tokens may be higher."""

    def tokens(self, sizes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.maximum(1.0, self.start + self.slope * sizes, dtype=np.float64)


def line_through(sizes: Sequence[float], tokens: Sequence[float]) -> Line:
    """Fit tokens by sizes; by their plain ratio where a line would say nothing, or what cannot be.

    Examples
    --------
    >>> line = line_through([100, 200, 300, 400] * 2, [30, 55, 80, 105] * 2)
    >>> round(line.start, 6), round(line.slope, 6)
    (5.0, 0.25)
    >>> line_through([100], [30])[:2]
    (0.0, 0.3)
    """
    x, y = np.asarray(sizes, dtype=np.float64), np.asarray(tokens, dtype=np.float64)
    start, slope = 0.0, float(y.sum() / x.sum())
    if len(x) >= _FEW and x.std() > 0:
        fitted = float(np.cov(x, y, bias=True)[0, 1] / x.var())
        beginning = float(y.mean() - fitted * x.mean())
        error = float(np.sqrt(np.mean((y - beginning - fitted * x) ** 2) / len(x)) / x.std())
        if fitted > _SURE * error and beginning + fitted * x.min() > 0:
            start, slope = beginning, fitted
    spread = float(np.sqrt(np.mean((y - start - slope * x) ** 2)) / y.mean())
    margin = _LEAST_MARGIN + 2 * spread / sqrt(len(x)) + 0.5 / len(x)
    return Line(start, slope, margin)


def upper_share(hits: int, trials: int) -> float:
    """Return the upper bound (95 %) of a share of which so many were seen in so many trials.

    Without a hit it is nearly the rule of three, 3 / trials.

    Examples
    --------
    >>> round(upper_share(0, 20), 3), round(upper_share(1, 20), 3), upper_share(20, 20), upper_share(0, 0)
    (0.139, 0.216, 1.0, 1.0)
    """
    if hits >= trials:
        return 1.0
    low, high = hits / trials, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(hits, trials, middle) > _LEFT_TO_CHANCE else (low, middle)
    return high


def _at_most(hits: int, trials: int, share: float) -> float:
    """Return the probability of at most so many hits."""
    if share >= 1:
        return 0.0
    return sum(
        exp(
            lgamma(trials + 1)
            - lgamma(k + 1)
            - lgamma(trials - k + 1)
            + k * log(share)
            + (trials - k) * log1p(-share)
        )
        for k in range(hits + 1)
    )


def share_of(hits: int, trials: int, rest: int) -> tuple[float, float]:
    """Return the share expected of further trials, and what it is hardly ever above among `rest` of them."""
    if not trials:
        return 0.0, 1.0
    high = upper_share(hits, trials)
    return hits / trials, min(1.0, high + 1.645 * sqrt(high * (1 - high) / max(rest, 1)))


def output_per_answer(
    taken: Sequence[float],
    bound: int | None,
    rest: int,
    *,
    prompts: Sequence[float] = (),
    further: float = 0.0,
) -> tuple[float, float]:
    """Return the tokens expected of a further answer, and what the mean of `rest` of them is hardly ever above.

    The tail is kept: an interval of the mean holds for the answers that end by themselves, and those that may run away
    count with their bound, or with twice the longest answer where there is none.

    Parameters
    ----------
    taken
        The tokens of past answers, at least one.
    bound
        The most tokens of a further answer; `None`: not stated.
    prompts, further
        The tokens of their prompts, and those of a further one on average: where longer prompts surely have longer answers,
        that counts. Empty: unknown.
    """
    answers = np.asarray(taken, dtype=np.float64)
    most = float(bound) if bound is not None else 2 * float(answers.max())
    ran_away = answers >= _AT_BOUND * most
    ordinary = answers[~ran_away]
    if not len(ordinary):
        return float(answers.mean()), most
    longer, doubt = 0.0, 0.0
    if len(prompts):
        longer, doubt = _longer_by(np.asarray(prompts, dtype=np.float64)[~ran_away], ordinary, further)
    middle = min(max(1.0, float(ordinary.mean()) + longer), most) if longer else float(ordinary.mean())
    ran = int(ran_away.sum())
    expected = (len(ordinary) * middle + float(answers[ran_away].sum())) / len(answers)
    spread = float(ordinary.std(ddof=1)) if len(ordinary) > 1 else float(ordinary.mean())
    factor = 2 + 10 / len(ordinary)
    mean = min(middle + doubt + factor * spread * sqrt(1 / len(ordinary) + 1 / max(rest, 1)), most)
    _, share = share_of(ran, len(answers), rest)
    return expected, max(expected, float((1 - share) * mean + share * most))


def _longer_by(
    prompts: npt.NDArray[np.float64], answers: npt.NDArray[np.float64], further: float
) -> tuple[float, float]:
    """Return by how much answers to prompts of another length are longer, and twice the standard error of that."""
    if len(prompts) < _FEW or not prompts.std():
        return 0.0, 0.0
    slope = float(np.cov(prompts, answers, bias=True)[0, 1] / prompts.var())
    beyond = further - float(prompts.mean())
    rest = answers - answers.mean() - slope * (prompts - prompts.mean())
    error = float(np.sqrt(np.mean(rest**2) / len(prompts)) / prompts.std())
    return (slope * beyond, 2 * error * abs(beyond)) if slope > _SURE * error else (0.0, 0.0)
