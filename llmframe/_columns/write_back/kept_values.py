"""The existing values that stay in a column: converted to its dtype without loss, or found not to fit.

Nothing is bent: `5.0` is a whole number and a date is a datetime at midnight, but `true` is no 1 and `"5"` is no number.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llmframe._errors import counted, plain_repr, short

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    import numpy.typing as npt

_LARGEST_INT = 2**63
_SHOWN_VALUES = 3


def kept_values(
    existing: pd.Series,
    stays: npt.NDArray[np.bool_],
    dtype: Any,
    *,
    takes: Callable[[Any], bool],
    mixes: bool,
    argument: str,
) -> pd.Series:
    """Return the cells of a column that stay, in the dtype that it will have; the others are missing.

    Parameters
    ----------
    takes
        Whether a value that has the dtype's type is one of the column's, such as one of its labels.
    mixes
        Whether values that do not fit stay as they are, in a column of objects.
    argument
        The verb's argument that names the column.

    Raises
    ------
    ValueError
        When values do not fit, without `mixes`; it shows three.
    """
    read = _reader(dtype)
    positions = np.flatnonzero(stays & existing.notna().to_numpy()).tolist()
    present = existing.iloc[positions].tolist()
    values = [read(value) for value in present]
    misfits = [value for value, made in zip(present, values, strict=True) if made is None or not takes(made)]
    if misfits and not mixes:
        raise ValueError(_misfit_message(existing.name, dtype, misfits, argument))
    kept: list[Any] = [None] * len(existing)
    for position, value in zip(positions, present if misfits else values, strict=True):
        kept[position] = value
    made: pd.Series = pd.Series(kept, index=existing.index, dtype=object if misfits else dtype)
    return made


def _reader(dtype: Any) -> Callable[[Any], Any]:
    """Return what converts a value to a dtype's type; it gives `None` for a value that does not fit."""
    if isinstance(dtype, pd.CategoricalDtype):
        labels = {label: label for label in dtype.categories}
        return lambda value: labels.get(value) if isinstance(value, str) else None
    if isinstance(dtype, pd.StringDtype):
        return lambda value: str(value) if isinstance(value, str) else None
    if dtype.kind == "M":
        aware = isinstance(dtype, pd.DatetimeTZDtype)
        return lambda value: _moment(value, aware=aware)
    return {"b": _truth, "i": _whole, "f": _number}.get(dtype.kind, lambda value: value)


def _truth(value: Any) -> bool | None:
    return bool(value) if isinstance(value, bool | np.bool_) else None


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    exact = np.isfinite(value) and value == int(value) and -_LARGEST_INT <= int(value) < _LARGEST_INT
    return int(value) if exact else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if number == value else None


def _moment(value: Any, *, aware: bool) -> pd.Timestamp | None:
    if not isinstance(value, date | np.datetime64):
        return None
    moment = pd.Timestamp(value)
    if (moment.tzinfo is not None) != aware or moment.nanosecond:
        return None
    return (moment.tz_convert("UTC") if aware else moment).as_unit("us")


def _misfit_message(name: Hashable, dtype: Any, misfits: list[Any], argument: str) -> str:
    shown = ", ".join(dict.fromkeys(short(plain_repr(value), 40) for value in misfits[:_SHOWN_VALUES]))
    more = f" and {len(misfits) - _SHOWN_VALUES:,} more" if len(misfits) > _SHOWN_VALUES else ""
    return (
        f"{argument}: the column {plain_repr(name)} is to hold {_described(dtype)}, and {counted(len(misfits), 'value')} that would stay in it "
        f"{'does' if len(misfits) == 1 else 'do'} not fit: {shown}{more}; correct or empty {'this cell' if len(misfits) == 1 else 'these cells'}, "
        f"write elsewhere with {argument}=, or pass overwrite=True without where= to replace the whole column"
    )


def _described(dtype: Any) -> str:
    if isinstance(dtype, pd.CategoricalDtype):
        return f"only {short(', '.join(map(repr, dtype.categories)), 120)}"
    if isinstance(dtype, pd.StringDtype):
        return "text"
    return "what its field says" if dtype.kind == "O" else f"what its field says, as {dtype}"
