"""`llmframe complete`, `extract` and `classify`, and the demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmframe._files import STREAM, Table
from llmframe.cli.enrich import enrich_file, enrich_frame
from llmframe.cli.output import note, tell
from llmframe.cli.places import target_of
from llmframe.cli.schemas import read_labels, read_schema

if TYPE_CHECKING:
    import argparse

OWN = {
    "complete": ("into",),
    "extract": ("schema", "prefix", "quotes", "reask"),
    "classify": (
        "labels", "into", "multi", "other", "confidence", "probabilities", "threshold", "votes", "engine",
    ),
}  # fmt: skip
"""Options that not every verb has; they are its arguments under the same name."""

_DEMO_PROMPT = "Is this product review positive or negative? Answer with one word.\n\n{review}"


def complete(parsed: argparse.Namespace) -> int:
    return enrich_file(parsed, "complete", _own(parsed, "complete"))


def extract(parsed: argparse.Namespace) -> int:
    return enrich_file(parsed, "extract", {**_own(parsed, "extract"), "schema": read_schema(parsed.schema)})


def classify(parsed: argparse.Namespace) -> int:
    return enrich_file(parsed, "classify", {**_own(parsed, "classify"), "labels": read_labels(parsed.labels)})


def _own(parsed: argparse.Namespace, verb: str) -> dict[str, Any]:
    return {name: getattr(parsed, name) for name in OWN[verb]}


def demo(parsed: argparse.Namespace) -> int:
    from llmframe.testing import LocalServer, reviews  # noqa: PLC0415 (only the demo needs the server)

    default = Path("llmframe-demo.csv")
    name = parsed.target or str(default if parsed.force else _unused(default))
    target = target_of(name, given="csv" if name == STREAM else None)
    target.check(force=parsed.force)
    say = tell if target.partial else note
    frame = reviews()
    table = Table(frame, list(frame.columns))
    task: dict[str, Any] = {
        "column": "review",
        "prompt": _DEMO_PROMPT,
        "into": "sentiment",
        "max_completion_tokens": 500,
    }
    if parsed.live:
        code = enrich_frame(table, target, "complete", reasoning_effort="low", **task)
    else:
        say("A demonstration: the answers are MADE UP by a server that this command starts on this machine.")
        say(
            "No key is used, nothing leaves this machine, and nothing is paid. --live asks the configured API."
        )
        with LocalServer(latency=0.1) as server:
            local: dict[str, Any] = {
                "base_url": server.base_url,
                "api_key": "demo",
                "model": "gpt-6-luna",
                "journal": False,
            }
            code = enrich_frame(table, target, "complete", **local, **task)
    say(frame[["product", "review", "sentiment"]].head(8).to_string(max_colwidth=48))
    if not parsed.live:
        say("These answers are made up; so is what the bar says they cost.")
    return code


def _unused(path: Path) -> Path:
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in range(2, 10_000))
    return path if not path.exists() else next(other for other in numbered if not other.exists())
