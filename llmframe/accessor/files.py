"""`llmframe.complete_file` and the other verbs over files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmframe._keywords import ClassifyKeywords, CompletionKeywords, ExtractKeywords, takes

if TYPE_CHECKING:
    import os
    from typing import Literal, TypeAlias, Unpack

    from llmframe._run import Run
    from llmframe.accessor.types import Labels, Rows, Schema

    FilePath: TypeAlias = str | os.PathLike[str]
    Overwrite: TypeAlias = Literal["missing"] | bool


@takes(CompletionKeywords)
def complete_file(
    source: FilePath,
    target: FilePath,
    column: str | None = None,
    prompt: str | None = None,
    *,
    into: str | None = None,
    where: str | None = None,
    limit: int | None = None,
    overwrite: Overwrite = False,
    error_into: str | None = None,
    force: bool = False,
    sep: str | None = None,
    encoding: str | None = None,
    **settings: Unpack[CompletionKeywords],
) -> Run:
    r"""Answer every row of a file into a new column of another file, whatever its size: `llmframe complete IN OUT`.

    The suffix names the format: CSV, TSV, JSONL or Parquet. Every other column stays as it was. A file of more than 50,000
    rows or 64 MB is read, answered and written chunk by chunk, some of them at once, so that memory holds three chunks; the
    result is that of a whole file, except that a row group of Parquet that is larger than a chunk becomes several. The rows
    are written in order to `{target}.part`, which is renamed at the end. Until then the answers are in the journal: after a
    crash the same call goes on.

    Parameters
    ----------
    source, target : str or path
        The file that is read, and the one that is written.
    column : str, optional
        The column with the texts.
    prompt : str, optional
        An instruction, or a template such as `"{title}: {body}"`.
    into : str, optional
        The new column; by default `f"{column}_completion"`.
    where : str, optional
        A condition of the rows that are sent, such as `"stars < 3 and shop in ['a', 'b']"`: comparisons of columns and
        constants, `and`, `or`, `not` and `in`. The columns that it names are read as a whole.
    limit : int, optional
        At most the first so many rows (of those of `where`) are sent.
    overwrite : {False, True, "missing"}
        Whether an existing column is replaced, or its missing cells are filled.
    error_into : str, optional
        A column for the reasons of rows without an answer.
    force : bool
        Whether a target that is there is replaced.
    sep : {",", ";", "\t", "|"}, optional
        The separator of CSV; by default it is found in the source, and kept for the target.
    encoding : str, optional
        The source's; Unicode is found. The target is UTF-8.
    **settings

    Returns
    -------
    Run
        Its counts, tokens, cost and `failures`; the values are in the file. With `mode="batch"` the columns that are read are
        in memory as a whole, so that batches are full.

    Raises
    ------
    CompletionError
        When rows failed, after the file was written.
    StoppedError
        When nothing more could succeed; the finished rows are in `{target}.partial`, and the same call continues.
    ValueError
        For a file or arguments that cannot be used, before anything is sent.

    Examples
    --------
    >>> import llmframe, pandas as pd, tempfile
    >>> from llmframe.testing import LocalServer
    >>> with LocalServer() as server, tempfile.TemporaryDirectory() as folder:
    ...     pd.DataFrame({"review": ["I love it.", None]}).to_csv(f"{folder}/in.csv", index=False)
    ...     run = llmframe.complete_file(
    ...         f"{folder}/in.csv", f"{folder}/out.csv", "review", "In one word:", into="mood",
    ...         base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False,
    ...     )
    ...     pd.read_csv(f"{folder}/out.csv").columns.tolist()
    ['review', 'mood']
    >>> run.answered, run.skipped
    (1, {'review': 1})
    """
    arguments: dict[str, Any] = {**settings, "column": column, "prompt": prompt, "into": into}
    return _enrich(
        "complete",
        (source, target),
        {**arguments, "overwrite": overwrite, "error_into": error_into},
        where=where,
        limit=limit,
        force=force,
        sep=sep,
        encoding=encoding,
    )


@takes(ExtractKeywords)
def extract_file(
    source: FilePath,
    target: FilePath,
    column: str | None,
    schema: Schema,
    prompt: str | None = None,
    *,
    prefix: str | None = None,
    quotes: bool = False,
    examples: Rows | None = None,
    reask: int = 1,
    where: str | None = None,
    limit: int | None = None,
    overwrite: Overwrite = False,
    error_into: str | None = None,
    force: bool = False,
    sep: str | None = None,
    encoding: str | None = None,
    **settings: Unpack[ExtractKeywords],
) -> Run:
    """Read typed values out of every row of a file into new columns of another file.

    Parameters
    ----------
    source, target, column, prompt, where, limit, overwrite, error_into, force, sep, encoding
        As of `complete_file`.
    schema, prefix, quotes, examples, reask
        As of `df.llm.extract`.
    **settings

    Returns
    -------
    Run
        As of `complete_file`.

    Examples
    --------
    >>> import llmframe, pandas as pd, tempfile
    >>> from llmframe.testing import LocalServer
    >>> with LocalServer() as server, tempfile.TemporaryDirectory() as folder:
    ...     pd.DataFrame({"review": ["The hinge broke."]}).to_csv(f"{folder}/in.csv", index=False)
    ...     run = llmframe.extract_file(
    ...         f"{folder}/in.csv", f"{folder}/out.csv", "review", ["part"],
    ...         base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False,
    ...     )
    ...     pd.read_csv(f"{folder}/out.csv").columns.tolist()
    ['review', 'part']
    """
    arguments: dict[str, Any] = {**settings, "column": column, "schema": schema, "prompt": prompt}
    own = {"prefix": prefix, "quotes": quotes, "examples": examples, "reask": reask}
    return _enrich(
        "extract",
        (source, target),
        {**arguments, **own, "overwrite": overwrite, "error_into": error_into},
        where=where,
        limit=limit,
        force=force,
        sep=sep,
        encoding=encoding,
    )


@takes(ClassifyKeywords)
def classify_file(
    source: FilePath,
    target: FilePath,
    column: str | None,
    labels: Labels,
    prompt: str | None = None,
    *,
    multi: bool = False,
    confidence: bool = False,
    probabilities: bool = False,
    into: str | None = None,
    examples: Rows | None = None,
    where: str | None = None,
    limit: int | None = None,
    overwrite: Overwrite = False,
    error_into: str | None = None,
    force: bool = False,
    sep: str | None = None,
    encoding: str | None = None,
    **settings: Unpack[ClassifyKeywords],
) -> Run:
    """Give every row of a file one of some labels, in a new column of another file.

    Parameters
    ----------
    source, target, column, prompt, where, limit, overwrite, error_into, force, sep, encoding
        As of `complete_file`.
    labels, multi, confidence, probabilities, into, examples
        As of `df.llm.classify`.
    **settings

    Returns
    -------
    Run
        As of `complete_file`.

    Examples
    --------
    >>> import llmframe, pandas as pd, tempfile
    >>> from llmframe.testing import LocalServer
    >>> with LocalServer() as server, tempfile.TemporaryDirectory() as folder:
    ...     pd.DataFrame({"review": ["The hinge broke."]}).to_csv(f"{folder}/in.csv", index=False)
    ...     run = llmframe.classify_file(
    ...         f"{folder}/in.csv", f"{folder}/out.csv", "review", ["praise", "complaint"],
    ...         base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False,
    ...     )
    ...     pd.read_csv(f"{folder}/out.csv").columns.tolist()
    ['review', 'review_label']
    """
    arguments: dict[str, Any] = {
        **settings,
        "column": column,
        "labels": labels,
        "prompt": prompt,
        "into": into,
    }
    own = {"multi": multi, "confidence": confidence, "probabilities": probabilities, "examples": examples}
    return _enrich(
        "classify",
        (source, target),
        {**arguments, **own, "overwrite": overwrite, "error_into": error_into},
        where=where,
        limit=limit,
        force=force,
        sep=sep,
        encoding=encoding,
    )


def _enrich(verb: str, files: tuple[FilePath, FilePath], arguments: dict[str, Any], **more: Any) -> Run:
    from llmframe import _verbs  # noqa: PLC0415

    return _verbs.enrich_file(verb, *files, arguments, **more)
