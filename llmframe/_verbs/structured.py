"""What verbs have in common that ask chat completions for answers that fit a schema, and what is asked of servers that do not hold to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._addresses import is_azure, is_openai
from llmframe._columns import response_format
from llmframe._run import Rung

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmframe._api import Account
    from llmframe._columns import Context, Record
    from llmframe._run import RunSettings

_LOWEST_EFFORTS = {"gpt-6-luna": "none"}
"""The lowest `reasoning_effort` of models on OpenAI's own address, as of 2026-11: a row never changes, since it is a part of
identities. Reasoning billed 1.5 times as much for the same answers."""


_IN_WORDS = "Answer with one JSON object that fits this JSON Schema, and with nothing else:"
_JSON_OBJECT = {"response_format": {"type": "json_object"}}


def refuse_own_schemas(verb: str, arguments: Mapping[str, Any]) -> None:
    """Refuse the parameters that the verb fills in itself, also in `extra_body`."""
    extra = arguments.get("extra_body")
    extra = extra if isinstance(extra, Mapping) else {}
    for name in ("response_format", "tools", "tool_choice", "functions", "function_call"):
        if arguments.get(name) is not None or extra.get(name) is not None:
            raise TypeError(f"{name}: {verb} asks for its schema itself; leave it out, or use complete")
    if "questions" in extra:
        raise TypeError(f"extra_body: 'questions' is what llmframe fills in for {verb}; leave it out")


def checked_prefix(prefix: str | None) -> str:
    """Return what stands before the names of a verb's columns."""
    if prefix is not None and not isinstance(prefix, str):
        raise TypeError(f"prefix must be text, such as 'review_'; got {prefix!r}")
    return prefix or ""


def asking_for(
    records: Sequence[Record], settings: RunSettings, context: Context, argument: str = "schema"
) -> RunSettings:
    """Return the settings that ask for answers that fit a schema, with the lowest effort unless another one is stated.

    Parameters
    ----------
    records
        The answer to each draw.
    context
        The verb's task and examples, without the schema.
    argument
        The verb's argument that errors name.
    """
    effort = _LOWEST_EFFORTS.get(settings.model) if is_openai(settings.account.base_url) else None
    effort_params = {} if effort is None else {"reasoning_effort": effort}
    settings = replace(settings, params={**effort_params, **settings.params})
    formats = [response_format(record, argument) for record in records]
    schemas = [orjson.dumps(each["json_schema"]["schema"]).decode() for each in formats]
    task, *further = [f"{context.task}\n\n{_IN_WORDS}\n{schema}" for schema in schemas]
    in_words = replace(context, task=task, further_tasks=tuple(further) if set(further) - {task} else ())
    own = [{"response_format": each} for each in formats]
    rungs = [
        _rung("json_schema", "for json_schema", settings, own, context),
        _rung("json_object", "for json_object", settings, [_JSON_OBJECT] * len(formats), in_words),
        _rung("prompt", "in the prompt alone", settings, [{}] * len(formats), in_words),
    ]
    never_changes = _is_openais(settings.account)
    return replace(settings.asked_by(rungs[0]), rungs=() if never_changes else tuple(rungs))


def _rung(
    name: str, way: str, settings: RunSettings, draws: Sequence[Mapping[str, Any]], context: Context
) -> Rung:
    params, *further = [{**settings.params, **own} for own in draws]
    return Rung(name=name, way=way, params=params, further_draws=further, context=context)


def _is_openais(account: Account) -> bool:
    """Return whether OpenAI's own service answers, which holds to schemas; Azure's is the same."""
    return is_openai(account.base_url) or is_azure(account.base_url) or account.api_version is not None
