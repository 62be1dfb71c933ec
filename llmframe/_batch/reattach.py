"""Before anything is sent: what batches hold of a call's requests is found, and taken in where they have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmframe._pacing.retry import Halt, Stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llmframe._batch.collection import Harvester, Take
    from llmframe._journal.sqlite.batch_store import Label
    from llmframe._values import Key


async def reattach(harvester: Harvester, label: Label, wanted: Iterable[Key], take: Take) -> None:
    """Take in what has ended of the batches that hold wanted requests, and of this recipe's; others stay open."""
    holding = await harvester.holding(wanted)
    for part in await harvester.open_parts(label.server):
        if part.batch is not None and (part.nonce in holding or part.recipe == label.recipe):
            await harvester.take_in(part, take)


async def take_back(harvester: Harvester, label: Label, wanted: Iterable[Key], take: Take) -> None:
    """Do likewise for a call that sends its requests one by one; none may be in a batch that is open.

    Raises
    ------
    Halt
        When one is.
    """
    parts = await harvester.open_parts(label.server)
    holding = await harvester.holding(wanted) if parts else set()
    under_way = []
    for part in parts:
        if part.nonce in holding:
            known = part if part.batch else await harvester.settle_intention(part)
            if known is not None and not (known.batch and await harvester.take_in(known, take)):
                under_way.append(known.batch or "one that is being submitted")
    if under_way:
        raise Halt(in_open_batch(under_way))


def in_open_batch(batches: Sequence[str]) -> Stop:
    """Say that rows are in batches, which would be paid a second time."""
    names = ", ".join(batches[:3]) + (f" and {len(batches) - 3} more" if len(batches) > 3 else "")
    return Stop(
        "in_open_batch",
        f"some of these rows are in a batch that is under way ({names}), so nothing more was sent",
        f"wait for it by mode='batch', or cancel it by llmframe.cancel({batches[0]!r}) and run this call again",
    )
