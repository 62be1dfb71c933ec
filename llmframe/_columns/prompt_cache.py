"""The provider's prompt cache: what the requests of a call begin with, and the breakpoint that marks its end.

A breakpoint is worth its price where other requests read what it makes the provider write: at the end of what is the
same in every row. Identities are made before, and do not change by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._json import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmframe._columns.context import Context
    from llmframe._columns.prompts import PromptSpec
    from llmframe._columns.recipe import Recipe
    from llmframe._columns.templates import Template

LEAST_TOKENS = 1_024
"""The provider keeps no shorter prefixes."""

_FIRST_VERSION = (5, 6)
_VERSION = re.compile(r"gpt-([0-9])(?:\.([0-9]+))?(?=-|$)")
_EXPLICIT = {"mode": "explicit"}
_OWN_BREAKPOINT = b'"prompt_cache_breakpoint":'
_END_OF_TEXT = b'","role":"'
_NEXT_PART = b',{"text":"'
_BEFORE_MESSAGES = ("tools", "functions", "response_format")
_SPACES = re.compile(r"\s+")
_WIDE = re.compile("[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")


def takes_breakpoints(model: str) -> bool:
    """Return whether one of OpenAI's models takes `prompt_cache_options` and breakpoints; older ones answer 400 to both.

    It is "supported for `gpt-5.6` and later models", says OpenAI's API reference of `prompt_cache_options` (2026-11). A
    name that does not tell its version counts as one that does not take them.

    Examples
    --------
    >>> [takes_breakpoints(model) for model in ("gpt-6-luna", "gpt-5.6-sol", "gpt-5.5", "gpt-4o", "mine")]
    [True, True, False, False, False]
    """
    found = _VERSION.match(model)
    return found is not None and (int(found[1]), int(found[2] or 0)) >= _FIRST_VERSION


def estimated_tokens(text: str) -> int:
    """Estimate the tokens of a text without a tokenizer, and rather too few than too many.

    Four characters are a token, white space in a row is one character, and two characters of the Chinese, Japanese or
    Korean script are a token (o200k: about four and a half of English prose, and one and a half of those scripts).

    Examples
    --------
    >>> estimated_tokens("Answer in one word."), estimated_tokens("用一个词回答。")
    (4, 3)
    """
    squeezed = _SPACES.sub(" ", text)
    wide = len(_WIDE.findall(squeezed))
    return (len(squeezed) - wide) // 4 + wide // 2


def has_breakpoints(messages: bytes) -> bool:
    """Return whether messages (a JSON array) have breakpoints of their own; within a text the quotation marks are escaped."""
    return _OWN_BREAKPOINT in messages


@dataclass(frozen=True)
class StaticPrefix:
    """What the messages of a draw begin with, as JSON, and how it is written with a breakpoint at its end.

    Parameters
    ----------
    digest
        Identifies what the provider keeps: the model and all that comes before the breakpoint.
    plain, marked
        The start of a row's messages, without and with the breakpoint.
    in_text
        Whether it ends within the text of a message, whose rest becomes a part of its own.
    """

    digest: bytes
    plain: bytes
    marked: bytes
    in_text: bool

    def mark(self, messages: bytes) -> bytes:
        """Return a row's messages with the breakpoint; those that begin otherwise as they are."""
        if not messages.startswith(self.plain):
            return messages
        rest = messages[len(self.plain) :]
        if not self.in_text:
            return self.marked + rest
        end = rest.find(_END_OF_TEXT)
        if not end:  # the text ends there too, and an empty part is none
            return self.marked.removesuffix(_NEXT_PART) + b"]" + rest[1:]
        return self.marked + rest[:end] + b'","type":"text"}]' + rest[end + 1 :]


@dataclass(frozen=True)
class PromptCache:
    """How the requests of a call use the provider's prompt cache.

    Parameters
    ----------
    templates
        The start of every request body, by draw.
    prefixes
        What is marked, by draw; `None`: there is no prefix that the provider would keep.
    """

    templates: Sequence[bytes]
    prefixes: Sequence[StaticPrefix | None]

    @property
    def digests(self) -> list[bytes | None]:
        """What identifies the prefixes, by draw."""
        return [None if prefix is None else prefix.digest for prefix in self.prefixes]

    def mark(self, messages: bytes, draw: int) -> bytes:
        prefix = self.prefixes[draw]
        return messages if prefix is None else prefix.mark(messages)


def prompt_cache(
    recipes: Sequence[Recipe],
    contexts: Sequence[Context],
    spec: PromptSpec | None,
    alike: Sequence[bytes] = (),
) -> PromptCache:
    """Return how the requests of a call use the cache, explicitly.

    Parameters
    ----------
    recipes, contexts
        Of each draw.
    spec
        How the rows' prompts are made; `None`: nothing is marked.
    alike
        The own messages of two rows, where the prompts are arrays: the messages that both begin with count as static.
    """
    explicit = [
        replace(recipe, params={**recipe.params, "prompt_cache_options": _EXPLICIT}).template
        for recipe in recipes
    ]
    prefixes = [
        None if spec is None else _prefix(recipe, context, spec, alike)
        for recipe, context in zip(recipes, contexts, strict=True)
    ]
    return PromptCache(explicit, prefixes)


def _prefix(
    recipe: Recipe, context: Context, spec: PromptSpec, alike: Sequence[bytes]
) -> StaticPrefix | None:
    rows = [context.around(own) for own in alike]
    by_definition = _worth_marking(recipe, *_static_start(spec, context))
    if by_definition is not None and all(row.startswith(by_definition.plain) for row in rows):
        return by_definition
    return _worth_marking(recipe, _shared_messages(rows), "")


def _worth_marking(recipe: Recipe, messages: Sequence[dict[str, Any]], text: str) -> StaticPrefix | None:
    """Return the prefix of these messages and the start of the next one's text, if the provider would keep it."""
    contents = [message["content"] for message in messages]
    if not (text or (contents and isinstance(contents[-1], str))):
        return None
    before = [
        canonical(recipe.params[name], sort=False) for name in _BEFORE_MESSAGES if recipe.params.get(name)
    ]
    texts = [text, *(each for each in contents if isinstance(each, str)), *map(_json_text, before)]
    if sum(map(estimated_tokens, texts)) < LEAST_TOKENS:
        return None
    plain = _start(messages)
    if text:
        marked = plain + b'{"content":[' + orjson.dumps(_marked_part(text)) + _NEXT_PART
        plain += b'{"content":' + orjson.dumps(text)[:-1]
    else:
        *first, last = messages
        marked = _start([*first, {**last, "content": [_marked_part(last["content"])]}])
    digest = blake2b(orjson.dumps([recipe.model, before]) + plain, digest_size=16).digest()
    return StaticPrefix(digest, plain, marked, bool(text))


def _start(messages: Sequence[Any]) -> bytes:
    """Write the start of an array of messages that goes on."""
    return b"[" + b"".join(orjson.dumps(message) + b"," for message in messages)


def _marked_part(text: str) -> dict[str, Any]:
    return {"prompt_cache_breakpoint": _EXPLICIT, "text": text, "type": "text"}


def _json_text(value: Any) -> str:
    return orjson.dumps(value).decode()


def _static_start(spec: PromptSpec, context: Context) -> tuple[list[dict[str, Any]], str]:
    """Return the messages that all rows begin with, and the start of the next one's text."""
    system, system_ends = context.task, True
    if spec.system is not None:
        text, system_ends = _static_text(spec.system)
        system = text if system is None else f"{system}\n\n{text}"
    if not system_ends:
        return [], system or ""
    messages = [] if system is None else [{"content": system, "role": "system"}]
    messages += context.pairs
    if spec.template is not None:
        return messages, _static_text(spec.template)[0]
    return messages, f"{spec.instruction}\n\n" if spec.instruction is not None else ""


def _static_text(template: Template) -> tuple[str, bool]:
    """Return a template's text in front of its first field, and whether that is all of it."""
    start = template.pieces[0] if template.pieces and isinstance(template.pieces[0], str) else ""
    return start, not template.columns


def _shared_messages(arrays: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return the messages that these arrays (of several) begin with, one after which others follow in each."""
    if not arrays:
        return []
    read = [orjson.loads(each)[:-1] for each in arrays]
    shared = []
    for messages in zip(*read, strict=False):
        if any(message != messages[0] or "content" not in message for message in messages):
            break
        shared.append(messages[0])
    return shared
