"""`llmframe batches`, `collect`, `cancel` and `serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import llmframe
from llmframe.cli.output import DONE, show, tell

if TYPE_CHECKING:
    import argparse

    import pandas as pd


def batches(parsed: argparse.Namespace) -> int:
    return _print_batches(llmframe.batches(**_batch_settings(parsed)))


def collect(parsed: argparse.Namespace) -> int:
    return _print_batches(llmframe.collect(**_batch_settings(parsed)))


def cancel(parsed: argparse.Namespace) -> int:
    tell(f"{parsed.batch}: {llmframe.cancel(parsed.batch, **_batch_settings(parsed))}")
    return DONE


def _batch_settings(parsed: argparse.Namespace) -> dict[str, Any]:
    return {"journal": parsed.journal, "base_url": parsed.base_url}


def _print_batches(batches: pd.DataFrame) -> int:
    if batches.empty:
        show("there are no batches")
        return DONE
    created = batches["created"].dt.strftime("%Y-%m-%d %H:%M UTC")
    show(
        batches.assign(created=created)
        .fillna({"id": "", "cost": float("nan")})
        .to_string(index=False, na_rep="-")
    )
    return DONE


def serve(parsed: argparse.Namespace) -> int:
    from llmframe.testing import Limits, serve  # noqa: PLC0415

    limited = parsed.requests_per_minute or parsed.tokens_per_minute
    limits = None
    if limited:
        limits = Limits(
            requests_per_minute=parsed.requests_per_minute, tokens_per_minute=parsed.tokens_per_minute
        )
    serve(
        parsed.port,
        ready=lambda base_url: tell(f"made-up answers at {base_url} (any key; Ctrl-C ends it)"),
        latency=parsed.latency,
        limits=limits,
        headers=not parsed.no_headers,
    )
    return DONE
