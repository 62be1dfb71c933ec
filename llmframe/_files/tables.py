"""What is read from a file: a frame for the verbs, and what is needed to write its other columns as they were."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    import numpy.typing as npt
    import pandas as pd


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
class Table:
    """The rows of a file.

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
