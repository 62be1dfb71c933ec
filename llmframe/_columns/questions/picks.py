"""What was picked for one question in many answers, by request: the option, and how probable each option is."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Codes: TypeAlias = npt.NDArray[np.int32]

_MOST_IN_A_BYTE = 127
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


class Picks(Protocol):
    """The picks of one question, by request; rows are given by their requests' numbers, negative for none."""

    def put(self, number: int, pick: Pick | None) -> None:
        """Set a request's pick; `None`: the question was refused."""

    def answered(self, codes: Codes) -> npt.NDArray[np.bool_]:
        """Return which rows have an answer, also where no option won."""

    def options(self, codes: Codes) -> npt.NDArray[np.int64]:
        """Return the option of each row; -1 where there is none."""

    def confidence(self, codes: Codes) -> npt.NDArray[np.float64]:
        """Return the probability of each row's option; `nan` where there is none."""

    def probabilities(self, codes: Codes) -> npt.NDArray[np.float64]:
        """Return the probability of each option, an array of shape (rows, options)."""

    def scores(self, codes: Codes) -> npt.NDArray[np.float64]:
        """Return the score of each row's level: the mean position of the levels, weighted by how probable they are."""


class StatedPicks:
    """Picks as the model stated them.

    Parameters
    ----------
    options
        How many there are.
    confidence, probabilities, scores
        Whether these are kept; what is not kept cannot be read.
    """

    def __init__(
        self, requests: int, options: int, *, confidence: bool, probabilities: bool, scores: bool
    ) -> None:
        self._width = options
        self._options = array("b" if options <= _MOST_IN_A_BYTE else "h", [-1]) * requests
        self._confidence = _unknown(requests) if confidence else None
        self._probabilities = _unknown(requests * options) if probabilities else None
        self._scores = _unknown(requests) if scores else None

    def put(self, number: int, pick: Pick | None) -> None:
        if pick is None:
            return
        self._options[number] = pick.option
        if self._confidence is not None and pick.probabilities:
            self._confidence[number] = pick.probabilities[pick.option]
        if self._probabilities is not None and pick.probabilities:
            start = number * self._width
            self._probabilities[start : start + self._width] = array("d", pick.probabilities)
        if self._scores is not None:
            self._scores[number] = pick.score

    def answered(self, codes: Codes) -> npt.NDArray[np.bool_]:
        return self.options(codes) >= 0

    def options(self, codes: Codes) -> npt.NDArray[np.int64]:
        return _taken(np.array(self._options), codes, -1).astype(np.int64)

    def confidence(self, codes: Codes) -> npt.NDArray[np.float64]:
        return _taken(np.array(self._confidence), codes, np.nan)

    def probabilities(self, codes: Codes) -> npt.NDArray[np.float64]:
        return _taken(np.array(self._probabilities).reshape(-1, self._width), codes, np.nan)

    def scores(self, codes: Codes) -> npt.NDArray[np.float64]:
        return _taken(np.array(self._scores), codes, np.nan)


class Votes:
    """Picks by the votes of several draws: a row has an answer when all of them are there. A tie has no option, or `other`.

    Parameters
    ----------
    draws
        How many there are of each answer: the draws of an answer are numbered one after the other.
    other
        The option that a tie gives; -1: none.
    """

    def __init__(self, requests: int, options: int, draws: int, other: int = -1) -> None:
        self._width, self._draws, self._other = options, draws, other
        self._counts = array("B", bytes(requests // draws * options))

    def put(self, number: int, pick: Pick | None) -> None:
        if pick is not None:
            self._counts[number // self._draws * self._width + pick.option] += 1

    def _votes(self, codes: Codes) -> npt.NDArray[np.uint8]:
        """Return how many votes each row's options have."""
        return _taken(np.array(self._counts).reshape(-1, self._width), codes, 0)

    def answered(self, codes: Codes) -> npt.NDArray[np.bool_]:
        complete: npt.NDArray[np.bool_] = self._votes(codes).sum(axis=1) == self._draws
        return complete

    def options(self, codes: Codes) -> npt.NDArray[np.int64]:
        votes = self._votes(codes)
        tied = (votes == votes.max(axis=1, initial=0)[:, None]).sum(axis=1) > 1
        won = np.where(tied, self._other, votes.argmax(axis=1))
        return np.where(self.answered(codes), won, -1)

    def confidence(self, codes: Codes) -> npt.NDArray[np.float64]:
        votes, options = self._votes(codes), self.options(codes)
        won = np.take_along_axis(votes, np.maximum(options, 0)[:, None], axis=1)[:, 0]
        most = np.where(options >= 0, won, votes.max(axis=1, initial=0))
        return np.where(self.answered(codes), most / self._draws, np.nan)

    def probabilities(self, codes: Codes) -> npt.NDArray[np.float64]:
        return np.where(self.answered(codes)[:, None], self._votes(codes) / self._draws, np.nan)

    def scores(self, codes: Codes) -> npt.NDArray[np.float64]:
        means = self._votes(codes) @ np.arange(self._width) / self._draws
        return np.where(self.answered(codes), means, np.nan)


def _unknown(number: int) -> array[float]:
    return array("d", [float("nan")]) * number


def _taken(values: npt.NDArray[Any], codes: Codes, missing: float) -> npt.NDArray[Any]:
    """Take each row's value; `missing` where it has none."""
    if not len(values):
        return np.full((len(codes), *values.shape[1:]), missing, dtype=values.dtype)
    taken = values[np.maximum(codes, 0)]
    taken[codes < 0] = missing
    return taken
