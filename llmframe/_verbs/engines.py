"""The engines of `classify` and `ask`: which one asks, why, and how."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from llmframe._addresses import is_openai
from llmframe._api import CHAT_COMPLETIONS, DECISIONS
from llmframe._columns import (
    MOST_CHOICES,
    MOST_QUESTIONS,
    NO_CONTEXT,
    ChatQuestionAnswers,
    Context,
    DecisionAnswers,
    Question,
    Shown,
    decision_questions,
    question_record,
)
from llmframe._run import Asking, Verb
from llmframe._verbs.arguments import resolve
from llmframe._verbs.structured import asking_for, refuse_own_schemas

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmframe._columns import PromptSpec, QuestionAnswers
    from llmframe._run import RunSettings

Engine: TypeAlias = Literal["auto", "decisions", "chat"]

_TASK = "Answer each question about the user's text by JSON, with one of the values that its schema allows."
_DECISION_MODELS = frozenset({"gpt-6-luna"})
"""The models that `/v1/decisions` takes on OpenAI's own address, as of 2026-11."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What `classify` or `ask` asks, of either engine.

    Parameters
    ----------
    argument
        The verb's argument that the errors name.
    other
        The label that a tie of votes gives.
    votes
        The draws of each answer; `None`: one, without votes.
    """

    verb: str
    argument: str
    questions: Sequence[Question]
    shown: Shown
    engine: Engine
    votes: int | None
    other: str | None = None

    def settings(self, arguments: Mapping[str, Any]) -> tuple[RunSettings, QuestionAnswers]:
        """Check the arguments and choose the engine; what depends on the prompt is settled by `finish`."""
        refuse_own_schemas(self.verb, arguments)
        settings = resolve(Verb(self.verb, CHAT_COMPLETIONS, self._chat_kind), arguments)
        engine, reason = self._chosen(settings)
        settings = replace(settings, engine=engine, engine_reason=reason)
        if engine == "decisions":
            kind = DecisionAnswers(self.questions, self.shown)
            return replace(settings, verb=Verb(self.verb, DECISIONS, kind)), kind
        return self._by_chat(settings), self._chat_kind

    @property
    def _chat_kind(self) -> ChatQuestionAnswers:
        return ChatQuestionAnswers(self.questions, self.shown, draws=self.votes or 1, other=self.other)

    def _by_chat(self, settings: RunSettings) -> RunSettings:
        records = [question_record(self.questions, draw) for draw in range(self.votes or 1)]
        return asking_for(records, replace(settings, reask=1), Context(_TASK), self.argument)

    def finish(self, settings: RunSettings, spec: PromptSpec) -> tuple[RunSettings, PromptSpec]:
        """Put an instruction into a decision's questions, and note how the engine that was not chosen would ask."""
        rival = self._rival(settings, spec) if self.engine == "auto" else None
        if settings.engine == "decisions":
            settings, spec = self._by_decisions(settings, spec)
        return replace(settings, rival=rival), spec

    def _rival(self, settings: RunSettings, spec: PromptSpec) -> Asking | None:
        """Return how the engine that was not chosen would ask; `None`: it cannot."""
        if settings.engine == "chat":
            settings, spec = self._by_decisions(settings, spec)
        else:
            try:
                settings = self._as_chat(settings)
            except ValueError:  # the questions have more labels than a schema may have
                return None
        context, examples = settings.context, settings.examples
        context = context if examples is None else examples.added_to(context, spec)
        return Asking(settings.engine, settings.recipes[:1], spec, context)

    def _as_chat(self, settings: RunSettings) -> RunSettings:
        verb = Verb(self.verb, CHAT_COMPLETIONS, self._chat_kind)
        return self._by_chat(replace(settings, verb=verb, engine="chat"))

    def _by_decisions(self, settings: RunSettings, spec: PromptSpec) -> tuple[RunSettings, PromptSpec]:
        taken = DECISIONS.parameters()
        params = {name: value for name, value in settings.params.items() if name in taken}
        params["questions"] = decision_questions(self.questions, spec.instruction)
        asked = replace(
            settings,
            verb=Verb(self.verb, DECISIONS, settings.verb.kind),
            engine="decisions",
            params=params,
            further_draws=(),
            context=NO_CONTEXT,
            reask=0,
        )
        return asked, replace(spec, instruction=None)

    def _chosen(self, settings: RunSettings) -> tuple[str, str]:
        """Return the engine and why it is that one."""
        if self.engine not in ("auto", "decisions", "chat"):
            raise ValueError(f"engine must be 'auto', 'decisions' or 'chat'; got {self.engine!r}")
        obstacle = self._obstacle(settings)
        if self.engine == "decisions":
            if obstacle:
                raise ValueError(
                    f"engine: 'decisions' is not possible with {obstacle}; leave it out, or pass engine='chat'"
                )
            return "decisions", "as asked for"
        if self.engine == "auto" and not obstacle:
            obstacle = _elsewhere(settings)
            if not obstacle:
                return "decisions", "on OpenAI's own address"
        reason = obstacle if self.engine == "auto" else "as asked for"
        self._refuse_probabilities(reason)
        return "chat", reason

    def _obstacle(self, settings: RunSettings) -> str:
        """Return what of the call decisions do not take; empty: nothing."""
        if self.votes is not None:
            return f"votes={self.votes}"
        if settings.mode == "batch":
            return "mode='batch'"
        if unknown := sorted(settings.params.keys() - DECISIONS.parameters()):
            return f"{unknown[0]}="
        largest = max(len(question.options) for question in self.questions)
        if largest > MOST_CHOICES:
            return f"{largest} labels (decisions take {MOST_CHOICES})"
        if len(self.questions) > MOST_QUESTIONS:
            return f"{len(self.questions)} labels (decisions answer {MOST_QUESTIONS} questions)"
        return ""

    def _refuse_probabilities(self, reason: str) -> None:
        shown = self.shown
        wanted = (
            (shown.confidence, "confidence"),
            (shown.probabilities, "probabilities"),
            (shown.threshold, "threshold"),
        )
        for value, name in wanted:
            if value and self.votes is None:
                raise ValueError(
                    f"{name}: a chat completion states no probabilities (engine chat: {reason}); pass votes=5, which asks five times, "
                    "or engine='decisions' where the server has it"
                )


def _elsewhere(settings: RunSettings) -> str:
    """Return why decisions are not to be expected there; empty: they are."""
    account = settings.account
    if not is_openai(account.base_url) or account.api_version is not None:
        return "the server is not OpenAI's own"
    return "" if settings.model in _DECISION_MODELS else f"decisions do not take {settings.model}"
