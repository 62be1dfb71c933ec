"""The columns that a call writes: which of their cells, and what stays in the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from llmframe._columns.prompts import listed
from llmframe._columns.text_answers import TEXT
from llmframe._columns.write_back.kept_values import kept_values
from llmframe._columns.write_back.records import is_ours, recorded
from llmframe._errors import counted, plain_repr

if TYPE_CHECKING:
    import numpy.typing as npt

    from llmframe._values import AnswerKind

Overwrite: TypeAlias = Literal["missing"] | bool


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
    """A column that a verb writes, checked before anything is sent.

    Attributes
    ----------
    existing : Series or None
        The column's present values.
    own_record : dict
        The entry in `df.attrs` that shows that llmframe wrote the column; empty otherwise.
    written : bool array or None
        The cells that are written; `None` means all.
    kept : Series or None
        Its other cells, in the dtype that the column will have; `None` where it is new or written as a whole.
    """

    into: Hashable
    overwrite: Overwrite
    existing: pd.Series | None
    own_record: dict[str, Any]
    written: npt.NDArray[np.bool_] | None
    kept: pd.Series | None

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

    def merged(self, made: pd.Series) -> pd.Series:
        """Return the whole column, in the kept cells' dtype: new values in the written cells, the kept ones elsewhere."""
        if self.written is None:
            return made
        kept = pd.Series([None] * len(made), dtype=made.dtype) if self.kept is None else self.kept
        values, others = made.astype(kept.dtype).array.copy(), ~self.written
        values[others] = kept.array[others]
        return pd.Series(values, index=made.index, name=self.into)


@dataclass(frozen=True)
class TargetColumns:
    """The columns that a call writes.

    Attributes
    ----------
    companions : mapping
        The columns that belong to others, as `AnswerKind.companions` has them.
    selected : bool array or None
        The rows that are sent: with `overwrite="missing"` those where any value's cell is missing.
    """

    columns: Sequence[TargetColumn]
    companions: Mapping[int, Sequence[int]]
    selected: npt.NDArray[np.bool_] | None

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        names: Sequence[Hashable],
        overwrite: Overwrite,
        where: Any,
        written_by: Mapping[str, str],
        *,
        argument: str,
        kind: AnswerKind,
    ) -> TargetColumns:
        """Check the targets; `written_by` is the verb and model that may write them again.

        Raises
        ------
        ValueError
            For columns that may not be written, all in one, and for existing values that would stay and do not fit.
        """
        found = _found(frame, names, overwrite, written_by, argument)
        written = _written(found, row_mask(where, frame.index), overwrite, kind.companions)
        columns = _targets(found, written, overwrite, kind, argument)
        values = [cells for number, cells in enumerate(written) if number not in kind.companions]
        return cls(columns, kind.companions, _any(values))

    @property
    def kept_rows(self) -> npt.NDArray[np.bool_] | None:
        """The rows in which a value's cell keeps what it holds; `None`: there is none."""
        kept = [
            column.kept.notna().to_numpy()
            for number, column in enumerate(self.columns)
            if column.kept is not None and number not in self.companions
        ]
        rows = np.logical_or.reduce(kept) if kept else None
        return rows if rows is not None and rows.any() else None

    def open(self, *, complete: bool) -> list[bool]:
        """Return which columns are written: all by a complete run; otherwise no complete one, and no companion of such alone."""
        columns = [complete or column.open_to_partial for column in self.columns]
        return [
            writes and (number not in self.companions or any(columns[of] for of in self.companions[number]))
            for number, writes in enumerate(columns)
        ]

    def reasons(
        self, frame: pd.DataFrame, error_into: Hashable, written_by: Mapping[str, str], argument: str
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
        found = _found(frame, [error_into], overwrite, written_by, "error_into")
        (target,) = _targets(found, [self.selected], overwrite, TEXT, "error_into")
        return target


class _Found(NamedTuple):
    """What a frame has under a target's name."""

    name: Hashable
    existing: pd.Series | None
    own_record: dict[str, Any]


def _found(
    frame: pd.DataFrame,
    names: Sequence[Hashable],
    overwrite: Overwrite,
    written_by: Mapping[str, str],
    argument: str,
) -> list[_Found]:
    """Look the targets up; one error names all that may not be written."""
    if not (overwrite is True or overwrite is False or overwrite == "missing"):
        raise ValueError(f"overwrite must be False, True or 'missing'; got {overwrite!r}")
    found = []
    for name in names:
        existing, record = _existing(frame, name, argument), recorded(frame, name)
        ours = existing is not None and is_ours(record, existing, written_by)
        found.append(_Found(name, existing, record if ours else {}))
    taken = [each.name for each in found if each.existing is not None and not each.own_record]
    if taken and overwrite is False:
        raise ValueError(_taken_message(taken, argument))
    return found


def _taken_message(taken: Sequence[Hashable], argument: str) -> str:
    one = len(taken) == 1
    columns = f"the column{'' if one else 's'} {', '.join(map(plain_repr, taken))}"
    it, its = ("it", "its") if one else ("them", "their")
    return (
        f"{argument}: {columns} {'is' if one else 'are'} already there and llmframe did not write {it} like this; write elsewhere with {argument}=, "
        f"or pass overwrite=True to replace {it} or overwrite='missing' to fill {its} missing cells"
    )


def _written(
    found: Sequence[_Found],
    mask: npt.NDArray[np.bool_] | None,
    overwrite: Overwrite,
    companions: Mapping[int, Sequence[int]],
) -> list[npt.NDArray[np.bool_] | None]:
    """Return the cells of each column that are written; a companion's are those of its values."""
    cells = [mask] * len(found)
    for number, each in enumerate(found):
        if overwrite == "missing" and each.existing is not None:
            missing = each.existing.isna().to_numpy()
            cells[number] = missing if mask is None else mask & missing
    return [
        _any([cells[value] for value in companions[number]]) if number in companions else own
        for number, own in enumerate(cells)
    ]


def _any(cells: Sequence[npt.NDArray[np.bool_] | None]) -> npt.NDArray[np.bool_] | None:
    """Return where any of these is chosen; `None` means everywhere."""
    chosen = [each for each in cells if each is not None]
    return None if len(chosen) < len(cells) else np.logical_or.reduce(chosen)


def _targets(
    found: Sequence[_Found],
    written: Sequence[npt.NDArray[np.bool_] | None],
    overwrite: Overwrite,
    kind: AnswerKind,
    argument: str,
) -> list[TargetColumn]:
    """Make the targets, with what stays in them converted to the dtypes that the kind's columns have."""
    names = [each.name for each in found]
    made = kind.columns(
        kind.storage(0, lambda _: iter(())), np.array([-1], dtype=np.int32), pd.RangeIndex(1), names
    )
    targets = []
    for number, ((name, existing, own_record), cells) in enumerate(zip(found, written, strict=True)):
        kept = None
        if existing is not None and cells is not None:
            kept = kept_values(
                existing,
                ~cells,
                made[number].dtype,
                takes=partial(kind.takes, number),
                mixes=kind.mixes,
                argument=argument,
            )
        targets.append(TargetColumn(name, overwrite, existing, own_record, cells, kept))
    return targets


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
