"""What a run advises about rows without an answer: one example and one remedy for each cause, and nothing that the call does already."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from llmframe._columns import label_text
from llmframe._errors import counted, plain_repr, row_name, short
from llmframe._pacing import ASK_AGAIN, OVER_BUDGET, concerns_answer_form, names_answer_form, row_remedy
from llmframe._values import FaultKind

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from llmframe._columns import Plan
    from llmframe._run.settings import RunSettings
    from llmframe._values import Failure, Stop

_MOST_CAUSES = 4
_CODE_CHARACTERS, _MESSAGE_CHARACTERS = 60, 200
_MANY_MISSING = 0.2
"""From this share of the rows on, the run says that one column's missing cells keep them from being sent."""
_SHORTENED = 8000
"""The characters that a template may keep of a cell that is too long, if it keeps all of it now."""
_LEAST_EFFORTS = {"none", "minimal"}
_NOT_THERE = {FaultKind.REFUSED, FaultKind.PARAMETER, FaultKind.ELSEWHERE, FaultKind.FATAL}
_ACCESS = {401, 402, 403}
"""What refuses an endpoint that a server does not have, and statuses that say something else."""


class Cause(NamedTuple):
    """The failed rows with one code."""

    code: str
    rows: int
    example: str
    """The first of them, by its label or its position."""
    message: str
    """That row's message, without the code."""
    remedy: str
    """Empty where the message says it."""
    paid: bool
    """Whether the answers of these rows were paid."""


def causes(reasons: Mapping[int, Failure], plan: Plan, settings: RunSettings) -> list[Cause]:
    """Return the causes of a run's failures, the most frequent first.

    Parameters
    ----------
    reasons
        Each failed row's reason, by position.
    """
    counts = Counter(reason.code for reason in reasons.values())
    first: dict[str, int] = {}
    for position, reason in reasons.items():
        first.setdefault(reason.code, position)
    return [
        _cause(reasons[first[code]], count, first[code], plan, settings)
        for code, count in counts.most_common()
    ]


def _cause(failure: Failure, rows: int, position: int, plan: Plan, settings: RunSettings) -> Cause:
    if failure.paid:
        remedy = _paid_remedy(failure.code, settings)
    elif failure.code == "invalid_prompt" and not failure.attempts:
        remedy = ""
    elif settings.rungs and names_answer_form(failure.code, failure.message):
        remedy = _again(settings)  # these rows by themselves are then asked in another way
    else:
        refused = failure.attempts == 1 and settings.max_retries > 0 and settings.mode == "live"
        found = row_remedy(failure.code, failure.message, _shorten(plan, position), refused=refused)
        remedy = found or _again(settings)
    message = _without_code(failure.message, failure.code)
    return Cause(failure.code, rows, row_name(plan.labels, position), message, remedy, failure.paid)


def _without_code(message: str, code: str) -> str:
    """Leave out a code that a message begins with, in any spelling such as `HTTP 400:` for `http_400`."""
    spelt = r"[\s_-]*".join(map(re.escape, re.split(r"[\s_-]+", code)))
    return re.sub(rf"\A\W*{spelt}\W*(:\s*|\Z)", "", message.strip(), count=1, flags=re.IGNORECASE)


def _paid_remedy(code: str, settings: RunSettings) -> str:
    if code == "length":
        return more_tokens(settings.params)
    if code == "tool_calls" and settings.params.get("tool_choice") == "none":
        return "leave tools= out"
    return settings.verb.kind.remedies.get(code, "")


def _again(settings: RunSettings) -> str:
    """Return how these rows are asked for again."""
    if settings.journal is False:
        again = "ask for these rows again (with journal=False, the same call asks for all rows)"
    elif settings.fresh:
        again = "run the call again without fresh=True: what is answered is not asked again"
    else:
        again = f"{ASK_AGAIN}: what is answered is not asked again"
    if settings.mode == "batch":
        again += "; mode='live' asks for these rows at once, at the full price"
    return again


def more_tokens(params: Mapping[str, Any]) -> str:
    """Return how an answer gets more tokens than now."""
    name, most = _bound(params)
    more = f"set {name}= above the server's own limit"
    if most is not None:
        more = f"raise {name} ({most:,} now) to {4 * most:,}, for example"
    effort = params.get("reasoning_effort")
    if effort in _LEAST_EFFORTS:
        return more
    return f"{more}, or lower reasoning_effort" + (f" ({effort!r} now)" if effort else "")


def _bound(params: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return the parameter that bounds an answer's tokens, and its value where it has one."""
    for name in ("max_completion_tokens", "max_tokens"):
        if isinstance(most := params.get(name), int):
            return name, most
    return "max_completion_tokens", None


def _shorten(plan: Plan, position: int) -> str:
    """Return the field that sends less of a row's longest text; empty where no template can."""
    spec = plan.spec
    if spec.function is not None or not spec.texts or (spec.template is None and spec.source_is_a_list):
        return ""
    columns = spec.texts if spec.template is None else spec.template.columns
    column = max(columns, key=lambda name: _length(plan.cells[name].iloc[position]))
    formats = () if spec.template is None else spec.template.formats(column)
    kept = [int(found[1]) for text in formats if (found := re.search(r"\.(\d+)\Z", text))]
    return f"{{{label_text(column)}:.{max(1, max(kept) // 2) if kept else _SHORTENED}}}"


def _length(cell: object) -> int:
    return len(cell) if isinstance(cell, str) else 0


def failure_message(
    found: Sequence[Cause], rows: int, *, partly: int = 0, any_written: bool, settings: RunSettings
) -> str:
    """Return a message with the causes of failures, an example and a remedy for each.

    Parameters
    ----------
    found
        The causes, the most frequent first.
    rows
        The rows of the run.
    partly
        Those of the causes' rows that lack some answers only.
    any_written
        Whether other rows have answers.
    """
    failed = sum(cause.rows for cause in found) - partly
    outcomes = (failed, "failed"), (partly, "answered partly")
    (first, how), *rest = [each for each in outcomes if each[0]]
    head = f"{first:,} of {counted(rows, 'row')} {how}"
    head += "".join(f", {count:,} {how}" for count, how in rest)
    head += "; the others are written" if any_written else ""
    shown, others = found[:_MOST_CAUSES], found[_MOST_CAUSES:]
    lines = [head, *map(_told, shown)]
    if others:
        kinds, count = counted(len(others), "more kind"), sum(cause.rows for cause in others)
        lines.append(f"  and {kinds} ({counted(count, 'row')}): see run.failures")
    ways = ["run.failures lists all (run = llmframe.last_run())"]
    if settings.errors == "raise":
        ways.append("errors='coerce' warns instead of raising")
    return "\n".join([*lines, f"{'; '.join(ways)}.", *_paid_note(shown, settings), *_remedies(shown)])


def _told(cause: Cause) -> str:
    place = cause.example if cause.rows == 1 else f"first {cause.example}"
    message = short(cause.message, _MESSAGE_CHARACTERS)
    line = f"  {cause.rows:,} × {short(cause.code, _CODE_CHARACTERS)} ({place})"  # noqa: RUF001
    return f"{line}: {message}" if message else line


def _remedies(shown: Sequence[Cause]) -> list[str]:
    """Return a line for each remedy, with the codes that it is for where there are others."""
    codes: dict[str, list[str]] = {}
    for cause in shown:
        if cause.remedy:
            codes.setdefault(cause.remedy, []).append(cause.code)
    return [
        f"To mend{_naming(own, shown)}: {remedy}."
        for remedy, own in codes.items()
    ]  # fmt: skip


def _naming(codes: Sequence[str], shown: Sequence[Cause]) -> str:
    if len(codes) == len(shown):
        return ""
    return f" {', '.join(short(code, _CODE_CHARACTERS) for code in codes)}"


def _paid_note(shown: Sequence[Cause], settings: RunSettings) -> Iterable[str]:
    """Say that paid answers are not asked for again, unless the call asks for them."""
    paid = [cause.code for cause in shown if cause.paid]
    if not paid or settings.journal is False or settings.fresh or settings.retry_failed:
        return
    which = _naming(paid, shown)
    again = "retry_failed=True" if settings.mode != "offline" else "mode='live' with retry_failed=True"
    yield f"The answers{f' of{which}' if which else ''} were paid: a plain re-run reports them again without asking; {again} asks again."


def truncation_message(count: int, params: Mapping[str, Any]) -> str:
    """Return a message that answers were cut off."""
    statement = "1 answer was cut off at the token limit and kept as it is"
    if count > 1:
        statement = f"{count:,} answers were cut off at the token limit and kept as they are"
    return f"{statement}; for whole ones, {more_tokens(params)}"


def stop_remedy(stop: Stop, settings: RunSettings) -> str:
    """Return what to do after a run that ended early."""
    if stop.code == "empty_answers":
        kept = settings.journal is not False and not (settings.fresh or settings.retry_failed)
        return f"{more_tokens(settings.params)}; then run the call again{' with retry_failed=True' * kept}"
    if stop.code == OVER_BUDGET.code and settings.journal is False:
        return "raise max_cost (with journal=False, the same call asks for all rows again)"
    fault = stop.fault
    if settings.engine == "decisions" and fault and fault.kind in _NOT_THERE and fault.status not in _ACCESS:
        return f"pass engine='chat' if this server or model has no /v1/decisions; otherwise {stop.remedy}"
    asks_by_schema = settings.context.task is not None
    if asks_by_schema and fault and concerns_answer_form(fault):
        return _other_form(settings)
    if stop.remedy.endswith(ASK_AGAIN) and settings.journal is not False:
        return f"{stop.remedy}: what is answered is not asked again"
    return stop.remedy


def _other_form(settings: RunSettings) -> str:
    """Return what to do where a server refuses the form in which a verb asks, which is no parameter of the user's."""
    if settings.mode == "batch" and settings.rungs:
        return "ask a few rows with mode='live' first: it finds the form that this server takes, and batches keep to that"
    return "pass a model= that answers by JSON Schema"


def missing_cells_line(plan: Plan, rows: int) -> str | None:
    """Return a line about the column beside the main one whose missing cells alone keep many rows from being sent."""
    lacking = {column: count for column, count in plan.lacking.items() if column != plan.spec.column}
    if not lacking or len(plan.spec.needs) == 1:
        return None
    column, count = max(lacking.items(), key=lambda item: item[1])
    if count < _MANY_MISSING * rows:
        return None
    return (
        f"llmframe: to send also the {counted(count, 'row')} of which only {label_text(column)} is missing, "
        f"{_fill(plan, column)}"
    )


def _fill(plan: Plan, column: Hashable) -> str:
    templates = [template for template in (plan.spec.template, plan.spec.system) if template is not None]
    if any(spec for template in templates for spec in template.formats(column)):
        return "fill it first, with a value that suits its format"
    cell = f"df[{plain_repr(column)}]"
    dtype = plan.cells[column].dtype
    text = (
        "" if pd.api.types.is_object_dtype(dtype) or pd.api.types.is_string_dtype(dtype) else ".astype('str')"
    )
    return f"fill it first: {cell} = {cell}{text}.fillna('')"
