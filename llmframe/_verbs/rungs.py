"""How answers that fit a schema are asked for: by the schema itself, and where a server does not hold to it, in other ways."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._addresses import is_azure, is_openai
from llmframe._run import Rung

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmframe._api import Account
    from llmframe._columns import Context
    from llmframe._run import RunSettings

_IN_WORDS = "Answer with one JSON object that fits this JSON Schema, and with nothing else:"
_JSON_OBJECT = {"response_format": {"type": "json_object"}}


def asking_for(formats: Sequence[Mapping[str, Any]], settings: RunSettings, context: Context) -> RunSettings:
    """Return the settings that ask for answers that fit a schema.

    Parameters
    ----------
    formats
        The `response_format` of each draw.
    context
        The verb's task and examples, without the schema.
    """
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
