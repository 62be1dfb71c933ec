"""The batches of a journal: listed, collected and cancelled, whichever calls they came from."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from llmframe._api import CHAT_COMPLETIONS, BatchApi, Gone, connect
from llmframe._errors import JournalError, StoppedError
from llmframe._journal import PartLabel, Recorder, journal_path, open_journal
from llmframe._loop import submit
from llmframe._pacing import NO_KEY, StopRun
from llmframe._run import Prices, make_collector
from llmframe._verbs.arguments import resolve_for_batches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from llmframe._batch import BatchResult
    from llmframe._journal import BatchPart, Journal, Session
    from llmframe._run import AccountSettings

T = TypeVar("T")

_DIGEST = blake2b(b"collect", digest_size=16).digest()


def batches(**settings: Any) -> pd.DataFrame:
    """List the batches that the journal knows, oldest first.

    Where there is an API key, the state of the open ones is asked for; otherwise, and where the
    server cannot be reached, it is the last that is known.

    Parameters
    ----------
    **settings
        `journal`, `client`, `api_key`, `base_url` and `timeout`, as for `df.llm.complete`.

    Returns
    -------
    DataFrame
        One row a batch: `id`, `state` (the API's word; `"intended"` before it was created),
        `requests`, `completed`, `failed` (int64), `created` (datetime, UTC), `model`, `column` and
        `cost` (US dollars of what was collected, or missing).

    Examples
    --------
    >>> import llmframe
    >>> list(llmframe.batches().columns[:3])
    ['id', 'state', 'requests']
    """
    where = resolve_for_batches(settings)
    return _table(_carry_out(lambda: _known(where)))


def collect(**settings: Any) -> pd.DataFrame:
    """Take in all batches of ours in the account that have ended: their answers go into the journal.

    The calls that they came from then find them there, and pay nothing.

    Parameters
    ----------
    **settings
        As for `batches`.

    Returns
    -------
    DataFrame
        As of `batches`.

    Raises
    ------
    StoppedError
        When the account cannot be asked.

    Examples
    --------
    >>> import llmframe
    >>> from llmframe.testing import LocalServer
    >>> with LocalServer() as server:
    ...     len(llmframe.collect(base_url=server.base_url, api_key="any"))
    0
    """
    where = resolve_for_batches(settings)
    return _table(_carry_out(lambda: _collect(where)))


def cancel(batch: str, **settings: Any) -> str:
    """Cancel a batch. What it has finished by then is billed, and comes with the next call or `collect`.

    Parameters
    ----------
    batch
        The batch's id, as in `batches()["id"]`.
    **settings
        As for `batches`.

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
    where = resolve_for_batches(settings)
    return _carry_out(lambda: _cancel(where, batch))


def _carry_out(make: Callable[[], Awaitable[T]]) -> T:
    async def carried_out() -> T:
        return await make()

    task = submit(carried_out)
    task.wait()
    try:
        return task.future.result()
    except StopRun as stopped:
        message = f"{stopped.stop.message}\nTo go on: {stopped.stop.remedy}."
        raise StoppedError(message, code=stopped.stop.code) from None


@asynccontextmanager
async def _batch_api(where: AccountSettings) -> AsyncIterator[BatchApi]:
    if not where.account.has_key:
        raise StopRun(NO_KEY)
    client, owned = connect(where.account, timeout=where.timeout)
    try:
        yield BatchApi(client, timeout=where.timeout, headers={}, max_retries=where.max_retries)
    finally:
        if owned:
            await client.close()


async def _known(where: AccountSettings) -> list[BatchPart]:
    if not journal_path(where.journal).exists():
        return []
    async with open_journal(where.journal, where.tuning) as journal:
        parts = await journal.batches.list_parts()
        if where.account.has_key and where.mode != "offline":
            with suppress(StopRun):
                await _look(where, journal, [part for part in parts if part.open and part.batch])
        return await journal.batches.list_parts()


async def _look(where: AccountSettings, journal: Journal, parts: Sequence[BatchPart]) -> None:
    if not parts:
        return
    async with _batch_api(where) as api:
        for part in parts:
            if part.server == where.server and part.batch is not None:
                with suppress(Gone):
                    await journal.batches.set_state(part.nonce, await api.retrieve(part.batch))


async def _collect(where: AccountSettings) -> list[BatchPart]:
    async with open_journal(where.journal, where.tuning) as journal, _batch_api(where) as api:
        session = await journal.begin(_DIGEST, {"verb": "collect"})
        if session.obstacle is not None:
            raise JournalError(f"answers could not be kept, so nothing was collected: {session.obstacle}")
        try:
            label = PartLabel(session.recipe, where.server, "", "")
            collector = make_collector(where, CHAT_COMPLETIONS, api, journal, session, None)
            await collector.find_batches(label, None, 0.0)
            for part in await collector.open_parts(where.server):
                if part.batch is not None:
                    await _collect_part(where, api, journal, replace(session, recipe=part.recipe), part)
        finally:
            await journal.end(session, {}, finished=True)
        return await journal.batches.list_parts()


async def _collect_part(
    where: AccountSettings, api: BatchApi, journal: Journal, session: Session, part: BatchPart
) -> None:
    prices = Prices(where.prices)
    failed: list[JournalError] = []
    recorder = Recorder(journal, session, where.tuning.commit_seconds, failed.append)

    def add_result(result: BatchResult, part: BatchPart) -> float | None:
        answer = result.answer
        if answer is None:
            return None
        cost = prices.cost(answer.model, part.model, answer.usage, answer.lane, answer.tier)
        recorder.add_answer(answer._replace(asked=part.created), cost)
        return cost

    try:
        collector = make_collector(where, CHAT_COMPLETIONS, api, journal, session, recorder)
        await collector.collect_if_ended(part, add_result)
    finally:
        await recorder.finish()
    if failed:
        raise failed[0]


async def _cancel(where: AccountSettings, batch: str) -> str:
    async with open_journal(where.journal, where.tuning) as journal, _batch_api(where) as api:
        try:
            state = await api.cancel(batch)
        except Gone:
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
