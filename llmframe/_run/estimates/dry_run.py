"""`dry_run`: an estimate of a call that is not made, after a sample of its rows where one is wanted."""

from __future__ import annotations

import random
from dataclasses import replace
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from llmframe._loop import refuse_on_private_loop, submit, uninterrupted
from llmframe._run.estimates.reckoning import reckon
from llmframe._run.estimates.survey import Survey
from llmframe._run.run import Run, new_results, unless_stopped
from llmframe._run.starting import await_run, run_to_end, start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmframe._loop import LoopTask
    from llmframe._run.estimates.estimate import Estimate
    from llmframe._run.estimates.survey import Findings
    from llmframe._run.results import Results


def check_dry_run(run: Run, dry_run: bool | int, *, wait: bool = True) -> None:
    """Refuse a `dry_run` that is neither a flag nor a number of rows, or that the call's other arguments contradict."""
    flag = isinstance(dry_run, bool | np.bool_)
    if not flag and not isinstance(dry_run, int | np.integer):
        raise TypeError(f"dry_run must be True, False or a number of rows, such as 20; got {dry_run!r}")
    if not flag and dry_run < 1:
        raise ValueError(f"dry_run: a sample has at least 1 row; got {dry_run!r}; dry_run=True asks none")
    if flag and not dry_run:
        return
    if not wait:
        raise ValueError(
            f"wait: an estimate is returned when it is there; write dry_run={dry_run!r} without wait=False"
        )
    if flag:
        return
    settings = run._settings
    if settings.mode == "offline":
        raise ValueError(
            f"dry_run: mode='offline' sends nothing, and dry_run={dry_run!r} asks rows; write dry_run=True"
        )
    if settings.journal is False:
        raise ValueError(
            f"dry_run: with journal=False the call would pay for the {dry_run!r} rows of the sample again; leave journal=False "
            "out, or write dry_run=True"
        )


def estimate(run: Run, dry_run: bool | int) -> Estimate:
    """Return what a call that has not begun would cost."""
    refuse_on_private_loop()
    findings = _waited(_surveying(run))
    if isinstance(dry_run, bool | np.bool_):
        return _reckoned(run, findings, None)
    sample = _sample(run, findings, int(dry_run))
    if sample is None:
        return _reckoned(run, findings, 0.0)
    run_to_end(sample, conclude=unless_stopped)
    return _reckoned(run, _waited(_surveying(run)), _cost(sample))


async def await_estimate(run: Run, dry_run: bool | int) -> Estimate:
    """Return what a call that has not begun would cost, on the caller's loop."""
    findings = await _awaited(_surveying(run))
    if isinstance(dry_run, bool | np.bool_):
        return _reckoned(run, findings, None)
    sample = _sample(run, findings, int(dry_run))
    if sample is None:
        return _reckoned(run, findings, 0.0)
    await await_run(start(sample, awaiting=True), conclude=unless_stopped)
    return _reckoned(run, await _awaited(_surveying(run)), _cost(sample))


def _surveying(run: Run) -> LoopTask[Findings]:
    """Begin to find out what a call would ask, on the private loop: no client is needed for it."""
    settings, plan = run._settings, run._plan
    return submit(Survey(settings, plan, new_results(settings, plan), run._execution.columns).find)


def _waited(task: LoopTask[Findings]) -> Findings:
    with uninterrupted() as interrupts:
        task.wait(None, interrupts)
    return task.future.result()


async def _awaited(task: LoopTask[Findings]) -> Findings:
    await task.wait_async()
    return task.future.result()


def _sample(run: Run, findings: Findings, count: int) -> Run | None:
    """Return a run over some of the requests that the call would ask, drawn by strata of their length; `None`: there are none."""
    draws = run._plan.draws
    lengths: dict[int, int] = {}
    for requests in findings.requests:
        if not requests.corrections:
            for number, size in zip(requests.numbers, requests.sizes, strict=True):
                lengths.setdefault(number // draws, size)
    if not lengths:
        return None
    ordered = sorted(lengths, key=lambda number: (lengths[number], number))
    settings = replace(run._settings, mode="live", errors="coerce")
    strata = [stratum.tolist() for stratum in np.array_split(ordered, min(count, len(ordered)))]
    plan = run._plan.part(sorted(_one_of_each(strata)))
    return Run(settings, plan, run._execution.columns, _nothing)


def _one_of_each(strata: Sequence[Sequence[int]]) -> list[int]:
    """Draw one of each; the same again from the same ones."""
    chance = random.Random(len(strata))  # noqa: S311 (which rows are asked first is no secret)
    return [chance.choice(stratum) for stratum in strata]


def _nothing(results: Results, record: dict[str, Any], ending: str) -> None:
    """Write nothing: a sample's answers stay in the journal."""


def _cost(sample: Run) -> float:
    return nan if sample.cost is None else sample.cost


def _reckoned(run: Run, findings: Findings, sample_cost: float | None) -> Estimate:
    settings = run._settings
    return reckon(findings, settings, f"{run._execution.columns} · {settings.model}", sample_cost)
