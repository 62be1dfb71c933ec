"""The verbs over Dask's frames and Series, for data that does not fit one memory: `ddf.llm` and `series.llm`.

They are lazy: requests are sent when the columns that a verb adds are computed, on whichever scheduler. Settings are
those of the client when the call is written. A key of the workers' environment stays there; one that was set in Python
travels with the graph.

Spark and Ray need no package: a function of pandas frames does, with its settings as an argument. On one machine a
journal in a file is shared by all of its processes, so that nothing is paid twice. `frame` is a Spark frame here::

    import llmframe

    settings = llmframe.option_context(model="gpt-6-luna", errors="coerce", progress=False)

    def answered(parts, settings=settings):
        import llmframe  # the worker's

        for part in parts:
            with settings:
                yield part.llm.complete("review", "In one word: {review}", into="answer")

    answers = frame.mapInPandas(answered, "review string, answer string")

`dataset` is one of Ray's, whose batches should have thousands of rows::

    import llmframe

    settings = llmframe.option_context(model="gpt-6-luna", errors="coerce", progress=False)

    def answered(part, settings=settings):
        import llmframe  # the worker's

        with settings:
            return part.copy().llm.complete("review", "In one word: {review}", into="answer")

    answers = dataset.map_batches(answered, batch_format="pandas", batch_size=10_000)
"""

from __future__ import annotations

from dask.dataframe.extensions import register_dataframe_accessor, register_series_accessor

from llmframe.dask.accessors import DaskFrameLLM, DaskSeriesLLM

__all__ = ["DaskFrameLLM", "DaskSeriesLLM"]

register_dataframe_accessor("llm")(DaskFrameLLM)
register_series_accessor("llm")(DaskSeriesLLM)
