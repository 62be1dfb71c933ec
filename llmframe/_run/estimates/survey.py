"""What a call would ask: everything that a run does but the sending."""

from __future__ import annotations

import asyncio
from array import array
from typing import TYPE_CHECKING, NamedTuple

from llmframe._journal import PastAnswer
from llmframe._pacing import evenly
from llmframe._run.execution import LOOKUP_ROWS, Execution
from llmframe._run.lanes import limit_group
from llmframe._run.money import has_media
from llmframe._values import Key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmframe._columns import Plan
    from llmframe._journal import Journal, Session, StoredAnswer
    from llmframe._run.results import Results
    from llmframe._run.settings import RunSettings
    from llmframe._values import LearntPace

_MOST_PAST = 5_000
"""So many past answers are read of a recipe: more would not make the mean much surer."""
_MOST_OF_FRAME = 1_000
"""So many of the call's own rows are looked at that the journal has."""
_MOST_BODIES = 2_000
_MOST_BODY_BYTES = 4_000_000
"""So many bodies are kept, and bytes of them, to count their tokens by the text."""


class Past(NamedTuple):
    """What a past answer took; `request_bytes` and `output_bound` as of `PastAnswer`."""

    prompt: int
    completion: int
    cached: int
    written: int
    request_bytes: int | None
    output_bound: int | None
    body: bytes | None
    """Its request's body, where it is one of the call's own rows."""


class Requests(NamedTuple):
    """Requests that would be sent by one recipe."""

    numbers: Sequence[int]
    sizes: array[int]
    """The bytes of each body."""
    bodies: Sequence[bytes]
    """Bodies spread evenly over all."""
    content: str
    """The member of a body that holds the messages."""
    media: bool
    """Whether some hold images, audio or files."""
    corrections: bool
    """Whether they ask again for answers that do not fit."""


class Findings(NamedTuple):
    """What a call would ask, and what is known before."""

    rows: int
    skipped: Mapping[str, int]
    distinct: int
    from_journal: int
    in_batches: int
    """Requests in batches that are open: the call would wait for them."""
    requests: Sequence[Requests]
    past: Sequence[Past]
    cut_off: Sequence[int]
    """The tokens of stored answers that are asked for again, as a lower bound has cut them off."""
    answering: str | None
    """The model that gave the newest of the past answers."""
    misfits: int
    looked_at: int
    """How many stored first answers were looked at, and how many of them did not fit and were asked again."""
    learnt: LearntPace | None
    rungs_left: int
    """How many other ways to ask may have to be tried, as it is not known by which one the server's answers fit."""

    @property
    def to_ask(self) -> int:
        return sum(len(requests.numbers) for requests in self.requests)


class Survey(Execution):
    """Looks up what a run would look up, and notes what it would send."""

    def __init__(self, settings: RunSettings, plan: Plan, results: Results, columns: str) -> None:
        super().__init__(settings, plan, results, columns)
        self._whole = plan
        self._to_send: list[tuple[Plan, RunSettings, Sequence[int]]] = []
        self._first_plan: Plan | None = None
        self._misfits = 0
        self._answering: str | None = None
        self._in_batches = 0
        self._cut_off: dict[int, int] = {}
        """The tokens of stored answers that were cut off, by number."""

    async def find(self) -> Findings:
        """Return what the call would ask."""
        async with self._open_session(dict) as (journal, session):
            await self._ask_all(journal, session)
            past = await self._past_answers(journal, session)
            group = limit_group(self._settings)
            learnt = await journal.learnt_pace(group) if session.obstacle is None else None
        requests = await asyncio.to_thread(lambda: [_measured(*each) for each in self._to_send])
        results, offline = self._results, self._settings.mode == "offline"
        distinct, to_ask = len(self._whole.keys), sum(len(each.numbers) for each in requests)
        return Findings(
            rows=results.rows,
            skipped=dict(self._whole.skipped),
            distinct=distinct,
            from_journal=results.from_journal if offline else distinct - to_ask - self._in_batches,
            in_batches=self._in_batches,
            requests=requests,
            past=past,
            cut_off=[self._cut_off[number] for number in self._wanted_first if number in self._cut_off],
            answering=self._answering,
            misfits=self._misfits,
            looked_at=distinct - len(self._wanted_first) - self._in_batches,
            learnt=learnt,
            rungs_left=0 if self._rungs.proven else len(self._settings.rungs) - 1 - self._rungs.at,
        )

    @property
    def _wanted_first(self) -> Sequence[int]:
        return next((numbers for plan, _, numbers in self._to_send if plan.again is None), ())

    async def _send_if_possible(self, journal: Journal, session: Session, wanted: Sequence[int]) -> None:  # noqa: ARG002 (nothing is sent)
        keys, claimed = self._plan.keys, set[Key]()
        for start in range(0, len(wanted), LOOKUP_ROWS):
            block = [keys[number] for number in wanted[start : start + LOOKUP_ROWS]]
            claimed |= await journal.batches.claimed(block)
        self._in_batches += len(claimed)
        free = [number for number in wanted if keys[number] not in claimed] if claimed else wanted
        self._to_send.append((self._plan, self._settings, free))

    async def _numbers_of_next_rung(self) -> Sequence[int] | None:
        return None if self._to_send else await super()._numbers_of_next_rung()

    async def _ask_again(
        self, journal: Journal, session: Session, corrections: Mapping[int, tuple[str, str]]
    ) -> None:
        if self._first_plan is None:
            self._first_plan, self._misfits = self._plan, len(corrections)
        await super()._ask_again(journal, session, corrections)

    def _note_cut_off(self, number: int, stored: StoredAnswer) -> None:
        self._cut_off[number] = stored.usage.completion

    def _tell(self, line: str) -> None:
        """Say nothing: a dry run does not ask in another way."""

    def _is_finished(self, session: Session) -> bool:
        """Leave a fresh run open that was cut short, which the call would go on with, and no other one."""
        return session.since >= session.began

    async def _past_answers(self, journal: Journal, session: Session) -> list[Past]:
        """Return what past answers to requests of the recipe, and to the call's own rows, took."""
        plan = self._first_plan or self._plan
        history = await journal.history(self._whole.recipe_digest, _MOST_PAST)
        past = {each.key: each for each in reversed(history)}
        self._answering = next((each.model for each in history if each.model), None)
        wanted = set(self._wanted_first) - self._cut_off.keys()
        stored = evenly([number for number in range(len(plan.keys)) if number not in wanted], _MOST_OF_FRAME)
        numbers = {plan.keys[number]: number for number in stored}
        for each in await journal.lookup(session, list(numbers)):
            known = past.get(each.key)
            model = known.model if known is not None else None
            size = known.request_bytes if known is not None else None
            past[each.key] = PastAnswer(each.key, each.usage, size, each.output_bound, model)
        own = sorted(number for key, number in numbers.items() if key in past)
        bodies = {request.key: request.body for request in plan.requests(own)}
        return [_past(each, bodies.get(each.key)) for each in reversed(past.values()) if each.usage.prompt]


def _past(answer: PastAnswer, body: bytes | None) -> Past:
    usage, size = answer.usage, answer.request_bytes
    return Past(
        usage.prompt,
        usage.completion,
        usage.cached,
        usage.cache_write,
        len(body) if size is None and body is not None else size,
        answer.output_bound,
        body,
    )


def _measured(plan: Plan, settings: RunSettings, numbers: Sequence[int]) -> Requests:
    sizes, bodies, media = array("q"), [], False
    stride, kept = max(1, len(numbers) // _MOST_BODIES), 0
    for at, request in enumerate(plan.requests(numbers)):
        sizes.append(len(request.body))
        media = media or has_media(request.body)
        if at % stride == 0:
            bodies.append(request.body)
            kept += len(request.body)
            if kept > _MOST_BODY_BYTES:
                bodies, stride = bodies[::2], 2 * stride
                kept = sum(map(len, bodies))
    return Requests(
        numbers,
        sizes,
        bodies,
        settings.verb.endpoint.content,
        media,
        corrections=plan.again is not None,
    )
