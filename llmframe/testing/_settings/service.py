"""Settings of a server's answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The models and answers of a server: one value, which is replaced as a whole when a setting changes."""

    latency: float | Callable[[random.Random], float] = 0.0
    models: tuple[str, ...] = ()
    api_key: str | None = None
    answer: Callable[[dict[str, Any]], str] | None = None
    headers: bool = True
    cached: float = 0.0
