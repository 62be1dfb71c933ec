"""The columns of a frame, as files have them: index levels first, names and cells as text."""

from __future__ import annotations

import base64
import functools
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import orjson
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

NESTED = (dict, list, tuple, set, frozenset, np.ndarray)
"""Types of cells that are written as JSON."""


@dataclass(frozen=True)
class FrameColumn:
    name: str | None
    cells: pd.Series[Any]

    @property
    def is_text(self) -> bool:
        """Whether a reader should make it text even if all cells are missing."""
        dtype = self.cells.dtype
        values = dtype.categories.dtype if isinstance(dtype, pd.CategoricalDtype) else dtype
        types = pd.api.types
        return not (types.is_numeric_dtype(values) or types.is_datetime64_any_dtype(values))

    def place(self, row: int) -> str:
        """Name a cell in a message."""
        name = "the index" if self.name is None else f"column {self.name!r}"
        return f"{name}, row {row} (iloc[{row}])"


def frame_columns(
    frame: pd.DataFrame, caller: str, *, index: bool, labels: Sequence[Hashable] | None
) -> list[FrameColumn]:
    """Return what is written of a frame; `caller` begins the messages of errors."""
    if frame.columns.nlevels > 1:
        raise ValueError(
            f'{caller}: a file has one line of names, and the columns have several levels; join them first: frame.columns = frame.columns.map(" ".join)'
        )
    table = _index_columns(frame.index) if index else []
    for position in _positions(frame.columns, labels, caller):
        table.append(FrameColumn(str(frame.columns[position]), frame.iloc[:, position]))
    _check_names([column.name for column in table if column.name is not None], caller)
    if not table:
        raise ValueError(f"{caller}: there is no column to write; with index=True the index is written")
    return table


def _index_columns(index: pd.Index[Any]) -> list[FrameColumn]:
    return [
        FrameColumn(None if name is None else str(name), index.get_level_values(level).to_series())
        for level, name in enumerate(index.names)
    ]


def _positions(names: pd.Index[Any], labels: Sequence[Hashable] | None, caller: str) -> Sequence[int]:
    if labels is None:
        return range(len(names))
    if isinstance(labels, str):
        raise TypeError(f"{caller}: columns takes a list; write columns=[{labels!r}]")
    unknown = [label for label in labels if label not in names]
    if unknown:
        raise ValueError(f"{caller}: columns has {unknown!r}, but the frame's columns are {list(names)!r}")
    return [position for label in labels for position in np.flatnonzero(names == label).tolist()]


def _check_names(names: list[str], caller: str) -> None:
    duplicates = [name for name, count in Counter(names).items() if count > 1]
    if duplicates:
        raise ValueError(
            f"{caller}: {duplicates!r} would name several columns of the file, of which a reader makes others; rename them (index levels too), or leave the index out with index=False"
        )


def as_json(value: object) -> str:
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, default=_default, option=options).decode()


def any_json(value: Any) -> str:
    """Return any value as JSON: bytes in base64, moments in ISO format, and integers of any length."""
    if isinstance(value, bytes):
        return as_json(base64.b64encode(value).decode())
    if hasattr(value, "isoformat"):
        return as_json(value.isoformat())
    try:
        return as_json(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, ensure_ascii=False, default=str)


def _default(value: Any) -> object:
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, (np.ndarray, np.generic)):  # of a type or layout that orjson does not support
        return value.tolist()
    return None if value is pd.NA or value is pd.NaT else str(value)


def _moment(moment: pd.Timestamp, *, timespec: Literal["seconds", "microseconds", "nanoseconds"]) -> str:
    return moment.isoformat(sep=" ", timespec=timespec)


def _day(moment: pd.Timestamp) -> str:
    return moment.date().isoformat()


_MOMENT_FORMATS: list[Callable[[Any], str]] = [
    _day,
    *(functools.partial(_moment, timespec=part) for part in ("seconds", "microseconds", "nanoseconds")),
]


def moments_precision(moments: pd.Series[Any]) -> int:
    """Return a number for the shortest format that is exact for all moments of a column; a finer one's is larger."""
    parts = moments.dropna().dt
    if parts.nanosecond.any():
        return 3
    if parts.microsecond.any():
        return 2
    return int(parts.tz is not None or parts.hour.any() or parts.minute.any() or parts.second.any())


def moments_format(precision: int) -> Callable[[Any], str]:
    """Return one format for a whole column: mixed formats could not be parsed together."""
    return _MOMENT_FORMATS[precision]
