"""What a journal in PostgreSQL costs a client, against the journal in a file.

What: `df.llm.complete` as a user calls it, with a fresh journal each time, in a throw-away PostgreSQL on loopback and in
a file: CPU time of this process only (all its threads); the servers have their own processes and no latency. Then the
same call again, when all is in the journal. Sides alternate, nine rounds.

    python tests/bench/machines.py

Targets (DESIGN.md, section 8): CPU <= 1.0 x the file journal's.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stderr
from pathlib import Path

import measure

import llmframe  # noqa: F401 (registers df.llm)

sys.path.append(str(Path(__file__).parents[1]))

from postgres import running_server

ROWS, ROUNDS = 8_000, 9


def _complete(frame, settings) -> None:
    with redirect_stderr(measure.Terminal()):
        frame.copy().llm.complete("review", measure.PROMPT, into="summary", **settings)


def main() -> list[measure.Line]:
    with measure.server() as server, measure.scratch() as folder, running_server() as postgres:
        frame, few, url = measure.reviews(ROWS), measure.reviews(300, seed=1), server.base_url
        database = postgres.new_database()
        last = {}

        def asked(name, journal):
            def work(rows) -> None:
                settings = measure.settings(url, folder)
                last[name] = settings if journal is None else {**settings, "journal": journal}
                if journal is not None:
                    database.empty()
                _complete(rows, last[name])

            return work

        sides = {"file": asked("file", None), "database": asked("database", database.url)}

        def measured(rows):
            first = {
                name: measure.cpu_per_row(lambda work=work: work(rows), len(rows))
                for name, work in sides.items()
            }
            again = {
                f"{name}, again": measure.cpu_per_row(
                    lambda name=name: _complete(rows, last[name]), len(rows)
                )
                for name in sides
            }
            return first | again

        measure.alternate(measured(few), 1)
        found = measure.alternate(measured(frame), ROUNDS)
    lines = [
        measure.at_most(
            "CPU per row, PostgreSQL's journal / a file's",
            measure.ratios(found["database"], found["file"]),
            1.0,
        ),
        measure.Line(
            "  the same, all in the journal",
            measure.spread(measure.ratios(found["database, again"], found["file, again"])),
        ),
    ]
    lines += [
        measure.Line(f"  information: CPU per row, {name}", measure.spread(values, ".1f", " us"))
        for name, values in found.items()
    ]
    return lines


if __name__ == "__main__":
    measure.report(main())
