"""`ddf.llm` and `series.llm` of Dask: the verbs with pandas' keywords, lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmframe._keywords import AskKeywords, ClassifyKeywords, CompletionKeywords, ExtractKeywords, takes
from llmframe.dask.calls import lazy_frame, lazy_series

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from typing import Unpack

    import dask.dataframe as dd

    from llmframe._columns import Prompt
    from llmframe.accessor import Labels, Rows, Schema


class DaskFrameLLM:
    """Run an LLM over a column of a Dask frame: `ddf.llm`, after `import llmframe.dask`.

    Each verb returns another lazy frame and leaves this one as it is. Requests are sent when the columns that the verb
    adds are computed, for the partitions that are computed; the journal keeps the answers, so that computing again asks
    nothing twice.
    """

    def __init__(self, frame: dd.DataFrame) -> None:
        self._frame = frame

    @takes(CompletionKeywords)
    def complete(
        self,
        column: Hashable | None = None,
        prompt: Prompt = None,
        *,
        into: Hashable | None = None,
        where: dd.Series | None = None,
        overwrite: bool = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        **settings: Unpack[CompletionKeywords],
    ) -> dd.DataFrame:
        """Answer every row in a new column, when it is computed.

        Parameters
        ----------
        column, prompt, into, error_into, raw, usage
            As of pandas' `df.llm.complete`. A function as `prompt` reads all columns.
        where : boolean mask, optional
            The rows to send, as a Series of this frame: `ddf["stars"] < 3`.
        overwrite : bool
            Whether a column that is there already is replaced.
        **settings

        Returns
        -------
        dask DataFrame
            This frame with the column, lazily: index, divisions and dtypes are known. The settings are those of now. With
            `mode="batch"` the call itself submits all rows and waits; the frame then reads the answers from the journal.

        Raises
        ------
        CompletionError
            By `compute()`, when rows of a partition failed; its other rows are in the journal, and partitions that had not
            begun were not asked. Computing again goes on.
        KeyError, TypeError, ValueError
            For invalid arguments, at once; also for `max_cost`, `client` and `dedupe=False`, with what to write instead.

        Examples
        --------
        >>> import dask.dataframe as dd, llmframe, llmframe.dask, pandas as pd
        >>> from llmframe.testing import LocalServer
        >>> ddf = dd.from_pandas(pd.DataFrame({"review": ["Works well.", None]}), npartitions=2)
        >>> with LocalServer() as server, llmframe.option_context(
        ...     base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False
        ... ):
        ...     answers = ddf.llm.complete("review", "Translate to French.", into="french").compute()
        >>> answers["french"].notna().tolist()
        [True, False]
        """
        own: dict[str, Any] = {"column": column, "prompt": prompt, "into": into, "error_into": error_into}
        own |= {"raw": raw, "usage": usage}
        return lazy_frame("complete", self._frame, settings, own, where=where, overwrite=overwrite)

    @takes(ExtractKeywords)
    def extract(
        self,
        column: Hashable | None,
        schema: Schema,
        prompt: Prompt = None,
        *,
        prefix: str | None = None,
        quotes: bool = False,
        examples: Rows | None = None,
        reask: int = 1,
        where: dd.Series | None = None,
        overwrite: bool = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        **settings: Unpack[ExtractKeywords],
    ) -> dd.DataFrame:
        """Read typed values out of every row, one column for each field, when they are computed.

        Parameters
        ----------
        column, schema, prompt, prefix, quotes, examples, reask, error_into, raw, usage
            As of pandas' `df.llm.extract`.
        where, overwrite
            As of `complete`.
        **settings

        Returns
        -------
        dask DataFrame
            This frame with the columns, lazily, each in its field's dtype.

        Raises
        ------
        CompletionError, KeyError, TypeError, ValueError
            As of `complete`.

        Examples
        --------
        >>> import dask.dataframe as dd, llmframe, llmframe.dask, pandas as pd
        >>> ddf = dd.from_pandas(pd.DataFrame({"review": ["It lasts five hours."]}), npartitions=1)
        >>> typed = ddf.llm.extract("review", {"battery_hours": float}, model="gpt-6-luna")
        >>> str(typed["battery_hours"].dtype)
        'float64'
        """
        own: dict[str, Any] = {
            "column": column,
            "schema": schema,
            "prompt": prompt,
            "prefix": prefix,
            "quotes": quotes,
        }
        own |= {"examples": examples, "reask": reask, "error_into": error_into, "raw": raw, "usage": usage}
        return lazy_frame("extract", self._frame, settings, own, where=where, overwrite=overwrite)

    @takes(ClassifyKeywords)
    def classify(
        self,
        column: Hashable | None,
        labels: Labels,
        prompt: Prompt = None,
        *,
        multi: bool = False,
        confidence: bool = False,
        probabilities: bool = False,
        raw: bool = False,
        usage: bool = False,
        into: Hashable | None = None,
        examples: Rows | None = None,
        where: dd.Series | None = None,
        overwrite: bool = False,
        error_into: Hashable | None = None,
        **settings: Unpack[ClassifyKeywords],
    ) -> dd.DataFrame:
        """Give every row one of some labels in a categorical column, when it is computed.

        Parameters
        ----------
        column, labels, prompt, into, multi, confidence, probabilities, examples, error_into, raw, usage
            As of pandas' `df.llm.classify`.
        where, overwrite
            As of `complete`.
        **settings

        Returns
        -------
        dask DataFrame
            This frame with the columns, lazily; the categories are known.

        Raises
        ------
        CompletionError, KeyError, TypeError, ValueError
            As of `complete`.

        Examples
        --------
        >>> import dask.dataframe as dd, llmframe, llmframe.dask, pandas as pd
        >>> ddf = dd.from_pandas(pd.DataFrame({"review": ["I love it."]}), npartitions=1)
        >>> labelled = ddf.llm.classify("review", ["praise", "complaint"], model="gpt-6-luna")
        >>> list(labelled["review_label"].cat.categories)
        ['praise', 'complaint']
        """
        own: dict[str, Any] = {
            "column": column,
            "labels": labels,
            "prompt": prompt,
            "into": into,
            "error_into": error_into,
        }
        shown: dict[str, Any] = {
            "multi": multi,
            "confidence": confidence,
            "probabilities": probabilities,
        }
        shown |= {"raw": raw, "usage": usage, "examples": examples}
        return lazy_frame(
            "classify", self._frame, {**settings, **shown}, own, where=where, overwrite=overwrite
        )

    @takes(AskKeywords)
    def ask(
        self,
        column: Hashable | None,
        questions: Mapping[str, Any],
        prompt: Prompt = None,
        *,
        confidence: bool = False,
        raw: bool = False,
        usage: bool = False,
        prefix: str | None = None,
        examples: Rows | None = None,
        where: dd.Series | None = None,
        overwrite: bool = False,
        error_into: Hashable | None = None,
        **settings: Unpack[AskKeywords],
    ) -> dd.DataFrame:
        """Answer several questions in one reading of every row, one column each, when they are computed.

        Parameters
        ----------
        column, questions, prompt, prefix, confidence, examples, error_into, raw, usage
            As of pandas' `df.llm.ask`.
        where, overwrite
            As of `complete`.
        **settings

        Returns
        -------
        dask DataFrame
            This frame with the columns, lazily.

        Raises
        ------
        CompletionError, KeyError, TypeError, ValueError
            As of `complete`.

        Examples
        --------
        >>> import dask.dataframe as dd, llmframe, llmframe.dask, pandas as pd
        >>> ddf = dd.from_pandas(pd.DataFrame({"review": ["It broke."]}), npartitions=1)
        >>> answers = ddf.llm.ask("review", {"spam": bool, "tone": ["calm", "angry"]}, model="gpt-6-luna")
        >>> [str(dtype) for dtype in answers.dtypes[["spam", "tone"]]]
        ['boolean', 'category']
        """
        own: dict[str, Any] = {"column": column, "questions": questions, "prompt": prompt, "prefix": prefix}
        own |= {"error_into": error_into}
        shown = {"confidence": confidence, "raw": raw, "usage": usage, "examples": examples}
        return lazy_frame("ask", self._frame, {**settings, **shown}, own, where=where, overwrite=overwrite)


class DaskSeriesLLM:
    """Run an LLM over a Dask Series: `series.llm`, after `import llmframe.dask`.

    Each verb returns a lazy Series or frame with the same index; requests are sent when it is computed.
    """

    def __init__(self, series: dd.Series) -> None:
        self._series = series

    @takes(CompletionKeywords)
    def complete(
        self,
        prompt: Prompt = None,
        *,
        where: dd.Series | None = None,
        raw: bool = False,
        usage: bool = False,
        **settings: Unpack[CompletionKeywords],
    ) -> dd.Series | dd.DataFrame:
        """Answer every cell of the Series, when the answers are computed.

        Parameters
        ----------
        prompt, raw, usage
            As of pandas' `series.llm.complete`.
        where
            As of `ddf.llm.complete`.
        **settings

        Returns
        -------
        dask Series or DataFrame
            What pandas' verb returns, lazily.

        Raises
        ------
        CompletionError, TypeError, ValueError
            As of `ddf.llm.complete`.

        Examples
        --------
        >>> import dask.dataframe as dd, llmframe, llmframe.dask, pandas as pd
        >>> reviews = dd.from_pandas(pd.Series(["a", "b"], name="review"), npartitions=2)
        >>> reviews.llm.complete("Shout this: {}", model="gpt-6-luna").name
        'review_completion'
        """
        own = {"prompt": prompt, "raw": raw, "usage": usage}
        return lazy_series("complete", self._series, settings, own, where=where)

    @takes(ExtractKeywords)
    def extract(
        self,
        schema: Schema,
        prompt: Prompt = None,
        *,
        quotes: bool = False,
        examples: Rows | None = None,
        reask: int = 1,
        where: dd.Series | None = None,
        raw: bool = False,
        usage: bool = False,
        **settings: Unpack[ExtractKeywords],
    ) -> dd.DataFrame:
        """Read typed values out of every cell of the Series, when they are computed.

        Parameters
        ----------
        schema, prompt, quotes, examples, reask, raw, usage
            As of pandas' `series.llm.extract`.
        where
            As of `ddf.llm.complete`.
        **settings

        Returns
        -------
        dask DataFrame
            One column for each field, lazily, in its dtype.

        Raises
        ------
        CompletionError, TypeError, ValueError
            As of `ddf.llm.complete`.

        Examples
        --------
        >>> import dask.dataframe as dd, llmframe, llmframe.dask, pandas as pd
        >>> reviews = dd.from_pandas(pd.Series(["It lasts five hours."]), npartitions=1)
        >>> list(reviews.llm.extract({"hours": float}, model="gpt-6-luna").columns)
        ['hours']
        """
        own: dict[str, Any] = {
            "schema": schema,
            "prompt": prompt,
            "quotes": quotes,
            "examples": examples,
            "reask": reask,
        }
        own |= {"raw": raw, "usage": usage}
        return lazy_series("extract", self._series, settings, own, where=where)

    @takes(ClassifyKeywords)
    def classify(
        self,
        labels: Labels,
        prompt: Prompt = None,
        *,
        multi: bool = False,
        confidence: bool = False,
        probabilities: bool = False,
        raw: bool = False,
        usage: bool = False,
        examples: Rows | None = None,
        where: dd.Series | None = None,
        **settings: Unpack[ClassifyKeywords],
    ) -> dd.Series | dd.DataFrame:
        """Give every cell of the Series one of some labels, when they are computed.

        Parameters
        ----------
        labels, prompt, multi, confidence, probabilities, examples, raw, usage
            As of pandas' `series.llm.classify`.
        where
            As of `ddf.llm.complete`.
        **settings

        Returns
        -------
        dask Series or DataFrame
            What pandas' verb returns, lazily; the categories are known.

        Raises
        ------
        CompletionError, TypeError, ValueError
            As of `ddf.llm.complete`.

        Examples
        --------
        >>> import dask.dataframe as dd, llmframe, llmframe.dask, pandas as pd
        >>> reviews = dd.from_pandas(pd.Series(["I love it."]), npartitions=1)
        >>> list(reviews.llm.classify(["praise", "complaint"], model="gpt-6-luna").cat.categories)
        ['praise', 'complaint']
        """
        shown: dict[str, Any] = {
            "multi": multi,
            "confidence": confidence,
            "probabilities": probabilities,
        }
        shown |= {"raw": raw, "usage": usage, "examples": examples}
        own = {"labels": labels, "prompt": prompt}
        return lazy_series("classify", self._series, {**settings, **shown}, own, where=where)

    @takes(AskKeywords)
    def ask(
        self,
        questions: Mapping[str, Any],
        prompt: Prompt = None,
        *,
        confidence: bool = False,
        raw: bool = False,
        usage: bool = False,
        examples: Rows | None = None,
        where: dd.Series | None = None,
        **settings: Unpack[AskKeywords],
    ) -> dd.DataFrame:
        """Answer several questions in one reading of every cell, when the answers are computed.

        Parameters
        ----------
        questions, prompt, confidence, examples, raw, usage
            As of pandas' `series.llm.ask`.
        where
            As of `ddf.llm.complete`.
        **settings

        Returns
        -------
        dask DataFrame
            One column for each question, lazily.

        Raises
        ------
        CompletionError, TypeError, ValueError
            As of `ddf.llm.complete`.

        Examples
        --------
        >>> import dask.dataframe as dd, llmframe, llmframe.dask, pandas as pd
        >>> reviews = dd.from_pandas(pd.Series(["It broke."]), npartitions=1)
        >>> list(reviews.llm.ask({"spam": bool, "tone": ["calm", "angry"]}, model="gpt-6-luna").columns)
        ['spam', 'tone']
        """
        shown = {"confidence": confidence, "raw": raw, "usage": usage, "examples": examples}
        own = {"questions": questions, "prompt": prompt}
        return lazy_series("ask", self._series, {**settings, **shown}, own, where=where)
