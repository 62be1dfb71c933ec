"""The typed kind of answer: one JSON object that fits a schema, written as one column for each of its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from llmframe._columns.schema.evidence import Evidence, Layout, quote_of, quoted, with_quotes
from llmframe._columns.schema.fitting import MisfitError, fit
from llmframe._columns.schema.own_types import checked
from llmframe._columns.schema.quick_reading import quick_reader
from llmframe._columns.schema.reading import NotJSONError, read_object
from llmframe._columns.schema.typed_columns import column_for, flat, takes
from llmframe._columns.schema.writing import as_answer, gathered
from llmframe._columns.text_answers import TEXT
from llmframe._values import Verdict

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from llmframe._columns.schema.user_schemas import Schema
    from llmframe._values import RowTexts

_AGAIN = "Answer again with one JSON object that fits the schema, and with nothing else."


class TypedAnswers:
    """Reads one object per row from a completion's body; each of its fields is a column.

    Parameters
    ----------
    quotes
        Whether a quote stands before each field: it is a column too, and so is whether the row's text has it.

    Attributes
    ----------
    root : Record
        What is asked for.
    names : list of str
        The columns' names, in order.
    companions : mapping
        The columns that belong to others, by number.
    """

    shows_raw: ClassVar = True
    mixes: ClassVar = False
    remedies: ClassVar = {
        **TEXT.remedies,
        "not_json": "ask another model=",
        "schema": "say in the field's question what is wanted, or give it another type",
        "truncated": "raise max_completion_tokens",
    }

    def __init__(self, schema: Schema, *, quotes: bool = False) -> None:
        fields = schema.root.fields
        self._schema = schema
        self.root = with_quotes(schema.root) if quotes else schema.root
        self._quotes = [quote_of(field.name) for field in fields] if quotes else []
        self._quick = quick_reader(self.root)
        self._shapes = {field.name: field.shape for field in self.root.fields}
        self._layout = Layout.with_quotes(fields) if quotes else Layout.of(fields)
        self._nested = len(self._layout.order) != len(self._shapes) or any(
            name not in self._shapes for name, _ in self._layout.columns
        )
        self.names = [name for name, _ in self._layout.columns]
        self.companions = self._layout.companions

    def judge(self, body: Mapping[str, Any]) -> Verdict:
        text = TEXT.judge(body)
        if text.value is None:
            return text
        try:
            values = self._read(text.value)
            return Verdict(list(flat(values, self.root.fields) if self._nested else values.values()))
        except (NotJSONError, MisfitError) as error:
            if text.problem is not None:  # it would be cut off again
                detail = f"the answer was cut off at the token limit: {error}"
                return Verdict(None, "truncated", detail, raw=text.value)
            return _wrong(error, text.value)

    def _read(self, text: str) -> dict[str, Any]:
        values = self._quick(text)
        if values is None:
            values = fit(read_object(text), self.root)
        for name in self._quotes:
            values[name] = quoted(values[name])
        return self._confirmed(values) if self._schema.checks else values

    def _confirmed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values as the user's own types make them."""
        checks = self._schema.checks
        if "" in checks:
            own = {field.name: values[field.name] for field in self._schema.root.fields}
            return {**values, **checked(checks[""], own, self._schema.root, "")}
        for name in checks:
            if values[name] is not None:
                values[name] = checked(checks[name], values[name], self._shapes[name], name)
        return values

    def write(self, cells: Mapping[str, Any], prefix: str = "") -> str:
        """Write the answer that cells stand for, by column, where `prefix` stands before the fields' names.

        Raises
        ------
        KeyError
            With the name of a column that is not there; a quote's may be left out, and is null.
        ValueError
            For a value that does not fit.
        """
        answer = gathered(cells, self.root.fields, prefix, self._quotes)
        try:
            values = fit(answer, self.root)
            self._confirmed({**values})
        except MisfitError as misfit:
            raise ValueError(f"{prefix if misfit.path else ''}{misfit}") from misfit
        return as_answer(values)

    def storage(self, requests: int, texts: RowTexts) -> _Storage:
        return _Storage(self._layout, requests, texts)

    def columns(
        self, stored: _Storage, codes: npt.NDArray[np.int32], index: pd.Index, names: Sequence[Hashable]
    ) -> list[pd.Series]:
        stored.search()
        return [column.series(codes, index, name) for column, name in zip(stored.columns, names, strict=True)]

    def rows(self, stored: _Storage, codes: npt.NDArray[np.int32], index: pd.Index) -> pd.DataFrame:
        return pd.concat(self.columns(stored, codes, index, self.names), axis="columns")

    def unsure(self, stored: Any, codes: npt.NDArray[np.int32]) -> int:  # noqa: ARG002 (a value stands as it is)
        return 0

    def takes(self, column: int, value: Any) -> bool:
        _, shape = self._layout.columns[column]
        return takes(shape, value)


class _Storage:
    """The values of all requests, by column."""

    def __init__(self, layout: Layout, requests: int, texts: RowTexts) -> None:
        self.columns = [column_for(shape, requests) for _, shape in layout.columns]
        self._puts = [self.columns[number].put for number in layout.order]
        self._quotes = [layout.order.index(number) for number in layout.quotes]
        found = [self.columns[number] for number in layout.found]
        self._evidence = Evidence(found, texts) if found else None

    def __setitem__(self, number: int, values: Sequence[Any]) -> None:
        for put, value in zip(self._puts, values, strict=True):
            put(number, value)
        if self._evidence is not None:
            self._evidence.add(number, [values[place] for place in self._quotes])

    def search(self) -> None:
        """Search for the quotes that were not searched for yet."""
        if self._evidence is not None:
            self._evidence.search()


def _wrong(error: NotJSONError | MisfitError, raw: str) -> Verdict:
    problem, detail, as_sent = "not_json", f"the answer is not one JSON object: {error}", True
    if isinstance(error, MisfitError):
        problem, detail, as_sent = "schema", f"the answer does not fit the schema: {error}", error.as_sent
    correction = f"{detail[0].upper()}{detail[1:]}. {_AGAIN}"
    return Verdict(None, problem, detail, raw=raw, fits_as_sent=not as_sent, correction=correction)
