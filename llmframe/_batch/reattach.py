"""Before anything is sent: the batches that hold requests of a call are found, and collected if they have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmframe._pacing import StopRun
from llmframe._values import Stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llmframe._batch.collection import Collector
    from llmframe._batch.result_files import AddResult
    from llmframe._journal import PartLabel
    from llmframe._values import Key


async def reattach(
    collector: Collector, label: PartLabel, wanted: Iterable[Key], add_result: AddResult
) -> None:
    """Collect the ended batches that hold wanted requests or belong to this recipe; other batches stay open."""
    holding = await collector.parts_with(wanted)
    for part in await collector.open_parts(label.server):
        if part.batch is not None and (part.nonce in holding or part.recipe == label.recipe):
            await collector.collect_if_ended(part, add_result)


async def collect_before_live(
    collector: Collector, label: PartLabel, wanted: Iterable[Key], add_result: AddResult
) -> None:
    """Collect ended batches for a live call, none of whose requests may be in an open batch.

    Raises
    ------
    StopRun
        When a request is in an open batch.
    """
    parts = await collector.open_parts(label.server)
    holding = await collector.parts_with(wanted) if parts else set()
    under_way = []
    for part in parts:
        if part.nonce in holding:
            known = part if part.batch else await collector.resolve_intent(part)
            if known is not None and not (
                known.batch and await collector.collect_if_ended(known, add_result)
            ):
                under_way.append(known.batch or "one that is being submitted")
    if under_way:
        raise StopRun(in_open_batch(under_way))


def in_open_batch(batches: Sequence[str]) -> Stop:
    """Return the `Stop` for rows that are in open batches and would be paid a second time."""
    names = ", ".join(batches[:3]) + (f" and {len(batches) - 3} more" if len(batches) > 3 else "")
    return Stop(
        "in_open_batch",
        f"some of these rows are in a batch that is under way ({names}), so nothing more was sent",
        f"wait for it by mode='batch', or cancel it by llmframe.cancel({batches[0]!r}) and run this call again",
    )
