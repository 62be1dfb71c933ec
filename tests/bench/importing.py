"""What `import llmframe` costs over `import pandas`.

What: the time of `import llmframe` in a fresh interpreter that has imported pandas already. Against what:
`import pandas` in the same interpreter, and, alternating with it, interpreters that import pandas only. Both are compiled, as pip
installs them and as every import but the first finds them. CPU time
of the process (wall time is shown beside it: it is the figure that others' jobs disturb), 15 interpreters each.

    python tests/bench/importing.py

Target (DESIGN.md, section 7): <= 10 ms.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

import measure

ROUNDS = 15
_PROBE = (
    "import time, json; c, w = time.process_time, time.perf_counter; a = c(); import pandas; b, v = c(), w(); {}; "
    "e, x = c(), w(); print(json.dumps([(b - a) * 1e3, (e - b) * 1e3, (x - v) * 1e3]))"
)


def _probe(then: str, compiled: str):
    def measured() -> list[float]:
        words = [sys.executable, "-c", _PROBE.format(then)]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": compiled}
        return json.loads(subprocess.run(words, env=environment, capture_output=True, check=True).stdout)

    return measured


def main() -> list[measure.Line]:
    with tempfile.TemporaryDirectory() as compiled:
        sides = {"ours": _probe("import llmframe", compiled), "pandas": _probe("pass", compiled)}
        measure.alternate(sides, 1)
        found = measure.alternate(sides, ROUNDS)
    pandas, ours, wall = (list(column) for column in zip(*found["ours"], strict=True))
    alone = [one[0] for one in found["pandas"]]
    both = [one + other for one, other in zip(pandas, ours, strict=True)]
    return [
        measure.at_most("import llmframe over import pandas, CPU", ours, 10, ".1f", " ms"),
        measure.Line("  the same, wall", measure.spread(wall, ".1f", " ms")),
        measure.Line("  pandas + llmframe / pandas, CPU", measure.spread(measure.ratios(both, alone), ".3f")),
    ]


if __name__ == "__main__":
    measure.report(main())
