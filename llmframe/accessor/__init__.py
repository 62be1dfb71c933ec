"""The verbs: `df.llm`, `series.llm` and `llmframe.complete`.

Accessors are stateless; pandas creates a new one at every access. The first call imports the rooms that it uses, so
that `import llmframe` takes little time beside pandas.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, overload

import pandas as pd

from llmframe.accessor.files import classify_file, complete_file, extract_file
from llmframe.accessor.frame import DataFrameLLM
from llmframe.accessor.lists import aask, aclassify, acomplete, aextract, ask, classify, complete, extract
from llmframe.accessor.series import SeriesLLM

if TYPE_CHECKING:
    from llmframe.accessor.types import Labels as Labels
    from llmframe.accessor.types import Rows as Rows
    from llmframe.accessor.types import Schema as Schema

__all__ = [
    "DataFrameLLM",
    "SeriesLLM",
    "aask",
    "aclassify",
    "acomplete",
    "aextract",
    "ask",
    "classify",
    "classify_file",
    "complete",
    "complete_file",
    "extract",
    "extract_file",
    "llm",
]


@overload
def llm(data: pd.DataFrame) -> DataFrameLLM: ...
@overload
def llm(data: pd.Series) -> SeriesLLM: ...
def llm(data: pd.DataFrame | pd.Series) -> DataFrameLLM | SeriesLLM:
    """Return what `data.llm` is, in a way that editors and type checkers know, and whoever else has taken that name.

    A type checker cannot know what pandas registers: to it `df.llm` is unknown, and so is what follows.

    Parameters
    ----------
    data : DataFrame or Series

    Examples
    --------
    >>> import llmframe, pandas as pd
    >>> llmframe.llm(pd.Series(["a"])).complete.__name__
    'complete'
    """
    if isinstance(data, pd.DataFrame):
        return DataFrameLLM(data)
    if isinstance(data, pd.Series):
        return SeriesLLM(data)
    raise TypeError(
        f"data must be a DataFrame or a Series; got a {type(data).__name__}: for prompts in a list write llmframe.complete(prompts)"
    )


def _register() -> None:
    """Register the accessors with pandas, except where another package's has the name already."""
    registered = (
        (pd.DataFrame, DataFrameLLM, pd.api.extensions.register_dataframe_accessor),
        (pd.Series, SeriesLLM, pd.api.extensions.register_series_accessor),
    )
    for kind, accessor, register in registered:
        theirs = getattr(kind, "llm", None)
        if theirs is None:
            register("llm")(accessor)
        elif not theirs.__module__.startswith(f"{__name__}."):
            warnings.warn(
                f"{theirs.__module__} has taken {kind.__name__}.llm; llmframe's is llmframe.llm(…)",
                stacklevel=4,  # the line that imports llmframe
            )


_register()
