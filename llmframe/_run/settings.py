"""What a call asks for besides its data: a verb, and its arguments resolved against options and environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmframe._columns import Recipe
from llmframe._values import Tuning

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llmframe._api import Account
    from llmframe._values import AnswerKind, Endpoint


@dataclass(frozen=True)
class Verb:
    """What tells one verb from another: where its requests go, and what it makes of the answers."""

    name: str
    endpoint: Endpoint
    kind: AnswerKind


@dataclass(frozen=True)
class RunSettings:
    """Everything that a call says besides its data."""

    verb: Verb
    account: Account
    model: str
    server: str
    system: str | None
    params: Mapping[str, Any]
    headers: Mapping[str, str] = field(repr=False)
    journal: bool | Path
    mode: str
    errors: str
    max_concurrency: int | None
    max_retries: int
    timeout: float
    progress: bool
    prices: Mapping[str, Mapping[str, float]]
    nested: bool
    reattach: bool
    keep_batch_files: bool
    version: str | None = None
    dedupe: bool = True
    fresh: bool = False
    retry_failed: bool = False
    tuning: Tuning = field(default_factory=Tuning)

    @property
    def recipe(self) -> Recipe:
        """What decides the answers and is the same in every row."""
        return Recipe(
            self.verb.name,
            self.server,
            self.verb.endpoint,
            self.model,
            self.params,
            self.headers,
            self.version,
        )
