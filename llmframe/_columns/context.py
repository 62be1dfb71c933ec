"""What stands around a row's own messages and is the same in every row: a verb's task, and worked examples."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import orjson

_SYSTEM_ROLES = ("system", "developer")


@dataclass(frozen=True)
class Context:
    """The messages that a verb adds to each row's own.

    Parameters
    ----------
    task
        The verb's own system text; it comes before the user's in one message.
    examples
        Worked examples, a user's text and the answer to it each; they follow the system message.
    digests
        Digests of the examples' texts, by which these rows are known again; no part of any message.
    further_tasks
        The task of each further draw, where it is another one.
    """

    task: str | None = None
    examples: tuple[tuple[str, str], ...] = ()
    further_tasks: tuple[str, ...] = ()
    digests: tuple[str, ...] = field(default=(), repr=False)

    def with_examples_of(self, other: Context) -> Context:
        return replace(self, examples=other.examples, digests=other.digests)

    def of_draw(self, draw: int) -> Context:
        """Return the context of a draw's requests."""
        if not draw or not self.further_tasks:
            return self
        return replace(self, task=self.further_tasks[draw - 1], further_tasks=())

    def around(self, messages: bytes) -> bytes:
        """Return a row's messages (a JSON array) with the task and the examples before them.

        Examples
        --------
        >>> Context("Be brief.").around(b'[{"content":"Hello","role":"user"}]')
        b'[{"content":"Be brief.","role":"system"},{"content":"Hello","role":"user"}]'
        """
        if not self._head:
            return messages
        # Within a text the quotation marks would be escaped.
        if b'"role":"system"' not in messages and b'"role":"developer"' not in messages:
            return b"[" + self._head + messages[1:]
        own = orjson.loads(messages)
        leading = next((at for at, one in enumerate(own) if one["role"] not in _SYSTEM_ROLES), len(own))
        systems, rest = own[:leading], own[leading:]
        if self.task is not None:
            systems = (
                [_before(self.task, systems[0]), *systems[1:]] if systems else [_message("system", self.task)]
            )
        return orjson.dumps([*systems, *self.pairs, *rest])

    @cached_property
    def _head(self) -> bytes:
        task = [] if self.task is None else [_message("system", self.task)]
        return b"".join(orjson.dumps(message) + b"," for message in (*task, *self.pairs))

    @property
    def pairs(self) -> list[dict[str, Any]]:
        return [
            _message(role, text)
            for pair in self.examples
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]


NO_CONTEXT = Context()


def _message(role: str, text: str) -> dict[str, Any]:
    return {"content": text, "role": role}


def _before(task: str, message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": f"{task}\n\n{content}"}
    return {**message, "content": [{"text": task, "type": "text"}, *content]}
