"""The verbs `stale` and `refresh`: a column after its prompt, its model or its inputs have changed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llmframe._columns import row_mask
from llmframe._errors import counted
from llmframe._loop import ShortTraceback, wait_until_shown
from llmframe._options import options
from llmframe._pacing import evenly
from llmframe._run import Run, say
from llmframe._verbs.calls import Refreshing, awaited, run_or_return
from llmframe._verbs.refreshing.calls_again import CallAgain, call_again
from llmframe._verbs.refreshing.staleness import MOST_DIGESTS, Staleness

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    import numpy.typing as npt

    from llmframe._run import Results
    from llmframe._verbs.calls import FrameCall

    Rows = npt.NDArray[np.bool_]

_MOST_RECIPES = 8
"""A record remembers at most this many earlier ways in which its column was asked."""


def _assessed(
    frame: pd.DataFrame, column: Hashable, given: Mapping[str, Any], where: Any
) -> tuple[CallAgain, Staleness, Rows]:
    mask = row_mask(where, frame.index)
    again = call_again(frame, column, given)
    found = Staleness(again, limited=bool(again.again.get("limited")) and mask is None)
    return again, found, np.ones(len(frame), dtype=bool) if mask is None else mask


@ShortTraceback()
def stale_rows(frame: pd.DataFrame, column: Hashable, given: Mapping[str, Any], *, where: Any) -> pd.Series:
    again, found, chosen = _assessed(frame, column, given, where)
    rows = pd.Series(found.stale & chosen, index=frame.index, name=again.column)
    rows.attrs["edited"] = int((found.edited & chosen).sum())
    return rows


@dataclass(frozen=True)
class Refresh:
    """A refresh that is ready to run.

    Attributes
    ----------
    call
        What is asked; `None`: nothing is to be done.
    rest
        With a preview, what is left to be asked after it.
    told
        What the closing line says of the column.
    progress
        Whether it is said.
    """

    frame: pd.DataFrame
    call: FrameCall | None
    rest: FrameCall | None
    told: str
    progress: bool


@ShortTraceback()
def prepared_refresh(
    frame: pd.DataFrame,
    column: Hashable,
    given: Mapping[str, Any],
    *,
    preview: int | None,
    where: Any,
    overwrite: bool,
    dry_run: bool | int,
) -> Refresh:
    """Find the rows to ask, and make the call that asks them."""
    _check(preview, overwrite, dry_run)
    again, found, chosen = _assessed(frame, column, given, where)
    rows = (found.stale | found.edited if overwrite else found.stale) & chosen
    edited = 0 if overwrite else int((found.edited & chosen).sum())
    told = f"llmframe: {counted(int(rows.sum()), 'row')} of {again.column} {'was' if rows.sum() == 1 else 'were'} stale"
    told += f", {edited:,} edited by hand and left alone (overwrite=True replaces them)" if edited else ""
    progress = bool(options.progress if again.how.get("progress") is None else again.how["progress"])
    if preview is not None:
        return _preview(again, found, rows, preview, told)
    if not rows.any() and not dry_run:
        return Refresh(frame, None, None, told, progress)
    again.sending()
    reasons = again.recorded.reasons
    call = again.made(again.now, again.how, where=rows, error_into=reasons)
    _ask(call, found, rows)
    call.refreshing = Refreshing(
        found.written, _record(again, found, overwrite=overwrite, whole=where is None)
    )
    return Refresh(frame, call, None, told, progress)


def _check(preview: int | None, overwrite: bool, dry_run: bool | int) -> None:
    whole = isinstance(preview, int) and not isinstance(preview, bool)
    if preview is not None and not (whole and preview > 0):
        raise ValueError(f"preview must be a whole number of at least 1, such as 30; got {preview!r}")
    if preview is not None and dry_run:
        raise ValueError(
            "dry_run: a preview has the price of the rest in its attrs['estimate']; leave one of them out"
        )
    if not isinstance(overwrite, bool):
        raise TypeError(
            f"overwrite must be False or True, which replaces what was edited by hand; got {overwrite!r}"
        )


def _ask(call: FrameCall, found: Staleness, rows: Rows) -> None:
    """Let each of equal rows ask for the draw that it has among all rows."""
    if not call.settings.dedupe:
        call.ask(found.plan_of(rows))


def _record(again: CallAgain, found: Staleness, *, overwrite: bool, whole: bool) -> dict[str, Any]:
    kept, plan = again.again, found.now.call.plan
    recipes = [plan.recipe_digest.hex(), *kept.get("recipes", ())]
    edited = [] if overwrite and whole else found.edited_digests()
    return {
        "recipes": list(dict.fromkeys(recipes))[:_MOST_RECIPES],
        "requests": plan.requests_digest.hex() if whole else "",
        "limited": kept.get("limited", False),
        "mixed": kept.get("mixed", not kept) or len(edited) > MOST_DIGESTS,
        **({"edited": edited[:MOST_DIGESTS]} if edited else {}),
    }


def _preview(again: CallAgain, found: Staleness, rows: Rows, count: int, told: str) -> Refresh:
    again.sending()
    chosen = evenly(np.flatnonzero(rows & found.now.sendable).tolist(), count)
    positions, sample = np.array(chosen, dtype=np.intp), np.zeros(len(rows), dtype=bool)
    sample[positions] = True
    how = dict(again.how)
    if how.get("mode", options.mode) == "batch":  # nobody looks at thirty rows a day later
        how["mode"] = "live"
    call = again.made(again.now, how, where=sample)
    _ask(call, found, sample)
    name = again.column if again.column in call.names else call.value_columns[0]

    def table(results: Results, record: dict[str, Any], ending: str) -> pd.DataFrame:  # noqa: ARG001
        after = results.columns(again.frame.index, call.names)[call.names.index(name)]
        return pd.DataFrame(
            {
                "label": again.frame.index.take(positions).to_numpy(),
                "before": again.frame[name].array.take(positions),
                "after": after.array.take(positions),
            }
        )

    call.run = Run(call.settings, call.plan, call.title, table)
    rest = again.made(again.now, again.how, where=rows & ~sample)
    _ask(rest, found, rows & ~sample)
    return Refresh(again.frame, call, rest, told, call.settings.progress)


@ShortTraceback()
def refreshed(refresh: Refresh, *, dry_run: bool | int = False) -> Any:
    """Carry a refresh out and return the frame, a preview, or an estimate."""
    if refresh.call is None:
        return _unchanged(refresh)
    try:
        result = run_or_return(refresh.call, wait=True, dry_run=dry_run)
    finally:
        _tell(refresh, dry_run=dry_run)
    if refresh.rest is not None:
        result.attrs["estimate"] = run_or_return(refresh.rest, wait=True, dry_run=True)
    return result


async def arefreshed(
    frame: pd.DataFrame,
    column: Hashable,
    given: Mapping[str, Any],
    *,
    dry_run: bool | int = False,
    **own: Any,
) -> Any:
    """Prepare a refresh in a thread, since it reads the journal, and carry it out on the caller's loop."""
    with ShortTraceback():
        refresh = await asyncio.to_thread(prepared_refresh, frame, column, given, dry_run=dry_run, **own)
        if refresh.call is None:
            return _unchanged(refresh)
        try:
            result = await awaited(refresh.call, dry_run=dry_run)
        finally:
            _tell(refresh, dry_run=dry_run)
        if refresh.rest is not None:
            result.attrs["estimate"] = await awaited(refresh.rest, dry_run=True)
        return result


def _unchanged(refresh: Refresh) -> pd.DataFrame:
    if refresh.progress:
        _say(refresh.told)
    return refresh.frame


def _tell(refresh: Refresh, *, dry_run: bool | int) -> None:
    if refresh.progress and not dry_run:
        _say(refresh.told)


def _say(line: str) -> None:
    say(line)
    wait_until_shown()
