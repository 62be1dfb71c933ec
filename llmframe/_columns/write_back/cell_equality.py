"""When two cells hold the same value, whatever dtype or file they came from."""

from __future__ import annotations

from datetime import date, datetime
from enum import Enum
from hashlib import blake2b
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llmframe._errors import plain_repr

if TYPE_CHECKING:
    from collections.abc import Sequence


def comparable(column: pd.Series) -> list[Any]:
    """Return a column's cells as hashable values that are equal where the cells are; a missing cell is `None`.

    Examples
    --------
    >>> comparable(pd.Series([1.0, None])) == comparable(pd.Series([1, None], dtype="Int64"))
    True
    """
    missing = column.isna().tolist()
    return [
        None if is_missing else _comparable(cell)
        for cell, is_missing in zip(column.tolist(), missing, strict=True)
    ]


def _comparable(cell: Any) -> Any:  # noqa: PLR0911 (a table)
    if isinstance(cell, Enum):
        cell = cell.value
    if isinstance(cell, str):
        return str(cell)
    if isinstance(cell, bool | np.bool_):
        return ("truth", bool(cell))
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, float):
        return None if isnan(cell) else int(cell) if cell.is_integer() else cell
    if isinstance(cell, date):
        moment = pd.Timestamp(cell)
        moment = (
            moment.tz_convert("UTC") if isinstance(cell, datetime) and cell.tzinfo is not None else moment
        )
        return moment.tz_localize(None)
    if isinstance(cell, list | tuple | np.ndarray):
        return tuple(map(_comparable, cell))
    if isinstance(cell, dict):  # Parquet gives all dicts of a column the same keys
        members = ((str(name), _comparable(value)) for name, value in cell.items())
        return tuple(
            sorted((member for member in members if member[1] is not None), key=lambda each: each[0])
        )
    return cell


def row_digest(known_by: object, cells: Sequence[Any]) -> str:
    """Return the digest by which a row with these comparable cells is known again, by its label or by its other cells."""
    text = f"{plain_repr(known_by)}\n{cells!r}"
    return blake2b(text.encode(errors="surrogatepass"), digest_size=6).hexdigest()
