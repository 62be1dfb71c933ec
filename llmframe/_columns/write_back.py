"""From values back to columns of a frame, by position: which column may be written, and how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from llmframe._columns.prompts import listed
from llmframe._columns.templates import label_text
from llmframe._errors import counted, plain_repr

if TYPE_CHECKING:
    import numpy.typing as npt

    from llmframe._values import AnswerKind

Overwrite: TypeAlias = Literal["missing"] | bool

_HASHED_ROWS = 50_000
"""This many rows are hashed at a time: pandas collects their distinct values, which takes memory."""


def fingerprint(column: pd.Series) -> str:
    """Hash a column's values in their order, to detect later changes."""
    digest = blake2b(digest_size=12)
    for start in range(0, len(column), _HASHED_ROWS):
        digest.update(_hashes(column.iloc[start : start + _HASHED_ROWS]).tobytes())
    return digest.hexdigest()


def _hashes(column: pd.Series) -> npt.NDArray[np.uint64]:
    try:
        return np.asarray(pd.util.hash_pandas_object(column, index=False))
    except (TypeError, UnicodeEncodeError):  # lists, dicts, lone surrogates
        return _hashes(pd.Series(map(repr, column.tolist()), dtype=object))


def full_label(frame: pd.DataFrame, name: Hashable, argument: str) -> Hashable:
    """Return the full label of a name: with multi-level columns, padded as pandas does."""
    truth = isinstance(name, bool) and argument != "column"  # such as error_into=True
    # Slices are hashable from Python 3.12 on.
    if truth or isinstance(name, slice) or not isinstance(name, Hashable):
        shown = type(name).__name__ if isinstance(name, pd.Series | pd.DataFrame | np.ndarray) else repr(name)
        raise TypeError(
            f"{argument} must be one column's name; got {shown}; to read several columns, name them in prompt='{{title}}: {{body}}'"
        )
    levels = frame.columns.nlevels
    if levels == 1 or isinstance(name, tuple):
        return name
    return (name, *[""] * (levels - 1))


def occurrences(frame: pd.DataFrame) -> Counter[Hashable]:
    """Count the columns by label."""
    return Counter(frame.columns.tolist())


@dataclass(frozen=True)
class TargetColumn:
    """The column that a verb writes, checked before anything is sent.

    Attributes
    ----------
    selected : bool array or None
        The rows that are sent, by `where=` and `overwrite="missing"`.
    existing : Series or None
        The column's present values.
    own_record : dict
        The record in `df.attrs` that shows that llmframe wrote the column; empty otherwise.
    """

    into: Hashable
    overwrite: Overwrite
    selected: npt.NDArray[np.bool_] | None
    existing: pd.Series | None
    own_record: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        into: Hashable,
        overwrite: Overwrite,
        where: Any,
        written_by: dict[str, str],
        *,
        argument: str = "into",
    ) -> TargetColumn:
        """Check the target; `written_by` is the verb and model that may write it again."""
        if not (overwrite is True or overwrite is False or overwrite == "missing"):
            raise ValueError(f"overwrite must be False, True or 'missing'; got {overwrite!r}")
        existing = _existing(frame, into, argument)
        record = recorded(frame, into)
        own_record = record if existing is not None and is_ours(record, existing, written_by) else {}
        if existing is not None and overwrite is False and not own_record:
            raise ValueError(
                f"{argument}: the column {plain_repr(into)} is already there and llmframe did not write it like this; write elsewhere with {argument}=, "
                "or pass overwrite=True to replace it or overwrite='missing' to fill its missing cells"
            )
        selected = row_mask(where, frame.index)
        if overwrite == "missing" and existing is not None:
            empty = existing.isna().to_numpy()
            selected = empty if selected is None else selected & empty
        return cls(into, overwrite, selected, existing, own_record)

    @property
    def open_to_partial(self) -> bool:
        """Whether an interrupted run may write its answers."""
        if self.existing is None or self.overwrite == "missing":
            return True
        return bool(self.own_record) and not self.own_record.get("complete", False)

    def changed(self, frame: pd.DataFrame) -> bool:
        """Return whether the column has changed since it was checked."""
        now = frame[self.into] if occurrences(frame)[self.into] else None
        if now is None or self.existing is None:
            return now is not self.existing
        return not now.equals(self.existing)

    def merged(self, made: pd.Series, kind: AnswerKind) -> pd.Series:
        """Return the whole column: new values for the selected rows, existing values elsewhere."""
        if self.selected is None or self.existing is None:
            return made
        selected, existing = self.selected.tolist(), self.existing.tolist()
        merged = [new if chosen else old for chosen, new, old in zip(selected, made, existing, strict=True)]
        continued = self.selected.all() or kind.continues(self.existing)
        return pd.Series(merged, index=made.index, dtype=made.dtype if continued else object, name=self.into)


@dataclass(frozen=True)
class TargetColumns:
    """The columns that a call writes.

    Attributes
    ----------
    selected : bool array or None
        The rows that are sent: with `overwrite="missing"` those where any of the columns is missing.
    """

    columns: Sequence[TargetColumn]
    selected: npt.NDArray[np.bool_] | None

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        names: Sequence[Hashable],
        overwrite: Overwrite,
        where: Any,
        written_by: dict[str, str],
        *,
        argument: str,
    ) -> TargetColumns:
        """Check the targets; `written_by` is the verb and model that may write them again."""
        columns = [
            TargetColumn.of(frame, name, overwrite, where, written_by, argument=argument) for name in names
        ]
        selections = [column.selected for column in columns]
        if any(selected is None for selected in selections):
            return cls(columns, None)
        return cls(columns, np.logical_or.reduce(selections))  # type: ignore[arg-type]

    def reasons(
        self, frame: pd.DataFrame, error_into: Hashable, written_by: dict[str, str], argument: str
    ) -> TargetColumn:
        """Check the column for the reasons, which is written for all rows that are sent.

        An old reason beside a newer answer would be wrong. `overwrite="missing"` therefore does not apply to
        reasons; with it, the column must be one that llmframe wrote, with any model.
        """
        for column in self.columns:
            if error_into == column.into:
                raise ValueError(
                    f"error_into and {argument} are both {plain_repr(error_into)}; give the reasons a column of their own"
                )
        filling = self.columns[0].overwrite == "missing"
        written_by = {"verb": "reasons"} if filling else {**written_by, "verb": "reasons"}
        overwrite = False if filling else self.columns[0].overwrite
        target = TargetColumn.of(frame, error_into, overwrite, None, written_by, argument="error_into")
        return replace(target, selected=self.selected)


def _existing(frame: pd.DataFrame, name: Hashable, argument: str) -> pd.Series | None:
    count = occurrences(frame)[name]
    if count > 1:
        raise ValueError(
            f"{argument}: there are several columns named {plain_repr(name)}; rename them, or write elsewhere with {argument}="
        )
    if count:
        return frame[name]
    try:
        frame.columns.insert(len(frame.columns), name)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{argument}: the frame cannot take a column named {plain_repr(name)}: {error}"
        ) from error
    return None


def row_mask(where: Any, index: pd.Index) -> npt.NDArray[np.bool_] | None:
    """Check `where=`: a boolean mask with a value for each row, by position."""
    if where is None:
        return None
    if isinstance(where, pd.Series) and len(where) == len(index) and not where.index.equals(index):
        raise ValueError(
            "where: the mask's index is not the frame's; build it from the frame itself, or pass an array"
        )
    expected = "where must be a boolean mask, such as df['stars'] < 3"
    if isinstance(where, Mapping) or np.ndim(where if isinstance(where, np.ndarray) else ()) != 1:
        raise TypeError(f"{expected}; got a {type(where).__name__}")
    values = pd.Series(where if isinstance(where, pd.Series | np.ndarray) else listed(where, expected))
    if len(values) != len(index):
        raise ValueError(
            f"where: the mask has {counted(len(values), 'value')} for {counted(len(index), 'row')}"
        )
    values = values.convert_dtypes() if values.dtype == object else values
    if len(values) and not pd.api.types.is_bool_dtype(values.dtype):
        raise TypeError(f"{expected}; got {values.dtype}")
    return values.fillna(value=False).to_numpy(dtype=bool)


def recorded(frame: pd.DataFrame, column: Hashable) -> dict[str, Any]:
    """Read llmframe's record about a column in `df.attrs`."""
    records = frame.attrs.get("llmframe")
    record = records.get(label_text(column)) if isinstance(records, dict) else None
    return record if isinstance(record, dict) else {}


def is_ours(record: dict[str, Any], column: pd.Series, written_by: dict[str, str]) -> bool:
    """Return whether the values are still exactly those that the same verb and model wrote."""
    if not record or any(record.get(name) != value for name, value in written_by.items()):
        return False
    return record.get("fingerprint") == fingerprint(column)


def put_column(frame: pd.DataFrame, column: pd.Series, record: dict[str, Any]) -> None:
    """Write a column into the frame, with its record."""
    frame[column.name] = column.array
    records = frame.attrs.get("llmframe")
    others = dict(records) if isinstance(records, dict) else {}
    frame.attrs["llmframe"] = {
        **others,
        label_text(column.name): {**record, "fingerprint": fingerprint(column)},
    }
