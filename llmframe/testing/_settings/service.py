"""Settings of a server's answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

RESPONSE_FORMATS = ("json_schema", "json_object", "text", "ignored")
"""What a server knows of `response_format`, from the most to the least."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The models and answers of a server: one value, which is replaced as a whole when a setting changes."""

    latency: float | Callable[[random.Random], float] = 0.0
    models: tuple[str, ...] = ()
    api_key: str | None = None
    answer: Callable[[dict[str, Any]], str] | None = None
    headers: bool = True
    cached: float = 0.0
    response_format: str = "json_schema"
    decision_models: tuple[str, ...] = ()
    prompt_cache: bool = False

    def __post_init__(self) -> None:
        if not callable(self.latency) and not (isinstance(self.latency, int | float) and self.latency >= 0):
            raise ValueError(
                f"latency must be seconds, 0 or more, or a function of a random.Random, not {self.latency!r}."
            )
        if not (self.answer is None or callable(self.answer)):
            raise ValueError(f"answer must be a function of a request's body, not {self.answer!r}.")
        if self.response_format not in RESPONSE_FORMATS:
            known = ", ".join(map(repr, RESPONSE_FORMATS))
            raise ValueError(f"response_format must be one of {known}, not {self.response_format!r}.")
        if not (isinstance(self.cached, int | float) and 0 <= self.cached <= 1):
            raise ValueError(f"cached must be between 0 and 1, not {self.cached!r}.")
        if self.prompt_cache and self.cached:
            raise ValueError("With prompt_cache the cache tells what is cached; leave cached out.")
