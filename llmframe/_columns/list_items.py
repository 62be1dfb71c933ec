"""Lists of a column as rows: each item becomes a row of its own, and the fields of records become columns."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from llmframe._columns.templates import label_text
from llmframe._columns.write_back import full_label, occurrences
from llmframe._errors import plain_repr, row_name, short


def explode(frame: pd.DataFrame, column: Hashable, prefix: str | None = None) -> pd.DataFrame:
    """Make a row of each item of a column of lists, as `pandas.DataFrame.explode` does, and a column of each field of records.

    Parameters
    ----------
    frame : DataFrame
        It is not changed.
    column : label
        The column with the lists: of records (dicts), or of single values. Lists that came back from Parquet as
        arrays are lists too.
    prefix : str, optional
        Put before each field's name; by default `f"{column}."`. A column of single values keeps its name.

    Returns
    -------
    DataFrame
        A new frame: the other columns and the index labels are repeated, and the items stand where the lists stood. An
        empty or missing list keeps one row, with missing values. Items get nullable dtypes: text, `Int64`, `float64`,
        `boolean`, `datetime64[us]`, and object for what is nested or of several types. Parquet makes floats of whole
        numbers with gaps: they are `Int64` again. Where no list has an item, nothing tells their fields, and the column
        stays, all missing.

    Raises
    ------
    KeyError
        When there is no such column.
    TypeError
        When it holds other things than lists, or lists of records and of single values.
    ValueError
        When a field's name is already a column's.

    Examples
    --------
    >>> import llmframe, pandas as pd
    >>> df = pd.DataFrame({"id": [1, 2], "parts": [[{"name": "hinge", "count": 2}, {"name": "lid"}], []]})
    >>> llmframe.explode(df, "parts")
       id parts.name  parts.count
    0   1      hinge            2
    0   1        lid         <NA>
    1   2        NaN         <NA>
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"frame must be a DataFrame; got a {type(frame).__name__}")
    if prefix is not None and not isinstance(prefix, str):
        raise TypeError(f"prefix must be text, such as 'item_'; got {prefix!r}")
    column = full_label(frame, column, "column")
    place = _place(frame, column)
    lists = _lists(frame.iloc[:, place], column)
    rows = np.repeat(np.arange(len(frame)), [max(1, len(items)) for items in lists])
    items = [item for each in lists for item in (each or [pd.NA])]
    arrays = any(isinstance(cell, np.ndarray) for cell in frame.iloc[:, place].tolist())
    prefix = f"{label_text(column)}." if prefix is None else prefix
    made = {
        name: _typed(values, arrays=arrays) for name, values in _columns(items, column, prefix, frame).items()
    }
    _refuse_taken(frame.drop(columns=[column]), made)
    repeated = frame.iloc[rows]
    for offset, (name, values) in enumerate(made.items()):
        repeated.insert(place + 1 + offset, name, values.array, allow_duplicates=True)
    kept = [number for number in range(repeated.shape[1]) if number != place]
    return repeated.iloc[:, kept]


def _place(frame: pd.DataFrame, column: Hashable) -> int:
    """Return a column's position."""
    count = occurrences(frame)[column]
    if count > 1:
        raise ValueError(f"column: there are several columns named {plain_repr(column)}; rename them first")
    if not count:
        names = {str(name): name for name in frame.columns}
        close = get_close_matches(str(column), names, n=1, cutoff=0.0)
        hint = f"the nearest is {plain_repr(names[close[0]])}" if close else "the frame has none"
        raise KeyError(f"column: there is no column {plain_repr(column)}; {hint}")
    return list[Hashable](frame.columns).index(column)


def _lists(cells: pd.Series, column: Hashable) -> list[Sequence[Any]]:
    """Return each cell's items; a missing cell has none."""
    found: list[Sequence[Any]] = []
    missing = cells.isna().tolist()
    for position, cell in enumerate(cells.tolist()):
        items = cell.tolist() if isinstance(cell, np.ndarray) else cell
        if missing[position]:
            items = []
        elif not isinstance(items, list | tuple):
            hint = "; lists in text are read with json.loads" if isinstance(items, str) else ""
            raise TypeError(
                f"column: {plain_repr(column)} must hold lists; at {row_name(cells.index, position)} it has {short(repr(cell), 60)}{hint}"
            )
        found.append(items)
    return found


def _columns(
    items: Sequence[Any], column: Hashable, prefix: str, frame: pd.DataFrame
) -> dict[Hashable, Sequence[Any]]:
    """Return the values of the items' columns, by name."""
    records = [item for item in items if isinstance(item, Mapping)]
    if not records:
        return {column: items}
    single = next((item for item in items if not isinstance(item, Mapping) and not _is_missing(item)), None)
    if single is not None:
        raise TypeError(
            f"column: {plain_repr(column)} holds records and single values ({short(repr(single), 60)}); make them alike first"
        )
    return {
        full_label(frame, f"{prefix}{name}", "prefix"): [
            item.get(name) if isinstance(item, Mapping) else item for item in items
        ]
        for name in dict.fromkeys(name for record in records for name in record)
    }


def _is_missing(item: Any) -> bool:
    return item is None or (pd.api.types.is_scalar(item) and bool(pd.isna(item)))


_DTYPES = {
    "string": pd.Series(["text"]).dtype, "integer": "Int64", "boolean": "boolean", "floating": "float64",
    "mixed-integer-float": "float64",
}  # fmt: skip


def _is_gap(item: Any) -> bool:
    """Return whether an item is missing within its list; an empty list's row has `pd.NA`."""
    return item is not pd.NA and _is_missing(item)


def _typed(items: Sequence[Any], *, arrays: bool) -> pd.Series:
    """Make a column of the dtype that suits its values; of objects, where none does.

    `arrays` says whether the lists are arrays, as they are after Parquet: whole numbers with gaps are floats there.
    """
    plain = [item.tolist() if isinstance(item, np.ndarray) else item for item in items]
    values = [None if _is_missing(item) else item for item in plain]
    inferred = pd.api.types.infer_dtype(values, skipna=True)
    if arrays and inferred == "floating" and any(_is_gap(item) for item in plain):
        inferred = "integer" if all(value is None or value.is_integer() for value in values) else inferred
    try:
        if inferred in {"datetime", "datetime64", "date"}:
            return pd.Series(pd.to_datetime(pd.Series(values, dtype=object))).dt.as_unit("us")
        return pd.Series(values, dtype=_DTYPES.get(inferred, object))
    except (ValueError, OverflowError):  # beyond 64 bits, or of several time zones
        return pd.Series(values, dtype=object)


def _refuse_taken(others: pd.DataFrame, made: Mapping[Hashable, pd.Series]) -> None:
    taken = [name for name in made if occurrences(others)[name]]
    if taken:
        one = len(taken) == 1
        raise ValueError(
            f"prefix: the column{'' if one else 's'} {', '.join(map(plain_repr, taken))} {'is' if one else 'are'} already there; "
            "put another text before the fields' names with prefix="
        )
