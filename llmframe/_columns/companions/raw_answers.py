"""Any kind of answer with the response beside it: `raw=True`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llmframe._columns.text_answers import spread

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy.typing as npt

    from llmframe._values import AnswerKind, RowTexts, Verdict


class RawAnswers:
    """Reads what another kind reads, and adds a column: the response as the journal has it, a dict.

    It is a companion of all values: it is written in every row in which one of them is.

    Parameters
    ----------
    kind
        The other kind.
    names
        The columns' names in `Run.values`, unless the other kind has its own there; the response's comes last.
    draws
        How many requests ask for each answer; the response is that of the first.
    """

    def __init__(self, kind: AnswerKind, names: Sequence[Hashable], draws: int = 1) -> None:
        self._kind = kind
        self._draws = draws
        self._names = names
        self._last = len(names) - 1

    @property
    def remedies(self) -> Mapping[str, str]:
        return self._kind.remedies

    @property
    def shows_raw(self) -> bool:
        return self._kind.shows_raw

    @property
    def mixes(self) -> bool:
        return self._kind.mixes

    @property
    def companions(self) -> Mapping[int, Sequence[int]]:
        inner = self._kind.companions
        return {**inner, self._last: [number for number in range(self._last) if number not in inner]}

    def judge(self, body: Mapping[str, Any]) -> Verdict:
        verdict = self._kind.judge(body)
        return verdict if verdict.value is None else verdict._replace(value=(verdict.value, body))

    def storage(self, requests: int, texts: RowTexts) -> _Storage:
        return _Storage(self._kind.storage(requests, texts), requests)

    def columns(
        self, stored: _Storage, codes: npt.NDArray[np.int32], index: pd.Index, names: Sequence[Hashable]
    ) -> list[pd.Series]:
        responses = pd.Series(
            spread(stored.responses, np.where(codes < 0, codes, codes * self._draws)),
            index=index,
            dtype=object,
            name=names[-1],
        )
        return [*self._kind.columns(stored.values, codes, index, names[:-1]), responses]

    def rows(self, stored: _Storage, codes: npt.NDArray[np.int32], index: pd.Index) -> pd.DataFrame:
        *values, response = self.columns(stored, codes, index, self._names)
        inner = self._kind.rows(stored.values, codes, index)
        table: list[Any] = [inner] if isinstance(inner, pd.DataFrame) else values
        made: pd.DataFrame = pd.concat([*table, response], axis="columns")
        return made

    def unsure(self, stored: _Storage, codes: npt.NDArray[np.int32]) -> int:
        return self._kind.unsure(stored.values, codes)

    def takes(self, column: int, value: Any) -> bool:
        return isinstance(value, Mapping) if column == self._last else self._kind.takes(column, value)


class _Storage:
    """The other kind's values, and the responses, of all requests."""

    def __init__(self, values: Any, requests: int) -> None:
        self.values = values
        self.responses: list[Mapping[str, Any] | None] = [None] * requests

    def __setitem__(self, number: int, value: tuple[Any, Mapping[str, Any]]) -> None:
        self.values[number], self.responses[number] = value
