"""Any kind of answer with its tokens and dollars beside it: `usage=True`."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import numpy.typing as npt

    from llmframe._values import AnswerKind, RowTexts, Usage, Verdict

USAGE_COLUMNS = ("input_tokens", "output_tokens", "cost")
"""The ends of the columns' names."""


class RequestUsage:
    """The other kind's values, and what each request took: tokens and dollars of all its attempts."""

    def __init__(self, values: Any, requests: int) -> None:
        self.values = values
        self.tokens = array("q", bytes(8 * requests)), array("q", bytes(8 * requests))
        """Of the prompts and of the completions; no prompt tokens: unknown, or nothing was answered."""
        self.dollars = array("d", bytes(8 * requests))
        self.priced = bytearray(requests)
        """Whether a cost is known."""

    def __setitem__(self, number: int, value: Any) -> None:
        self.values[number] = value

    def add(self, number: int, usage: Usage, cost: float | None) -> None:
        """Add an answer's tokens, and its cost if that is known."""
        prompts, completions = self.tokens
        prompts[number] += usage.prompt
        completions[number] += usage.completion
        if cost is not None:
            self.dollars[number] += cost
            self.priced[number] = True


class UsageAnswers:
    """Reads what another kind reads, and adds three columns: tokens of the input and of the output, and dollars.

    They are companions of all values. A row has the tokens of all attempts and draws of its request, also a copy of another
    row and one from the journal. The dollars stand at the first row of a request, and are those that this run paid: 0 at
    copies and for answers from the journal, and missing where no answer came or none has a known price.

    Parameters
    ----------
    kind, names, draws
        As of `RawAnswers`; the three come last.
    """

    def __init__(self, kind: AnswerKind, names: Sequence[Hashable], draws: int = 1) -> None:
        self._kind = kind
        self._names = names
        self._draws = draws
        self._first = len(names) - len(USAGE_COLUMNS)

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
        values = [number for number in range(self._first) if number not in inner]
        return {**inner, **dict.fromkeys(range(self._first, len(self._names)), values)}

    def judge(self, body: Mapping[str, Any]) -> Verdict:
        return self._kind.judge(body)

    def storage(self, requests: int, texts: RowTexts) -> RequestUsage:
        return RequestUsage(self._kind.storage(requests, texts), requests)

    def columns(
        self,
        stored: RequestUsage,
        codes: npt.NDArray[np.int32],
        index: pd.Index,
        names: Sequence[Hashable],
    ) -> list[pd.Series]:
        values = self._kind.columns(stored.values, codes, index, names[: self._first])
        return [*values, *self._of_usage(stored, codes, index, names[self._first :])]

    def rows(self, stored: RequestUsage, codes: npt.NDArray[np.int32], index: pd.Index) -> pd.DataFrame:
        inner, names = self._kind.rows(stored.values, codes, index), self._names
        values = self._kind.columns(stored.values, codes, index, names[: self._first])
        table: list[Any] = [inner] if isinstance(inner, pd.DataFrame) else values
        made: pd.DataFrame = pd.concat(
            [*table, *self._of_usage(stored, codes, index, names[self._first :])], axis="columns"
        )
        return made

    def unsure(self, stored: RequestUsage, codes: npt.NDArray[np.int32]) -> int:
        return self._kind.unsure(stored.values, codes)

    def takes(self, column: int, value: Any) -> bool:
        return column >= self._first or self._kind.takes(column, value)

    def _of_usage(
        self,
        stored: RequestUsage,
        codes: npt.NDArray[np.int32],
        index: pd.Index,
        names: Sequence[Hashable],
    ) -> list[pd.Series]:
        asked = codes >= 0
        prompts, completions = (self._by_row(tokens, codes) for tokens in stored.tokens)
        dollars, priced = self._by_row(stored.dollars, codes), self._by_row(stored.priced, codes) > 0
        known, first = asked & (prompts > 0), np.zeros(len(codes), dtype=bool)
        first[np.unique(codes, return_index=True)[1]] = True
        answered = asked & (known | priced)
        cost = np.where(first, np.where(priced, dollars, np.nan), 0.0)
        made = [
            pd.arrays.IntegerArray(prompts, ~known),
            pd.arrays.IntegerArray(completions, ~known),
            np.where(answered, cost, np.nan),
        ]
        return [pd.Series(values, index=index, name=name) for values, name in zip(made, names, strict=True)]

    def _by_row(self, by_request: Any, codes: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
        """Sum over the draws of each row's request; 0 for rows without one."""
        dtype = np.float64 if isinstance(by_request, array) and by_request.typecode == "d" else np.int64
        sums = np.array(by_request, dtype=dtype).reshape(-1, self._draws).sum(axis=1)
        return np.append(sums, sums.dtype.type(0))[np.where(codes < 0, len(sums), codes)]
