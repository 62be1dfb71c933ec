"""What a notebook shows of a run: its card, its bar and its lines; and the words for numbers.

The HTML has no scripts and no classes. Its colours can be read on light and on dark ground, and everything else is drawn
in the text's own colour, so that the front end's theme decides.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

from llmframe._errors import counted, short
from llmframe._run.money import cost_text, dollars

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmframe._run.advice import Cause
    from llmframe._values import RunView, Usage

GREEN, BLUE, GREY, RED, AMBER = "#2e9e5b", "#4385d6", "#868686", "#dc4437", "#c27c0e"

_FONT = (
    "font:13px/1.5 var(--jp-ui-font-family,system-ui,sans-serif);color:var(--jp-content-font-color1,inherit)"
)
_LINE = "color-mix(in srgb,currentColor 18%,transparent)"

_STATUS = {
    "done": ("✓", GREEN), "running": ("…", BLUE), "interrupted": ("❚❚", AMBER), "stopped": ("✗", RED), "error": ("✗", RED),
}  # fmt: skip
_SHOWN_CAUSES = 3


class Details(NamedTuple):
    """What texts and pictures of a run tell beyond its public attributes."""

    verb: str
    model: str
    title: str
    engine: str
    """Which engine answered, and why; empty where there is only one."""
    unsent: Mapping[str, str]
    """Why rows were not sent, by column: `"review missing"`."""
    rows_from_journal: int
    asked: int
    """Distinct requests that were answered now."""
    duplicates: int
    """Rows that share the request of another row."""
    rows_reasked: int
    """Rows whose answer did not fit and was asked again by this run."""
    arrivals: Sequence[float]
    latencies: Sequence[float]
    """For each answer of the run: seconds since the run's start, and its latency in seconds."""
    costs: Sequence[float]
    """For each answer of the run: US dollars since the one before."""
    cap: float | None
    """US dollars that the run may spend; `None`: no cap."""


def duration(seconds: float) -> str:
    """Return a time as text: `"0.02 s"`, `"0.7 s"`, `"3 min 20 s"`, `"6 h 5 min"`."""
    if seconds < 0.05:
        return f"{max(seconds, 0.01):.2f} s"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60} min"


def line(text: str) -> str:
    """Return one line of text as HTML."""
    return f'<div style="{_FONT}">{escape(text)}</div>'


def _stacked(parts: Iterable[tuple[str, float, str]], height: int) -> str:
    """Return a bar whose parts (colour, size, name) are as wide as they are large."""
    segments = "".join(
        f'<div title="{escape(name)}" style="flex:{size:g} 0 3px;background:{colour}"></div>'
        for colour, size, name in parts
        if size
    )
    return f'<div style="display:flex;gap:1px;height:{height}px;border-radius:{height / 2:g}px;overflow:hidden">{segments}</div>'


def progress(title: str, share: float, numbers: str, *, failed: bool, last: bool) -> str:
    """Return the bar of a run that sends, or has sent, a share of its rows."""
    ended = GREEN if share >= 1 else AMBER
    colour = RED if failed else ended if last else BLUE
    bar = _stacked([(colour, share, "done"), (_LINE, 1 - share, "not done")], 8)
    return (
        f'<div style="{_FONT};display:flex;flex-wrap:wrap;align-items:center;gap:2px 10px">'
        f'<span>{escape(short(title, 60))}</span><div style="flex:1 1 120px;max-width:320px">{bar}</div>'
        f'<span style="font-variant-numeric:tabular-nums">{escape(numbers)}</span></div>'
    )


def html(run: RunView, details: Details, causes: Sequence[Cause]) -> str:
    """Return a run as a small card: how it ended, its rows by outcome, its numbers, and why rows failed."""
    sign, colour = _STATUS[run.status]
    if (run.failed or run.partly) and run.status == "done":
        sign, colour = "✗", RED
    lacking = (run.failed, "failed"), (run.partly, "partly")
    status = ", ".join([run.status, *(f"{counted(rows, 'row')} {how}" for rows, how in lacking if rows)])
    head = (
        f'<b style="color:{colour}">{sign} {escape(status)}</b> '
        f'<span style="opacity:.7"> · {escape(details.verb)} · {escape(details.title)}</span>'
    )
    reasons = "".join(map(_failed, causes[:_SHOWN_CAUSES]))
    return _card(head, _outcomes(run, details), _numbers(run, details), reasons)


def estimate_html(
    title: str, expected: str, parts: Sequence[tuple[str, int, str]], numbers: Iterable[tuple[str, str]]
) -> str:
    """Return an estimate as a card like a run's: what is expected, what would be asked by colour, size and text, and numbers by name."""
    head = (
        f'<b style="color:{BLUE}">≈ {escape(expected)}</b> '
        f'<span style="opacity:.7"> · estimate · {escape(title)}</span>'
    )
    return _card(head, parts, numbers)


def _card(
    head: str, parts: Sequence[tuple[str, int, str]], numbers: Iterable[tuple[str, str]], below: str = ""
) -> str:
    legend = "".join(
        f'<span style="white-space:nowrap"><span style="color:{shade}">●</span> {escape(name)}</span> '
        for shade, size, name in parts
        if size
    )
    cells = "".join(
        f'<span style="display:inline-block;margin:6px 22px 0 0;vertical-align:top"><span style="opacity:.7;font-size:11px">{escape(name)}</span>'
        f"<br>{escape(value)}</span>"
        for name, value in numbers
        if value
    )
    return (
        f'<div style="{_FONT};border:1px solid {_LINE};border-radius:6px;padding:10px 14px;margin:2px 0;max-width:56em">'
        f"<div>{head}</div>"
        f'<div style="margin:8px 0 6px">{_stacked(parts, 10)}</div>'
        f'<div style="display:flex;flex-wrap:wrap;gap:0 16px">{legend}</div>'
        f"<div>{cells}</div>{below}</div>"
    )


def _outcomes(run: RunView, details: Details) -> list[tuple[str, int, str]]:
    """Return the rows by outcome: colour, number, and text."""
    unsent = sum(run.skipped.values())
    stored = details.rows_from_journal
    now, rest = run.answered - stored, run.rows - unsent - run.answered - run.partly - run.failed
    why = f" ({', '.join(details.unsent.values())})" if unsent else ""
    return [
        (GREEN, now, f"{counted(now, 'row')} answered{' now' if stored else ''}"),
        (BLUE, stored, f"{stored:,} from the journal"),
        (AMBER, run.partly, f"{run.partly:,} partly"),
        (RED, run.failed, f"{run.failed:,} failed"),
        (AMBER, rest, f"{rest:,} not done"),
        (GREY, unsent, f"{unsent:,} not sent{why}"),
    ]


def _numbers(run: RunView, details: Details) -> list[tuple[str, str]]:
    """Return names and values; what is nothing has no value."""
    latency = run.latency
    now = run.answered - details.rows_from_journal
    per_second = now / run.seconds if run.seconds else 0.0
    speed = [f"{per_second:,.0f} rows/s"] if per_second >= 1 else []
    speed += [f"{name} {latency[name]:,.2f} s" for name in ("p50", "p99") if latency.get(name)]
    waited = f"{duration(run.waited_seconds)} for limits" if run.waited_seconds >= 0.05 else ""
    return [
        ("cost", cost_text(run, details.model)),
        ("cap", "" if details.cap is None else dollars(details.cap)),
        ("saved", ", ".join(_saved(run, details))),
        ("time", duration(run.seconds)),
        ("speed", " · ".join(speed)),
        ("tokens", _tokens(run.tokens)),
        ("waited", waited),
        ("waiting for", short(run.waiting.words, 80) if run.waiting else ""),
        ("retries", f"{run.retries:,}" if run.retries else ""),
        ("answered 429", f"{run.limited:,}" if run.limited else ""),
        ("engine", details.engine),
        ("unsure", counted(run.unsure, "row") if run.unsure else ""),
        ("asked again", counted(details.rows_reasked, "row") if details.rows_reasked else ""),
        ("cut off", counted(run.truncated, "answer") if run.truncated else ""),
        ("maybe billed, without an answer", counted(run.uncertain, "request") if run.uncertain else ""),
    ]


def _saved(run: RunView, details: Details) -> list[str]:
    """Return what was not to be paid, by what spared it."""
    saved = run.saved
    parts = [
        (f"{counted(run.from_journal, 'request')} by the journal", run.from_journal, saved.journal),
        (f"{details.duplicates:,} by duplicates", details.duplicates, saved.duplicates),
    ]
    said = [f"{what}{f' ({dollars(spared)})' if spared else ''}" for what, count, spared in parts if count]
    if saved.cache:
        more = " (it wrote more than it read)" if saved.cache < 0 else ""
        said.append(f"{dollars(saved.cache)} by the prompt cache{more}")
    return [*said, *([f"{dollars(saved.batch)} by batch"] if saved.batch else [])]


def _tokens(tokens: Usage) -> str:
    """Return tokens by their classes; uncached ones, and those of the answers themselves, are what is not named."""
    if not tokens.total:
        return ""
    of_prompt = [(tokens.cached, "cached"), (tokens.written, "written")]
    of_completion = [(tokens.reasoning, "reasoning")]
    sides = []
    for total, side, classes in (
        (tokens.prompt, "in", of_prompt),
        (tokens.completion, "out", of_completion),
    ):
        named = ", ".join(f"{count:,} {name}" for count, name in classes if count)
        sides.append(f"{total:,} {side}{f' ({named})' if named else ''}")
    return ", ".join(sides)


def _failed(cause: Cause) -> str:
    counted_rows = f"{cause.rows:,} × " if cause.rows else ""  # noqa: RUF001
    place = f"first {cause.example}: " if cause.rows > 1 else f"{cause.example}: " if cause.rows else ""
    remedy = f"<br>→ {escape(cause.remedy)}" if cause.remedy else ""
    return (
        f'<div style="margin-top:8px;padding-left:10px;border-left:3px solid {RED}"><b>{counted_rows}{escape(short(cause.code, 60))}</b>'
        f' <span style="opacity:.8">{escape(place + short(cause.message, 300))}</span>{remedy}</div>'
    )
