"""What was picked for one question in many answers, by request: the option, and how probable each option is."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_NO_SCORE = float("nan")


class Pick(NamedTuple):
    """One answer to a question.

    Parameters
    ----------
    option
        The position of the option.
    probabilities
        Of each option; empty where the model states none.
    score
        Of a level.
    """

    option: int
    probabilities: tuple[float, ...] = ()
    score: float = _NO_SCORE


@dataclass(frozen=True)
class PickedRows:
    """The picks by row.

    Parameters
    ----------
    options : int array of shape (rows,)
        The option of each row; -1 where there is none.
    confidence : float array of shape (rows,)
        The probability of that option; `nan` where there is none.
    probabilities : float array of shape (rows, options), or None
    scores : float array of shape (rows,)
    answered : bool array of shape (rows,)
        Whether there is an answer, also where no option won.
    """

    options: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64] | None
    scores: npt.NDArray[np.float64]
    answered: npt.NDArray[np.bool_]


class Picks(Protocol):
    """The picks of one question, by request."""

    def put(self, number: int, pick: Pick | None) -> None:
        """Set a request's pick; `None`: the question was refused."""

    def rows(self, codes: npt.NDArray[np.int32]) -> PickedRows:
        """Return each row's pick; a negative code has none."""


class StatedPicks:
    """Picks as the model stated them; the probabilities of all options are kept where they are shown."""

    def __init__(self, requests: int, options: int, *, keeps_probabilities: bool) -> None:
        self._options = array("h", [-1]) * requests
        self._confidence = array("d", [float("nan")]) * requests
        self._scores = array("d", [_NO_SCORE]) * requests
        self._width = options
        self._probabilities = (
            array("d", [float("nan")]) * (requests * options) if keeps_probabilities else None
        )

    def put(self, number: int, pick: Pick | None) -> None:
        if pick is None:
            return
        self._options[number], self._scores[number] = pick.option, pick.score
        if pick.probabilities:
            self._confidence[number] = pick.probabilities[pick.option]
            if self._probabilities is not None:
                start = number * self._width
                self._probabilities[start : start + self._width] = array("d", pick.probabilities)

    def rows(self, codes: npt.NDArray[np.int32]) -> PickedRows:
        options = _taken(np.array(self._options, dtype=np.int64), codes, -1)
        probabilities = None
        if self._probabilities is not None:
            probabilities = _taken(np.array(self._probabilities).reshape(-1, self._width), codes, np.nan)
        return PickedRows(
            options,
            _taken(np.array(self._confidence), codes, np.nan),
            probabilities,
            _taken(np.array(self._scores), codes, np.nan),
            options >= 0,
        )


class Votes:
    """Picks by the votes of several draws; a tie has no option, or `other`.

    Parameters
    ----------
    draws
        How many there are of each answer: requests are numbered draw by draw.
    other
        The option that a tie gives; -1: none.
    """

    def __init__(self, requests: int, options: int, draws: int, other: int = -1) -> None:
        self._distinct, self._width, self._other = requests // draws, options, other
        self._counts = array("B", bytes(self._distinct * options))

    def put(self, number: int, pick: Pick | None) -> None:
        if pick is not None:
            self._counts[number % self._distinct * self._width + pick.option] += 1

    def rows(self, codes: npt.NDArray[np.int32]) -> PickedRows:
        counts = _taken(np.array(self._counts).reshape(-1, self._width), codes, 0)
        total = counts.sum(axis=1)
        best = counts.max(axis=1, initial=0)
        answered = total > 0
        tied = answered & ((counts == best[:, None]).sum(axis=1) > 1)
        options = np.where(answered, counts.argmax(axis=1), -1)
        options = np.where(tied, self._other, options)
        with np.errstate(invalid="ignore", divide="ignore"):
            probabilities = counts / total[:, None]
        confidence = np.where(answered, best / np.maximum(total, 1), np.nan)
        if self._other >= 0:
            confidence = np.where(tied, probabilities[:, self._other], confidence)
        return PickedRows(options, confidence, probabilities, np.full(len(codes), np.nan), answered)


def _taken(values: npt.NDArray[Any], codes: npt.NDArray[np.int32], missing: float) -> npt.NDArray[Any]:
    """Take each row's value; `missing` where it has none."""
    if not len(values):
        return np.full((len(codes), *values.shape[1:]), missing, dtype=values.dtype)
    taken = values[np.maximum(codes, 0)]
    taken[codes < 0] = missing
    return taken
