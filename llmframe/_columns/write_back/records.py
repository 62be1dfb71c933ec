"""What `df.attrs` keeps of the columns that llmframe wrote: who wrote them, a fingerprint of their values, and the calls.

`df.attrs["llmframe"]` has an entry for each column, by its name: verb, model, engine where a verb has several, whether the run was
complete, a fingerprint, and the key of its call in `df.attrs["llmframe_calls"]`, where one record for each call has its numbers. All are JSON values, so that
they survive Parquet. An entry without a call is of an earlier llmframe: it has the numbers itself, and holds as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from math import isnan
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pandas as pd

from llmframe._columns.templates import label_text

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    import numpy.typing as npt

_COLUMNS, _CALLS = "llmframe", "llmframe_calls"
_OF_A_COLUMN = ("verb", "model", "complete", "engine")
"""What a column's entry repeats of its call's record: what decides whether it may be written again."""

_CHANGED_BY_PARQUET = (list, dict, np.ndarray, Decimal)

_HASHED_ROWS = 50_000
"""This many rows are hashed at a time: pandas collects their distinct values, which takes memory."""


def fingerprint(column: pd.Series) -> str:
    """Hash a column's values in their order, to detect later changes."""
    digest = blake2b(digest_size=12)
    for start in range(0, len(column), _HASHED_ROWS):
        digest.update(_hashes(column.iloc[start : start + _HASHED_ROWS]).tobytes())
    return digest.hexdigest()


def _hashes(column: pd.Series) -> npt.NDArray[np.uint64]:
    changed = column.dtype == object and any(
        isinstance(cell, _CHANGED_BY_PARQUET) for cell in column.tolist()
    )
    try:
        if not changed:
            return np.asarray(pd.util.hash_pandas_object(column, index=False))
    except (TypeError, UnicodeEncodeError):  # other objects, lone surrogates
        pass
    texts = [repr(_plain(cell) if changed else cell) for cell in column.tolist()]
    return _hashes(pd.Series(texts, dtype=object))


def _plain(cell: Any) -> Any:
    """Return a cell as it was before Parquet: that makes arrays of lists, adds null keys to dicts, and makes numbers with gaps floats.

    It also gives all decimal numbers of a column as many places, and takes the zone from moments in lists.
    """
    cell = cell.tolist() if isinstance(cell, np.ndarray) else cell
    if isinstance(cell, dict):
        named = sorted(((str(name), _plain(value)) for name, value in cell.items()), key=lambda item: item[0])
        return {name: value for name, value in named if value is not None}
    if isinstance(cell, list):
        return [_plain(each) for each in cell]
    if isinstance(cell, float) and (cell.is_integer() or isnan(cell)):
        return None if isnan(cell) else int(cell)
    if isinstance(cell, datetime) and cell.tzinfo is not None:
        return cell.astimezone(UTC).replace(tzinfo=None)
    if isinstance(cell, Decimal):
        digits = f"{cell:f}"
        return digits.rstrip("0").rstrip(".") if "." in digits else digits
    return cell


def recorded(frame: pd.DataFrame, column: Hashable) -> dict[str, Any]:
    """Read a column's entry in `df.attrs`."""
    entry = _table(frame, _COLUMNS).get(label_text(column))
    return entry if isinstance(entry, dict) else {}


@dataclass(frozen=True)
class RecordedCall:
    """The call that wrote a column, as `df.attrs` has it.

    Attributes
    ----------
    record : dict
        The call's record; empty: there is none.
    columns : list of labels
        The columns of the frame that are still this call's.
    reasons : label or None
        The column of its `error_into=`.
    unchanged : bool
        Whether these columns hold exactly what was written.
    """

    record: dict[str, Any]
    columns: list[Hashable]
    reasons: Hashable | None
    unchanged: bool


def call_of(frame: pd.DataFrame, column: Hashable) -> RecordedCall:
    """Return the call that wrote a column; any of its columns names it."""
    entries, key = _table(frame, _COLUMNS), recorded(frame, column).get("call")
    record = _table(frame, _CALLS).get(key) if key is not None else recorded(frame, column)
    if not isinstance(record, dict) or not record:
        return RecordedCall({}, [column], None, unchanged=False)
    if key is None:
        return RecordedCall(record, [column], None, unchanged=False)
    theirs = {
        name: entry for name, entry in entries.items() if isinstance(entry, dict) and entry.get("call") == key
    }
    found = [(name, theirs[label_text(name)]) for name in frame.columns if label_text(name) in theirs]
    columns = [(name, entry) for name, entry in found if entry.get("verb") != "reasons"]
    reasons = next((name for name, entry in found if entry.get("verb") == "reasons"), None)
    unchanged = all(entry.get("fingerprint") == fingerprint(frame[name]) for name, entry in columns)
    return RecordedCall(record, [name for name, _ in columns], reasons, unchanged)


def recorded_elsewhere(frame: pd.DataFrame) -> list[str]:
    """Return the names of the columns that `df.attrs` has entries for, and that the frame does not have."""
    there = set(map(label_text, frame.columns))
    return [name for name in _table(frame, _COLUMNS) if name not in there]


def is_ours(entry: dict[str, Any], column: pd.Series, written_by: Mapping[str, str]) -> bool:
    """Return whether the values are still exactly those that the same verb and model wrote."""
    if not entry or any(entry.get(name) != value for name, value in written_by.items()):
        return False
    return entry.get("fingerprint") == fingerprint(column)


def put_columns(
    frame: pd.DataFrame,
    columns: Iterable[pd.Series],
    record: Mapping[str, Any],
    *,
    reasons: pd.Series | None = None,
) -> None:
    """Write a call's columns into the frame, with one record that all of them point to; drop the records that none points to.

    Parameters
    ----------
    record
        The call's: verb, model, whether its run was complete, numbers, and under `again` what makes it again; JSON values.
    reasons
        The column of `error_into=`, in whose entry the verb is `"reasons"`.
    """
    entries, call = dict(_table(frame, _COLUMNS)), uuid4().hex[:12]
    entry = {**{name: record[name] for name in _OF_A_COLUMN if name in record}, "call": call}
    written = [(column, entry) for column in columns]
    if reasons is not None:
        written.append((reasons, {**entry, "verb": "reasons"}))
    for column, kept in written:
        frame[column.name] = column.array
        entries[label_text(column.name)] = {**kept, "fingerprint": fingerprint(column)}
    calls = {**_table(frame, _CALLS), call: dict(record)}
    pointed_to = {each.get("call") for each in entries.values() if isinstance(each, dict)}
    frame.attrs[_COLUMNS] = entries
    frame.attrs[_CALLS] = {key: calls[key] for key in calls if key in pointed_to}


def _table(frame: pd.DataFrame, name: str) -> dict[str, Any]:
    table = frame.attrs.get(name)
    return table if isinstance(table, dict) else {}
