"""A verb's call over a Dask frame or Series: checked in the client as pandas' call is, and made a lazy frame."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.dataframe as dd
from dask.dataframe.dispatch import make_meta

from llmframe import _verbs
from llmframe._errors import CompletionError
from llmframe._journal import journal_path
from llmframe._options import from_environment, option_context, options
from llmframe.dask.computations import listen_to_dask
from llmframe.dask.expression import answered
from llmframe.dask.partitions import PartitionCall, TravellingKey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from llmframe._run import RunSettings

_TEXT = "llmframe text"
"""The column of a Series verb's frame that is the Series, apart from those that it writes."""

_MASK = "llmframe where"

_RESOLVED = ("model", "base_url", "journal", "mode", "progress", "api_key")
"""Keywords that travel as settings."""

_NOT_SENT = ("api_key", "client", "max_cost")
_ASKING_AGAIN = ("fresh", "retry_failed")

_IN_PANDAS = "ddf[…].compute().llm.{verb}(…, {argument}), which has all rows in one process"
_INSTEAD = {
    "max_cost": ("a cap cannot hold over partitions that know nothing of each other", _IN_PANDAS),
    "dry_run": ("the rows are not here to be counted", _IN_PANDAS),
    "wait": ("a Dask frame is lazy: nothing waits before compute()", "distributed's client.compute(ddf.llm.{verb}(…)), which returns a future"),
    "client": ("a client's connections belong to this process", "base_url= and api_key=, or OPENAI_API_KEY in the workers' environment"),
    "dedupe": ("each partition would draw the same answers for its copies of a row", _IN_PANDAS),
    "overwrite": ("what is missing is known when the partitions are computed", "where=ddf[…].isna(), overwrite=True"),
}  # fmt: skip
"""What a Dask frame does not take: why, and what to write instead."""


def lazy_frame(
    verb: str,
    frame: Any,
    arguments: Mapping[str, Any],
    own: Mapping[str, Any],
    *,
    where: Any,
    overwrite: Any,
) -> Any:
    """Return the Dask frame with the columns of a verb's call over it; only `mode="batch"` sends anything."""
    arguments = _accepted(verb, arguments, overwrite=overwrite)
    make: Callable[..., _verbs.FrameCall] = getattr(_verbs, f"{verb}_frame")
    rows = make_meta(frame).copy()
    rows.attrs = {}
    checked = make(rows, arguments, where=_checked_mask(frame, where), overwrite=overwrite, **own)
    kept = [name for name in checked.writes if name in frame.columns and where is not None]
    call = PartitionCall(
        verb=verb,
        make=make,
        arguments=_not_resolved(arguments),
        own=own,
        reads=[*checked.reads, *kept],
        columns=_verbs.without_rows(checked)[checked.writes],
        text=None,
        **_travelling(checked.settings),
    )
    return _answered(frame, call, where, checked.settings)


def lazy_series(
    verb: str, series: Any, arguments: Mapping[str, Any], own: Mapping[str, Any], *, where: Any
) -> Any:
    """Return what a verb's call over a Dask Series gives, as a Dask Series or frame."""
    arguments = _accepted(verb, arguments, overwrite=False)
    make: Callable[..., _verbs.SeriesCall] = getattr(_verbs, f"{verb}_series")
    checked = make(make_meta(series), arguments, where=_checked_mask(series, where), **own)
    result = _verbs.without_rows(checked)
    alone = result.ndim == 1
    columns = result.to_frame() if alone else result
    call = PartitionCall(
        verb=verb,
        make=make,
        arguments=_not_resolved(arguments),
        own=own,
        reads=[_TEXT],
        columns=columns,
        text=(_TEXT, series.name),
        **_travelling(checked.settings),
    )
    frame = _answered(series.to_frame(_TEXT), call, where, checked.settings)
    return frame[result.name] if alone else frame[list(columns)]


def _answered(frame: Any, call: PartitionCall, where: Any, settings: RunSettings) -> Any:
    if settings.mode != "batch":
        return answered(frame, call, where)
    if settings.journal is False:
        raise ValueError(
            "mode: 'batch' over a Dask frame reads the answers from the journal; leave journal=False out"
        )
    rows = frame[list(call.reads)]
    rows = rows.assign(**{_MASK: True if where is None else where}).compute()
    mask = None if where is None else rows[_MASK]
    own = {"engine": settings.engine} if settings.engine else {}
    stored = {name: value for name, value in call.arguments.items() if name not in _ASKING_AGAIN} | own
    offline = replace(call, arguments=stored, mode="offline")
    try:
        with call.in_force(), option_context(progress=settings.progress):
            _verbs.run_or_return(call.over(rows, mask), wait=True)
    except CompletionError as error:
        error.result = answered(frame, replace(offline, arguments={**stored, "errors": "coerce"}), where)
        raise
    return answered(frame, offline, where)


def _accepted(verb: str, arguments: Mapping[str, Any], *, overwrite: Any) -> dict[str, Any]:
    """Return the keywords that partitions take; those that only one process can keep are refused."""
    given = {name: value for name, value in arguments.items() if value is not None}
    refused = {
        "max_cost": given.get("max_cost", options.max_cost) is not None,
        "dry_run": given.pop("dry_run", False) is not False,
        "wait": given.pop("wait", True) is not True,
        "client": given.get("client", options.client) is not None,
        "dedupe": given.get("dedupe") is False,
        "overwrite": overwrite == "missing",
    }
    for name, unwanted in refused.items():
        if unwanted:
            why, instead = _INSTEAD[name]
            argument = {"dedupe": "dedupe=False", "dry_run": "dry_run=True"}.get(name, f"{name}=…")
            raise ValueError(
                f"{name}: not over a Dask frame, since {why}; write {instead.format(verb=verb, argument=argument)}"
            )
    if given.get("fresh") is True and given.get("mode", options.mode) != "batch":
        given["fresh"] = _verbs.FreshSince(time.time())
    return given


def _checked_mask(data: Any, where: Any) -> pd.Series | None:
    """Return the mask of no rows, where there is a mask."""
    if where is None:
        return None
    if not isinstance(where, dd.Series):
        raise TypeError(
            f"where must be a mask of the Dask frame itself, such as ddf['stars'] < 3; got a {type(where).__name__}"
        )
    if where.divisions != data.divisions:
        raise ValueError(
            "where: the mask has other partitions than the frame; build it from the frame itself"
        )
    mask: pd.Series = make_meta(where).set_axis(make_meta(data).index)
    return mask


def _not_resolved(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords that are not among the settings already."""
    return {name: value for name, value in arguments.items() if name not in _RESOLVED}


def _travelling(settings: RunSettings) -> dict[str, Any]:
    """Return the client's settings as they travel: resolved, and the key apart."""
    listen_to_dask()
    journal = settings.journal
    if journal is True or isinstance(journal, Path):
        journal = journal_path(journal).absolute()
    values = {name: getattr(options, name) for name in (*dir(options), "_tuning") if name not in _NOT_SENT}
    values |= {"model": settings.model, "base_url": settings.account.base_url, "journal": None}
    values |= {"progress": False, "loop": "private", "prices": dict(settings.prices)}
    key = settings.account.api_key
    return {
        "settings": option_context(**values),
        "mode": settings.mode,
        "key": TravellingKey(None if key == from_environment("api_key") else key),
        "journal": journal,
    }
