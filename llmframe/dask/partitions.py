"""A verb's call as it travels to the partitions, with the client's settings, and what each partition makes of it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, Literal

from llmframe import _verbs
from llmframe._errors import StoppedError
from llmframe._options import option_context
from llmframe._run import wait_for
from llmframe.dask.cancellation import until_unwanted
from llmframe.dask.computations import Cancellable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    import pandas as pd

    from llmframe._journal import Place
    from llmframe._keywords import Key
    from llmframe.dask.wanted import Wanted

_AT_ONCE = 4
"""Partitions of a process that are asked at once: the last rows of one leave while the next one begins, and few are held in memory."""

_slots = BoundedSemaphore(_AT_ONCE)


def _after_fork_in_child() -> None:
    global _slots  # noqa: PLW0603 (the parent's partitions hold some of its own)
    _slots = BoundedSemaphore(_AT_ONCE)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


@dataclass(frozen=True, repr=False)
class TravellingKey:
    """An API key that goes to the workers, and into no message and no name."""

    value: Key | None

    def __repr__(self) -> str:
        return "'…'"


@dataclass(frozen=True, kw_only=True, eq=False)
class PartitionCall(Cancellable):
    """A verb's call over each partition of a Dask frame.

    Parameters
    ----------
    verb
        The verb's name.
    make
        The verb over a frame or a Series, as `_verbs` has it.
    arguments, own
        The keywords of all verbs and the verb's own ones.
    reads
        The columns that a partition needs.
    columns
        What is written, without rows.
    text
        Of a Series verb the column that is the Series, and the Series' name.
    settings
        The client's settings.
    key
        The key, where it is not the environment's.
    """

    verb: str
    make: Callable[..., _verbs.FrameCall | _verbs.SeriesCall]
    arguments: Mapping[str, Any]
    own: Mapping[str, Any]
    reads: Sequence[Hashable]
    columns: pd.DataFrame
    text: tuple[Hashable, Hashable] | None
    settings: option_context
    mode: Literal["live", "batch", "offline"]
    key: TravellingKey
    journal: Place
    """Where the answers are kept. A database's address travels whole, with its password, which no text shows."""

    @property
    def file_journal(self) -> bool:
        """Whether the answers are kept in a file, which processes of one machine share."""
        return isinstance(self.journal, Path)

    def __repr__(self) -> str:
        return f"<llmframe {self.verb}: {', '.join(map(str, self.columns.columns))}>"

    def __dask_tokenize__(self) -> str:
        return self.name

    def answered(self, part: pd.DataFrame, where: pd.Series | None) -> pd.DataFrame:
        """Return a partition with the call's columns, for each of whose rows there is an answer or a reason."""
        with self.in_force():
            if not len(part):
                result = _verbs.without_rows(self.over(part, where))
            else:
                with until_unwanted(self, _slots, one_machine=self.file_journal) as wanted:
                    result = self._asked(part, where, wanted)
        return self.written(part, self._columns_of(result))

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Have the client's settings in a block."""
        own = option_context(mode=self.mode, api_key=self.key.value, journal=self.journal)
        with self.settings, own:
            yield

    def _asked(self, part: pd.DataFrame, where: pd.Series | None, wanted: Wanted) -> Any:
        run = _verbs.run_or_return(self.over(part, where), wait=False)
        with wanted.ending(run.cancel):
            wait_for(run)
        if run.status != "interrupted":
            return run.result()
        if wanted.is_wanted_again():
            return self._asked(part, where, wanted)
        raise StoppedError(f"the partition is no longer wanted: {run!r}", code="cancelled")

    def over(self, part: pd.DataFrame, where: pd.Series | None) -> _verbs.FrameCall | _verbs.SeriesCall:
        """Return the call over some rows."""
        if self.text is not None:
            column, name = self.text
            series = part[column]
            series.name = name
            return self.make(series, self.arguments, **self.own, where=where)
        cells = part[list(self.reads)].copy(deep=False)
        cells.attrs = {}
        return self.make(cells, self.arguments, **self.own, where=where, overwrite=True)

    def _columns_of(self, result: Any) -> pd.DataFrame:
        frame: pd.DataFrame = result.to_frame() if result.ndim == 1 else result
        return frame[list(self.columns.columns)]

    @staticmethod
    def written(part: pd.DataFrame, columns: pd.DataFrame) -> pd.DataFrame:
        """Return a copy of a partition with these columns."""
        part = part.copy(deep=False)
        for name in columns:
            part[name] = columns[name].array
        part.attrs = {}
        return part
