"""Typed values that a file has as text: they stay in a column that is filled, or replaced in part, beside typed answers."""

from __future__ import annotations

import json
from datetime import datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable


def read_existing(frame: pd.DataFrame, columns: pd.DataFrame) -> None:
    """Read the text cells of existing columns as what these columns are to hold; a text that is none of that stays one."""
    for name in columns:
        read = _reader(columns[name].dtype)
        if read is not None and name in frame:
            cells = [_value(read, cell) if isinstance(cell, str) else cell for cell in frame[name]]
            frame[name] = pd.Series(cells, index=frame.index, dtype=object)


def _reader(dtype: Any) -> Callable[[str], Any] | None:
    """Return what reads a text as a value of a dtype; `None` where a text is one."""
    if isinstance(dtype, pd.CategoricalDtype | pd.StringDtype):
        return None
    readers: dict[str, Callable[[str], Any]] = {
        "b": _truth, "i": _number, "f": _number, "M": datetime.fromisoformat, "O": _other,
    }  # fmt: skip
    return readers[dtype.kind]


def _value(read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text.strip())
    except (ValueError, RecursionError):
        return text


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _number(text: str, kind: type = float) -> Any:
    value = json.loads(text, parse_float=kind, parse_constant=_no_number)
    if isinstance(value, bool) or not isinstance(value, int | kind):
        raise ValueError(text)  # noqa: TRY004 (the text is wrong, not its type)
    return value


def _no_number(word: str) -> None:
    raise ValueError(word)  # NaN and the infinities


def _other(text: str) -> Any:
    """Read a list or an object, a time, or a decimal number."""
    if text[:1] in ("[", "{"):
        return json.loads(text)
    return time.fromisoformat(text) if ":" in text else Decimal(_number(text, Decimal))
