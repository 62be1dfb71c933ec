"""`series.llm`: the verbs over a Series, which return and leave the data alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from llmframe._keywords import AskKeywords, ClassifyKeywords, CompletionKeywords, ExtractKeywords, takes
from llmframe.accessor.overview import overview, table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    import pandas as pd

    from llmframe._columns import Prompt
    from llmframe._run import Estimate, Run
    from llmframe.accessor.types import Labels, Mask, Rows, Schema


class SeriesLLM:
    """Run an LLM over a Series: `series.llm`, or `llmframe.llm(series)`. The Series itself is not changed."""

    def __init__(self, series: pd.Series) -> None:
        self._series = series

    def __repr__(self) -> str:
        return "\n".join(map("  ".join, overview(self, "series.llm")))

    def _repr_html_(self) -> str:
        return table(overview(self, "series.llm"))

    @overload
    def complete(
        self,
        prompt: Prompt = None,
        *,
        where: Mask | None = None,
        raw: Literal[False] = False,
        usage: Literal[False] = False,
        wait: Literal[True] = True,
        dry_run: Literal[False] = False,
        **settings: Unpack[CompletionKeywords],
    ) -> pd.Series: ...
    @overload
    def complete(
        self,
        prompt: Prompt = None,
        *,
        where: Mask | None = None,
        raw: Literal[True],
        usage: bool = False,
        wait: Literal[True] = True,
        dry_run: Literal[False] = False,
        **settings: Unpack[CompletionKeywords],
    ) -> pd.DataFrame: ...
    @overload
    def complete(
        self,
        prompt: Prompt = None,
        *,
        where: Mask | None = None,
        raw: bool = False,
        usage: Literal[True],
        wait: Literal[True] = True,
        dry_run: Literal[False] = False,
        **settings: Unpack[CompletionKeywords],
    ) -> pd.DataFrame: ...
    @overload
    def complete(
        self,
        prompt: Prompt = None,
        *,
        where: Mask | None = None,
        raw: bool = False,
        usage: bool = False,
        wait: Literal[False],
        dry_run: Literal[False] = False,
        **settings: Unpack[CompletionKeywords],
    ) -> Run: ...
    @overload
    def complete(
        self,
        prompt: Prompt = None,
        *,
        where: Mask | None = None,
        raw: bool = False,
        usage: bool = False,
        wait: Literal[True] = True,
        dry_run: bool | int,
        **settings: Unpack[CompletionKeywords],
    ) -> Estimate: ...
    @takes(CompletionKeywords)
    def complete(
        self,
        prompt: Prompt = None,
        *,
        where: Mask | None = None,
        raw: bool = False,
        usage: bool = False,
        wait: bool = True,
        dry_run: bool | int = False,
        **settings: Unpack[CompletionKeywords],
    ) -> pd.Series | pd.DataFrame | Run | Estimate:
        """Answer every cell of the Series.

        Parameters
        ----------
        prompt : str or function, optional
            An instruction before each cell; a template, whose field is the Series' name or `{}`; or a
            function of a row. Without it the cells are the prompts: texts or message arrays.
        where : boolean mask, optional
            The rows to send; the others are missing in the result.
        raw : bool
            Whether the response, as a dict, is returned too: a DataFrame, with it in the column `f"{answers.name}_raw"`.
        usage : bool
            Whether tokens and dollars are returned too, as of `df.llm.complete`: a DataFrame.
        wait : bool
            With `False`, return a `Run` at once and continue in the background.
        dry_run : bool or int
            As of `df.llm.complete`: an `Estimate` of what the call would cost.
        **settings

        Returns
        -------
        Series
            Text (pandas' own dtype for it), with the same index; missing where there is no answer. With `raw=True` a
            DataFrame.

        Raises
        ------
        CompletionError
            When rows failed; its `result` is the Series.

        Examples
        --------
        >>> import llmframe, pandas as pd
        >>> from llmframe.testing import LocalServer
        >>> with LocalServer() as server, llmframe.option_context(
        ...     base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False
        ... ):
        ...     answers = pd.Series(["a", "b"]).llm.complete("Shout this: {}")
        >>> len(answers)
        2
        """
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.complete_series(
            self._series, settings, prompt=prompt, where=where, raw=raw, usage=usage
        )
        return _verbs.run_or_return(call, wait=wait, dry_run=dry_run)  # type: ignore[no-any-return]

    @overload
    async def acomplete(
        self,
        prompt: Prompt = None,
        *,
        where: Mask | None = None,
        raw: Literal[False] = False,
        usage: Literal[False] = False,
        dry_run: Literal[False] = False,
        **settings: Unpack[CompletionKeywords],
    ) -> pd.Series: ...
    @overload
    async def acomplete(
        self,
        prompt: Prompt = None,
        *,
        where: Mask | None = None,
        raw: Literal[True],
        usage: bool = False,
        dry_run: Literal[False] = False,
        **settings: Unpack[CompletionKeywords],
    ) -> pd.DataFrame: ...
    @overload
    async def acomplete(
        self,
        prompt: Prompt = None,
        *,
        where: Mask | None = None,
        raw: bool = False,
        usage: Literal[True],
        dry_run: Literal[False] = False,
        **settings: Unpack[CompletionKeywords],
    ) -> pd.DataFrame: ...
    @overload
    async def acomplete(
        self,
        prompt: Prompt = None,
        *,
        where: Mask | None = None,
        raw: bool = False,
        usage: bool = False,
        dry_run: bool | int,
        **settings: Unpack[CompletionKeywords],
    ) -> Estimate: ...
    @takes(CompletionKeywords)
    async def acomplete(
        self,
        prompt: Prompt = None,
        *,
        where: Mask | None = None,
        raw: bool = False,
        usage: bool = False,
        dry_run: bool | int = False,
        **settings: Unpack[CompletionKeywords],
    ) -> pd.Series | pd.DataFrame | Estimate:
        """Do as `complete` does, for cells and programs that await."""
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.complete_series(
            self._series, settings, prompt=prompt, where=where, raw=raw, usage=usage
        )
        return await _verbs.awaited(call, dry_run=dry_run)  # type: ignore[no-any-return]

    @overload
    def extract(
        self,
        schema: Schema,
        prompt: Prompt = None,
        *,
        quotes: bool = False,
        examples: Rows | None = None,
        reask: int = 1,
        where: Mask | None = None,
        raw: bool = False,
        usage: bool = False,
        wait: Literal[True] = True,
        dry_run: Literal[False] = False,
        **settings: Unpack[ExtractKeywords],
    ) -> pd.DataFrame: ...
    @overload
    def extract(
        self,
        schema: Schema,
        prompt: Prompt = None,
        *,
        quotes: bool = False,
        examples: Rows | None = None,
        reask: int = 1,
        where: Mask | None = None,
        raw: bool = False,
        usage: bool = False,
        wait: Literal[False],
        dry_run: Literal[False] = False,
        **settings: Unpack[ExtractKeywords],
    ) -> Run: ...
    @overload
    def extract(
        self,
        schema: Schema,
        prompt: Prompt = None,
        *,
        quotes: bool = False,
        examples: Rows | None = None,
        reask: int = 1,
        where: Mask | None = None,
        raw: bool = False,
        usage: bool = False,
        wait: Literal[True] = True,
        dry_run: bool | int,
        **settings: Unpack[ExtractKeywords],
    ) -> Estimate: ...
    @takes(ExtractKeywords)
    def extract(
        self,
        schema: Schema,
        prompt: Prompt = None,
        *,
        quotes: bool = False,
        examples: Rows | None = None,
        reask: int = 1,
        where: Mask | None = None,
        raw: bool = False,
        usage: bool = False,
        wait: bool = True,
        dry_run: bool | int = False,
        **settings: Unpack[ExtractKeywords],
    ) -> pd.DataFrame | Run | Estimate:
        """Read typed values out of every cell of the Series.

        Parameters
        ----------
        schema, quotes, reask
            As of `df.llm.extract`.
        examples : DataFrame or list of dicts, optional
            As of `df.llm.extract`; the texts are in the column with the Series' name, or `text` if it has none.
        prompt, where, raw, usage, wait, dry_run
            As of `complete`; the responses are in the column `f"{series.name}_raw"`.
        **settings

        Returns
        -------
        DataFrame
            One column for each field, in its dtype, with the same index.

        Raises
        ------
        CompletionError
            When rows failed; its `result` is the DataFrame.

        Examples
        --------
        >>> import llmframe, pandas as pd
        >>> from llmframe.testing import LocalServer
        >>> with LocalServer() as server, llmframe.option_context(
        ...     base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False
        ... ):
        ...     parts = pd.Series(["The hinge broke."]).llm.extract(["part", "fault"])
        >>> list(parts)
        ['part', 'fault']
        """
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.extract_series(
            self._series,
            settings,
            schema=schema,
            prompt=prompt,
            quotes=quotes,
            examples=examples,
            reask=reask,
            where=where,
            raw=raw,
            usage=usage,
        )
        return _verbs.run_or_return(call, wait=wait, dry_run=dry_run)  # type: ignore[no-any-return]

    @overload
    async def aextract(
        self,
        schema: Schema,
        prompt: Prompt = None,
        *,
        quotes: bool = False,
        examples: Rows | None = None,
        reask: int = 1,
        where: Mask | None = None,
        raw: bool = False,
        usage: bool = False,
        dry_run: Literal[False] = False,
        **settings: Unpack[ExtractKeywords],
    ) -> pd.DataFrame: ...
    @overload
    async def aextract(
        self,
        schema: Schema,
        prompt: Prompt = None,
        *,
        quotes: bool = False,
        examples: Rows | None = None,
        reask: int = 1,
        where: Mask | None = None,
        raw: bool = False,
        usage: bool = False,
        dry_run: bool | int,
        **settings: Unpack[ExtractKeywords],
    ) -> Estimate: ...
    @takes(ExtractKeywords)
    async def aextract(
        self,
        schema: Schema,
        prompt: Prompt = None,
        *,
        quotes: bool = False,
        examples: Rows | None = None,
        reask: int = 1,
        where: Mask | None = None,
        raw: bool = False,
        usage: bool = False,
        dry_run: bool | int = False,
        **settings: Unpack[ExtractKeywords],
    ) -> pd.DataFrame | Estimate:
        """Do as `extract` does, for cells and programs that await."""
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.extract_series(
            self._series,
            settings,
            schema=schema,
            prompt=prompt,
            quotes=quotes,
            examples=examples,
            reask=reask,
            where=where,
            raw=raw,
            usage=usage,
        )
        return await _verbs.awaited(call, dry_run=dry_run)  # type: ignore[no-any-return]

    @overload
    def classify(
        self,
        labels: Labels,
        prompt: Prompt = None,
        *,
        multi: Literal[False] = False,
        confidence: Literal[False] = False,
        probabilities: Literal[False] = False,
        raw: Literal[False] = False,
        usage: Literal[False] = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        wait: Literal[True] = True,
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.Series: ...
    @overload
    def classify(
        self,
        labels: Labels,
        prompt: Prompt = None,
        *,
        multi: Literal[True],
        confidence: bool = False,
        probabilities: bool = False,
        raw: bool = False,
        usage: bool = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        wait: Literal[True] = True,
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.DataFrame: ...
    @overload
    def classify(
        self,
        labels: Labels,
        prompt: Prompt = None,
        *,
        multi: bool = False,
        confidence: Literal[True],
        probabilities: bool = False,
        raw: bool = False,
        usage: bool = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        wait: Literal[True] = True,
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.DataFrame: ...
    @overload
    def classify(
        self,
        labels: Labels,
        prompt: Prompt = None,
        *,
        multi: bool = False,
        confidence: bool = False,
        probabilities: Literal[True],
        raw: bool = False,
        usage: bool = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        wait: Literal[True] = True,
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.DataFrame: ...
    @overload
    def classify(
        self,
        labels: Labels,
        prompt: Prompt = None,
        *,
        multi: bool = False,
        confidence: bool = False,
        probabilities: bool = False,
        raw: Literal[True],
        usage: bool = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        wait: Literal[True] = True,
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.DataFrame: ...
    @overload
    def classify(
        self,
        labels: Labels,
        prompt: Prompt = None,
        *,
        multi: bool = False,
        confidence: bool = False,
        probabilities: bool = False,
        raw: bool = False,
        usage: Literal[True],
        examples: Rows | None = None,
        where: Mask | None = None,
        wait: Literal[True] = True,
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.DataFrame: ...
    @overload
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
        where: Mask | None = None,
        wait: Literal[False],
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> Run: ...
    @overload
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
        where: Mask | None = None,
        wait: Literal[True] = True,
        dry_run: bool | int,
        **settings: Unpack[ClassifyKeywords],
    ) -> Estimate: ...
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
        where: Mask | None = None,
        wait: bool = True,
        dry_run: bool | int = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.Series | pd.DataFrame | Run | Estimate:
        """Give every cell of the Series one of some labels.

        Parameters
        ----------
        labels, multi, confidence, probabilities, examples, raw
            As of `df.llm.classify`; the examples' texts are in the column with the Series' name, or `text`, their labels in `label`.
        prompt, where, usage, wait, dry_run
            As of `complete`.
        **settings

        Returns
        -------
        Series or DataFrame
            The labels, categorical, with the same index; with `multi`, `confidence`, `probabilities` or `raw` a DataFrame.

        Raises
        ------
        CompletionError
            When rows failed; its `result` is what would be returned.
        TypeError, ValueError
            For invalid arguments, before anything is sent.

        Examples
        --------
        >>> import llmframe, pandas as pd
        >>> from llmframe.testing import LocalServer
        >>> with LocalServer() as server, llmframe.option_context(
        ...     base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False
        ... ):
        ...     labels = pd.Series(["I love it."]).llm.classify(["praise", "complaint"])
        >>> list(labels.cat.categories)
        ['praise', 'complaint']
        """
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.classify_series(
            self._series,
            {
                **settings,
                "multi": multi,
                "confidence": confidence,
                "probabilities": probabilities,
                "raw": raw,
                "usage": usage,
                "examples": examples,
            },
            labels=labels,
            prompt=prompt,
            where=where,
        )
        return _verbs.run_or_return(call, wait=wait, dry_run=dry_run)  # type: ignore[no-any-return]

    @overload
    async def aclassify(
        self,
        labels: Labels,
        prompt: Prompt = None,
        *,
        multi: Literal[False] = False,
        confidence: Literal[False] = False,
        probabilities: Literal[False] = False,
        raw: Literal[False] = False,
        usage: Literal[False] = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.Series: ...
    @overload
    async def aclassify(
        self,
        labels: Labels,
        prompt: Prompt = None,
        *,
        multi: Literal[True],
        confidence: bool = False,
        probabilities: bool = False,
        raw: bool = False,
        usage: bool = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.DataFrame: ...
    @overload
    async def aclassify(
        self,
        labels: Labels,
        prompt: Prompt = None,
        *,
        multi: bool = False,
        confidence: Literal[True],
        probabilities: bool = False,
        raw: bool = False,
        usage: bool = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.DataFrame: ...
    @overload
    async def aclassify(
        self,
        labels: Labels,
        prompt: Prompt = None,
        *,
        multi: bool = False,
        confidence: bool = False,
        probabilities: Literal[True],
        raw: bool = False,
        usage: bool = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.DataFrame: ...
    @overload
    async def aclassify(
        self,
        labels: Labels,
        prompt: Prompt = None,
        *,
        multi: bool = False,
        confidence: bool = False,
        probabilities: bool = False,
        raw: Literal[True],
        usage: bool = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.DataFrame: ...
    @overload
    async def aclassify(
        self,
        labels: Labels,
        prompt: Prompt = None,
        *,
        multi: bool = False,
        confidence: bool = False,
        probabilities: bool = False,
        raw: bool = False,
        usage: Literal[True],
        examples: Rows | None = None,
        where: Mask | None = None,
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.DataFrame: ...
    @overload
    async def aclassify(
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
        where: Mask | None = None,
        dry_run: bool | int,
        **settings: Unpack[ClassifyKeywords],
    ) -> Estimate: ...
    @takes(ClassifyKeywords)
    async def aclassify(
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
        where: Mask | None = None,
        dry_run: bool | int = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.Series | pd.DataFrame | Estimate:
        """Do as `classify` does, for cells and programs that await."""
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.classify_series(
            self._series,
            {
                **settings,
                "multi": multi,
                "confidence": confidence,
                "probabilities": probabilities,
                "raw": raw,
                "usage": usage,
                "examples": examples,
            },
            labels=labels,
            prompt=prompt,
            where=where,
        )
        return await _verbs.awaited(call, dry_run=dry_run)  # type: ignore[no-any-return]

    @overload
    def ask(
        self,
        questions: Mapping[str, Any],
        prompt: Prompt = None,
        *,
        confidence: bool = False,
        raw: bool = False,
        usage: bool = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        wait: Literal[True] = True,
        dry_run: Literal[False] = False,
        **settings: Unpack[AskKeywords],
    ) -> pd.DataFrame: ...
    @overload
    def ask(
        self,
        questions: Mapping[str, Any],
        prompt: Prompt = None,
        *,
        confidence: bool = False,
        raw: bool = False,
        usage: bool = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        wait: Literal[False],
        dry_run: Literal[False] = False,
        **settings: Unpack[AskKeywords],
    ) -> Run: ...
    @overload
    def ask(
        self,
        questions: Mapping[str, Any],
        prompt: Prompt = None,
        *,
        confidence: bool = False,
        raw: bool = False,
        usage: bool = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        wait: Literal[True] = True,
        dry_run: bool | int,
        **settings: Unpack[AskKeywords],
    ) -> Estimate: ...
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
        where: Mask | None = None,
        wait: bool = True,
        dry_run: bool | int = False,
        **settings: Unpack[AskKeywords],
    ) -> pd.DataFrame | Run | Estimate:
        """Answer several questions in one reading of every cell.

        Parameters
        ----------
        questions, confidence, examples, raw
            As of `df.llm.ask`; the examples' texts are in the column with the Series' name, or `text`.
        prompt, where, usage, wait, dry_run
            As of `complete`.
        **settings

        Returns
        -------
        DataFrame
            One column for each question, with the same index.

        Raises
        ------
        CompletionError
            When rows failed; its `result` is the DataFrame.
        TypeError, ValueError
            For invalid arguments, before anything is sent.

        Examples
        --------
        >>> import llmframe, pandas as pd
        >>> from llmframe.testing import LocalServer
        >>> with LocalServer() as server, llmframe.option_context(
        ...     base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False
        ... ):
        ...     answers = pd.Series(["It broke."]).llm.ask({"spam": bool, "tone": ["calm", "angry"]})
        >>> list(answers)
        ['spam', 'tone']
        """
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.ask_series(
            self._series,
            {**settings, "confidence": confidence, "raw": raw, "usage": usage, "examples": examples},
            questions=questions,
            prompt=prompt,
            where=where,
        )
        return _verbs.run_or_return(call, wait=wait, dry_run=dry_run)  # type: ignore[no-any-return]

    @overload
    async def aask(
        self,
        questions: Mapping[str, Any],
        prompt: Prompt = None,
        *,
        confidence: bool = False,
        raw: bool = False,
        usage: bool = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        dry_run: Literal[False] = False,
        **settings: Unpack[AskKeywords],
    ) -> pd.DataFrame: ...
    @overload
    async def aask(
        self,
        questions: Mapping[str, Any],
        prompt: Prompt = None,
        *,
        confidence: bool = False,
        raw: bool = False,
        usage: bool = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        dry_run: bool | int,
        **settings: Unpack[AskKeywords],
    ) -> Estimate: ...
    @takes(AskKeywords)
    async def aask(
        self,
        questions: Mapping[str, Any],
        prompt: Prompt = None,
        *,
        confidence: bool = False,
        raw: bool = False,
        usage: bool = False,
        examples: Rows | None = None,
        where: Mask | None = None,
        dry_run: bool | int = False,
        **settings: Unpack[AskKeywords],
    ) -> pd.DataFrame | Estimate:
        """Do as `ask` does, for cells and programs that await."""
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.ask_series(
            self._series,
            {**settings, "confidence": confidence, "raw": raw, "usage": usage, "examples": examples},
            questions=questions,
            prompt=prompt,
            where=where,
        )
        return await _verbs.awaited(call, dry_run=dry_run)  # type: ignore[no-any-return]
