"""The reports of a run: its closing line, its error, its table and its plot."""

from __future__ import annotations

import logging
import warnings
from html import escape
from inspect import currentframe
from typing import TYPE_CHECKING, Any

import numpy as np

from llmframe._errors import CompletionWarning
from llmframe._loop import log, wait_until_shown
from llmframe._run.progress_bar import dollars, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmframe._values import RunView


def numbers(run: RunView) -> dict[str, Any]:
    """Return a run's numbers as JSON values."""
    tokens = run.tokens
    return {
        "rows": run.rows,
        "skipped": dict(run.skipped),
        **{name: getattr(run, name) for name in _COUNTS},
        "unfinished": _unfinished(run),
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "cached_tokens": tokens.cached,
        "cache_write_tokens": tokens.cache_write,
        "reasoning_tokens": tokens.reasoning,
        "cost": run.cost,
        "unpriced": run.unpriced,
        "seconds": round(run.seconds, 3),
        "waited_seconds": round(run.waited_seconds, 3),
    }


_COUNTS = (
    "distinct", "from_journal", "sent", "retries", "limited", "answered", "failed", "truncated", "uncertain",
)  # fmt: skip


def _unfinished(run: RunView) -> int:
    return run.rows - sum(run.skipped.values()) - run.answered - run.failed


def closing_line(run: RunView, model: str) -> str:
    """Return one line that says how a run ended.

    Examples
    --------
    >>> import llmframe
    >>> from llmframe.testing import LocalServer
    >>> with LocalServer() as server:
    ...     answers = llmframe.complete(
    ...         ["Hello", None], base_url=server.base_url, api_key="any", model="gpt-6-luna", progress=False
    ...     )
    >>> repr(llmframe.last_run())  # doctest: +ELLIPSIS
    '<Run done: llmframe: 1 of 2 rows answered (not sent: prompt missing or blank in 1), ... s>'
    """
    parts = [f"llmframe: {run.answered:,} of {run.rows:,} {_rows(run.rows)} answered"]
    if run.skipped:
        counts = ", ".join(f"{column} missing or blank in {count:,}" for column, count in run.skipped.items())
        parts[0] += f" (not sent: {counts})"
    if run.from_journal:
        parts.append(f"{run.from_journal:,} from the journal")
    if run.failed:
        parts.append(f"{run.failed:,} failed")
    if unfinished := _unfinished(run):
        parts.append(f"{unfinished:,} not done")
    if run.uncertain:
        requests = "request" if run.uncertain == 1 else "requests"
        parts.append(f"{run.uncertain:,} {requests} may have been billed without an answer")
    if run.sent or run.tokens.total or run.unpriced:
        parts.append(_cost(run, model))
    parts.append(f"{run.seconds:.1f} s")
    return ", ".join(parts)


def _cost(run: RunView, model: str) -> str:
    if run.cost is not None:
        return dollars(run.cost, run.unpriced)
    if run.tokens.total:
        return f"the price of {model} is unknown"
    return "at an unknown cost (the answers do not state their tokens)"


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


def warn(message: str) -> None:
    """Warn at the line that called llmframe, at any depth of the stack; it raises only where the user's filter says so."""
    level, frame = 1, currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "llmframe":
        level, frame = level + 1, frame.f_back
    try:
        warnings.warn(message, CompletionWarning, stacklevel=level)
    except CompletionWarning:
        raise
    except UnicodeError:
        say(f"{CompletionWarning.__name__}: {message}")
        wait_until_shown()
    except Exception:  # noqa: BLE001 (a stderr that is closed or broken)
        log(logging.ERROR, "This warning could not be shown: %s", message, exc_info=True)


def html(run: RunView, verb: str, model: str) -> str:
    """Return a run as a small HTML table."""
    shown = numbers(run)
    latency = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in run.latency.items())
    shown["skipped"] = ", ".join(f"{column}: {count}" for column, count in run.skipped.items()) or "0"
    shown["cost"] = "unknown" if run.cost is None else dollars(run.cost, run.unpriced)
    shown["latency"] = latency or "–"  # noqa: RUF001 (a dash in a table)
    head = f"<b>llmframe {escape(verb)}</b> · {escape(model)} · {escape(run.status)}"
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name.replace('_', ' '))}</th><td>{escape(str(value))}</td></tr>"
        for name, value in shown.items()
    )
    return f"<div>{head}<table>{rows}</table></div>"


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return the 50th, 90th and 99th percentile, in seconds."""
    if not len(seconds):
        return {}
    values = np.percentile(np.asarray(seconds), [50, 90, 99])
    return {name: float(value) for name, value in zip(("p50", "p90", "p99"), values, strict=True)}


def plot(run: RunView, model: str, arrivals: Sequence[float], latencies: Sequence[float]) -> Any:
    """Draw answers per second over the run, and their latencies.

    Parameters
    ----------
    arrivals, latencies
        For each answer of the run: seconds since the run's start, and its latency in seconds.
    """
    import matplotlib.pyplot as plt  # noqa: PLC0415 (an extra: llmframe[plot])

    figure, (over_time, spread) = plt.subplots(1, 2, figsize=(10, 3.2))
    bins = max(10, min(120, int(max(arrivals, default=1.0)) + 1))
    counts, edges = np.histogram(np.asarray(arrivals), bins=bins)
    over_time.step(edges[:-1], counts / np.diff(edges), where="post")
    over_time.set(title=f"{run.answered:,} rows, {model}", xlabel="seconds", ylabel="answers per second")
    spread.hist(np.asarray(latencies), bins=50)
    spread.set(title="latency", xlabel="seconds", ylabel="answers")
    figure.tight_layout()
    plt.close(figure)
    return figure
