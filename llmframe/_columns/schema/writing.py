"""Answers as a model would write them, from cells that a user filled in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pandas as pd

from llmframe._columns.schema.shapes import Field, Items, Record, Scalar, Shape

if TYPE_CHECKING:
    from collections.abc import Container, Sequence


def gathered(
    cells: Mapping[str, Any], fields: Sequence[Field], prefix: str, optional: Container[str] = ()
) -> dict[str, Any]:
    """Return the object that a row's cells stand for, of values that JSON has; whether it fits is to be seen.

    Parameters
    ----------
    prefix
        What stands before the fields' names in those of the columns. A nested object is one column of dicts, or one
        column for each of its fields.
    optional
        Fields that are null where their column is not there.

    Raises
    ------
    KeyError
        With the name of a column that is not there.
    """
    found: dict[str, Any] = {}
    for field in fields:
        name = f"{prefix}{field.name}"
        if name in cells:
            found[field.name] = plain(cells[name], field.shape)
        elif isinstance(field.shape, Record) and not field.shape.name:
            inner = gathered(cells, field.shape.fields, f"{name}.")
            found[field.name] = None if field.nullable and _all_missing(inner) else inner
        elif field.name in optional:
            found[field.name] = None
        else:
            raise KeyError(name)
    return found


def _all_missing(value: Any) -> bool:
    return all(map(_all_missing, value.values())) if isinstance(value, dict) else value is None


def plain(value: Any, shape: Shape | None) -> Any:
    """Return a cell as JSON has it: missing as null, dates as text, numpy's as Python's; another type stays as it is."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return None
    if isinstance(value, list | tuple):
        item = shape.item.shape if isinstance(shape, Items) else None
        return [plain(each, item) for each in value]
    if isinstance(value, Mapping):
        shapes = {field.name: field.shape for field in shape.fields} if isinstance(shape, Record) else {}
        return {name: plain(each, shapes.get(name)) for name, each in value.items()}
    if not isinstance(shape, Scalar) or shape.type not in {"date", "datetime", "time", "decimal"}:
        return value if shape is not None else _as_text(value)
    return _as_text(value)


def _as_text(value: Any) -> Any:
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def as_answer(values: Any) -> str:
    """Write the values of an answer, or of a field, as the text of JSON.

    Examples
    --------
    >>> as_answer({"day": date(2026, 1, 31), "price": Decimal("1.50"), "part": None})
    '{"day":"2026-01-31","price":"1.50","part":null}'
    """
    return orjson.dumps(values, default=_written, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()


def _written(value: Any) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value.isoformat())
