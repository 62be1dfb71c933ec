"""A JSON value fitted to its shape: the value of its column's type, or the path and the reason why not.

The list of loosenings is closed: `5.0` for a whole number, a date for a datetime at midnight, and back.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import Enum
from math import inf, isfinite
from typing import Any

from llmframe._columns.schema.shapes import (
    Alternatives,
    Choice,
    Field,
    Items,
    Record,
    Reference,
    Scalar,
    Shape,
)
from llmframe._json import without_half_pairs

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DATETIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?\s?(Z|z|[+-]\d{2}:?\d{2})?")
_TIME = re.compile(r"\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|z|[+-]\d{2}:?\d{2})?")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?")
_LARGEST_INT = 2**63


class MisfitError(ValueError):
    """A value that does not fit.

    Parameters
    ----------
    path
        Where it is, such as `parts[0].name`.
    reason
        What was found, and what is wanted.
    as_sent
        Whether the schema that was sent excludes it already; otherwise only we check it.
    """

    def __init__(self, path: str, reason: str, *, as_sent: bool = True) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason
        self.as_sent = as_sent


def fit(value: dict[str, Any], root: Record) -> dict[str, Any]:
    """Return an answer's values by field.

    Raises
    ------
    MisfitError
        For the first value that the schema as sent excludes, otherwise for the first that does not fit.
    """
    fitter = _Fitter()
    values = fitter.record(value, root, "")
    if fitter.misfit is not None:
        raise fitter.misfit
    return values


class _Fitter:
    """Fits the values of one answer, and remembers the records that it is within."""

    def __init__(self) -> None:
        self._named: dict[str, Record] = {}
        self.misfit: MisfitError | None = None
        """The first one that the schema as sent allows."""

    def record(self, value: Any, record: Record, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise MisfitError(path, f"{_shown(value)} is no object")
        if record.name:
            self._named[record.name] = record
        found = {}
        for asked in record.fields:
            where = f"{path}.{asked.name}" if path else asked.name
            if asked.name not in value:
                raise MisfitError(where, "it is not there")
            found[asked.name] = self.field(value[asked.name], asked, where)
        if len(value) > len(found):
            extra = next(name for name in value if name not in found)
            raise MisfitError(path, f"there is no field {extra!r}")
        return found

    def field(self, value: Any, asked: Field, path: str) -> Any:
        if value is None:
            if asked.nullable:
                return None
            raise MisfitError(path, "it is null")
        return self.shape(value, asked.shape, path)

    def shape(self, value: Any, shape: Shape, path: str) -> Any:
        match shape:
            case Scalar():
                return self._scalar(value, shape, path)
            case Choice(values):
                return _chosen(value, values, path)
            case Items(item):
                if not isinstance(value, list):
                    raise MisfitError(path, f"{_shown(value)} is no list")
                return [self.field(each, item, f"{path}[{index}]") for index, each in enumerate(value)]
            case Alternatives(records):
                return self._first_that_fits(value, records, path)
            case Reference(name):
                return self.record(value, self._named[name], path)
        return self.record(value, shape, path)

    def _scalar(self, value: Any, scalar: Scalar, path: str) -> Any:
        try:
            return read_scalar(value, scalar, path)
        except MisfitError as misfit:
            self._note(misfit)
            return None

    def _note(self, misfit: MisfitError) -> None:
        """Raise a misfit unless the schema as sent allows it: one that it excludes may follow."""
        if misfit.as_sent:
            raise misfit
        self.misfit = self.misfit or misfit

    def _first_that_fits(self, value: Any, records: tuple[Record | Reference, ...], path: str) -> Any:
        before, misfits = self.misfit, list[MisfitError]()
        for record in records:
            self.misfit = None
            try:
                found = self.shape(value, record, path)
            except MisfitError as misfit:
                misfits.append(misfit)
            else:
                if self.misfit is None:
                    self.misfit = before
                    return found
                misfits.append(self.misfit)
        self.misfit = before
        self._note(max(misfits, key=lambda misfit: (not misfit.as_sent, len(misfit.path))))
        return None


def read_scalar(value: Any, scalar: Scalar, path: str) -> Any:
    match scalar.type:
        case "text":
            if isinstance(value, str):
                if "\0" in value:
                    raise MisfitError(path, "it has a NUL character")
                return without_half_pairs(value)
            raise MisfitError(path, f"{_shown(value)} is no text")
        case "bool":
            if isinstance(value, bool):
                return value
            raise MisfitError(path, f"{_shown(value)} is neither true nor false")
        case "int":
            return _whole(value, path)
        case "float":
            return _number(value, path)
        case "decimal":
            return _decimal(value, path)
    if not isinstance(value, str):
        raise MisfitError(path, f"{_shown(value)} is no text with a {scalar.type}")
    return _moment(value, scalar, path)


def _number(value: Any, path: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise MisfitError(path, f"{_shown(value)} is no number")
    try:
        number = float(value)
    except OverflowError:
        number = inf
    if isfinite(number):
        return number
    raise MisfitError(path, "it is too large for a number")


def _whole(value: Any, path: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise MisfitError(path, f"{_shown(value)} is no whole number")
    if not -_LARGEST_INT <= value < _LARGEST_INT:
        raise MisfitError(path, f"{_shown(value)} is beyond 64 bits", as_sent=False)
    return value


def _decimal(value: Any, path: str) -> Decimal:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        try:
            return Decimal(value)
        except InvalidOperation:
            pass
    raise MisfitError(path, f"{_shown(value)} is no decimal number", as_sent=not isinstance(value, str))


def _moment(value: str, scalar: Scalar, path: str) -> date | datetime | time:
    text = value.strip()
    try:
        if scalar.type == "time" and _TIME.fullmatch(text):
            return time.fromisoformat(text.replace("z", "Z"))
        if scalar.type != "time" and _DATE.fullmatch(text):
            day = date.fromisoformat(text)
            if scalar.type == "date":
                return day
            if not scalar.aware:
                return datetime(day.year, day.month, day.day)  # noqa: DTZ001 (the schema's datetime has no zone)
        elif scalar.type != "time" and _DATETIME.fullmatch(text):
            moment = datetime.fromisoformat(
                re.sub(r"(\.\d{6})\d+", r"\1", text.replace("z", "Z")).replace(" +", "+")
            )
            if scalar.type == "datetime" and (moment.tzinfo is not None) == scalar.aware:
                return moment
            if scalar.type == "date" and moment.time() == time():
                return moment.date()
    except ValueError:  # such as February 30
        pass
    zone = " with its offset from UTC" if scalar.aware else ""
    raise MisfitError(path, f"{_shown(value)} is no {scalar.type}{zone}", as_sent=False)


def _chosen(value: Any, values: tuple[str | int | bool, ...], path: str) -> str | int | bool:
    kind = type(values[0])
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is kind and value in values:
        return value
    raise MisfitError(path, f"{_shown(value)} is none of the values")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def supplied(value: Any, shape: Shape) -> Any:
    """Return a value without the nulls that stand for a default of the user's class."""
    if isinstance(value, list) and isinstance(shape, Items):
        return [supplied(each, shape.item.shape) for each in value]
    if not isinstance(value, dict) or not isinstance(shape, Record):
        return value
    return {
        field.name: supplied(value[field.name], field.shape)
        for field in shape.fields
        if value[field.name] is not None or not field.defaults
    }


_PYTHON_TYPES: dict[str, type] = {
    "text": str, "int": int, "float": float, "bool": bool, "date": date, "datetime": datetime, "time": time,
    "decimal": Decimal,
}  # fmt: skip


def conform(value: Any, shape: Shape, path: str) -> Any:  # noqa: PLR0911 (a table)
    """Return what the user's own class made of a value, if it still has the type that its column promises."""
    value = value.value if isinstance(value, Enum) else value
    if value is None:
        return None
    match shape:
        case Scalar(kind):
            if kind == "float" and type(value) is int:
                return float(value)
            wanted = _PYTHON_TYPES[kind]
            if isinstance(value, wanted) and (type(value) is not bool or kind == "bool"):
                return value
        case Choice(values):
            if value in values:
                return value
        case Items(item) if isinstance(value, list | tuple | set | frozenset):
            return [conform(each, item.shape, f"{path}[{index}]") for index, each in enumerate(value)]
        case Record(fields) if isinstance(value, dict):
            inner = f"{path}." if path else ""
            return {
                each.name: conform(value.get(each.name), each.shape, f"{inner}{each.name}") for each in fields
            }
        case Alternatives() | Reference():
            return value
    raise MisfitError(path, f"its own check made {_shown(value)} of it", as_sent=False)
