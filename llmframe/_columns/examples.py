"""Worked examples: rows that a user filled in by hand, as messages before each row's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import orjson
import pandas as pd

from llmframe._columns.prompts import PromptSpec, Skipped, is_messages, render, user_text
from llmframe._columns.templates import label_text
from llmframe._errors import plain_repr, row_name
from llmframe._values import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Hashable, Iterator

    from llmframe._columns.context import Context
    from llmframe._columns.prompts import Rendered

WriteAnswer: TypeAlias = "Callable[[Mapping[str, Any]], str]"
"""Writes the answer that a row's cells, by column, stand for.

It raises `KeyError` with the name of a column that is not there, and `ValueError` for a value that is no answer."""


def text_digest(text: str) -> str:
    """Return the digest by which a text is known again among the examples of a call.

    Examples
    --------
    >>> text_digest("The hinge broke.")
    'dc681e07e801f6cb'
    """
    return blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Examples:
    """Worked examples as they were passed: they become messages when it is known how a row's prompt is made.

    Parameters
    ----------
    given
        A frame, or a list of dicts, with the columns that the prompt reads and those that the verb writes.
    write
        Writes a row's answer.
    """

    given: Any
    write: WriteAnswer

    def added_to(self, context: Context, spec: PromptSpec) -> Context:
        """Return the context with these examples, each asked as a row would be.

        Raises
        ------
        TypeError, ValueError
            For what cannot be an example; it names the row, and the column or the value.
        """
        frame = _frame(self.given)
        labels = {label_text(label): label for label in frame.columns}
        text = "text" if spec.source_is_a_list and "prompt" not in labels else None  # of lists' texts
        if text in labels:
            labels["prompt"] = labels[text]
        spec = _of_examples(spec, labels)
        if lacking := next((column for column in spec.reads if label_text(column) not in labels), None):
            raise _missing(text or lacking)
        cells = {column: frame[labels[label_text(column)]] for column in spec.reads}
        _refuse_messages(cells, frame.index)
        positions = np.arange(len(frame))
        asked = list(_texts(render(spec, cells, positions), frame.index))
        texts = asked
        if spec.function is None:
            texts = list(_texts(render(spec.of_cells, cells, positions), frame.index))
        pairs = tuple(zip(asked, self._answers(frame), strict=True))
        return replace(context, examples=pairs, digests=tuple(map(text_digest, texts)))

    def _answers(self, frame: pd.DataFrame) -> Iterator[str]:
        rows: list[dict[Any, Any]] = frame.set_axis(list(map(label_text, frame)), axis="columns").to_dict(
            "records"
        )
        for position, row in enumerate(rows):
            try:
                yield self.write(row)
            except KeyError as error:
                raise _missing(error.args[0]) from None
            except ValueError as error:
                raise _wrong(frame.index, position, str(error)) from error


def _frame(given: Any) -> pd.DataFrame:
    if isinstance(given, list | tuple) and all(isinstance(row, Mapping) for row in given):
        given = pd.DataFrame(list(given), dtype=object)  # numbers stay what they are beside missing ones
    if not isinstance(given, pd.DataFrame):
        raise TypeError(
            f"examples must be a DataFrame, or a list of dicts, with the columns that are read and those that are written; got a {type(given).__name__}"
        )
    if not len(given):
        raise ValueError("examples: there are no rows in it; leave examples= out")
    names = list(map(label_text, given.columns))
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"examples: there are several columns named {twice!r}; rename them first")
    return given


def _of_examples(spec: PromptSpec, labels: Container[str]) -> PromptSpec:
    """Return the spec without its system message, which is not said again; a function reads the columns that are there."""
    columns = {name: column for name, column in spec.columns.items() if label_text(column) in labels}
    return replace(spec, system=None, columns=columns)


def _refuse_messages(cells: Mapping[Hashable, pd.Series], labels: pd.Index) -> None:
    for column, values in cells.items():
        for position, cell in enumerate(values.tolist()):
            if is_messages(cell):
                raise _wrong(
                    labels, position, f"{plain_repr(column)} holds a message array; an example's text is text"
                )


def _texts(rendered: Iterator[Rendered], labels: pd.Index) -> Iterator[str]:
    for position, row in enumerate(rendered):
        if isinstance(row, Skipped):
            raise _wrong(labels, position, f"{row.column!r} is missing or blank")
        if isinstance(row, Failure):
            raise _wrong(labels, position, row.message)
        messages = orjson.loads(row)
        if len(messages) > 1 or messages[0]["role"] != "user" or not isinstance(messages[0]["content"], str):
            raise _wrong(labels, position, "its prompt is a message array; an example's text is text")
        yield user_text(row)


def _wrong(labels: pd.Index, position: int, what: str) -> ValueError:
    return ValueError(f"examples: {row_name(labels, position)}: {what}")


def _missing(column: Hashable) -> ValueError:
    return ValueError(
        f"examples: there is no column {plain_repr(column)}; they need the columns that the prompt reads, and those that are written, filled in by hand"
    )
