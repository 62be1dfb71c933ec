"""A JSON value fitted to its shape: the value of its column's type, or the path and the reason why not.

The list of loosenings is closed: `5.0` for a whole number, a date for a datetime at midnight, and back.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Address
from math import inf, isfinite
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import AnyUrl, ConfigDict, StringConstraints, TypeAdapter, ValidationError

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

if TYPE_CHECKING:
    from collections.abc import Callable

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DATETIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?\s?(Z|z|[+-]\d{2}:?\d{2})?")
_TIME = re.compile(r"\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|z|[+-]\d{2}:?\d{2})?")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?")
LARGEST_INT = 2**63
_MOST_DIGITS = 38
"""Of a decimal number, on each side of the point: a column with more cannot be written to Parquet."""
DEEPEST = 50
"""Levels of a record within itself; what follows an answer, such as Parquet, goes down as deep."""


@dataclass(frozen=True)
class Bound:
    """A word of JSON Schema that limits a value of one type.

    Parameters
    ----------
    words
        What it says of a value, after "is".
    """

    words: str
    type: type | tuple[type, ...]
    may_be: Callable[[Any], bool]
    holds: Callable[[Any, Any], bool]


def _is_number(bound: Any) -> bool:
    return isinstance(bound, int | float) and not isinstance(bound, bool) and isfinite(bound)


def _is_count(bound: Any) -> bool:
    return isinstance(bound, int) and not isinstance(bound, bool) and bound >= 0


def _is_pattern(bound: Any) -> bool:
    try:
        return isinstance(bound, str) and bool(re.compile(bound))
    except re.error:
        return False


def _is_multiple(value: float, bound: float) -> bool:
    return Fraction(str(value)) % Fraction(str(bound)) == 0


_NUMBER = (int, float)
BOUNDS: dict[str, Bound] = {
    "minimum": Bound("at least {}", _NUMBER, _is_number, operator.ge),
    "exclusiveMinimum": Bound("more than {}", _NUMBER, _is_number, operator.gt),
    "maximum": Bound("at most {}", _NUMBER, _is_number, operator.le),
    "exclusiveMaximum": Bound("less than {}", _NUMBER, _is_number, operator.lt),
    "multipleOf": Bound("a multiple of {}", _NUMBER, lambda bound: _is_number(bound) and bound > 0, _is_multiple),
    "minLength": Bound("at least {} characters", str, _is_count, lambda text, bound: len(text) >= bound),
    "maxLength": Bound("at most {} characters", str, _is_count, lambda text, bound: len(text) <= bound),
    "pattern": Bound("matching the pattern {}", str, _is_pattern, lambda text, bound: bool(re.search(bound, text))),
    "minItems": Bound("at least {} items", list, _is_count, lambda items, bound: len(items) >= bound),
    "maxItems": Bound("at most {} items", list, _is_count, lambda items, bound: len(items) <= bound),
}  # fmt: skip
_FORMAT_TYPES: dict[str, Any] = {
    "email": Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+$")],
    "uri": AnyUrl, "uuid": UUID, "ipv4": IPv4Address, "ipv6": IPv6Address, "duration": timedelta,
}  # fmt: skip
FORMATS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(kind, config=ConfigDict(defer_build=True)) for name, kind in _FORMAT_TYPES.items()
}


def _within(value: Any, word: str, bound: Any) -> str | None:
    """Return what a value must be by a word of JSON Schema, if it is not that."""
    if word == "format":
        try:
            FORMATS[bound].validate_python(value)
        except ValidationError:
            return f"{shown(value)} is no {bound}"
        return None
    limit = BOUNDS[word]
    if not isinstance(value, limit.type) or limit.holds(value, bound):
        return None
    return f"{shown(value)} is not {limit.words.format(bound)}"


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
        self._depth = 0
        self.misfit: MisfitError | None = None
        """The first one that the schema as sent allows."""

    def record(self, value: Any, record: Record, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise MisfitError(path, f"{shown(value)} is no object")
        if record.name:
            self._named[record.name] = record
            if self._depth == DEEPEST:
                self._note(MisfitError(path, "it is nested too deeply", as_sent=False))
                return {}
        self._depth += bool(record.name)
        found = {}
        for asked in record.fields:
            where = f"{path}.{asked.name}" if path else asked.name
            if asked.name not in value:
                raise MisfitError(where, "it is not there")
            found[asked.name] = self.field(value[asked.name], asked, where)
        if len(value) > len(found):
            extra = next(name for name in value if name not in found)
            raise MisfitError(path, f"there is no field {extra!r}")
        self._depth -= bool(record.name)
        return found

    def field(self, value: Any, asked: Field, path: str) -> Any:
        if value is None:
            if asked.nullable:
                return None
            raise MisfitError(path, "it is null")
        found = self.shape(value, asked.shape, path)
        for word, bound in asked.bounds:
            if found is not None and (what := _within(found, word, bound)) is not None:
                self._note(MisfitError(path, what, as_sent=False))
        return found

    def shape(self, value: Any, shape: Shape, path: str) -> Any:
        match shape:
            case Scalar():
                return self._scalar(value, shape, path)
            case Choice(values):
                return _chosen(value, values, path)
            case Items(item):
                if not isinstance(value, list):
                    raise MisfitError(path, f"{shown(value)} is no list")
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
        before, depth, misfits = self.misfit, self._depth, list[MisfitError]()
        for record in records:
            self.misfit, self._depth = None, depth
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
            raise MisfitError(path, f"{shown(value)} is no text")
        case "bool":
            if isinstance(value, bool):
                return value
            raise MisfitError(path, f"{shown(value)} is neither true nor false")
        case "int":
            return _whole(value, path)
        case "float":
            return _number(value, path)
        case "decimal":
            return _decimal(value, path)
    if not isinstance(value, str):
        raise MisfitError(path, f"{shown(value)} is no text with a {scalar.type}")
    return _moment(value, scalar, path)


def _number(value: Any, path: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise MisfitError(path, f"{shown(value)} is no number")
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
        raise MisfitError(path, f"{shown(value)} is no whole number")
    if not -LARGEST_INT <= value < LARGEST_INT:
        raise MisfitError(path, f"{shown(value)} is beyond 64 bits", as_sent=False)
    return value


def _decimal(value: Any, path: str) -> Decimal:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        number = Decimal(value)
        exponent = number.as_tuple().exponent
        if number.adjusted() < _MOST_DIGITS and isinstance(exponent, int) and exponent >= -_MOST_DIGITS:
            return number
        raise MisfitError(path, f"{shown(value)} has too many digits", as_sent=False)
    raise MisfitError(path, f"{shown(value)} is no decimal number", as_sent=not isinstance(value, str))


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
                return moment.astimezone(UTC) if scalar.aware else moment
            if scalar.type == "date" and moment.time() == time():
                return moment.date()
    except (ValueError, OverflowError):  # such as February 30, or a year that UTC does not have
        pass
    zone = " with its offset from UTC" if scalar.aware else ""
    raise MisfitError(path, f"{shown(value)} is no {scalar.type}{zone}", as_sent=False)


def _chosen(value: Any, values: tuple[str | int | bool, ...], path: str) -> str | int | bool:
    kind = type(values[0])
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is kind and value in values:
        return value
    raise MisfitError(path, f"{shown(value)} is none of the values")


def shown(value: Any) -> str:
    try:
        text = repr(value)
    except RecursionError:
        return "something that is nested too deeply"
    return text if len(text) <= 60 else f"{text[:59]}…"
