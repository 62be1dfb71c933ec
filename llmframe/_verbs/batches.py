"""The batches of a journal: listed, collected and cancelled, whichever calls they came from."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from llmframe._api import sdk_client
from llmframe._api.batch_api import BatchApi, Gone
from llmframe._batch.collection import Harvester
from llmframe._errors import JournalError, StoppedError
from llmframe._journal import registry
from llmframe._journal.sqlite.batch_store import Label
from llmframe._loop.tasks import submit
from llmframe._options import options
from llmframe._pacing.retry import NO_KEY, Halt
from llmframe._run.feed import Recorder
from llmframe._run.prices import Prices
from llmframe._verbs.arguments import Place, place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from llmframe._batch.lines import Result
    from llmframe._journal.protocol import Session
    from llmframe._journal.sqlite.batch_store import Part
    from llmframe._journal.sqlite.journal import FileJournal

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
        `cost` (US dollars of what was harvested, or missing).

    Examples
    --------
    >>> import llmframe
    >>> list(llmframe.batches().columns[:3])
    ['id', 'state', 'requests']
    """
    where = place(settings)
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
    where = place(settings)
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
    where = place(settings)
    return _carry_out(lambda: _cancel(where, batch))


def _carry_out(make: Callable[[], Awaitable[T]]) -> T:
    async def carried_out() -> T:
        return await make()

    work = submit(carried_out)
    work.wait()
    try:
        return work.future.result()
    except Halt as halt:
        message = f"{halt.stop.message}\nTo go on: {halt.stop.remedy}."
        raise StoppedError(message, code=halt.stop.code) from None


@asynccontextmanager
async def _journal_of(where: Place) -> AsyncIterator[FileJournal]:
    journal = await registry.opened(where.journal)
    try:
        yield journal
    finally:
        await registry.on_thread(registry.release, journal)


@asynccontextmanager
async def _api_of(where: Place) -> AsyncIterator[BatchApi]:
    if not where.account.has_key:
        raise Halt(NO_KEY)
    client, owned = sdk_client.connect(where.account, timeout=where.timeout, shared_loop=False)
    transport = sdk_client.Transport(client, owned=owned, timeout=where.timeout, headers={})
    try:
        yield BatchApi(client, timeout=where.timeout, headers={}, max_retries=where.max_retries)
    finally:
        await transport.close()


async def _known(where: Place) -> list[Part]:
    if not registry.exists(where.journal):
        return []
    async with _journal_of(where) as journal:
        parts = await registry.on_thread(journal.parts.known)
        if where.account.has_key and not where.offline:
            with suppress(Halt):
                await _look(where, journal, [part for part in parts if part.open and part.batch])
        return await registry.on_thread(journal.parts.known)


async def _look(where: Place, journal: FileJournal, parts: Sequence[Part]) -> None:
    if not parts:
        return
    async with _api_of(where) as api:
        for part in parts:
            if part.server == where.server and part.batch is not None:
                with suppress(Gone):
                    await registry.on_thread(journal.parts.stands, part.nonce, await api.retrieve(part.batch))


async def _collect(where: Place) -> list[Part]:
    async with _journal_of(where) as journal, _api_of(where) as api:
        session = await registry.on_thread(journal.begin, _DIGEST, {"verb": "collect"}, fresh=b"")
        if session.obstacle is not None:
            raise JournalError(f"answers could not be kept, so nothing was collected: {session.obstacle}")
        try:
            label = Label(session.recipe, where.server, "", "")
            await _harvester(api, journal, session, None).find(label, None, 0.0)
            for part in await _harvester(api, journal, session, None).open_parts(where.server):
                if part.batch is not None:
                    await _take_in(where, api, journal, replace(session, recipe=part.recipe), part)
        finally:
            await registry.on_thread(journal.end, session, {}, finished=True)
        return await registry.on_thread(journal.parts.known)


async def _take_in(where: Place, api: BatchApi, journal: FileJournal, session: Session, part: Part) -> None:
    prices = Prices(where.prices)
    failed: list[JournalError] = []
    recorder = Recorder(journal, session, failed.append)

    def take(result: Result, part: Part) -> float | None:
        answer = result.answer
        if answer is None:
            return None
        cost = prices.cost(answer.model, part.model, answer.usage, answer.lane, answer.tier)
        recorder.answered(answer._replace(asked=part.created), cost)
        return cost

    try:
        await _harvester(api, journal, session, recorder).take_in(part, take)
    finally:
        await recorder.close()
    if failed:
        raise failed[0]


def _harvester(api: BatchApi, journal: FileJournal, session: Session, recorder: Recorder | None) -> Harvester:
    return Harvester(
        api, journal, session, recorder, keep_files=options.keep_batch_files, strict=options.reattach
    )


async def _cancel(where: Place, batch: str) -> str:
    async with _journal_of(where) as journal, _api_of(where) as api:
        try:
            state = await api.cancel(batch)
        except Gone:
            raise ValueError(
                f"batch: the account has no batch {batch!r}; llmframe.batches() lists those that are known"
            ) from None
        part = await registry.on_thread(journal.parts.find_batch, batch)
        if part is not None:
            await registry.on_thread(journal.parts.cancelled, part.nonce)
            await registry.on_thread(journal.parts.stands, part.nonce, state)
        return state.status


def _table(parts: Sequence[Part]) -> pd.DataFrame:
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
