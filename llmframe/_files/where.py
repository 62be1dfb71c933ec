"""`--where`: the rows of which a condition on columns holds. Nothing is evaluated: its syntax tree is walked."""

from __future__ import annotations

import ast
import datetime as dt
import decimal
import operator
import re
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip

_NUMBER = re.compile(r"\s*[+-]?(?:\d+|(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)\s*", re.ASCII)
_INTEGER = re.compile(r"\s*[+-]?\d{1,4000}\s*", re.ASCII)
_QUOTED = re.compile(r"""('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|`([^`]+)`""")
_ALLOWED = "comparisons of columns and constants (<, <=, ==, !=, >=, >), `and`, `or`, `not` and `in [1, 2]` are; a column whose name is no single word stands in backticks"
_FORBIDDEN = {
    ast.Call: "a call", ast.Attribute: "an attribute", ast.Subscript: "an index", ast.BinOp: "arithmetic",
    ast.Lambda: "a function", ast.IfExp: "a conditional",
}  # fmt: skip


def rows_where(condition: str, frame: pd.DataFrame, *, texts: bool) -> npt.NDArray[np.bool_]:
    """Return for each row whether a condition holds. A comparison with a missing cell does not.

    Parameters
    ----------
    condition
        Comparisons of columns and constants, joined by `and`, `or` and `not`.
    texts
        Whether all cells are text, as in CSV: then a column whose cells all are numbers is compared with numbers as such.

    Examples
    --------
    >>> frame = pd.DataFrame({"stars": ["1", "", "10"], "shop": ["a", "b", "c"]})
    >>> rows_where("2 < stars or shop in ['b']", frame, texts=True).tolist()
    [False, True, True]
    """
    with _readable(condition):
        tree, names = _parsed(condition)
        return np.array(_Rows(frame, names, texts=texts).holds(tree.body), dtype=bool)


def columns_named(condition: str) -> set[str]:
    """Return the columns that a condition names.

    Examples
    --------
    >>> sorted(columns_named("2 < stars or `the shop` in ['b']"))
    ['stars', 'the shop']
    """
    with _readable(condition):
        tree, names = _parsed(condition)
        return {_name(node, names) for node in ast.walk(tree) if isinstance(node, ast.Name)}


@contextmanager
def _readable(condition: str) -> Iterator[None]:
    try:
        yield
    except (SyntaxError, RecursionError, MemoryError) as error:
        reason = f" ({error.msg})" if isinstance(error, SyntaxError) else ""
        raise ValueError(f"where: {condition!r} cannot be read{reason}; {_ALLOWED}") from None


def _parsed(condition: str) -> tuple[ast.Expression, list[str]]:
    """Parse a condition; the columns in backticks are listed, and stand in the tree as their places in the list."""
    names: list[str] = []

    def placeholder(found: re.Match[str]) -> str:
        if found[1] is not None:
            return found[1]
        names.append(found[2])
        return f"_column_{len(names) - 1}"

    return ast.parse(_QUOTED.sub(placeholder, condition).strip(), mode="eval"), names


def _name(node: ast.Name, names: Sequence[str]) -> str:
    placeholder = re.fullmatch(r"_column_(\d+)", node.id)
    return names[int(placeholder[1])] if placeholder and names else node.id


@dataclass(frozen=True)
class _Constant:
    value: Any


@dataclass(frozen=True)
class _Column:
    """The cells of a column, `None` where one is missing; and as numbers, if they are texts that all are such."""

    name: str
    cells: list[Any]
    numbers: list[Any] | None = None

    @property
    def no_number(self) -> str | None:
        """Say which cell is no number, where cells are text."""
        for row, cell in enumerate(self.cells, 1):
            if isinstance(cell, str) and cell.strip() and not _NUMBER.fullmatch(cell):
                return f"{cell!r} in row {row}"
        return None


class _Rows:
    """The rows of a frame, and what holds of them."""

    def __init__(self, frame: pd.DataFrame, names: list[str], *, texts: bool) -> None:
        self._frame = frame
        self._names = names
        self._texts = texts
        self._columns: dict[str, _Column] = {}

    def holds(self, node: ast.expr) -> list[bool]:
        match node:
            case ast.BoolOp(op=ast.And()):
                return [all(row) for row in zip(*map(self.holds, node.values), strict=True)]
            case ast.BoolOp():
                return [any(row) for row in zip(*map(self.holds, node.values), strict=True)]
            case ast.UnaryOp(op=ast.Not()):
                return [not truth for truth in self.holds(node.operand)]
            case ast.Compare():
                operands = pairwise([node.left, *node.comparators])
                results = [
                    self._compare(left, operation, right)
                    for operation, (left, right) in zip(node.ops, operands, strict=True)
                ]
                return [all(row) for row in zip(*results, strict=True)]
            case ast.Name():
                return self._truths(self._column(node))
        raise _not_allowed(node)

    def _truths(self, column: _Column) -> list[bool]:
        for cell in column.cells:
            if not (cell is None or isinstance(cell, bool)):
                raise ValueError(
                    f"where: {column.name!r} alone is no condition, as it holds {cell!r}; compare it, as in {column.name} == {cell!r}"
                )
        return [cell is True for cell in column.cells]

    def _compare(self, left: ast.expr, operation: ast.cmpop, right: ast.expr) -> list[bool]:
        subject = self._operand(left)
        if isinstance(operation, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple | ast.Set) or not right.elts:
                raise ValueError("where: `in` takes constants in brackets, as in stars in [1, 2]")
            options = [_constant(element) for element in right.elts]
            found = self._any_equal(subject, options)
            if isinstance(operation, ast.In):
                return found
            return [
                not truth and cell is not None
                for truth, cell in zip(found, self._cells(subject), strict=True)
            ]
        if type(operation) not in _COMPARISONS:
            raise ValueError(f"where: `is` is not allowed; write == or !=; {_ALLOWED}")
        return self._pairs(subject, operation, self._operand(right))

    def _any_equal(self, subject: _Column | _Constant, options: Sequence[_Constant]) -> list[bool]:
        found, faults = [False] * len(self._frame), []
        for option in options:
            try:
                equal = self._pairs(subject, ast.Eq(), option)
            except _IncomparableError as error:
                faults.append(error)
                continue
            found = [before or now for before, now in zip(found, equal, strict=True)]
        if len(faults) == len(options):
            raise faults[0]
        return found

    def _pairs(
        self, left: _Column | _Constant, operation: ast.cmpop, right: _Column | _Constant
    ) -> list[bool]:
        compare = _COMPARISONS[type(operation)]
        unequal = isinstance(operation, ast.NotEq)
        results, comparable, example = [], False, None
        for one, other in zip(*self._comparable(left, right), strict=True):
            if one is None or other is None:
                results.append(False)
            elif _kind(one) == _kind(other):
                comparable = True
                results.append(bool(compare(one, other)))
            else:
                example = example or (one, other)
                results.append(unequal)
        if example is not None and not comparable:
            raise _IncomparableError(_fault(left, right, example))
        return results

    def _comparable(
        self, left: _Column | _Constant, right: _Column | _Constant
    ) -> tuple[list[Any], list[Any]]:
        """Return the cells of both sides, as numbers where both have them."""
        if isinstance(left, _Constant) and isinstance(right, _Column):
            cells, constants = self._comparable(right, left)
            return constants, cells
        if isinstance(left, _Constant):
            return self._cells(left), self._cells(right)
        if isinstance(right, _Constant):
            is_number = _kind(right.value) == "number"
            cells = left.numbers if is_number and left.numbers is not None else left.cells
            return cells, [_as_moment(right.value, cells)] * len(cells)
        if left.numbers is not None and right.numbers is not None:
            return left.numbers, right.numbers
        return left.cells, right.cells

    def _cells(self, operand: _Column | _Constant) -> list[Any]:
        return operand.cells if isinstance(operand, _Column) else [operand.value] * len(self._frame)

    def _operand(self, node: ast.expr) -> _Column | _Constant:
        return self._column(node) if isinstance(node, ast.Name) else _constant(node)

    def _column(self, node: ast.Name) -> _Column:
        name = _name(node, self._names)
        if name not in self._columns:
            labels = [str(label) for label in self._frame.columns]
            if name not in labels:
                close = get_close_matches(name, labels, n=1, cutoff=0.0)
                hint = f"the nearest is {close[0]!r}" if close else "the file has none"
                raise ValueError(f"where: there is no column {name!r}; {hint}; text stands in quotes")
            series = self._frame.iloc[:, labels.index(name)]
            missing = series.isna().tolist()
            cells = [
                None if is_missing else cell
                for cell, is_missing in zip(series.tolist(), missing, strict=True)
            ]
            self._columns[name] = _Column(name, cells, _numbers(cells) if self._texts else None)
        return self._columns[name]


class _IncomparableError(ValueError):
    """Two sides of a comparison have no types in common in any row."""


def _fault(left: _Column | _Constant, right: _Column | _Constant, example: tuple[Any, Any]) -> str:
    shown = [
        f"{side.name!r} holds {side.no_number or repr(cell)}"
        if isinstance(side, _Column)
        else f"{cell!r} is given"
        for side, cell in zip((left, right), example, strict=True)
    ]
    return f"where: no row can be compared: {shown[0]}, and {shown[1]}; numbers compare with numbers, and text with text in quotes"


def _constant(node: ast.expr) -> _Constant:
    match node:
        case ast.Constant(value=str() | bool() | int() | float()):
            return _Constant(node.value)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=int() | float() as number)):
            return _Constant(-number if isinstance(node.op, ast.USub) else number)
    raise _not_allowed(node)


def _not_allowed(node: ast.expr) -> ValueError:
    what = _FORBIDDEN.get(type(node))
    if what is None:
        what = f"{node.value!r} there" if isinstance(node, ast.Constant) else "this"
    return ValueError(f"where: {what} is not allowed; {_ALLOWED}")


def _numbers(cells: list[Any]) -> list[Any] | None:
    """Return texts as numbers; `None` where one that is not blank is none."""
    texts = [None if cell is None or not cell.strip() else cell for cell in cells]
    if any(text is not None and not _NUMBER.fullmatch(text) for text in texts):
        return None
    return [
        None if text is None else int(text) if _INTEGER.fullmatch(text) else float(text) for text in texts
    ]


def _kind(value: Any) -> str:
    if isinstance(value, int | float | decimal.Decimal):
        return "number"
    if isinstance(value, dt.datetime):
        return "aware datetime" if value.tzinfo is not None else "datetime"
    return type(value).__name__


def _as_moment(constant: Any, cells: list[Any]) -> Any:
    """Return a text that is compared with dates as a date."""
    example = next((cell for cell in cells if cell is not None), None)
    if not (isinstance(constant, str) and isinstance(example, dt.date)):
        return constant
    try:
        moment = pd.Timestamp(constant)
    except ValueError:
        raise ValueError(f"where: {constant!r} is no date; write one such as '2026-01-31'") from None
    if not isinstance(example, dt.datetime):
        return moment.date()
    if example.tzinfo is None or moment.tzinfo is not None:
        return moment
    return moment.tz_localize(example.tzinfo)
