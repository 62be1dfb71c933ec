"""The verbs: `df.llm`, `series.llm` and `llmframe.complete`.

Accessors are stateless; pandas creates a new one at every access. The first call imports the rooms that it uses, so
that `import llmframe` takes little time beside pandas.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any, TextIO

import pandas as pd

if TYPE_CHECKING:
    import os
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from llmframe._columns import Overwrite, Prompt


def _overview(accessor: object, spelling: str) -> list[tuple[str, str]]:
    """Return what an accessor can do: each verb and the first line of its docstring, and where the rest is told."""
    verbs = {name: verb for name, verb in vars(type(accessor)).items() if not name.startswith("_")}
    width = max(map(len, verbs)) + len(spelling) + len(".(…)")
    lines = [(f"{spelling}.{name}(…)", str(verb.__doc__).partition("\n")[0]) for name, verb in verbs.items()]
    return [
        *((call.ljust(width), line) for call, line in lines),
        (f"help({spelling}.complete)".ljust(width), "What every keyword means, with an example."),
    ]


def _code(line: str) -> str:
    return re.sub("`(.+?)`", r"<code>\1</code>", line)


def _table(overview: list[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><td style="text-align:left"><code>{escape(name.strip())}</code></td>'
        f'<td style="text-align:left">{_code(escape(line))}</td></tr>'
        for name, line in overview
    )
    return f"<table>{rows}</table>"


@pd.api.extensions.register_series_accessor("llm")
class SeriesLLM:
    """Run an LLM over a Series: `series.llm`. The Series itself is not changed."""

    def __init__(self, series: pd.Series) -> None:
        self._series = series

    def __repr__(self) -> str:
        return "\n".join(map("  ".join, _overview(self, "series.llm")))

    def _repr_html_(self) -> str:
        return _table(_overview(self, "series.llm"))

    def complete(
        self, prompt: Prompt = None, *, where: Any = None, wait: bool = True, **settings: Any
    ) -> Any:
        """Answer every cell of the Series.

        Parameters
        ----------
        prompt : str or function, optional
            An instruction before each cell; a template, whose field is the Series' name or `{}`; or a
            function of a row. Without it the cells are the prompts: texts or message arrays.
        where : boolean mask, optional
            The rows to send; the others are missing in the result.
        wait : bool
            With `False`, return a `Run` at once and continue in the background.
        **settings
            As for `df.llm.complete`.

        Returns
        -------
        Series
            Text (pandas' own dtype for it), with the same index; missing where there is no answer.

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

        return _verbs.run_or_return(_verbs.SeriesCompletion(self._series, prompt, where, settings), wait=wait)

    async def acomplete(self, prompt: Prompt = None, *, where: Any = None, **settings: Any) -> pd.Series:
        """Do as `complete` does, for cells and programs that await."""
        from llmframe import _verbs  # noqa: PLC0415

        return await _verbs.awaited(_verbs.SeriesCompletion(self._series, prompt, where, settings))  # type: ignore[no-any-return]


@pd.api.extensions.register_dataframe_accessor("llm")
class DataFrameLLM:
    """Run an LLM over a column of a DataFrame: `df.llm`."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def __repr__(self) -> str:
        return "\n".join(map("  ".join, _overview(self, "df.llm")))

    def _repr_html_(self) -> str:
        return _table(_overview(self, "df.llm"))

    def complete(
        self,
        column: Hashable | None = None,
        prompt: Prompt = None,
        *,
        into: Hashable | None = None,
        where: Any = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        wait: bool = True,
        **settings: Any,
    ) -> Any:
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
        wait : bool
            With `False`, return a `Run` at once and continue in the background; its `result()` writes
            the column.
        **settings
            `model`, `system` (text or template), `mode` ("live"; "batch": through the Batch API, at half
            the price and within 24 hours; "offline": from the journal only),
            `errors` ("raise" or "coerce"), `max_concurrency`, `requests_per_minute`, `tokens_per_minute`
            (ceilings of this process and account), `dedupe`, `fresh` (send again; an interrupted run
            continues when it is repeated for the same rows), `retry_failed`, `version`, `progress`,
            `journal`, `client`, `api_key`, `base_url`, `timeout` (seconds for one request),
            `max_retries`, `extra_body`, `extra_headers`, and the API's own parameters, such as
            `temperature=0`.

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

        completion = _verbs.FrameCompletion(
            self._frame, column, prompt, into, where, overwrite, error_into, settings
        )
        return _verbs.run_or_return(completion, wait=wait)

    async def acomplete(
        self,
        column: Hashable | None = None,
        prompt: Prompt = None,
        *,
        into: Hashable | None = None,
        where: Any = None,
        overwrite: Overwrite = False,
        error_into: Hashable | None = None,
        **settings: Any,
    ) -> pd.DataFrame:
        """Do as `complete` does, for cells and programs that await."""
        from llmframe import _verbs  # noqa: PLC0415

        completion = _verbs.FrameCompletion(
            self._frame, column, prompt, into, where, overwrite, error_into, settings
        )
        return await _verbs.awaited(completion)  # type: ignore[no-any-return]

    def to_csv(self, path: str | os.PathLike[str] | TextIO | None = None, **settings: Any) -> str | None:
        r"""Write the frame as a CSV that spreadsheets open correctly and `llmframe.read_csv` reads back equal.

        Parameters
        ----------
        path : str, path or text file, optional
            The target; without it the text is returned.
        **settings
            `index=True`, `columns`, `sep=","`, `encoding="utf-8-sig"` (UTF-8 with the mark that Excel
            needs), and `escape_formulas=True`, which puts an apostrophe before text that a
            spreadsheet would run as a formula; `read_csv` removes it.

        Examples
        --------
        >>> import llmframe, pandas as pd
        >>> pd.DataFrame({"reply": ["=1+1"]}).llm.to_csv(index=False).splitlines()[1]
        '"\'=1+1"'
        """
        from llmframe._files import to_csv  # noqa: PLC0415

        return to_csv(self._frame, path, **settings)


def complete(
    prompts: Iterable[str | Sequence[Mapping[str, Any]] | None], *, wait: bool = True, **settings: Any
) -> Any:
    """Answer many prompts in one call.

    Parameters
    ----------
    prompts : iterable
        Texts or message arrays (lists of `{"role", "content"}` dicts), also mixed; also a column of polars or Arrow.
    wait : bool
        With `False`, return a `Run` at once.
    **settings
        As for `df.llm.complete`.

    Returns
    -------
    list of str or None
        The answers, in order; `None` for a missing prompt or, with `errors="coerce"`, a failed one.

    Raises
    ------
    CompletionError
        When prompts failed; its `result` is the list.

    Examples
    --------
    >>> import llmframe
    >>> from llmframe.testing import LocalServer
    >>> with LocalServer() as server:
    ...     answers = llmframe.complete(
    ...         [[{"role": "user", "content": "Hello"}], "Goodbye"],
    ...         base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False,
    ...     )
    >>> len(answers)
    2
    """
    from llmframe import _verbs  # noqa: PLC0415

    return _verbs.run_or_return(_verbs.ListCompletion(prompts, settings), wait=wait)


async def acomplete(
    prompts: Iterable[str | Sequence[Mapping[str, Any]] | None], **settings: Any
) -> list[str | None]:
    """Do as `complete` does, for cells and programs that await."""
    from llmframe import _verbs  # noqa: PLC0415

    return await _verbs.awaited(_verbs.ListCompletion(prompts, settings))  # type: ignore[no-any-return]
