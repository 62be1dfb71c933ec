"""Reads the form of an upload from a connection, chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import BodyPartReader

from llmframe.testing._wire import Upload

if TYPE_CHECKING:
    from aiohttp import web

_CHUNK = 256 * 1024
_LONGEST_FIELD = 64 * 1024


async def read_upload(request: web.BaseRequest, largest: int) -> Upload | None:
    """Return the form of a request, or None if it has none; the content of a file above `largest` is not kept."""
    if request.content_type != "multipart/form-data":
        return None
    fields: dict[str, str] = {}
    filename: str | None = None
    content: bytes | None = b""
    try:
        parts = await request.multipart()
        while (part := await parts.next()) is not None:
            if not isinstance(part, BodyPartReader) or part.name is None:
                return None
            if part.name == "file" and part.filename is not None:
                filename, content = part.filename, await _content(part, largest)
            else:
                fields[part.name] = (await _content(part, _LONGEST_FIELD) or b"").decode()
    except ValueError:  # not a form, no boundary, no text in a field, or an incomplete body
        return None
    return Upload(fields, filename, content)


async def _content(part: BodyPartReader, largest: int) -> bytes | None:
    content, kept = bytearray(), True
    while chunk := await part.read_chunk(_CHUNK):
        kept = kept and len(content) + len(chunk) <= largest
        if kept:
            content += chunk
        else:
            content.clear()
    return bytes(content) if kept else None
