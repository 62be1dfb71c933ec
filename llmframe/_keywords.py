"""The keywords of the verbs, the options and the batches, with their types and meanings, written once.

A function takes them as `**settings: Unpack[…]`, which type checkers and editors read. What runs (Jupyter, `help`) reads
the signature that `takes` gives it, in which each stands as a plain keyword.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from typing import TypedDict

    from openai import AsyncOpenAI, OpenAI
    from openai.types.chat import (
        ChatCompletionAudioParam,
        ChatCompletionPredictionContentParam,
        ChatCompletionToolChoiceOptionParam,
        ChatCompletionToolUnionParam,
    )
    from openai.types.chat.completion_create_params import (
        Function,
        FunctionCall,
        Moderation,
        PromptCacheOptions,
        ResponseFormat,
        WebSearchOptions,
    )
    from openai.types.shared import ReasoningEffort

    from llmframe._addresses import DatabaseAddress
else:

    class TypedDict:
        """Keeps annotations as texts; `typing.TypedDict` compiles each, which would be a part of `import llmframe`."""

        def __init_subclass__(cls, *, total: bool) -> None:
            bases = [base.__annotations__ for base in cls.__bases__ if base is not TypedDict]
            cls.__annotations__ = {
                name: annotation
                for each in (*bases, cls.__annotations__)
                for name, annotation in each.items()
            }


F = TypeVar("F", bound="Callable[..., Any]")

Client: TypeAlias = "AsyncOpenAI | OpenAI"
"""Azure's clients are among them."""
Key: TypeAlias = "str | Callable[[], str | Awaitable[str]]"
JournalPlace: TypeAlias = "bool | str | os.PathLike[str] | DatabaseAddress"


class BatchKeywords(TypedDict, total=False):
    """What `batches`, `collect` and `cancel` take."""

    journal: JournalPlace | None
    client: Client | None
    api_key: Key | None
    base_url: str | None
    timeout: float | None


class _SharedKeywords(BatchKeywords, total=False):
    """What a verb takes, and is an option too."""

    model: str | None
    mode: Literal["live", "batch", "offline"] | None
    errors: Literal["raise", "coerce"] | None
    max_cost: float | None
    max_concurrency: int | None
    requests_per_minute: float | None
    tokens_per_minute: float | None
    max_retries: int | None
    progress: bool | None


class OptionKeywords(_SharedKeywords, total=False):
    """The options."""

    server: str | None
    prices: Mapping[str, Mapping[str, float]] | None
    reattach: bool | None
    keep_batch_files: bool | None
    longest_wait: float | None
    limit_patience: float | None
    loop: Literal["private", "nested"] | None


class CallKeywords(_SharedKeywords, total=False):
    """What every verb takes."""

    system: str | None
    dedupe: bool | None
    fresh: bool | None
    retry_failed: bool | None
    version: str | None
    extra_body: Mapping[str, Any] | None
    extra_headers: Mapping[str, str] | None


class AnswerParameters(TypedDict, total=False):
    """The API's own parameters of a chat completion, except those of the form of its answer and what llmframe fills in."""

    audio: ChatCompletionAudioParam | None
    frequency_penalty: float | None
    logit_bias: dict[str, int] | None
    logprobs: bool | None
    max_completion_tokens: int | None
    max_tokens: int | None
    metadata: dict[str, str] | None
    modalities: list[Literal["text", "audio"]] | None
    moderation: Moderation | None
    n: int | None
    parallel_tool_calls: bool | None
    prediction: ChatCompletionPredictionContentParam | None
    presence_penalty: float | None
    prompt_cache_key: str | None
    prompt_cache_options: PromptCacheOptions | None
    prompt_cache_retention: Literal["in_memory", "24h"] | None
    reasoning_effort: ReasoningEffort | None
    safety_identifier: str | None
    seed: int | None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None
    stop: str | Sequence[str] | None
    store: bool | None
    temperature: float | None
    top_logprobs: int | None
    top_p: float | None
    user: str | None
    verbosity: Literal["low", "medium", "high"] | None
    web_search_options: WebSearchOptions | None


class CompletionParameters(AnswerParameters, total=False):
    """The API's own parameters of a chat completion: all of the SDK's type, except what llmframe fills in."""

    function_call: FunctionCall | None
    functions: Iterable[Function] | None
    response_format: ResponseFormat | None
    tool_choice: ChatCompletionToolChoiceOptionParam | None
    tools: Iterable[ChatCompletionToolUnionParam] | None


class CompletionKeywords(CallKeywords, CompletionParameters, total=False):
    """What `complete` takes."""


class ExtractKeywords(CallKeywords, AnswerParameters, total=False):
    """What `extract` takes; it states the form of the answer itself."""


class AskKeywords(ExtractKeywords, total=False):
    """What `ask` takes."""

    threshold: float | None
    votes: int | None
    engine: Literal["auto", "decisions", "chat"] | None


class ClassifyKeywords(AskKeywords, total=False):
    """What `classify` takes."""

    other: str | None


class AgainKeywords(ClassifyKeywords, CompletionKeywords, total=False):
    """What `stale` and `refresh` take: what any verb does, instead of what the column's record has."""


_MEANINGS = {
    "other": """str. A label for what fits no other; it is added unless it is one of the labels. A tie of votes gives it
and is then not missing.""",
    "threshold": """float. A value that is less probable than this is missing, and counted as unsure; to change it asks
nothing anew.""",
    "votes": """int. On chat, how often each row is asked, with the labels in another order each time; the shares of the votes
are the probabilities. A tie is missing.""",
    "engine": """{"auto", "decisions", "chat"}. `"decisions"`: OpenAI's endpoint for such questions, with probabilities, at a
fifth of the price or less, live only; `"chat"`: a chat completion with a schema. By default decisions where they are to be had.""",
    "model": "str. The model; by default `options.model`, and `gpt-6-luna` with OpenAI's own address.",
    "system": "str. A system message: text, or a template of the same columns.",
    "mode": """{"live", "batch", "offline"}. `"batch"`: through the Batch API, at half the price and within 24 hours;
`"offline"`: from the journal only.""",
    "errors": """{"raise", "coerce"}. What happens after a run in which rows failed: an error, or a warning.""",
    "max_cost": """float. US dollars that this call may spend: it stops before a request that could take it past them, and running
it again with more goes on. It needs a bound on the output, such as `max_completion_tokens`.""",
    "max_concurrency": "int. Most requests in flight; 1: strictly one after the other. By default it adapts, up to 1,000.",
    "requests_per_minute": "float. A ceiling of this process and account, beside what the server states.",
    "tokens_per_minute": "float. The same for tokens, of prompts and answers together.",
    "max_retries": "int. Further attempts for one row after a passing fault; rate limits do not count.",
    "progress": "bool. Whether a bar and the closing line are shown.",
    "dedupe": "bool. Whether equal rows are one request. `False` asks each, for answers drawn at random.",
    "fresh": """bool. Ask again now what the journal has; an interrupted run continues when it is repeated for the same rows.""",
    "retry_failed": "bool. Ask again for rows whose paid answer was none, such as a refusal or an empty text.",
    "version": "str. A mark such as `'v2'` that keeps these answers apart: new ones are asked for once, and then kept.",
    "journal": "bool or path. Where paid answers are kept: `True`, the default place; `False`, nowhere.",
    "client": "openai client. `AsyncOpenAI`, `AsyncAzureOpenAI` or their sync twins, instead of key and address.",
    "api_key": "str or function that returns it. By default `options.api_key`, or `OPENAI_API_KEY`.",
    "base_url": "str. The server's address; by default `options.base_url`, `OPENAI_BASE_URL`, or OpenAI's own.",
    "timeout": "float. Seconds for one request.",
    "extra_body": "dict. Members of the request's body that the SDK does not know.",
    "extra_headers": "dict. Headers of each request, text by text.",
}
_OF_THE_API = "The API's own parameters: https://platform.openai.com/docs/api-reference/chat/create."


@cache
def _parameters(keywords: Any) -> list[inspect.Parameter]:
    types: dict[str, Any] = keywords.__annotations__
    names = [
        *(name for name in _MEANINGS if name in types),
        *sorted(name for name in types if name not in _MEANINGS),
    ]
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=types[name])
        for name in names
    ]


def takes(keywords: Any) -> Callable[[F], F]:
    """Show what `**settings` may hold, a class above, as plain keywords of a function's signature, and their meanings in its docstring."""

    def show(function: F) -> F:
        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        taken = {each.name for each in own}
        added = [each for each in _parameters(keywords) if each.name not in taken]
        function.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        if function.__doc__:  # there is none under `python -OO`
            meanings = _described(tuple(each.name for each in added))
            function.__doc__ = inspect.cleandoc(function.__doc__).replace("**settings", meanings, 1)
        return function

    return show


@cache
def _described(names: Sequence[str]) -> str:
    """Return an entry for each keyword, as a docstring's section `Parameters` has them."""
    lines = []
    for name in names:
        if name in _MEANINGS:
            kind, _, meaning = _MEANINGS[name].partition(". ")
            lines += [f"{name} : {kind}, optional", *(f"    {line}" for line in meaning.splitlines())]
    of_the_api = [name for name in names if name not in _MEANINGS]
    if of_the_api:
        lines += [", ".join(of_the_api), f"    {_OF_THE_API}"]
    return "\n".join(lines)
