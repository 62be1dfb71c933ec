"""A partition is asked while it is wanted: its run is cancelled when the computation that asked for it has ended.

Dask's own schedulers tell the process that computes (`computations`); those of `distributed` tell the workers which
tasks were released (`workers`).
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llmframe._errors import StoppedError
from llmframe.dask.computations import until_computed
from llmframe.dask.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from llmframe.dask.computations import Cancellable

_FAILED_KEPT = 100

_failed: OrderedDict[str, object] = OrderedDict()
"""By submission the partition that failed in this process: others of it do not begin before the client has heard."""


@contextmanager
def until_unwanted(
    call: Cancellable, slots: AbstractContextManager[Any], *, one_machine: bool
) -> Iterator[Wanted]:
    """Ask a partition in the block, when it is its turn and while it is wanted.

    Parameters
    ----------
    slots
        Bounds how many partitions of the process are asked at once.
    one_machine
        Whether all workers must be on one machine.

    Raises
    ------
    StoppedError
        When it is no longer wanted before it began.
    ValueError
        When the workers are on several machines and may not be.
    """
    task = _task_of_distributed()
    if task is not None and one_machine:
        _refuse_several(task.hosts())
    wanted: Wanted = Wanted() if task is None else task.wanted
    watched = until_computed(call, wanted) if task is None else task.watched()
    submission = "" if call.origin is None else call.origin.submission
    partition = object() if task is None else task.key
    with watched, slots:
        if wanted.ended or _failed.get(submission, partition) != partition:
            raise StoppedError(
                "the computation has ended before this partition began: nothing of it was sent",
                code="cancelled",
            )
        if task is not None:
            task.secede()
        try:
            yield wanted
        except BaseException:
            if submission:
                _failed.setdefault(submission, partition)
                while len(_failed) > _FAILED_KEPT:
                    _failed.popitem(last=False)
            raise


def _refuse_several(hosts: set[str]) -> None:
    if len(hosts) > 1:
        raise ValueError(
            f"journal: the workers are on {len(hosts)} machines ({', '.join(sorted(hosts))}), and a journal in a file is one "
            "machine's: the others would pay for the same rows again, and nothing was sent. Pass "
            "journal='postgresql://…', which machines share, or start all workers on one machine"
        )


def _task_of_distributed() -> Any:
    if "distributed" not in sys.modules:
        return None
    from llmframe.dask.workers import current_task  # noqa: PLC0415 (distributed takes a second to import)

    return current_task()
