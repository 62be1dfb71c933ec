"""The values of many answers by column, each in the dtype that its schema states.

They are kept as arrays, one for each column: a million typed rows take little more than their columns.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import nan
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from llmframe._columns.schema.shapes import Choice, Items, Record, Scalar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    import numpy.typing as npt

    from llmframe._columns.schema.shapes import Field, Shape

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = _EPOCH.toordinal()
_DAY = 86_400 * 1_000_000
_NAT = np.iinfo(np.int64).min
_END = 0xFF
_AT_ONCE = 65_536
"""So many texts are objects of Python at a time while their column is made."""


class Column(Protocol):
    """The values of one column, by request."""

    def put(self, number: int, value: Any) -> None:
        """Set a request's value; `None` is missing."""

    def series(self, codes: npt.NDArray[np.int32], index: pd.Index, name: Hashable) -> pd.Series:
        """Make the column: each row has its request's value, and is missing where its code is negative."""


def leaves(fields: Sequence[Field], prefix: str = "") -> Iterator[tuple[str, Shape]]:
    """Yield the columns' names and shapes: a nested object's field is `a.b`; what contains itself stays one column."""
    for field in fields:
        name = f"{prefix}{field.name}"
        if isinstance(field.shape, Record) and not field.shape.name:
            yield from leaves(field.shape.fields, f"{name}.")
        else:
            yield name, field.shape


def flat(value: dict[str, Any] | None, fields: Sequence[Field]) -> Iterator[Any]:
    """Yield an answer's values in the order of `leaves`."""
    for field in fields:
        inner = None if value is None else value[field.name]
        if isinstance(field.shape, Record) and not field.shape.name:
            yield from flat(inner, field.shape.fields)
        else:
            yield inner


def column_for(shape: Shape, requests: int) -> Column:  # noqa: PLR0911 (a table)
    """Make the storage of one column."""
    match shape:
        case Scalar("int"):
            return _Numbers("q", requests, "Int64")
        case Scalar("float"):
            return _Floats(requests)
        case Scalar("bool"):
            return _Numbers("b", requests, "boolean")
        case Scalar("date"):
            return _Moments(requests, aware=False)
        case Scalar("datetime", aware):
            return _Moments(requests, aware=aware)
        case Choice(values) if isinstance(values[0], str):
            return _Categories(values, requests)
        case Choice(values):
            return _Numbers(
                "b" if isinstance(values[0], bool) else "q",
                requests,
                "boolean" if isinstance(values[0], bool) else "Int64",
            )
        case Scalar("text"):
            return _Texts(requests)
    return _Objects(requests)


def takes(shape: Shape, value: Any) -> bool:
    """Return whether a value that has the type of a shape's dtype may stand in its column."""
    match shape:
        case Choice(values):
            return value in values
        case Scalar("decimal"):
            return isinstance(value, Decimal)
        case Scalar("time"):
            return isinstance(value, time)
        case Scalar():
            return True
        case Items():
            return isinstance(value, list | tuple | np.ndarray)
    return isinstance(value, Mapping)


class _Numbers:
    """Whole numbers or truth values, with a mask."""

    def __init__(self, code: str, requests: int, dtype: str) -> None:
        self._values = array(code, bytes(array(code).itemsize * requests))
        self._missing = bytearray(b"\1" * requests)
        self._dtype = dtype

    def put(self, number: int, value: Any) -> None:
        if value is None:
            self._missing[number] = True
        else:
            self._values[number] = value
            self._missing[number] = False

    def series(self, codes: npt.NDArray[np.int32], index: pd.Index, name: Hashable) -> pd.Series:
        values, missing = (
            _taken(np.frombuffer(self._values, dtype=self._values.typecode), codes, 0),
            _taken(np.frombuffer(self._missing, dtype=bool), codes, True),
        )
        if self._dtype == "boolean":
            made: Any = pd.arrays.BooleanArray(values.astype(bool), missing)
        else:
            made = pd.arrays.IntegerArray(values.astype(np.int64), missing)
        return pd.Series(made, index=index, name=name)


class _Floats:
    def __init__(self, requests: int) -> None:
        self._values = array("d", [nan]) * requests

    def put(self, number: int, value: Any) -> None:
        self._values[number] = nan if value is None else value

    def series(self, codes: npt.NDArray[np.int32], index: pd.Index, name: Hashable) -> pd.Series:
        return pd.Series(_taken(np.frombuffer(self._values), codes, np.nan), index=index, name=name)


class _Moments:
    """Dates and datetimes, in microseconds."""

    def __init__(self, requests: int, *, aware: bool) -> None:
        self._values = array("q", [_NAT]) * requests
        self._aware = aware

    def put(self, number: int, value: date | datetime | None) -> None:
        self._values[number] = _NAT if value is None else _microseconds(value)

    def series(self, codes: npt.NDArray[np.int32], index: pd.Index, name: Hashable) -> pd.Series:
        taken = _taken(np.frombuffer(self._values, dtype=np.int64), codes, _NAT).view("datetime64[us]")
        made = pd.Series(taken, index=index, name=name)
        return made.dt.tz_localize(UTC) if self._aware else made


def _microseconds(value: date | datetime) -> int:
    if not isinstance(value, datetime):
        return (value.toordinal() - _FIRST_DAY) * _DAY
    since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH
    return since.days * _DAY + since.seconds * 1_000_000 + since.microseconds


class _Categories:
    """One of some texts, in the order in which they were declared."""

    def __init__(self, values: Sequence[Any], requests: int) -> None:
        self._dtype = pd.CategoricalDtype(pd.Index(list(values), dtype=pd.Series(["text"]).dtype))
        self._number = {None: -1, **{value: number for number, value in enumerate(values)}}
        self._codes = array("h", [-1]) * requests

    def put(self, number: int, value: Any) -> None:
        self._codes[number] = self._number[value]

    def series(self, codes: npt.NDArray[np.int32], index: pd.Index, name: Hashable) -> pd.Series:
        taken = _taken(np.frombuffer(self._codes, dtype=np.int16), codes, -1)
        return pd.Series(pd.Categorical.from_codes(taken, dtype=self._dtype), index=index, name=name)


class _Texts:
    """Texts, which as objects of Python would take twice the memory of pandas' own."""

    def __init__(self, requests: int) -> None:
        self._written = bytearray()
        """Each text in UTF-8, and a byte that is in no text."""
        self._starts = array("q", [-1]) * requests
        self._dtype = pd.Series(["text"]).dtype

    def put(self, number: int, value: str | None) -> None:
        if value is None:
            self._starts[number] = -1
        else:
            start = len(self._written)
            self._written += value.encode("utf-8", "surrogatepass")
            self._written.append(_END)
            self._starts[number] = start

    def series(self, codes: npt.NDArray[np.int32], index: pd.Index, name: Hashable) -> pd.Series:
        starts = _taken(np.frombuffer(self._starts, dtype=np.int64), codes, -1)
        parts = [
            pd.Series(list(map(self._read, starts[first : first + _AT_ONCE].tolist())), dtype=self._dtype)
            for first in range(0, len(starts) or 1, _AT_ONCE)
        ]
        return pd.Series(pd.concat(parts).array, index=index, name=name)

    def _read(self, start: int) -> str | None:
        if start < 0:
            return None
        return self._written[start : self._written.index(_END, start)].decode("utf-8", "replace")


class _Objects:
    def __init__(self, requests: int) -> None:
        self._values: list[Any] = [None] * requests

    def put(self, number: int, value: Any) -> None:
        self._values[number] = value

    def series(self, codes: npt.NDArray[np.int32], index: pd.Index, name: Hashable) -> pd.Series:
        values = [None if code < 0 else self._values[code] for code in codes.tolist()]
        return pd.Series(values, index=index, name=name, dtype=object)


def _taken(values: npt.NDArray[Any], codes: npt.NDArray[np.int32], missing: Any) -> npt.NDArray[Any]:
    """Take each row's value; `missing` where it has none."""
    if not len(values):
        return np.full(len(codes), missing, dtype=values.dtype)
    return np.where(codes < 0, np.asarray(missing, dtype=values.dtype), values[np.maximum(codes, 0)])
