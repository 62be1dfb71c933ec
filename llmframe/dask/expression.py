"""The expression of a verb over a Dask frame: its columns beside the frame's, asked only where they are read."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from dask.dataframe.dask_expr import new_collection
from dask.dataframe.dask_expr._expr import Elemwise, Index, Projection, determine_column_projection
from dask.dataframe.dask_expr._indexing import LocBase

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import pandas as pd

    from llmframe.dask.partitions import PartitionCall


def answered(frame: Any, call: PartitionCall, where: Any) -> Any:
    """Return the Dask frame with a call's columns.

    Parameters
    ----------
    where
        A Dask Series of the frame's partitions, or `None`.
    """
    return new_collection(Answered(frame, call, where))


class Answered(Elemwise):  # type: ignore[misc]  # Dask has no types
    """A frame with the columns of a call.

    Dask's own `Assign` keeps its columns where a projection asks for exactly the frame's other ones, which would send
    (and bill) requests whose answers nobody reads.
    """

    _parameters = ("frame", "call", "where")
    _defaults = {"where": None}  # noqa: RUF012 (as Dask's expressions have it)

    @staticmethod
    def operation(frame: pd.DataFrame, call: PartitionCall, where: pd.Series | None = None) -> pd.DataFrame:
        return call.answered(frame, where)

    @cached_property
    def _meta(self) -> pd.DataFrame:
        call: PartitionCall = self.call
        return call.written(self.frame._meta, call.columns)  # noqa: SLF001 (as expressions read each other)

    def _simplify_up(self, parent: Any, dependents: Any) -> Any:
        if isinstance(parent, Index):
            return Index(self.frame)
        if isinstance(parent, LocBase) and parent.operand("cindexer") is not None:
            columns = _as_list(parent.operand("cindexer"))
            known = [name for name in columns if name in self.columns]
            if known == columns and columns != list(self.columns):
                return type(parent)(Projection(self, columns), *parent.operands[1:])
        if not isinstance(parent, Projection):
            return super()._simplify_up(parent, dependents)
        writes, reads = self.call.columns.columns, self.call.reads
        if not set(parent.columns) & set(writes):
            return type(parent)(self.frame, *parent.operands[1:])
        wanted = _as_list(determine_column_projection(self, parent, dependents))
        kept = [
            name for name in self.frame.columns if name in reads or (name in wanted and name not in writes)
        ]
        if len(kept) == len(self.frame.columns):
            return None
        narrow = type(self)(self.frame[kept], *self.operands[1:])
        return type(parent)(narrow, *parent.operands[1:])


def _as_list(columns: Any) -> Sequence[Hashable]:
    return list(columns) if isinstance(columns, list) else [columns]
