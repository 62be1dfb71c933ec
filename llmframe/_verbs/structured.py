"""What verbs have in common that ask a chat completion for JSON of a schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmframe._addresses import is_openai
from llmframe._columns import response_format

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmframe._columns import Record
    from llmframe._run import RunSettings

_LOWEST_EFFORTS = {"gpt-6-luna": "none"}
"""The lowest `reasoning_effort` of models on OpenAI's own address, as of 2026-11: a row never changes, since it is a part of
identities. Reasoning billed 1.5 times as much for the same answers."""


def refuse_own_schemas(verb: str, arguments: Mapping[str, Any]) -> None:
    """Refuse the parameters that the verb fills in itself."""
    for name in ("response_format", "tools", "tool_choice", "functions", "function_call"):
        if arguments.get(name) is not None:
            raise TypeError(f"{name}: {verb} asks for its schema itself; leave it out, or use complete")


def schema_params(settings: RunSettings, root: Record, argument: str = "schema") -> dict[str, Any]:
    """Return a call's parameters, with those that ask for a record."""
    effort = _LOWEST_EFFORTS.get(settings.model) if is_openai(settings.account.base_url) else None
    effort_params = {} if effort is None else {"reasoning_effort": effort}
    return {**effort_params, **settings.params, "response_format": response_format(root, argument)}
