"""The verbs of batches: the batches of a journal are listed, collected and cancelled."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from llmframe._api import CHAT_COMPLETIONS, NotFoundError, connect
from llmframe._batch import UNREADABLE
from llmframe._columns import TEXT
from llmframe._errors import JournalError, StoppedError
from llmframe._journal import PartLabel, Recorder, journal_exists, open_journal
from llmframe._keywords import BatchKeywords, takes
from llmframe._loop import ShortTraceback, submit
from llmframe._pacing import NO_KEY, StopRun
from llmframe._run import Prices, make_collector
from llmframe._values import Again
from llmframe._verbs.arguments import resolve_for_batches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from typing import Unpack

    from llmframe._api import BatchApi
    from llmframe._batch import BatchResult
    from llmframe._journal import BatchPart, Journal, Session
    from llmframe._run import AccountSettings

T = TypeVar("T")

_DIGEST = blake2b(b"collect", digest_size=16).digest()


@takes(BatchKeywords)
@ShortTraceback()
def batches(**settings: Unpack[BatchKeywords]) -> pd.DataFrame:
    """List the batches in the journal, oldest first.

    With an API key, the states of the open batches are retrieved; otherwise, and if the server cannot be
    reached, they are the last known ones.

    Parameters
    ----------
    **settings

    Returns
    -------
    DataFrame
        One row per batch: `id`, `state` (the API's status; `"intended"` before it was created),
        `requests`, `completed`, `failed` (int64), `created` (datetime, UTC), `model`, `column` and
        `cost` (US dollars of the collected answers; missing before, and where one of them has no price).

    Examples
    --------
    >>> import llmframe
    >>> list(llmframe.batches().columns[:3])
    ['id', 'state', 'requests']
    """
    resolved = resolve_for_batches(settings)
    return _table(_run_on_private_loop(lambda: _list_parts(resolved)))


@takes(BatchKeywords)
@ShortTraceback()
def collect(**settings: Unpack[BatchKeywords]) -> pd.DataFrame:
    """Collect all of llmframe's batches in the account that have ended: their answers are written to the journal.

    The calls that submitted them then find the answers there, and pay nothing.

    Parameters
    ----------
    **settings

    Returns
    -------
    DataFrame
        As of `batches`.

    Raises
    ------
    StoppedError
        When the account's batches cannot be listed, or one cannot be read; the others are collected before.

    Examples
    --------
    >>> import llmframe
    >>> from llmframe.testing import LocalServer
    >>> with LocalServer() as server:
    ...     len(llmframe.collect(base_url=server.base_url, api_key="any"))
    0
    """
    resolved = resolve_for_batches(settings)
    return _table(_run_on_private_loop(lambda: _collect(resolved)))


@takes(BatchKeywords)
@ShortTraceback()
def cancel(batch: str, **settings: Unpack[BatchKeywords]) -> str:
    """Cancel a batch. Its finished answers are billed, and are collected by the next call or `collect`.

    Parameters
    ----------
    batch
        The batch's id, as in `batches()["id"]`.
    **settings

    Returns
    -------
    str
        The batch's state: `"cancelling"`, or the one in which it has ended.

    Raises
    ------
    ValueError
        When the account has no such batch.

    Examples
    --------
    >>> import llmframe
    >>> from llmframe.testing import LocalServer
    >>> with LocalServer() as server:
    ...     llmframe.cancel("batch_1", base_url=server.base_url, api_key="any")
    Traceback (most recent call last):
    ValueError: batch: the account has no batch 'batch_1'; llmframe.batches() lists those that are known
    """
    if not isinstance(batch, str) or not batch:
        raise TypeError(f"batch must be a batch's id, such as 'batch_abc123'; got {batch!r}")
    resolved = resolve_for_batches(settings)
    return _run_on_private_loop(lambda: _cancel(resolved, batch))


def _run_on_private_loop(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    task = submit(make)
    task.wait()
    try:
        return task.future.result()
    except StopRun as stopped:
        message = f"{stopped.stop.message}\nTo go on: {stopped.stop.remedy}."
        raise StoppedError(message, code=stopped.stop.code) from None


@asynccontextmanager
async def _batch_api(settings: AccountSettings) -> AsyncIterator[BatchApi]:
    if not settings.account.has_key:
        raise StopRun(NO_KEY)
    client, owned = connect(settings.account, timeout=settings.timeout)
    try:
        yield settings.batch_api(client)
    finally:
        if owned:
            await client.close()


async def _list_parts(settings: AccountSettings) -> list[BatchPart]:
    if not journal_exists(settings.journal):
        return []
    async with open_journal(settings.journal, settings.tuning) as journal:
        parts = await journal.batches.list_parts()
        if settings.account.has_key and settings.mode != "offline":
            with suppress(StopRun):
                await _update_states(settings, journal, [part for part in parts if part.open and part.batch])
        return await journal.batches.list_parts()


async def _update_states(settings: AccountSettings, journal: Journal, parts: Sequence[BatchPart]) -> None:
    if not parts:
        return
    async with _batch_api(settings) as api:
        for part in parts:
            if part.server == settings.server and part.batch is not None:
                with suppress(NotFoundError):
                    await journal.batches.set_state(part.nonce, await api.retrieve(part.batch))


async def _collect(settings: AccountSettings) -> list[BatchPart]:
    async with open_journal(settings.journal, settings.tuning) as journal, _batch_api(settings) as api:
        session = await journal.begin(_DIGEST, {"verb": "collect"})
        if session.obstacle is not None:
            raise JournalError(f"answers could not be kept, so nothing was collected: {session.obstacle}")
        try:
            label = PartLabel(session.recipe, settings.server, "", "")
            collector = make_collector(settings, CHAT_COMPLETIONS, TEXT, api, journal, session, None)
            await collector.find_batches(label, None, 0.0)
            unreadable = [
                await _collect_part(settings, api, journal, replace(session, recipe=part.recipe), part)
                for part in await collector.open_parts(settings.server)
                if part.batch is not None
            ]
            for stopped in filter(None, unreadable):  # the other batches were collected first
                raise stopped
        finally:
            await journal.end(session, {}, finished=True)
        return await journal.batches.list_parts()


async def _collect_part(
    settings: AccountSettings, api: BatchApi, journal: Journal, session: Session, part: BatchPart
) -> StopRun | None:
    """Collect a part if its batch has ended; return why its batch cannot be read, if it cannot."""
    prices = Prices(settings.prices)
    failed: list[JournalError] = []
    recorder = Recorder(journal, session, settings.tuning.commit_seconds, failed.append)

    def add_result(result: BatchResult, part: BatchPart) -> float | None:
        if result.answer is None or result.body is None:
            return None
        answer = result.answer._replace(asked=part.created)
        cost = prices.cost(answer, part.model)
        broke_off = TEXT.judge(result.body).again is Again.PASSING
        (recorder.add_spend if broke_off else recorder.add_answer)(answer, cost)
        return cost

    try:
        collector = make_collector(settings, CHAT_COMPLETIONS, TEXT, api, journal, session, recorder)
        await collector.collect_if_ended(part, add_result)
    except StopRun as stopped:
        if stopped.stop.code != UNREADABLE:
            raise
        return stopped
    finally:
        await recorder.finish()
    if failed:
        raise failed[0]
    return None


async def _cancel(settings: AccountSettings, batch: str) -> str:
    async with open_journal(settings.journal, settings.tuning) as journal, _batch_api(settings) as api:
        try:
            state = await api.cancel(batch)
        except NotFoundError:
            raise ValueError(
                f"batch: the account has no batch {batch!r}; llmframe.batches() lists those that are known"
            ) from None
        part = await journal.batches.find_batch(batch)
        if part is not None:
            await journal.batches.mark_cancelled(part.nonce)
            await journal.batches.set_state(part.nonce, state)
        return state.status


def _table(parts: Sequence[BatchPart]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": pd.Series([part.batch for part in parts], dtype="str"),
            "state": pd.Series([part.state for part in parts], dtype="str"),
            "requests": pd.Series([part.requests for part in parts], dtype="int64"),
            "completed": pd.Series([part.completed for part in parts], dtype="int64"),
            "failed": pd.Series([part.failed for part in parts], dtype="int64"),
            "created": pd.to_datetime([part.created for part in parts], unit="s", utc=True),
            "model": pd.Series([part.model for part in parts], dtype="str"),
            "column": pd.Series([part.title for part in parts], dtype="str"),
            "cost": pd.Series([part.cost for part in parts], dtype="float64"),
        }
    )
