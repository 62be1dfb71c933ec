"""What a typed answer costs to read and to keep.

What: `TypedAnswers.judge`, which is all that `extract` does with an answer's body: how it ended, its text, one object
of six fields (text, int, float, bool, a label of three, a date), read strictly and validated; for the fields as a dict,
as a pydantic model, and as one with bounds of its own. Against what: `json.loads` of the text alone with a hook that refuses
duplicate keys, and `model_validate` of the equal model. CPU time, 20,000 distinct answers, sides alternate, fifteen
rounds. With the values put where they are kept it is more than the other side does: information only.
Then the memory of a million such rows as they are kept until the run ends, against the columns that they become
(`memory_usage(deep=True)`): growth of the RSS of a fresh process that has read some before it counts, three of them. The
peak while the columns are made, which has both and what is in between, is information.

    python tests/bench/typed.py

Targets: <= 1.5 x each.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
from datetime import date
from typing import Annotated, Literal

import measure
import numpy as np
import pandas as pd
import psutil
from pydantic import BaseModel, Field

from llmframe._columns.schema import TypedAnswers, read_schema

ROWS, ROUNDS, MILLION, PROCESSES = 20_000, 15, 1_000_000, 3
FIELDS = {
    "part": str, "stars": int, "hours": float, "sure": bool, "tone": Literal["angry", "calm", "glad"], "bought": date,
}  # fmt: skip


class Plain(BaseModel):
    part: str | None
    stars: int | None
    hours: float | None
    sure: bool | None
    tone: Literal["angry", "calm", "glad"] | None
    bought: date | None


class Bounded(Plain):
    stars: Annotated[int, Field(ge=1, le=5)] | None
    hours: Annotated[float, Field(gt=0)] | None


def _answer(number: int) -> str:
    return json.dumps(
        {
            "part": f"the hinge, {number}",
            "stars": 1 + number % 5,
            "hours": 0.5 + number,
            "sure": number % 3 > 0,
            "tone": ("angry", "calm", "glad")[number % 3],
            "bought": f"2024-05-{1 + number % 31:02}",
        }
    )


def _body(text: str) -> dict:
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}


def _once(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _by_hand(model: type[BaseModel], texts: list[str]) -> None:
    for text in texts:
        model.model_validate(json.loads(text, object_pairs_hook=_once))


def _judged(kind: TypedAnswers, bodies: list[dict]) -> None:
    for body in bodies:
        kind.judge(body)


def _kept(kind: TypedAnswers, bodies: list[dict]) -> None:
    stored = kind.storage(len(bodies), iter)
    for number, body in enumerate(bodies):
        stored[number] = kind.judge(body).value


def _reading() -> list[measure.Line]:
    texts = [_answer(number) for number in range(ROWS)]
    bodies = [_body(text) for text in texts]
    fields, plain, bounded = (TypedAnswers(read_schema(schema)) for schema in (FIELDS, Plain, Bounded))
    works = {
        "by hand": lambda: _by_hand(Plain, texts),
        "fields": lambda: _judged(fields, bodies),
        "kept": lambda: _kept(fields, bodies),
        "model": lambda: _judged(plain, bodies),
        "bounded by hand": lambda: _by_hand(Bounded, texts),
        "bounded": lambda: _judged(bounded, bodies),
    }
    sides = {name: measure.cpu_per_row(work, ROWS) for name, work in works.items()}
    measure.alternate(sides, 1)
    found = measure.alternate(sides, ROUNDS)

    def over(ours: str, theirs: str) -> list[float]:
        return measure.ratios(found[ours], found[theirs])

    return [
        measure.at_most(
            "CPU per typed answer / json.loads + validation, a dict", over("fields", "by hand"), 1.5
        ),
        measure.at_most("the same, a pydantic model", over("model", "by hand"), 1.5),
        measure.at_most("the same, a pydantic model with bounds", over("bounded", "bounded by hand"), 1.5),
        measure.Line("  the same, a dict, its values kept too", measure.spread(over("kept", "by hand"))),
        *(
            measure.Line(f"  information: CPU per typed answer, {name}", measure.spread(values, ".1f", " us"))
            for name, values in found.items()
        ),
    ]


def held() -> None:
    """Keep a million answers, make their columns, and print the bytes that both take."""
    kind, process = TypedAnswers(read_schema(FIELDS)), psutil.Process()

    def fill(rows: int):
        stored = kind.storage(rows, iter)
        for number in range(rows):
            stored[number] = kind.judge(_body(_answer(number))).value
        return stored

    def columns(stored, rows: int) -> list[pd.Series]:
        return kind.columns(stored, np.arange(rows, dtype=np.int32), pd.RangeIndex(rows), kind.names)

    columns(fill(ROWS), ROWS)
    gc.collect()
    before = process.memory_info().rss
    stored = fill(MILLION)
    gc.collect()
    kept = process.memory_info().rss - before
    made = sum(column.memory_usage(index=False, deep=True) for column in columns(stored, MILLION))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"kept": kept / made, "peak": (peak - before) / made, "bytes": made / MILLION}))


def _memory() -> list[measure.Line]:
    done = [
        subprocess.run([sys.executable, __file__, "held"], stdout=subprocess.PIPE, check=True, text=True)
        for _ in range(PROCESSES)
    ]
    found = [json.loads(one.stdout) for one in done]
    kept, peak, size = ([one[name] for one in found] for name in ("kept", "peak", "bytes"))
    return [
        measure.at_most("memory of 1,000,000 typed rows / of their columns", kept, 1.5),
        measure.Line("  the same, at the peak while the columns are made", measure.spread(peak)),
        measure.Line("  information: the columns, bytes a row", measure.spread(size, ".0f")),
    ]


def main() -> list[measure.Line]:
    return [*_reading(), *_memory()]


if __name__ == "__main__":
    if sys.argv[1:] == ["held"]:
        held()
    else:
        measure.report(main())
