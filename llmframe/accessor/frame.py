"""`df.llm`: the verbs over a frame, which write columns and return the same frame."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Literal, TextIO, overload

from llmframe._keywords import (
    AgainKeywords,
    AskKeywords,
    ClassifyKeywords,
    CompletionKeywords,
    ExtractKeywords,
    takes,
)
from llmframe.accessor.overview import overview, table

if TYPE_CHECKING:
    import os
    from collections.abc import Hashable, Mapping, Sequence
    from typing import Unpack

    import pandas as pd

    from llmframe._columns import Overwrite, Prompt
    from llmframe._run import Estimate, Run
    from llmframe.accessor.types import Labels, Mask, Rows, Schema


class DataFrameLLM:
    """Run an LLM over a column of a DataFrame: `df.llm`, or `llmframe.llm(df)`."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def __repr__(self) -> str:
        return "\n".join(map("  ".join, overview(self, "df.llm")))

    def _repr_html_(self) -> str:
        return table(overview(self, "df.llm"))

    @overload
    def complete(
        self,
        column: Hashable | None = None,
        prompt: Prompt = None,
        *,
        into: Hashable | None = None,
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        wait: Literal[True] = True,
        dry_run: Literal[False] = False,
        **settings: Unpack[CompletionKeywords],
    ) -> pd.DataFrame: ...
    @overload
    def complete(
        self,
        column: Hashable | None = None,
        prompt: Prompt = None,
        *,
        into: Hashable | None = None,
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        wait: Literal[False],
        dry_run: Literal[False] = False,
        **settings: Unpack[CompletionKeywords],
    ) -> Run: ...
    @overload
    def complete(
        self,
        column: Hashable | None = None,
        prompt: Prompt = None,
        *,
        into: Hashable | None = None,
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        wait: Literal[True] = True,
        dry_run: bool | int,
        **settings: Unpack[CompletionKeywords],
    ) -> Estimate: ...
    @takes(CompletionKeywords)
    def complete(
        self,
        column: Hashable | None = None,
        prompt: Prompt = None,
        *,
        into: Hashable | None = None,
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        wait: bool = True,
        dry_run: bool | int = False,
        **settings: Unpack[CompletionKeywords],
    ) -> pd.DataFrame | Run | Estimate:
        """Answer every row and write the answers as a new column.

        Many requests are in flight at once; answers that were paid before are read from the journal. Run
        the same call again after an interrupt, a crash or with more rows: only the missing rows are sent.

        Parameters
        ----------
        column : label, optional
            The column with the prompts: texts, or message arrays (lists of `{"role", "content"}`).
        prompt : str or function, optional
            Text without a field is an instruction: the prompt is this text, a blank line and the cell.
            `"{title}: {body:.2000}"` is a template: between braces is an exact column name, optionally with
            a format; `{{` and `}}` are braces. A function takes a row (a read-only mapping) and
            returns text, messages, or `None` for a row that is not sent.
        into : label, optional
            Name of the new column; by default `f"{column}_completion"`.
        where : boolean mask, optional
            The rows to send; the others keep their values.
        overwrite : bool or "missing"
            What may happen to an existing column: `False` refuses, unless llmframe itself wrote
            exactly these values with this verb and model; `"missing"` fills missing cells; `True`
            replaces.
        error_into : label, optional
            A column for the reason of each row without an answer.
        raw : bool
            Whether the response, as a dict, is written too: into `f"{into}_raw"`.
        usage : bool
            Whether tokens and dollars are written too: `f"{into}_input_tokens"`, `f"{into}_output_tokens"` and
            `f"{into}_cost"`, of all attempts and draws of the row. Rows from the journal and copies of another row have
            their answer's own tokens, and 0 dollars: so the dollars sum to `Run.cost`. What is not known is missing.
        wait : bool
            With `False`, return a `Run` at once and continue in the background; its `result()` writes
            the column.
        dry_run : bool or int
            With `True`, send nothing and return an `Estimate` of what the call would cost. With a number, ask so many
            rows for real first, live, and estimate the rest by them; the journal keeps their answers.
        **settings

        Returns
        -------
        DataFrame or Run
            The same frame, with the column. A cell is missing where its row was not sent (a cell
            that the prompt names is missing or blank) or has no answer.

        Raises
        ------
        CompletionError
            When rows failed, after all other rows were written; `errors="coerce"` warns instead.
        StoppedError
            When no row could succeed (a bad key, an unknown model), and the run ended early.
        KeyError, TypeError, ValueError
            For invalid arguments, before anything is sent.

        Examples
        --------
        >>> import llmframe, pandas as pd
        >>> from llmframe.testing import LocalServer
        >>> df = pd.DataFrame({"review": ["Works well.", None]})
        >>> with LocalServer() as server, llmframe.option_context(
        ...     base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False
        ... ):
        ...     df = df.llm.complete("review", "Translate to French.", into="french")
        >>> df["french"].notna().tolist()
        [True, False]
        """
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.complete_frame(
            self._frame,
            settings,
            column=column,
            prompt=prompt,
            into=into,
            where=where,
            overwrite=overwrite,
            error_into=error_into,
            raw=raw,
            usage=usage,
        )
        return _verbs.run_or_return(call, wait=wait, dry_run=dry_run)  # type: ignore[no-any-return]

    @overload
    async def acomplete(
        self,
        column: Hashable | None = None,
        prompt: Prompt = None,
        *,
        into: Hashable | None = None,
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        dry_run: Literal[False] = False,
        **settings: Unpack[CompletionKeywords],
    ) -> pd.DataFrame: ...
    @overload
    async def acomplete(
        self,
        column: Hashable | None = None,
        prompt: Prompt = None,
        *,
        into: Hashable | None = None,
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        dry_run: bool | int,
        **settings: Unpack[CompletionKeywords],
    ) -> Estimate: ...
    @takes(CompletionKeywords)
    async def acomplete(
        self,
        column: Hashable | None = None,
        prompt: Prompt = None,
        *,
        into: Hashable | None = None,
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        dry_run: bool | int = False,
        **settings: Unpack[CompletionKeywords],
    ) -> pd.DataFrame | Estimate:
        """Do as `complete` does, for cells and programs that await."""
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.complete_frame(
            self._frame,
            settings,
            column=column,
            prompt=prompt,
            into=into,
            where=where,
            overwrite=overwrite,
            error_into=error_into,
            raw=raw,
            usage=usage,
        )
        return await _verbs.awaited(call, dry_run=dry_run)  # type: ignore[no-any-return]

    @overload
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        wait: Literal[True] = True,
        dry_run: Literal[False] = False,
        **settings: Unpack[ExtractKeywords],
    ) -> pd.DataFrame: ...
    @overload
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        wait: Literal[False],
        dry_run: Literal[False] = False,
        **settings: Unpack[ExtractKeywords],
    ) -> Run: ...
    @overload
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        wait: Literal[True] = True,
        dry_run: bool | int,
        **settings: Unpack[ExtractKeywords],
    ) -> Estimate: ...
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        wait: bool = True,
        dry_run: bool | int = False,
        **settings: Unpack[ExtractKeywords],
    ) -> pd.DataFrame | Run | Estimate:
        """Read typed values out of every row and write them as one column for each field.

        A server other than OpenAI's own that refuses `json_schema`, or of whose first 20 answers none fits (of fewer, where the
        run ends before), is asked for `json_object`, and then in the prompt alone. The journal keeps what a server and model
        hold to, and later calls begin with it.

        Parameters
        ----------
        column : label
            The column with the texts; `None` with a template.
        schema : list, dict, pydantic model, TypedDict, dataclass or JSON Schema
            Fields of text: `["complaint", "part"]`; fields with a type, a question or both: `{"battery_hours": float,
            "tone": "How does the customer sound?", "weeks": (int, "How old is it?")}`; or a class with fields. In a list
            or dict every field may be null. Types are `str`, `int`, `float`, `bool`, `date`, `datetime`, `time`,
            `Decimal`, `Literal`, an Enum, such a class, and lists of these. Datetimes have no time zone; those of
            `pydantic.AwareDatetime`, or of a JSON Schema with `"x-aware": True` beside `"format": "date-time"`, are in UTC.
        prompt : str or function, optional
            As in `complete`.
        prefix : str, optional
            Put before every field's name.
        quotes : bool
            Ask for a verbatim quote before each field (of a nested object one before all of it), and write after it
            `field.quote`, and `field.found`: whether the row's own text has it, exactly or with case, white space and
            quote marks folded; missing where there is no quote. The text is what the cells say, or the user's messages.
        examples : DataFrame or list of dicts, optional
            Rows filled in by hand: the columns that the prompt reads, and the fields' with `prefix`; a nested object
            as its columns or as dicts. Each is asked as a row would be, and answered, before every row. A missing value is
            null, and so is each quote if there is no column `field.quote`. `df.attrs["llmframe_calls"]` keeps
            digests of their texts under `examples`, so that a comparison with hand labels can leave these rows out:
            `hashlib.blake2b(text.encode(), digest_size=8).hexdigest()` of the cell, or of a template's cells line by line.
        reask : int
            How often an answer that does not fit is asked again.
        where, overwrite, error_into, usage, wait, dry_run
            As in `complete`; tokens and dollars go into `f"{prefix}{column}_cost"` and so on.
        raw : bool
            Whether the response, as a dict, is written too: into `f"{prefix}{column}_raw"`.
        **settings

        Returns
        -------
        DataFrame or Run
            The same frame, with the columns, each in its field's dtype; a missing cell where the text does not say.

        Raises
        ------
        CompletionError
            When rows failed, after all other rows were written.
        KeyError, TypeError, ValueError
            For invalid arguments, before anything is sent.

        Examples
        --------
        >>> import llmframe, pandas as pd
        >>> from llmframe.testing import LocalServer
        >>> df = pd.DataFrame({"review": ["The battery lasts five hours."]})
        >>> with LocalServer() as server, llmframe.option_context(
        ...     base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False
        ... ):
        ...     df = df.llm.extract("review", {"battery_hours": float})
        >>> str(df["battery_hours"].dtype)
        'float64'
        """
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.extract_frame(
            self._frame,
            settings,
            column=column,
            schema=schema,
            prompt=prompt,
            prefix=prefix,
            quotes=quotes,
            examples=examples,
            reask=reask,
            where=where,
            overwrite=overwrite,
            error_into=error_into,
            raw=raw,
            usage=usage,
        )
        return _verbs.run_or_return(call, wait=wait, dry_run=dry_run)  # type: ignore[no-any-return]

    @overload
    async def aextract(
        self,
        column: Hashable | None,
        schema: Schema,
        prompt: Prompt = None,
        *,
        prefix: str | None = None,
        quotes: bool = False,
        examples: Rows | None = None,
        reask: int = 1,
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        dry_run: Literal[False] = False,
        **settings: Unpack[ExtractKeywords],
    ) -> pd.DataFrame: ...
    @overload
    async def aextract(
        self,
        column: Hashable | None,
        schema: Schema,
        prompt: Prompt = None,
        *,
        prefix: str | None = None,
        quotes: bool = False,
        examples: Rows | None = None,
        reask: int = 1,
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        dry_run: bool | int,
        **settings: Unpack[ExtractKeywords],
    ) -> Estimate: ...
    @takes(ExtractKeywords)
    async def aextract(
        self,
        column: Hashable | None,
        schema: Schema,
        prompt: Prompt = None,
        *,
        prefix: str | None = None,
        quotes: bool = False,
        examples: Rows | None = None,
        reask: int = 1,
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        raw: bool = False,
        usage: bool = False,
        dry_run: bool | int = False,
        **settings: Unpack[ExtractKeywords],
    ) -> pd.DataFrame | Estimate:
        """Do as `extract` does, for cells and programs that await."""
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.extract_frame(
            self._frame,
            settings,
            column=column,
            schema=schema,
            prompt=prompt,
            prefix=prefix,
            quotes=quotes,
            examples=examples,
            reask=reask,
            where=where,
            overwrite=overwrite,
            error_into=error_into,
            raw=raw,
            usage=usage,
        )
        return await _verbs.awaited(call, dry_run=dry_run)  # type: ignore[no-any-return]

    @overload
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        wait: Literal[True] = True,
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.DataFrame: ...
    @overload
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        wait: Literal[False],
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> Run: ...
    @overload
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        wait: Literal[True] = True,
        dry_run: bool | int,
        **settings: Unpack[ClassifyKeywords],
    ) -> Estimate: ...
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        wait: bool = True,
        dry_run: bool | int = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.DataFrame | Run | Estimate:
        """Give every row one of some labels and write it as a categorical column.

        Parameters
        ----------
        column : label
            The column with the texts; `None` with a template.
        labels : list of str, dict of str to str, Enum, or a column's values
            At least two; a dict says of each what it means. They are the categories, in this order.
        prompt : str or function, optional
            As in `complete`; an instruction says what the labels are about.
        into : label, optional
            The new column; by default `f"{column}_label"`.
        multi : bool
            With `True`, any number of labels may fit a row: one boolean column for each, `{into}_{label}`.
        confidence : bool
            Whether the probability of each value is a column too, `…_confidence`; on chat it needs `votes=`.
        probabilities : bool
            Whether the probability of each label is a column too, `…_p_{label}`; on chat it needs `votes=`.
        examples : DataFrame or list of dicts, optional
            Rows filled in by hand, as of `extract`: the columns that the prompt reads, and those that are written here.
        raw : bool
            Whether the response, as a dict, is written too, into `…_raw`; with `votes` that of the first.
        where, overwrite, error_into, usage, wait, dry_run
            As in `complete`; tokens and dollars go into `…_cost` and so on.
        **settings

        Returns
        -------
        DataFrame or Run
            The same frame. Where no label is sure enough, or the row was not sent or failed, the label is missing; the value is
            never off the list.

        Raises
        ------
        CompletionError
            When rows failed, after all other rows were written.
        TypeError, ValueError
            For invalid arguments, before anything is sent.

        Examples
        --------
        >>> import llmframe, pandas as pd
        >>> from llmframe.testing import LocalServer
        >>> df = pd.DataFrame({"review": ["I love it.", "It broke."]})
        >>> with LocalServer() as server, llmframe.option_context(
        ...     base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False
        ... ):
        ...     df = df.llm.classify("review", ["praise", "complaint"])
        >>> str(df["review_label"].dtype)
        'category'
        """
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.classify_frame(
            self._frame,
            {
                **settings,
                "multi": multi,
                "confidence": confidence,
                "probabilities": probabilities,
                "raw": raw,
                "usage": usage,
                "examples": examples,
            },
            column=column,
            labels=labels,
            prompt=prompt,
            into=into,
            where=where,
            overwrite=overwrite,
            error_into=error_into,
        )
        return _verbs.run_or_return(call, wait=wait, dry_run=dry_run)  # type: ignore[no-any-return]

    @overload
    async def aclassify(
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        dry_run: Literal[False] = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.DataFrame: ...
    @overload
    async def aclassify(
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        dry_run: bool | int,
        **settings: Unpack[ClassifyKeywords],
    ) -> Estimate: ...
    @takes(ClassifyKeywords)
    async def aclassify(
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        dry_run: bool | int = False,
        **settings: Unpack[ClassifyKeywords],
    ) -> pd.DataFrame | Estimate:
        """Do as `classify` does, for cells and programs that await."""
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.classify_frame(
            self._frame,
            {
                **settings,
                "multi": multi,
                "confidence": confidence,
                "probabilities": probabilities,
                "raw": raw,
                "usage": usage,
                "examples": examples,
            },
            column=column,
            labels=labels,
            prompt=prompt,
            into=into,
            where=where,
            overwrite=overwrite,
            error_into=error_into,
        )
        return await _verbs.awaited(call, dry_run=dry_run)  # type: ignore[no-any-return]

    @overload
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        wait: Literal[True] = True,
        dry_run: Literal[False] = False,
        **settings: Unpack[AskKeywords],
    ) -> pd.DataFrame: ...
    @overload
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        wait: Literal[False],
        dry_run: Literal[False] = False,
        **settings: Unpack[AskKeywords],
    ) -> Run: ...
    @overload
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        wait: Literal[True] = True,
        dry_run: bool | int,
        **settings: Unpack[AskKeywords],
    ) -> Estimate: ...
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        wait: bool = True,
        dry_run: bool | int = False,
        **settings: Unpack[AskKeywords],
    ) -> pd.DataFrame | Run | Estimate:
        """Answer several questions in one reading of every row, one column each.

        Parameters
        ----------
        column : label
            The column with the texts; `None` with a template.
        questions : dict
            `{"spam": bool, "topic": ["billing", "bug"], "urgency": llmframe.Levels(["low", "high"])}`, up to 400. A text alone is
            a question to be answered by yes or no; a pair such as `(bool, "Is it advertising?")` says what is asked.
        prompt : str or function, optional
            As in `complete`.
        confidence : bool
            Whether the probability of each value is a column too, `…_confidence`, and the score of a level, `…_score`; on chat
            it needs `votes=`.
        prefix : str, optional
            Put before every question's name.
        examples : DataFrame or list of dicts, optional
            Rows filled in by hand, as of `extract`: the columns that the prompt reads, and those that are written here.
        raw : bool
            Whether the response, as a dict, is written too, into `f"{prefix}{column}_raw"`.
        where, overwrite, error_into, usage, wait, dry_run
            As in `complete`; tokens and dollars go into `f"{prefix}{column}_cost"` and so on.
        **settings

        Returns
        -------
        DataFrame or Run
            The same frame, with the columns: truth values (`boolean`), categories, and ordered categories for `Levels`.

        Raises
        ------
        CompletionError
            When rows failed, or the model refused some of their questions, after everything else was written.
        TypeError, ValueError
            For invalid arguments, before anything is sent.

        Examples
        --------
        >>> import llmframe, pandas as pd
        >>> from llmframe.testing import LocalServer
        >>> df = pd.DataFrame({"review": ["It broke."]})
        >>> with LocalServer() as server, llmframe.option_context(
        ...     base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False
        ... ):
        ...     df = df.llm.ask("review", {"spam": bool, "tone": llmframe.Levels(["calm", "angry"])})
        >>> [str(dtype) for dtype in df.dtypes[["spam", "tone"]]]
        ['boolean', 'category']
        """
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.ask_frame(
            self._frame,
            {**settings, "confidence": confidence, "raw": raw, "usage": usage, "examples": examples},
            column=column,
            questions=questions,
            prompt=prompt,
            prefix=prefix,
            where=where,
            overwrite=overwrite,
            error_into=error_into,
        )
        return _verbs.run_or_return(call, wait=wait, dry_run=dry_run)  # type: ignore[no-any-return]

    @overload
    async def aask(
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        dry_run: Literal[False] = False,
        **settings: Unpack[AskKeywords],
    ) -> pd.DataFrame: ...
    @overload
    async def aask(
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        dry_run: bool | int,
        **settings: Unpack[AskKeywords],
    ) -> Estimate: ...
    @takes(AskKeywords)
    async def aask(
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
        where: Mask | None = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        dry_run: bool | int = False,
        **settings: Unpack[AskKeywords],
    ) -> pd.DataFrame | Estimate:
        """Do as `ask` does, for cells and programs that await."""
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.ask_frame(
            self._frame,
            {**settings, "confidence": confidence, "raw": raw, "usage": usage, "examples": examples},
            column=column,
            questions=questions,
            prompt=prompt,
            prefix=prefix,
            where=where,
            overwrite=overwrite,
            error_into=error_into,
        )
        return await _verbs.awaited(call, dry_run=dry_run)  # type: ignore[no-any-return]

    @takes(AgainKeywords)
    def stale(
        self,
        column: Hashable,
        *,
        prompt: Prompt = None,
        reads: Hashable | None = None,
        schema: Schema | None = None,
        labels: Labels | None = None,
        questions: Mapping[str, Any] | None = None,
        examples: Rows | None = None,
        prefix: str | None = None,
        where: Mask | None = None,
        **settings: Unpack[AgainKeywords],
    ) -> pd.Series:
        """Tell which rows' answers no longer match prompt, model, schema or inputs; nothing is sent, and no key is needed.

        The call that wrote the column is made again by its record in `df.attrs`, over the frame as it is now, and its
        requests are looked up in the journal. A row is stale if its request was not answered for this column, or if its cell is
        missing although it would be asked. One whose cell holds another value than its request was answered, or one that the
        call never answered, was edited by hand: it is counted and not stale. As long as no answer is edited and rows keep
        their order, a fingerprint proves that; afterwards the journal's answers decide, by which a row of labels counts as
        edited if its new text is another row's, and as stale if both its text and its label were edited.

        Parameters
        ----------
        column : label
            A column that a verb wrote; of several columns of one call, any names the call. A row of these is edited as a whole.
        prompt, schema, labels, questions, examples
            What would be asked instead of what the record has. The record lacks prompts that are functions, examples, headers,
            and classes that check more than JSON Schema says; an error names what has to be passed again.
        reads : label, optional
            The column with the texts, if it has another name now, or if there is no record.
        prefix : str, optional
            As in `extract` and `ask`, if there is no record.
        where : boolean mask, optional
            The rows to look at. After a call with `where=`, rows without an answer are stale only within this mask.
        **settings

        Returns
        -------
        Series
            Truth values with the frame's index; `.attrs["edited"]` is the number of edited rows. A row whose input has become
            missing is stale if an answer of the call stands there, which a refresh takes out, and otherwise not.

        Raises
        ------
        KeyError, TypeError, ValueError
            For invalid arguments, and when neither the record nor the journal tells what is stale.

        Examples
        --------
        >>> import llmframe, pandas as pd
        >>> from llmframe.testing import LocalServer
        >>> df = pd.DataFrame({"review": ["Works well.", "It broke."]})
        >>> with LocalServer() as server, llmframe.option_context(
        ...     base_url=server.base_url, api_key="any", model="gpt-6-luna", progress=False
        ... ):
        ...     df = df.llm.complete("review", "Translate to French.", into="french")
        >>> df.loc[1, "review"] = "It broke at once."
        >>> df.llm.stale("french").tolist()
        [False, True]
        """
        from llmframe import _verbs  # noqa: PLC0415

        return _verbs.stale_rows(
            self._frame,
            column,
            {
                **settings,
                "prompt": prompt,
                "reads": reads,
                "schema": schema,
                "labels": labels,
                "questions": questions,
                "examples": examples,
                "prefix": prefix,
            },
            where=where,
        )

    @overload
    def refresh(
        self,
        column: Hashable,
        *,
        prompt: Prompt = None,
        reads: Hashable | None = None,
        schema: Schema | None = None,
        labels: Labels | None = None,
        questions: Mapping[str, Any] | None = None,
        examples: Rows | None = None,
        prefix: str | None = None,
        where: Mask | None = None,
        overwrite: bool = False,
        preview: int | None = None,
        dry_run: Literal[False] = False,
        **settings: Unpack[AgainKeywords],
    ) -> pd.DataFrame: ...
    @overload
    def refresh(
        self,
        column: Hashable,
        *,
        prompt: Prompt = None,
        reads: Hashable | None = None,
        schema: Schema | None = None,
        labels: Labels | None = None,
        questions: Mapping[str, Any] | None = None,
        examples: Rows | None = None,
        prefix: str | None = None,
        where: Mask | None = None,
        overwrite: bool = False,
        preview: None = None,
        dry_run: bool | int,
        **settings: Unpack[AgainKeywords],
    ) -> Estimate: ...
    @takes(AgainKeywords)
    def refresh(
        self,
        column: Hashable,
        *,
        prompt: Prompt = None,
        reads: Hashable | None = None,
        schema: Schema | None = None,
        labels: Labels | None = None,
        questions: Mapping[str, Any] | None = None,
        examples: Rows | None = None,
        prefix: str | None = None,
        where: Mask | None = None,
        overwrite: bool = False,
        preview: int | None = None,
        dry_run: bool | int = False,
        **settings: Unpack[AgainKeywords],
    ) -> pd.DataFrame | Estimate:
        """Ask the stale rows again and write their answers into the frame, or preview what that would change.

        What is stale is what `stale` says. Only these rows are sent, and answers that the journal has are free. An edited
        row is never overwritten unless `overwrite=True`. A row that gets no answer, such as by a timeout, keeps what it has and
        stays stale; one that the model refuses is missing afterwards. If the run is stopped, the frame stays as it is, and
        running the same line again goes on.

        Parameters
        ----------
        column, prompt, schema, labels, questions, examples, reads, prefix, where
            As in `stale`. With another prompt all rows are stale except edited ones, also for `preview=30`, which thus
            compares two prompts on the same rows.
        overwrite : bool
            Whether edited rows are asked, too.
        preview : int, optional
            Ask so many of the stale rows, from all over the frame and live, and leave the frame alone. The same line asks the
            same rows, which are then in the journal.
        dry_run : bool or int
            As in `complete`.
        **settings

        Returns
        -------
        DataFrame
            The same frame; with `preview` a new one with a row for each asked row, `label`, `before` and `after`, whose
            `.attrs["estimate"]` is an `Estimate` of asking the rest (take it out before you write Parquet, which keeps JSON alone).

        Raises
        ------
        CompletionError
            When rows failed, after all other rows were written.
        StoppedError
            When no row could succeed, and the run ended early.
        KeyError, TypeError, ValueError
            As of `stale`; also when another server than the one in use answered the column.

        Examples
        --------
        >>> import llmframe, pandas as pd
        >>> from llmframe.testing import LocalServer
        >>> df = pd.DataFrame({"review": ["Works well.", "It broke."]})
        >>> with LocalServer() as server, llmframe.option_context(
        ...     base_url=server.base_url, api_key="any", model="gpt-6-luna", progress=False
        ... ):
        ...     df = df.llm.complete("review", "Translate to French.", into="french")
        ...     df.loc[1, "review"] = "It broke at once."
        ...     df = df.llm.refresh("french")
        ...     sent = llmframe.last_run().sent
        >>> sent, df.llm.stale("french").any()
        (1, np.False_)
        """
        from llmframe import _verbs  # noqa: PLC0415

        call = _verbs.prepared_refresh(
            self._frame,
            column,
            {
                **settings,
                "prompt": prompt,
                "reads": reads,
                "schema": schema,
                "labels": labels,
                "questions": questions,
                "examples": examples,
                "prefix": prefix,
            },
            preview=preview,
            where=where,
            overwrite=overwrite,
            dry_run=dry_run,
        )
        return _verbs.refreshed(call, dry_run=dry_run)  # type: ignore[no-any-return]

    @overload
    async def arefresh(
        self,
        column: Hashable,
        *,
        prompt: Prompt = None,
        reads: Hashable | None = None,
        schema: Schema | None = None,
        labels: Labels | None = None,
        questions: Mapping[str, Any] | None = None,
        examples: Rows | None = None,
        prefix: str | None = None,
        where: Mask | None = None,
        overwrite: bool = False,
        preview: int | None = None,
        dry_run: Literal[False] = False,
        **settings: Unpack[AgainKeywords],
    ) -> pd.DataFrame: ...
    @overload
    async def arefresh(
        self,
        column: Hashable,
        *,
        prompt: Prompt = None,
        reads: Hashable | None = None,
        schema: Schema | None = None,
        labels: Labels | None = None,
        questions: Mapping[str, Any] | None = None,
        examples: Rows | None = None,
        prefix: str | None = None,
        where: Mask | None = None,
        overwrite: bool = False,
        preview: None = None,
        dry_run: bool | int,
        **settings: Unpack[AgainKeywords],
    ) -> Estimate: ...
    @takes(AgainKeywords)
    async def arefresh(
        self,
        column: Hashable,
        *,
        prompt: Prompt = None,
        reads: Hashable | None = None,
        schema: Schema | None = None,
        labels: Labels | None = None,
        questions: Mapping[str, Any] | None = None,
        examples: Rows | None = None,
        prefix: str | None = None,
        where: Mask | None = None,
        overwrite: bool = False,
        preview: int | None = None,
        dry_run: bool | int = False,
        **settings: Unpack[AgainKeywords],
    ) -> pd.DataFrame | Estimate:
        """Do as `refresh` does, for cells and programs that await."""
        from llmframe import _verbs  # noqa: PLC0415

        return await _verbs.arefreshed(  # type: ignore[no-any-return]
            self._frame,
            column,
            {
                **settings,
                "prompt": prompt,
                "reads": reads,
                "schema": schema,
                "labels": labels,
                "questions": questions,
                "examples": examples,
                "prefix": prefix,
            },
            preview=preview,
            where=where,
            overwrite=overwrite,
            dry_run=dry_run,
        )

    def to_csv(
        self,
        path: str | os.PathLike[str] | TextIO | None = None,
        *,
        index: bool = True,
        columns: Sequence[Hashable] | None = None,
        sep: str = ",",
        encoding: str = "utf-8-sig",
        escape_formulas: bool = True,
    ) -> str | None:
        r"""Write the frame as a CSV that spreadsheets open and whose text and numbers `llmframe.read_csv` reads back exactly.

        A spreadsheet shows text that looks like a number as one: `007` as 7, digits beyond the 15th as zeros; and
        LibreOffice shows the apostrophe before formulas. `to_excel` writes a file where neither happens. Datetimes,
        categories and nested values are written as text, and `read_csv` gives text for them.

        Parameters
        ----------
        path : str, path or text file, optional
            The target; without it the text is returned.
        index : bool
            Whether to write the index.
        columns : list of labels, optional
            The columns to write; `None` writes all.
        sep : str
            What separates cells: `","`, `";"` (for Excel in countries with a decimal comma), a tab or `"|"`.
        encoding : str
            By default UTF-8 with the mark that Excel needs.
        escape_formulas : bool
            Put an apostrophe before text that a spreadsheet would run as a formula; `read_csv` removes it.

        Examples
        --------
        >>> import llmframe, pandas as pd
        >>> pd.DataFrame({"reply": ["=1+1"]}).llm.to_csv(index=False).splitlines()[1]
        '"\'=1+1"'
        """
        from llmframe._files import to_csv  # noqa: PLC0415

        return to_csv(
            self._frame,
            path,
            index=index,
            columns=columns,
            sep=sep,
            encoding=encoding,
            escape_formulas=escape_formulas,
        )

    def to_excel(
        self,
        path: str | os.PathLike[str] | IO[bytes],
        *,
        index: bool = True,
        columns: Sequence[Hashable] | None = None,
        sheet_name: str = "Sheet1",
    ) -> None:
        """Write the frame as an Excel file in which text is text: no formulas, no links, no apostrophes, no lost digits.

        It needs XlsxWriter, the extra `excel`.

        Parameters
        ----------
        path : str, path or binary file
            The target, a name that ends in `.xlsx`.
        index : bool
            Whether to write the index.
        columns : list of labels, optional
            The columns to write; `None` writes all.
        sheet_name : str
            The name of the sheet.

        Raises
        ------
        ValueError
            When the frame does not fit a sheet, or a text a cell (32,767 characters); the message names the place.

        Examples
        --------
        >>> import io, llmframe, pandas as pd
        >>> pd.DataFrame({"reply": ["=1+1"], "zip": ["007"]}).llm.to_excel(io.BytesIO(), index=False)
        """
        from llmframe._files import to_excel  # noqa: PLC0415

        to_excel(self._frame, path, index=index, columns=columns, sheet_name=sheet_name)
