"""Batches at the local server, through the SDK: lines, uploads, and waiting for the end."""

from __future__ import annotations

import asyncio
import json

from testing.client import ask, send

CHAT = "/v1/chat/completions"
DAY = 86_400


def row(number, body=None, **more):
    line = {"custom_id": f"row-{number}", "method": "POST", "url": CHAT, "body": body or ask(f"Row {number}")}
    return line | more


def rows(count):
    return [row(number) for number in range(count)]


def jsonl(lines):
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def parsed(content):
    return [json.loads(line) for line in content.splitlines()]


def order(name, **more):
    return {"input_file_id": name, "endpoint": CHAT, "completion_window": "24h"} | more


async def upload(api, lines, **more):
    content = lines if isinstance(lines, bytes) else jsonl(lines)
    return await api.files.create(file=("rows.jsonl", content), purpose="batch", **more)


async def create(api, lines, **more):
    stored = await upload(api, lines)
    return await api.batches.create(input_file_id=stored.id, endpoint=CHAT, completion_window="24h", **more)


async def ended(api, batch):
    """Poll until a batch is in its last state."""
    async with asyncio.timeout(20):
        while batch.status not in {"completed", "failed", "expired", "cancelled"}:
            await asyncio.sleep(0.002)
            batch = await api.batches.retrieve(batch.id)
    return batch


async def content(api, name):
    return [] if name is None else parsed((await api.files.content(name)).content)


async def ran(api, lines, **more):
    """Return an ended batch with its output and its errors, by custom_id."""
    batch = await ended(api, await create(api, lines, **more))
    output, errors = await content(api, batch.output_file_id), await content(api, batch.error_file_id)
    return batch, {each["custom_id"]: each for each in output}, {each["custom_id"]: each for each in errors}


def request(server, path, body=None, *, method="GET", key="k", form="application/json"):
    """Return status and body of the response to a plain request."""
    return send(server, path, body, method=method, key=key, kind=form)[:2]
