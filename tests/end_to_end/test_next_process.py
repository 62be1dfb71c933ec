"""What one process learnt of an account's limits, the next one knows from the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from end_to_end.scripts import ended, start_script

from llmframe.testing import Limits, LocalServer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("headers", "at_most"), [(True, 0.2), (False, 0.6)])
def test_the_next_process_is_hardly_refused(tmp_path: Path, *, headers: bool, at_most: int) -> None:
    """A bucket of 5 requests refuses dozens of the first process's; where the limit is stated, none of the next one's."""
    limits = Limits(requests_per_minute=600, burst=0.5, count_refused=False)
    with LocalServer(limits=limits, headers=headers, latency=0.05) as server:
        refused = []
        for rows in ("df[:80]", "df[80:160]"):
            before = server.ledger.statuses[429]
            script = f'part = {rows}.copy()\npart.llm.complete("review", into="answer", progress=False)'
            code, _, err = ended(start_script(tmp_path, server, script))
            assert code == 0, err
            refused.append(server.ledger.statuses[429] - before)
    assert refused[0] >= 8
    assert refused[1] <= at_most * refused[0]
