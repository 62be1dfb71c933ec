"""The settings of a call: its verb, and its arguments resolved against options and environment."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from llmframe._addresses import is_openai
from llmframe._api import CHAT_COMPLETIONS, BatchApi
from llmframe._columns import (
    CUT_OFF,
    NO_CONTEXT,
    OUTPUT_BOUNDS,
    Context,
    Examples,
    Recipe,
    takes_breakpoints,
)
from llmframe._values import PARTLY, Again

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from llmframe._api import Account, Client
    from llmframe._columns import PromptSpec
    from llmframe._journal import Place, StoredAnswer
    from llmframe._options import Tuning
    from llmframe._pacing import Patience
    from llmframe._values import AnswerKind, Endpoint, Verdict


@dataclass(frozen=True)
class Verb:
    """What distinguishes one verb from another: the endpoint of its requests and the kind of its answers."""

    name: str
    endpoint: Endpoint
    kind: AnswerKind


@dataclass(frozen=True)
class Asking:
    """One way to ask the rows of a call.

    Parameters
    ----------
    engine
        Its name.
    recipes, spec, context
        As of a plan.
    kept_rows : bool array or None
        Rows that are not asked because their cells keep what they hold, and of which no record tells who answered them.
    """

    engine: str
    recipes: Sequence[Recipe]
    spec: PromptSpec
    context: Context
    kept_rows: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class AccountSettings:
    """The account that requests are sent with, how they are sent, and the journal that keeps their answers."""

    account: Account
    server: str
    journal: Place
    mode: str
    max_retries: int
    timeout: float
    patience: Patience
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    prices: Mapping[str, Mapping[str, float]]
    reattach: bool
    keep_batch_files: bool
    tuning: Tuning

    def batch_api(self, client: Client) -> BatchApi:
        return BatchApi(
            client,
            timeout=self.timeout,
            headers=self.headers,
            max_retries=self.max_retries,
            patience=self.patience,
            key=self.account.key_remedy,
        )


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A way to ask for answers of a form, which not every server holds to."""

    name: str
    """In messages and in the journal, such as `json_schema`."""
    way: str
    """How it asks, in messages: `for json_schema`."""
    params: Mapping[str, Any]
    context: Context
    further_draws: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, kw_only=True)
class RunSettings(AccountSettings):
    """All settings of a call."""

    verb: Verb
    model: str
    system: str | None
    params: Mapping[str, Any]
    errors: str
    max_concurrency: int | None
    max_cost: float | None = None
    """US dollars that the call may spend; `None`: no cap."""
    requests_per_minute: float | None
    tokens_per_minute: float | None
    progress: bool
    nested: bool
    version: str | None = None
    dedupe: bool = True
    fresh: bool = False
    fresh_since: float | None = None
    """When a fresh call began that several runs carry out, in seconds since the epoch; `None`: the journal says it."""
    retry_failed: bool = False
    reask: int = 0
    """How often an answer that does not fit is asked again."""
    context: Context = NO_CONTEXT
    """What the verb adds to each row's messages."""
    engine: str = ""
    """Of the verbs that can ask in several ways, the way chosen."""
    engine_reason: str = ""
    rival: Asking | None = None
    """The way that was not chosen, where llmframe chose: rows that were answered that way are not asked in this one."""
    examples: Examples | None = None
    """The user's worked examples, which join the context when it is known how a row's prompt is made."""
    further_draws: Sequence[Mapping[str, Any]] = ()
    """The parameters of further draws of each answer."""
    answers_until: float = math.inf
    """Only answers in the journal up to this time count, in seconds since the epoch."""
    rungs: Sequence[Rung] = ()
    """The ways to ask, the best one (that of the settings) first; empty: there is no other."""

    def asked_by(self, rung: Rung) -> RunSettings:
        """Return the settings that ask by a rung."""
        return replace(self, params=rung.params, context=rung.context, further_draws=rung.further_draws)

    def asks_again(self, stored: Verdict) -> bool:
        """Return whether a request is sent although the journal holds its body."""
        lacking = stored.value is None or stored.problem == PARTLY
        return stored.again is Again.PASSING or (self.retry_failed and lacking)

    @property
    def caches_explicitly(self) -> bool:
        """Whether the requests say what of them is cached: on OpenAI's own address, unless the user says it."""
        own_address = is_openai(self.account.base_url) and self.account.api_version is None
        takes_it = self.verb.endpoint is CHAT_COMPLETIONS and takes_breakpoints(self.model)
        return own_address and takes_it and "prompt_cache_options" not in self.params

    @property
    def most_output(self) -> int | None:
        """The tokens that each answer may have at most, as the parameters say; `None`: they do not."""
        stated = [self.params.get(name) for name in OUTPUT_BOUNDS]
        return max((most for most in stated if isinstance(most, int)), default=None)

    def is_served_by(self, stored: StoredAnswer, verdict: Verdict) -> bool:
        """Return whether a stored answer may be this call's: one that was cut off serves bounds up to its own."""
        if verdict.problem not in CUT_OFF:
            return True
        if self.most_output is None:
            return stored.output_bound is None
        return self.most_output <= (stored.output_bound or stored.usage.completion)

    @property
    def recipes(self) -> list[Recipe]:
        """What decides the answers, one for each draw."""
        return [self._recipe(params, draw) for draw, params in enumerate((self.params, *self.further_draws))]

    def _recipe(self, params: Mapping[str, Any], draw: int) -> Recipe:
        return Recipe(
            self.verb.name,
            self.server,
            self.verb.endpoint,
            self.model,
            params,
            self.headers,
            self.version,
            draw,
        )
