"""What is read from a file: a frame for the verbs, and what is needed to write its other columns as they were."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    import numpy.typing as npt


class Rows(Protocol):
    """The rows of a file in the file's own form."""

    def only(self, chosen: npt.NDArray[np.bool_]) -> Rows:
        """Return the chosen ones."""
        ...


@dataclass(frozen=True)
class TextStyle:
    r"""How text is read or written.

    Attributes
    ----------
    sep : str or None
        What separates the cells of CSV and TSV; `None`: it is found, or the format's own.
    encoding : str or None
        The encoding; `None`: it is found.
    """

    sep: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class ChunkSize:
    """How much of a file is read at a time: at most so many rows, and about so many bytes.

    Attributes
    ----------
    only : set of str or None
        The columns that the tables have, which can then not be written; `None`: all. A file is read to its end all the same.
    """

    rows: int
    size: int
    only: frozenset[str] | None = None

    def wants(self, column: object) -> bool:
        """Return whether the tables have a column."""
        return self.only is None or str(column) in self.only


WHOLE = ChunkSize(sys.maxsize, sys.maxsize)
"""A file is one chunk."""


class TableWriter(Protocol):
    """Writes a file table by table; the tables have the same columns."""

    def add(self, table: Table) -> None:
        """Write the rows of a table after those before."""
        ...

    def close(self) -> None:
        """Write what the end of a file needs; the file stays open."""
        ...


@dataclass(frozen=True)
class Table:
    """The rows of a file, or of a chunk of it, which its frame's index numbers in the file.

    Attributes
    ----------
    frame : DataFrame
        The columns under distinct names, first those of the file in its order; verbs write into it.
    names : sequence of str
        The names of the file's columns as they are there: empty and duplicate ones too.
    sep : str or None
        What separated the cells.
    rows : Rows or None
        The file's own form of its rows, where a frame is not all of it.
    changed : set of str
        The columns of the frame that are not the file's own any more.
    """

    frame: pd.DataFrame
    names: Sequence[str]
    sep: str | None = None
    rows: Rows | None = None
    changed: frozenset[str] = frozenset()

    def duplicates(self) -> dict[str, list[str]]:
        """Map the names of several columns to what these are called in the frame."""
        called: dict[str, list[str]] = {}
        for name, label in zip(self.names, self.frame.columns, strict=False):
            called.setdefault(name, []).append(str(label))
        return {name: labels for name, labels in called.items() if len(labels) > 1}

    def all_names(self) -> list[str]:
        """Return the names to write: the file's, and those of new columns."""
        return [*self.names, *map(str, self.frame.columns[len(self.names) :])]

    def with_names(self, names: Sequence[str]) -> Table:
        """Return the table with these columns, those of the whole file; what the rows have not is missing."""
        if list(names) == list(self.names):
            return self
        missing = pd.Series([None] * len(self.frame), index=self.frame.index, dtype=object)
        columns = {name: self.frame.get(name, missing) for name in names}
        frame = pd.DataFrame(columns, index=self.frame.index, columns=pd.Index(list(names), dtype=object))
        return replace(self, frame=frame, names=names)

    def only(self, chosen: npt.NDArray[np.bool_]) -> Table:
        """Return some of the rows."""
        rows = None if self.rows is None else self.rows.only(chosen)
        return replace(self, frame=self.frame[chosen], rows=rows)


def distinct(names: Iterable[str]) -> list[str]:
    """Make names distinct as pandas does: `a`, `a.1`."""
    found: list[str] = []
    counts: Counter[str] = Counter()
    for name in names:
        label = name
        while label in found:
            counts[name] += 1
            label = f"{name}.{counts[name]}"
        found.append(label)
    return found
