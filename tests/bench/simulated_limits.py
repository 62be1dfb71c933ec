"""How much of a rate limit the pace uses, and how many requests are answered 429, against simulated servers.

What: the pace alone, on a simulated clock, in seconds. Against what: what each server's limit allows, its bucket
at the start included. It shows where it is weak; the bounds are those of the tests of `tests/pacing/`.

    python tests/bench/simulated_limits.py
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import measure

sys.path.insert(0, str(Path(__file__).parents[1]))
from pacing.simulation import Allowance, BySecond, Server, SimulatedRun, tokens_estimated

from llmframe._pacing import Pace

_LATENCIES = {"0.05 s": (0.05, 0.5, None), "2 s, refused in 0.05": (2.0, 0.5, 0.05)}
_FORMS = {
    "bucket of 60 s": (Allowance, 60, False),
    "bucket of 1 s": (Allowance, 1, False),
    "windows of 60 s": (Allowance, 60, True),
    "windows of 10 s": (Allowance, 10, True),
    "by the second": (BySecond, 60, False),
}


def _charged(charge: str):
    def draw(rng):
        characters, output = rng.randint(50, 400), rng.randint(20, 500)
        charged = {"characters": characters, "used": characters + output}.get(charge, characters + 500)
        return characters + 500, charged, characters + output

    return draw


def _line(what: str, run: SimulatedRun) -> measure.Line:
    run.run()
    limit = run.server.requests or run.server.tokens
    amounts = [(at, amount if run.server.requests else tokens) for at, amount, tokens in run.accepted]
    ended, saved_up = run.ended, limit.rate if isinstance(limit, BySecond) else limit.capacity
    if limit.fixed:  # the last window is not over
        ended, saved_up = run.ended // limit.seconds * limit.seconds, 0.0
    used = sum(amount for at, amount in amounts if at <= ended) / (limit.rate * ended + saved_up)
    early = run.blind_refusals / (run.refusals + run.answered)
    return measure.Line(what, f"{used:.0%} used, {run.refused:.1%} 429s, {early:.1%} at the start")


def main() -> list[measure.Line]:
    lines = []
    for headers, (form, (kind, seconds, fixed)), rate, (name, latency) in product(
        (True, False), _FORMS.items(), (5, 20, 200), _LATENCIES.items()
    ):
        server = Server(kind(rate, seconds, fixed), None, *latency, headers=headers, retry="int")
        what = f"{'headers' if headers else 'no headers'}, {form}, {rate}/s, {name}"
        lines.append(_line(what, SimulatedRun(server, max(2_000, rate * 90))))
    for charge in ("characters", "used", "with the bound on output"):
        rate = 20 * {"characters": 225, "used": 485}.get(charge, 725)
        server = Server(None, Allowance(rate, 60), 2.0, 0.3, 0.1, retry="int")
        lines.append(_line(f"tokens: {charge}", SimulatedRun(server, 4_000, estimate=_charged(charge))))
    for factor in (1 / 3, 3):
        server = Server(None, Allowance(5_000 * factor, 60), 2.0, 0.3, 0.1, retry="int")
        run = SimulatedRun(server, 4_000, estimate=tokens_estimated(factor, 0.3))
        lines.append(_line(f"tokens: {factor:.2g} times the estimate", run))
    for headers in (True, False):
        server = Server(Allowance(100, 1, others=50), spread=0.5, headers=headers, retry="int")
        lines.append(_line(f"another client takes half, {headers=}", SimulatedRun(server, 5_000)))
        server = Server(Allowance(100, 1), spread=0.3, headers=headers, retry="int")
        run = SimulatedRun(server, 6_000)
        run.change = lambda _now, server=server: setattr(server.requests, "rate", 50)
        run.at(20.0, "change")
        lines.append(_line(f"half after 20 s (share of the new limit), {headers=}", run))
        for paused_at, rate in ((0.07, 100), (0.22, 300), (0.6, 1_000)):
            server = Server(Allowance(rate, 0.5), None, 0.02, 0.1, headers=headers, retry="int")
            server.count_refused = True
            pause = (paused_at, paused_at + 1.5)
            run = SimulatedRun(server, 18 * rate, Pace(local=True).join(), seed=1, pause=pause)
            lines.append(_line(f"{rate}/s, the client pauses for 1.5 s after {paused_at} s, {headers=}", run))
    return lines


if __name__ == "__main__":
    measure.report(main())
