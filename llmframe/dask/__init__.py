"""The verbs over Dask's frames, which are larger than one memory: `ddf.llm` and `series.llm`."""

from __future__ import annotations

from dask.dataframe.extensions import register_dataframe_accessor, register_series_accessor

from llmframe.dask.accessors import DaskFrameLLM, DaskSeriesLLM

__all__ = ["DaskFrameLLM", "DaskSeriesLLM"]

register_dataframe_accessor("llm")(DaskFrameLLM)
register_series_accessor("llm")(DaskSeriesLLM)
