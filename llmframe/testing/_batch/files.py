"""The Files API: what was uploaded, what batches wrote, and until when it exists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from llmframe.testing._batch.pages import page, window
from llmframe.testing._requests import rules as r
from llmframe.testing._wire import Invalid, Refused, errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmframe.testing._batch.clock import Clock
    from llmframe.testing._wire import Upload

MONTH = 30 * 86_400
SHORTEST_LIFE = 3_600
_MOST_LISTED = 10_000
_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_purpose = r.choice(*_PURPOSES)
_anchor = r.choice("created_at")
_seconds = r.integer(SHORTEST_LIFE, MONTH)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that exists until it is deleted or expires; times are in seconds since 1970."""

    id: str
    content: bytes
    filename: str
    purpose: str
    created: float
    expires: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "object": "file",
            "id": self.id,
            "purpose": self.purpose,
            "filename": self.filename,
            "bytes": len(self.content),
            "created_at": int(self.created),
            "expires_at": None if self.expires is None else int(self.expires),
            "status": "processed",
            "status_details": None,
        }


class Files:
    """The files that exist, and the answers about them; what cannot be answered raises `Refused`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._files: dict[str, StoredFile] = {}

    def existing(self) -> list[StoredFile]:
        """Return the files that exist now, the oldest first; from any thread."""
        now = self._clock.now()
        return [each for each in tuple(self._files.values()) if each.expires is None or now < each.expires]

    def find(self, name: str) -> StoredFile | None:
        found = self._files.get(name)
        if found is not None and found.expires is not None and found.expires <= self._clock.now():
            return None
        return found

    def add(
        self, content: bytes, filename: str, purpose: str, *, created: float, life: float | None
    ) -> StoredFile:
        """Store a file that exists for `life` seconds."""
        expires = None if life is None else created + life
        stored = StoredFile(f"file-{uuid4().hex}", content, filename, purpose, created, expires)
        self._files[stored.id] = stored
        return stored

    def upload(self, upload: Upload) -> dict[str, Any]:
        purpose, life = _checked(upload)
        if upload.content is None:
            raise Invalid("File is too large.", None, None)
        stored = self.add(
            upload.content, upload.filename or "", purpose, created=self._clock.now(), life=life
        )
        return stored.as_dict()

    def listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Answer with one page, the newest first unless `order` says otherwise."""
        asked = window(query, most=_MOST_LISTED, default=_MOST_LISTED, more=("purpose", "order"))
        order, purpose = query.get("order", "desc"), query.get("purpose")
        r.choice("asc", "desc")(order, "order")
        found = [each for each in self.existing() if purpose in (None, each.purpose)]
        if order == "desc":
            found.reverse()
        return page([each.as_dict() for each in found], asked)

    def retrieve(self, name: str) -> dict[str, Any]:
        return self._existing(name).as_dict()

    def content(self, name: str) -> bytes:
        return self._existing(name).content

    def delete(self, name: str) -> dict[str, Any]:
        del self._files[self._existing(name).id]
        return {"object": "file", "id": name, "deleted": True}

    def _existing(self, name: str) -> StoredFile:
        found = self.find(name)
        if found is None:
            raise Refused(errors.error(404, f"No such File object: {name}", param="id"))
        return found


def _checked(upload: Upload) -> tuple[str, float | None]:
    """Return the purpose of a valid upload and for how many seconds the file exists."""
    fields = dict(upload.fields)
    if upload.filename is None:
        raise r.missing("file")
    if "purpose" not in fields:
        raise r.missing("purpose")
    purpose = fields.pop("purpose")
    _purpose(purpose, "purpose")
    anchor, seconds = fields.pop("expires_after[anchor]", None), fields.pop("expires_after[seconds]", None)
    for name in fields:
        raise r.unknown(name)
    if purpose == "batch" and not upload.filename.endswith(".jsonl"):
        raise Invalid("Invalid file format for Batch API. Must be .jsonl", None, None)
    if anchor is None and seconds is None:
        return purpose, MONTH if purpose == "batch" else None
    return purpose, _life(anchor, seconds)


def _life(anchor: str | None, seconds: str | None) -> float:
    if anchor is None:
        raise r.missing("expires_after.anchor")
    if seconds is None:
        raise r.missing("expires_after.seconds")
    _anchor(anchor, "expires_after.anchor")
    return r.whole(seconds, "expires_after.seconds", _seconds)
