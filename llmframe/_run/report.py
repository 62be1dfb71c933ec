"""The reports of a run: its closing line, its error, its warnings and its plot."""

from __future__ import annotations

import logging
import warnings
from inspect import currentframe
from typing import TYPE_CHECKING, Any

import numpy as np

from llmframe._errors import CompletionWarning, counted
from llmframe._loop import log, wait_until_shown
from llmframe._run.card import duration
from llmframe._run.money import cost_text
from llmframe._run.progress_bar import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmframe._run.card import Details
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
        "saved": run.saved._asdict(),
        "seconds": round(run.seconds, 3),
        "waited_seconds": round(run.waited_seconds, 3),
    }


_COUNTS = (
    "distinct", "from_journal", "sent", "retries", "limited", "answered", "failed", "truncated", "partly", "unsure",
    "uncertain",
)  # fmt: skip


def _unfinished(run: RunView) -> int:
    return run.rows - sum(run.skipped.values()) - run.answered - run.partly - run.failed


def closing_line(run: RunView, details: Details) -> str:
    """Return one line that says how a run ended: rows as rows, and requests where they are fewer.

    Examples
    --------
    >>> import llmframe
    >>> from llmframe.testing import LocalServer
    >>> with LocalServer() as server:
    ...     answers = llmframe.complete(
    ...         ["Hello", None], base_url=server.base_url, api_key="any", model="gpt-6-luna", progress=False
    ...     )
    >>> repr(llmframe.last_run())  # doctest: +ELLIPSIS
    '<Run done: 1 row answered, 1 not sent (prompt missing) · ... s>'
    """
    stored, now = details.rows_from_journal, run.answered - details.rows_from_journal
    requests = f" in {counted(details.asked, 'request')}" if details.asked != now else ""
    rows = f"{counted(run.answered, 'row')} answered"
    if not stored:
        rows += requests
    elif not now:
        rows += ", all from the journal" if stored > 1 else ", from the journal"
    if run.skipped:
        rows += f", {sum(run.skipped.values()):,} not sent ({_why_unsent(run, details)})"
    if run.partly:
        rows += f", {run.partly:,} partly"
    if run.unsure:
        rows += f", {run.unsure:,} unsure"
    if run.failed:
        rows += f", {run.failed:,} failed"
    if unfinished := _unfinished(run):
        rows += f", {unfinished:,} not done"
    if stored and now:
        rows += f": {now:,} asked now{requests}, {stored:,} from the journal"
    reasked = f"{counted(details.rows_reasked, 'row')} asked again" if details.rows_reasked else ""
    uncertain = f"{counted(run.uncertain, 'request')} may have been billed without an answer"
    engine = f"engine {details.engine}" if details.engine else ""
    parts = [
        rows,
        reasked,
        engine,
        uncertain if run.uncertain else "",
        cost_text(run, details.model),
        duration(run.seconds),
    ]
    return " · ".join(filter(None, parts))


def _why_unsent(run: RunView, details: Details) -> str:
    if len(run.skipped) == 1:
        return ", ".join(details.unsent.values())
    return ", ".join(f"{why} in {run.skipped[column]:,}" for column, why in details.unsent.items())


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


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return the 50th, 90th and 99th percentile, in seconds."""
    if not len(seconds):
        return {}
    values = np.percentile(np.asarray(seconds), [50, 90, 99])
    return {name: float(value) for name, value in zip(("p50", "p90", "p99"), values, strict=True)}


def plot(run: RunView, details: Details) -> Any:
    """Draw answers per second over the run, their latencies, and the dollars spent so far."""
    try:
        import matplotlib.pyplot as plt  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise ImportError(
            "run.plot() draws with matplotlib, which is not installed: pip install matplotlib (llmframe's extras "
            "'plot' and 'notebook' bring it)"
        ) from error

    arrivals, latencies = details.arrivals, details.latencies
    figure, (over_time, spread, spent) = plt.subplots(1, 3, figsize=(13, 3.2))
    bins = max(10, min(120, int(max(arrivals, default=1.0)) + 1))
    counts, edges = np.histogram(np.asarray(arrivals), bins=bins)
    over_time.step(edges[:-1], counts / np.diff(edges), where="post")
    over_time.set(
        title=f"{counted(run.answered, 'row')}, {details.model}",
        xlabel="seconds",
        ylabel="answers per second",
    )
    spread.hist(np.asarray(latencies), bins=50)
    spread.set(title="latency", xlabel="seconds", ylabel="answers")
    spent.step(*cost_curve(run, details), where="post")
    spent.set(title=cost_text(run, details.model) or "cost", xlabel="seconds", ylabel="US dollars")
    spent.set_ylim(bottom=0)
    figure.tight_layout()
    plt.close(figure)
    return figure


def cost_curve(run: RunView, details: Details) -> tuple[list[float], list[float]]:
    """Return the seconds of each answer and the US dollars spent by then, from nothing to the run's end and its cost."""
    seconds = [0.0, *details.arrivals, run.seconds]
    return seconds, [0.0, *np.cumsum(np.asarray(details.costs, dtype=float)).tolist(), run.cost or 0.0]
