"""`llmframe.complete` and the other verbs over a list of prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from llmframe._keywords import AskKeywords, ClassifyKeywords, CompletionKeywords, ExtractKeywords, takes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Unpack

    import pandas as pd

    from llmframe._run import Estimate, Run
    from llmframe.accessor.types import Labels, Message, Rows, Schema


@overload
def complete(
    prompts: Iterable[str | Sequence[Message] | None],
    *,
    wait: Literal[True] = True,
    dry_run: Literal[False] = False,
    **settings: Unpack[CompletionKeywords],
) -> list[str | None]: ...
@overload
def complete(
    prompts: Iterable[str | Sequence[Message] | None],
    *,
    wait: Literal[False],
    dry_run: Literal[False] = False,
    **settings: Unpack[CompletionKeywords],
) -> Run: ...
@overload
def complete(
    prompts: Iterable[str | Sequence[Message] | None],
    *,
    wait: Literal[True] = True,
    dry_run: bool | int,
    **settings: Unpack[CompletionKeywords],
) -> Estimate: ...
@takes(CompletionKeywords)
def complete(
    prompts: Iterable[str | Sequence[Message] | None],
    *,
    wait: bool = True,
    dry_run: bool | int = False,
    **settings: Unpack[CompletionKeywords],
) -> list[str | None] | Run | Estimate:
    """Answer many prompts in one call.

    Parameters
    ----------
    prompts : iterable
        Texts or message arrays (lists of `{"role", "content"}` dicts), also mixed; also a column of polars or Arrow.
    wait : bool
        With `False`, return a `Run` at once.
    dry_run : bool or int
        As of `df.llm.complete`: an `Estimate` of what the call would cost.
    **settings

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

    return _verbs.run_or_return(_verbs.complete_list(prompts, settings), wait=wait, dry_run=dry_run)  # type: ignore[no-any-return]


@overload
async def acomplete(
    prompts: Iterable[str | Sequence[Message] | None],
    *,
    dry_run: Literal[False] = False,
    **settings: Unpack[CompletionKeywords],
) -> list[str | None]: ...
@overload
async def acomplete(
    prompts: Iterable[str | Sequence[Message] | None],
    *,
    dry_run: bool | int,
    **settings: Unpack[CompletionKeywords],
) -> Estimate: ...
@takes(CompletionKeywords)
async def acomplete(
    prompts: Iterable[str | Sequence[Message] | None],
    *,
    dry_run: bool | int = False,
    **settings: Unpack[CompletionKeywords],
) -> list[str | None] | Estimate:
    """Do as `complete` does, for cells and programs that await."""
    from llmframe import _verbs  # noqa: PLC0415

    return await _verbs.awaited(_verbs.complete_list(prompts, settings), dry_run=dry_run)  # type: ignore[no-any-return]


@overload
def extract(
    texts: Iterable[str | Sequence[Message] | None],
    schema: Schema,
    prompt: str | None = None,
    *,
    quotes: bool = False,
    examples: Rows | None = None,
    reask: int = 1,
    wait: Literal[True] = True,
    dry_run: Literal[False] = False,
    **settings: Unpack[ExtractKeywords],
) -> pd.DataFrame: ...
@overload
def extract(
    texts: Iterable[str | Sequence[Message] | None],
    schema: Schema,
    prompt: str | None = None,
    *,
    quotes: bool = False,
    examples: Rows | None = None,
    reask: int = 1,
    wait: Literal[False],
    dry_run: Literal[False] = False,
    **settings: Unpack[ExtractKeywords],
) -> Run: ...
@overload
def extract(
    texts: Iterable[str | Sequence[Message] | None],
    schema: Schema,
    prompt: str | None = None,
    *,
    quotes: bool = False,
    examples: Rows | None = None,
    reask: int = 1,
    wait: Literal[True] = True,
    dry_run: bool | int,
    **settings: Unpack[ExtractKeywords],
) -> Estimate: ...
@takes(ExtractKeywords)
def extract(
    texts: Iterable[str | Sequence[Message] | None],
    schema: Schema,
    prompt: str | None = None,
    *,
    quotes: bool = False,
    examples: Rows | None = None,
    reask: int = 1,
    wait: bool = True,
    dry_run: bool | int = False,
    **settings: Unpack[ExtractKeywords],
) -> pd.DataFrame | Run | Estimate:
    """Read typed values out of many texts in one call.

    Parameters
    ----------
    texts : iterable
        Texts or message arrays, also mixed.
    schema, quotes, reask
        As of `df.llm.extract`.
    examples : DataFrame or list of dicts, optional
        As of `df.llm.extract`; the texts are in the column `text`.
    prompt : str, optional
        An instruction before each text.
    wait : bool
        With `False`, return a `Run` at once.
    dry_run : bool or int
        As of `df.llm.complete`: an `Estimate` of what the call would cost.
    **settings

    Returns
    -------
    DataFrame
        One row for each text, in order, and one column for each field, in its dtype.

    Raises
    ------
    CompletionError
        When texts failed; its `result` is the DataFrame.

    Examples
    --------
    >>> import llmframe
    >>> from llmframe.testing import LocalServer
    >>> with LocalServer() as server:
    ...     parts = llmframe.extract(
    ...         ["The hinge broke.", None], {"part": str, "count": int},
    ...         base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False,
    ...     )
    >>> parts.shape, str(parts["count"].dtype)
    ((2, 2), 'Int64')
    """
    from llmframe import _verbs  # noqa: PLC0415

    call = _verbs.extract_list(
        texts, settings, schema=schema, prompt=prompt, quotes=quotes, examples=examples, reask=reask
    )
    return _verbs.run_or_return(call, wait=wait, dry_run=dry_run)  # type: ignore[no-any-return]


@overload
async def aextract(
    texts: Iterable[str | Sequence[Message] | None],
    schema: Schema,
    prompt: str | None = None,
    *,
    quotes: bool = False,
    examples: Rows | None = None,
    reask: int = 1,
    dry_run: Literal[False] = False,
    **settings: Unpack[ExtractKeywords],
) -> pd.DataFrame: ...
@overload
async def aextract(
    texts: Iterable[str | Sequence[Message] | None],
    schema: Schema,
    prompt: str | None = None,
    *,
    quotes: bool = False,
    examples: Rows | None = None,
    reask: int = 1,
    dry_run: bool | int,
    **settings: Unpack[ExtractKeywords],
) -> Estimate: ...
@takes(ExtractKeywords)
async def aextract(
    texts: Iterable[str | Sequence[Message] | None],
    schema: Schema,
    prompt: str | None = None,
    *,
    quotes: bool = False,
    examples: Rows | None = None,
    reask: int = 1,
    dry_run: bool | int = False,
    **settings: Unpack[ExtractKeywords],
) -> pd.DataFrame | Estimate:
    """Do as `extract` does, for cells and programs that await."""
    from llmframe import _verbs  # noqa: PLC0415

    call = _verbs.extract_list(
        texts, settings, schema=schema, prompt=prompt, quotes=quotes, examples=examples, reask=reask
    )
    return await _verbs.awaited(call, dry_run=dry_run)  # type: ignore[no-any-return]


@overload
def classify(
    texts: Iterable[str | Sequence[Message] | None],
    labels: Labels,
    prompt: str | None = None,
    *,
    multi: Literal[False] = False,
    confidence: Literal[False] = False,
    probabilities: Literal[False] = False,
    examples: Rows | None = None,
    wait: Literal[True] = True,
    dry_run: Literal[False] = False,
    **settings: Unpack[ClassifyKeywords],
) -> list[str | None]: ...
@overload
def classify(
    texts: Iterable[str | Sequence[Message] | None],
    labels: Labels,
    prompt: str | None = None,
    *,
    multi: Literal[True],
    confidence: bool = False,
    probabilities: bool = False,
    examples: Rows | None = None,
    wait: Literal[True] = True,
    dry_run: Literal[False] = False,
    **settings: Unpack[ClassifyKeywords],
) -> pd.DataFrame: ...
@overload
def classify(
    texts: Iterable[str | Sequence[Message] | None],
    labels: Labels,
    prompt: str | None = None,
    *,
    multi: bool = False,
    confidence: Literal[True],
    probabilities: bool = False,
    examples: Rows | None = None,
    wait: Literal[True] = True,
    dry_run: Literal[False] = False,
    **settings: Unpack[ClassifyKeywords],
) -> pd.DataFrame: ...
@overload
def classify(
    texts: Iterable[str | Sequence[Message] | None],
    labels: Labels,
    prompt: str | None = None,
    *,
    multi: bool = False,
    confidence: bool = False,
    probabilities: Literal[True],
    examples: Rows | None = None,
    wait: Literal[True] = True,
    dry_run: Literal[False] = False,
    **settings: Unpack[ClassifyKeywords],
) -> pd.DataFrame: ...
@overload
def classify(
    texts: Iterable[str | Sequence[Message] | None],
    labels: Labels,
    prompt: str | None = None,
    *,
    multi: bool = False,
    confidence: bool = False,
    probabilities: bool = False,
    examples: Rows | None = None,
    wait: Literal[False],
    dry_run: Literal[False] = False,
    **settings: Unpack[ClassifyKeywords],
) -> Run: ...
@overload
def classify(
    texts: Iterable[str | Sequence[Message] | None],
    labels: Labels,
    prompt: str | None = None,
    *,
    multi: bool = False,
    confidence: bool = False,
    probabilities: bool = False,
    examples: Rows | None = None,
    wait: Literal[True] = True,
    dry_run: bool | int,
    **settings: Unpack[ClassifyKeywords],
) -> Estimate: ...
@takes(ClassifyKeywords)
def classify(
    texts: Iterable[str | Sequence[Message] | None],
    labels: Labels,
    prompt: str | None = None,
    *,
    multi: bool = False,
    confidence: bool = False,
    probabilities: bool = False,
    examples: Rows | None = None,
    wait: bool = True,
    dry_run: bool | int = False,
    **settings: Unpack[ClassifyKeywords],
) -> list[str | None] | pd.DataFrame | Run | Estimate:
    """Give each of many texts one of some labels, in one call.

    Parameters
    ----------
    texts : iterable
        Texts or message arrays, also mixed.
    labels, multi, confidence, probabilities, examples
        As of `df.llm.classify`; the examples' texts are in the column `text`, their labels in `label`.
    prompt : str, optional
        An instruction before each text.
    wait : bool
        With `False`, return a `Run` at once.
    dry_run : bool or int
        As of `df.llm.complete`: an `Estimate` of what the call would cost.
    **settings

    Returns
    -------
    list of str or None, or DataFrame
        The labels in order; with `multi`, `confidence` or `probabilities` a DataFrame.

    Raises
    ------
    CompletionError
        When rows failed; its `result` is what would be returned.
    TypeError, ValueError
        For invalid arguments, before anything is sent.

    Examples
    --------
    >>> import llmframe
    >>> from llmframe.testing import LocalServer
    >>> with LocalServer() as server:
    ...     labels = llmframe.classify(
    ...         ["I love it.", None], ["praise", "complaint"],
    ...         base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False,
    ...     )
    >>> len(labels), labels[1]
    (2, None)
    """
    from llmframe import _verbs  # noqa: PLC0415

    call = _verbs.classify_list(
        texts,
        {
            **settings,
            "multi": multi,
            "confidence": confidence,
            "probabilities": probabilities,
            "examples": examples,
        },
        labels=labels,
        prompt=prompt,
    )
    return _verbs.run_or_return(call, wait=wait, dry_run=dry_run)  # type: ignore[no-any-return]


@overload
async def aclassify(
    texts: Iterable[str | Sequence[Message] | None],
    labels: Labels,
    prompt: str | None = None,
    *,
    multi: Literal[False] = False,
    confidence: Literal[False] = False,
    probabilities: Literal[False] = False,
    examples: Rows | None = None,
    dry_run: Literal[False] = False,
    **settings: Unpack[ClassifyKeywords],
) -> list[str | None]: ...
@overload
async def aclassify(
    texts: Iterable[str | Sequence[Message] | None],
    labels: Labels,
    prompt: str | None = None,
    *,
    multi: Literal[True],
    confidence: bool = False,
    probabilities: bool = False,
    examples: Rows | None = None,
    dry_run: Literal[False] = False,
    **settings: Unpack[ClassifyKeywords],
) -> pd.DataFrame: ...
@overload
async def aclassify(
    texts: Iterable[str | Sequence[Message] | None],
    labels: Labels,
    prompt: str | None = None,
    *,
    multi: bool = False,
    confidence: Literal[True],
    probabilities: bool = False,
    examples: Rows | None = None,
    dry_run: Literal[False] = False,
    **settings: Unpack[ClassifyKeywords],
) -> pd.DataFrame: ...
@overload
async def aclassify(
    texts: Iterable[str | Sequence[Message] | None],
    labels: Labels,
    prompt: str | None = None,
    *,
    multi: bool = False,
    confidence: bool = False,
    probabilities: Literal[True],
    examples: Rows | None = None,
    dry_run: Literal[False] = False,
    **settings: Unpack[ClassifyKeywords],
) -> pd.DataFrame: ...
@overload
async def aclassify(
    texts: Iterable[str | Sequence[Message] | None],
    labels: Labels,
    prompt: str | None = None,
    *,
    multi: bool = False,
    confidence: bool = False,
    probabilities: bool = False,
    examples: Rows | None = None,
    dry_run: bool | int,
    **settings: Unpack[ClassifyKeywords],
) -> Estimate: ...
@takes(ClassifyKeywords)
async def aclassify(
    texts: Iterable[str | Sequence[Message] | None],
    labels: Labels,
    prompt: str | None = None,
    *,
    multi: bool = False,
    confidence: bool = False,
    probabilities: bool = False,
    examples: Rows | None = None,
    dry_run: bool | int = False,
    **settings: Unpack[ClassifyKeywords],
) -> list[str | None] | pd.DataFrame | Estimate:
    """Do as `classify` does, for cells and programs that await."""
    from llmframe import _verbs  # noqa: PLC0415

    call = _verbs.classify_list(
        texts,
        {
            **settings,
            "multi": multi,
            "confidence": confidence,
            "probabilities": probabilities,
            "examples": examples,
        },
        labels=labels,
        prompt=prompt,
    )
    return await _verbs.awaited(call, dry_run=dry_run)  # type: ignore[no-any-return]


@overload
def ask(
    texts: Iterable[str | Sequence[Message] | None],
    questions: Mapping[str, Any],
    prompt: str | None = None,
    *,
    confidence: bool = False,
    examples: Rows | None = None,
    wait: Literal[True] = True,
    dry_run: Literal[False] = False,
    **settings: Unpack[AskKeywords],
) -> pd.DataFrame: ...
@overload
def ask(
    texts: Iterable[str | Sequence[Message] | None],
    questions: Mapping[str, Any],
    prompt: str | None = None,
    *,
    confidence: bool = False,
    examples: Rows | None = None,
    wait: Literal[False],
    dry_run: Literal[False] = False,
    **settings: Unpack[AskKeywords],
) -> Run: ...
@overload
def ask(
    texts: Iterable[str | Sequence[Message] | None],
    questions: Mapping[str, Any],
    prompt: str | None = None,
    *,
    confidence: bool = False,
    examples: Rows | None = None,
    wait: Literal[True] = True,
    dry_run: bool | int,
    **settings: Unpack[AskKeywords],
) -> Estimate: ...
@takes(AskKeywords)
def ask(
    texts: Iterable[str | Sequence[Message] | None],
    questions: Mapping[str, Any],
    prompt: str | None = None,
    *,
    confidence: bool = False,
    examples: Rows | None = None,
    wait: bool = True,
    dry_run: bool | int = False,
    **settings: Unpack[AskKeywords],
) -> pd.DataFrame | Run | Estimate:
    """Answer several questions in one reading of each of many texts.

    Parameters
    ----------
    texts : iterable
        Texts or message arrays, also mixed.
    questions, confidence, examples
        As of `df.llm.ask`; the examples' texts are in the column `text`.
    prompt : str, optional
        An instruction before each text.
    wait : bool
        With `False`, return a `Run` at once.
    dry_run : bool or int
        As of `df.llm.complete`: an `Estimate` of what the call would cost.
    **settings

    Returns
    -------
    DataFrame
        One row for each text, in order, and one column for each question.

    Raises
    ------
    CompletionError
        When rows failed; its `result` is the DataFrame.
    TypeError, ValueError
        For invalid arguments, before anything is sent.

    Examples
    --------
    >>> import llmframe
    >>> from llmframe.testing import LocalServer
    >>> with LocalServer() as server:
    ...     answers = llmframe.ask(
    ...         ["It broke."], {"spam": "Is it advertising?"},
    ...         base_url=server.base_url, api_key="any", model="gpt-6-luna", journal=False, progress=False,
    ...     )
    >>> str(answers["spam"].dtype)
    'boolean'
    """
    from llmframe import _verbs  # noqa: PLC0415

    call = _verbs.ask_list(
        texts,
        {**settings, "confidence": confidence, "examples": examples},
        questions=questions,
        prompt=prompt,
    )
    return _verbs.run_or_return(call, wait=wait, dry_run=dry_run)  # type: ignore[no-any-return]


@overload
async def aask(
    texts: Iterable[str | Sequence[Message] | None],
    questions: Mapping[str, Any],
    prompt: str | None = None,
    *,
    confidence: bool = False,
    examples: Rows | None = None,
    dry_run: Literal[False] = False,
    **settings: Unpack[AskKeywords],
) -> pd.DataFrame: ...
@overload
async def aask(
    texts: Iterable[str | Sequence[Message] | None],
    questions: Mapping[str, Any],
    prompt: str | None = None,
    *,
    confidence: bool = False,
    examples: Rows | None = None,
    dry_run: bool | int,
    **settings: Unpack[AskKeywords],
) -> Estimate: ...
@takes(AskKeywords)
async def aask(
    texts: Iterable[str | Sequence[Message] | None],
    questions: Mapping[str, Any],
    prompt: str | None = None,
    *,
    confidence: bool = False,
    examples: Rows | None = None,
    dry_run: bool | int = False,
    **settings: Unpack[AskKeywords],
) -> pd.DataFrame | Estimate:
    """Do as `ask` does, for cells and programs that await."""
    from llmframe import _verbs  # noqa: PLC0415

    call = _verbs.ask_list(
        texts,
        {**settings, "confidence": confidence, "examples": examples},
        questions=questions,
        prompt=prompt,
    )
    return await _verbs.awaited(call, dry_run=dry_run)  # type: ignore[no-any-return]
